//! Answers as they go on the wire: bodies and the headers that every answer has. Decides nothing.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Response, StatusCode};
use serde::Serialize;

use super::assets::{Asset, takes_gzip};
use super::problem::{PROBLEM_JSON, Problem};

/// An answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// The longest answer: what is larger is asked for in parts, not piled up for 64 slow clients.
const MAX_ANSWER: usize = 16 << 20;

/// What a browser may do with the page: load its own files, ask its own host, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

/// What every answer says.
const ALWAYS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// A JSON document.
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Answer {
    match serde_json::to_vec(document) {
        Ok(body) if body.len() <= MAX_ANSWER => answer(status, "application/json", body.into()),
        Ok(body) => {
            let problem = format!("the answer has {} bytes, {MAX_ANSWER} at most; ask for less", body.len());
            refusal(&Problem::new(StatusCode::INTERNAL_SERVER_ERROR, problem))
        }
        Err(error) => refusal(&Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// A text.
pub(super) fn text(content_type: &'static str, text: String) -> Answer {
    answer(StatusCode::OK, content_type, text.into())
}

/// Why there is no other answer.
pub(super) fn refusal(problem: &Problem) -> Answer {
    let body = problem.document().to_string();
    let mut answer = answer(problem.status, PROBLEM_JSON, body.into());
    if let Some((name, value)) = &problem.header {
        answer.headers_mut().insert(name, value.clone());
    }
    answer
}

/// A file, or word that the client has it already.
pub(super) fn asset(asset: Asset, headers: &HeaderMap) -> Answer {
    let etag = asset.etag();
    let gzip = takes_gzip(headers);
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known.flat_map(|list| list.split(',')).any(|known| known.trim().trim_start_matches("W/") == etag);
    let mut answer = if is_known {
        answer(StatusCode::NOT_MODIFIED, asset.content_type, Bytes::new())
    } else if gzip {
        answer(StatusCode::OK, asset.content_type, Bytes::from_static(asset.gzip))
    } else {
        match asset.identity() {
            Ok(content) => answer(StatusCode::OK, asset.content_type, content),
            Err(error) => return refusal(&Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        }
    };
    let headers = answer.headers_mut();
    if gzip && !is_known {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    // Asked for again each time: a new weir has a new page.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(ETAG, etag);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_forbids_what_the_page_does_not_need() {
        let asset = Asset::of("index.html").unwrap();
        let none = HeaderMap::new();
        for answer in [json(StatusCode::OK, &1), refusal(&Problem::bad("x")), super::asset(asset, &none)] {
            let header = |name: &str| answer.headers()[name].to_str().unwrap();
            assert!(header("content-security-policy").starts_with("default-src 'none'; script-src 'self'; "));
            assert!(!header("content-security-policy").contains("unsafe"));
            assert_eq!((header("x-content-type-options"), header("referrer-policy")), ("nosniff", "no-referrer"));
            assert!(!answer.headers().keys().any(|name| name.as_str().starts_with("access-control")));
            assert!(!answer.headers().contains_key("set-cookie"));
        }
    }

    #[test]
    fn a_file_that_the_client_has_is_not_sent_again() {
        let asset = Asset::of("app.js").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, HeaderValue::from_str(&format!("\"other\", W/{}", asset.etag())).unwrap());
        assert_eq!(super::asset(asset, &headers).status(), StatusCode::NOT_MODIFIED);
        headers.insert(IF_NONE_MATCH, HeaderValue::from_static("\"other\""));
        assert_eq!(super::asset(asset, &headers).status(), StatusCode::OK);
    }

    #[test]
    fn an_answer_that_is_too_long_is_refused() {
        let long = "x".repeat(MAX_ANSWER);
        assert_eq!(json(StatusCode::OK, &long).status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(json(StatusCode::OK, &&long[2..]).status(), StatusCode::OK);
    }
}
