//! One connection of a feed: requests in, answers out, and the ways it may end. Knows no answer from another.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Request, Shared};
use crate::sys;

/// A request longer than this is no request.
const MAX_HEAD: usize = 64 << 10;

/// How a connection goes on after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// With the next request.
    Keep,
    /// Not; the client reads all that was sent, and then the end.
    Close,
    /// Not; the client reads what was sent, and then that the connection was reset.
    Reset,
}

/// A second hand on a connection that another thread serves.
#[derive(Debug)]
pub(super) struct Open(TcpStream);

impl Open {
    pub(super) fn cut(&self) {
        // It may have ended by itself.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

pub(super) struct Connection {
    stream: Stream,
    number: u64,
    shared: Arc<Shared>,
    /// The place, among all of the server's, of the request that is being answered.
    place: usize,
    /// Read, but not part of a request yet.
    unread: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Connection {
    /// Takes the stream over; `None` where the server is at its end.
    pub(super) fn open(
        stream: TcpStream,
        tls: Option<&Arc<ServerConfig>>,
        number: u64,
        shared: &Arc<Shared>,
    ) -> Option<Self> {
        stream.set_nodelay(true).unwrap();
        let open = Open(stream.try_clone().unwrap());
        {
            let mut state = shared.lock();
            if shared.stopped() {
                return None;
            }
            state.open.insert(number, open);
        }
        let stream = match tls {
            None => Stream::Plain(stream),
            Some(config) => {
                let session = ServerConnection::new(config.clone()).unwrap();
                Stream::Tls(Box::new(StreamOwned::new(session, stream)))
            }
        };
        Some(Self { stream, number, shared: shared.clone(), place: 0, unread: Vec::new() })
    }

    /// Answers requests until either side has had enough.
    pub(super) fn serve(mut self) {
        let mut after = After::Keep;
        while after == After::Keep {
            let Ok(request) = self.read_request() else { break };
            let (place, answer) = self.shared.enter(request.clone());
            self.place = place;
            after = answer.send(&request, &mut self).unwrap_or_else(|_| {
                self.shared.abandoned(place);
                After::Close
            });
        }
        self.end(after);
    }

    /// Reads to the end of one request's head. What follows is the next request's: a fetcher sends no body.
    fn read_request(&mut self) -> io::Result<Request> {
        let mut buffer = [0; 4096];
        let end = loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            let length = self.read(&mut buffer)?;
            if length == 0 || self.unread.len() > MAX_HEAD {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.unread.extend(&buffer[..length]);
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (method, path) = (word(), word());
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        Ok(Request { method, path, headers, arrived: Instant::now(), answered: None, connection: self.number })
    }

    /// Blocks until the client leaves, or the server ends.
    pub(super) fn wait_for_the_end(&mut self) -> io::Error {
        let mut buffer = [0; 4096];
        while self.read(&mut buffer).is_ok_and(|length| length > 0) {}
        io::ErrorKind::UnexpectedEof.into()
    }

    /// The request's place among all of the server's.
    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// Waits, unless the server ends before.
    pub(super) fn pause(&self, length: Duration) -> io::Result<()> {
        self.shared.pause(length)
    }

    /// Writes the last part of an answer.
    pub(super) fn finish(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.shared.answered(self.place);
        self.write_all(bytes)?;
        self.flush()
    }

    fn end(mut self, after: After) {
        if after == After::Reset {
            // What was written must arrive before the reset throws it away; a client that does not read gets less.
            let deadline = Instant::now() + Duration::from_secs(1);
            while sys::unacknowledged(self.socket()).is_ok_and(|bytes| bytes > 0) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            let reset = libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(self.socket(), sockopt::Linger, &reset).unwrap();
        } else if let Stream::Tls(stream) = &mut self.stream {
            // Else the client could not tell the end from an attack.
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        // The socket is closed, or reset, once nobody holds it.
        self.shared.lock().open.remove(&self.number);
    }

    fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}
