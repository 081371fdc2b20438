//! The control socket: one JSON request line, one JSON answer line. The only Unix socket; decides nothing.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

use crate::events::Event;
use crate::process;
use crate::report::{SelfTest, Status};
use crate::ruleset::Explained;
use crate::sandbox;

/// What a client may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// The daemon's status.
    Status,
    /// Detach and end.
    Stop,
    /// End, and leave the filter for the next daemon.
    Leave,
    /// Read the configuration file again and make it live.
    Apply {
        /// Go back after this many seconds, unless confirmed.
        confirm: Option<u64>,
    },
    /// Keep what was applied.
    Confirm,
    /// Go back to what was before.
    Rollback,
    /// Let block rules only count for this many seconds.
    Pause {
        /// How long.
        secs: u64,
    },
    /// End a pause.
    Resume,
    /// Write down everything that was counted until now.
    Flush,
    /// Send probes through the live program.
    SelfTest,
    /// The metrics.
    Metrics {
        /// As `OpenMetrics`, else as Prometheus' own text.
        open: bool,
    },
    /// The latest drops.
    Recent {
        /// How many, at most.
        limit: usize,
    },
    /// Ask every source now.
    Update {
        /// Sources whose copies are taken over whatever the gates say.
        accept: BTreeSet<String>,
    },
    /// Why an address is blocked, or why not, by the rules in force.
    Explain {
        /// The address.
        address: IpAddr,
    },
}

impl Request {
    /// Whether it changes nothing: whoever may connect may ask.
    #[must_use]
    pub fn is_question(&self) -> bool {
        match self {
            Self::Status | Self::SelfTest | Self::Metrics { .. } | Self::Recent { .. } | Self::Explain { .. } => true,
            Self::Stop
            | Self::Leave
            | Self::Apply { .. }
            | Self::Confirm
            | Self::Rollback
            | Self::Pause { .. }
            | Self::Resume
            | Self::Flush
            | Self::Update { .. } => false,
        }
    }
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// The status asked for.
    Status(Box<Status>),
    /// The drops asked for, the latest first.
    Recent(Vec<Event>),
    /// The metrics asked for.
    Metrics(String),
    /// How the probes fared.
    SelfTested(Box<SelfTest>),
    /// It ends: everything is detached, or left as it was asked.
    Stopped,
    /// What happens to packets to and from the address.
    Explained(Box<Explained>),
    /// It was done, in one line.
    Done(String),
    /// The request was not served, and why.
    Error(String),
}

/// Why a client got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("no weir is running on {}; start one with `weir run`, or name its --run-dir", .0.display())]
    NotRunning(PathBuf),
    /// The socket is not for this user.
    #[error("no permission for {}; run as root, as the user who runs weir, or as a member of that user's group", .0.display())]
    Permission(PathBuf),
    /// The connection broke.
    #[error("weir on {} did not answer: {source}", path.display())]
    Broken {
        /// The run directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The daemon refused.
    #[error("weir answered: {0}")]
    Refused(String),
}

/// The longest pause: whoever forgets one is protected again the next day.
pub const MAX_PAUSE: Duration = Duration::from_hours(24);

/// Longest request and answer; a status with every counter of 64,000 rules fits.
const MAX_LINE: u64 = 256 << 20;
const MAX_REQUEST: u64 = 4096;
/// A stop waits for detaching; anything longer than this is a hang.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Asks the daemon of `run_dir`.
pub fn ask(run_dir: &Path, request: &Request) -> Result<Answer, ControlError> {
    let broken = |source| ControlError::Broken { path: run_dir.into(), source };
    let mut stream = UnixStream::connect(process::socket(run_dir)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NotRunning(run_dir.into()),
        io::ErrorKind::PermissionDenied => ControlError::Permission(run_dir.into()),
        _ => broken(error),
    })?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(broken)?;
    let mut line = serde_json::to_vec(request).map_err(|error| broken(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(broken)?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut answer).map_err(broken)?;
    match serde_json::from_str(&answer).map_err(|error| broken(error.into()))? {
        Answer::Error(problem) => Err(ControlError::Refused(problem)),
        answer => Ok(answer),
    }
}

/// A client of the daemon whose request was read.
#[derive(Debug)]
pub struct Client {
    stream: tokio::net::UnixStream,
}

impl Client {
    /// Reads the request of a client that connected. A client that sends none is dropped.
    pub async fn read(mut stream: tokio::net::UnixStream) -> Option<(Request, Self)> {
        let mut line = String::new();
        let reader = tokio::io::BufReader::new((&mut stream).take(MAX_REQUEST)).read_line(&mut line).await;
        reader.ok()?;
        let mut client = Self { stream };
        let refusal = match serde_json::from_str::<Request>(&line) {
            Ok(request) if request.is_question() => return Some((request, client)),
            // The kernel says who it is (`SO_PEERCRED`, unix(7)).
            Ok(request) => match client.stream.peer_cred() {
                Ok(peer) if sandbox::is_master(peer.uid()) => return Some((request, client)),
                Ok(peer) => {
                    format!("only root and the user who runs weir may change anything; this is user {}", peer.uid())
                }
                Err(error) => format!("cannot tell who asks: {error}"),
            },
            Err(error) => format!("not a request: {error}"),
        };
        client.answer(&Answer::Error(refusal)).await;
        None
    }

    /// Sends the answer. A client that went away gets none.
    pub async fn answer(&mut self, answer: &Answer) {
        let Ok(mut line) = serde_json::to_vec(answer) else { return };
        line.push(b'\n');
        let _ = self.stream.write_all(&line).await;
    }
}
