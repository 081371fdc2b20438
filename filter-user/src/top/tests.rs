//! The screen in words: what a person finds on it, at the sizes that people have and at those that nobody has.

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::sample::{client, rule, status, tally};
use super::*;
use crate::ruleset::RuleAction;

const PLAIN: Look = Look { colour: false, blocks: false };
const NOW: Now = Now { at: Duration::from_secs(9), unix: 1_800_000_000 };

fn terminal(top: &mut Top, look: Look, (width, height): (u16, u16)) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| {
            let lines = top.lines(look, (width, height), NOW);
            assert_eq!(lines.len(), usize::from(height));
            assert!(lines.iter().all(|line| line.width() <= usize::from(width)), "{lines:#?}");
            frame.render_widget(ratatui::text::Text::from(lines), frame.area());
        })
        .unwrap();
    terminal
}

fn screen(top: &mut Top, size: (u16, u16)) -> Vec<String> {
    let terminal = terminal(top, PLAIN, size);
    let cells: Vec<&str> = terminal.backend().buffer().content().iter().map(ratatui::buffer::Cell::symbol).collect();
    cells.chunks(size.0.into()).map(|line| line.concat().trim_end().to_owned()).collect()
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn find<'a>(screen: &'a [String], start: &str) -> &'a str {
    screen.iter().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start:?} in {screen:#?}"))
}

/// Two readings, a second apart: `tiktok` and 10.66.0.9 meet 50 packets of 100 bytes, 200 are seen.
fn watched() -> Top {
    let mut top = Top::default();
    top.take(Ok(status()), Duration::from_secs(7));
    let mut after = status();
    after.rules[0].out += tally(50);
    after.clients[0].dropped += tally(50);
    after.dropped += tally(50);
    after.devices[0].seen += tally(200);
    after.seen += tally(200);
    top.take(Ok(after), Duration::from_secs(8));
    top
}

fn press(top: &mut Top, keys: &str) {
    for key in keys.chars() {
        assert_eq!(top.press(Key::Char(key)), None);
    }
}

#[test]
fn a_small_and_a_large_screen_say_what_happens() {
    for size in [(60, 20), (80, 24), (200, 50)] {
        let screen = screen(&mut watched(), size);
        assert!(screen[0].starts_with("blocking  up 2 h 3 min, generation 12"), "{screen:#?}");
        assert!(screen[1].starts_with("lan0 xdp-native live, wan0 xdp-native both ways live"), "{screen:#?}");
        let dropped = words(find(&screen, "dropped"));
        assert_eq!(dropped, ["dropped", "50", "packets/s", "40.0", "kbit/s", "25.0", "%", "of", "traffic"]);
        assert_eq!(words(find(&screen, "seen")), ["seen", "200", "packets/s", "160", "kbit/s"]);
        assert!(find(&screen, "peak").starts_with("peak 50 packets/s"));
        assert!(screen.iter().any(|line| line.ends_with('|')), "a full bar: {screen:#?}");
        let titles = words(find(&screen, "rule "));
        assert_eq!(titles[..5], ["rule", "action", "bit/s", "v", "packets/s"], "{titles:?}");
        let first = words(find(&screen, "tiktok"));
        assert_eq!(first[..5], ["tiktok", "block", "40.0", "k", "50"]);
        assert!(find(&screen, "telegram").contains(" 0 "), "{screen:#?}");
        assert!(screen.last().unwrap().starts_with("Tab table"), "{screen:#?}");
    }
    let wide = screen(&mut watched(), (200, 50));
    assert_eq!(
        words(find(&wide, "tiktok")),
        ["tiktok", "block", "40.0", "k", "50", "50", "0", "43.9", "KiB", "450", "-"]
    );
}

#[test]
fn keys_show_the_other_tables() {
    let mut top = watched();
    top.press(Key::Tab);
    let clients = screen(&mut top, (80, 24));
    assert_eq!(words(find(&clients, "10.66.0.9"))[..5], ["10.66.0.9", "40.0", "k", "50", "34.2"]);
    press(&mut top, "3");
    let devices = screen(&mut top, (120, 24));
    assert_eq!(words(find(&devices, "lan0  "))[..6], ["lan0", "xdp-native", "live", "160", "k", "200"]);
    press(&mut top, "?");
    let help = screen(&mut top, (60, 20)).join("\n");
    for key in ["Tab 1 2 3", "s S", "/ ", "p ", "r ", "q Ctrl-C"] {
        assert!(help.contains(key), "{key}: {help}");
    }
}

#[test]
fn rows_are_sorted_by_the_column_that_was_chosen() {
    let mut top = watched();
    let order = |top: &mut Top| -> Vec<String> {
        let screen = screen(top, (120, 24));
        let names = screen.iter().filter_map(|line| line.split("  ").next());
        names.filter(|name| ["tiktok", "telegram", "games"].contains(name)).map(str::to_owned).collect()
    };
    assert_eq!(order(&mut top), ["tiktok", "telegram", "games"], "by bit/s, then as configured");
    press(&mut top, "S");
    assert_eq!(order(&mut top), ["telegram", "games", "tiktok"]);
    // From bit/s over the other nine columns to the first.
    press(&mut top, "Sssssssss");
    assert_eq!(order(&mut top), ["games", "telegram", "tiktok"], "by name");
    press(&mut top, "S");
    assert_eq!(order(&mut top), ["tiktok", "telegram", "games"]);
}

#[test]
fn a_filter_leaves_the_rows_that_hold_it() {
    let mut top = watched();
    press(&mut top, "/TE");
    let typing = screen(&mut top, (60, 20));
    assert!(typing.last().unwrap().starts_with("filter: TE_"), "{typing:#?}");
    assert!(typing.iter().any(|line| line.contains("1 of 3 with \"TE\"")), "{typing:#?}");
    assert!(typing.iter().any(|line| line.starts_with("telegram")));
    assert!(!typing.iter().any(|line| line.starts_with("tiktok")));
}

#[test]
fn a_pause_is_asked_for_in_words_and_its_end_is_told() {
    let mut top = watched();
    press(&mut top, "p");
    assert_eq!(screen(&mut top, (60, 20)).last().unwrap(), "Pause all blocking for 5 minutes? y/n");
    assert_eq!(top.press(Key::Char('y')), Some(Wish::Pause));
    top.tell("paused for 300 s".into());
    assert_eq!(screen(&mut top, (60, 20)).last().unwrap(), "paused for 300 s");
    press(&mut top, "r");
    assert_eq!(screen(&mut top, (60, 20)).last().unwrap(), "End the pause and block again? y/n");
    assert_eq!(top.press(Key::Char('y')), Some(Wish::Resume));
}

#[test]
fn a_daemon_that_is_gone_is_told_until_it_answers_again() {
    let mut top = Top::default();
    top.take(Err("no weir is running".into()), Duration::from_secs(1));
    assert!(screen(&mut top, (60, 20))[0].starts_with("NO ANSWER for 8 s, asking again: no weir is running"));
    let mut top = watched();
    top.take(Err("no weir is running".into()), Duration::from_secs(4));
    top.take(Err("still none".into()), Duration::from_secs(5));
    let gone = screen(&mut top, (60, 20));
    assert!(gone[0].starts_with("NO ANSWER for 5 s, asking again: still none"), "{gone:#?}");
    assert!(words(find(&gone, "tiktok")).contains(&"-"), "an old rate is no rate: {gone:#?}");
    assert!(gone[1].starts_with("last known: blocking"), "{gone:#?}");
    let wide = screen(&mut top, (300, 20));
    assert!(wide.iter().any(|line| line.ends_with("|??")), "no answer is no zero: {wide:#?}");
    let mut again = status();
    again.pid += 1;
    top.take(Ok(again.clone()), Duration::from_secs(6));
    let screen_again = screen(&mut top, (60, 20));
    assert!(screen_again[0].starts_with("blocking"), "{screen_again:#?}");
    assert!(screen_again.iter().any(|line| line.starts_with("rates: waiting")), "{screen_again:#?}");
    again.dropped += tally(3);
    top.take(Ok(again), Duration::from_secs(7));
    assert_eq!(words(find(&screen(&mut top, (60, 20)), "dropped"))[1], "3");
}

#[test]
fn a_daemon_that_was_only_slow_has_the_mean_rate_of_the_time() {
    let mut top = watched();
    top.take(Err("weir did not answer".into()), Duration::from_secs(9));
    let mut late = top.status.clone().unwrap();
    late.dropped += tally(40);
    top.take(Ok(late), Duration::from_secs(12));
    assert_eq!(words(find(&screen(&mut top, (60, 20)), "dropped"))[1], "10", "40 packets in 4 seconds");
}

#[test]
fn long_tables_are_moved_through_and_never_past_their_end() {
    let mut top = Top::default();
    let mut status = status();
    status.rules = (0..500).map(|n| rule(&format!("rule{n:03}"), RuleAction::Block, 500 - n)).collect();
    top.take(Ok(status), Duration::from_secs(1));
    let shown = |top: &mut Top| -> Vec<String> {
        let screen = screen(top, (60, 20));
        screen.iter().filter(|line| line.starts_with("rule0") || line.starts_with("rule4")).cloned().collect()
    };
    let first = shown(&mut top);
    assert!(first[0].starts_with("rule000") && first.len() >= 8, "{first:#?}");
    top.press(Key::PageDown);
    assert!(shown(&mut top)[0].starts_with(&format!("rule{:03}", first.len())));
    top.press(Key::End);
    let last = shown(&mut top);
    assert!(last.len() == first.len() && last.last().unwrap().starts_with("rule499"), "{last:#?}");
    top.press(Key::Down);
    assert_eq!(shown(&mut top), last);
    top.press(Key::Up);
    assert!(shown(&mut top).last().unwrap().starts_with("rule498"));
}

#[test]
fn without_colour_no_cell_has_one() {
    let mut top = watched();
    let mut bad = status();
    bad.degraded.push("x".into());
    bad.paused_secs = Some(9);
    top.take(Ok(bad), Duration::from_secs(9));
    let colours = |look: Look, top: &mut Top| {
        let terminal = terminal(top, look, (80, 24));
        terminal.backend().buffer().content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(!colours(PLAIN, &mut top));
    assert!(colours(Look { colour: true, ..PLAIN }, &mut top), "with them, there are some");
}

#[test]
fn the_page_has_all_tables_and_nothing_that_commands_a_terminal() {
    let (before, mut after) = (status(), status());
    after.dropped += tally(50);
    after.rules[0].name = "bad\x1b[31m\nname".into();
    let text = page(&Reading::new(&before, after.clone(), Duration::from_secs(1)), NOW.unix);
    assert!(text.contains("dropped  50 packets/s") && text.contains("bad\\u{1b}[31m\\nname"), "{text}");
    for start in ["rule ", "client ", "device "] {
        assert!(text.lines().any(|line| line.starts_with(start)), "{text}");
    }
    assert!(!text.contains('\x1b'));
    after.pid += 1;
    let text = page(&Reading::new(&before, after, Duration::from_secs(1)), NOW.unix);
    assert!(text.contains("rates: not known"), "{text}");
}

/// Names as an enemy writes them.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,20}",
        "\\PC{0,80}",
        "[\u{0}-\u{1f}\u{7f}-\u{9f}\u{200b}-\u{200f}\u{202a}-\u{202e}\u{300}-\u{36f}网🎉]{0,40}"
    ]
}

fn key() -> impl Strategy<Value = Key> {
    use Key::{Backspace, Char, Down, End, Enter, Escape, Home, PageDown, PageUp, Tab, Up};
    let named =
        prop::sample::select(vec![Tab, Key::BackTab, Up, Down, PageUp, PageDown, Home, End, Enter, Escape, Backspace]);
    prop_oneof![
        named,
        prop::sample::select("123sS/pr?yjk".chars().map(Char).collect::<Vec<_>>()),
        any::<char>().prop_map(Char)
    ]
}

proptest! {
    #[test]
    fn no_size_no_name_and_no_key_breaks_the_screen(
        width in prop_oneof![0_u16..8, 50_u16..70, 0_u16..300],
        height in prop_oneof![0_u16..30, 0_u16..100],
        names in prop::collection::vec(name(), 0..12),
        keys in prop::collection::vec(key(), 0..20),
        figures in any::<[u64; 4]>(),
        at in any::<u32>(),
        look in any::<[bool; 2]>(),
    ) {
        let mut top = Top::default();
        let look = Look { colour: look[0], blocks: look[1] };
        for (reading, figure) in figures.into_iter().enumerate() {
            let mut status = status();
            status.rules = names.iter().map(|name| rule(name, RuleAction::Monitor, figure >> 10)).collect();
            status.clients = (0..names.len()).map(|n| client(n as u8, figure >> 20)).collect();
            status.devices.iter_mut().zip(&names).for_each(|(device, name)| device.name.clone_from(name));
            status.degraded.clone_from(&names);
            status.version = names.concat();
            status.dropped.bytes = figure;
            status.uptime_secs = figure;
            status.paused_secs = Some(figure);
            top.take(Ok(status), Duration::from_millis(u64::from(at) * reading as u64));
            top.take(Err(names.concat()), Duration::from_millis(u64::from(at) * reading as u64 + 1));
            for key in &keys {
                let _ = top.press(*key);
                let drawn = terminal(&mut top, look, (width, height));
                let bad = |cell: &ratatui::buffer::Cell| cell.symbol().chars().any(char::is_control);
                prop_assert!(!drawn.backend().buffer().content().iter().any(bad));
            }
        }
    }
}
