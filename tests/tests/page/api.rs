//! The API by its own description, and who may use it.

use std::process::Command;

use serde_json::Value;
use weir_tests::http;
use weir_tests::lab::LISTED_V4;
use weir_tests::skipped;

use crate::site::{PAGE, Site, target};

#[test]
fn the_api_keeps_to_its_description_whatever_is_sent() {
    let program = target().join("tools/schemathesis/bin/st");
    if !program.is_file() {
        return skipped("the API by its description", "schemathesis is not installed; run: cargo xtask test");
    }
    let site = Site::start("");
    let mut command = Command::new(program);
    command.arg("run").arg(format!("http://{PAGE}/api/v1/openapi.json"));
    command.args(["--header", &format!("Authorization: Bearer {}", site.token())]);
    // As many questions as fit into half a minute; the same ones each time. One after the other: Python 3.11 trips over
    // its own parser where several threads use it.
    command.args(["--checks", "all", "--max-examples", "40", "--seed", "1", "--no-color"]);
    command.args(["--generation-database", "none", "--request-timeout", "20"]);
    command.current_dir(site.scratch.path());
    let output = site.path.router.run(&command);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(site.weir.verb(&["status"]).code, 0, "weir goes on");
}

#[test]
fn the_api_says_what_the_control_socket_says() {
    let site = Site::start("");
    let mut by_http = site.get("/api/v1/status").json();
    let mut by_socket = site.weir.status();
    for status in [&mut by_http, &mut by_socket] {
        status["uptime_secs"] = Value::Null;
        status["system"]["memory_available"] = Value::Null;
    }
    assert_eq!(by_http, by_socket);
    let explained = site.get(&format!("/api/v1/explain?address=::ffff:{LISTED_V4}")).json();
    let config = site.scratch.path().join("weir.toml");
    let said = site.weir.verb(&["status", "--json"]);
    assert_eq!(said.code, 0);
    let by_verb = weir_tests::weir::weir(["explain", "-c", config.to_str().unwrap(), "--json", &LISTED_V4.to_string()]);
    assert_eq!(explained, by_verb.json());
    assert_eq!(site.get("/healthz").json(), serde_json::json!({ "healthy": true, "reasons": [] }));
    assert_eq!(site.post("/api/v1/pause", r#"{"secs": 60}"#).status, 200);
    let paused = site.get(&format!("/api/v1/explain?address={LISTED_V4}")).json();
    assert_eq!((&paused["verdict_out"], &paused["rules"][0]["action"]), (&"pass".into(), &"block".into()));
    assert_eq!(paused["why"], "a block rule names it, and weir is paused: it is counted and passes");
    assert_eq!(site.post("/api/v1/resume", "{}").json()["done"], "resumed: block rules block");
    let nothing = site.post("/api/v1/confirm", "{}");
    assert_eq!((nothing.status, nothing.header("content-type")), (409, "application/problem+json"));
    assert_eq!(nothing.json()["detail"], "nothing waits for a confirmation");
}

#[test]
fn a_page_of_another_site_can_neither_read_nor_write() {
    let site = Site::start("");
    let bearer = format!("Bearer {}", site.token());
    let ask = |method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
        http::ask(&site.path.router, PAGE, method, path, headers, body.as_bytes()).status
    };
    let write = "/api/v1/pause";
    let body = r#"{"secs": 60}"#;
    assert_eq!(ask("GET", "/api/v1/status", &[("Host", "evil.example:9846")], ""), 421, "DNS rebinding");
    assert_eq!(ask("POST", write, &[], body), 401, "no token");
    assert_eq!(ask("POST", write, &[("Authorization", "Bearer wrong")], body), 401);
    let token = ("Authorization", bearer.as_str());
    assert_eq!(ask("POST", write, &[token, ("Origin", "http://evil.example")], body), 403);
    assert_eq!(ask("POST", write, &[token, ("Content-Type", "text/plain")], body), 415, "what a form may send");
    assert_eq!(ask("POST", &format!("{write}?secs=60"), &[token], "{}"), 400);
    assert_eq!(ask("GET", write, &[token], ""), 405);
    assert_eq!(ask("OPTIONS", write, &[("Origin", "http://evil.example")], ""), 405, "no leave to ask across sites");
    assert!(site.weir.status()["paused_secs"].is_null(), "nothing was paused");
    assert_eq!(ask("POST", write, &[token, ("Origin", "http://127.0.0.1:9846")], body), 200);
    let headers = site.get("/").headers;
    assert!(headers.iter().all(|(name, _)| !name.starts_with("access-control") && name != "set-cookie"), "{headers:?}");
}
