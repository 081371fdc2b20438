//! A systemd of the test's own, in namespaces of its own, with weir's units. Knows nothing of what they are to do.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use weir_tests::lab::{DEADLINE, wait_until};
use weir_tests::netns::Netns;
use weir_tests::weir::{Output, Scratch, binary};

/// As a service of a router is.
const UNIT: &str = "weir.service";

/// The directory of the units.
pub(crate) fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("packaging/systemd")
}

/// A systemd whose first job is weir; killed, with all that it started, when dropped.
pub(crate) struct Systemd {
    child: Child,
    group: String,
    files: Scratch,
}

impl Systemd {
    /// Starts it in a network namespace, with a configuration of weir's and lines for the service beside its own.
    pub(crate) fn start(netns: &Netns, config: &str, drop_in: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let group = format!("weir-test-{}-{}", process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let files = Scratch::new();
        for directory in ["units", "drop-in"] {
            fs::create_dir(files.path().join(directory)).unwrap();
        }
        for unit in fs::read_dir(units()).unwrap() {
            let unit = unit.unwrap();
            fs::copy(unit.path(), files.path().join("units").join(unit.file_name())).unwrap();
        }
        let log = files.path().join("log");
        let output = format!("StandardOutput=append:{0}\nStandardError=append:{0}\n", log.display());
        files.file("drop-in/test.conf", format!("[Service]\n{output}{drop_in}"));
        files.file("weir.toml", config);
        let console = File::create(files.path().join("console")).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/service/boot.sh");
        let mut boot = netns.command("unshare");
        boot.arg("--mount").arg(script).arg(files.path()).arg(binary()).arg(&group);
        let child = boot.stdin(Stdio::null()).stdout(console.try_clone().unwrap()).stderr(console).spawn().unwrap();
        let systemd = Self { child, group, files };
        wait_until(DEADLINE, "weir is active", || systemd.property("ActiveState") == "active");
        systemd
    }

    /// Runs a command where the units live.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        let Some(pid) = self.pid() else {
            return Output { code: -1, stdout: String::new(), stderr: "systemd is not there yet".into() };
        };
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--pid", "--net", "--target", &pid, "--"]).args(words);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Output { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Runs a command that must end well; gives what it printed.
    pub(crate) fn succeed(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(output.code, 0, "{words:?}: {output:?}\n{}", self.log());
        output.stdout
    }

    /// What systemd says of the service, such as `active` of `ActiveState`.
    pub(crate) fn property(&self, name: &str) -> String {
        self.run(&["systemctl", "show", "--value", "--property", name, UNIT]).stdout.trim().to_owned()
    }

    /// Sends a signal to the daemon, from outside of everything that systemd does.
    pub(crate) fn signal(&self, signal: &str) {
        self.succeed(&["kill", "-s", signal, &self.property("MainPID")]);
    }

    /// What the daemon logged, and systemd.
    pub(crate) fn log(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.files.path().join(name)).unwrap_or_default();
        format!("weir:\n{}systemd:\n{}", read("log"), read("console"))
    }

    /// The process that is the first in its namespace.
    fn pid(&self) -> Option<String> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        Some(children.split_whitespace().next()?.to_owned())
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its control groups outlive it, and can be removed once the last process in them is gone.
        let remove = "mount -t cgroup2 cgroup2 \"$1/groups\" && for _ in 1 2 3 4 5 6 7 8 9 10; do \
            find \"$1/groups/$2\" -depth -type d -exec rmdir {} + && exit; sleep 0.2; done";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", remove, "sh"]).arg(self.files.path()).arg(&self.group);
        let _ = command.stderr(Stdio::null()).status();
    }
}
