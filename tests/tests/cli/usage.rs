//! What is wrong on the command line itself, and where the output cannot go.

use std::fs::File;
use std::process::{Command, Stdio};

use weir_tests::weir::{Output, Scratch, binary};

use crate::{Case, finish, refused, rule, run};

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases is read as a whole")]
fn a_command_line_that_cannot_be_meant_is_refused_with_exit_code_2() {
    let named_tiktok = b"[[rule]]\nname = \"tiktok\"\naction = \"block\"\nprefixes = [\"192.0.2.0/24\"]\n";
    let cases: &[(&str, &[&str], &str)] = &[
        (
            "no rules at all",
            &["check"],
            "nothing to filter: give -c FILE, --service NAME, --asn N or --prefix P (see weir --help)",
        ),
        (
            "a configuration without rules",
            &["check", "-c", "empty.toml"],
            "empty.toml has no [[rule]]: add one, or give --service, --asn or --prefix",
        ),
        (
            "a word for an AS number",
            &["check", "--asn", "bytedance"],
            "--asn bytedance is no AS number; accepted: 1 to 4294967295, with or without AS before it",
        ),
        (
            "AS0",
            &["check", "--asn", "AS0"],
            "--asn AS0 is no AS number; accepted: 1 to 4294967295, with or without AS before it",
        ),
        (
            "an AS number of five bytes",
            &["check", "--asn", "4294967296"],
            "--asn 4294967296 is no AS number; accepted: 1 to 4294967295, with or without AS before it",
        ),
        (
            "a host name for a prefix",
            &["check", "--prefix", "tiktok.com"],
            "--prefix \"tiktok.com\" is no prefix; accepted: a CIDR prefix such as \"203.0.113.0/24\" or an address",
        ),
        (
            "a prefix length out of range",
            &["check", "--prefix", "192.0.2.0/33"],
            "--prefix \"192.0.2.0/33\" is no prefix; accepted: a CIDR prefix such as \"203.0.113.0/24\" or an address",
        ),
        (
            "host bits",
            &["check", "--prefix", "192.0.2.1/24"],
            "--prefix \"192.0.2.1/24\" has host bits set; write 192.0.2.0/24",
        ),
        (
            "IPv4 in IPv6 clothes",
            &["check", "--prefix", "::ffff:192.0.2.0/120"],
            "--prefix \"::ffff:192.0.2.0/120\" is IPv4-mapped IPv6, which no packet carries; write it as IPv4",
        ),
        (
            "a prefix with a line break and a terminal escape",
            &["check", "--prefix", "a\n\u{1b}[2J"],
            "--prefix \"a\\n\\u{1b}[2J\" is no prefix; accepted: a CIDR prefix such as \"203.0.113.0/24\" or an \
             address",
        ),
        (
            "a service nobody knows",
            &["check", "--service", "tiktak"],
            "service \"tiktak\" is not in the catalog; did you mean tiktok? `weir catalog list` shows all",
        ),
        (
            "the same service twice",
            &["check", "--service", "tiktok", "--service", "tiktok"],
            "rule \"tiktok\" is there already, from the configuration file or another option: keep one",
        ),
        (
            "the same AS in two spellings",
            &["check", "--asn", "396986", "--asn", "AS396986"],
            "rule \"AS396986\" is there already, from the configuration file or another option: keep one",
        ),
        (
            "a service that the file has as a rule",
            &["check", "-c", "tiktok.toml", "--service", "tiktok"],
            "rule \"tiktok\" is there already, from the configuration file or another option: keep one",
        ),
        (
            "a prefix as wide as the Internet",
            &["check", "--prefix", "0.0.0.0/0"],
            "rule \"prefixes\": list \"prefixes\" holds 0.0.0.0/0, shorter than /8: remove it, or set allow_wide = \
             true in the rule",
        ),
        (
            "an AS that the embedded snapshot does not hold",
            &["check", "--asn", "13414"],
            "rule \"AS13414\": AS13414 is not in the embedded snapshot, which holds AS11983, AS138699, AS396986; \
             name an ASN table in [asn] tables, or a source: [asn] sources = [\"ipverse\"]",
        ),
        (
            "an AS whose networks strangers share",
            &["check", "--asn", "13335"],
            "rule \"AS13335\": AS13335 is a shared network (Cloudflare), which carries strangers' services, too: \
             leave it out, or set allow_shared = true in the rule",
        ),
        (
            "an AS number that nobody has",
            &["check", "--asn", "64512"],
            "rule \"AS64512\": AS64512 is for private use (RFC 6996): correct it, or set allow_bogon = true in the rule",
        ),
        (
            "an interface name Linux does not accept",
            &["run", "--service", "tiktok", "--iface", "eth0/1"],
            "interface name \"eth0/1\" is not one Linux accepts: 1 to 15 bytes, no '/', ':', space or control character",
        ),
    ];
    for &(what, arguments, says) in cases {
        refused(&Case { what, files: &[("empty.toml", b""), ("tiktok.toml", named_tiktok)], arguments, code: 2, says });
    }
}

#[test]
fn what_the_parser_of_arguments_refuses_ends_with_exit_code_2_and_the_way_to_help() {
    let cases: &[(&str, &[&str], &str)] = &[
        ("an unknown verb", &["frobnicate"], "unrecognized subcommand 'frobnicate'"),
        ("a misspelt verb", &["chekc"], "a similar subcommand exists: 'check'"),
        ("an unknown option", &["check", "--frobnicate"], "unexpected argument '--frobnicate' found"),
        ("an option without its value", &["check", "--asn"], "a value is required for '--asn <N>'"),
        ("explain without an address", &["explain", "--service", "tiktok"], "<ADDRESS>"),
        (
            "explain with a name",
            &["explain", "--service", "tiktok", "tiktok.com"],
            "invalid value 'tiktok.com' for '<ADDRESS>': invalid IP address syntax",
        ),
        ("replay without a capture", &["replay", "--service", "tiktok"], "<CAPTURE>"),
        ("nothing at all", &[], "Usage: weir <COMMAND>"),
    ];
    for &(what, arguments, says) in cases {
        let output = run(&[], arguments);
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{what}: {output:?}");
        assert!(output.stderr.contains(says), "{what}: {output:?}");
        assert!(output.stderr.contains("help"), "{what}: {output:?}");
    }
}

#[test]
fn options_add_to_the_file_and_monitor_turns_every_block() {
    let files: &[(&str, &[u8])] = &[("weir.toml", &rule("prefixes = [\"192.0.2.0/24\"]"))];
    let arguments = ["check", "-c", "weir.toml", "--asn", "as396986", "--prefix", "203.0.113.0/24", "--prefix"];
    let output = run(files, &[&arguments[..], &["2001:db8::1", "--service", "tiktok", "--monitor", "--json"]].concat());
    let rules = output.json()["rules"].clone();
    let rows: Vec<_> = rules.as_array().unwrap().iter().map(|rule| (rule["name"].as_str().unwrap(), rule)).collect();
    let names: Vec<_> = rows.iter().map(|row| row.0).collect();
    assert_eq!(names, ["r", "tiktok", "AS396986", "prefixes"]);
    assert!(rows.iter().all(|row| row.1["action"] == "monitor"), "{rules}");
    assert_eq!(rows[3].1["addresses"], serde_json::json!({ "ipv4": 256, "ipv6": 1 }));
}

/// `verb`, its output cut off by a reader that reads nothing.
fn into_closed_pipe(verb: &[&str]) -> Output {
    // The reader is gone before weir starts, so the first write meets a broken pipe.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(binary()).args(verb).stdin(Stdio::null()).stdout(writer).output().unwrap();
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::new(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

const VERBS: [&[&str]; 8] = [
    &["check", "--service", "tiktok"],
    &["check", "--service", "tiktok", "--json"],
    &["explain", "--service", "tiktok", "71.18.1.1"],
    &["explain", "--service", "tiktok", "71.18.1.1", "--json"],
    &["catalog", "list"],
    &["catalog", "show", "tiktok", "--json"],
    &["completion", "bash"],
    &["man"],
];

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    for verb in VERBS {
        let output = into_closed_pipe(verb);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{verb:?}");
    }
}

#[test]
fn a_full_disk_is_a_failure_in_one_line() {
    for verb in VERBS {
        let output = finish(Command::new("sh").arg("-c").arg("exec \"$0\" \"$@\" >/dev/full").arg(binary()).args(verb));
        let says = "weir: cannot write to standard output: No space left on device (os error 28)\n";
        assert_eq!((output.code, output.stderr.as_str()), (1, says), "{verb:?}");
    }
}

#[test]
fn a_complaint_that_nobody_can_read_still_ends_with_its_exit_code() {
    let scratch = Scratch::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let status = Command::new(binary()).arg("check").current_dir(scratch.path()).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(2));
}
