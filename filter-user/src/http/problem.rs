//! Why a request is not served, as RFC 9457 says it. Pure: names a status and one line, sends nothing.

use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use serde_json::{Value, json};

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The status of the answer.
    pub(super) status: StatusCode,
    /// What it is about and what helps, in one line.
    pub(super) detail: String,
    /// A header that the status demands.
    pub(super) header: Option<(HeaderName, HeaderValue)>,
}

/// What the body of a problem is.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), header: None }
    }

    /// The request is malformed.
    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// There is no such thing.
    pub(super) fn absent(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// The method does not fit the path.
    pub(super) fn method(path: &str, allowed: &'static str) -> Self {
        let detail = format!("{path} takes {allowed}");
        let header = Some((ALLOW, HeaderValue::from_static(allowed)));
        Self { header, ..Self::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    /// A token is needed, or another one.
    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        let header = Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"weir\"")));
        Self { header, ..Self::new(StatusCode::UNAUTHORIZED, detail) }
    }

    /// The daemon does not answer.
    pub(super) fn silent(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// The document that says so (RFC 9457, section 3.1; its `type` is "about:blank", the default).
    pub(super) fn document(&self) -> Value {
        json!({
            "title": self.status.canonical_reason().unwrap_or("Refused"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_status_and_the_remedy() {
        let problem = Problem::method("/api/v1/pause", "POST");
        let expected = json!({ "title": "Method Not Allowed", "status": 405, "detail": "/api/v1/pause takes POST" });
        assert_eq!(problem.document(), expected);
        assert_eq!(problem.header, Some((ALLOW, HeaderValue::from_static("POST"))));
    }
}
