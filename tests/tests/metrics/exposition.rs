//! What weir serves is what Prometheus' own tool asks of an exposition, in both formats.

use weir_tests::http;

use crate::prometheus::{here, promtool};
use crate::{HERE, Site, families};

#[test]
fn promtool_has_nothing_to_complain_of() {
    if !here("promtool_has_nothing_to_complain_of") {
        return;
    }
    let site = Site::start("");
    site.send();
    let reply = site.metrics("*/*");
    assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let output = promtool(&["check", "metrics"], &reply.body);
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    let broken =
        promtool(&["check", "metrics"], &[&reply.body[..], b"# TYPE weir_things counter\nweir_things 1\n"].concat());
    assert!(!broken.status.success(), "it would say so");
}

/// That Prometheus reads it shows in `scraped`: it asks for this format.
#[test]
fn openmetrics_is_given_to_who_asks_for_it_and_says_the_same() {
    let site = Site::start("");
    site.send();
    // What Prometheus 2.42 sends.
    let accept = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let reply = site.metrics(accept);
    assert_eq!(reply.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let open = String::from_utf8(reply.body).unwrap();
    assert!(open.ends_with("\n# EOF\n") && open.matches("# EOF").count() == 1, "{open}");
    let text = site.text();
    let lasting = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.starts_with(['#']) && !line.starts_with("process_"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(lasting(&open), lasting(&text));
    // Of a counter, OpenMetrics describes the name without its suffix.
    let described = families(&open);
    assert!(described.contains(&"weir_dropped_packets") && described.contains(&"weir_generation"), "{described:?}");
    for family in families(&text) {
        assert!(described.contains(&family.strip_suffix("_total").unwrap_or(family)), "{family}");
    }
}

#[test]
fn only_reading_is_offered() {
    let site = Site::start("");
    let reply = http::ask(&site.path.router, HERE, "POST", "/metrics", &[], b"{}");
    assert_eq!(reply.status, 405);
}
