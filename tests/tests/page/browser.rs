//! A person at the page: what is shown when traffic is blocked, and what the buttons do. The pictures in target/page are for
//! people to look at.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_tests::browser::Browser;
use weir_tests::lab::{CONTROL_V4, DEADLINE, LISTED_V4};
use weir_tests::weir::Scratch;
use weir_tests::{skipped, wait_until};

use crate::site::{Over, PAGE, Site, datagram, is_ours, target};

#[test]
fn the_page_shows_what_is_blocked_and_lets_the_operator_pause_and_confirm() {
    if !Browser::is_here() {
        return skipped("page in a browser", "chromium and chromedriver are not here; run: cargo xtask test");
    }
    let mut site = Site::start("");
    let profile = Scratch::new();
    let browser = Browser::start(&site.path.router, profile.path());
    browser.show_as(1280, 900, "light");
    // Chromium loads a page of its own first.
    let _ = browser.requests();
    browser.open(&format!("http://{PAGE}/"));

    comes(&browser, "#state", "Enforcing");
    comes(&browser, "#t-blocked-sub", "no packet");
    assert_eq!(browser.text("#t-blocked"), "0 B");
    browser.press(&["\u{e004}"]);
    assert_eq!(browser.ask("return document.activeElement.className"), "skip", "the first tab leads past the head");

    figures_follow_traffic(&site, &browser);
    answers_are_given(&browser);
    axe(&browser, "1280 px");
    pictures(&browser);
    assert_eq!(browser.log("browser"), Vec::<Value>::new(), "nothing in the console");

    pause_and_resume(&site, &browser);
    confirmations(&site, &browser);

    let requests = browser.requests();
    let here = format!("http://{PAGE}/");
    // The browser's own start page, which on a slow machine loads to its end after ours has begun; no page of the web may ask for it.
    let known = [&*here, "data:", "chrome:"];
    let strange: Vec<_> = requests.iter().filter(|url| known.iter().all(|start| !url.starts_with(start))).collect();
    assert!(requests.len() > 20 && strange.is_empty(), "of {}: {strange:?}", requests.len());

    site.weir.stop();
    comes(&browser, "#state", "No answer");
    comes(&browser, "#banners", "No answer from weir since");
    picture(&browser, "gone-1280-light");
}

/// What the page shows of the history is as old as one entry of the books and one question of the page.
const HISTORY: Duration = Duration::from_secs(40);

/// Waits until an element shows a text; says what it showed instead.
fn comes(browser: &Browser<'_>, selector: &str, text: &str) {
    comes_within(browser, selector, text, DEADLINE);
}

fn comes_within(browser: &Browser<'_>, selector: &str, text: &str, deadline: Duration) {
    let started = Instant::now();
    loop {
        let shown = browser.text(selector);
        if shown.contains(text) {
            return;
        }
        assert!(started.elapsed() < deadline, "{selector} shows {shown:?}, not {text:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

fn picture(browser: &Browser<'_>, name: &str) {
    let directory = target().join("page");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(format!("{name}.png")), browser.picture()).unwrap();
}

fn figures_follow_traffic(site: &Site, browser: &Browser<'_>) {
    browser.click("input[name=range][value=live]");
    let drawn = || browser.ask("return document.querySelector('#chart canvas').toDataURL()");
    comes(browser, "#chart-note", "No packet met a rule");
    let before = drawn();
    let lan = site.path.lan_socket();
    let (frames, done) = ([datagram(LISTED_V4), datagram(CONTROL_V4)], AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                lan.flood(&frames, 40);
                thread::sleep(Duration::from_millis(50));
            }
        });
        let over = Over(&done);
        comes(browser, "#legend", "tiktok");
        comes(browser, "#legend", "<b>watch</b> (monitor)");
        comes(browser, "#t-rate", "KiB/s");
        thread::sleep(Duration::from_secs(6));
        drop(over);
    });
    assert_ne!(before, drawn(), "the chart changed");
    let dropped = site.weir.rule("tiktok", "out");
    assert!(dropped.packets > 100 && site.weir.rule("<b>watch</b>", "out").packets > 100);
    let grouped = |number: u64| {
        let digits = number.to_string();
        let head = digits.len() % 3;
        let groups = digits.as_bytes()[head..].chunks(3).map(|group| str::from_utf8(group).unwrap());
        let head = Some(&digits[..head]).filter(|head| !head.is_empty());
        head.into_iter().chain(groups).collect::<Vec<_>>().join(",")
    };
    comes(browser, "#rules", &format!("({})", grouped(dropped.packets)));
    comes(browser, "#rules", "<b>watch</b>");
    comes_within(browser, "#t-blocked-sub", &format!("{} packets", grouped(dropped.packets)), HISTORY);
    assert_eq!(browser.text("#t-blocked-head"), "Blocked, 24 h");
    comes(browser, "#clients", "10.66.0.2");
    browser.click("input[name=range][value='1h']");
    comes(browser, "#chart-note", "hatched: not recorded");
    comes(browser, "#legend", "tiktok");
    browser.click("input[name=range][value=live]");
    // Half of what was sent is listed; hosts find each other by packets of their own.
    let share = browser.text("#t-share");
    assert!(["49.9", "50.0"].iter().any(|half| share.starts_with(half)), "{share}");
    comes(browser, "#devices", "live");
    comes(browser, "#drops", &LISTED_V4.to_string());
    let named = browser.ask("return document.getElementById('chart').getAttribute('aria-label')");
    assert!(named.as_str().unwrap().starts_with("Chart of the last 5 minutes: tiktok "), "{named}");
    browser.click("summary");
    comes(browser, "#chart-table", "KiB/s");
    browser.click("summary");
}

fn answers_are_given(browser: &Browser<'_>) {
    let ask = |address: &str, answer: &str| {
        browser.run("document.getElementById('address').value = ''");
        browser.write("#address", &format!("{address}\n"));
        comes(browser, "#answer", answer);
    };
    ask("2001:db8:100::10", "No rule lists this address.");
    ask("example.com", "weir blocks by address, so look a name up first");
    ask("<img src=x>", "“<img src=x>” is no address");
    ask("1.2.3.4.5", "is not accepted");
    // A refusal of the API is no fault of the page, but the browser logs it as one.
    let noted = browser.log("browser");
    assert!(noted.len() == 1 && noted[0]["message"].as_str().unwrap().contains("400 (Bad Request)"), "{noted:?}");
    ask(&LISTED_V4.to_string(), "A block rule names it.");
    let answer = browser.text("#answer");
    for part in ["to it: dropped", "from it: dropped", "tiktok", "71.18.1.0/24", "AS396986", "service tiktok"] {
        assert!(answer.contains(part), "{part} in {answer}");
    }
}

/// No serious fault of accessibility, by axe-core.
fn axe(browser: &Browser<'_>, what: &str) {
    let Ok(script) = fs::read_to_string(target().join("tools/axe.min.js")) else {
        return skipped("accessibility of the page", "axe-core is not installed; run: cargo xtask test");
    };
    browser.run(&script);
    let result = browser.ask_async("axe.run().then(arguments[0])");
    let describe = |fault: &Value| {
        let places: Vec<_> = fault["nodes"].as_array().unwrap().iter().map(|node| node["html"].to_string()).collect();
        format!("{} ({}): {}: {}", fault["id"], fault["impact"], fault["help"], places.join(" "))
    };
    let faults: Vec<String> = result["violations"].as_array().unwrap().iter().map(describe).collect();
    assert!(faults.is_empty(), "{what}: {}", faults.join("\n"));
    assert!(result["passes"].as_array().unwrap().len() > 20, "axe looked at something");
}

/// Both widths in both colour schemes, each as tall as it is.
fn pictures(browser: &Browser<'_>) {
    for (width, scheme) in [(1280, "dark"), (1280, "light"), (400, "dark"), (400, "light")] {
        browser.show_as(width, 900, scheme);
        // The chart is drawn anew for another width, and then for another scheme.
        let wide = || browser.ask("return document.documentElement.scrollWidth");
        wait_until(DEADLINE, "nothing is wider than the page", || wide() == width);
        thread::sleep(Duration::from_millis(400));
        assert_eq!(wide(), width, "nothing is wider than the page");
        picture(browser, &format!("page-{width}-{scheme}"));
        axe(browser, &format!("{width} px, {scheme}"));
    }
    browser.show_as(1280, 900, "light");
}

fn pause_and_resume(site: &Site, browser: &Browser<'_>) {
    let (lan, wan) = (site.path.lan_socket(), site.path.wan_socket());
    let passes = || {
        wan.drain(|_| true);
        lan.flood(&[datagram(LISTED_V4)], 5);
        wan.receive_where(Duration::from_millis(500), is_ours).is_some()
    };
    assert!(!passes(), "blocked before");
    browser.click("button[data-pause='300']");
    comes(browser, "#token-why", "weir wants its token");
    picture(browser, "token-1280-light");
    browser.write("#token-text", "0123456789abcdef\n");
    comes(browser, "#token-why", "That was not weir’s token.");
    assert!(!passes(), "a wrong token changes nothing");
    browser.write("#token-text", &format!("{}\n", site.token()));
    comes(browser, "#state", "Paused");
    comes(browser, "#banners", "Blocks again in 4:");
    assert!(passes(), "paused");
    assert_eq!(site.weir.status()["paused_secs"].as_u64().map(|left| left / 100), Some(2));
    axe(browser, "paused");
    picture(browser, "paused-1280-light");
    browser.click("#resume");
    comes(browser, "#state", "Enforcing");
    assert!(!passes(), "blocked again");
    let logged = browser.log("browser");
    let refused = |entry: &Value| entry["message"].as_str().unwrap().contains("401 (Unauthorized)");
    assert!(logged.len() == 1 && refused(&logged[0]), "only the wrong token: {logged:?}");
    assert_eq!(browser.ask("return document.cookie + localStorage.length"), "0", "the token is kept in the tab only");
}

fn confirmations(site: &Site, browser: &Browser<'_>) {
    let waits = || site.weir.status()["unconfirmed_secs"].is_u64();
    for (button, done) in [("Roll back", "rolled back"), ("Confirm", "confirmed")] {
        assert_eq!(site.post("/api/v1/apply", &json!({ "confirm": 120 }).to_string()).status, 200);
        comes(browser, "#banners", "A change waits for your confirmation");
        assert!(waits());
        if button == "Confirm" {
            picture(browser, "unconfirmed-1280-light");
        }
        // The banner of the change before may still be there, and go.
        let script = format!(
            "const button = [...document.querySelectorAll('#banners button')].find((button) => \
             button.textContent === '{button}'); button?.click(); return Boolean(button)"
        );
        wait_until(DEADLINE, button, || browser.ask(&script) == true);
        comes(browser, "#outcome", done);
        wait_until(DEADLINE, button, || !waits());
    }
}
