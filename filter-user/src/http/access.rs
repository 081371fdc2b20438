//! Who may call. Pure: judges a request's head by the configuration; asks nobody.
//!
//! A browser on this host is made to speak to weir by any page that it shows, so reads from elsewhere and every write need a
//! token that no browser adds by itself; a name that an attacker's DNS leads here (rebinding) is refused.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use hyper::{HeaderMap, StatusCode, Uri};
use sha2::{Digest as _, Sha256};

use super::problem::Problem;
use super::route::Need;

/// What lets a caller in. Only its digest is kept: two digests are compared in the same time wherever they differ.
#[derive(Clone)]
pub(super) struct Token([u8; 32]);

impl Token {
    /// The token that `text` is.
    pub(super) fn new(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    fn is(&self, other: &str) -> bool {
        let other: [u8; 32] = Sha256::digest(other.as_bytes()).into();
        // Every byte is looked at, wherever the first difference is.
        std::hint::black_box(self.0.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b))) == 0
    }
}

/// Whom the server lets in.
pub(super) struct Access {
    /// Where it listens.
    pub(super) listen: SocketAddr,
    /// Names by which it is reached, in lower case.
    pub(super) hosts: Vec<String>,
    /// The token; nothing where there is none, and then nobody may do what needs one.
    pub(super) token: Option<Token>,
}

impl Access {
    /// Whether who sent this head may do what needs `need`.
    pub(super) fn check(&self, need: Need, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let host = self.host(uri, headers)?;
        if need == Need::Nothing {
            return Ok(());
        }
        if need == Need::Write {
            same_origin(host, headers)?;
        }
        if need == Need::Write || !self.listen.ip().is_loopback() {
            self.holds_token(headers)?;
        }
        if need == Need::Write { takes_json(headers) } else { Ok(()) }
    }

    /// The host as the client names it, with its port.
    fn host<'a>(&self, uri: &Uri, headers: &'a HeaderMap) -> Result<&'a str, Problem> {
        if uri.authority().is_some() {
            return Err(Problem::bad("this is no proxy; ask for a path, such as /"));
        }
        let host = only(headers, &HOST)?.ok_or_else(|| Problem::bad("the Host header is missing; send it"))?;
        let name = name_of(host).ok_or_else(|| Problem::bad(format!("Host {host:?} is no host")))?;
        let literal = name.strip_prefix('[').map_or_else(
            || name.parse::<IpAddr>().is_ok(),
            |inner| inner.strip_suffix(']').is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok()),
        );
        let name = name.to_ascii_lowercase();
        if literal || name == "localhost" || self.hosts.contains(&name) {
            return Ok(host);
        }
        Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            format!("weir is not reached as {name:?}; use its IP address, or add the name to [http] hosts"),
        ))
    }

    fn holds_token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(token) = &self.token else {
            let problem = "there is no token, so nobody may do this; `weir status` says why";
            return Err(Problem::unauthorized(problem));
        };
        let Some(given) = only(headers, &AUTHORIZATION)? else {
            let problem = "a token is needed: send Authorization: Bearer TOKEN; `weir run` logs the file that holds it";
            return Err(Problem::unauthorized(problem));
        };
        let bearer = given.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        if bearer.is_some_and(|(_, given)| token.is(given.trim())) {
            return Ok(());
        }
        Err(Problem::unauthorized("this is not the token; `weir run` logs the file that holds it"))
    }
}

/// A browser says which page makes it write; only weir's own may.
fn same_origin(host: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = only(headers, &ORIGIN)? else { return Ok(()) };
    let own = origin.split_once("://").is_some_and(|(scheme, of)| {
        // https where a proxy in front speaks TLS.
        matches!(scheme, "http" | "https") && of.eq_ignore_ascii_case(host)
    });
    if own {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, format!("a page of {origin:?} may not do this; only weir's own page may")))
}

/// No form of a page can send this type without the browser asking first.
fn takes_json(headers: &HeaderMap) -> Result<(), Problem> {
    let given = only(headers, &CONTENT_TYPE)?.unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        format!("content type {given:?} is not accepted; send JSON with Content-Type: application/json"),
    ))
}

/// The value of a header that may stand there once only: two readers of two would each believe another one.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::bad(format!("the header {name} is sent twice; send it once")));
    }
    value.to_str().map(Some).map_err(|_| Problem::bad(format!("the header {name} holds bytes that no text has")))
}

/// A host without its port.
fn name_of(host: &str) -> Option<&str> {
    let (name, port) = match host.rfind(':') {
        Some(at) if !host.ends_with(']') => (host.get(..at)?, host.get(at + 1..)?),
        _ => (host, ""),
    };
    let good = !name.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    good.then_some(name)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn access(listen: &str) -> Access {
        Access { listen: listen.parse().unwrap(), hosts: vec!["router.lan".into()], token: Some(Token::new(TOKEN)) }
    }

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in of {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn check(listen: &str, need: Need, of: &[(&'static str, &str)]) -> u16 {
        access(listen).check(need, &Uri::from_static("/x"), &headers(of)).map_or_else(|p| p.status.as_u16(), |()| 200)
    }

    const HERE: &str = "127.0.0.1:9846";
    const ANYWHERE: &str = "0.0.0.0:9846";

    #[test]
    fn addresses_localhost_and_configured_names_are_hosts_and_no_others() {
        let read = |host: &str| check(HERE, Need::Read, &[("host", host)]);
        for host in [
            "127.0.0.1",
            "127.0.0.1:9846",
            "[::1]:9846",
            "[::1]",
            "localhost",
            "LocalHost:1",
            "router.lan:9846",
            "192.0.2.1:80",
        ] {
            assert_eq!(read(host), 200, "{host}");
        }
        for host in ["evil.example", "router.lan.evil.example", "localhost.evil.example", "127.0.0.1.evil.example:9846"]
        {
            assert_eq!(read(host), 421, "{host}");
        }
        for host in ["", ":9846", "localhost:http"] {
            assert_eq!(read(host), 400, "{host}");
        }
        for host in ["[::1", "::1", "[evil]:9846"] {
            assert_ne!(read(host), 200, "{host}");
        }
        assert_eq!(check(HERE, Need::Read, &[]), 400, "no Host");
        assert_eq!(check(HERE, Need::Read, &[("host", "localhost"), ("host", "localhost")]), 400, "two of them");
        assert_eq!(check(HERE, Need::Nothing, &[("host", "evil.example")]), 421, "not even the page");
    }

    #[test]
    fn an_address_in_the_request_line_cannot_speak_for_another_host() {
        let uri = Uri::from_static("http://localhost/x");
        let problem = access(HERE).check(Need::Read, &uri, &headers(&[("host", "localhost")])).unwrap_err();
        assert_eq!(problem.status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn reads_need_a_token_unless_only_this_host_can_reach_the_server() {
        let bearer = format!("Bearer {TOKEN}");
        for here in [HERE, "[::1]:9846"] {
            assert_eq!(check(here, Need::Read, &[("host", "localhost")]), 200, "{here}");
        }
        for there in [ANYWHERE, "[::]:9846", "192.0.2.1:9846"] {
            assert_eq!(check(there, Need::Read, &[("host", "localhost")]), 401, "{there}");
            assert_eq!(check(there, Need::Read, &[("host", "localhost"), ("authorization", &bearer)]), 200, "{there}");
            assert_eq!(check(there, Need::Nothing, &[("host", "localhost")]), 200, "the page asks for the token");
        }
    }

    #[test]
    fn writes_need_the_token_json_and_weirs_own_page() {
        let bearer = format!("Bearer {TOKEN}");
        let write = |of: &[(&'static str, &str)]| {
            let base = [("host", "127.0.0.1:9846"), ("content-type", "application/json")];
            let mut all: Vec<_> =
                base.into_iter().filter(|(name, _)| of.iter().all(|(given, _)| given != name)).collect();
            all.extend(of.iter().filter(|(_, value)| !value.is_empty()));
            check(HERE, Need::Write, &all)
        };
        assert_eq!(write(&[("authorization", &bearer)]), 200);
        assert_eq!(write(&[("authorization", &format!("bearer  {TOKEN}"))]), 200);
        assert_eq!(write(&[]), 401);
        for wrong in [
            "Bearer",
            "Bearer ",
            "Bearer x",
            TOKEN,
            &format!("Basic {TOKEN}"),
            &format!("Bearer {TOKEN}x"),
            &format!("Bearer {}", &TOKEN[1..]),
            &format!("Bearer 1{}", &TOKEN[1..]),
        ] {
            assert_eq!(write(&[("authorization", wrong)]), 401, "{wrong}");
        }
        assert_eq!(write(&[("authorization", &bearer), ("authorization", &bearer)]), 400, "two of them");
        for good in ["http://127.0.0.1:9846", "https://127.0.0.1:9846"] {
            assert_eq!(write(&[("authorization", &bearer), ("origin", good)]), 200, "{good}");
        }
        for evil in
            ["null", "http://evil.example", "http://127.0.0.1", "http://127.0.0.1:9847", "127.0.0.1:9846", "file://"]
        {
            assert_eq!(write(&[("authorization", &bearer), ("origin", evil)]), 403, "{evil}");
        }
        assert_eq!(write(&[("authorization", &bearer), ("content-type", "application/json; charset=utf-8")]), 200);
        for other in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
            assert_eq!(write(&[("authorization", &bearer), ("content-type", other)]), 415, "{other}");
        }
        assert_eq!(write(&[("origin", "http://evil.example")]), 403, "said before the token is looked at");
    }

    #[test]
    fn nobody_may_write_where_there_is_no_token() {
        let none = Access { token: None, ..access(HERE) };
        let of = headers(&[("host", "localhost"), ("authorization", "Bearer "), ("content-type", "application/json")]);
        assert_eq!(none.check(Need::Write, &Uri::from_static("/x"), &of).unwrap_err().status, StatusCode::UNAUTHORIZED);
    }
}
