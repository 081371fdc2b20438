//! A terminal for programs that draw: a pty whose output becomes a screen of characters. Understands what such programs
//! send, and fails at anything else; knows nothing of weir.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{self, Signal};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;

use crate::lab::{DEADLINE, wait_until};

/// A program on a terminal of its own; killed when dropped.
#[derive(Debug)]
pub struct Pty {
    child: Child,
    master: File,
    slave: OwnedFd,
    vt: Arc<Mutex<Vt>>,
}

impl Pty {
    /// Starts a program on a new terminal of `columns` and `lines`; gives the terminal's modes before that, too.
    #[must_use]
    pub fn start(mut command: Command, (columns, lines): (u16, u16)) -> (Self, Termios) {
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let before = tcgetattr(pty.slave.as_fd()).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm-256color").spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let master = File::from(pty.master);
        let vt = Arc::new(Mutex::new(Vt::new((columns.into(), lines.into()))));
        let (mut output, screen) = (master.try_clone().unwrap(), Arc::clone(&vt));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                screen.lock().unwrap().feed(&bytes[..count]);
            }
        });
        (Self { child, master, slave: pty.slave, vt }, before)
    }

    /// Presses keys, one after the other as a person does.
    pub fn press(&mut self, keys: &str) {
        for key in keys.chars() {
            self.master.write_all(key.encode_utf8(&mut [0; 4]).as_bytes()).unwrap();
        }
    }

    /// Makes the terminal larger or smaller, and tells the program.
    pub fn resize(&mut self, (columns, lines): (u16, u16)) {
        self.vt.lock().unwrap().resize((columns.into(), lines.into()));
        let mut stty = Command::new("stty");
        stty.args(["cols", &columns.to_string(), "rows", &lines.to_string()]);
        assert!(stty.stdin(Stdio::from(self.slave.try_clone().unwrap())).status().unwrap().success());
    }

    /// The lines of the screen, without spaces at their ends.
    #[must_use]
    pub fn screen(&self) -> Vec<String> {
        let vt = self.vt.lock().unwrap();
        assert!(vt.unknown.is_empty(), "the screen was sent what no terminal test knows: {:?}", vt.unknown);
        vt.cells.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned()).collect()
    }

    /// Waits until the screen has a line that `wanted` accepts, and gives it.
    pub fn find(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut found = None;
        let begun = std::time::Instant::now();
        while found.is_none() {
            found = self.screen().into_iter().find(|line| wanted(line));
            assert!(begun.elapsed() < DEADLINE, "no {what} on the screen:\n{}", self.screen().join("\n"));
            thread::sleep(std::time::Duration::from_millis(10));
        }
        found.unwrap()
    }

    /// Whether the program holds the alternate screen, whether the cursor is shown, and whether a colour was ever sent.
    #[must_use]
    pub fn state(&self) -> (bool, bool, bool) {
        let vt = self.vt.lock().unwrap();
        (vt.alternate, vt.cursor, vt.coloured)
    }

    /// The terminal's modes.
    #[must_use]
    pub fn modes(&self) -> Termios {
        tcgetattr(self.slave.as_fd()).unwrap()
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: Signal) {
        signal::kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for the program's end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until(DEADLINE, "the program on the terminal ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a terminal makes of the bytes it is sent (ECMA-48, as far as it is needed).
#[derive(Debug)]
struct Vt {
    cells: Vec<Vec<char>>,
    at: (usize, usize),
    /// Bytes of a sequence or character that is not complete yet.
    open: Vec<u8>,
    alternate: bool,
    cursor: bool,
    coloured: bool,
    unknown: Vec<String>,
}

impl Vt {
    fn new(size: (usize, usize)) -> Self {
        let (cells, at, open) = (Vec::new(), (0, 0), Vec::new());
        let mut vt = Self { cells, at, open, alternate: false, cursor: true, coloured: false, unknown: Vec::new() };
        vt.resize(size);
        vt
    }

    fn resize(&mut self, (columns, lines): (usize, usize)) {
        self.cells = vec![vec![' '; columns]; lines];
    }

    fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.open.push(byte);
            if let [0x1b, b'[', rest @ ..] = &self.open[..] {
                if let [parameters @ .., last @ 0x40..=0x7e] = rest {
                    let (parameters, last) = (String::from_utf8_lossy(parameters).into_owned(), char::from(*last));
                    self.open.clear();
                    self.control(&parameters, last);
                }
            } else if self.open[0] == 0x1b {
                if self.open.len() == 2 {
                    self.unknown.push(format!("{:?}", String::from_utf8_lossy(&self.open)));
                    self.open.clear();
                }
            } else if let Ok(text) = std::str::from_utf8(&self.open) {
                let c = text.chars().next().unwrap();
                self.open.clear();
                self.print(c);
            }
        }
    }

    fn print(&mut self, c: char) {
        match c {
            '\r' => self.at.0 = 0,
            '\n' => self.at.1 += 1,
            c if c.is_control() => self.unknown.push(format!("{c:?}")),
            c => {
                if let Some(cell) = self.cells.get_mut(self.at.1).and_then(|line| line.get_mut(self.at.0)) {
                    *cell = c;
                }
                self.at.0 += 1;
            }
        }
    }

    fn control(&mut self, parameters: &str, last: char) {
        let numbers: Vec<usize> = parameters.split(';').map(|number| number.parse().unwrap_or(0)).collect();
        match (parameters, last) {
            ("?1049", 'h' | 'l') => {
                self.alternate = last == 'h';
                self.clear();
            }
            ("?25", 'h' | 'l') => self.cursor = last == 'h',
            (_, 'H') => {
                let number = |index| numbers.get(index).copied().unwrap_or(1).max(1) - 1;
                self.at = (number(1), number(0));
            }
            ("2", 'J') => self.clear(),
            (_, 'm') => {
                let colour = |number: &usize| matches!(number, 30..=38 | 40..=48 | 90..=107);
                self.coloured |= numbers.iter().any(colour);
            }
            _ => self.unknown.push(format!("CSI {parameters}{last}")),
        }
    }

    fn clear(&mut self) {
        self.cells.iter_mut().flatten().for_each(|cell| *cell = ' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_what_was_drawn_last() {
        let mut vt = Vt::new((6, 2));
        for byte in "\x1b[?1049h\x1b[1;1Habcdef\x1b[2;3H\x1b[38;5;2m▄x\x1b[0m\x1b[1;2H--".as_bytes() {
            vt.feed(&[*byte]);
        }
        let lines: Vec<String> = vt.cells.iter().map(|line| line.iter().collect()).collect();
        assert_eq!(lines, ["a--def", "  ▄x  "]);
        assert!(vt.alternate && vt.coloured && vt.unknown.is_empty());
        vt.feed(b"\x1b[2J\x1b[5n");
        assert_eq!((vt.cells[0][0], vt.unknown.len()), (' ', 1));
    }
}
