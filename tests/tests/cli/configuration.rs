//! What is wrong in the configuration file: named by file and line, with the key and what would be accepted.

use weir_tests::weir::Scratch;

use crate::{Case, refused, rule, run_in};

const CHECK: &[&str] = &["check", "-c", "weir.toml"];

#[test]
#[expect(clippy::too_many_lines, reason = "one table of all refusals")]
fn an_invalid_configuration_is_refused_as_file_and_line_with_exit_code_2() {
    let twice = [rule("asns = [396986]"), rule("asns = [11983]")].concat();
    let cases: &[(&str, &[u8], &str)] = &[
        (
            "an unknown table",
            b"[[rules]]\n",
            "weir.toml:1: unknown field `rules`, expected one of `interface`, `rule`, `source`, `asn`, `fetch`, \
             `catalog`, `never_block`, `counters`, `events`, `history`, `http`, `metrics`",
        ),
        (
            "an unknown key of a rule",
            &rule("asn = [396986]"),
            "weir.toml:4: unknown field `asn`, expected one of `name`, `action`, `direction`, `services`, \
             `categories`, `asns`, `organisations`, `lists`, `prefixes`, `files`, `allow_wide`, `allow_shared`, \
             `allow_bogon`, `clients`, `vlans`, `devices`, `macs`, `schedule`",
        ),
        (
            "an unknown key of an interface",
            b"[[interface]]\nname = \"eth0\"\nmode = \"xdp\"\n",
            "weir.toml:3: unknown field `mode`, expected one of `name`, `attach`, `egress`",
        ),
        (
            "an unknown key of [asn]",
            b"[asn]\ntable = []\n",
            "weir.toml:2: unknown field `table`, expected one of `tables`, `sources`, `quorum`, `rpki`, `irr`",
        ),
        (
            "an unknown key of [never_block]",
            b"[never_block]\naddresses = []\n",
            "weir.toml:2: unknown field `addresses`, expected `prefixes`",
        ),
        (
            "an unknown action",
            b"[[rule]]\nname = \"r\"\naction = \"drop\"\n",
            "weir.toml:3: action: unknown variant `drop`, expected one of `block`, `monitor`, `allow`",
        ),
        (
            "an unknown direction",
            &rule("direction = \"up\""),
            "weir.toml:4: direction: unknown variant `up`, expected one of `out`, `in`, `both`",
        ),
        (
            "an unknown attach kind",
            b"[[interface]]\nname = \"eth0\"\nattach = \"xdp\"\n",
            "weir.toml:3: attach: unknown variant `xdp`, expected one of `auto`, `xdp-native`, `tc`, `xdp-generic`",
        ),
        ("a rule without an action", b"\n[[rule]]\nname = \"r\"\n", "weir.toml:2: missing field `action`"),
        ("a rule without a name", b"[[rule]]\naction = \"block\"\n", "weir.toml:1: missing field `name`"),
        (
            "a rule with single brackets",
            b"[rule]\nname = \"r\"\n",
            "weir.toml:1: [rule] must have double brackets; write [[rule]]",
        ),
        (
            "a rule that lists nothing",
            &rule(""),
            "weir.toml:2: rule \"r\" lists nothing: give services, categories, asns, organisations, lists, \
             prefixes or files",
        ),
        (
            "two rules of one name",
            &twice,
            "weir.toml:6: rule \"r\" is defined twice: counters are kept by name, choose another",
        ),
        (
            "a rule without a letter in its name",
            b"[[rule]]\nname = \"\"\naction = \"block\"\nasns = [1]\n",
            "weir.toml:2: rule name must have 1 to 64 bytes and no control characters",
        ),
        (
            "a rule name of two lines",
            b"[[rule]]\nname = \"a\\nb\"\naction = \"block\"\nasns = [1]\n",
            "weir.toml:2: rule name must have 1 to 64 bytes and no control characters",
        ),
        (
            "an unknown service",
            &rule("services = [\"tiktok\",\n\"tiktak\"]"),
            "weir.toml:5: rule \"r\": service \"tiktak\" is not in the catalog; did you mean tiktok? `weir catalog list` shows all",
        ),
        (
            "AS0",
            &rule("asns = [0]"),
            "weir.toml:4: rule \"r\": asns: 0 is no AS number; accepted: 1 to 4294967295, without quotes",
        ),
        (
            "an AS number as text",
            &rule("asns = [\"AS396986\"]"),
            "weir.toml:4: rule \"r\": asns: \"AS396986\" is no AS number; accepted: 1 to 4294967295, without quotes",
        ),
        (
            "an AS number of five bytes",
            &rule("asns = [4294967296]"),
            "weir.toml:4: rule \"r\": asns: 4294967296 is no AS number; accepted: 1 to 4294967295, without quotes",
        ),
        (
            "a list that is no list",
            &rule("prefixes = \"192.0.2.0/24\""),
            "weir.toml:4: prefixes: invalid type: string \"192.0.2.0/24\", expected a sequence",
        ),
        (
            "a prefix that is none",
            &rule("prefixes = [\n\"192.0.2.0/24\",\n\"192.0.2.0/33\"]"),
            "weir.toml:6: rule \"r\": prefixes: \"192.0.2.0/33\" is no prefix; accepted: a CIDR prefix such as \
             \"203.0.113.0/24\" or an address",
        ),
        (
            "host bits in a rule",
            &rule("prefixes = [\"2001:db8::1/32\"]"),
            "weir.toml:4: rule \"r\": prefixes: \"2001:db8::1/32\" has host bits set; write 2001:db8::/32",
        ),
        (
            "host bits in never_block",
            b"[never_block]\nprefixes = [\"192.0.2.1/24\"]\n",
            "weir.toml:2: never_block: prefixes: \"192.0.2.1/24\" has host bits set; write 192.0.2.0/24",
        ),
        (
            "a wide prefix",
            &rule("prefixes = [\"32.0.0.0/7\"]"),
            "rule \"r\": list \"prefixes\" holds 32.0.0.0/7, shorter than /8: remove it, or set allow_wide = true in \
             the rule",
        ),
        (
            "two interfaces of one name",
            b"[[interface]]\nname = \"eth0\"\n[[interface]]\nname = \"eth0\"\n",
            "weir.toml:4: interface \"eth0\" is listed twice: keep one",
        ),
        (
            "an interface name Linux does not accept",
            b"[[interface]]\nname = \"a-very-long-name\"\n",
            "weir.toml:2: interface name \"a-very-long-name\" is not one Linux accepts: 1 to 15 bytes, no '/', ':', space or control \
             character",
        ),
        (
            "a flag that is a number",
            b"[[interface]]\nname = \"eth0\"\negress = 1\n",
            "weir.toml:3: egress: invalid type: integer `1`, expected a boolean",
        ),
        ("a key given twice", b"[[rule]]\nname = \"a\"\nname = \"b\"\n", "weir.toml:3: duplicate key"),
        (
            "a quote that stays open",
            b"[[rule]]\nname = \"a\n",
            "weir.toml:2: name: invalid basic string, expected `\"`",
        ),
        (
            "Windows line ends do not shift the line",
            b"[[rule]]\r\nname = \"r\"\r\naction = \"drop\"\r\n",
            "weir.toml:3: action: unknown variant `drop`, expected one of `block`, `monitor`, `allow`",
        ),
        ("not UTF-8", b"[asn]\n# caf\xe9\n", "weir.toml:2: the configuration must be UTF-8 text"),
    ];
    for &(what, contents, says) in cases {
        refused(&Case { what, files: &[("weir.toml", contents)], arguments: CHECK, code: 2, says });
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_remedy_and_exit_code_1() {
    let files = rule("files = [\"list\"]");
    let table = rule("asns = [1]\n[asn]\ntables = [\"table\"]");
    let cases: &[(&str, &[u8], &[&str], &str)] = &[
        (
            "no configuration",
            b"",
            &["check", "-c", "absent.toml"],
            "cannot read configuration absent.toml: no such file; check the path, relative ones count from the \
             configuration file",
        ),
        (
            "a directory for a configuration",
            b"",
            &["check", "-c", "."],
            "cannot read configuration .: it is a directory; name a file in it",
        ),
        (
            "no list",
            &files,
            CHECK,
            "cannot read list list: no such file; check the path, relative ones count from the configuration file",
        ),
        (
            "no ASN table",
            &table,
            CHECK,
            "cannot read ASN table table: no such file; check the path, relative ones count from the configuration \
             file",
        ),
        (
            "no capture",
            b"",
            &["replay", "--service", "tiktok", "absent.pcap"],
            "cannot read capture absent.pcap: no such file; check the path, relative ones count from the configuration \
             file",
        ),
    ];
    for &(what, contents, arguments, says) in cases {
        refused(&Case { what, files: &[("weir.toml", contents)], arguments, code: 1, says });
    }
}

#[test]
fn paths_in_a_configuration_count_from_its_directory() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path().join("etc")).unwrap();
    scratch.file("etc/weir.toml", rule("files = [\"list\"]"));
    scratch.file("etc/list", "192.0.2.0/24\n");
    let output = run_in(scratch.path(), ["check", "-c", "etc/weir.toml"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
}

#[test]
fn a_byte_order_mark_is_no_mistake() {
    let scratch = Scratch::new();
    let marked = [b"\xef\xbb\xbf".as_slice(), &rule("prefixes = [\"192.0.2.0/24\"]")].concat();
    scratch.file("weir.toml", marked);
    assert_eq!(run_in(scratch.path(), CHECK).code, 0);
}
