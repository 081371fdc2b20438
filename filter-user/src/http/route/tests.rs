//! What addresses and bodies mean, and that the API's description says the same.

use super::super::assets::Asset;
use super::*;

fn read(address: &str) -> Result<Call, u16> {
    let (path, query) = address.split_once('?').map_or((address, None), |(path, query)| (path, Some(query)));
    let call = Endpoint::at(&Method::GET, path).and_then(|endpoint| Call::read(endpoint, query));
    call.map_err(|problem| problem.status.as_u16())
}

fn write(path: &str, body: &str) -> Result<Call, u16> {
    let Ok(Endpoint::Write(write)) = Endpoint::at(&Method::POST, path) else { return Err(0) };
    Call::write(write, None, body.as_bytes()).map_err(|problem| problem.status.as_u16())
}

#[test]
fn addresses_name_calls() {
    assert_eq!(read("/"), Ok(Call::Asset("index.html")));
    assert_eq!(read("/?utm=1&utm=2"), Ok(Call::Asset("index.html")), "whatever people add to it");
    assert_eq!(read("/api/v1/status"), Ok(Call::Status { counters: true }));
    assert_eq!(read("/api/v1/status?counters=false"), Ok(Call::Status { counters: false }));
    let day = Span::Last(Duration::from_hours(24));
    assert_eq!(read("/api/v1/history?range=24h&by=device"), Ok(Call::History { span: day, by: SeriesBy::Device }));
    let all = Span::Between { since: None, until: None };
    assert_eq!(read("/api/v1/history"), Ok(Call::History { span: all, by: SeriesBy::Rule }));
    let part = Span::Between { since: Some(10), until: Some(20) };
    assert_eq!(read("/api/v1/report?since=10&until=20"), Ok(Call::Report(part)));
    assert_eq!(read("/api/v1/report?range=1h&since=10&until=20"), Ok(Call::Report(part)), "the exact ones win");
    let address = "2001:db8::1".parse().unwrap();
    assert_eq!(read("/api/v1/explain?address=2001%3Adb8::1"), Ok(Call::Ask(Request::Explain { address })));
    assert_eq!(read("/api/v1/events"), Ok(Call::Ask(Request::Recent { limit: 50 })));
    assert_eq!(usize::try_from(MOST_EVENTS), Ok(Recent::MOST));
    assert_eq!(read("/api/v1/events?limit=200"), Ok(Call::Ask(Request::Recent { limit: 200 })));
    assert_eq!((read("/healthz"), read("/metrics")), (Ok(Call::Health), Ok(Call::Metrics)));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for bad in [
        "/api/v1/status?counter=false",
        "/api/v1/status?counters=no",
        "/api/v1/history?range=2h",
        "/api/v1/history?since=-1",
        "/api/v1/history?since=253402300800",
        "/api/v1/history?by=client",
        "/api/v1/report?by=rule",
        "/api/v1/explain",
        "/api/v1/explain?address=",
        "/api/v1/explain?address=192.0.2.0/24",
        "/api/v1/explain?address=example.com",
        "/api/v1/explain?address=fe80::1%25eth0",
        "/healthz?verbose",
        "/api/v1/events?limit=0",
        "/api/v1/events?limit=201",
    ] {
        assert_eq!(read(bad), Err(400), "{bad}");
    }
    for absent in ["", "//", "/index.html", "/api", "/api/v1", "/api/v1/", "/api/v1/stop", "/api/v2/status", "/../etc"]
    {
        assert_eq!(read(absent), Err(404), "{absent}");
    }
}

#[test]
fn each_place_takes_its_methods_and_names_them_to_others() {
    for (path, endpoint) in ENDPOINTS {
        let writes = matches!(endpoint, Endpoint::Write(_));
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PURGE"] {
            let at = Endpoint::at(&method.parse().unwrap(), path);
            let fits = if writes { method == "POST" } else { ["GET", "HEAD"].contains(&method) };
            match at {
                Ok(found) => assert!(fits && found == endpoint, "{method} {path}"),
                Err(problem) => {
                    assert!(!fits && problem.status == 405, "{method} {path}");
                    assert_eq!(problem.header.unwrap().1, if writes { "POST" } else { "GET, HEAD" });
                }
            }
        }
        let need = match endpoint {
            Endpoint::Asset(_) => Need::Nothing,
            Endpoint::Write(_) => Need::Write,
            _ => Need::Read,
        };
        assert_eq!(endpoint.need(), need, "{path}");
    }
}

#[test]
fn bodies_are_the_objects_that_calls_take() {
    assert_eq!(write("/api/v1/pause", r#"{"secs": 300}"#), Ok(Call::Ask(Request::Pause { secs: 300 })));
    assert_eq!(write("/api/v1/pause", r#"{"secs": 300.0}"#), Ok(Call::Ask(Request::Pause { secs: 300 })));
    assert_eq!(write("/api/v1/resume", "{}"), Ok(Call::Ask(Request::Resume)));
    assert_eq!(write("/api/v1/confirm", " {} "), Ok(Call::Ask(Request::Confirm)));
    assert_eq!(write("/api/v1/rollback", "{}"), Ok(Call::Ask(Request::Rollback)));
    assert_eq!(write("/api/v1/apply", "{}"), Ok(Call::Ask(Request::Apply { confirm: None })));
    assert_eq!(write("/api/v1/apply", r#"{"confirm": 90}"#), Ok(Call::Ask(Request::Apply { confirm: Some(90) })));
    let accept: BTreeSet<String> = ["a".into()].into();
    assert_eq!(write("/api/v1/update", r#"{"accept": ["a"]}"#), Ok(Call::Ask(Request::Update { accept })));
    let accept = BTreeSet::new();
    assert_eq!(write("/api/v1/update", "{}"), Ok(Call::Ask(Request::Update { accept })));
    for bad in ["", "[]", "[300]", "300", "null", "{", r#"{"secs": 300}x"#, r#"{"secs": 300, "more": 1}"#] {
        for path in ["pause", "resume", "confirm", "rollback", "apply", "update"] {
            assert_eq!(write(&format!("/api/v1/{path}"), bad), Err(400), "{path} {bad}");
        }
    }
    for bad in ["{}", r#"{"secs": 0}"#, r#"{"secs": 86401}"#, r#"{"secs": -1}"#, r#"{"secs": "5"}"#, r#"{"secs": 1.5}"#]
    {
        assert_eq!(write("/api/v1/pause", bad), Err(400), "{bad}");
    }
    assert_eq!(write("/api/v1/apply", r#"{"confirm": 0}"#), Err(400));
    assert_eq!(write("/api/v1/resume", r#"{"secs": 1}"#), Err(400));
    let query = Call::write(Write::Resume, Some("secs=1"), b"{}");
    assert_eq!(query.unwrap_err().status, 400, "a call's words stand in its body");
}

#[test]
fn the_description_names_every_place_of_the_api_and_no_other() {
    let text = Asset::of("openapi.json").unwrap().identity().unwrap();
    let described: Value = serde_json::from_slice(&text).unwrap();
    let mut places = BTreeSet::new();
    for (path, methods) in described["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            places.insert((path.clone(), method.to_uppercase()));
            assert!(operation["operationId"].is_string() && operation["responses"].is_object(), "{method} {path}");
        }
    }
    let served = |path: &str| path.starts_with("/api/") || path == "/healthz";
    let method = |endpoint| if matches!(endpoint, Endpoint::Write(_)) { "POST" } else { "GET" };
    let expected = ENDPOINTS.into_iter().filter(|(path, _)| served(path));
    let expected: BTreeSet<_> =
        expected.map(|(path, endpoint)| (path.to_owned(), method(endpoint).to_owned())).collect();
    assert_eq!(places, expected);
}
