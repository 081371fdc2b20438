//! Many documents of one publisher: all are asked for, politely, and published together.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_tests::feed::{Answer, Feed, at_once, pauses};
use weir_tests::{require_root, wait_until};

use crate::watch::Router;

/// One AS has the lab's listed addresses; the others, networks that nothing asks for.
const ASNS: [u32; 7] = [3, 4, 5, 6, 7, 8, 9];

/// What ipverse writes for an AS.
fn document(asn: u32, source: u32) -> String {
    let (v4, v6) = match asn {
        7 => ("71.18.0.0/16".into(), "\"2605:340::/32\"".into()),
        asn => (format!("203.0.{}.0/24", 16 * source + asn), String::new()),
    };
    format!(
        "{{\"asn\": {asn}, \"handle\": \"X\", \"description\": \"X\", \"subnets\": {{\"ipv4\": [\"{v4}\"], \"ipv6\": [{v6}]}}}}"
    )
}

#[test]
fn fourteen_documents_of_one_host_come_one_at_a_time_and_go_live_together() {
    require_root();
    let mut router = Router::new();
    let feed = Feed::start(&router.path.router, 0);
    let source = |name: &str| {
        format!("[[source]]\nname = \"{name}\"\nurl = \"{}\"\n", feed.url(&format!("/{name}/{{asn}}.json")))
    };
    router.config(&format!(
        "[[rule]]\nname = \"asns\"\naction = \"block\"\nasns = {ASNS:?}\n[asn]\nsources = [\"one\", \"two\"]\n{}{}",
        source("one"),
        source("two")
    ));
    let mut expected = BTreeSet::new();
    for (number, name) in (0..).zip(["one", "two"]) {
        for asn in ASNS {
            let path = format!("/{name}/{asn}.json");
            feed.set(&path, Answer::ok(document(asn, number)));
            expected.insert(path);
        }
    }
    router.start();
    let good = || {
        let lists = router.status()["lists"].clone();
        lists.as_array().unwrap().iter().filter(|list| list["state"] == "good").count()
    };
    wait_until(Duration::from_secs(40), "all are here", || good() == 14);
    let requests = feed.requests();
    let took = requests[13].arrived.duration_since(requests[0].arrived);
    let asked: BTreeSet<String> = requests.iter().map(|request| request.path.clone()).collect();
    assert_eq!((asked, requests.len()), (expected, 14), "each once");
    assert_eq!(at_once(&requests), 1, "{requests:?}");
    let shortest = pauses(&requests).into_iter().min().unwrap();
    // From an answer to the next question; arrivals are that and the answer apart.
    assert!(shortest >= Duration::from_millis(990), "{shortest:?}");
    router.wait_until_blocked("by all of them");
    // Gathered for three seconds each time, so never one generation for each document.
    wait_until(Duration::from_secs(10), "the last is published", || {
        router.status()["rules"][0]["name"] == "asns" && router.status()["degraded"].as_array().unwrap().is_empty()
    });
    let generation = router.status()["generation"].as_u64().unwrap();
    println!(
        "14 documents within {took:?}, the shortest pause {shortest:?}, published in {} generations",
        generation - 1
    );
    assert!(generation - 1 < 14, "{generation} generations");
}
