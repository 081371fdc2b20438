//! Several sources for one answer: union, quorum, RPKI, TLS, and what `explain` and `update` say of them.

use weir_tests::feed::{Answer, Feed};
use weir_tests::lab::{CONTROL, DEADLINE, LISTED};
use weir_tests::{require_root, wait_until};

use crate::watch::Router;

#[test]
fn explain_says_which_source_lists_an_address_and_since_when() {
    require_root();
    let mut router = Router::new();
    let feed = Feed::start(&router.path.router, 0);
    feed.set(
        "/one",
        Answer::ok("71.18.0.0,71.18.255.255,7,Seven\n2605:340::,2605:340:0:ffff:ffff:ffff:ffff:ffff,7,Seven\n"),
    );
    feed.set("/two", Answer::ok("71.18.1.0,71.18.1.255,7,Seven\n"));
    let text = format!(
        "[[rule]]\nname = \"seven\"\naction = \"block\"\nasns = [7]\n[asn]\nsources = [\"one\", \"two\"]\n\
         [[source]]\nname = \"one\"\nurl = \"{}\"\n[[source]]\nname = \"two\"\nurl = \"{}\"\n",
        feed.url("/one"),
        feed.url("/two")
    );
    let config = router.config(&text);
    router.start();
    router.wait_for_state("two", "good");
    router.wait_until_blocked("by the union");
    let state = router.state_dir();
    let (config, state) = (config.to_str().unwrap(), state.to_str().unwrap());
    let output = router.offline(&["explain", "-c", config, "--state-dir", state, "71.18.1.1", "--json"]);
    let rules = output.json()["rules"].clone();
    let sources: Vec<&str> = rules.as_array().unwrap().iter().map(|rule| rule["source"].as_str().unwrap()).collect();
    assert_eq!(sources, ["one", "two"]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().cast_signed();
    for key in ["since", "fetched"] {
        assert!((now - rules[0][key].as_i64().unwrap()).abs() < 120, "{rules}");
    }
    let text_output = router.offline(&["explain", "-c", config, "--state-dir", state, "71.18.9.1"]).stdout;
    assert!(
        text_output.contains("(AS7) in list \"AS7\"; one since 20") && text_output.contains(", fetched 20"),
        "{text_output}"
    );

    // With a quorum of two, only what both list is blocked.
    router.config(&text.replace("sources = [\"one\", \"two\"]", "sources = [\"one\", \"two\"]\nquorum = 2"));
    let out = router.offline(&["explain", "-c", config, "--state-dir", state, "71.18.9.1", "--json"]).json();
    assert_eq!(out["verdict_out"], "pass");
    let out = router.offline(&["explain", "-c", config, "--state-dir", state, "71.18.1.1", "--json"]).json();
    assert_eq!(out["verdict_out"], "drop");
}

#[test]
fn what_rpki_gives_to_another_as_is_not_blocked_and_how_much_that_is_is_told() {
    require_root();
    let mut router = Router::new();
    let feed = Feed::start(&router.path.router, 0);
    // By the table, AS7 has the lab's control addresses, too.
    feed.set(
        "/table",
        Answer::ok(
            "71.18.0.0,71.18.255.255,7,Seven\n198.51.100.0,198.51.100.255,7,Seven\n\
             2605:340::,2605:340:ffff:ffff:ffff:ffff:ffff:ffff,7,Seven\n\
             2001:db8:100::,2001:db8:100:ffff:ffff:ffff:ffff:ffff,7,Seven\n",
        ),
    );
    // AS7 holds one of its networks, AS8 two others, nobody has said anything of the fourth.
    let payloads = "{\"metadata\": {}, \"roas\": [\
        {\"asn\": 7, \"prefix\": \"71.18.0.0/16\", \"maxLength\": 24, \"ta\": \"x\"},\
        {\"asn\": 8, \"prefix\": \"71.0.0.0/8\", \"maxLength\": 8, \"ta\": \"x\"},\
        {\"asn\": 8, \"prefix\": \"198.51.100.0/24\", \"maxLength\": 24, \"ta\": \"x\"},\
        {\"asn\": 8, \"prefix\": \"2001:db8:100::/48\", \"maxLength\": 48, \"ta\": \"x\"}]}";
    feed.set("/vrps.json", Answer::ok(payloads));
    let config = |rpki: &str| {
        format!(
            "[[rule]]\nname = \"seven\"\naction = \"block\"\nasns = [7]\n[asn]\nsources = [\"table\"]\n{rpki}\
             [[source]]\nname = \"table\"\nurl = \"{}\"\n\
             [[source]]\nname = \"vrps\"\nurl = \"{}\"\nrefresh = \"1s\"\n[fetch]\nretry = \"1s\"\n",
            feed.url("/table"),
            feed.url("/vrps.json")
        )
    };
    let file = router.config(&config(""));
    router.start();
    router.wait_for_state("table", "good");
    wait_until(DEADLINE, "all is blocked without payloads", || {
        LISTED.iter().chain(&CONTROL).all(|&address| !router.passes(address))
    });
    router.config(&config("rpki = \"vrps\"\n"));
    assert_eq!(router.weir().verb(&["apply"]).code, 0);
    router.wait_for_state("vrps", "good");
    // An IPv4 network of 256 addresses and an IPv6 network of 2^80.
    let left_out =
        format!("rule \"seven\": AS7: {} addresses are another AS's by RPKI and left out", 256 + (1_u128 << 80));
    wait_until(DEADLINE, "the log tells", || router.weir().stderr().contains(&left_out));
    router.assert_blocked("but for what another AS holds");
    let state = router.state_dir();
    let check = router.offline(&["check", "-c", file.to_str().unwrap(), "--state-dir", state.to_str().unwrap()]);
    assert!(check.code == 0 && check.stdout.contains(&left_out), "{check:?}");
    // Payloads that fail are the last good ones.
    feed.set("/vrps.json", Answer::ok("{\"roas\": []}"));
    router.wait_for_problem("vrps", "refused: it lists nothing");
    router.assert_blocked("by the payloads before");
    router.start();
    router.assert_blocked("by the stored payloads");
}

#[test]
fn a_source_over_tls_is_taken_with_its_authority_only() {
    require_root();
    let mut router = Router::new();
    let (feed, authority) = Feed::tls(&router.path.router, 0);
    feed.set("/list", Answer::Gzip { body: b"71.18.0.0/16\n2605:340::/32\n".to_vec() });
    let text = |ca: &str| {
        format!(
            "[[rule]]\nname = \"list\"\naction = \"block\"\nlists = [\"list\"]\n\
             [[source]]\nname = \"list\"\nurl = \"{}\"\nrefresh = \"1s\"\n[fetch]\nretry = \"1s\"\n{ca}",
            feed.url("/list")
        )
    };
    router.config(&text(""));
    router.start();
    router.wait_for_problem("list", "certificate");
    router.config(&text(&format!("ca = \"{}\"\n", authority.display())));
    router.weir().signal(weir_tests::weir::Signal::SIGHUP);
    router.wait_until_blocked("once the authority is known");
    // What was asked for over TLS is not taken in the clear.
    let plain = Feed::start(&router.path.router, 0);
    plain.set("/list", Answer::ok("198.51.100.0/24\n"));
    feed.set("/list", Answer::RedirectTo(plain.url("/list")));
    router.wait_for_problem("list", "http");
    router.assert_blocked("although the server redirects to plain HTTP");
    assert_eq!(plain.requests().len(), 0);
}

#[test]
fn an_update_asks_now_says_what_came_and_takes_over_what_was_refused() {
    require_root();
    let mut router = Router::new();
    let feed = Feed::start(&router.path.router, 0);
    feed.set("/list", Answer::ok("71.18.0.0/16\n2605:340::/32\n"));
    router.config(&format!(
        "[[rule]]\nname = \"list\"\naction = \"block\"\nlists = [\"list\"]\n[[source]]\nname = \"list\"\nurl = \"{}\"\n",
        feed.url("/list")
    ));
    router.start();
    router.wait_for_state("list", "good");
    let output = router.weir().verb(&["update"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.starts_with("asking for 1 documents\nlist: 2 ranges, copy of 20"), "{output:?}");
    feed.set("/list", Answer::ok("71.18.1.0/24\n2605:340::/48\n"));
    let output = router.weir().verb(&["update"]);
    assert_eq!(output.code, 3, "{output:?}");
    assert!(output.stdout.contains("list: FAILED: refused: "), "{output:?}");
    assert_eq!(router.list("list")["ranges"], 2);
    let output = router.weir().verb(&["update", "--accept", "list"]);
    assert_eq!(output.code, 0, "{output:?}");
    wait_until(DEADLINE, "it is live", || router.status()["generation"].as_u64().unwrap() >= 3);
    router.wait_until_blocked("by the smaller list, too");
    let output = router.weir().verb(&["update", "--accept", "lists"]);
    assert!(output.code == 1 && output.stderr.contains("no source \"lists\" is in use; in use: list"), "{output:?}");
}
