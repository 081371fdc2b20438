//! A web server for lists that misbehaves on purpose, in a namespace: what a fetcher meets in the field, at will. It
//! records who asked for what and when, so a test can see conditional requests, politeness and backoff. Speaks HTTP/1.1
//! itself, sharing no code with weir's client: a mistake of one must not be hidden by the other.

mod answer;
mod connection;
mod tls;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::ServerConfig;

pub use answer::Answer;
use connection::{Connection, Open};

use crate::echo::readable;
use crate::netns::Netns;
use crate::weir::Scratch;

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, and anything else that a client should not send.
    pub method: String,
    /// Path and query, as they stand in the request line.
    pub path: String,
    /// Names in lower case, in the order sent.
    pub headers: Vec<(String, String)>,
    /// When its last byte was here.
    pub arrived: Instant,
    /// When the last part of the answer was about to go out, so before the client had all of it, or when one of the two
    /// had given up; then it is exact to half a second, in favour of the client. `None` as long as neither is so.
    pub answered: Option<Instant>,
    /// Which connection it came over, counted from 0: requests with the same number came over a kept one.
    pub connection: u64,
}

impl Request {
    /// The first header of this name, which is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

/// A server on 127.0.0.1 of one namespace. All its connections are cut, and its threads ended, when it is dropped.
#[derive(Debug)]
pub struct Feed {
    address: SocketAddr,
    tls: bool,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
    /// Holds the authority's certificate.
    _scratch: Option<Scratch>,
}

impl Feed {
    /// Starts to listen; port 0 stands for any that is free. A path without an answer is a 404.
    #[must_use]
    pub fn start(netns: &Netns, port: u16) -> Self {
        Self::listen(netns, port, None, None)
    }

    /// Like [`Feed::start`] over https, for `127.0.0.1` and `localhost`. The path is that of the PEM file with the
    /// authority, made for this server alone, that a client must trust; it is gone with the server.
    #[must_use]
    pub fn tls(netns: &Netns, port: u16) -> (Self, PathBuf) {
        let scratch = Scratch::new();
        let (config, authority) = tls::identity();
        let path = scratch.file("authority.pem", authority);
        (Self::listen(netns, port, Some(config), Some(scratch)), path)
    }

    fn listen(netns: &Netns, port: u16, tls: Option<Arc<ServerConfig>>, scratch: Option<Scratch>) -> Self {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = netns.enter(|| TcpListener::bind(wanted)).unwrap_or_else(|error| panic!("{wanted}: {error}"));
        let address = listener.local_addr().unwrap();
        let (shared, with_tls) = (Arc::<Shared>::default(), tls.is_some());
        let acceptor = {
            let shared = shared.clone();
            Some(thread::spawn(move || accept(&listener, tls.as_ref(), &shared)))
        };
        Self { address, tls: with_tls, shared, acceptor, _scratch: scratch }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path, which starts with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.tls { "https" } else { "http" }, self.address)
    }

    /// What a path answers from now on. Answers that are under way stay what they are.
    pub fn set(&self, path: &str, answer: Answer) {
        self.shared.lock().answers.insert(path.to_owned(), Arc::new(answer));
    }

    /// All requests so far, in the order in which they arrived.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// The requests for one path so far.
    #[must_use]
    pub fn requests_for(&self, path: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.path == path).collect()
    }

    /// How many connections are open now, kept ones included.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.shared.lock().open.len()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.shared.stop();
        let acceptor = self.acceptor.take().map(JoinHandle::join);
        // A panic inside a panic would abort the other tests.
        assert!(thread::panicking() || !matches!(acceptor, Some(Err(_))), "a thread of the feed panicked");
    }
}

/// The most requests that waited for their answer, or a part of it, at the same time. Of a client that gave up, ask once
/// no connection of the server is open.
#[must_use]
pub fn at_once(requests: &[Request]) -> usize {
    let open_at = |at: Instant| {
        let open = |request: &&Request| request.arrived <= at && request.answered.is_none_or(|answered| answered > at);
        requests.iter().filter(open).count()
    };
    requests.iter().map(|request| open_at(request.arrived)).max().unwrap_or(0)
}

/// How long the client waited: from each arrival to the next.
#[must_use]
pub fn pauses(requests: &[Request]) -> Vec<Duration> {
    requests.windows(2).map(|pair| pair[1].arrived.duration_since(pair[0].arrived)).collect()
}

/// A client that leaves is noticed within this time, which is as much as two busy cores take.
const NOTICED: Duration = Duration::from_millis(500);

/// What the threads have in common.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    answers: HashMap<String, Arc<Answer>>,
    requests: Vec<Request>,
    /// By number of the connection; what it takes to cut it.
    open: HashMap<u64, Open>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that failed in between has said so itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down a request; gives its place and what to answer.
    fn enter(&self, mut request: Request) -> (usize, Arc<Answer>) {
        let mut state = self.lock();
        // Times are taken under the lock: they are in the order of what they stand for.
        request.arrived = Instant::now();
        let answer = state.answers.get(&request.path).cloned().unwrap_or_else(|| Arc::new(Answer::Status(404)));
        state.requests.push(request);
        (state.requests.len() - 1, answer)
    }

    /// Nothing more than what is about to be written follows on the request at this place.
    fn answered(&self, place: usize) {
        self.lock().requests[place].answered.get_or_insert_with(Instant::now);
    }

    /// The client has left before the answer to the request at this place was written.
    fn abandoned(&self, place: usize) {
        let mut state = self.lock();
        // It may have asked for something else at once, before the thread that still wrote saw it go.
        let now = Instant::now();
        let mut arrivals = state.requests[place + 1..].iter().map(|request| request.arrived);
        let next = arrivals.find(|arrived| now.duration_since(*arrived) <= NOTICED);
        state.requests[place].answered.get_or_insert(next.unwrap_or(now));
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits, unless the server is to end before.
    fn pause(&self, mut length: Duration) -> io::Result<()> {
        const TURN: Duration = Duration::from_millis(20);
        while !length.is_zero() {
            if self.stopped() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let turn = length.min(TURN);
            thread::sleep(turn);
            length -= turn;
        }
        Ok(())
    }

    /// Whoever reads or writes now, or will, finds its connection shut.
    fn stop(&self) {
        let state = self.lock();
        self.stop.store(true, Ordering::Relaxed);
        for open in state.open.values() {
            open.cut();
        }
    }
}

fn accept(listener: &TcpListener, tls: Option<&Arc<ServerConfig>>, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    let mut number = 0;
    while !shared.stopped() {
        if !readable(listener) {
            continue;
        }
        let Ok((stream, _)) = listener.accept() else { continue };
        let Some(connection) = Connection::open(stream, tls, number, shared) else { continue };
        number += 1;
        threads.push(thread::spawn(move || connection.serve()));
    }
    let ended: Vec<_> = threads.into_iter().map(JoinHandle::join).collect();
    assert!(ended.iter().all(Result::is_ok), "a connection's thread panicked");
}
