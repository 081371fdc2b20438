//! Help that teaches: every verb shows how it is used, and every option says what it does.

use crate::{run, succeeds};

const VERBS: [&str; 11] =
    ["run", "check", "explain", "catalog", "replay", "report", "status", "top", "stop", "completion", "man"];
/// Verbs below a verb.
const NESTED: [&str; 3] = ["catalog list", "catalog show", "report verify"];

fn all_verbs() -> impl Iterator<Item = &'static str> {
    VERBS.into_iter().chain(NESTED)
}

fn help(arguments: &[&str]) -> String {
    let output = succeeds(run(&[], arguments));
    assert_eq!(output.stderr, "", "{arguments:?}");
    output.stdout
}

#[test]
fn help_names_every_verb_the_exit_codes_and_a_first_command() {
    let text = help(&["--help"]);
    for verb in VERBS {
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{verb} ")));
        assert!(line.is_some_and(|line| line.split_whitespace().count() > 3), "{verb} is not described:\n{text}");
    }
    assert!(
        text.contains("Exit codes: 0 ok, 1 failure, 2 usage or configuration invalid, 3 ran but degraded."),
        "{text}"
    );
    assert!(text.contains("weir run --iface eth0 --service tiktok --monitor"), "{text}");
}

#[test]
fn help_of_every_verb_shows_an_example_and_describes_every_option() {
    for verb in all_verbs() {
        let words: Vec<&str> = verb.split(' ').collect();
        let text = help(&[&words, &["--help"][..]].concat());
        let example = text.split_once("Example").map(|(_, examples)| examples.contains(&format!("weir {verb}")));
        assert_eq!(example, Some(true), "{verb} shows no example:\n{text}");
        for line in text.lines().filter(|line| line.trim_start().starts_with('-')) {
            let described = line.trim_start().split_once("  ").is_some_and(|(_, words)| !words.trim().is_empty());
            assert!(described, "{verb}: {line:?} is not described");
        }
        assert!(
            text.lines().all(|line| line.chars().count() <= 120),
            "{verb}: a line is too long for a terminal\n{text}"
        );
        assert_eq!(help(&[&["help"], &words[..]].concat()), text);
    }
}

#[test]
fn the_examples_of_help_are_accepted_by_the_parser() {
    for verb in all_verbs() {
        let text = help(&verb.split(' ').chain(["--help"]).collect::<Vec<_>>());
        let commands = text.lines().filter_map(|line| line.trim_start().strip_prefix("weir "));
        for command in commands {
            // Two spaces divide a command from its explanation; a pipe ends it.
            let command = command.split("  ").next().unwrap().split('|').next().unwrap();
            let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
            // A verb with verbs below it shows one of these.
            let below = NESTED.into_iter().find(|below| command.starts_with(below));
            let expected = below
                .map_or(text.clone(), |below| help(&[&["help"], &below.split(' ').collect::<Vec<_>>()[..]].concat()));
            assert_eq!(help(&words), expected, "{command}");
        }
    }
}

#[test]
fn the_version_is_one_line() {
    let text = help(&["--version"]);
    assert!(text.starts_with("weir ") && text.lines().count() == 1, "{text}");
}
