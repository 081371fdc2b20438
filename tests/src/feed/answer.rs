//! What a path of a feed answers: as it should, and in the ways that feeds, portals and proxies get it wrong. Each writes
//! its bytes and says how the connection goes on; none looks at another request.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::Request;
use super::connection::{After, Connection};

/// An answer. Those that say nothing else are a 200 with the right Content-Length over a connection that is kept.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The content, and 304 where the request's condition says that the client has it (RFC 9110 section 13.2.2):
    /// `If-None-Match` names the `etag`, or else `If-Modified-Since` is exactly `last_modified`, as nginx compares it.
    Ok {
        /// The content.
        body: Vec<u8>,
        /// With its quotes: `"v1"` or `W/"v1"`.
        etag: Option<String>,
        /// A date as HTTP writes it.
        last_modified: Option<String>,
    },
    /// A status with a line of text.
    Status(u16),
    /// A status, and when to come back: seconds or a date.
    RetryAfter {
        /// 429, 503 or 301.
        status: u16,
        /// The header's value.
        after: String,
    },
    /// Takes the request, and never answers.
    Timeout,
    /// The content, slowly.
    Drip {
        /// The content.
        body: Vec<u8>,
        /// Its speed, at least 1, after a head that comes at once.
        bytes_per_second: u32,
    },
    /// A part of the content, then a reset.
    ResetMidBody {
        /// What Content-Length speaks of.
        body: Vec<u8>,
        /// How much of it is sent.
        after: usize,
    },
    /// The content, compressed, with Content-Encoding.
    Gzip {
        /// The content before compression.
        body: Vec<u8>,
    },
    /// Half of the compressed content, with the Content-Length of that half: whole to HTTP, cut to gzip.
    TruncatedGzip {
        /// The content before compression.
        body: Vec<u8>,
    },
    /// A login page.
    Html,
    /// No content.
    Empty,
    /// 304 to every conditional request, whatever the condition: the content has changed and nobody noticed.
    StaleEtag {
        /// The content, for requests without a condition.
        body: Vec<u8>,
        /// The tag that goes with everything.
        etag: String,
    },
    /// The same content under a new tag each time, so that no condition ever holds.
    ChangingEtag {
        /// The content.
        body: Vec<u8>,
    },
    /// 302 to itself.
    RedirectLoop,
    /// 302 to another path or URL.
    RedirectTo(String),
    /// Lines of a list without end to speak of.
    Endless {
        /// How many bytes.
        bytes: u64,
        /// Whether the head says so; else the end of the connection is the end of the content.
        content_length: bool,
    },
    /// The content, and the end of the connection where Content-Length promises more.
    ShortBody {
        /// The content.
        body: Vec<u8>,
        /// How many bytes are missing.
        missing: usize,
    },
    /// The content under another Content-Length, which need not be a number; then the connection ends.
    WrongLength {
        /// What is sent.
        body: Vec<u8>,
        /// The header's value.
        claimed: String,
    },
}

impl Answer {
    /// The content without tag or date.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::Ok { body: body.into(), etag: None, last_modified: None }
    }

    /// The content with a tag.
    pub fn tagged(body: impl Into<Vec<u8>>, etag: &str) -> Self {
        Self::Ok { body: body.into(), etag: Some(etag.into()), last_modified: None }
    }

    /// Answers one request.
    pub(super) fn send(&self, request: &Request, to: &mut Connection) -> io::Result<After> {
        match self {
            _ if request.method != "GET" => whole(to, 405, &[("Allow", "GET")], b"GET only\n"),
            Self::Ok { body, etag, last_modified } => {
                let tag = etag.as_deref().map(|etag| ("ETag", etag));
                let date = last_modified.as_deref().map(|date| ("Last-Modified", date));
                let headers: Vec<_> = tag.into_iter().chain(date).collect();
                if client_has_it(request, etag.as_deref(), last_modified.as_deref()) {
                    return bodiless(to, 304, &headers);
                }
                whole(to, 200, &headers, body)
            }
            Self::Status(status) => whole(to, *status, &[], format!("status {status}\n").as_bytes()),
            Self::RetryAfter { status, after } => whole(to, *status, &[("Retry-After", after)], b"later\n"),
            Self::Timeout => Err(to.wait_for_the_end()),
            Self::Drip { body, bytes_per_second } => drip(to, body, *bytes_per_second),
            Self::ResetMidBody { body, after } => {
                to.write_all(&head(200, &[("Content-Length", &body.len().to_string())]))?;
                to.finish(&body[..body.len().min(*after)])?;
                Ok(After::Reset)
            }
            Self::Gzip { body } => whole(to, 200, &[("Content-Encoding", "gzip")], &compressed(body)?),
            Self::TruncatedGzip { body } => {
                let compressed = compressed(body)?;
                whole(to, 200, &[("Content-Encoding", "gzip")], &compressed[..compressed.len() / 2])
            }
            Self::Html => whole(to, 200, &[("Content-Type", "text/html; charset=utf-8")], LOGIN_PAGE),
            Self::Empty => whole(to, 200, &[], b""),
            Self::StaleEtag { body, etag } => {
                let conditional = ["if-none-match", "if-modified-since"];
                if conditional.iter().any(|name| request.header(name).is_some()) {
                    return bodiless(to, 304, &[("ETag", etag)]);
                }
                whole(to, 200, &[("ETag", etag)], body)
            }
            Self::ChangingEtag { body } => whole(to, 200, &[("ETag", &format!("\"{}\"", to.place()))], body),
            Self::RedirectLoop => whole(to, 302, &[("Location", &request.path)], b""),
            Self::RedirectTo(target) => whole(to, 302, &[("Location", target)], b""),
            Self::Endless { bytes, content_length } => endless(to, *bytes, *content_length),
            Self::ShortBody { body, missing } => {
                let claimed = (body.len() + missing).to_string();
                to.finish(&[&head(200, &[("Content-Length", &claimed)]), &body[..]].concat())?;
                Ok(After::Close)
            }
            Self::WrongLength { body, claimed } => {
                to.finish(&[&head(200, &[("Content-Length", claimed)]), &body[..]].concat())?;
                Ok(After::Close)
            }
        }
    }
}

/// What hotels and train operators answer to everything.
const LOGIN_PAGE: &[u8] =
    b"<!DOCTYPE html>\n<html><head><title>Login</title></head><body>Please log in.</body></html>\n";

fn client_has_it(request: &Request, etag: Option<&str>, last_modified: Option<&str>) -> bool {
    // A weak comparison, as RFC 9110 section 13.1.2 demands for this header.
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    if let Some(known) = request.header("if-none-match") {
        return etag.is_some_and(|etag| known.split(',').any(|tag| tag.trim() == "*" || opaque(tag) == opaque(etag)));
    }
    let since = request.header("if-modified-since");
    since.is_some() && since == last_modified
}

fn head(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    let reason = match status {
        200 => "OK",
        302 => "Found",
        304 => "Not Modified",
        404 => "Not Found",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "",
    };
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n");
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    head.into_bytes()
}

fn bodiless(to: &mut Connection, status: u16, headers: &[(&str, &str)]) -> io::Result<After> {
    to.finish(&head(status, headers))?;
    Ok(After::Keep)
}

fn whole(to: &mut Connection, status: u16, headers: &[(&str, &str)], body: &[u8]) -> io::Result<After> {
    let length = body.len().to_string();
    let head = head(status, &[headers, &[("Content-Length", &length)]].concat());
    to.finish(&[&head, body].concat())?;
    Ok(After::Keep)
}

fn drip(to: &mut Connection, body: &[u8], bytes_per_second: u32) -> io::Result<After> {
    to.write_all(&head(200, &[("Content-Length", &body.len().to_string())]))?;
    to.flush()?;
    let started = Instant::now();
    for (place, byte) in (1..).zip(body) {
        let due = started + Duration::from_secs(1) * place / bytes_per_second;
        to.pause(due.saturating_duration_since(Instant::now()))?;
        if place as usize == body.len() {
            to.finish(&[*byte])?;
        } else {
            to.write_all(&[*byte])?;
            to.flush()?;
        }
    }
    Ok(After::Keep)
}

fn endless(to: &mut Connection, bytes: u64, content_length: bool) -> io::Result<After> {
    let length = bytes.to_string();
    let header = if content_length { ("Content-Length", length.as_str()) } else { ("Connection", "close") };
    to.write_all(&head(200, &[header]))?;
    // A fetcher that judges content while it comes finds nothing wrong with it.
    let block = b"192.0.2.0/24\n".repeat(5000);
    let blocks = bytes.saturating_sub(1) / block.len() as u64;
    for _ in 0..blocks {
        to.write_all(&block)?;
    }
    to.finish(&block[..usize::try_from(bytes - blocks * block.len() as u64).unwrap()])?;
    Ok(if content_length { After::Keep } else { After::Close })
}

fn compressed(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body)?;
    encoder.finish()
}
