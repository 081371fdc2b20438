//! Connections to the page and the JSON API: any bytes, and requests whose fate is known when they are made. hyper is in between,
//! as it is in the daemon.
//!
//! Input: a byte. Its lowest bit is 1 where the server listens for other hosts; its next one tells whether the rest is what a
//! client sends, or the choices of which a request is made.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::pin::pin;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, split};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use weir::control::{Answer, MAX_PAUSE, Request};
use weir::events::Recent;
use weir::http::converse;

use crate::bytes::Bytes;

const TOKEN: &str = "weir-token-0123456789abcdef";
const HOST: &str = "router.lan";

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
}

/// What came of a connection.
struct Exchange {
    /// What the daemon was asked, in this order.
    asked: Vec<Request>,
    /// What the client was sent.
    answered: Vec<u8>,
}

/// See the file's first lines.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let choice = bytes.byte();
    let listen: SocketAddr = if choice & 1 == 1 { "0.0.0.0:9846" } else { "127.0.0.1:9846" }.parse().unwrap();
    if choice & 2 == 2 {
        made(&mut bytes, listen);
    } else {
        any(bytes.rest(), listen);
    }
}

fn exchange(sent: &[u8], listen: SocketAddr) -> Exchange {
    RUNTIME.with(|runtime| runtime.block_on(converse_with(sent, listen)))
}

/// Sends all at once, and hangs up once nothing happens any more: no clock decides.
async fn converse_with(sent: &[u8], listen: SocketAddr) -> Exchange {
    /// How often nothing may happen before that is taken for the end.
    const IDLE: usize = 8;
    let (client, server) = duplex(sent.len() + (1 << 20));
    let (mut from, mut to) = split(client);
    let (requests, mut inbox) = mpsc::channel(16);
    let mut exchange = Exchange { asked: Vec::new(), answered: Vec::new() };
    to.write_all(sent).await.unwrap();
    let mut connection = pin!(converse(server, listen, &[HOST], TOKEN, requests));
    let mut idle = 0;
    loop {
        tokio::select! {
            biased;
            () = &mut connection => break,
            Some((request, reply)) = inbox.recv() => {
                // A client that is gone by now gets none.
                let _ = reply.send(answer(&request));
                exchange.asked.push(request);
                idle = 0;
            }
            read = from.read_buf(&mut exchange.answered) => {
                if read.unwrap_or(0) > 0 {
                    idle = 0;
                }
            }
            () = tokio::task::yield_now() => {
                idle += 1;
                if idle == IDLE {
                    to.shutdown().await.unwrap();
                }
                assert!(idle < 100 * IDLE, "the connection does not end");
            }
        }
    }
    from.read_to_end(&mut exchange.answered).await.unwrap();
    exchange
}

fn answer(request: &Request) -> Answer {
    match request {
        Request::Recent { .. } => Answer::Recent(Vec::new()),
        Request::Metrics { .. } => Answer::Metrics("# EOF\n".into()),
        Request::Status | Request::Explain { .. } => Answer::Error("not now".into()),
        _ => Answer::Done("done".into()),
    }
}

fn writes(request: &Request) -> bool {
    !matches!(request, Request::Status | Request::Metrics { .. } | Request::Recent { .. } | Request::Explain { .. })
}

/// Whatever is sent: who has not the token gets nothing done, who names no host learns nothing, and what reaches the daemon
/// is within its limits.
fn any(sent: &[u8], listen: SocketAddr) {
    let Exchange { asked, answered } = exchange(sent, listen);
    let holds = |text: &str| sent.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text.as_bytes()));
    for request in &asked {
        assert!(!writes(request) && listen.ip().is_loopback() || holds(TOKEN), "{request:?} without the token");
        assert!(holds("host:"), "{request:?} without a host");
        match request {
            Request::Apply { confirm } => {
                assert!(confirm.is_none_or(|secs| (1..=86_400).contains(&secs)), "{confirm:?}");
            }
            Request::Pause { secs } => assert!((1..=MAX_PAUSE.as_secs()).contains(secs), "{secs}"),
            Request::Recent { limit } => assert!((1..=Recent::MOST).contains(limit), "{limit}"),
            Request::Stop | Request::Leave | Request::Flush | Request::SelfTest => panic!("{request:?} over HTTP"),
            _ => {}
        }
    }
    let lines = sent.windows(7).filter(|window| window == b"HTTP/1.").count();
    assert!(asked.len() <= lines, "{} requests of {lines}", asked.len());
    if !answered.is_empty() {
        assert_head(&answered);
    }
}

/// The head of the first answer; gives its status, and whether the connection ends with it. hyper answers by itself what is no
/// HTTP, with an empty body.
fn assert_head(answered: &[u8]) -> (u16, bool) {
    let end = answered.windows(4).position(|window| window == b"\r\n\r\n").expect("an answer has a head");
    let head = std::str::from_utf8(&answered[..end]).unwrap().to_ascii_lowercase();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok()).unwrap();
    if status == 100 {
        return assert_head(&answered[end + 4..]);
    }
    let header = |name: &str| lines.clone().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let ends = header("connection:") == Some("close");
    if header("content-security-policy:").is_none() {
        assert!([400, 414, 431].contains(&status) && header("content-length:") == Some("0"), "{head}");
        return (status, ends);
    }
    assert_eq!(header("x-content-type-options:"), Some("nosniff"));
    if status >= 400 {
        assert_eq!(header("content-type:"), Some("application/problem+json"), "{head}");
    }
    (status, ends)
}

/// A request whose fate is known.
fn made(bytes: &mut Bytes<'_>, listen: SocketAddr) {
    let method = bytes.pick(&["GET", "HEAD", "POST", "PUT", "DELETE"]);
    let (path, call) = bytes.pick(&CALLS);
    let host = bytes.pick(&[
        Some(HOST),
        Some("router.lan:9846"),
        Some("127.0.0.1:9846"),
        Some("[::1]"),
        None,
        Some("evil.example"),
        Some(""),
    ]);
    let token = bytes.pick(&[Some(TOKEN), None, Some("weir-token-0123456789abcdeg"), Some("")]);
    let kind =
        bytes.pick(&[Some("application/json"), Some("Application/JSON; charset=utf-8"), Some("text/plain"), None]);
    let origin = bytes.pick(&[None, Some("own"), Some("http://evil.example"), Some("null")]);
    let body = String::from_utf8_lossy(bytes.short()).into_owned();
    let body = match bytes.below(4) {
        0 => "{}",
        1 => "{\"secs\":300}",
        2 => "{\"confirm\":90}",
        _ => &body,
    };

    let mut request = format!("{method} {path} HTTP/1.1\r\n");
    let mut header = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
    };
    header("Host", host);
    header("Authorization", token.map(|token| format!("Bearer {token}")).as_deref());
    header("Content-Type", kind);
    let own = format!("http://{}", host.unwrap_or_default());
    header("Origin", origin.map(|origin| if origin == "own" { &own } else { origin }));
    header("Content-Length", Some(&body.len().to_string()));
    let sent = format!("{request}\r\n{body}");

    let Exchange { asked, answered } = exchange(sent.as_bytes(), listen);
    let (status, ends) = assert_head(&answered);
    let mut reads = false;
    let host_is_known = host.is_some_and(|host| !["evil.example", ""].contains(&host));
    let has_token = token == Some(TOKEN);
    let expected: Option<Request> = match call {
        Call::Read(request) => {
            let may = host_is_known && (listen.ip().is_loopback() || has_token);
            (["GET", "HEAD"].contains(&method) && may).then(request)
        }
        Call::Write(read) => {
            let is_json = kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/json"));
            let is_own = origin.is_none_or(|origin| origin == "own");
            reads = method == "POST" && host_is_known && has_token && is_json && is_own;
            if reads { read(body) } else { None }
        }
        Call::Refused => None,
    };
    assert_eq!(asked, expected.into_iter().collect::<Vec<_>>(), "{sent}");
    assert_eq!(ends, !body.is_empty() && !reads, "nothing may follow a body that nobody read: {sent}");
    // A daemon that cannot answer a question is not the client's fault.
    assert!(!asked.is_empty() || status >= 400 || matches!(call, Call::Refused), "{status} for {sent}");
}

/// What a path asks of the daemon.
#[derive(Clone, Copy)]
enum Call {
    /// It is asked, by whoever may look.
    Read(fn() -> Request),
    /// It is told, by whoever may change; `None` where the body does not fit.
    Write(fn(&str) -> Option<Request>),
    /// Nothing.
    Refused,
}

const CALLS: [(&str, Call); 17] = [
    ("/api/v1/status", Call::Read(|| Request::Status)),
    ("/api/v1/status?counters=false", Call::Read(|| Request::Status)),
    ("/healthz", Call::Read(|| Request::Status)),
    ("/metrics", Call::Read(|| Request::Metrics { open: false })),
    ("/api/v1/events?limit=3", Call::Read(|| Request::Recent { limit: 3 })),
    ("/api/v1/events?limit=0", Call::Refused),
    ("/api/v1/events?limits=3", Call::Refused),
    ("/api/v1/explain?address=192.0.2.1", Call::Read(|| Request::Explain { address: [192, 0, 2, 1].into() })),
    ("/api/v1/explain?address=%31", Call::Refused),
    (
        "/api/v1/apply",
        Call::Write(|body| match number(body, "confirm") {
            Body::Empty => Some(Request::Apply { confirm: None }),
            Body::Number(secs) if (1..=86_400).contains(&secs) => Some(Request::Apply { confirm: Some(secs) }),
            _ => None,
        }),
    ),
    (
        "/api/v1/pause",
        Call::Write(|body| match number(body, "secs") {
            Body::Number(secs) if (1..=86_400).contains(&secs) => Some(Request::Pause { secs }),
            _ => None,
        }),
    ),
    ("/api/v1/confirm", Call::Write(|body| empty(body).then_some(Request::Confirm))),
    ("/api/v1/rollback", Call::Write(|body| empty(body).then_some(Request::Rollback))),
    ("/api/v1/resume", Call::Write(|body| empty(body).then_some(Request::Resume))),
    ("/api/v1/stop", Call::Refused),
    ("/", Call::Refused),
    ("/nothing", Call::Refused),
];

/// A body that is an object of one number at most.
enum Body {
    Empty,
    Number(u64),
    Other,
}

fn number(body: &str, name: &str) -> Body {
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(body) else { return Body::Other };
    let mut fields = fields.into_iter();
    match (fields.next(), fields.next()) {
        (None, _) => Body::Empty,
        (Some((field, value)), None) if field == name => match (value.as_u64(), value.as_f64(), value.is_null()) {
            (Some(number), ..) => Body::Number(number),
            // 300.0 is a whole number to JSON.
            (None, Some(number), _) if number.fract() == 0.0 && (0.0..=86_400.0).contains(&number) => {
                // Not -0.
                format!("{number:.0}").parse().map_or(Body::Other, Body::Number)
            }
            (.., true) if name == "confirm" => Body::Empty,
            _ => Body::Other,
        },
        _ => Body::Other,
    }
}

fn empty(body: &str) -> bool {
    matches!(number(body, ""), Body::Empty)
}
