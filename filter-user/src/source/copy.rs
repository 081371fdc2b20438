//! The last good copy of a part of a source: what it listed, since when, and where it came from. Decides nothing about
//! what may replace it (`gate` does); opens no file.
//!
//! As text, so that an operator can read one on a router:
//!
//! ```text
//! weir copy 1
//! {"location":"https://...","fetched":1763942400,...}
//! name 13414 Twitter Inc.
//! warning line 7: ...
//! since 1763942400
//! 71.18.0.0-71.18.255.255 396986
//! sha256 9f86d0...
//! ```
//!
//! The rows behind a `since` line are listed since then (Unix seconds); the last line covers every byte before it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Content, Wanted};
use crate::prefix::{Address, AddressSet, Asn, Listed, Prefixes};

/// Where a copy came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The URL, file or server.
    pub location: String,
    /// When the source last answered, Unix seconds.
    pub fetched: i64,
    /// When its content last changed, Unix seconds.
    pub changed: i64,
    /// The validators that the server gave (RFC 9110 section 8.8).
    #[serde(default)]
    pub validators: Validators,
    /// Which ASes an ASN table was read for; nothing is known of others. `None` for a list.
    pub wanted: Option<WantedAsns>,
    /// Entries of the source, kept or not.
    pub rows: u64,
}

/// What a conditional request sends back (RFC 9110 section 13.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// `ETag`, quotes included.
    pub etag: Option<String>,
    /// `Last-Modified`, as sent.
    pub last_modified: Option<String>,
}

/// The ASes that a table is read for: by number, and by words of the organisation's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedAsns {
    /// AS numbers.
    pub asns: BTreeSet<Asn>,
    /// Names as a rule's `organisations` gives them.
    #[serde(default)]
    pub organisations: BTreeSet<String>,
}

impl WantedAsns {
    /// True when whatever was read for `self` answers for `other`, too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.asns.is_subset(&self.asns) && other.organisations.is_subset(&self.organisations)
    }
}

/// What was first seen at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// When, Unix seconds.
    pub since: i64,
    /// The ranges.
    pub prefixes: Prefixes,
}

/// The last good copy of one part of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// Where it came from.
    pub provenance: Provenance,
    /// Its ranges, by when they were first seen, oldest first.
    pub batches: Vec<Batch>,
    /// Names of the wanted ASes.
    pub organisations: BTreeMap<Asn, String>,
    /// What the source was accepted with.
    pub warnings: Vec<String>,
}

/// Why a stored copy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The text is not what was written.
    #[error("the stored copy is damaged (its checksum does not match); it is fetched again")]
    Checksum,
    /// Another version wrote it.
    #[error("the stored copy is of another version of weir; it is fetched again")]
    Version,
    /// A line breaks the format.
    #[error("the stored copy is damaged (line {0}); it is fetched again")]
    Line(usize),
}

impl Copy {
    /// What `content` lists, as the successor of `old`: a range keeps the time since when all of it has been listed.
    #[must_use]
    pub fn renew(old: Option<&Self>, content: Content, provenance: Provenance, now: i64) -> Self {
        let mut batches: BTreeMap<i64, Prefixes> = BTreeMap::new();
        let before = old.map(Ages::of).unwrap_or_default();
        for range in content.prefixes.v4 {
            batches.entry(before.v4.since(&range).unwrap_or(now)).or_default().v4.push(range);
        }
        for range in content.prefixes.v6 {
            batches.entry(before.v6.since(&range).unwrap_or(now)).or_default().v6.push(range);
        }
        let batches = batches
            .into_iter()
            .map(|(since, mut prefixes)| {
                prefixes.v4.sort_unstable();
                prefixes.v6.sort_unstable();
                Batch { since, prefixes }
            })
            .collect();
        let warnings = content.warnings.iter().map(ToString::to_string).collect();
        Self { provenance, batches, organisations: content.organisations, warnings }
    }

    /// A copy of something that was never fetched, such as a file that is always at hand.
    #[must_use]
    pub fn of(content: Content, location: &str, now: i64) -> Self {
        let rows = content.rows;
        let provenance =
            Provenance { location: location.into(), fetched: now, changed: now, rows, ..Provenance::default() };
        Self::renew(None, content, provenance, now)
    }

    /// The IPv4 ranges, each with the time since when it is listed.
    pub fn v4(&self) -> impl Iterator<Item = (i64, &Listed<u32>)> {
        self.batches.iter().flat_map(|batch| batch.prefixes.v4.iter().map(|range| (batch.since, range)))
    }

    /// The IPv6 ranges, each with the time since when it is listed.
    pub fn v6(&self) -> impl Iterator<Item = (i64, &Listed<u128>)> {
        self.batches.iter().flat_map(|batch| batch.prefixes.v6.iter().map(|range| (batch.since, range)))
    }

    /// How many ranges it holds.
    #[must_use]
    pub fn ranges(&self) -> usize {
        self.batches.iter().map(|batch| batch.prefixes.v4.len() + batch.prefixes.v6.len()).sum()
    }

    /// The addresses it lists, by family.
    #[must_use]
    pub fn addresses(&self) -> (AddressSet<u32>, AddressSet<u128>) {
        let v4 = self.v4().map(|(_, range)| (range.first, range.last)).collect();
        (v4, self.v6().map(|(_, range)| (range.first, range.last)).collect())
    }

    /// What it says of the ASes in `wanted`, whatever else it was read for.
    #[must_use]
    pub fn of_wanted(&self, wanted: &WantedAsns) -> Self {
        let wanted = Wanted::from(wanted);
        let name = |asn: Asn| self.organisations.get(&asn).map_or(&[][..], |name| name.as_bytes());
        let kept: BTreeSet<Asn> = self.asns().into_iter().filter(|&asn| wanted.takes(asn, name(asn))).collect();
        let mut copy = self.clone();
        for batch in &mut copy.batches {
            batch.prefixes.v4.retain(|range| kept.contains(&range.asn));
            batch.prefixes.v6.retain(|range| kept.contains(&range.asn));
        }
        copy
    }

    /// The ASes it has ranges of.
    #[must_use]
    pub fn asns(&self) -> BTreeSet<Asn> {
        self.v4().map(|(_, range)| range.asn).chain(self.v6().map(|(_, range)| range.asn)).collect()
    }

    /// True when both list the same, whatever they say of its age.
    #[must_use]
    pub fn lists_the_same(&self, other: &Self) -> bool {
        fn rows<'a, A: Address>(rows: impl Iterator<Item = (i64, &'a Listed<A>)>) -> Vec<Listed<A>> {
            let mut rows: Vec<Listed<A>> = rows.map(|(_, range)| *range).collect();
            rows.sort_unstable();
            rows.dedup();
            rows
        }
        self.organisations == other.organisations
            && rows(self.v4()) == rows(other.v4())
            && rows(self.v6()) == rows(other.v6())
    }

    /// The text of the copy.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::from(HEAD);
        // Writing to a string cannot fail, nor can these fields fail to be JSON.
        let _ = writeln!(text, "{}", serde_json::to_string(&self.provenance).unwrap_or_default());
        for (asn, name) in &self.organisations {
            let _ = writeln!(text, "name {asn} {}", one_line(name));
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "warning {}", one_line(warning));
        }
        for batch in &self.batches {
            let _ = writeln!(text, "since {}", batch.since);
            batch.prefixes.v4.iter().for_each(|range| write_range(&mut text, range));
            batch.prefixes.v6.iter().for_each(|range| write_range(&mut text, range));
        }
        let sum = checksum(text.as_bytes());
        let _ = writeln!(text, "sha256 {sum}");
        text
    }

    /// Reads what [`Copy::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, CopyError> {
        let text = std::str::from_utf8(bytes).map_err(|_| CopyError::Checksum)?;
        let (body, last) = text.trim_end_matches('\n').rsplit_once('\n').ok_or(CopyError::Checksum)?;
        let body = text.get(..=body.len()).ok_or(CopyError::Checksum)?;
        if last.strip_prefix("sha256 ") != Some(checksum(body.as_bytes()).as_str()) {
            return Err(CopyError::Checksum);
        }
        let body = body.strip_prefix(HEAD).ok_or(CopyError::Version)?;
        let mut lines = (2..).zip(body.lines());
        let provenance =
            lines.next().and_then(|(_, line)| serde_json::from_str(line).ok()).ok_or(CopyError::Line(2))?;
        let mut copy = Self { provenance, ..Self::default() };
        for (number, line) in lines {
            copy.read_line(line).ok_or(CopyError::Line(number))?;
        }
        Ok(copy)
    }

    fn read_line(&mut self, line: &str) -> Option<()> {
        // None is ever written, and names and warnings are shown on terminals.
        let (word, rest) = line.split_once(' ').filter(|_| !line.contains(char::is_control))?;
        match word {
            "name" => {
                let (asn, name) = rest.split_once(' ')?;
                self.organisations.insert(asn.parse().ok()?, name.into());
            }
            "warning" => self.warnings.push(rest.into()),
            "since" => self.batches.push(Batch { since: rest.parse().ok()?, prefixes: Prefixes::default() }),
            range => {
                let (first, last) = range.split_once('-')?;
                let (prefixes, asn) = (&mut self.batches.last_mut()?.prefixes, rest.parse().ok()?);
                match (first.parse().ok()?, last.parse().ok()?) {
                    (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
                        prefixes.v4.push(Listed { first: first.into(), last: last.into(), asn });
                    }
                    (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
                        prefixes.v6.push(Listed { first: first.into(), last: last.into(), asn });
                    }
                    _ => return None,
                }
            }
        }
        Some(())
    }
}

/// The format's name and version.
const HEAD: &str = "weir copy 1\n";

fn write_range<A: Address>(text: &mut String, range: &Listed<A>) {
    let _ = writeln!(text, "{}-{} {}", range.first.to_ip(), range.last.to_ip(), range.asn);
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// SHA-256 in hexadecimal.
#[must_use]
pub fn checksum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Since when an older copy lists each address, by AS.
#[derive(Default)]
struct Ages {
    v4: FamilyAges<u32>,
    v6: FamilyAges<u128>,
}

impl Ages {
    fn of(copy: &Copy) -> Self {
        Self { v4: FamilyAges::of(copy.v4()), v6: FamilyAges::of(copy.v6()) }
    }
}

struct FamilyAges<A> {
    /// Sorted by AS, then by address.
    ranges: Vec<(Asn, A, A, i64)>,
}

impl<A> Default for FamilyAges<A> {
    fn default() -> Self {
        Self { ranges: Vec::new() }
    }
}

impl<A: Address> FamilyAges<A> {
    fn of<'a>(ranges: impl Iterator<Item = (i64, &'a Listed<A>)>) -> Self {
        let mut ranges: Vec<_> = ranges.map(|(since, range)| (range.asn, range.first, range.last, since)).collect();
        ranges.sort_unstable();
        Self { ranges }
    }

    /// Since when all of `wanted` is listed; `None` where a part of it was not.
    fn since(&self, wanted: &Listed<A>) -> Option<i64> {
        // Ranges of one source may overlap, so one that begins earlier may reach further than its successors; a list
        // that holds such is rare, and a range behind it then counts as new.
        let from = self.ranges.partition_point(|&(asn, _, last, _)| (asn, last) < (wanted.asn, wanted.first));
        let mut next = wanted.first;
        let mut since = i64::MIN;
        for &(asn, first, last, age) in self.ranges.get(from..)? {
            if asn != wanted.asn || first > next {
                return None;
            }
            since = since.max(age);
            if last >= wanted.last {
                return Some(since);
            }
            next = last.next()?.max(next);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::read_list;
    use proptest::prelude::*;

    fn content(list: &str) -> Content {
        Content::from(read_list(list.as_bytes()).unwrap())
    }

    fn provenance() -> Provenance {
        Provenance { location: "https://lists.example/a".into(), ..Provenance::default() }
    }

    #[test]
    fn a_stored_copy_with_control_characters_in_a_name_or_a_warning_is_damaged() {
        for line in ["name 1 \u{1b}[2JExample", "warning \u{7}"] {
            let mut text = format!("{HEAD}{}\n{line}\n", serde_json::to_string(&provenance()).unwrap());
            let sum = checksum(text.as_bytes());
            let _ = writeln!(text, "sha256 {sum}");
            assert_eq!(Copy::decode(text.as_bytes()), Err(CopyError::Line(3)), "{line:?}");
        }
    }

    #[test]
    fn a_range_keeps_the_time_since_when_all_of_it_is_listed() {
        let first = Copy::renew(None, content("10.0.0.0/24\n10.0.1.0/24\n2001:db8::/32\n"), provenance(), 100);
        let second =
            Copy::renew(Some(&first), content("10.0.0.0/23\n10.0.0.0/22\n2001:db8:1::/48\n"), provenance(), 200);
        let shown: Vec<_> = second.v4().map(|(since, range)| (since, range.last - range.first + 1)).collect();
        assert_eq!(shown, [(100, 512), (200, 1024)]);
        assert_eq!(second.v6().map(|(since, _)| since).collect::<Vec<_>>(), [100]);
        let third = Copy::renew(Some(&second), content("10.0.3.0/24\n10.0.0.7\n"), provenance(), 300);
        assert_eq!(third.v4().map(|(since, _)| since).collect::<Vec<_>>(), [100, 200]);
    }

    #[test]
    fn what_was_read_for_more_answers_for_less() {
        let wanted = |asns: &[Asn], names: &[&str]| WantedAsns {
            asns: asns.iter().copied().collect(),
            organisations: names.iter().map(|&name| name.into()).collect(),
        };
        let had = wanted(&[1, 2], &["acme"]);
        assert!(had.covers(&had) && had.covers(&wanted(&[2], &[])) && had.covers(&wanted(&[], &["acme"])));
        assert!(!had.covers(&wanted(&[3], &[])) && !had.covers(&wanted(&[1], &["other"])));
    }

    #[test]
    fn a_stored_copy_is_read_back_whole() {
        let mut copy = Copy::renew(None, content("10.0.0.1-10.0.0.9\n192.0.2.1/24\n::1\n"), provenance(), 7);
        copy.organisations.insert(13414, "Twitter Inc.".into());
        copy.provenance.wanted = Some(WantedAsns { asns: [13414].into(), organisations: ["twitter".into()].into() });
        copy.provenance.validators.etag = Some("\"a\\\"b\"".into());
        assert_eq!(copy.warnings.len(), 1, "host bits");
        assert_eq!(Copy::decode(copy.encode().as_bytes()), Ok(copy));
    }

    #[test]
    fn a_copy_that_was_changed_in_any_byte_is_refused() {
        let text = Copy::renew(None, content("10.0.0.0/24\n"), provenance(), 7).encode();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            // The newline behind the checksum says nothing.
            assert!(Copy::decode(&bytes).is_err() || at + 1 == text.len(), "byte {at}");
            assert!(Copy::decode(&text.as_bytes()[..at]).is_err() || at + 1 == text.len(), "cut at {at}");
        }
        let other = text.replace("weir copy 1", "weir copy 2");
        let (body, _) = other.rsplit_once("sha256").unwrap();
        let other = format!("{body}sha256 {}\n", checksum(body.as_bytes()));
        assert_eq!(Copy::decode(other.as_bytes()), Err(CopyError::Version));
    }

    proptest! {
        #[test]
        fn the_age_of_a_range_is_that_of_its_youngest_address(
            old in prop::collection::vec((0_u32..50, 0_u32..10, 0_i64..4), 0..6),
            wanted in (0_u32..50, 0_u32..10),
        ) {
            // Disjoint ranges, as sources of origins give them.
            let mut at = 0;
            let ranges: Vec<_> = old.iter().map(|&(gap, length, since)| {
                let first = at + gap % 4;
                at = first + length + 1;
                (since, Listed { first, last: first + length, asn: 1 })
            }).collect();
            let ages = FamilyAges::of(ranges.iter().map(|(since, range)| (*since, range)));
            let wanted = Listed { first: wanted.0, last: wanted.0 + wanted.1, asn: 1 };
            let age = |address: u32| ranges.iter().find(|(_, range)| (range.first..=range.last).contains(&address)).map(|found| found.0);
            let expected = (wanted.first..=wanted.last).map(age).try_fold(i64::MIN, |oldest, age| Some(oldest.max(age?)));
            prop_assert_eq!(ages.since(&wanted), expected);
        }
    }
}
