//! The dashboard and the alerts that are shipped: every metric they name exists, every query is one that Prometheus takes.

use std::collections::BTreeSet;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::prometheus::{Prometheus, here, promtool, shipped};
use crate::{Site, families};

fn dashboard() -> Value {
    serde_json::from_str(&fs::read_to_string(shipped("dashboards/weir.json")).unwrap()).unwrap()
}

/// The panels that have queries, with their titles.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let title = |panel: &Value| panel["title"].as_str().unwrap().to_owned();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push((title(panel), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        queries.push(("annotation".into(), annotation["expr"].as_str().unwrap().to_owned()));
    }
    queries
}

/// Words of a text that are names of metrics.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("weir_") || word.starts_with("process_")).collect()
}

#[test]
fn every_metric_that_is_named_exists_and_every_one_that_exists_is_documented() {
    let site = Site::start("");
    let text = site.text();
    let there: BTreeSet<&str> = families(&text).into_iter().collect();
    for file in ["dashboards/weir.json", "alerts/weir.rules.yml", "alerts/weir.test.yml"] {
        let contents = fs::read_to_string(shipped(file)).unwrap();
        let named = names(&contents);
        assert!(named.len() > 5, "{file}: {named:?}");
        let unknown: Vec<_> = named.difference(&there).collect();
        assert!(unknown.is_empty(), "{file} names what weir does not serve: {unknown:?}");
    }
    let document = fs::read_to_string(shipped("docs/evidence.md")).unwrap();
    let documented: BTreeSet<&str> = document.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let missing: Vec<_> = there.difference(&documented).collect();
    assert!(missing.is_empty(), "docs/evidence.md does not say what these are: {missing:?}");
}

#[test]
fn the_dashboard_is_one_that_any_grafana_imports() {
    let dashboard = dashboard();
    assert_eq!((dashboard["uid"].as_str(), dashboard["id"].as_null()), (Some("weir-overview"), Some(())));
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 36));
    let variables: Vec<&str> =
        dashboard["templating"]["list"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "instance", "device"]);
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is taken");
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{title} is too wide");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(cells.insert((x, y)), "{title} covers another panel");
            }
        }
    }
    // Every data source is the variable: an id of one Grafana means nothing to another.
    let text = dashboard.to_string();
    let sources = text.matches(r#""type":"prometheus""#).count();
    assert!(sources > 40 && text.matches(r#""uid":"${datasource}""#).count() == sources, "{sources}");
}

/// Panels that show something only where something is wrong.
const EMPTY: [&str; 2] = ["States other than good", "annotation"];

#[test]
fn every_query_of_the_dashboard_finds_something() {
    if !here("every_query_of_the_dashboard_finds_something") {
        return;
    }
    let site = Site::start("");
    let prometheus = Prometheus::start(&site.path.router);
    site.send();
    // Rates take two samples, and more for those that begin with a packet.
    sleep(Duration::from_secs(3));
    for (panel, query) in queries(&dashboard()) {
        let query = query.replace("$__rate_interval", "1m").replace("$__range", "1h");
        let query = query.replace("$instance", ".*").replace("$device", ".*");
        assert!(!query.contains('$'), "{panel}: {query}");
        let found = prometheus.query(&query, None);
        let empty = found.as_array().is_none_or(Vec::is_empty);
        assert!(!empty || EMPTY.contains(&panel.as_str()), "{panel} finds nothing: {query}");
    }
    for (query, value) in [("count(ALERTS) or vector(0)", "0"), ("count(up{job=\"weir\"})", "1")] {
        assert_eq!(prometheus.value(query, None), value, "{query}");
    }
}

#[test]
fn alerts_fire_when_they_should_and_not_before() {
    if !here("alerts_fire_when_they_should_and_not_before") {
        return;
    }
    let path = |name: &str| shipped(name).display().to_string();
    for (verb, file) in [("check", "alerts/weir.rules.yml"), ("test", "alerts/weir.test.yml")] {
        let output = promtool(&[verb, "rules", &path(file)], b"");
        assert!(output.status.success(), "{verb}: {output:?}");
    }
    let (rules, tests) =
        ["alerts/weir.rules.yml", "alerts/weir.test.yml"].map(|file| fs::read_to_string(shipped(file)).unwrap()).into();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let fires = tests.split("- eval_time: ").skip(1).any(|test| {
            test.lines().nth(1).is_some_and(|line| line.trim() == format!("alertname: {alert}"))
                && test.lines().nth(2).is_some_and(|line| line.trim() == "exp_alerts:")
        });
        let quiet = tests.contains(&format!("alertname: {alert}}}"));
        assert!(fires && quiet, "{alert} has no test");
    }
}
