//! Where events are written: standard output, a file that is turned over, the system's log. Never waits: what does not go
//! out at once is counted as lost.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _, stdout};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use crate::config::EventsConfig;

/// The sinks that the configuration asks for.
#[derive(Default)]
pub(super) struct Sinks {
    config: EventsConfig,
    file: Option<(File, u64)>,
    log: Option<UnixDatagram>,
    /// Why the last line did not go out, by sink: told once.
    problems: [Option<String>; 2],
    /// Lines that a sink did not take.
    lost: u64,
}

/// The socket of the system's log (RFC 3164, as syslogd, journald and OpenWrt's logd read it).
const SYSLOG: &str = "/dev/log";
/// Facility local0, severity informational.
const PRIORITY: u32 = 16 * 8 + 6;

impl Sinks {
    /// Goes on with another configuration. Files are opened when there is something to write.
    pub(super) fn configure(&mut self, config: &EventsConfig) {
        if *config != self.config {
            *self = Self { config: config.clone(), lost: self.lost, ..Self::default() };
        }
    }

    /// True where there is no sink.
    pub(super) fn is_empty(&self) -> bool {
        !self.config.stdout && !self.config.syslog && self.config.file.is_none()
    }

    /// Lines that a sink did not take.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Writes one line, without its end, to every sink.
    pub(super) fn write(&mut self, line: &str) {
        if self.config.stdout {
            // A reader that is gone must not end the filter.
            let written = writeln!(stdout().lock(), "{line}");
            self.lost += u64::from(written.is_err());
        }
        if let Some(path) = self.config.file.clone() {
            let written = self.write_file(&path, line);
            self.judge(0, &format!("file {}", path.display()), written);
        }
        if self.config.syslog {
            let written = self.write_log(line);
            self.judge(1, SYSLOG, written);
        }
    }

    fn judge(&mut self, sink: usize, name: &str, written: io::Result<()>) {
        let Some(problem) = self.problems.get_mut(sink) else { return };
        match written {
            Ok(()) => {
                if problem.take().is_some() {
                    info!("events are written to {name} again");
                }
            }
            Err(cause) => {
                self.lost += 1;
                if problem.is_none() {
                    warn!("events cannot be written to {name}: {cause}");
                }
                *problem = Some(cause.to_string());
            }
        }
    }

    fn write_file(&mut self, path: &Path, line: &str) -> io::Result<()> {
        let length = line.len() as u64 + 1;
        if self.file.as_ref().is_some_and(|(_, size)| size + length > self.config.max_bytes) {
            self.file = None;
            turn_over(path, self.config.keep)?;
        }
        let (file, size) = if let Some(open) = &mut self.file {
            open
        } else {
            let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
            let size = file.metadata()?.len();
            self.file.insert((file, size))
        };
        // One call for the whole line, so that a full disk leaves no half of it before the next one.
        let written = file.write_all(format!("{line}\n").as_bytes());
        match written {
            Ok(()) => *size += length,
            // Whoever turned it over or made room meanwhile is heeded at the next line.
            Err(_) => self.file = None,
        }
        written
    }

    fn write_log(&mut self, line: &str) -> io::Result<()> {
        let log = if let Some(log) = &self.log {
            log
        } else {
            let log = UnixDatagram::unbound()?;
            log.set_nonblocking(true)?;
            log.connect(SYSLOG)?;
            self.log.insert(log)
        };
        let sent = log.send(format!("<{PRIORITY}>weir[{}]: {line}", std::process::id()).as_bytes()).map(drop);
        if sent.is_err() {
            // The log's daemon may have been started anew.
            self.log = None;
        }
        sent
    }
}

/// Renames `path` to `path.1`, that to `path.2` and so on; the last goes.
fn turn_over(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |number: u32| -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    };
    if keep == 0 {
        return fs::remove_file(path);
    }
    for number in (1..keep).rev() {
        match fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, numbered(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_turned_over_and_no_line_is_lost_before_the_oldest() {
        let directory = std::env::temp_dir().join(format!("weir-sinks-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("events.json");
        let mut sinks = Sinks::default();
        let config = EventsConfig { file: Some(path.clone()), max_bytes: 100, keep: 2, ..EventsConfig::default() };
        sinks.configure(&config);
        for number in 0..50 {
            sinks.write(&format!("line {number:04}"));
        }
        let lines = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
        assert_eq!(lines("events.json").lines().next(), Some("line 0040"), "ten bytes a line, a hundred a file");
        assert_eq!(lines("events.json.1").lines().count(), 10);
        assert_eq!(lines("events.json.2").lines().next(), Some("line 0020"));
        assert!(!directory.join("events.json.3").exists());
        // Another hand turns it over by renaming: the next daemon begins anew, this one goes on in its file.
        fs::remove_dir_all(&directory).unwrap();
        sinks.configure(&EventsConfig { keep: 1, ..config });
        sinks.write("x");
        assert_eq!(sinks.lost(), 1, "the directory is gone");
        fs::create_dir_all(&directory).unwrap();
        sinks.write("y");
        assert_eq!((lines("events.json").as_str(), sinks.lost()), ("y\n", 1));
        fs::remove_dir_all(&directory).unwrap();
    }
}
