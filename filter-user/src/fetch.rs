//! Asks sources for documents: the only client of HTTP and of routing registries, and the reader of source files. Judges
//! nothing.
//!
//! The daemon does not ask by itself: it starts this binary again for each document ([`ask_apart`]), so that a parser that
//! panics, or a document that eats memory, costs one refresh and not the filter.

use std::fs::File;
use std::io::{self, BufRead as _, Read, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, UNIX_EPOCH};

use nix::sys::resource::{Resource, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::config::{FetchConfig, Location};
use crate::controller::{Job, Outcome};
use crate::sandbox;
use crate::source::copy::{Copy, Provenance, Validators};
use crate::source::{self, Content, Need, irr};

/// A question, complete: nothing else is known to the process that asks it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Question {
    location: Location,
    need: Need,
    validators: Validators,
    max_bytes: u64,
    contact: Option<String>,
    ca: Option<PathBuf>,
    timeout: Duration,
}

impl Question {
    /// The question for `job`, asked as `config` says.
    #[must_use]
    pub fn new(job: &Job, config: &FetchConfig) -> Self {
        Self {
            location: job.location.clone(),
            need: job.need.clone(),
            validators: job.validators.clone(),
            max_bytes: job.max_bytes,
            contact: config.contact.clone(),
            ca: config.ca.clone(),
            timeout: config.timeout,
        }
    }

    /// The files that are read to answer it.
    fn files(&self) -> Vec<&Path> {
        let source = if let Location::File(path) = &self.location { Some(path) } else { None };
        source.into_iter().chain(&self.ca).map(PathBuf::as_path).collect()
    }
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{location} answers {status}")]
    Status { location: String, status: StatusCode, retry_after: Option<Duration> },
    #[error("{location}: {problem}")]
    Broken { location: String, problem: String },
    #[error("{location} has more than {limit} bytes (max_bytes)")]
    TooLarge { location: String, limit: u64 },
    #[error("{location}: {problem}")]
    Content { location: String, problem: String },
}

/// What came, before it is read.
enum Document {
    Unchanged,
    Bytes(Vec<u8>, Validators),
}

/// Asks in this process.
#[must_use]
pub fn ask(question: &Question) -> Outcome {
    let location = shown(&question.location);
    let asked = match &question.location {
        Location::Url(url) => http(url, question),
        Location::File(path) => file(path, question),
        Location::Irr(server) => registry(server, question).map(|bytes| Document::Bytes(bytes, Validators::default())),
    };
    let (bytes, validators) = match asked {
        Ok(Document::Unchanged) => return Outcome::Unchanged,
        Ok(Document::Bytes(bytes, validators)) => (bytes, validators),
        Err(failure) => return failed(&failure),
    };
    match source::read(&bytes, &question.need) {
        Ok(content) => Outcome::Content { content, validators },
        Err(problem) => failed(&Failure::Content { location, problem: problem.to_string() }),
    }
}

fn failed(failure: &Failure) -> Outcome {
    let retry_after = if let Failure::Status { retry_after, .. } = failure { *retry_after } else { None };
    Outcome::Failed { problem: one_line(&failure.to_string()), retry_after }
}

/// A location without what an operator would not want in a log: user and password.
fn shown(location: &Location) -> String {
    match location {
        Location::Url(url) => match (url.split_once("://"), url.find('@')) {
            (Some((scheme, rest)), Some(_)) => {
                let authority = rest.split('/').next().unwrap_or_default();
                let host = authority.rsplit('@').next().unwrap_or_default();
                format!("{scheme}://{host}{}", rest.get(authority.len()..).unwrap_or_default())
            }
            _ => url.clone(),
        },
        Location::File(path) => path.display().to_string(),
        Location::Irr(server) => format!("registry {server}"),
    }
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Redirects that are followed; publishers need one or two.
const MOST_REDIRECTS: u32 = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

fn http(url: &str, question: &Question) -> Result<Document, Failure> {
    let location = shown(&question.location);
    let broken = |problem: String| Failure::Broken { location: location.clone(), problem };
    let contact = question.contact.as_ref().map_or_else(String::new, |contact| format!(" (+{contact})"));
    let config = ureq::Agent::config_builder()
        .user_agent(format!("weir/{}{contact}", env!("CARGO_PKG_VERSION")))
        .timeout_global(Some(question.timeout))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .max_redirects(MOST_REDIRECTS)
        // What was asked for over TLS must not be answered in the clear.
        .https_only(url.starts_with("https://"))
        .http_status_as_error(false)
        .tls_config(tls(question.ca.as_deref()).map_err(broken)?)
        .build();
    let mut request = config.new_agent().get(url);
    if let Some(etag) = &question.validators.etag {
        request = request.header("if-none-match", etag);
    }
    if let Some(date) = &question.validators.last_modified {
        request = request.header("if-modified-since", date);
    }
    let broken =
        |error: &ureq::Error| Failure::Broken { location: location.clone(), problem: told(error, question.timeout) };
    let mut response = request.call().map_err(|error| broken(&error))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED => return Ok(Document::Unchanged),
        status => {
            let retry_after = retry_after(&response);
            return Err(Failure::Status { location, status, retry_after });
        }
    }
    let validators = validators(response.headers());
    let mut bytes = Vec::new();
    // One byte more than allowed tells "exactly the limit" from "over it".
    let limit = question.max_bytes.saturating_add(1);
    let body = response.body_mut().with_config().limit(u64::MAX).reader();
    body.take(limit).read_to_end(&mut bytes).map_err(|error| broken(&ureq::Error::from(error)))?;
    if bytes.len() as u64 > question.max_bytes {
        return Err(Failure::TooLarge { location, limit: question.max_bytes });
    }
    Ok(Document::Bytes(bytes, validators))
}

/// That the time for a document is up.
fn late(timeout: Duration) -> String {
    format!("not done within {} s ([fetch] timeout)", timeout.as_secs_f32())
}

/// What went wrong, in words an operator can act on.
fn told(error: &ureq::Error, timeout: Duration) -> String {
    match error {
        ureq::Error::Timeout(ureq::Timeout::Global) => late(timeout),
        ureq::Error::HostNotFound => "the host's name is not known; check the URL and this router's resolvers".into(),
        ureq::Error::Io(error) => format!("the connection failed: {error}"),
        ureq::Error::TooManyRedirects => format!("more than {MOST_REDIRECTS} redirects"),
        error => error.to_string(),
    }
}

fn tls(ca: Option<&Path>) -> Result<TlsConfig, String> {
    let Some(path) = ca else { return Ok(TlsConfig::default()) };
    let pem = std::fs::read(path).map_err(|error| format!("[fetch] ca: cannot read {}: {error}", path.display()))?;
    let certificates = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
        Ok(_) => None,
        Err(error) => Some(Err(format!("[fetch] ca: {}: {error}", path.display()))),
    });
    let certificates = certificates.collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() {
        return Err(format!("[fetch] ca: {} holds no certificate in PEM form", path.display()));
    }
    Ok(TlsConfig::builder().root_certs(RootCerts::from(certificates)).build())
}

fn validators(headers: &HeaderMap) -> Validators {
    let header = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned).filter(|value| value.len() < 1024);
    Validators { etag: header("etag"), last_modified: header("last-modified") }
}

/// `Retry-After` in seconds (RFC 9110 section 10.2.3); the form with a date is rare and not worth a clock.
fn retry_after<T>(response: &Response<T>) -> Option<Duration> {
    let value = response.headers().get("retry-after")?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

/// Reads a source file. Its size and time of change stand in for an entity tag.
fn file(path: &Path, question: &Question) -> Result<Document, Failure> {
    let location = path.display().to_string();
    let broken =
        |error: io::Error| Failure::Broken { location: location.clone(), problem: format!("cannot read it: {error}") };
    let file = File::open(path).map_err(broken)?;
    let metadata = file.metadata().map_err(broken)?;
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let etag = changed.map(|changed| format!("\"{}-{}\"", metadata.len(), changed.as_nanos()));
    if etag.is_some() && etag == question.validators.etag {
        return Ok(Document::Unchanged);
    }
    let mut bytes = Vec::new();
    file.take(question.max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(broken)?;
    if bytes.len() as u64 > question.max_bytes {
        return Err(Failure::TooLarge { location, limit: question.max_bytes });
    }
    Ok(Document::Bytes(bytes, Validators { etag, last_modified: None }))
}

/// Asks an IRRd server for the routes it holds for an AS.
fn registry(server: &str, question: &Question) -> Result<Vec<u8>, Failure> {
    let location = shown(&question.location);
    let broken = |error: io::Error| Failure::Broken { location: location.clone(), problem: error.to_string() };
    let Need::Registered(asn) = question.need else {
        let problem = "a routing registry answers for AS numbers only".into();
        return Err(Failure::Broken { location, problem });
    };
    let begun = Instant::now();
    let address = server.to_socket_addrs().map_err(broken)?.next();
    let address = address.ok_or_else(|| broken(io::Error::other("its name has no address")))?;
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).map_err(broken)?;
    stream.write_all(irr::queries(asn).as_bytes()).map_err(broken)?;
    let (mut reply, mut buffer) = (Vec::new(), [0; 1 << 14]);
    loop {
        let left = question.timeout.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(Failure::Broken { location, problem: late(question.timeout) });
        }
        stream.set_read_timeout(Some(left)).map_err(broken)?;
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(reply),
            Ok(length) => reply.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            // Time is up, and the next turn says so.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(broken(error)),
        }
        if reply.len() as u64 > question.max_bytes {
            return Err(Failure::TooLarge { location, limit: question.max_bytes });
        }
    }
}

/// The first line of what the process that asks prints; the copy's text follows where there is content.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Head {
    Unchanged,
    Failed { problem: String, retry_after: Option<Duration> },
    Content { validators: Validators, declared: Option<u64>, cut: Option<String> },
}

/// What the process that asks does: reads a question from standard input, prints the outcome.
pub fn answer(mut questions: impl io::BufRead, mut out: impl io::Write) -> io::Result<()> {
    let mut line = String::new();
    questions.read_line(&mut line)?;
    let question: Question = serde_json::from_str(&line)?;
    limit_memory(&question);
    // Before anything from outside is read.
    sandbox::confine_reader(&question.files()).map_err(io::Error::other)?;
    let (head, copy) = match ask(&question) {
        Outcome::Unchanged => (Head::Unchanged, None),
        Outcome::Failed { problem, retry_after } => (Head::Failed { problem, retry_after }, None),
        Outcome::Content { content, validators } => {
            let head = Head::Content { validators, declared: content.declared, cut: content.cut.clone() };
            let provenance = Provenance { rows: content.rows, ..Provenance::default() };
            (head, Some(Copy::renew(None, content, provenance, 0)))
        }
    };
    writeln!(out, "{}", serde_json::to_string(&head)?)?;
    if let Some(copy) = copy {
        out.write_all(copy.encode().as_bytes())?;
    }
    out.flush()
}

/// Address space that reading a document may take: the document, what it unpacks to, and what it says.
fn limit_memory(question: &Question) {
    let most = (1 << 30) + question.max_bytes.saturating_mul(4);
    // Where the limit cannot be set, the kernel's is left.
    let _ = setrlimit(Resource::RLIMIT_AS, most, most);
}

/// This binary, whatever stands at its path by now.
const SELF: &str = "/proc/self/exe";
/// The hidden verb that runs [`answer`].
pub const VERB: &str = "fetch";
/// What a process may print at most: a copy of a whole Internet table takes 40 MiB.
const MOST_PRINTED: u64 = 256 << 20;
/// What a process may take beyond the time its question allows, to read what came.
const READING: Duration = Duration::from_mins(2);

/// Asks in a process of its own.
pub async fn ask_apart(question: &Question) -> Outcome {
    let limit = question.timeout + READING;
    let problem = match tokio::time::timeout(limit, start(question)).await {
        Ok(Ok(outcome)) => return outcome,
        Ok(Err(problem)) => problem,
        Err(_) => format!("reading it was not done within {} s", limit.as_secs()),
    };
    Outcome::Failed { problem: format!("{}: {}", shown(&question.location), one_line(&problem)), retry_after: None }
}

async fn start(question: &Question) -> Result<Outcome, String> {
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let mut line = serde_json::to_vec(question).map_err(|error| error.to_string())?;
    line.push(b'\n');
    let mut child = tokio::process::Command::new(SELF)
        .arg(VERB)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed("cannot start the process that fetches"))?;
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err("the process that fetches has no pipes".into());
    };
    stdin.write_all(&line).await.map_err(failed("cannot ask the process that fetches"))?;
    drop(stdin);
    let (mut printed, mut complaint) = (Vec::new(), Vec::new());
    let mut stdout = stdout.take(MOST_PRINTED);
    let mut stderr = stderr.take(4096);
    let (read, _) = tokio::join!(stdout.read_to_end(&mut printed), stderr.read_to_end(&mut complaint));
    read.map_err(failed("cannot read what was fetched"))?;
    let status = child.wait().await.map_err(failed("cannot wait for the process that fetches"))?;
    if !status.success() {
        let complaint = String::from_utf8_lossy(&complaint);
        // One that was killed could not complain.
        let said = if complaint.trim().is_empty() { String::new() } else { format!(": {}", complaint.trim()) };
        return Err(format!("the process that reads it ended with {status}{said}"));
    }
    understand(&printed)
}

/// The outcome that [`answer`] printed.
pub fn understand(printed: &[u8]) -> Result<Outcome, String> {
    let broken = || String::from("the process that fetches printed something else: is it another version?");
    let mut rest = printed;
    let mut line = Vec::new();
    rest.read_until(b'\n', &mut line).map_err(|_| broken())?;
    Ok(match serde_json::from_slice(&line).map_err(|_| broken())? {
        Head::Unchanged => Outcome::Unchanged,
        Head::Failed { problem, retry_after } => Outcome::Failed { problem, retry_after },
        Head::Content { validators, declared, cut } => {
            let copy = Copy::decode(rest).map_err(|_| broken())?;
            Outcome::Content { content: Content { declared, cut, ..Content::from(copy) }, validators }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::copy::WantedAsns;

    fn question(location: Location, need: Need) -> Question {
        let job = Job {
            part: crate::ruleset::parts::PartId::Source("x".into(), None),
            location,
            need,
            validators: Validators::default(),
            max_bytes: 1 << 20,
        };
        Question::new(&job, &FetchConfig::default())
    }

    #[test]
    fn what_the_process_prints_is_what_it_understood() {
        let path = std::env::temp_dir().join(format!("weir-fetch-{}.csv", std::process::id()));
        std::fs::write(&path, "192.0.2.0,192.0.2.255,7,\"Seven, Inc.\"\n2001:db8::,2001:db8::ff,8,Eight\n").unwrap();
        let need = Need::Origins(WantedAsns { asns: [7, 8].into(), ..WantedAsns::default() });
        let question = question(Location::File(path.clone()), need);
        let outcome = ask(&question);
        let Outcome::Content { content, validators } = &outcome else { panic!("{outcome:?}") };
        assert_eq!(
            (content.rows, content.organisations[&7].as_str(), validators.etag.is_some()),
            (2, "Seven, Inc.", true)
        );
        let mut printed = Vec::new();
        let line = serde_json::to_string(&question).unwrap() + "\n";
        // Without the limit: it would stay on the process that runs the tests.
        let question: Question = serde_json::from_str(&line).unwrap();
        let Outcome::Content { content, validators } = ask(&question) else { panic!() };
        let head = Head::Content { validators, declared: content.declared, cut: content.cut.clone() };
        writeln!(printed, "{}", serde_json::to_string(&head).unwrap()).unwrap();
        let provenance = Provenance { rows: content.rows, ..Provenance::default() };
        printed.extend(Copy::renew(None, content, provenance, 0).encode().bytes());
        assert_eq!(understand(&printed).unwrap(), outcome);
        let again = Question { validators: outcome_validators(&outcome), ..question };
        assert_eq!(ask(&again), Outcome::Unchanged);
        std::fs::remove_file(path).unwrap();
    }

    fn outcome_validators(outcome: &Outcome) -> Validators {
        let Outcome::Content { validators, .. } = outcome else { panic!("{outcome:?}") };
        validators.clone()
    }

    #[test]
    fn a_file_that_is_not_there_or_too_large_fails_by_name() {
        let missing = question(Location::File("/nonexistent/list".into()), Need::List);
        let Outcome::Failed { problem, .. } = ask(&missing) else { panic!() };
        assert_eq!(problem, "/nonexistent/list: cannot read it: No such file or directory (os error 2)");
        let endless = Question { max_bytes: 100, ..question(Location::File("/dev/zero".into()), Need::List) };
        let Outcome::Failed { problem, .. } = ask(&endless) else { panic!() };
        assert_eq!(problem, "/dev/zero has more than 100 bytes (max_bytes)");
    }

    #[test]
    fn passwords_do_not_reach_the_log() {
        let url = |url: &str| shown(&Location::Url(url.into()));
        assert_eq!(url("https://user:secret@lists.example/a@b"), "https://lists.example/a@b");
        assert_eq!(url("https://lists.example/a@b"), "https://lists.example/a@b");
    }
}
