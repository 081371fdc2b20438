//! What any answer of any reader must be, whatever it was given. Knows no format.

use std::collections::BTreeSet;
use std::fmt::Display;

use weir::prefix::{Address, Asn, Listed, Prefixes};
use weir::source::{AsnTable, Parsed};

/// Bytes in an error's or a warning's line, at most.
const LONGEST_LINE: usize = 1000;

/// A message is one line that a terminal shows as it is.
pub(crate) fn line(message: impl Display) -> String {
    let line = message.to_string();
    assert!(!line.is_empty() && line.len() <= LONGEST_LINE, "{} bytes: {line:?}", line.len());
    assert!(!line.contains(char::is_control), "{line:?}");
    line
}

/// How many lines a text has; behind the last newline is one, too.
pub(crate) fn lines(text: &[u8]) -> usize {
    text.split(|&byte| byte == b'\n').count()
}

/// The line that a message names (`line 3: ...`), which `text` must have.
pub(crate) fn named_line(message: &str, text: &[u8]) -> u64 {
    let number = message.strip_prefix("line ").and_then(|rest| rest.split([':', ',']).next());
    let number: u64 = number.and_then(|number| number.parse().ok()).expect("a message names a line");
    let lines = lines(text) as u64;
    assert!((1..=lines).contains(&number), "line {number} of {lines}: {message}");
    number
}

fn ordered<A: Address>(ranges: &[Listed<A>]) {
    assert!(ranges.iter().all(|range| range.first <= range.last), "a range ends before it starts: {ranges:?}");
}

/// What a list says. Each range stands for two bytes of the source at least.
pub(crate) fn parsed(parsed: &Parsed, source: usize) {
    ordered(&parsed.prefixes.v4);
    ordered(&parsed.prefixes.v6);
    assert!(ranges(&parsed.prefixes) <= source, "{} ranges out of {source} bytes", ranges(&parsed.prefixes));
    for warning in &parsed.warnings {
        line(&warning.text);
    }
    if let Some(cut) = &parsed.cut {
        line(cut);
    }
}

/// What an ASN table says. `source` is how many bytes it has unpacked. A prefix that several ASes announce is cut for each of
/// them by the prefixes inside.
pub(crate) fn table(table: &AsnTable, source: usize) {
    parsed(&table.parsed, 2 * source * asns(&table.parsed.prefixes).len().max(1));
    assert!(table.rows as usize <= 2 * source, "{} rows out of {source} bytes", table.rows);
    assert!(!asns(&table.parsed.prefixes).contains(&0), "AS0 has no networks");
    assert!(!table.organisations.values().any(|name| name.contains(char::is_control)));
}

pub(crate) fn ranges(prefixes: &Prefixes) -> usize {
    prefixes.v4.len() + prefixes.v6.len()
}

pub(crate) fn asns(prefixes: &Prefixes) -> BTreeSet<Asn> {
    prefixes.asns()
}

/// Ranges of some ASes alone, sorted.
pub(crate) fn of_ases(prefixes: &Prefixes, wanted: &BTreeSet<Asn>) -> Prefixes {
    fn kept<A: Address>(ranges: &[Listed<A>], wanted: &BTreeSet<Asn>) -> Vec<Listed<A>> {
        let mut kept: Vec<_> = ranges.iter().filter(|range| wanted.contains(&range.asn)).copied().collect();
        kept.sort_unstable();
        kept
    }
    Prefixes { v4: kept(&prefixes.v4, wanted), v6: kept(&prefixes.v6, wanted) }
}

/// Every range is a prefix.
pub(crate) fn all_prefixes(prefixes: &Prefixes) {
    fn aligned<A: Address>(ranges: &[Listed<A>]) {
        for range in ranges {
            assert_eq!(A::cidrs(range.first, range.last).len(), 1, "no prefix: {range:?}");
        }
    }
    aligned(&prefixes.v4);
    aligned(&prefixes.v6);
}
