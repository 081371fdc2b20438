//! Every fault of a feed, one after the other, against a running daemon under real packets.

use std::time::Duration;

use weir_tests::feed::{Answer, Feed};
use weir_tests::lab::{CONTROL_V4, CONTROL_V6, DEADLINE};
use weir_tests::{require_root, wait_until};

use crate::watch::Router;

/// Ten prefixes that hold the lab's listed addresses; the lab's control addresses are in none of them.
const LIST: &str = "71.18.0.0/24\n71.18.1.0/24\n71.18.2.0/24\n71.18.3.0/24\n71.18.4.0/24\n71.18.5.0/24\n71.18.6.0/24\n\
                    71.18.7.0/24\n71.18.8.0/24\n71.18.9.0/24\n2605:340::/48\n2605:340:1::/48\n2605:340:2::/48\n2605:340:3::/48\n";
/// The same as an ASN table: AS7 has the listed addresses, AS8 something else.
const TABLE: &str = "71.18.0.0,71.18.9.255,7,Seven\n203.0.113.0,203.0.113.255,8,Eight\n2605:340::,2605:340:3:ffff:ffff:ffff:ffff:ffff,7,Seven\n";

fn config(feed: &Feed) -> String {
    format!(
        "[[rule]]\nname = \"list\"\naction = \"block\"\nlists = [\"list\"]\n\
         [[rule]]\nname = \"asns\"\naction = \"block\"\nasns = [7, 8]\n\
         [asn]\nsources = [\"table\"]\n\
         [[source]]\nname = \"list\"\nurl = \"{}\"\nrefresh = \"1s\"\nmax_bytes = 1000000\n\
         [[source]]\nname = \"table\"\nurl = \"{}\"\nrefresh = \"1s\"\nmax_bytes = 1000000\n\
         [fetch]\nretry = \"1s\"\ntimeout = \"2s\"\n",
        feed.url("/list"),
        feed.url("/table")
    )
}

/// A name, what the feed answers for the list, what it answers for the table, and what the status says of it.
type Fault = (&'static str, Answer, Option<Answer>, &'static str);

fn faults() -> Vec<Fault> {
    let half = LIST.lines().take(5).collect::<Vec<_>>().join("\n");
    // The lab's control addresses: a fault must not block them.
    let hostile =
        format!("{LIST}{CONTROL_V4}/24\n{CONTROL_V6}/32\n10.66.0.0/24\n71.18.0.0/16\n").replace(".10/24", ".0/24");
    let hostile = hostile.replace(&format!("{CONTROL_V6}/32"), "2001:db8::/32");
    vec![
        ("error 500", Answer::Status(500), Some(Answer::Status(500)), "answers 500 Internal Server Error"),
        ("error 404", Answer::Status(404), Some(Answer::Status(404)), "answers 404 Not Found"),
        ("busy", Answer::RetryAfter { status: 503, after: "1".into() }, None, "answers 503 Service Unavailable"),
        ("no answer", Answer::Timeout, None, "not done within 2 s ([fetch] timeout)"),
        (
            "slow drip",
            Answer::Drip { body: LIST.into(), bytes_per_second: 20 },
            None,
            "not done within 2 s ([fetch] timeout)",
        ),
        (
            "reset",
            Answer::ResetMidBody { body: LIST.into(), after: 60 },
            Some(Answer::ResetMidBody { body: TABLE.into(), after: 60 }),
            "the connection failed",
        ),
        ("truncated gzip", Answer::TruncatedGzip { body: LIST.repeat(50).into() }, None, "decompress"),
        ("web page", Answer::Html, Some(Answer::Html), "is a web page"),
        ("empty", Answer::Empty, Some(Answer::Empty), ""),
        ("shrunk", Answer::ok(half), None, "of the IPv4 addresses that it listed are gone (limit: shrink = 30)"),
        ("grown", Answer::ok(hostile), None, "more IPv4 addresses than before (limit: grow = 30)"),
        (
            "an AS missing",
            Answer::ok(LIST),
            Some(Answer::ok(TABLE.replace(",8,Eight", ",9,Nine"))),
            "lists nothing any more for AS8",
        ),
        ("redirect loop", Answer::RedirectLoop, None, "more than 5 redirects"),
        (
            "10 GB",
            Answer::Endless { bytes: 10 << 30, content_length: true },
            None,
            "has more than 1000000 bytes (max_bytes)",
        ),
        (
            "10 GB unannounced",
            Answer::Endless { bytes: 10 << 30, content_length: false },
            None,
            "has more than 1000000 bytes (max_bytes)",
        ),
        ("short body", Answer::ShortBody { body: LIST.into(), missing: 10 }, None, ""),
        ("wrong length", Answer::WrongLength { body: LIST.into(), claimed: "many".into() }, None, ""),
        (
            "damaged line",
            Answer::ok(LIST.replace("71.18.9.0/24", "71.18.9.0/2x4")),
            Some(Answer::ok(TABLE.replace("7,Seven", "x,Seven"))),
            "line ",
        ),
        ("JSON instead", Answer::ok("{\"error\": \"quota\"}"), Some(Answer::ok("{\"error\": \"quota\"}")), "JSON"),
        ("too wide", Answer::ok(format!("{LIST}0.0.0.0/0\n")), None, "it lists 0.0.0.0/0, shorter than /8"),
    ]
}

/// Routers that meet the faults, each a part of them: of the time that a fault takes nearly all is waiting.
const ROUTERS: usize = 4;

#[test]
fn whatever_a_feed_does_the_blocked_stays_blocked_and_weir_recovers() {
    require_root();
    let faults = faults();
    std::thread::scope(|scope| {
        for part in faults.chunks(faults.len().div_ceil(ROUTERS)) {
            scope.spawn(move || meet(part));
        }
    });
}

fn meet(part: &[Fault]) {
    let mut router = Router::new();
    let feed = Feed::start(&router.path.router, 0);
    router.config(&config(&feed));
    let good = || {
        feed.set("/list", Answer::ok(LIST));
        feed.set("/table", Answer::ok(TABLE));
    };
    router.assert_open("before weir runs");
    good();
    router.start();
    for source in ["list", "table"] {
        router.wait_for_state(source, "good");
    }
    router.wait_until_blocked("once the lists are here");
    let generation = router.status()["generation"].clone();
    for (name, list, table, problem) in part {
        println!("{name}");
        feed.set("/list", list.clone());
        let (faulty, other) = if *name == "an AS missing" { ("table", "list") } else { ("list", "table") };
        let both = table.is_some() && faulty == "list";
        if let Some(table) = table {
            feed.set("/table", table.clone());
        }
        router.wait_for_problem(faulty, problem);
        if both {
            router.wait_for_problem(other, if problem.contains("the connection failed") { problem } else { "" });
        }
        router.assert_blocked(&format!("under {name}"));
        let list = router.list(faulty);
        println!("  {}", list["problem"]);
        assert!(["failing", "stale"].contains(&list["state"].as_str().unwrap()), "{name}: {list}");
        assert_eq!(list["problem"].as_str().unwrap().lines().count(), 1, "{name}: {list}");
        assert!(list["failures"].as_u64().unwrap() >= 1 && list["ranges"].as_u64().unwrap() > 0, "{name}: {list}");
        good();
        for source in ["list", "table"] {
            router.wait_for_state(source, "good");
        }
        assert_eq!(router.list(faulty)["problem"], serde_json::Value::Null, "{name}");
    }
    assert_eq!(router.status()["generation"], generation, "no fault became a ruleset");
    router.assert_blocked("in the end");
}

#[test]
fn a_server_that_says_not_modified_for_ever_is_asked_for_the_whole_now_and_then() {
    require_root();
    let mut router = Router::new();
    let feed = Feed::start(&router.path.router, 0);
    router.config(&format!(
        "[[rule]]\nname = \"list\"\naction = \"block\"\nlists = [\"list\"]\n\
         [[source]]\nname = \"list\"\nurl = \"{}\"\nrefresh = \"1s\"\n",
        feed.url("/list")
    ));
    feed.set("/list", Answer::tagged("71.18.0.0/16\n", "\"a\""));
    router.start();
    router.wait_for_state("list", "good");
    feed.set(
        "/list",
        Answer::StaleEtag { body: format!("71.18.0.0/16\n{}", "2605:340::/32\n").into(), etag: "\"a\"".into() },
    );
    wait_until(3 * DEADLINE, "it is asked for the whole", || router.list("list")["ranges"] == 2);
    router.wait_until_blocked("although the tag is wrong");
    let conditional =
        feed.requests_for("/list").iter().filter(|request| request.header("if-none-match").is_some()).count();
    assert!(conditional >= 8, "{conditional} conditional requests");
}

#[test]
fn a_server_is_asked_with_its_own_tag_and_not_twice_at_once() {
    require_root();
    let mut router = Router::new();
    let feed = Feed::start(&router.path.router, 0);
    router.config(&config(&feed));
    feed.set("/list", Answer::tagged(LIST, "\"v1\""));
    feed.set(
        "/table",
        Answer::Ok { body: TABLE.into(), etag: None, last_modified: Some("Mon, 05 Jan 2026 12:00:00 GMT".into()) },
    );
    router.start();
    wait_until(3 * DEADLINE, "three questions", || {
        feed.requests_for("/list").len() >= 3 && feed.requests_for("/table").len() >= 2
    });
    let requests = feed.requests();
    let list: Vec<_> = requests.iter().filter(|request| request.path == "/list").collect();
    assert_eq!((list[0].header("if-none-match"), list[1].header("if-none-match")), (None, Some("\"v1\"")));
    let agent = list[0].header("user-agent").unwrap();
    assert!(agent.starts_with("weir/"), "{agent}");
    let table = requests.iter().filter(|request| request.path == "/table").nth(1).unwrap();
    assert_eq!(table.header("if-modified-since"), Some("Mon, 05 Jan 2026 12:00:00 GMT"));
    for pair in requests.windows(2) {
        let pause = pair[1].arrived.duration_since(pair[0].arrived);
        assert!(pause > Duration::from_millis(900), "two questions to one host within {pause:?}");
    }
    assert_eq!(router.status()["lists"][0]["failures"], 0);
}
