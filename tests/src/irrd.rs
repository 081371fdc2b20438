//! A routing registry that misbehaves on purpose, in a namespace: as much of `IRRd`'s protocol as a router asks for
//! (<https://irrd.readthedocs.io/en/stable/users/queries/whois/>), and how such servers fail. Shares no code with weir's
//! reader of it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use crate::echo::readable;
use crate::netns::Netns;

/// How a registry answers the first question about routes of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Right,
    /// With bytes of no protocol.
    Garbage,
    /// Not at all.
    Hang,
    /// With a reset.
    Reset,
    /// With so many bytes of routes.
    Flood(u64),
}

/// A server on 127.0.0.1 of one namespace, until dropped.
#[derive(Debug)]
pub struct Irrd {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    stop: AtomicBool,
}

#[derive(Debug)]
struct State {
    manner: Manner,
    /// By AS: IPv4 and IPv6 routes, separated by spaces.
    routes: BTreeMap<u32, [String; 2]>,
    sessions: Vec<Vec<String>>,
    open: usize,
    most_open: usize,
}

impl Default for State {
    fn default() -> Self {
        Self { manner: Manner::Right, routes: BTreeMap::new(), sessions: Vec::new(), open: 0, most_open: 0 }
    }
}

impl Irrd {
    /// Starts to listen with nothing registered.
    #[must_use]
    pub fn start(netns: &Netns) -> Self {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = netns.enter(|| TcpListener::bind(wanted)).unwrap_or_else(|error| panic!("{wanted}: {error}"));
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let acceptor = {
            let shared = shared.clone();
            Some(thread::spawn(move || accept(&listener, &shared)))
        };
        Self { address, shared, acceptor }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is registered for an AS from now on, separated by spaces.
    pub fn register(&self, asn: u32, v4: &str, v6: &str) {
        self.shared.lock().routes.insert(asn, [v4.into(), v6.into()]);
    }

    /// How it answers from now on.
    pub fn set(&self, manner: Manner) {
        self.shared.lock().manner = manner;
    }

    /// The questions of each session so far.
    #[must_use]
    pub fn sessions(&self) -> Vec<Vec<String>> {
        self.shared.lock().sessions.clone()
    }

    /// The most sessions that were open at the same time.
    #[must_use]
    pub fn at_once(&self) -> usize {
        self.shared.lock().most_open
    }
}

impl Drop for Irrd {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let acceptor = self.acceptor.take().map(JoinHandle::join);
        assert!(thread::panicking() || !matches!(acceptor, Some(Err(_))), "a thread of the registry panicked");
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    while !shared.stopped() {
        if !readable(listener) {
            continue;
        }
        let Ok((stream, _)) = listener.accept() else { continue };
        let number = {
            let mut state = shared.lock();
            state.sessions.push(Vec::new());
            state.open += 1;
            state.most_open = state.most_open.max(state.open);
            state.sessions.len() - 1
        };
        let shared = shared.clone();
        threads.push(thread::spawn(move || {
            // The client may leave whenever it likes.
            let _ = serve(stream, number, &shared);
            shared.lock().open -= 1;
        }));
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Answers until the client says `!q`, leaves, or, without `!!`, has asked once.
fn serve(mut stream: TcpStream, number: usize, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut unread, mut buffer, mut several) = (Vec::new(), [0; 1024], false);
    loop {
        while let Some(end) = unread.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            let question = String::from_utf8_lossy(&line).trim_end().to_owned();
            let (manner, routes) = {
                let mut state = shared.lock();
                state.sessions[number].push(question.clone());
                (state.manner, routes(&state, &question))
            };
            match question.as_str() {
                "!!" => several = true,
                "!q" => return Ok(()),
                name if name.starts_with("!n") => stream.write_all(b"C\n")?,
                _ => match routes {
                    None => stream.write_all(format!("F Unrecognised command: {question}\n").as_bytes())?,
                    Some(_) if manner != Manner::Right => return misbehave(stream, manner, shared),
                    Some(routes) if routes.is_empty() => stream.write_all(b"D\n")?,
                    Some(routes) => stream.write_all(format!("A{}\n{routes}\nC\n", routes.len() + 1).as_bytes())?,
                },
            }
            if !several {
                return Ok(());
            }
        }
        while !readable(&stream) {
            if shared.stopped() {
                return Ok(());
            }
        }
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        unread.extend(&buffer[..length]);
    }
}

/// What is registered for the AS of `!gAS7` or `!6AS7`; `None` for other questions.
fn routes(state: &State, question: &str) -> Option<String> {
    let family = usize::from(question.starts_with("!6"));
    let asn = question.strip_prefix(["!g", "!6"][family])?.strip_prefix("AS")?.parse().ok()?;
    Some(state.routes.get(&asn).map(|routes| routes[family].clone()).unwrap_or_default())
}

fn misbehave(mut stream: TcpStream, manner: Manner, shared: &Shared) -> io::Result<()> {
    match manner {
        Manner::Right => Ok(()),
        Manner::Garbage => stream.write_all(b"\x16\x03\x01\x02\x00\xff\xfe\n\x1b[2J<html>\n"),
        Manner::Hang => {
            let mut buffer = [0; 1024];
            while !shared.stopped() {
                if readable(&stream) && stream.read(&mut buffer)? == 0 {
                    break;
                }
            }
            Ok(())
        }
        Manner::Reset => {
            setsockopt(&stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
            Ok(())
        }
        Manner::Flood(bytes) => {
            stream.write_all(format!("A{bytes}\n").as_bytes())?;
            let block = b"192.0.2.0/24 ".repeat(5000);
            for _ in 0..bytes / block.len() as u64 {
                stream.write_all(&block)?;
            }
            Ok(())
        }
    }
}
