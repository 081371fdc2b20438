//! What weir's processes may do to this machine, read where the kernel keeps it. Each keeps what it needs, and no way to more.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::Path as File;
use std::process::Command;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use weir_tests::lab::{CONTROL_V4, DEADLINE, LISTED_V4, Path};
use weir_tests::traffic::to;
use weir_tests::wait_until;
use weir_tests::weir::{Output, Scratch, Signal, Weir, binary};

/// Numbers of `include/uapi/linux/capability.h`.
const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

const CONFIG: &str = "[[interface]]\nname = \"lan0\"\n[http]\nlisten = \"off\"\n\
    [[rule]]\nname = \"peer\"\naction = \"block\"\nprefixes = [\"71.18.1.0/24\"]\n";

/// What `/proc` says of a process, or of one of its threads.
struct Standing(String);

impl Standing {
    fn of(directory: &File) -> Self {
        Self(fs::read_to_string(directory.join("status")).unwrap())
    }

    fn field(&self, name: &str) -> &str {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.0)).trim()
    }

    fn capabilities(&self, set: &str) -> BTreeSet<u32> {
        let bits = u64::from_str_radix(self.field(set), 16).unwrap();
        (0..64).filter(|bit| bits >> bit & 1 == 1).collect()
    }

    /// It has these capabilities, can gain no other, and is under a seccomp filter where it is `filtered`.
    #[track_caller]
    fn is_confined_to(&self, capabilities: &[u32], filtered: bool) {
        let expected: BTreeSet<u32> = capabilities.iter().copied().collect();
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            assert_eq!(self.capabilities(set), expected, "{set}");
        }
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(self.capabilities(set), BTreeSet::new(), "{set}");
        }
        assert_eq!(self.field("NoNewPrivs"), "1");
        assert_eq!(self.field("Seccomp"), if filtered { "2" } else { "0" });
    }
}

fn process(pid: u32) -> std::path::PathBuf {
    File::new("/proc").join(pid.to_string())
}

/// The process that `weir` started with this verb, if there is one.
fn started(weir: &Weir, verb: &str) -> Option<u32> {
    let tasks = process(weir.pid()).join("task");
    let children = fs::read_dir(tasks).unwrap().flatten().map(|task| task.path().join("children"));
    let pids: Vec<u32> = children
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect();
    pids.into_iter().find(|&pid| {
        let line = fs::read(process(pid).join("cmdline")).unwrap_or_default();
        line.split(|&byte| byte == 0).nth(1) == Some(verb.as_bytes())
    })
}

/// A frame to a listed address is dropped and counted, one to another passes.
fn filters(path: &Path, weir: &Weir) {
    let (lan, wan) = (path.lan_socket(), path.wan_socket());
    let before = weir.dropped().packets;
    lan.send(&to(LISTED_V4, b"listed-probe"));
    lan.send(&to(CONTROL_V4, b"control-probe"));
    let first = wan.receive_where(DEADLINE, |frame| frame.ends_with(b"-probe")).unwrap();
    assert!(first.ends_with(b"control-probe"));
    assert_eq!(weir.dropped().packets, before + 1);
}

fn started_with(path: &Path, files: &Scratch, text: &str) -> Weir {
    Weir::start(&path.router, ["-c".into(), files.file("weir.toml", text).display().to_string()])
}

#[test]
fn the_daemon_keeps_three_capabilities_and_all_of_its_threads_are_confined() {
    let (path, files) = (Path::new(), Scratch::new());
    let weir = started_with(&path, &files, CONFIG);
    filters(&path, &weir);
    let threads = fs::read_dir(process(weir.pid()).join("task")).unwrap().flatten();
    let mut count = 0;
    for thread in threads {
        Standing::of(&thread.path()).is_confined_to(&[NET_ADMIN, PERFMON, BPF], true);
        count += 1;
    }
    assert!(count > 1, "the history is written by a thread of its own");
}

#[test]
fn who_unmounts_can_do_only_that_and_ends_with_the_daemon() {
    let (path, files) = (Path::new(), Scratch::new());
    let mut weir = started_with(&path, &files, CONFIG);
    let unmounter = started(&weir, "unmount").expect("it was started");
    Standing::of(&process(unmounter)).is_confined_to(&[SYS_ADMIN], false);
    let pins = weir.run_dir().join("bpf");
    assert!(pins.exists());
    // As a service manager ends it, or Ctrl-C.
    weir.signal(Signal::SIGTERM);
    assert!(weir.wait().success(), "{}", weir.stderr());
    assert!(!pins.exists() && !process(unmounter).exists());

    let weir = started_with(&path, &files, CONFIG);
    let unmounter = started(&weir, "unmount").expect("it was started");
    let left = weir.kill();
    wait_until(DEADLINE, "it ends, too", || !process(unmounter).exists());
    assert!(fs::read_dir(left.path().join("bpf")).unwrap().count() > 0, "what filters is still pinned");
}

#[test]
fn a_process_that_reads_what_comes_from_outside_has_no_capability() {
    let (path, files) = (Path::new(), Scratch::new());
    // Opened for reading, it makes the reader wait.
    mkfifo(&files.path().join("slow.netset"), Mode::S_IRUSR).unwrap();
    let source = "[[source]]\nname = \"slow\"\nfile = \"slow.netset\"\n";
    let rule = "[[rule]]\nname = \"slow\"\naction = \"block\"\nlists = [\"slow\"]\n";
    let weir = started_with(&path, &files, &format!("{CONFIG}{rule}{source}"));
    let mut reader = None;
    wait_until(DEADLINE, "the source is asked", || {
        reader = started(&weir, "fetch");
        // The daemon's filter and its own: it is the last thing that it does before it reads.
        reader.is_some_and(|pid| Standing::of(&process(pid)).field("Seccomp_filters") == "2")
    });
    let reader = Standing::of(&process(reader.unwrap()));
    for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert_eq!(reader.capabilities(set), BTreeSet::new(), "{set}");
    }
    assert_eq!(reader.field("NoNewPrivs"), "1");
}

#[test]
fn three_capabilities_are_enough_where_a_bpf_file_system_is_mounted() {
    let (path, files) = (Path::new(), Scratch::new());
    let config = files.file("weir.toml", CONFIG).display().to_string();
    let scratch = Scratch::new();
    let pins = scratch.path().join("bpf");
    fs::create_dir(&pins).unwrap();
    mount(Some("bpf"), &pins, Some("bpf"), MsFlags::empty(), Some("mode=0700")).unwrap();
    let bound = ["setpriv", "--bounding-set", "-all,+bpf,+net_admin,+perfmon", "--inh-caps", "-all"];
    let mut weir = Weir::start_by(&bound, &path.router, scratch, ["-c", &config]);
    Standing::of(&process(weir.pid())).is_confined_to(&[NET_ADMIN, PERFMON, BPF], true);
    assert_eq!(started(&weir, "unmount"), None, "it could not");
    filters(&path, &weir);
    assert!(weir.stop().success(), "{}", weir.stderr());
    // Mounted by somebody else, it stays, with the files that the kernel puts into each.
    let names = fs::read_dir(&pins).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| !name.contains(".debug")).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn a_page_on_a_low_port_takes_a_capability_more_from_the_start_on() {
    const NET_BIND_SERVICE: u32 = 10;
    let (path, files) = (Path::new(), Scratch::new());
    let low = CONFIG.replace("\"off\"", "\"127.0.0.1:80\"");
    let weir = started_with(&path, &files, &low);
    Standing::of(&process(weir.pid())).is_confined_to(&[NET_BIND_SERVICE, NET_ADMIN, PERFMON, BPF], true);
    wait_until(DEADLINE, "the page is served", || weir.stderr().contains("serving the page"));
    drop(weir);
    let weir = started_with(&path, &files, CONFIG);
    files.file("weir.toml", low);
    weir.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "the kernel refuses the port", || weir.verb(&["status"]).stdout.contains("Permission denied"));
}

#[test]
fn a_process_without_the_capabilities_names_those_that_it_lacks() {
    let path = Path::new();
    let mut command = path.router.command("setpriv");
    command.args(["--bounding-set", "-perfmon", "--inh-caps", "-all"]).arg(binary()).args(["run", "--iface", "lan0"]);
    let output = command.args(["--service", "tiktok", "--run-dir"]).arg(Scratch::new().path()).output().unwrap();
    let expected = "weir: this process lacks CAP_PERFMON; run weir as root, or with these capabilities\n";
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(1), expected));
}

#[test]
fn whoever_is_of_the_group_may_ask_and_only_the_user_may_change() {
    let (path, files) = (Path::new(), Scratch::new());
    let config = files.file("weir.toml", CONFIG).display().to_string();
    let of_group = ["setpriv", "--regid", "23456", "--clear-groups"];
    let weir = Weir::start_by(&of_group, &path.router, Scratch::new(), ["-c", &config]);
    let socket = fs::metadata(weir.run_dir().join("control.sock")).unwrap();
    assert_eq!((socket.permissions().mode() & 0o777, socket.gid()), (0o660, 23456));
    // Not every user may go where the binary is.
    let program = files.program("weir", &binary());
    let by = |user: &str, group: &str, words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--regid", group, "--clear-groups"]).arg(&program).args(words);
        let output = command.arg("--run-dir").arg(weir.run_dir()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Output { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    };
    for question in [&["status"][..], &["selftest"]] {
        let output = by("34567", "23456", question);
        assert_eq!(output.code, 0, "{question:?}: {output:?}");
    }
    for order in [&["stop"][..], &["stop", "--keep"], &["pause", "60s"], &["apply"], &["update"]] {
        let output = by("34567", "23456", order);
        let expected =
            "weir: weir answered: only root and the user who runs weir may change anything; this is user 34567\n";
        assert_eq!((output.code, output.stderr.as_str()), (1, expected), "{order:?}");
    }
    let output = by("34567", "34567", &["status"]);
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("no permission"), "{output:?}");
    assert_eq!(weir.verb(&["pause", "60s"]).code, 0, "root may");
}

#[test]
fn a_file_elsewhere_is_written_after_a_restart_only() {
    let (path, files, elsewhere) = (Path::new(), Scratch::new(), Scratch::new());
    let weir = started_with(&path, &files, CONFIG);
    let text = elsewhere.path().join("weir.prom");
    let with = format!("{CONFIG}[metrics]\ntextfile = \"{}\"\n", text.display());
    files.file("weir.toml", &with);
    weir.signal(Signal::SIGHUP);
    wait_until(DEADLINE, "it is taken over", || weir.stderr().contains("published generation=2 "));
    let output = weir.verb(&["status"]);
    assert_eq!(output.code, 3, "{output:?}");
    let named = format!("{} can be written to after a restart of weir only", text.display());
    assert!(output.stdout.contains(&named), "{output:?}");
    let refused = format!("metrics cannot be written to {}: Permission denied", text.display());
    wait_until(DEADLINE, "the kernel refuses it", || weir.stderr().contains(&refused));
    assert!(!text.exists());
    let left = weir.kill();
    let config = files.path().join("weir.toml").display().to_string();
    let weir = Weir::start_in(&path.router, left, ["-c", &config]);
    wait_until(DEADLINE, "it is written", || text.exists());
    assert_eq!(weir.verb(&["status"]).code, 0);
}

#[test]
fn who_supervises_it_is_told_when_it_filters_that_it_lives_and_that_it_ends() {
    let (path, files) = (Path::new(), Scratch::new());
    let config = files.file("weir.toml", CONFIG).display().to_string();
    let address = files.path().join("notify");
    let socket = UnixDatagram::bind(&address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let next = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned()
    };
    let variable = format!("NOTIFY_SOCKET={}", address.display());
    let mut weir = Weir::start_by(&["env", &variable], &path.router, Scratch::new(), ["-c", &config]);
    assert_eq!(next(), "READY=1");
    assert_eq!(next(), "WATCHDOG=1");
    weir.signal(Signal::SIGHUP);
    let mut told = vec![];
    while told.len() < 2 {
        told.extend(Some(next()).filter(|line| line != "WATCHDOG=1"));
    }
    assert!(told[0].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{told:?}");
    assert_eq!(told[1], "READY=1");
    weir.signal(Signal::SIGSTOP);
    while socket.set_nonblocking(true).is_ok() && socket.recv(&mut [0; 256]).is_ok() {}
    socket.set_nonblocking(false).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    assert!(socket.recv(&mut [0; 256]).is_err(), "one that hangs says nothing");
    weir.signal(Signal::SIGCONT);
    assert_eq!(next(), "WATCHDOG=1");
    assert!(weir.stop().success());
    let mut last = next();
    while last == "WATCHDOG=1" {
        last = next();
    }
    assert_eq!(last, "STOPPING=1");
}
