//! The only HTTP server: the page, the JSON API and the metrics, on the daemon's own runtime. Listens, limits and answers; it
//! never touches the daemon's state, but asks through the same inbox as the control socket.
//!
//! Nothing here may stop the filter: an address that cannot be used is tried again, and a client can take neither the
//! daemon's time nor its file descriptors away.

mod access;
mod answer;
mod assets;
mod paced;
mod past;
mod problem;
mod query;
mod respond;
mod route;
mod token;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::config::HttpConfig;
use crate::daemon::Asked;
use access::{Access, Token};
use paced::Paced;

/// Connections at once; more are closed when they come.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to send the head of a request, and to think before the next one.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a client may take to take an answer.
const ANSWER_TIME: Duration = Duration::from_secs(16);
/// The longest head. hyper's least.
const MAX_HEAD: usize = 8 << 10;
const MAX_HEADERS: usize = 64;
/// The wait before an address that cannot be used is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// The wait after a connection that could not be taken: descriptors may be short.
const BREATH: Duration = Duration::from_millis(200);
/// Closed connections are worth a line now and then, not one each.
const TELL: Duration = Duration::from_mins(1);

/// The running server. It ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    config: watch::Sender<Option<HttpConfig>>,
    problem: watch::Receiver<Option<String>>,
    task: AbortHandle,
}

impl Server {
    /// Starts a server that listens nowhere until it is configured. Its questions go to `requests`.
    #[must_use]
    pub fn start(requests: mpsc::Sender<Asked>, state_dir: &Path, run_dir: &Path) -> Self {
        let (config, wanted) = watch::channel(None);
        let (problem, shown) = watch::channel(None);
        let site = Site::new(requests, state_dir, run_dir);
        let task = tokio::spawn(attend(wanted, problem, Arc::new(site))).abort_handle();
        Self { config, problem: shown, task }
    }

    /// Makes a configuration take effect, if it is another one.
    pub fn configure(&self, config: &HttpConfig) {
        self.config.send_if_modified(|current| {
            let differs = current.as_ref() != Some(config);
            if differs {
                *current = Some(config.clone());
            }
            differs
        });
    }

    /// What does not work, in one line.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Questions to the daemon at once: clients of the control socket find room beside them.
const MAX_ASKING: usize = 4;
/// Readers of the history at once.
const MAX_READING: usize = 4;

/// What answers are made of.
struct Site {
    requests: mpsc::Sender<Asked>,
    state_dir: PathBuf,
    run_dir: PathBuf,
    asking: Semaphore,
    reading: Arc<Semaphore>,
}

impl Site {
    fn new(requests: mpsc::Sender<Asked>, state_dir: &Path, run_dir: &Path) -> Self {
        Self {
            requests,
            state_dir: state_dir.into(),
            run_dir: run_dir.into(),
            asking: Semaphore::new(MAX_ASKING),
            reading: Arc::new(Semaphore::new(MAX_READING)),
        }
    }
}

/// Serves one connection that was made elsewhere, for a fuzzer: as a server that listens at `listen` without a history, and
/// lets in who holds `token`.
pub async fn converse<S>(stream: S, listen: SocketAddr, hosts: &[&str], token: &str, requests: mpsc::Sender<Asked>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
    let access = Access { listen, hosts, token: Some(Token::new(token)) };
    let nowhere = Path::new("/nonexistent");
    connection(stream, Arc::new(access), Arc::new(Site::new(requests, nowhere, nowhere))).await;
}

/// Serves as it is configured, from one change to the next.
async fn attend(
    mut wanted: watch::Receiver<Option<HttpConfig>>,
    problem: watch::Sender<Option<String>>,
    site: Arc<Site>,
) {
    loop {
        let config = wanted.borrow_and_update().clone();
        problem.send_replace(None);
        let changed = tokio::select! {
            changed = wanted.changed() => changed,
            () = serve(config, &problem, &site) => wanted.changed().await,
        };
        if changed.is_err() {
            return;
        }
    }
}

async fn serve(config: Option<HttpConfig>, problem: &watch::Sender<Option<String>>, site: &Arc<Site>) {
    let Some((listen, config)) = config.and_then(|config| Some((config.listen?, config))) else { return };
    let (token, place) = match token::find(config.token.as_deref(), &site.state_dir) {
        Ok((token, place)) => (Some(token), place.display().to_string()),
        Err(refused) => {
            warn!("{refused}");
            problem.send_replace(Some(refused.to_string()));
            (None, "nowhere".into())
        }
    };
    let tokenless = problem.borrow().clone();
    let listener = bind(listen, problem).await;
    problem.send_replace(tokenless);
    info!(url = format!("http://{}/", reachable(listen)), token = place, "serving the page and the API");
    if !listen.ip().is_loopback() {
        warn!(%listen, "the page is served to other hosts without encryption: everybody on the way reads along");
    }
    let access = Arc::new(Access { listen, hosts: config.hosts, token });
    accept(&listener, &access, site).await;
}

/// Listens, as soon as that can be done.
async fn bind(listen: SocketAddr, problem: &watch::Sender<Option<String>>) -> TcpListener {
    loop {
        match TcpListener::bind(listen).await {
            Ok(listener) => return listener,
            Err(error) => {
                let text = format!(
                    "the page cannot be served on {listen}: {error}; end what listens there, or set [http] listen to another \
                     address or \"off\""
                );
                let told = problem.send_replace(Some(text.clone()));
                if told.as_ref() != Some(&text) {
                    warn!("{text}");
                }
            }
        }
        sleep(AGAIN).await;
    }
}

/// Where a browser on this host finds it.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let here = if listen.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
    if listen.ip().is_unspecified() { SocketAddr::new(here, listen.port()) } else { listen }
}

/// Takes connections; those above the limit are closed at once. Never ends.
async fn accept(listener: &TcpListener, access: &Arc<Access>, site: &Arc<Site>) {
    let mut connections = JoinSet::new();
    let (mut closed, mut told) = (0_u64, None::<Instant>);
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            taken = listener.accept() => match taken {
                Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                    connections.spawn(connection(stream, Arc::clone(access), Arc::clone(site)));
                }
                Ok((stream, from)) => {
                    drop(stream);
                    closed += 1;
                    if told.is_none_or(|told| told.elapsed() >= TELL) {
                        warn!(closed, %from, "more than {MAX_CONNECTIONS} connections to the page: the newest are closed");
                        told = Some(Instant::now());
                    }
                }
                Err(_) => sleep(BREATH).await,
            },
        }
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(stream: S, access: Arc<Access>, site: Arc<Site>) {
    let respond = service_fn(|request| {
        let (access, site) = (Arc::clone(&access), Arc::clone(&site));
        async move { Ok::<_, Infallible>(respond::respond(request, &access, &site).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    // A client that went away, was too slow or spoke no HTTP is not worth a line.
    let _ = http.serve_connection(TokioIo::new(Paced::new(stream, ANSWER_TIME)), respond).await;
}
