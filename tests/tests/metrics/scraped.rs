//! What Prometheus knows is what was sent.

use std::time::Duration;

use weir_tests::lab::{DEADLINE, wait_until};

use crate::Site;
use crate::prometheus::{Prometheus, here};

/// The first and the last sample of a series, as milliseconds and value.
fn ends(prometheus: &Prometheus<'_>, series: &str) -> [(u64, String); 2] {
    let result = prometheus.query(&format!("{series}[5m]"), None);
    let samples = result[0]["values"].as_array().unwrap_or_else(|| panic!("no samples of {series}: {result:#}"));
    [samples.first(), samples.last()].map(|sample| {
        let sample = sample.unwrap();
        let millis = Duration::from_secs_f64(sample[0].as_f64().unwrap() + 0.0005).as_millis();
        (millis as u64, sample[1].as_str().unwrap().to_owned())
    })
}

#[test]
fn values_and_increases_in_prometheus_are_what_was_sent() {
    if !here("values_and_increases_in_prometheus_are_what_was_sent") {
        return;
    }
    let site = Site::start("");
    let prometheus = Prometheus::start(&site.path.router);
    let parsed = "weir_parse_packets_total{device=\"lan0\",reason=\"ipv4\"}";
    assert_eq!(prometheus.value(parsed, None), "0", "series begin before their first packet");
    let sent = site.send();
    let mut expected: Vec<(String, u64)> = Vec::new();
    for (series, counter) in &sent {
        expected.push((series.replace('*', "packets"), counter.packets));
        expected.push((series.replace('*', "bytes"), counter.bytes));
    }
    // 1201 to TikTok, 65 to the campus, 76 monitored, 87 allowed, 98 of the control.
    expected.push((parsed.into(), 1201 + 65 + 76 + 87 + 98));
    expected.push(("weir_parse_packets_total{device=\"wan0\",reason=\"ipv4\"}".into(), 403));
    for (series, count) in &expected {
        wait_until(DEADLINE, &format!("{series} is scraped"), || prometheus.value(series, None) == count.to_string());
        let [(first, before), (last, after)] = ends(&prometheus, series);
        assert_eq!((before.as_str(), after), ("0", count.to_string()), "{series}");
        // From sample to sample: what lies between is counted, and nothing is guessed beyond.
        let increase = format!("increase({series}[{}ms])", last - first);
        assert_eq!(prometheus.value(&increase, Some(last)), count.to_string(), "{increase}");
    }
    for unit in ["packets", "bytes"] {
        let difference = format!("sum(weir_blocked_{unit}_total) - sum(weir_dropped_{unit}_total)");
        assert_eq!(prometheus.value(&difference, None), "0", "no packet is in two of these rules");
    }
    // They pass a second hook, the egress of wan0: one packet is one.
    assert_eq!(prometheus.value("sum(weir_would_block_packets_total)", None), "76");
    assert_eq!(prometheus.value("sum(weir_allowed_packets_total)", None), "87");
    let to_v4 = |series: &str| series.starts_with("weir_blocked_*") && series.contains("family=\"ipv4\"");
    let blocked: u64 = sent.iter().filter(|(series, _)| to_v4(series)).map(|(_, counter)| counter.bytes).sum();
    let client = "weir_client_blocked_bytes_total{client=\"10.66.0.2\"}";
    assert_eq!(prometheus.value(client, None), blocked.to_string());
    assert_eq!(prometheus.value("weir_list_prefixes{list=\"campus\",asn=\"\"}", None), "1");
    assert_eq!(prometheus.value("weir_paused", None), "0");
    assert_eq!(site.weir.verb(&["pause", "5m"]).code, 0);
    wait_until(DEADLINE, "the pause is scraped", || prometheus.value("weir_paused", None) == "1");
}
