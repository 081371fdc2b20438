//! List formats: each file turns the bytes of one format into prefixes. Pure: opens no file, fetches nothing.
//!
//! Formats are told apart by their content, never by a file name:
//!
//! | bytes                                   | as a list      | as an ASN table |
//! |-----------------------------------------|----------------|-----------------|
//! | MRT records, compressed or not          | refused        | `mrt`           |
//! | start with 1f 8b                        | `gzip`, then the rows below      ||
//! | start with `BZh`                        | `bzip`, then the rows below      ||
//! | a tar or zip archive                    | refused        | refused         |
//! | MaxMind metadata marker near the end    | refused        | `mmdb`          |
//! | anything else                           | `list`         | `asn_table`     |
//!
//! `irr` is no file: it speaks with a server that other sources are checked by.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::prefix::{Asn, Prefixes};

pub mod announced;
pub mod asn_table;
pub mod bzip;
pub mod gzip;
pub mod irr;
pub mod list;
pub mod mmdb;
pub mod mrt;

/// What a source's bytes say, and what the reader should know about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The prefixes, in the order of the source.
    pub prefixes: Prefixes,
    /// What was accepted but deserves a look, one line each.
    pub warnings: Vec<Warning>,
    /// How many entries the source says it has, where it does so (`FireHOL`'s header, Spamhaus DROP's last line). Whoever
    /// takes the source compares it with the entries there are.
    pub declared: Option<u64>,
    /// Why the source is known to end early, as the end of a sentence; `prefixes` holds what came before. `None` for a
    /// source that is whole as far as its format can tell.
    pub cut: Option<String>,
}

/// Something a source says that was accepted with a correction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The line in the source, from 1; 0 for a source without lines.
    pub line: u64,
    /// What was found and what was made of it.
    pub text: String,
}

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

/// What an ASN table says about the wanted ASes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsnTable {
    /// The wanted rows; each carries its origin AS.
    pub parsed: Parsed,
    /// The organisation of each wanted AS: the first name the table gives, control characters replaced by spaces.
    pub organisations: BTreeMap<Asn, String>,
    /// Rows that name an origin AS, wanted or not. A table with none is no table.
    pub rows: u64,
}

/// Where in a text source something is wrong; shown as `line 3: "10.0.0.0/33"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: u64,
    /// The offending text as it stands in the source.
    pub text: Vec<u8>,
}

impl Place {
    fn new(line: u64, text: &[u8]) -> Self {
        Self { line, text: text.to_vec() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, quoted(&self.text))
    }
}

/// Why a source cannot be used. The file name is not in here: whoever opened the file adds it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The compressed form is damaged or too large.
    #[error(transparent)]
    Gzip(#[from] gzip::GzipError),
    /// The same of the other compressed form.
    #[error(transparent)]
    Bzip(#[from] bzip::BzipError),
    /// An entry of a list cannot be read.
    #[error(transparent)]
    List(#[from] list::ListError),
    /// A row of a text ASN table cannot be read.
    #[error(transparent)]
    AsnTable(#[from] asn_table::AsnTableError),
    /// A `MaxMind` database cannot be read or holds no ASNs.
    #[error(transparent)]
    Mmdb(#[from] mmdb::MmdbError),
    /// A dump of BGP cannot be read or holds no routing table.
    #[error(transparent)]
    Mrt(#[from] mrt::MrtError),
    /// An archive stands where one file is expected.
    #[error("is a {0} archive; unpack it and name the file inside")]
    Archive(&'static str),
    /// A database stands where a list is expected.
    #[error("is a MaxMind database, not a list; name it under [asn] tables and its AS numbers in a rule")]
    DatabaseAsList,
    /// A dump stands where a list is expected.
    #[error("is an MRT dump, not a list; name it under [asn] tables and its AS numbers in a rule")]
    DumpAsList,
    /// An ASN table has nothing in it.
    #[error("no rows: the ASN table names no origin AS; download it again")]
    NoRows,
}

/// Reads a list of prefixes, addresses and ranges, compressed or not.
pub fn read_list(bytes: &[u8]) -> Result<Parsed, SourceError> {
    if mrt::is_mrt(bytes) {
        return Err(SourceError::DumpAsList);
    }
    let bytes = unpacked(bytes)?;
    if mmdb::is_mmdb(&bytes) {
        return Err(SourceError::DatabaseAsList);
    }
    Ok(list::parse(&bytes)?)
}

/// Reads the rows of the wanted ASes from an ASN table, compressed or not: text, `MaxMind` database or MRT dump.
///
/// A table that has rows but none of a wanted AS is no error: IPv4 and IPv6 often come in two tables.
pub fn read_asn_table(bytes: &[u8], wanted: &Wanted) -> Result<AsnTable, SourceError> {
    // Before unpacking: a dump is many times what may be unpacked at once.
    if mrt::is_mrt(bytes) {
        return Ok(mrt::parse(bytes, wanted)?);
    }
    let bytes = unpacked(bytes)?;
    let table = if mmdb::is_mmdb(&bytes) { mmdb::parse(&bytes, wanted)? } else { asn_table::parse(&bytes, wanted)? };
    if table.rows == 0 { Err(SourceError::NoRows) } else { Ok(table) }
}

/// The content of `bytes` without its compression; archives of several files are refused by name.
fn unpacked(bytes: &[u8]) -> Result<Cow<'_, [u8]>, SourceError> {
    let content = if gzip::is_gzip(bytes) {
        Cow::Owned(gzip::inflate(bytes, gzip::LIMIT)?)
    } else if bzip::is_bzip2(bytes) {
        Cow::Owned(bzip::inflate(bytes, gzip::LIMIT)?)
    } else {
        Cow::Borrowed(bytes)
    };
    // POSIX ustar: the magic at byte 257. Zip: the local file header's signature (APPNOTE 4.3.7).
    if content.get(257..262) == Some(b"ustar") {
        return Err(SourceError::Archive("tar"));
    }
    if content.starts_with(b"PK\x03\x04") {
        return Err(SourceError::Archive("zip"));
    }
    Ok(content)
}

/// `text` in quotes for an error line: at most 60 characters, nothing in it that a terminal would act on.
fn quoted(text: &[u8]) -> String {
    const SHOWN: usize = 60;
    if let Ok(text) = std::str::from_utf8(text) {
        let shown: String = text.chars().take(SHOWN).collect();
        let more = if shown.len() < text.len() { "..." } else { "" };
        format!("{:?}", shown + more)
    } else {
        let shown = text.get(..SHOWN).unwrap_or(text);
        let more = if shown.len() < text.len() { "..." } else { "" };
        format!("\"{}{more}\"", shown.escape_ascii())
    }
}

/// An organisation's name as a table gives it; feeds are not trusted to keep terminal escapes out of names.
fn organisation(name: &[u8]) -> String {
    String::from_utf8_lossy(name.trim_ascii()).replace(char::is_control, " ")
}

/// The text without the byte order mark that some editors put in front.
fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::Listed;

    #[test]
    fn a_table_without_an_origin_as_has_no_rows() {
        for text in ["", "# only a comment\n", "1.0.0.0\t1.0.0.255\t0\tNone\tNot routed\n"] {
            let error = read_asn_table(text.as_bytes(), &Wanted::All).unwrap_err();
            assert_eq!(error.to_string(), "no rows: the ASN table names no origin AS; download it again");
        }
    }

    #[test]
    fn a_table_without_a_wanted_as_is_accepted() {
        let table = read_asn_table(b"1.0.0.0,1.0.0.255,13335,Cloudflare\n", &Wanted::Only([1].into())).unwrap();
        assert_eq!((table.rows, table.parsed.prefixes.is_empty(), table.organisations.len()), (1, true, 0));
    }

    #[test]
    fn as0_is_never_wanted() {
        assert!(!Wanted::All.includes(0) && !Wanted::Only([0].into()).includes(0));
        assert!(Wanted::Only([7].into()).includes(7) && !Wanted::Only([7].into()).includes(8));
    }

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
    fn compressed_lists_are_read_like_plain_ones() {
        let parsed = read_list(&gzip::tests::compressed(b"192.0.2.0/24\n")).unwrap();
        assert_eq!(parsed.prefixes.v4, [Listed { first: 0xc000_0200, last: 0xc000_02ff, asn: 0 }]);
    }

    #[test]
    fn archives_are_refused_by_name() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        let error = read_asn_table(&gzip::tests::compressed(&tar), &Wanted::All).unwrap_err();
        assert_eq!(error.to_string(), "is a tar archive; unpack it and name the file inside");
        let error = read_list(b"PK\x03\x04rest").unwrap_err();
        assert_eq!(error.to_string(), "is a zip archive; unpack it and name the file inside");
    }

    #[test]
    fn errors_of_a_format_pass_through_unchanged() {
        let error = read_list(b"10.0.0.0/33").unwrap_err();
        assert!(error.to_string().starts_with("line 1: \"10.0.0.0/33\" "), "{error}");
    }

    #[test]
    fn offending_text_is_shortened_and_escaped() {
        assert_eq!(quoted(b"a\x1b[31m\"b"), r#""a\u{1b}[31m\"b""#);
        assert_eq!(quoted("é".repeat(61).as_bytes()), format!("\"{}...\"", "é".repeat(60)));
        assert_eq!(quoted(b"10.0.0.0\xff"), r#""10.0.0.0\xff""#);
        assert_eq!(quoted(&[0xff; 61]), format!("\"{}...\"", r"\xff".repeat(60)));
        assert_eq!(organisation(b" Evil \x1b]0;x\x07 Corp "), "Evil  ]0;x  Corp");
    }
}
