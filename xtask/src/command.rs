//! Starting programs: every child of xtask goes through here, so that failures read alike. It knows no verb.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Runs a program on the terminal.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", line(command)))?;
    succeeded(command, status, "")
}

/// Runs a program and returns what it printed; its error output is shown only when it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {}", line(command)))?;
    succeeded(command, output.status, &String::from_utf8_lossy(&output.stderr))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Like [`output`] for programs that may hang on the network: kills the program after `limit`.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", line(command)))?;
    // Read aside: a child that fills the pipe would never end.
    let stderr = child.stderr.take();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        if let Some(mut stderr) = stderr {
            // Half a message is better than none.
            stderr.read_to_string(&mut text).ok();
        }
        text
    });
    let status = wait_until(limit, || Ok(child.try_wait()?))?;
    let Some(status) = status else {
        child.kill()?;
        child.wait()?;
        bail!("{} did not end within {} s", line(command), limit.as_secs());
    };
    succeeded(command, status, &reader.join().unwrap_or_default())
}

/// Asks `ready` until it answers or `limit` has passed; `None` means that it never answered.
pub(crate) fn wait_until<T>(limit: Duration, mut ready: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ready()? {
            return Ok(Some(answer));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Finds a program on PATH and in the system directories that an ordinary user's PATH leaves out.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A command that runs as root: through sudo where needed, saying why. `variables` survive sudo's clean-up.
pub(crate) fn as_root(program: &Path, variables: &[(&str, OsString)], why: &str) -> Result<Command> {
    if is_root() {
        let mut command = Command::new(program);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        return Ok(command);
    }
    if find("sudo").is_none() {
        bail!("{} needs root ({why}) and sudo is not installed; run the same command as root", program.display());
    }
    println!("sudo: needs root: {why}");
    let mut command = Command::new("sudo");
    command.arg("env");
    for (name, value) in variables {
        let mut assignment = OsString::from(name);
        assignment.push("=");
        assignment.push(value);
        command.arg(assignment);
    }
    command.arg(program);
    Ok(command)
}

/// The command as a person would type it.
pub(crate) fn line(command: &Command) -> String {
    let words: Vec<_> =
        [command.get_program()].into_iter().chain(command.get_args()).map(OsStr::to_string_lossy).collect();
    format!("`{}`", words.join(" "))
}

fn succeeded(command: &Command, status: ExitStatus, stderr: &str) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    let said = stderr.trim();
    bail!("{} failed ({status}){}{said}", line(command), if said.is_empty() { "" } else { ": " })
}
