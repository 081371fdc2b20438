//! One request to its answer: checks who asks and for what, asks the daemon or the history, and turns what they say into an
//! answer. Changes nothing itself.

use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{ACCEPT, CONNECTION, HeaderValue};
use hyper::{Request, StatusCode};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::access::Access;
use super::answer::{self, Answer};
use super::assets::Asset;
use super::problem::Problem;
use super::route::{Call, Endpoint};
use super::{HEAD_TIME, Site};
use crate::control;
use crate::metrics::Format;
use crate::report::Status;

/// The longest body.
const MAX_BODY: usize = 64 << 10;
/// How long the daemon may take: a publish of many rules on a small router takes seconds.
const DAEMON_TIME: Duration = Duration::from_secs(30);

/// Answers a request.
pub(super) async fn respond(request: Request<Incoming>, access: &Access, site: &Site) -> Answer {
    let (head, body) = request.into_parts();
    let mut unread = !body.is_end_stream();
    let answered = async {
        let endpoint = Endpoint::at(&head.method, head.uri.path())?;
        access.check(endpoint.need(), &head.uri, &head.headers)?;
        let call = match endpoint {
            Endpoint::Write(write) => {
                let body = read(body).await?;
                unread = false;
                Call::write(write, head.uri.query(), &body)?
            }
            _ => Call::read(endpoint, head.uri.query())?,
        };
        if let Call::Asset(name) = call {
            let asset = Asset::of(name).ok_or_else(|| Problem::absent(format!("{name} is not compiled in")))?;
            return Ok(answer::asset(asset, &head.headers));
        }
        let accept = head.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        site.answer(call, Format::accepted(accept.unwrap_or_default())).await
    };
    let mut answer = answered.await.unwrap_or_else(|problem| answer::refusal(&problem));
    if unread {
        // hyper skips such a body, reads on, and refuses what is no request in the midst of this answer (1.12, `on_parse_error`).
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// Reads a body, up to a size and within a time.
async fn read(body: Incoming) -> Result<Vec<u8>, Problem> {
    let too_long = || {
        let problem = format!("the body is longer than {MAX_BODY} bytes; no call needs that much");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, problem)
    };
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(too_long());
    }
    match timeout(HEAD_TIME, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes().to_vec()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(error)) => Err(Problem::bad(format!("the body cannot be read: {error}"))),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to come; send it again")),
    }
}

impl Site {
    /// What is answered to a call; metrics in `format`.
    async fn answer(&self, call: Call, format: Format) -> Result<Answer, Problem> {
        match call {
            Call::Ask(request) => self.tell(request).await,
            Call::Status { counters } => {
                let mut status = self.status().await?;
                if !counters {
                    status.counters.clear();
                }
                Ok(answer::json(StatusCode::OK, &status))
            }
            Call::Health => {
                let reasons = self.status().await?.faults();
                let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                Ok(answer::json(status, &json!({ "healthy": reasons.is_empty(), "reasons": reasons })))
            }
            Call::Metrics => self.metrics(format).await,
            Call::History { span, by } => Ok(answer::json(StatusCode::OK, &self.series(span, by).await?)),
            Call::Report(span) => Ok(answer::json(StatusCode::OK, &self.report(span).await?)),
            Call::Asset(name) => Err(Problem::absent(format!("{name} is not compiled in"))),
        }
    }

    /// Asks the daemon.
    async fn ask(&self, request: control::Request) -> Result<control::Answer, Problem> {
        let asked = async {
            let _turn = self.asking.acquire().await.ok()?;
            let (reply, answer) = oneshot::channel();
            self.requests.send((request, reply)).await.ok()?;
            answer.await.ok()
        };
        match timeout(DAEMON_TIME, asked).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Problem::silent("weir is about to end; ask again once it runs")),
            Err(_) => Err(Problem::silent("weir is busy; ask again in a moment")),
        }
    }

    async fn status(&self) -> Result<Status, Problem> {
        match self.ask(control::Request::Status).await? {
            control::Answer::Status(status) => Ok(*status),
            control::Answer::Error(problem) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, problem)),
            _ => Err(strange()),
        }
    }

    async fn tell(&self, request: control::Request) -> Result<Answer, Problem> {
        let only_asks = matches!(request, control::Request::Explain { .. } | control::Request::Recent { .. });
        match self.ask(request).await? {
            control::Answer::Explained(explained) => Ok(answer::json(StatusCode::OK, &explained)),
            control::Answer::Recent(events) => Ok(answer::json(StatusCode::OK, &json!({ "events": events }))),
            control::Answer::Done(text) => Ok(answer::json(StatusCode::OK, &json!({ "done": text }))),
            // What is asked for does not fit how things stand; a question that cannot be answered is another matter.
            control::Answer::Error(problem) if only_asks => Err(Problem::silent(problem)),
            control::Answer::Error(problem) => Err(Problem::new(StatusCode::CONFLICT, problem)),
            _ => Err(strange()),
        }
    }

    /// The metrics, for Prometheus.
    async fn metrics(&self, format: Format) -> Result<Answer, Problem> {
        match self.ask(control::Request::Metrics { open: format == Format::OpenMetrics }).await? {
            control::Answer::Metrics(text) => Ok(answer::text(format.content_type(), text)),
            control::Answer::Error(problem) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, problem)),
            _ => Err(strange()),
        }
    }
}

fn strange() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "weir answered something else; report this")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::runtime::Builder;
    use tokio::sync::mpsc;

    use super::super::converse;

    /// What a client is sent that says all of this at once, and takes the answers in small pieces.
    fn answers(said: &str) -> String {
        Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            let (mut client, server) = duplex(512);
            let (requests, _inbox) = mpsc::channel(1);
            let listen = "127.0.0.1:9846".parse().unwrap();
            let serving = converse(server, listen, &[], "token", requests);
            let talking = async {
                client.write_all(said.as_bytes()).await.unwrap();
                let mut answers = Vec::new();
                client.read_to_end(&mut answers).await.unwrap();
                String::from_utf8(answers).unwrap()
            };
            tokio::join!(serving, talking).1
        })
    }

    #[test]
    fn behind_a_body_that_nobody_reads_comes_no_other_answer() {
        let page = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n";
        let alone = answers(&format!("{page}Connection: close\r\n\r\n"));
        assert!(alone.starts_with("HTTP/1.1 200 OK\r\n") && alone.len() > 2 * 512, "{alone}");
        // Where the date stands, the clock may have moved on.
        let undated =
            |answer: &str| answer.lines().filter(|line| !line.starts_with("date: ")).collect::<Vec<_>>().join("\n");
        let bodies = ["Content-Length: 2\r\n\r\n{}", "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"];
        for body in bodies {
            for behind in ["no request\r\n\r\n", &format!("{page}\r\n")] {
                assert_eq!(undated(&answers(&format!("{page}{body}{behind}"))), undated(&alone), "{body}{behind}");
            }
        }
    }

    #[test]
    fn a_connection_goes_on_behind_a_body_that_was_read() {
        let resume = "POST /api/v1/resume HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer token\r\n\
                      Content-Type: application/json\r\nContent-Length: 3\r\n\r\n[1]";
        let answers = answers(&format!("{resume}{resume}no request\r\n\r\n"));
        assert_eq!(answers.matches("HTTP/1.1 400 Bad Request\r\n").count(), 3, "{answers}");
    }
}
