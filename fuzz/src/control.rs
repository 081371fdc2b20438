//! What clients and children of the daemon say: requests on the control socket, what the process that fetches prints, and
//! what a controller makes of requests that come one after the other.
//!
//! Input: a byte for which of these (`run`), then what is said. For the controller: requests as lines, each behind the seconds
//! that passed (a digit) and whether the publish before it worked (`+` or `-`).

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use weir::catalog::Catalog;
use weir::config::Config;
use weir::control::{Answer, Client, MAX_PAUSE, Request};
use weir::controller::{Command, ConfigText, Controller, Event, Load, Moment, Outcome};
use weir::fetch;
use weir::ruleset::parts::Copies;
use weir::source::copy::checksum;

use crate::bytes::Bytes;
use crate::judge;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_io().build().unwrap();
}

/// The longest request.
const MOST: usize = 4096;

/// See the file's first lines.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    match bytes.byte() % 4 {
        0 | 1 => request(bytes.rest()),
        2 => printed(bytes.rest()),
        _ => requests(bytes.rest()),
    }
}

/// Whatever a client sends, it gets one line, or its request is taken as it would be read again.
fn request(sent: &[u8]) {
    let (taken, answered) = RUNTIME.with(|runtime| runtime.block_on(ask(sent)));
    let line = sent.get(..MOST).unwrap_or(sent);
    let line = line.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default();
    let expected = serde_json::from_slice::<Request>(line).ok();
    assert_eq!(taken, expected);
    match &taken {
        Some(request) => {
            assert!(answered.is_empty(), "it is the daemon's to answer");
            let again = serde_json::to_vec(request).unwrap();
            assert_eq!(serde_json::from_slice::<Request>(&again).unwrap(), *request);
        }
        None if std::str::from_utf8(line).is_err() => assert!(answered.is_empty()),
        None => {
            assert!(answered.ends_with(b"\n") && judge::lines(&answered) == 2);
            let answer: Answer = serde_json::from_slice(&answered).unwrap();
            assert!(matches!(&answer, Answer::Error(problem) if problem.starts_with("not a request: ")), "{answer:?}");
        }
    }
}

/// What a daemon reads of a client that sends this and waits, and what it answers by itself.
async fn ask(sent: &[u8]) -> (Option<Request>, Vec<u8>) {
    let (mut client, daemon) = UnixStream::pair().unwrap();
    // A socket takes more than the longest request at once; a daemon that has read enough may close it early.
    let _ = client.write_all(sent.get(..4 * MOST).unwrap_or(sent)).await;
    client.shutdown().await.unwrap();
    let taken = Client::read(daemon).await.map(|(request, _)| request);
    let mut answered = Vec::new();
    // What was sent in vain resets the connection.
    let _ = client.read_to_end(&mut answered).await;
    (taken, answered)
}

/// Whatever the process that fetches prints. Its checksum is put right, so that what is behind it is looked at.
fn printed(said: &[u8]) {
    let mut printed = said.to_vec();
    if let Some(head) = said.iter().position(|&byte| byte == b'\n').filter(|&head| head + 1 < said.len()) {
        let copy = &said[head + 1..];
        writeln!(printed, "sha256 {}", checksum(copy)).unwrap();
    }
    match fetch::understand(&printed) {
        Ok(Outcome::Content { content, .. }) => {
            let ordered = content.prefixes.v4.iter().all(|range| range.first <= range.last)
                && content.prefixes.v6.iter().all(|range| range.first <= range.last);
            assert!(ordered, "{content:?}");
        }
        Ok(Outcome::Unchanged | Outcome::Failed { .. }) => {}
        Err(refused) => assert!(refused.starts_with("the process that fetches printed something else"), "{refused}"),
    }
}

/// Requests that come one after the other: the controller never wants two publishes at once, nothing but a publish changes
/// what is in force, and a failed one leaves it as it was.
fn requests(said: &[u8]) {
    let mut daemon = Daemon::new();
    for line in said.split(|&byte| byte == b'\n').take(64) {
        let [seconds, works, line @ ..] = line else { continue };
        if let Ok(request) = serde_json::from_slice(line) {
            daemon.pass(Duration::from_secs(u64::from(seconds % 16) * 7));
            daemon.serve(&request, *works != b'-');
        }
    }
}

/// A daemon that publishes nothing, and believes it where it is told to.
struct Daemon {
    controller: Controller,
    now: Moment,
}

fn load(confirm: Option<Duration>) -> Load {
    let text = "[[rule]]\nname = \"a\"\naction = \"block\"\nprefixes = [\"192.0.2.0/24\"]\n";
    let config = Config::parse(Path::new("weir.toml"), text.as_bytes(), Catalog::embedded()).unwrap();
    let text = Some(ConfigText { path: "weir.toml".into(), text: text.into() });
    Load { config, text, files: Copies::new(), stored: Copies::new(), confirm }
}

impl Daemon {
    fn new() -> Self {
        let now = Moment { up: Duration::from_mins(1), unix: 1_767_614_400 };
        let mut daemon = Self { controller: Controller::new(7), now };
        daemon.happens(Event::Load(Box::new(load(None))), true);
        assert!(daemon.controller.live().is_some());
        daemon
    }

    fn pass(&mut self, time: Duration) {
        self.now = Moment { up: self.now.up + time, unix: self.now.unix + time.as_secs().cast_signed() };
        self.happens(Event::Tick, true);
    }

    /// As `daemon/answer.rs` turns requests into events.
    fn serve(&mut self, request: &Request, works: bool) {
        let event = match request {
            Request::Apply { confirm } => Event::Load(Box::new(load(confirm.map(Duration::from_secs)))),
            Request::Confirm => Event::Confirm,
            Request::Rollback => Event::RollBack,
            Request::Pause { secs } if (1..=MAX_PAUSE.as_secs()).contains(secs) => {
                Event::Pause(Duration::from_secs(*secs))
            }
            Request::Resume => Event::Resume,
            Request::Update { accept } => Event::Update(accept.clone()),
            _ => Event::Tick,
        };
        self.happens(event, works);
    }

    fn happens(&mut self, event: Event, works: bool) {
        let mut commands = self.controller.handle(event, self.now);
        // A publish that is told of may lead to another one, not to one after the other for ever.
        for _ in 0..8 {
            let before = self.controller.live().cloned();
            let mut publishes = commands.iter().filter_map(|command| match command {
                Command::Publish(policy) => Some(policy.clone()),
                _ => None,
            });
            let Some(policy) = publishes.next() else { return };
            assert!(publishes.next().is_none(), "two publishes at once");
            let result = if works { Ok(()) } else { Err("it does not work".to_owned()) };
            commands = self.controller.handle(Event::Published(result), self.now);
            let live = self.controller.live();
            assert_eq!(live, if works { Some(&policy) } else { before.as_ref() });
            let _ = self.controller.unconfirmed(self.now);
            let _ = self.controller.paused(self.now);
        }
        panic!("it publishes without end");
    }
}
