//! What list files and ASN tables do to a configuration: refused whole with the line at fault, or taken with a warning.

use std::fs;

use serde_json::json;

use crate::{Case, data, gzip, refused, rule, run, succeeds};

const CHECK: &[&str] = &["check", "-c", "weir.toml"];

#[test]
fn a_list_that_cannot_be_read_is_refused_with_its_line_and_exit_code_2() {
    let entry = |text: &str, why: &str| (text.as_bytes().to_vec(), format!("list: line 2: {text:?} {why}"));
    let entries = [
        entry("nonsense", "is not an entry; write a prefix (192.0.2.0/24), an address or a range (first-last)"),
        entry("<!DOCTYPE html>", "is a web page, not a list; check the address it was downloaded from"),
        entry("{\"a\": 1}", "is JSON, not a list; use the text form of this feed, one prefix a line"),
        entry("192.0.2.9-192.0.2.1", "ends before it starts; write the lower address first"),
        entry("192.0.2.1 - 2001:db8::1", "mixes IPv4 and IPv6; write one range for each family"),
        entry("192.0.2.0/33", "has no valid IPv4 prefix length; write 0 to 32 after the slash"),
        entry("2001:db8::/129", "has no valid IPv6 prefix length; write 0 to 128 after the slash"),
        entry("192.0.02.1", "has an octet with leading zeros, which may mean octal; write it in decimal without them"),
        entry("tiktok.com", "names a host; a prefix list takes prefixes, addresses and ranges only"),
        entry("AS396986", "is an AS number; write it in a rule's `asns`"),
        entry("::ffff:192.0.2.1", "is an IPv4-mapped IPv6 address, which no packet carries; write it as IPv4"),
        entry("fe80::1%eth0", "has a zone id; write the address without the % part"),
    ];
    for (text, says) in &entries {
        let list = [b"192.0.2.0/24\n", text.as_slice(), b"\n"].concat();
        refuse_list(says, &list, says);
        refuse_list("the same, compressed", &gzip(&list), says);
    }
    refuse_list("Latin-1", b"caf\xe9\n", "list: line 1: \"caf\\xe9\" is not UTF-8; save the list as plain text");
    refuse_list("a zip", b"PK\x03\x04", "list: is a zip archive; unpack it and name the file inside");
    let cut = gzip(b"192.0.2.0/24\n");
    refuse_list("a cut download", &cut[..cut.len() - 3], "list: gzip file is truncated; download it again");
}

fn refuse_list(what: &str, list: &[u8], says: &str) {
    let files: &[(&str, &[u8])] = &[("weir.toml", &rule("files = [\"list\"]")), ("list", list)];
    refused(&Case { what, files, arguments: CHECK, code: 2, says });
}

#[test]
fn a_list_as_windows_writes_it_is_read_and_masked_host_bits_are_a_warning() {
    let list = b"\xef\xbb\xbf# feed\r\n192.0.2.1/24\r\n198.51.100.7\r\n\r\n203.0.113.0 - 203.0.113.9 ; ten\r\n";
    let files: &[(&str, &[u8])] = &[("weir.toml", &rule("files = [\"list\"]")), ("list", list)];
    let report = succeeds(run(files, &[CHECK, &["--json"]].concat())).json();
    assert_eq!(report["warnings"], json!(["list:2: \"192.0.2.1/24\" has host bits set; taken as 192.0.2.0/24"]));
    // 203.0.113.0-9 is a /29 and a /31.
    assert_eq!(report["rules"][0]["prefixes"], json!({ "ipv4": 4, "ipv6": 0 }));
    assert_eq!(report["rules"][0]["addresses"], json!({ "ipv4": 256 + 1 + 10, "ipv6": 0 }));
    // Verbs whose output is about something else say it on standard error.
    let explained = succeeds(run(files, &["explain", "-c", "weir.toml", "192.0.2.200"]));
    let warning = "weir: warning: list:2: \"192.0.2.1/24\" has host bits set; taken as 192.0.2.0/24\n";
    assert_eq!(explained.stderr, warning);
}

#[test]
fn a_rule_with_nothing_left_is_refused_and_one_with_less_is_a_warning() {
    let empty = "rule \"r\" lists no address: list lists nothing; remove the rule or give it a list";
    refuse_list("an empty file", b"", empty);
    refuse_list("a file of comments", b"# nothing today\n", empty);
    let toml = rule("files = [\"list\"]\nprefixes = [\"192.0.2.0/24\"]");
    let report = succeeds(run(&[("weir.toml", &toml), ("list", b"")], &[CHECK, &["--json"]].concat())).json();
    assert_eq!(report["warnings"], json!(["rule \"r\": list lists nothing"]));

    let table = b"192.0.2.0,192.0.2.255,131072,Example\n";
    let files = |asns| rule(&format!("asns = {asns}\n[asn]\ntables = [\"table\"]"));
    let says = "rule \"r\" lists no address: no ASN table lists AS131073, AS131074; check the numbers and the tables";
    let toml = files("[131073, 131074]");
    let files_of = |toml| [("weir.toml", toml), ("table", table.as_slice())];
    refused(&Case { what: "ASes in no table", files: &files_of(toml.as_slice()), arguments: CHECK, code: 2, says });
    let toml = files("[131072, 131073]");
    let report = succeeds(run(&files_of(toml.as_slice()), &[CHECK, &["--json"]].concat())).json();
    assert_eq!(report["warnings"], json!(["rule \"r\": no ASN table lists AS131073"]));
    assert_eq!(report["rules"][0]["addresses"]["ipv4"], 256);
}

#[test]
fn a_prefix_that_covers_a_large_part_of_the_internet_is_refused_until_the_rule_allows_it() {
    let too_wide: &[(&str, &str, u8)] = &[
        ("0.0.0.0/0", "0.0.0.0/0", 8),
        ("32.0.0.0/7", "32.0.0.0/7", 8),
        ("31.0.0.0-33.255.255.255", "32.0.0.0/7", 8),
        ("::/0", "::/0", 19),
        ("2600::/18", "2600::/18", 19),
    ];
    for &(entry, prefix, limit) in too_wide {
        let says = format!(
            "rule \"r\": list \"list\" holds {prefix}, shorter than /{limit}: remove it, or set \
             allow_wide = true in the rule"
        );
        refuse_list(entry, entry.as_bytes(), &says);
        let toml = rule("files = [\"list\"]\nallow_wide = true");
        succeeds(run(&[("weir.toml", &toml), ("list", entry.as_bytes())], CHECK));
    }
    for entry in ["32.0.0.0/8", "2600::/19"] {
        succeeds(run(&[("weir.toml", &rule("files = [\"list\"]")), ("list", entry.as_bytes())], CHECK));
    }
    let says =
        "rule \"r\": list \"AS7\" holds 64.0.0.0/2, shorter than /8: remove it, or set allow_wide = true in the rule";
    refuse_table("a table with a default route", b"64.0.0.0,127.255.255.255,7,X\n", says);
}

fn refuse_table(what: &str, table: &[u8], says: &str) {
    let toml = rule("asns = [7]\n[asn]\ntables = [\"table\"]");
    let files: &[(&str, &[u8])] = &[("weir.toml", &toml), ("table", table)];
    refused(&Case { what, files, arguments: CHECK, code: 2, says });
}

#[test]
fn an_asn_table_that_cannot_be_read_is_refused_with_its_line_and_exit_code_2() {
    let row = |text: &str, why: &str| (text.as_bytes().to_vec(), format!("table: line 2: {text:?} {why}"));
    let rows = [
        row("192.0.2.0,192.0.2.255", "has too few fields; write start,end,asn,organisation or the same with tabs"),
        row(
            "192.0.2.0,192.0.2.255,x,X",
            "has no AS number in its third field; write 0 to 4294967295, with or without AS in front",
        ),
        row(
            "192.0.2.0/24,192.0.2.255,7,X",
            "has no address in its first or second field; write the first and the last address of the range",
        ),
        row("192.0.2.9,192.0.2.1,7,X", "ends before it starts; write the lower address first"),
        row("192.0.2.0,2001:db8::,7,X", "mixes IPv4 and IPv6; write one row for each family"),
        row(
            "192.0.2.0,192.0.2.255,7,\"X",
            "has a quote that is not closed; end the organisation with a quote on the same line",
        ),
        row("<html>", "is a web page, not an ASN table; check the address it was downloaded from"),
    ];
    for (text, says) in &rows {
        let table = [b"198.51.100.0,198.51.100.255,7,X\n", text.as_slice(), b"\n"].concat();
        refuse_table(says, &table, says);
        refuse_table("the same, compressed", &gzip(&table), says);
    }
    let no_rows = "table: no rows: the ASN table names no origin AS; download it again";
    for (what, table) in [
        ("an empty file", b"".as_slice()),
        ("comments only", b"# date: today\n"),
        ("a header only", b"start,end,asn,organisation\n"),
        ("nothing routed", b"192.0.2.0\t192.0.2.255\t0\tNone\tNot routed\n"),
    ] {
        refuse_table(what, table, no_rows);
    }
    refuse_table(
        "garbage",
        b"\x7fELF\x02\x01\x01\0\n",
        "table: line 1: \"\\u{7f}ELF\\u{2}\\u{1}\\u{1}\\0\" has too few fields; write start,end,asn,organisation \
         or the same with tabs",
    );
}

#[test]
fn real_tables_that_are_cut_or_of_another_kind_are_refused() {
    let Some(data) = data("real_tables_that_are_cut_or_of_another_kind_are_refused") else { return };
    let whole = fs::read(data.join("asn/asn-ipv6.csv.gz")).unwrap();
    let truncated = "table: gzip file is truncated; download it again";
    refuse_table("half a download", &whole[..whole.len() / 2], truncated);
    refuse_table("all but the last byte", &whole[..whole.len() - 1], truncated);
    for name in ["ipv4-24", "ipv6-32", "mixed-28"] {
        let database = fs::read(data.join(format!("mmdb/MaxMind-DB-test-{name}.mmdb"))).unwrap();
        let says =
            "table: MaxMind database of type \"Test\" has no ASN field; use an ASN database such as GeoLite2-ASN";
        refuse_table(name, &database, says);
    }
    let database = fs::read(data.join("mmdb/GeoLite2-ASN-Test.mmdb")).unwrap();
    let files: &[(&str, &[u8])] = &[("weir.toml", &rule("files = [\"list\"]")), ("list", &database)];
    let says = "list: is a MaxMind database, not a list; name it under [asn] tables and its AS numbers in a rule";
    refused(&Case { what: "a database for a list", files, arguments: CHECK, code: 2, says });
    // Its metadata are whole and its tree is not.
    let toml = rule("asns = [7]\n[asn]\ntables = [\"table\"]");
    let output = run(&[("weir.toml", &toml), ("table", &database[database.len() / 2..])], CHECK);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.starts_with("weir: table: MaxMind database is damaged: "), "{output:?}");
    assert!(output.stderr.ends_with("; download it again\n") && output.stderr.lines().count() == 1, "{output:?}");
}
