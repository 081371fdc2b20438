//! Which ASes an ASN table is read for: by number, and by the organisation's name. Knows no format.

use std::collections::BTreeSet;

use super::copy::WantedAsns;
use crate::prefix::Asn;

/// The origin ASes whose rows an ASN table is read for: a whole table is 500,000 rows, a service needs a hundred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Every AS but AS0, which means "not routed" (RFC 7607).
    All,
    /// These only. Rows of other ASes are counted once their ASN is read; their addresses are not looked at.
    Only(BTreeSet<Asn>),
    /// These, and those whose organisation a table names by one of the patterns.
    Named(BTreeSet<Asn>, Vec<NamePattern>),
}

impl Wanted {
    /// True when rows of `asn` are to be kept, whatever name they give.
    #[must_use]
    pub fn includes(&self, asn: Asn) -> bool {
        asn != 0
            && match self {
                Self::All => true,
                Self::Only(asns) | Self::Named(asns, _) => asns.contains(&asn),
            }
    }

    /// True when rows of `asn` that give `name` as the organisation are to be kept. For formats that give names.
    #[must_use]
    pub fn takes(&self, asn: Asn, name: &[u8]) -> bool {
        self.includes(asn)
            || asn != 0
                && matches!(self, Self::Named(_, patterns) if patterns.iter().any(|pattern| pattern.matches(name)))
    }
}

/// A part of an organisation's name: one or more whole words, as `organisations` of a rule gives them.
///
/// Words are runs of letters and digits; case does not matter. `meta` matches `Meta Platforms, Inc.`, not `Metallurg`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamePattern {
    words: Vec<String>,
}

impl NamePattern {
    /// The pattern; `None` where `text` holds no letter and no digit.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let words: Vec<String> = words(text).map(str::to_lowercase).collect();
        if words.is_empty() { None } else { Some(Self { words }) }
    }

    /// True when the words stand in `name` one after the other. A name that is no UTF-8 is read as far as it is.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        // Whole tables are searched: most names are told apart by one word, without any allocation.
        let Ok(name) = std::str::from_utf8(name) else {
            return self.matches(String::from_utf8_lossy(name).as_bytes());
        };
        let mut rest = words(name);
        loop {
            let mut here = rest.clone();
            if self.words.iter().all(|word| here.next().is_some_and(|part| same_word(part, word))) {
                return true;
            }
            if rest.next().is_none() {
                return false;
            }
        }
    }
}

/// The words of a text, in its case.
#[derive(Clone)]
struct Words<'a>(std::str::Split<'a, fn(char) -> bool>);

fn words(text: &str) -> Words<'_> {
    Words(text.split((|c: char| !c.is_alphanumeric()) as fn(char) -> bool))
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.0.find(|part| !part.is_empty())
    }
}

/// Whether `part` in lower case is `lower`.
fn same_word(part: &str, lower: &str) -> bool {
    if part.is_ascii() { part.eq_ignore_ascii_case(lower) } else { part.to_lowercase() == lower }
}

impl From<&WantedAsns> for Wanted {
    fn from(wanted: &WantedAsns) -> Self {
        let patterns: Vec<_> = wanted.organisations.iter().filter_map(|name| NamePattern::new(name)).collect();
        if patterns.is_empty() { Self::Only(wanted.asns.clone()) } else { Self::Named(wanted.asns.clone(), patterns) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_pattern_matches_whole_words_in_any_case() {
        let matches = |pattern: &str, name: &str| NamePattern::new(pattern).unwrap().matches(name.as_bytes());
        assert!(matches("meta", "Meta Platforms, Inc.") && matches("META platforms", "The Meta-Platforms Inc"));
        assert!(matches("tiktok", "TIKTOK PTE. LTD.") && matches("électricité", "ÉLECTRICITÉ de France"));
        assert!(!matches("meta", "Metallurg") && !matches("meta inc", "Meta Platforms, Inc.") && !matches("a", ""));
        assert!(NamePattern::new("tiktok").unwrap().matches(b"\xff TikTok"));
        assert_eq!(NamePattern::new(" .-"), None);
        let wanted = Wanted::Named([7].into(), vec![NamePattern::new("bytedance").unwrap()]);
        assert!(wanted.takes(7, b"") && wanted.takes(9, b"Bytedance Inc.") && !wanted.takes(0, b"Bytedance"));
        assert!(!wanted.takes(9, b"Other") && !wanted.includes(9));
    }

    #[test]
    fn as0_is_never_wanted() {
        assert!(!Wanted::All.includes(0) && !Wanted::Only([0].into()).includes(0));
        assert!(Wanted::Only([7].into()).includes(7) && !Wanted::Only([7].into()).includes(8));
    }
}
