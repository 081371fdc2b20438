//! The documents as a newcomer uses them: every command of README.md runs as written, the example configuration is
//! what it says. A document that rots fails here.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use weir::catalog::Catalog;
use weir::config::Config;
use weir_tests::frame::frame;
use weir_tests::lab::{DEADLINE, require_root, wait_until};
use weir_tests::netns::{Netns, veth};
use weir_tests::weir::{Scratch, binary};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into()
}

/// The commands of README.md that stand behind `prompt`, without the remark three spaces behind them.
fn commands(prompt: &str) -> Vec<String> {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let blocks = readme.split("```console\n").skip(1).filter_map(|block| block.split_once("```"));
    let lines = blocks.flat_map(|(block, _)| block.lines().map(str::to_owned).collect::<Vec<_>>());
    lines
        .filter_map(|line| line.strip_prefix(prompt).map(str::to_owned))
        .map(|line| line.split("   ").next().unwrap_or_default().trim().to_owned())
        .collect()
}

/// A capture with one frame, in the classic format.
fn capture() -> Vec<u8> {
    let bytes = frame().ipv4("10.66.0.2".parse().unwrap(), "71.18.1.1".parse().unwrap()).udp(443).build();
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1, 0, 0] {
        file.extend(word.to_le_bytes());
    }
    let length = u32::try_from(bytes.len()).unwrap();
    file.extend(length.to_le_bytes());
    file.extend(length.to_le_bytes());
    file.extend(bytes);
    file
}

/// A program of the test; ended with it, also when it fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A place where the README's commands find what they name: eth0, weir on the PATH, weir.toml and capture.pcap. The default
/// directories are there, too, and nobody else's: /run and /var/lib are file systems of its own.
struct Place {
    holder: Running,
    _netns: Netns,
    _peer: Netns,
    scratch: Scratch,
}

impl Place {
    fn new() -> Self {
        let (netns, peer) = (Netns::new("readme"), Netns::new("readme-peer"));
        veth((&netns, "eth0", [2, 0, 0, 0, 0, 1]), (&peer, "eth0", [2, 0, 0, 0, 0, 2]));
        netns.up("eth0");
        peer.up("eth0");
        let scratch = Scratch::new();
        scratch.file("weir.toml", fs::read(workspace().join("etc/weir.toml")).unwrap());
        scratch.file("capture.pcap", capture());
        let own = "mount -t tmpfs own /run; mount -t tmpfs own /var/lib; echo ready; exec sleep 1000";
        let mut holder = netns.command("unshare");
        holder.args(["--mount", "--propagation", "private", "sh", "-ec", own]).stdout(Stdio::piped());
        let mut holder = Running(holder.spawn().unwrap());
        let mut word = [0; 5];
        holder.0.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
        Self { holder, _netns: netns, _peer: peer, scratch }
    }

    fn shell(&self, line: &str) -> Command {
        let path = format!("{}:{}", binary().parent().unwrap().display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.holder.0.id().to_string()).args(["--mount", "--net", "sh", "-ec"]);
        let line = format!("cd {}\n{line}", self.scratch.path().display());
        command.arg(line).env("PATH", path).stdin(Stdio::null());
        command
    }

    fn succeeds(&self, line: &str) -> bool {
        self.shell(line).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    fn run(&self, line: &str) {
        let output = self.shell(line).output().unwrap();
        assert!(
            output.status.success(),
            "`{line}` failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn start(&self, line: &str) -> Running {
        // `exec`, so that the child is weir and not a shell around it.
        let child = Running(self.shell(&format!("exec {line}")).stdout(Stdio::null()).spawn().unwrap());
        wait_until(DEADLINE, &format!("`{line}` answers"), || self.succeeds("weir status"));
        child
    }
}

#[test]
fn every_weir_command_of_the_readme_runs_as_written() {
    require_root();
    let place = Place::new();
    let commands = commands("# ");
    assert!(commands.len() >= 6, "README.md shows its commands: {commands:?}");
    let (daemons, others): (Vec<_>, Vec<_>) = commands.into_iter().partition(|line| line.starts_with("weir run"));
    // It ends the daemon, and not in order: the last of all.
    let (last, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|line| line.starts_with("weir panic"));
    assert!(!daemons.is_empty() && others.iter().any(|line| line.starts_with("weir status")));
    for daemon in &daemons {
        let mut child = place.start(daemon);
        if Some(daemon) == daemons.last() {
            for line in &others {
                place.run(line);
            }
        }
        place.run("weir stop");
        assert!(child.0.wait().unwrap().success(), "`{daemon}` ends well");
    }
    for line in last {
        let mut child = place.start(&daemons[0]);
        place.run(&line);
        assert!(!child.0.wait().unwrap().success(), "`{line}` kills");
    }
}

#[test]
fn the_two_commands_of_the_readme_are_demo_and_test_and_the_demo_runs() {
    require_root();
    let commands = commands("$ ");
    assert_eq!(commands, ["cargo xtask demo", "cargo xtask test"], "the second is what runs this test");
    let output = Command::new("sh").args(["-ec", &commands[0]]).current_dir(workspace()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("dropped") && text.contains("reached"), "{text}");
}

#[test]
fn the_example_configuration_is_valid_and_its_defaults_are_the_defaults() {
    let parse = |file: &str, text: &[u8]| Config::parse(Path::new(file), text, Catalog::embedded()).unwrap();
    let text = fs::read_to_string(workspace().join("etc/weir.toml")).unwrap();
    let example = parse("etc/weir.toml", text.as_bytes());
    let bare =
        "[[interface]]\nname = \"eth0\"\n[[rule]]\nname = \"tiktok\"\naction = \"block\"\nservices = [\"tiktok\"]\n";
    let bare = parse("bare", bare.as_bytes());
    assert_eq!(example.interfaces, bare.interfaces, "keys that the example spells out have their default values");
    assert_eq!(example.rules[0], bare.rules[0]);
    let flags = |rule: &weir::config::RuleConfig| (rule.allow_wide, rule.allow_shared, rule.allow_bogon);
    assert_eq!(flags(&example.rules[1]), (false, false, false));
    assert_eq!((&example.asn, &example.fetch, &example.sources), (&bare.asn, &bare.fetch, &bare.sources));

    // What is commented out is right, too, and so are its defaults.
    let code = |line: &str| {
        let line = line.strip_prefix("# ").unwrap_or(line);
        let key = line.split([' ', '=']).next().unwrap_or_default();
        line.starts_with('[')
            || (line.contains(" = ") && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
    };
    let all: Vec<&str> = text.lines().filter(|line| code(line)).map(|line| line.trim_start_matches("# ")).collect();
    let all = all.join("\n");
    let all = parse("etc/weir.toml", all.as_bytes());
    let campus = &all.sources["campus"];
    assert_eq!(
        (campus.limits, campus.refresh.as_secs(), campus.max_bytes),
        (weir::source::gate::Limits::default(), 86_400, 64 << 20)
    );
    assert_eq!((all.asn.quorum, all.rules[1].scope.vlans.as_slice()), (1, [20].as_slice()));
    assert!(all.rules[1].schedule.is_some() && all.asn.rpki.is_some());
}
