//! The rules, one function each. The reason of a rule stands in CONTRIBUTING.md, that of an exception beside it here.

use super::Finding;
use super::source::Source;

type Rule = fn(&Source) -> Vec<Finding>;

pub(super) const ALL: [Rule; 13] = [
    starts_with_a_reason,
    keeps_to_its_length,
    never_panics,
    is_unsafe_where_listed,
    common_is_bare,
    aya_stays_in_datapath,
    sqlite_stays_in_history,
    pure_modules_do_no_io,
    files_have_telling_names,
    items_have_telling_names,
    names_no_machine,
    has_no_trailing_space,
    ends_with_a_newline,
];

const MAX_LINES: usize = 400;
const MAX_README_LINES: usize = 80;

/// Where `unsafe` may stand, and why it cannot be avoided there.
const UNSAFE_SITES: [(&str, &str); 11] = [
    ("filter-ebpf/src/main.rs", "the licence section"),
    ("filter-ebpf/src/frame.rs", "the packet read"),
    ("filter-ebpf/src/entry.rs", "fields of the kernel's packet context that aya does not offer"),
    ("filter-ebpf/src/maps.rs", "counters written in place, constants found by their symbol"),
    ("filter-ebpf/src/bench/", "the same, in the benchmark's object"),
    ("filter-common/src/abi.rs", "aya::Pod has no derive; the macro proves what it demands"),
    ("filter-user/build.rs", "sets a variable for the nested build"),
    ("filter-user/src/memory.rs", "malloc_trim, which neither std nor nix wraps"),
    ("filter-user/src/datapath/", "system calls that aya does not wrap"),
    ("filter-user/tests/mutations/allocator.rs", "only a global allocator sees how much memory a call takes"),
    ("tests/src/sys.rs", "system calls that nix does not wrap"),
];

/// Modules that take bytes and time as arguments, so that they can be tested and replayed.
const PURE: [&str; 9] = ["config", "prefix", "source", "catalog", "ruleset", "controller", "capture", "render", "seal"];
/// Files of other modules that are held to the same.
const PURE_FILES: [&str; 4] = ["http/access.rs", "http/problem.rs", "http/query.rs", "http/route.rs"];
const IO: [&str; 15] = [
    "std::fs",
    "fs::",
    "File::",
    "std::env",
    "env::",
    "std::process",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "SystemTime::now",
    "Instant::now",
    ".elapsed(",
    "tokio::",
];
const AYA: [&str; 5] = ["aya", "aya_build", "aya_ebpf", "aya_log", "aya_obj"];
const PANICS: [&str; 5] = [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!("];
/// They name a place to put things, not the thing.
const EMPTY_NAMES: [&str; 8] = ["manager", "handler", "helper", "helpers", "util", "utils", "blacklist", "whitelist"];
/// Absolute paths below these exist on one machine only.
const MACHINE_DIRECTORIES: [&str; 4] = ["home", "root", "work", "Users"];

fn starts_with_a_reason(source: &Source) -> Vec<Finding> {
    if !source.is_rust() || source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![Finding::new(1, "the first line must be `//!`: why the file exists and what it must not do")]
}

fn keeps_to_its_length(source: &Source) -> Vec<Finding> {
    let (lines, max) = match source.path {
        "README.md" => (source.text.lines().count(), MAX_README_LINES),
        _ => (source.product_lines(), MAX_LINES),
    };
    if lines <= max { Vec::new() } else { vec![Finding::new(max + 1, format!("{lines} lines, the ceiling is {max}"))] }
}

fn never_panics(source: &Source) -> Vec<Finding> {
    let found = |token| source.product_code().filter(move |(_, code)| has(code, token)).map(move |(n, _)| (n, token));
    PANICS.into_iter().flat_map(found).map(|(n, token)| Finding::new(n, format!("`{token}` outside tests"))).collect()
}

fn is_unsafe_where_listed(source: &Source) -> Vec<Finding> {
    if UNSAFE_SITES.iter().any(|(site, _)| source.path == *site || site.ends_with('/') && source.path.starts_with(site))
    {
        return Vec::new();
    }
    lines_with(source.code(), "unsafe", "`unsafe` outside the sites that xtask/src/tidy/rules.rs lists")
}

fn common_is_bare(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with("filter-common/src/") {
        return Vec::new();
    }
    ["std::", "alloc::", "extern crate"]
        .into_iter()
        .flat_map(|token| {
            lines_with(source.product_code(), token, &format!("`{token}` in filter-common: it must run in the kernel"))
        })
        .collect()
}

fn aya_stays_in_datapath(source: &Source) -> Vec<Finding> {
    let may = ["filter-user/src/datapath", "filter-user/build.rs", "filter-ebpf/", "tests/"];
    if may.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    // The orphan rule: only the crate that owns the types can implement it.
    let is_pod = |code: &str| source.path == "filter-common/src/abi.rs" && code.contains("unsafe impl aya::Pod for");
    let code = source.code().filter(|(_, code)| !is_pod(code));
    let names_aya = |code: &str| words(code).any(|word| AYA.contains(&word));
    code.filter(|(_, code)| names_aya(code))
        .map(|(n, _)| Finding::new(n, "only filter-user/src/datapath may use aya"))
        .collect()
}

fn sqlite_stays_in_history(source: &Source) -> Vec<Finding> {
    let may = ["filter-user/src/history/", "filter-user/tests/history/"];
    if may.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    lines_with(source.code(), "rusqlite", "only filter-user/src/history may use rusqlite")
}

fn pure_modules_do_no_io(source: &Source) -> Vec<Finding> {
    let path = source.path.strip_prefix("filter-user/src/");
    let module = path.and_then(|path| path.split(['/', '.']).next());
    if !module.is_some_and(|module| PURE.contains(&module)) && !path.is_some_and(|path| PURE_FILES.contains(&path)) {
        return Vec::new();
    }
    let found = |token: &'static str| {
        lines_with(
            source.product_code(),
            token,
            &format!("`{token}` in a pure module: take bytes and time as arguments"),
        )
    };
    IO.into_iter().flat_map(found).collect()
}

fn files_have_telling_names(source: &Source) -> Vec<Finding> {
    let parts = source.path.split('/').skip_while(|part| *part == "filter-common");
    let is_empty = |word: &&str| *word == "common" || EMPTY_NAMES.contains(word);
    let found = parts.flat_map(|part| part.split(['.', '_', '-'])).find(is_empty);
    found
        .map(|word| Finding::new(1, format!("a file name with {word:?} does not say what is inside")))
        .into_iter()
        .collect()
}

fn items_have_telling_names(source: &Source) -> Vec<Finding> {
    const KEYWORDS: [&str; 8] = ["fn", "struct", "enum", "trait", "mod", "type", "const", "static"];
    let mut findings = Vec::new();
    for (number, code) in source.code() {
        let mut words = words(code).peekable();
        while let Some(word) = words.next() {
            let name = words.peek().filter(|_| KEYWORDS.contains(&word));
            if let Some(empty) = name.and_then(|name| empty_part(name)) {
                findings.push(Finding::new(number, format!("a name with {empty:?} does not say what it is")));
            }
        }
    }
    findings
}

/// The first part of a `snake_case` or `CamelCase` name that says nothing.
fn empty_part(name: &str) -> Option<&'static str> {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && snake.ends_with(char::is_lowercase) {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    EMPTY_NAMES.into_iter().find(|empty| snake.split('_').any(|part| part == *empty))
}

fn names_no_machine(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(source.text.lines()) {
        for path in MACHINE_DIRECTORIES.map(|directory| format!("/{directory}/")) {
            let absolute =
                |(at, _): (usize, &str)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || ".-_~}*".contains(c));
            if line.match_indices(&path).any(absolute) {
                findings.push(Finding::new(number, format!("`{path}` is a path of one machine")));
            }
        }
    }
    findings
}

fn has_no_trailing_space(source: &Source) -> Vec<Finding> {
    let lines = (1..).zip(source.text.split('\n'));
    lines
        .filter(|(_, line)| line.ends_with([' ', '\t', '\r']))
        .map(|(n, _)| Finding::new(n, "trailing space"))
        .collect()
}

fn ends_with_a_newline(source: &Source) -> Vec<Finding> {
    if source.text.ends_with('\n') && !source.text.ends_with("\n\n") {
        return Vec::new();
    }
    vec![Finding::new(source.text.lines().count(), "the file must end with one newline")]
}

fn lines_with<'a>(code: impl Iterator<Item = (usize, &'a str)>, token: &str, rule: &str) -> Vec<Finding> {
    code.filter(|(_, code)| has(code, token)).map(|(number, _)| Finding::new(number, rule)).collect()
}

/// Whether the token stands there by itself, not inside a longer name.
fn has(code: &str, token: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(token).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + token.len()..]);
        let starts = !token.starts_with(part_of_name) || !before.ends_with(part_of_name);
        let ends = !token.ends_with(part_of_name) || !after.starts_with(part_of_name);
        starts && ends
    })
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::super::source::is_rust;

    /// Findings of a file whose first line and last newline are in order.
    fn findings(path: &str, body: &str) -> Vec<String> {
        let text = if is_rust(path) { format!("//! Why.\n{body}\n") } else { format!("{body}\n") };
        check(path, &text).into_iter().map(|finding| format!("{}: {}", finding.line, finding.rule)).collect()
    }

    #[track_caller]
    fn reports(path: &str, body: &str, expected: &str) {
        let found = findings(path, body);
        assert!(
            found.len() == 1 && found[0].contains(expected),
            "{path}: {body}\nwanted one {expected:?}, got {found:?}"
        );
    }

    #[track_caller]
    fn accepts(path: &str, body: &str) {
        assert_eq!(findings(path, body), Vec::<String>::new(), "{path}: {body}");
    }

    #[test]
    fn a_file_without_a_reason_is_reported() {
        assert_eq!(check("a.rs", "fn a() {}\n").len(), 1);
        accepts("a.rs", "fn a() {}");
    }

    #[test]
    fn a_long_file_is_reported_and_its_tests_do_not_count() {
        let line = "const A: u8 = 0;\n";
        reports("a.rs", line.repeat(400).trim_end(), "401 lines");
        accepts("a.rs", line.repeat(399).trim_end());
        accepts("a.rs", &format!("#[cfg(test)]\nmod tests {{\n{}}}", line.repeat(400)));
        reports("README.md", "text\n".repeat(81).trim_end(), "81 lines");
    }

    #[test]
    fn a_panic_outside_tests_is_reported() {
        for code in ["x.unwrap();", "x.expect(\"y\");", "panic!(\"y\");", "todo!();", "unimplemented!();"] {
            let token = code.trim_start_matches('x').split_inclusive('(').next().unwrap();
            reports("a.rs", &format!("fn a() {{\n    {code}\n}}"), &format!("3: `{token}"));
            accepts("a.rs", &format!("#[cfg(test)]\nmod tests {{\n    fn a() {{ {code} }}\n}}"));
            accepts("tests/src/lib.rs", &format!("fn a() {{ {code} }}"));
            accepts("a.rs", &format!("// {code}\nconst A: &str = r#\"{code}\"#;"));
        }
        accepts("a.rs", "#[expect(dead_code, reason = \"x\")]\nfn a() { x.unwrap_or(1); }");
    }

    #[test]
    fn unsafe_is_reported_outside_the_listed_sites() {
        reports("filter-user/src/daemon.rs", "fn a() { unsafe { b() } }", "`unsafe` outside");
        reports("tests/src/lib.rs", "fn a() { unsafe { b() } }", "`unsafe` outside");
        accepts("filter-user/src/datapath/attach.rs", "fn a() { unsafe { b() } }");
        accepts("a.rs", "#![deny(unsafe_code)]");
    }

    #[test]
    fn std_alloc_and_aya_in_filter_common_are_reported() {
        reports("filter-common/src/packet.rs", "use std::io::Read;", "`std::`");
        reports("filter-common/src/packet.rs", "use alloc::vec::Vec;", "`alloc::`");
        reports("filter-common/src/packet.rs", "extern crate alloc;", "`extern crate`");
        reports("filter-common/src/packet.rs", "use aya::Pod;", "may use aya");
        reports("filter-common/src/abi.rs", "use aya::maps::Array;", "may use aya");
        accepts("filter-common/src/abi.rs", "unsafe impl aya::Pod for Count {}");
        accepts("filter-common/src/packet.rs", "use core::fmt;");
    }

    #[test]
    fn aya_outside_the_datapath_is_reported() {
        reports("filter-user/src/daemon.rs", "use aya_log::EbpfLogger;", "may use aya");
        accepts("filter-user/src/datapath/publish.rs", "use aya::Ebpf;");
        accepts("filter-user/src/daemon.rs", "use layaway::Thing;");
    }

    #[test]
    fn sqlite_outside_the_history_is_reported() {
        reports("filter-user/src/cli/report.rs", "use rusqlite::Connection;", "may use rusqlite");
        accepts("filter-user/src/history/file.rs", "use rusqlite::Connection;");
        accepts("filter-user/tests/history/random.rs", "use rusqlite::Connection;");
    }

    #[test]
    fn io_and_the_clock_in_a_pure_module_are_reported() {
        for code in
            ["std::fs::read(x)", "TcpStream::connect(x)", "SystemTime::now()", "Instant::now()", "start.elapsed()"]
        {
            assert!(
                !findings("filter-user/src/ruleset/delta.rs", &format!("fn a() {{ {code}; }}")).is_empty(),
                "{code}"
            );
            assert!(!findings("filter-user/src/http/access.rs", &format!("fn a() {{ {code}; }}")).is_empty(), "{code}");
            accepts("filter-user/src/http/mod.rs", &format!("fn a() {{ {code}; }}"));
            accepts("filter-user/src/store.rs", &format!("fn a() {{ {code}; }}"));
        }
        accepts("filter-user/src/controller.rs", "fn handle(now: Instant) { deadline(now + STEP); }");
        accepts("filter-user/src/config.rs", "#[cfg(test)]\nmod tests {\n    use std::fs;\n}");
    }

    #[test]
    fn names_that_say_nothing_are_reported() {
        reports("filter-user/src/map_utils.rs", "fn a() {}", "\"utils\"");
        reports("a.rs", "struct LinkManager;", "\"manager\"");
        reports("a.rs", "fn read_whitelist() {}", "\"whitelist\"");
        accepts("filter-common/src/lib.rs", "#[panic_handler]\nfn stop() {}");
        accepts("a.rs", "use filter_common::packet::Packet;");
    }

    #[test]
    fn a_path_of_one_machine_is_reported() {
        for directory in super::MACHINE_DIRECTORIES {
            reports("README.md", &format!("see /{directory}/x"), "one machine");
            accepts("README.md", &format!("see target/{directory}/x and ~/{directory}/y"));
        }
    }

    #[test]
    fn stray_space_is_reported() {
        reports("a.rs", "fn a() {} ", "2: trailing space");
        reports("etc/weir.toml", "a = 1\r", "1: trailing space");
        reports("a.rs", "fn a() {}\n", "one newline");
    }
}
