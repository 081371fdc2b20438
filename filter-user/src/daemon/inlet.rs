//! What reaches the daemon from outside: signals, clients of the control socket, changes of devices. Decides nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::Asked;
use crate::control::Client;
use crate::network::Changes;
use crate::process;

/// Listens on the control socket of `run_dir`. The group of the user who runs weir may ask; who may change anything, is told by
/// what the kernel says of the client ([`Client::read`]).
pub(super) fn listen(run_dir: &Path) -> anyhow::Result<UnixListener> {
    let socket = process::socket(run_dir);
    let listener = UnixListener::bind(&socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o660))
        .with_context(|| format!("cannot restrict {}", socket.display()))?;
    Ok(listener)
}

/// Listens for changes of devices.
pub(super) fn changes() -> Option<Changes> {
    let warned = |problem: &std::io::Error| {
        warn!("devices that come and go are seen with a delay of a second: {problem}");
    };
    Changes::listen().inspect_err(warned).ok()
}

/// Waits for the next change of devices; there is none where nobody listens.
pub(super) async fn next(changes: Option<&Changes>) -> Option<()> {
    changes?.next().await.ok()
}

/// Serves one client of the control socket. One that is slow to ask, or to take its answer, holds up nobody.
pub(super) async fn serve_client(stream: UnixStream, requests: mpsc::Sender<Asked>) {
    let Ok(Some((request, mut client))) = tokio::time::timeout(CLIENT_TIMEOUT, Client::read(stream)).await else {
        return;
    };
    let (reply, answer) = oneshot::channel();
    if requests.send((request, reply)).await.is_ok()
        && let Ok(answer) = answer.await
    {
        let _ = tokio::time::timeout(CLIENT_TIMEOUT, client.answer(&answer)).await;
    }
}

/// How long a client may take to ask, or to take its answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// The signals that a daemon heeds.
pub(super) struct Signals {
    pub(super) interrupt: Signal,
    pub(super) terminate: Signal,
    pub(super) reload: Signal,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            reload: catch(SignalKind::hangup())?,
        })
    }
}
