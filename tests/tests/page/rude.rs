//! Clients that are slow, many, too long or no clients of HTTP at all, while packets are blocked: none of it may cost a packet,
//! the control socket, or the next client.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt::RcvBuf};
use weir_tests::http::{self, connect, request};
use weir_tests::lab::{CONTROL_V4, DEADLINE, LISTED_V4};
use weir_tests::wait_until;

use crate::site::{Over, PAGE, Site, datagram, is_ours};

/// More than the server takes at once.
const LIMIT: usize = 64;

/// Lets traffic flow while something else happens, and holds every packet of it to its fate.
fn while_traffic_flows(site: &Site, happens: impl FnOnce()) {
    let (lan, wan) = (site.path.lan_socket(), site.path.wan_socket());
    let before = site.weir.dropped().packets;
    let done = AtomicBool::new(false);
    let (mut listed, mut control) = (0, 0);
    thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let frames = [datagram(LISTED_V4), datagram(CONTROL_V4)];
            let (mut listed, mut control) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                listed += lan.flood(&frames[..1], 20);
                control += lan.flood(&frames[1..], 20);
                thread::sleep(Duration::from_millis(20));
            }
            (listed, control)
        });
        let over = Over(&done);
        happens();
        drop(over);
        (listed, control) = traffic.join().unwrap();
    });
    assert!(listed > 20, "traffic flowed");
    wait_until(DEADLINE, &format!("{listed} packets are dropped"), || site.weir.dropped().packets - before == listed);
    let mut passed = 0;
    wait_until(DEADLINE, &format!("{control} packets pass"), || {
        passed += wan.drain(is_ours);
        passed >= control
    });
    assert_eq!(passed, control, "and none that is listed");
}

/// The control socket answers at once.
fn socket_answers(site: &Site) {
    let asked = Instant::now();
    assert_eq!(site.weir.verb(&["status"]).code, 0);
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
}

/// Waits until the server has ended a connection; gives what it said before.
fn ended(mut stream: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection is open: {error}"),
    }
    said
}

#[test]
fn a_thousand_connections_cost_no_packet_and_no_descriptor() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(4096).min(hard), hard).unwrap();
    let site = Site::start("");
    let idle = site.descriptors();
    while_traffic_flows(&site, || {
        let connect_all = || (0..1000).map(|_| TcpStream::connect(PAGE).unwrap()).collect();
        let connections: Vec<TcpStream> = site.path.router.enter(connect_all);
        wait_until(DEADLINE, "the server has taken all", || site.descriptors() >= idle + LIMIT);
        for _ in 0..5 {
            socket_answers(&site);
            assert!(site.descriptors() <= idle + LIMIT + 8, "{} descriptors", site.descriptors());
        }
        drop(connections);
        wait_until(DEADLINE, "the page is there again", || {
            connect(&site.path.router, PAGE).is_ok_and(|mut stream| {
                let asked = stream.write_all(&request("localhost", "GET", "/healthz", &[], b""));
                asked.is_ok() && http::read(&mut stream).is_ok_and(|reply| reply.status == 200)
            })
        });
    });
    let log = site.weir.stderr();
    let told = log.lines().filter(|line| line.contains("the newest are closed")).count();
    assert_eq!(told, 1, "one line for all of them: {log}");
}

#[test]
fn heads_that_drip_are_cut_off() {
    let site = Site::start("");
    while_traffic_flows(&site, || {
        let started = Instant::now();
        let mut slow: Vec<TcpStream> = (0..LIMIT).map(|_| connect(&site.path.router, PAGE).unwrap()).collect();
        let mut text = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".to_vec();
        text.resize(200, b'x');
        for byte in text {
            slow.retain_mut(|stream| stream.write_all(&[byte]).is_ok());
            if slow.is_empty() {
                break;
            }
            thread::sleep(Duration::from_millis(200));
        }
        assert!(slow.is_empty(), "{} are still there after {:?}", slow.len(), started.elapsed());
        assert!(started.elapsed() > Duration::from_secs(8), "a slow line has its time: {:?}", started.elapsed());
        socket_answers(&site);
        assert_eq!(site.get("/healthz").status, 200);
    });
}

#[test]
fn readers_that_do_not_read_are_cut_off() {
    let site = Site::start("");
    let idle = site.descriptors();
    while_traffic_flows(&site, || {
        let question = request("localhost", "GET", "/uplot.js", &[("Connection", "keep-alive")], b"").repeat(400);
        let slow: Vec<TcpStream> = (0..10)
            .map(|_| {
                let mut stream = connect(&site.path.router, PAGE).unwrap();
                setsockopt(&stream, RcvBuf, &4096).unwrap();
                stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
                // The server stops to read while it cannot write, so not all of it may be taken.
                let _ = stream.write_all(&question);
                stream
            })
            .collect();
        socket_answers(&site);
        assert_eq!(site.get("/healthz").status, 200);
        assert!(site.descriptors() > idle, "they are served");
        wait_until(Duration::from_secs(25), "the server has let go of them", || site.descriptors() <= idle);
        drop(slow);
    });
}

#[test]
fn what_is_too_long_or_no_http_is_refused_and_forgotten() {
    let site = Site::start("");
    let idle = site.descriptors();
    let bearer = format!("Bearer {}", site.token());
    let exchange = |bytes: &[u8]| {
        let mut stream = connect(&site.path.router, PAGE).unwrap();
        // The server may refuse before all of it is sent.
        let _ = stream.write_all(bytes);
        let said = String::from_utf8_lossy(&ended(stream)).into_owned();
        said.split("\r\n").next().unwrap_or_default().to_owned()
    };
    while_traffic_flows(&site, || {
        let long = "x".repeat(9000);
        let get = |path: &str, headers: &[(&str, &str)]| request("localhost", "GET", path, headers, b"");
        assert_eq!(exchange(&get("/", &[("X-Long", &long)])), "HTTP/1.1 431 Request Header Fields Too Large");
        let told = exchange(&get(&format!("/{long}"), &[]));
        assert!(told.starts_with("HTTP/1.1 414") || told.starts_with("HTTP/1.1 431"), "{told}");
        let many: Vec<(String, &str)> = (0..100).map(|at| (format!("X-{at}"), "1")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(exchange(&get("/", &many)), "HTTP/1.1 431 Request Header Fields Too Large");
        let body = format!("{{\"secs\": {}}}", "1".repeat(70_000));
        let post = |headers: &[(&str, &str)], body: &[u8]| {
            request(
                "localhost",
                "POST",
                "/api/v1/pause",
                &[&[("Authorization", bearer.as_str())], headers].concat(),
                body,
            )
        };
        assert_eq!(exchange(&post(&[], body.as_bytes())), "HTTP/1.1 413 Payload Too Large");
        let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let chunked = post(&[("Transfer-Encoding", "chunked"), ("Content-Length", "")], b"");
        let chunked = String::from_utf8(chunked).unwrap().replace("Content-Length: \r\n", "") + &chunks;
        assert_eq!(exchange(chunked.as_bytes()), "HTTP/1.1 413 Payload Too Large");
        assert_eq!(exchange(&post(&[("Content-Length", "5000000000")], b"{")), "HTTP/1.1 413 Payload Too Large");
        let late = Instant::now();
        assert_eq!(exchange(&post(&[("Content-Length", "12")], b"{")), "HTTP/1.1 408 Request Timeout");
        assert!(late.elapsed() < Duration::from_secs(15));
        for garbage in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET  / HTTP/1.1\r\nHost localhost\r\n\r\n",
            b"POST /api/v1/pause HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET http://localhost/api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            &b"\0".repeat(20_000),
            &b"\xff".repeat(20_000),
        ] {
            let told = exchange(garbage);
            assert!(told.is_empty() || told.starts_with("HTTP/1.1 4"), "{garbage:?}: {told}");
        }
        socket_answers(&site);
        assert_eq!(site.get("/healthz").status, 200);
    });
    wait_until(DEADLINE, "nothing is kept of them", || site.descriptors() <= idle);
    assert!(site.weir.status()["paused_secs"].is_null());
}
