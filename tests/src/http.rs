//! A client of HTTP/1.1 inside a namespace, which sends what it is told, sound or not, and reads the answer. Keeps no connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::netns::Netns;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, as it was sent.
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of a header; empty where it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The body, read as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, String::from_utf8_lossy(&self.body)))
    }
}

/// Connects from the namespace.
pub fn connect(netns: &Netns, to: SocketAddr) -> io::Result<TcpStream> {
    let stream = netns.enter(|| TcpStream::connect_timeout(&to, PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a request and reads its answer.
#[must_use]
pub fn ask(netns: &Netns, to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let ask = || {
        let mut stream = connect(netns, to)?;
        stream.write_all(&request(&to.to_string(), method, path, headers, body))?;
        read(&mut stream)
    };
    ask().unwrap_or_else(|error: io::Error| panic!("{method} {path}: {error}"))
}

/// The bytes of a request that asks for its connection to be closed. A header that is given replaces the usual one.
#[must_use]
pub fn request(host: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    let mut usual = vec![("Host", host), ("Connection", "close")];
    if !body.is_empty() || method == "POST" {
        usual.extend([("Content-Length", length.as_str()), ("Content-Type", "application/json")]);
    }
    usual.retain(|(name, _)| !headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)));
    let lines: String =
        usual.iter().chain(headers).map(|(name, value)| format!("{name}: {value}\r\n")).collect::<Vec<_>>().concat();
    let mut bytes = format!("{method} {path} HTTP/1.1\r\n{lines}\r\n").into_bytes();
    bytes.extend(body);
    bytes
}

/// Reads one answer: to its declared length, or to the end of the connection.
pub fn read(stream: &mut impl Read) -> io::Result<Reply> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if let Err(error) = stream.read_exact(&mut byte) {
            return Err(io::Error::other(format!("no answer after {:?}: {error}", String::from_utf8_lossy(&head))));
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status in {head:?}")))?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers: Vec<(String, String)> = lines.filter_map(header).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = Vec::new();
    match length {
        Some(length) => {
            body.resize(length, 0);
            stream.read_exact(&mut body)?;
        }
        None => drop(stream.read_to_end(&mut body)?),
    }
    Ok(Reply { status, headers, body })
}
