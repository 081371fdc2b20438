//! This process and its run directory: one daemon each, with a bpffs for its pins. Starts no traffic filter itself.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::unistd::Pid;

use crate::{metrics, sandbox};

/// Where the daemon keeps its socket and pins, unless it is told otherwise.
pub const RUN_DIR: &str = "/run/weir";

/// Why the run directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// Another daemon holds it.
    #[error("weir is already running on {}; stop it with `weir stop`, or choose another --run-dir", .0.display())]
    Taken(PathBuf),
    /// The directory cannot be made or locked.
    #[error("cannot use run directory {}: {source}; run weir as root, or choose another --run-dir", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No bpffs.
    #[error("cannot mount a BPF file system on {}: {source}; run weir as root", path.display())]
    Mount {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A run directory that this process owns. Dropping it gives it back and leaves nothing behind, unless its pins are to stay: as
/// those do that another process left, for whatever fails here must not end what filters.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    stays: bool,
    unmounter: Option<Unmounter>,
    _lock: Flock<File>,
}

impl RunDir {
    /// Takes the directory at `path`, made where it is missing.
    pub fn take(path: &Path) -> Result<Self, RunDirError> {
        let failed = |source| RunDirError::Directory { path: path.into(), source };
        fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(failed)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path.join("lock"));
        let lock = match Flock::lock(lock.map_err(failed)?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => return Err(RunDirError::Taken(path.into())),
            Err((_, error)) => return Err(failed(error.into())),
        };
        // Who holds it, for whoever must end a process that answers no more.
        lock.set_len(0).and_then(|()| writeln!(&*lock, "{}", std::process::id())).map_err(failed)?;
        let mut run_dir = Self { path: path.into(), stays: false, unmounter: None, _lock: lock };
        let _ = fs::remove_file(socket(path));
        if run_dir.is_mounted() {
            run_dir.stays = run_dir.kept().exists();
        } else {
            let _ = fs::remove_file(run_dir.kept());
            run_dir.mount()?;
        }
        Ok(run_dir)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a daemon that did not get to clean up had written down beside its pins; its pins are there, too.
    #[must_use]
    pub fn left(&self) -> Option<Vec<u8>> {
        fs::read(self.kept()).ok()
    }

    /// Whether the pins, and what is written down beside them, stay when this is dropped.
    #[must_use]
    pub fn stays(&self) -> bool {
        self.stays
    }

    /// Has them stay, or not.
    pub fn stay(&mut self, stays: bool) {
        self.stays = stays;
    }

    /// Writes down, as a whole, what is needed to make sense of the pins.
    pub fn keep(&self, bytes: &[u8]) -> io::Result<()> {
        let fresh = self.path.join("counters.new");
        fs::write(&fresh, bytes)?;
        fs::rename(fresh, self.kept())
    }

    fn kept(&self) -> PathBuf {
        self.path.join("counters.json")
    }

    fn is_mounted(&self) -> bool {
        is_bpffs(&self.pins())
    }

    fn mount(&self) -> Result<(), RunDirError> {
        let pins = self.pins();
        let failed = |source: io::Error| RunDirError::Mount { path: pins.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&pins).map_err(failed)?;
        mount(Some("bpf"), &pins, Some("bpf"), MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, Some("mode=0700"))
            .map_err(|error| failed(error.into()))
    }

    /// A directory on a bpffs.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        pins(&self.path)
    }

    /// Has another process unmount the BPF file system in the end: this one is about to lose the right to. Where it has none
    /// already, somebody else mounted it, and it stays, empty.
    pub fn keep_unmounter(&mut self) -> io::Result<()> {
        if sandbox::may_unmount() {
            self.unmounter = Some(Unmounter::start(&self.path)?);
        }
        Ok(())
    }
}

/// Unmounts what is mounted for pins in the run directory at `path`, and removes the directories that are empty then.
fn unmount(path: &Path) {
    let pins = pins(path);
    // There is nothing to do about a failure but go on.
    while is_bpffs(&pins) {
        if umount2(&pins, MntFlags::MNT_DETACH).is_err() {
            break;
        }
    }
    let _ = fs::remove_dir(&pins);
    // Other things may be in it.
    let _ = fs::remove_dir(path);
}

/// A process that keeps the right to unmount, and does nothing else. It ends with the one that started it, however that ends;
/// and unmounts only when it is told to, for what a daemon that was killed had pinned must stay.
#[derive(Debug)]
struct Unmounter {
    process: Child,
    order: ChildStdin,
}

/// The hidden verb that runs [`wait_to_unmount`].
pub const UNMOUNT: &str = "unmount";

impl Unmounter {
    fn start(run_dir: &Path) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.arg(UNMOUNT).arg(run_dir).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // What is typed at a terminal is not meant for it.
        let mut process = command.process_group(0).spawn()?;
        let order = process.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { process, order })
    }

    fn end(mut self, unmount: bool) {
        if unmount {
            let _ = self.order.write_all(b"\n");
        }
        drop(self.order);
        let _ = self.process.wait();
    }
}

/// What the process that unmounts does: waits for a byte on `order`.
pub fn wait_to_unmount(run_dir: &Path, mut order: impl io::Read) -> io::Result<()> {
    let _ = sandbox::confine_unmounter();
    if order.read(&mut [0])? == 1 {
        unmount(run_dir);
    }
    Ok(())
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let _ = fs::remove_file(socket(&self.path));
        let unmounter = self.unmounter.take();
        if !self.stays {
            // One by one, for the mount may not be weir's to remove.
            for pin in fs::read_dir(self.pins()).into_iter().flatten().flatten() {
                let _ = fs::remove_file(pin.path());
            }
            let _ = fs::remove_file(self.kept());
            let _ = fs::remove_file(self.path.join("lock"));
        }
        match unmounter {
            Some(unmounter) => unmounter.end(!self.stays),
            None if self.stays => {}
            None => unmount(&self.path),
        }
    }
}

/// The directory for pins in run directory `run_dir`.
#[must_use]
pub fn pins(run_dir: &Path) -> PathBuf {
    run_dir.join("bpf")
}

/// Whether a BPF file system is mounted at `path`.
#[must_use]
pub fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC)
}

/// Kills the daemon that holds the run directory at `path`, and waits for its end. Gives its process id; `None` where none does.
///
/// By a signal of weir's own first: whoever supervises it is not to start it again, as it does one that the kernel killed for want of memory.
pub fn end(path: &Path) -> Result<Option<i32>, RunDirError> {
    let failed = |source| RunDirError::Directory { path: path.into(), source };
    let file = match File::open(path.join("lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
    let Err((_, Errno::EWOULDBLOCK)) = lock else { return Ok(None) };
    let pid = fs::read_to_string(path.join("lock")).map_err(failed)?;
    // Other numbers mean more than one process to kill(2).
    let pid = pid.trim().parse().ok().filter(|&pid| pid > 1);
    let pid = pid.ok_or_else(|| failed(io::Error::other("its lock does not name a process")))?;
    let send = |signal| match kill(Pid::from_raw(pid), signal) {
        // It ended meanwhile.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(failed(error.into())),
    };
    // One that is stopped would take it once it goes on.
    [ORDERED, Signal::SIGCONT].into_iter().try_for_each(send)?;
    let (begun, mut killed) = (Instant::now(), false);
    while let Err((file, Errno::EWOULDBLOCK)) = lock {
        if begun.elapsed() > HEEDED && !killed {
            send(Signal::SIGKILL)?;
            killed = true;
        }
        if begun.elapsed() > GONE {
            return Err(failed(io::Error::other(format!("process {pid} was killed and does not end"))));
        }
        thread::sleep(Duration::from_millis(10));
        lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
    }
    Ok(Some(pid))
}

/// The signal by which `weir panic` ends a daemon. The daemon has no say in it: it is the kernel that ends a process for it.
/// `packaging/systemd/weir.service` names it (`RestartPreventExitStatus`), and nothing else sends it.
const ORDERED: Signal = Signal::SIGUSR2;

/// How long it may take until SIGKILL follows, which none can have ignored.
const HEEDED: Duration = Duration::from_secs(1);

/// How long a process that was killed may take to end.
const GONE: Duration = Duration::from_secs(5);

/// The daemon's control socket in run directory `run_dir`.
#[must_use]
pub fn socket(run_dir: &Path) -> PathBuf {
    run_dir.join("control.sock")
}

/// What this process uses, as the kernel tells (proc(5)).
#[must_use]
pub fn figures() -> metrics::Process {
    /// Clock ticks a second in `/proc` (`USER_HZ`), on every architecture that Linux still has.
    const TICKS: f64 = 100.0;
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let stat = read("/proc/self/stat");
    // Behind the name, which may hold anything, in parentheses. The first field there is the third in all.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let line = |text: &str, name: &str, word: usize| {
        let line = text.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
        line.and_then(|line| line.split_ascii_whitespace().nth(word)?.parse::<u64>().ok()).unwrap_or(0)
    };
    metrics::Process {
        cpu_seconds: (field(14) + field(15)) / TICKS,
        resident_bytes: line(&read("/proc/self/status"), "VmRSS:", 0) * 1024,
        open_fds: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        max_fds: line(&read("/proc/self/limits"), "Max open files", 0),
        start_seconds: line(&read("/proc/stat"), "btime", 0) as f64 + field(22) / TICKS,
    }
}

/// Lifts the limit on locked memory, which kernels before 5.11 count BPF maps against.
pub fn lift_memlock() {
    // Refused without CAP_SYS_RESOURCE; newer kernels do not need it, and on older ones loading says what is missing.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
}
