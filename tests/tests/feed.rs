//! Tests of the feed server, with clients that read every byte themselves: what arrives is what the answer says.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use weir_tests::feed::{Answer, Feed, at_once, pauses};
use weir_tests::lab::DEADLINE;
use weir_tests::netns::Netns;
use weir_tests::wait_until;

/// What came back, as far as it did.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// How the body ended before its Content-Length was reached.
    broken: Option<ErrorKind>,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

fn connect(netns: &Netns, feed: &Feed) -> TcpStream {
    let stream = netns.enter(|| TcpStream::connect(feed.address()).unwrap());
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn ask(to: &mut impl Write, path: &str, headers: &[(&str, &str)]) {
    let mut head = format!("GET {path} HTTP/1.1\r\nHost: test\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    to.write_all(format!("{head}\r\n").as_bytes()).unwrap();
}

fn reply(from: &mut impl BufRead) -> Reply {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        match line.strip_suffix("\r\n").unwrap() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let status = lines[0].strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
    let headers = lines[1..].iter().map(|line| line.split_once(": ").unwrap());
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut reply = Reply { status, headers, body: Vec::new(), broken: None };
    let length = match reply.header("Content-Length").map(str::parse) {
        _ if status == 304 => 0,
        Some(Ok(length)) => length,
        _ => u64::MAX,
    };
    match from.take(length).read_to_end(&mut reply.body) {
        Ok(read) if (read as u64) < length && length != u64::MAX => reply.broken = Some(ErrorKind::UnexpectedEof),
        Ok(_) => {}
        Err(error) => reply.broken = Some(error.kind()),
    }
    reply
}

/// One request over a connection of its own.
fn get(netns: &Netns, feed: &Feed, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut stream = connect(netns, feed);
    ask(&mut stream, path, headers);
    reply(&mut BufReader::new(stream))
}

const LIST: &[u8] = b"192.0.2.0/24\n198.51.100.0/24\n2001:db8::/32\n";

#[test]
fn plain_answers_arrive_as_they_were_set_and_change_at_run_time() {
    let netns = Netns::new("feed");
    let feed = Feed::start(&netns, 0);
    assert_eq!(feed.url("/list"), format!("http://127.0.0.1:{}/list", feed.address().port()));
    assert_eq!(get(&netns, &feed, "/list", &[]).status, 404);
    feed.set("/list", Answer::ok(LIST));
    let ok = get(&netns, &feed, "/list", &[]);
    assert_eq!((ok.status, ok.broken, &ok.body[..]), (200, None, LIST));
    assert_eq!(get(&netns, &feed, "/list?part=2", &[]).status, 404, "the query is part of the path");

    feed.set("/list", Answer::Status(503));
    assert_eq!(get(&netns, &feed, "/list", &[]).status, 503);
    feed.set("/list", Answer::RetryAfter { status: 429, after: "120".into() });
    let later = get(&netns, &feed, "/list", &[]);
    assert_eq!((later.status, later.header("Retry-After")), (429, Some("120")));
    feed.set("/list", Answer::Empty);
    let empty = get(&netns, &feed, "/list", &[]);
    assert_eq!((empty.status, empty.header("Content-Length"), &empty.body[..]), (200, Some("0"), &b""[..]));
    feed.set("/list", Answer::Html);
    let page = get(&netns, &feed, "/list", &[]);
    assert_eq!((page.status, page.header("Content-Type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.body.starts_with(b"<!DOCTYPE html>"));
    feed.set("/list", Answer::RedirectLoop);
    let turn = get(&netns, &feed, "/list", &[]);
    assert_eq!((turn.status, turn.header("Location")), (302, Some("/list")));
    feed.set("/list", Answer::RedirectTo("/other".into()));
    let turn = get(&netns, &feed, "/list", &[]);
    assert_eq!((turn.status, turn.header("Location")), (302, Some("/other")));
}

#[test]
fn a_condition_that_holds_is_answered_without_the_content() {
    let netns = Netns::new("feed");
    let feed = Feed::start(&netns, 0);
    let date = "Tue, 24 Nov 2026 06:00:00 GMT";
    let dated = Answer::Ok { body: LIST.into(), etag: Some("\"v1\"".into()), last_modified: Some(date.into()) };
    feed.set("/both", dated);
    feed.set("/weak", Answer::tagged(LIST, "W/\"v2\""));
    let status = |path: &str, headers: &[(&str, &str)]| {
        let reply = get(&netns, &feed, path, headers);
        assert_eq!(reply.body.is_empty(), reply.status == 304, "{reply:?}");
        assert!(reply.header("ETag").is_some(), "{reply:?}");
        reply.status
    };
    let (tag, since) = ("If-None-Match", "If-Modified-Since");
    for (path, headers, expected) in [
        ("/both", &[][..], 200),
        ("/both", &[(tag, "\"v1\"")], 304),
        ("/both", &[("if-none-match", "\"v0\", W/\"v1\"")], 304),
        ("/both", &[(tag, "*")], 304),
        ("/both", &[(tag, "\"v2\"")], 200),
        ("/both", &[(since, date)], 304),
        ("/both", &[(since, "Tue, 24 Nov 2026 06:00:01 GMT")], 200),
        // The tag alone counts where there is one.
        ("/both", &[(tag, "\"v2\""), (since, date)], 200),
        ("/weak", &[(tag, "\"v2\"")], 304),
        ("/weak", &[(since, date)], 200),
    ] {
        assert_eq!(status(path, headers), expected, "{path} {headers:?}");
    }
    feed.set("/both", Answer::tagged("new\n", "\"v3\""));
    assert_eq!(status("/both", &[(tag, "\"v1\"")]), 200, "the content changed, and its tag");

    feed.set("/stale", Answer::StaleEtag { body: LIST.into(), etag: "\"old\"".into() });
    assert_eq!(
        (status("/stale", &[]), status("/stale", &[(tag, "\"x\"")]), status("/stale", &[(since, "x")])),
        (200, 304, 304)
    );
    feed.set("/changing", Answer::ChangingEtag { body: LIST.into() });
    let first = get(&netns, &feed, "/changing", &[]).header("ETag").unwrap().to_owned();
    let second = get(&netns, &feed, "/changing", &[(tag, &first)]);
    assert_eq!((second.status, &second.body[..]), (200, LIST));
    assert_ne!(second.header("ETag").unwrap(), first);
}

#[test]
fn compressed_content_is_whole_or_cut_inside_a_whole_answer() {
    let netns = Netns::new("feed");
    let feed = Feed::start(&netns, 0);
    let body = LIST.repeat(1000);
    feed.set("/whole", Answer::Gzip { body: body.clone() });
    feed.set("/cut", Answer::TruncatedGzip { body: body.clone() });
    let [whole, cut] = ["/whole", "/cut"].map(|path| get(&netns, &feed, path, &[]));
    for reply in [&whole, &cut] {
        assert_eq!((reply.status, reply.broken, reply.header("Content-Encoding")), (200, None, Some("gzip")));
    }
    let inflate = |bytes: &[u8]| {
        let mut content = Vec::new();
        GzDecoder::new(bytes).read_to_end(&mut content).map(|_| content)
    };
    assert_eq!(inflate(&whole.body).unwrap(), body);
    assert_eq!(inflate(&cut.body).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(whole.body[..cut.body.len()], cut.body);
}

#[test]
fn broken_answers_break_where_they_say() {
    let netns = Netns::new("feed");
    let feed = Feed::start(&netns, 0);
    // More than fits into one window, so the reset has to wait for what was sent before.
    let body = LIST.repeat(50_000);
    for after in [0, 1000, 1_500_000] {
        feed.set("/reset", Answer::ResetMidBody { body: body.clone(), after });
        let reset = get(&netns, &feed, "/reset", &[]);
        assert_eq!(reset.broken, Some(ErrorKind::ConnectionReset), "after {after}");
        assert_eq!(reset.header("Content-Length"), Some(body.len().to_string().as_str()));
        assert!(reset.body == body[..after], "after {after}: {} bytes", reset.body.len());
    }
    feed.set("/short", Answer::ShortBody { body: LIST.into(), missing: 7 });
    let short = get(&netns, &feed, "/short", &[]);
    assert_eq!((short.broken, &short.body[..]), (Some(ErrorKind::UnexpectedEof), LIST));
    assert_eq!(short.header("Content-Length"), Some((LIST.len() + 7).to_string().as_str()));
    for claimed in ["5", "-1", "many", "99999999999999999999999"] {
        feed.set("/wrong", Answer::WrongLength { body: LIST.into(), claimed: claimed.into() });
        let mut stream = connect(&netns, &feed);
        ask(&mut stream, "/wrong", &[]);
        let mut raw = String::new();
        stream.read_to_string(&mut raw).unwrap();
        let expected = format!("HTTP/1.1 200 OK\r\nContent-Length: {claimed}\r\n\r\n");
        assert_eq!(raw.strip_prefix(&expected).map(str::as_bytes), Some(LIST));
    }
}

#[test]
fn slow_answers_take_their_time_and_silent_ones_forever() {
    let netns = Netns::new("feed");
    let feed = Feed::start(&netns, 0);
    feed.set("/slow", Answer::Drip { body: LIST.into(), bytes_per_second: 80 });
    let started = Instant::now();
    let slow = get(&netns, &feed, "/slow", &[]);
    let at_least = Duration::from_millis(LIST.len() as u64 * 1000 / 80);
    assert!(slow.body == LIST && started.elapsed() >= at_least, "{:?}", started.elapsed());

    feed.set("/silent", Answer::Timeout);
    let mut silent = connect(&netns, &feed);
    ask(&mut silent, "/silent", &[]);
    wait_until(DEADLINE, "the request arrives", || !feed.requests_for("/silent").is_empty());
    silent.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(feed.requests_for("/silent")[0].answered.is_none());
    drop(silent);
    wait_until(DEADLINE, "the server sees the client go", || feed.requests_for("/silent")[0].answered.is_some());
    wait_until(DEADLINE, "nothing is left open", || feed.open_connections() == 0);
}

#[test]
fn endless_content_comes_with_and_without_its_length_until_the_client_has_enough() {
    let netns = Netns::new("feed");
    let feed = Feed::start(&netns, 0);
    for content_length in [true, false] {
        for bytes in [0, 1, 65_000, 65_001, 1_000_003] {
            feed.set("/some", Answer::Endless { bytes, content_length });
            let some = get(&netns, &feed, "/some", &[]);
            assert_eq!((some.body.len() as u64, some.broken), (bytes, None));
            assert!(some.body.chunks(13).all(|line| b"192.0.2.0/24\n".starts_with(line)));
            assert_eq!(some.header("Content-Length").is_some(), content_length);
        }
        feed.set("/endless", Answer::Endless { bytes: 10 << 30, content_length });
        let mut stream = connect(&netns, &feed);
        ask(&mut stream, "/endless", &[]);
        let read = io::copy(&mut (&mut stream).take(100 << 20), &mut io::sink()).unwrap();
        assert_eq!(read, 100 << 20);
        drop(stream);
        wait_until(DEADLINE, "the server stops", || feed.open_connections() == 0);
    }
}

#[test]
fn requests_are_remembered_with_headers_times_and_the_connection_they_shared() {
    let netns = Netns::new("feed");
    let feed = Feed::start(&netns, 0);
    feed.set("/list", Answer::ok(LIST));
    let mut kept = BufReader::new(connect(&netns, &feed));
    let before = Instant::now();
    for path in ["/list", "/none"] {
        ask(kept.get_mut(), path, &[("User-Agent", "weir/0.1"), ("X-Odd", " a:b ")]);
        assert_eq!(reply(&mut kept).status, if path == "/list" { 200 } else { 404 });
    }
    // Two in one packet, as no polite client sends them.
    kept.get_mut().write_all(b"GET /list HTTP/1.1\r\n\r\nPOST /list HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!((reply(&mut kept).status, reply(&mut kept).status), (200, 405));
    get(&netns, &feed, "/list", &[]);

    let requests = feed.requests();
    let seen: Vec<_> = requests.iter().map(|request| (request.method.as_str(), request.path.as_str())).collect();
    assert_eq!(seen, [("GET", "/list"), ("GET", "/none"), ("GET", "/list"), ("POST", "/list"), ("GET", "/list")]);
    assert_eq!(requests[0].header("user-agent"), Some("weir/0.1"));
    assert_eq!((requests[0].header("x-odd"), requests[0].header("absent")), (Some("a:b"), None));
    let connections: Vec<u64> = requests.iter().map(|request| request.connection).collect();
    assert!(connections[..4].iter().all(|&number| number == connections[0]) && connections[4] != connections[0]);
    assert!(requests.iter().all(|request| request.arrived >= before && request.answered >= Some(request.arrived)));
    assert_eq!(feed.requests_for("/none").len(), 1);
    assert_eq!(at_once(&requests), 1, "the client waited for each answer: {requests:?}");
}

#[test]
fn impolite_clients_are_told_from_polite_ones() {
    let netns = Netns::new("feed");
    let feed = Feed::start(&netns, 0);
    feed.set("/slow", Answer::Drip { body: LIST.into(), bytes_per_second: 200 });
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| get(&netns, &feed, "/slow", &[]));
        }
    });
    assert_eq!((at_once(&feed.requests()), at_once(&[])), (3, 0));
    // One that waits in vain counts as long as it waits.
    feed.set("/silent", Answer::Timeout);
    let mut silent = connect(&netns, &feed);
    ask(&mut silent, "/silent", &[]);
    wait_until(DEADLINE, "the request arrives", || feed.requests().len() == 4);
    get(&netns, &feed, "/slow", &[]);
    // Longer than it may take the server to notice that a client has left.
    thread::sleep(Duration::from_millis(600));
    drop(silent);
    wait_until(DEADLINE, "nothing is left open", || feed.open_connections() == 0);
    assert_eq!(at_once(&feed.requests()[3..]), 2);

    let feed = Feed::start(&netns, 0);
    feed.set("/list", Answer::ok(LIST));
    feed.set("/silent", Answer::Timeout);
    feed.set("/endless", Answer::Endless { bytes: u64::MAX, content_length: true });
    for turn in 0..50 {
        get(&netns, &feed, "/list", &[]);
        // Gives up, and asks for something else at once.
        let mut stream = connect(&netns, &feed);
        ask(&mut stream, if turn % 2 == 0 { "/silent" } else { "/endless" }, &[]);
        wait_until(DEADLINE, "the request arrives", || feed.requests().len() == 2 * turn + 2);
    }
    wait_until(DEADLINE, "nothing is left open", || feed.open_connections() == 0);
    let requests = feed.requests();
    assert_eq!((requests.len(), at_once(&requests)), (100, 1));
    let pauses = pauses(&requests);
    assert_eq!(pauses.len(), 99);
    assert_eq!(pauses.iter().sum::<Duration>(), requests[99].arrived - requests[0].arrived);
}

#[test]
fn a_dropped_server_cuts_every_connection_and_leaves_no_thread() {
    let netns = Netns::new("feed");
    let feed = Feed::start(&netns, 0);
    feed.set("/silent", Answer::Timeout);
    feed.set("/endless", Answer::Endless { bytes: u64::MAX, content_length: false });
    feed.set("/slow", Answer::Drip { body: LIST.into(), bytes_per_second: 1 });
    feed.set("/reset", Answer::ResetMidBody { body: LIST.repeat(1 << 20), after: LIST.len() << 20 });
    let idle = connect(&netns, &feed);
    let paths = ["/silent", "/endless", "/slow", "/reset"];
    let mut streams = paths.map(|path| {
        let mut stream = connect(&netns, &feed);
        ask(&mut stream, path, &[]);
        stream
    });
    wait_until(DEADLINE, "all have asked and are not answered", || feed.requests().len() == paths.len());
    let (address, started) = (feed.address(), Instant::now());
    drop(feed);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let refused = netns.enter(|| TcpStream::connect(address)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    for stream in streams.iter_mut().chain([&mut { idle }]) {
        // Whatever was sent before may still be read; then comes the end.
        let _ = io::copy(stream, &mut io::sink());
    }
}

#[test]
fn the_server_is_in_its_namespace_alone_and_can_come_back_to_its_port() {
    let (netns, other) = (Netns::new("feed"), Netns::new("other"));
    let feed = Feed::start(&netns, 8080);
    assert_eq!(get(&netns, &feed, "/", &[]).status, 404);
    let refused = other.enter(|| TcpStream::connect(feed.address())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    drop(feed);
    let feed = Feed::start(&netns, 8080);
    assert_eq!(get(&netns, &feed, "/", &[]).status, 404);
}

/// A TLS connection of a client that trusts the authorities of one file.
fn connect_tls(netns: &Netns, feed: &Feed, authorities: &Path, name: &str) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authorities).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let session = ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    StreamOwned::new(session, connect(netns, feed))
}

#[test]
fn https_is_served_to_who_trusts_its_authority_and_breaks_the_same_ways() {
    let netns = Netns::new("feed");
    let (feed, authority) = Feed::tls(&netns, 0);
    assert_eq!(feed.url("/list"), format!("https://127.0.0.1:{}/list", feed.address().port()));
    feed.set("/list", Answer::ok(LIST));
    for name in ["127.0.0.1", "localhost"] {
        let mut stream = BufReader::new(connect_tls(&netns, &feed, &authority, name));
        for _ in 0..2 {
            ask(stream.get_mut(), "/list", &[]);
            let ok = reply(&mut stream);
            assert_eq!((ok.status, &ok.body[..]), (200, LIST));
        }
    }
    feed.set("/endless", Answer::Endless { bytes: 1_000_003, content_length: false });
    feed.set("/reset", Answer::ResetMidBody { body: LIST.repeat(50_000), after: 100_000 });
    for (path, length, broken) in [("/endless", 1_000_003, None), ("/reset", 100_000, Some(ErrorKind::ConnectionReset))]
    {
        let mut stream = BufReader::new(connect_tls(&netns, &feed, &authority, "localhost"));
        ask(stream.get_mut(), path, &[]);
        let reply = reply(&mut stream);
        assert_eq!((reply.body.len(), reply.broken), (length, broken), "{path}");
    }
    let answered = feed.requests().len();

    // Another server's authority is not this one's, and no name but its own is certified.
    let (_other, stranger) = Feed::tls(&netns, 0);
    for (authority, name, reason) in
        [(&stranger, "localhost", "BadSignature"), (&authority, "example.net", "NotValidForName")]
    {
        let mut stream = connect_tls(&netns, &feed, authority, name);
        let error = stream.write_all(b"GET / HTTP/1.1\r\n\r\n").and_then(|()| stream.read(&mut [0])).unwrap_err();
        assert!(format!("{error:?}").contains(reason), "{error:?}");
    }
    assert_eq!(feed.requests().len(), answered);
    let mut silent = connect_tls(&netns, &feed, &authority, "localhost");
    feed.set("/silent", Answer::Timeout);
    ask(&mut silent, "/silent", &[]);
    silent.flush().unwrap();
    wait_until(DEADLINE, "the request arrives", || feed.requests().len() > answered);
    let started = Instant::now();
    drop(feed);
    assert!(started.elapsed() < Duration::from_secs(3) && !authority.exists());
}
