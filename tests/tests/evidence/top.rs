//! Live rates are those of what is sent just now, and the screen says the same: `weir top` on a page and on a terminal.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_tests::frame::frame;
use weir_tests::lab::{CONTROL_V4, DEADLINE, LAN_V4, LISTED_V4, MAC_LAN, MAC_ROUTER_LAN, Path, wait_until};
use weir_tests::pty::Pty;
use weir_tests::weir::{Scratch, Signal, Weir, binary};

const CONFIG: &str = "[[interface]]\nname = \"lan0\"\n\
    [[rule]]\nname = \"tiktok\"\naction = \"block\"\nservices = [\"tiktok\"]\n\
    [[rule]]\nname = \"watched\"\naction = \"monitor\"\nprefixes = [\"203.0.113.0/24\"]\n";
const MONITORED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

fn start(path: &Path, scratch: &Scratch) -> Weir {
    let config = scratch.file("weir.toml", CONFIG).display().to_string();
    Weir::start(&path.router, ["-c", config.as_str()])
}

fn datagram(to: Ipv4Addr, payload: usize) -> Vec<u8> {
    frame().macs(MAC_LAN, MAC_ROUTER_LAN).ipv4(LAN_V4, to).payload(&vec![0; payload]).udp(443).build()
}

/// Sends `rate` listed frames a second, as many monitored ones and twice as many of neither; gives how many of the first.
fn pace(path: &Path, rate: u32, go_on: impl Fn() -> bool) -> u64 {
    let socket = path.lan_socket();
    let (listed, monitored, control) = (datagram(LISTED_V4, 100), datagram(MONITORED, 100), datagram(CONTROL_V4, 100));
    let (begun, mut sent) = (Instant::now(), 0);
    while go_on() {
        socket.send(&listed);
        socket.send(&monitored);
        socket.flood(&[&control], 2);
        sent += 1;
        let next = Duration::from_secs(sent) / rate;
        thread::sleep(next.saturating_sub(begun.elapsed()));
    }
    sent
}

fn near(value: &Value, expected: f64) -> bool {
    value.as_f64().is_some_and(|value| (value - expected).abs() <= expected * 0.1)
}

#[test]
fn one_page_has_the_totals_of_status_and_the_rates_of_a_paced_flow() {
    let (path, scratch) = (Path::new(), Scratch::new());
    let weir = start(&path, &scratch);
    let length = datagram(LISTED_V4, 100).len() as u64;
    let done = AtomicBool::new(false);
    let (sent, reading) = thread::scope(|scope| {
        let sender = scope.spawn(|| pace(&path, 200, || !done.load(Ordering::Relaxed)));
        wait_until(DEADLINE, "the flow runs", || weir.dropped().packets > 100);
        let output = weir.verb(&["top", "--once", "--json", "--interval", "3s"]);
        done.store(true, Ordering::Relaxed);
        assert_eq!(output.code, 0, "{output:?}");
        (sender.join().unwrap(), output.json())
    });
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(keys(&reading), "rates secs status");
    assert_eq!(keys(&reading["rates"]), "allowed clients devices dropped monitored rules seen share");
    assert_eq!(keys(&reading["rates"]["rules"][0]), "action in name out");
    assert_eq!(keys(&reading["rates"]["clients"][0]), "allowed client dropped monitored");
    assert_eq!(keys(&reading["rates"]["devices"][0]), "name seen");
    assert_eq!(keys(&reading["rates"]["seen"]), "bits packets");
    let secs = reading["secs"].as_f64().unwrap();
    assert!((3.0..6.0).contains(&secs), "{secs}");
    let rates = &reading["rates"];
    for (rate, packets) in [
        (&rates["dropped"], 200.0),
        (&rates["monitored"], 200.0),
        (&rates["seen"], 800.0),
        (&rates["rules"][0]["out"], 200.0),
        (&rates["rules"][1]["out"], 200.0),
        (&rates["clients"][0]["dropped"], 200.0),
        (&rates["clients"][0]["monitored"], 200.0),
        (&rates["devices"][0]["seen"], 800.0),
    ] {
        assert!(
            near(&rate["packets"], packets) && near(&rate["bits"], packets * 8.0 * length as f64),
            "{packets}: {rates:#}"
        );
    }
    assert!(near(&rates["share"], 0.25), "{rates:#}");
    assert_eq!(rates["rules"][0]["in"]["packets"], 0.0);
    assert_eq!(rates["rules"][1]["name"], "watched");
    assert_eq!(rates["clients"][0]["client"], LAN_V4.to_string());

    wait_until(DEADLINE, "everything is counted", || weir.dropped().packets >= sent);
    let quiet = weir.verb(&["top", "--once", "--json", "--interval", "200ms"]).json();
    let (top, status) = (&quiet["status"], weir.status());
    for field in ["rules", "dropped", "monitored", "allowed", "seen", "counters", "clients", "devices", "pid"] {
        assert_eq!(top[field], status[field], "{field}");
    }
    assert_eq!(top["dropped"]["packets"], sent);
    assert_eq!(top["dropped"]["bytes"], sent * length);
    // Beside these, the client's kernel may have said something in IPv6.
    assert_eq!(top["devices"][0]["parsed"]["ipv4"], sent * 4);
    assert_eq!(quiet["rates"]["dropped"]["packets"], 0.0);
    assert_eq!(quiet["rates"]["share"], Value::Null);
    let text = weir.verb(&["top", "--once", "--interval", "200ms"]);
    let row = text.stdout.lines().find(|line| line.starts_with("tiktok ")).unwrap_or_default();
    assert!(row.split_whitespace().any(|word| word == sent.to_string()), "{text:?}");
}

#[test]
fn top_without_a_terminal_or_a_daemon_says_what_to_do() {
    let (path, scratch) = (Path::new(), Scratch::new());
    let mut weir = start(&path, &scratch);
    let output = weir.verb(&["top"]);
    assert_eq!((output.code, output.stdout.as_str()), (2, ""));
    assert!(output.stderr.contains("needs a terminal") && output.stderr.contains("weir top --once"), "{output:?}");
    for (arguments, words) in [
        (["top", "--once", "--interval", "0s"], "give 100ms or more"),
        (["top", "--once", "--interval", "soon"], "--interval \"soon\" is no time span"),
    ] {
        let output = weir.verb(&arguments);
        assert!(output.code == 2 && output.stderr.contains(words), "{output:?}");
    }
    assert_eq!(weir.verb(&["top", "--json"]).code, 2, "a screen is no JSON");
    weir.stop();
    let output = weir.verb(&["top", "--once"]);
    assert!(output.code == 1 && output.stderr.contains("no weir is running"), "{output:?}");
}

/// `weir top` in its namespace, in the foreground of a terminal.
fn top(path: &Path, weir: &Weir, variables: &[(&str, &str)]) -> Command {
    let mut command = path.router.command("setsid");
    command.arg("--ctty").arg(binary()).args(["top", "--interval", "500ms", "--run-dir"]).arg(weir.run_dir());
    command.env_remove("NO_COLOR").env("LC_ALL", "C.UTF-8").envs(variables.iter().copied());
    command
}

fn has(words: &'static [&'static str]) -> impl Fn(&str) -> bool {
    move |line| {
        let found: Vec<&str> = line.split_whitespace().collect();
        words.iter().all(|word| found.contains(word))
    }
}

#[test]
fn the_screen_shows_the_numbers_at_any_size_and_leaves_the_terminal_as_it_was() {
    let (path, scratch) = (Path::new(), Scratch::new());
    let weir = start(&path, &scratch);
    let socket = path.lan_socket();
    socket.flood(&[datagram(LISTED_V4, 100)], 321);
    socket.flood(&[datagram(MONITORED, 100)], 45);
    weir.wait_for_rule("watched", "out", 45);

    let (mut pty, before) = Pty::start(top(&path, &weir, &[]), (60, 20));
    pty.find("standing", |line| line.starts_with("blocking"));
    pty.find("rule", has(&["tiktok", "block", "321"]));
    pty.find("monitor rule", has(&["watched", "monitor", "45"]));
    assert_ne!(pty.modes(), before, "keys come one by one");
    assert_eq!(pty.state(), (true, false, true));
    pty.press("2");
    // 321 frames of 14 + 20 + 8 + 100 bytes.
    pty.find("client", has(&["10.66.0.2", "44.5", "KiB"]));
    pty.press("1/wat\r");
    pty.find("filtered rule", |line| line.contains("1 of 2 with \"wat\""));
    assert!(!pty.screen().iter().any(|line| line.starts_with("tiktok")), "{:#?}", pty.screen());

    pty.resize((200, 50));
    pty.find("wide row", has(&["watched", "monitor", "45", "0"]));
    pty.find("column that only a wide screen has", has(&["out", "in", "p/s", "last"]));
    assert!(pty.screen()[49].starts_with("Tab table"), "{:#?}", pty.screen());
    pty.press("\u{1b}");
    pty.find("all rules", has(&["tiktok", "block", "321"]));
    pty.press("\t");
    pty.find("client", has(&["10.66.0.2", "321"]));
    pty.press("\t");
    pty.find("device", has(&["lan0", "live", "366"]));
    pty.press("\t");
    pty.resize((9, 2));
    pty.find("a word on a tiny screen", |line| line.starts_with("blocking"));
    pty.resize((60, 20));

    // A flow is seen while it runs.
    let mut end = Instant::now() + Duration::from_secs(3);
    let shown = thread::scope(|scope| {
        scope.spawn(|| pace(&path, 100, || Instant::now() < end));
        pty.find("a rate of about 100", |line| {
            let mut words = line.split_whitespace();
            let rate = (words.next() == Some("dropped")).then(|| words.next()?.parse::<f64>().ok()).flatten();
            rate.is_some_and(|rate| (70.0..130.0).contains(&rate))
        })
    });
    assert!(shown.contains("% of traffic"), "{shown}");
    end = Instant::now();
    pty.find("the end of the flow", |line| line.starts_with("dropped  0 packets/s"));
    assert!(end.elapsed() < DEADLINE);

    pty.press("q");
    assert!(pty.wait().success());
    wait_until(DEADLINE, "the screen is given back", || pty.state() == (false, true, true));
    assert_eq!(pty.modes(), before);
}

#[test]
fn a_pause_takes_a_yes_and_is_seen_on_the_screen() {
    let (path, scratch) = (Path::new(), Scratch::new());
    let weir = start(&path, &scratch);
    let (mut pty, _) = Pty::start(top(&path, &weir, &[]), (60, 20));
    pty.find("standing", |line| line.starts_with("blocking"));
    pty.press("p");
    pty.find("question", |line| line.contains("Pause all blocking for 5 minutes? y/n"));
    pty.press("n");
    pty.find("keys", |line| line.starts_with("Tab table"));
    assert_eq!(weir.status()["paused_secs"], Value::Null);
    pty.press("p");
    pty.press("y");
    pty.find("pause", |line| line.starts_with("PAUSED"));
    let left = weir.status()["paused_secs"].as_u64().unwrap();
    assert!((290..=300).contains(&left), "{left}");
    pty.press("r");
    pty.press("y");
    pty.find("standing", |line| line.starts_with("blocking"));
    assert_eq!(weir.status()["paused_secs"], Value::Null);
}

#[test]
fn a_daemon_that_ends_is_told_and_the_next_one_is_found() {
    let (path, scratch) = (Path::new(), Scratch::new());
    let weir = start(&path, &scratch);
    let config = scratch.path().join("weir.toml").display().to_string();
    let (mut pty, _) = Pty::start(top(&path, &weir, &[]), (60, 20));
    pty.find("standing", |line| line.starts_with("blocking"));
    let left = weir.end();
    pty.find("trouble", |line| line.starts_with("NO ANSWER for "));
    pty.find("what was known", |line| line.starts_with("last known: blocking"));
    let _weir = Weir::start_in(&path.router, left, ["-c", config.as_str()]);
    pty.find("standing", |line| line.starts_with("blocking"));
    pty.press("q");
    assert!(pty.wait().success());
}

/// What ends it, and how.
type End = (&'static str, fn(&mut Pty));

#[test]
fn whatever_ends_it_the_terminal_is_given_back_and_no_color_is_heard() {
    let (path, scratch) = (Path::new(), Scratch::new());
    let weir = start(&path, &scratch);
    let ends: [End; 4] = [
        ("Ctrl-C", |pty| pty.press("\u{3}")),
        ("SIGINT", |pty| pty.signal(Signal::SIGINT)),
        ("SIGTERM", |pty| pty.signal(Signal::SIGTERM)),
        ("SIGHUP", |pty| pty.signal(Signal::SIGHUP)),
    ];
    for (name, end) in ends {
        let (mut pty, before) = Pty::start(top(&path, &weir, &[("NO_COLOR", "1")]), (80, 24));
        pty.find("standing", |line| line.starts_with("blocking"));
        end(&mut pty);
        assert!(pty.wait().success(), "{name}");
        wait_until(DEADLINE, name, || pty.state() == (false, true, false));
        assert_eq!(pty.modes(), before, "{name}");
    }
}
