//! Decides whether what a source says now may replace its last good copy: a feed that went empty, short or wild must not
//! unblock what was blocked, nor block what nobody meant. Judges figures only; knows no rule.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;

use super::copy::Copy;
use super::{Content, Need};
use crate::prefix::{Address, AddressSet, Asn, Listed};

/// What a new copy of a source must keep to, or the last good one stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of the addresses listed before, the most that may be gone, in percent.
    pub shrink: u32,
    /// The most addresses that may come new, in percent of those listed before.
    pub grow: u32,
    /// An empty list is a valid one.
    pub may_be_empty: bool,
    /// Prefixes shorter than /8 (IPv4) or /19 (IPv6) are valid.
    pub allow_wide: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { shrink: 30, grow: 30, may_be_empty: false, allow_wide: false }
    }
}

/// The shortest prefixes that a list may hold without `allow_wide`.
pub const WIDEST_V4: u8 = 8;
/// The same for IPv6: no registry gives an organisation more.
pub const WIDEST_V6: u8 = 19;

/// Why a source's content does not replace the copy there is. The source's name is not in here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing is listed.
    #[error("it lists nothing (set may_be_empty = true where that is right)")]
    Empty,
    /// The end is missing.
    #[error("it is cut: {0}")]
    Cut(String),
    /// The source's own count disagrees.
    #[error("it says it has {declared} entries and has {counted}")]
    Count {
        /// What it says.
        declared: u64,
        /// What there are.
        counted: u64,
    },
    /// Too much is gone.
    #[error("{gone} of the {family} addresses that it listed are gone (limit: shrink = {limit})")]
    Shrunk {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// How much is gone.
        gone: Percent,
        /// The limit in percent.
        limit: u32,
    },
    /// Too much is new.
    #[error("it lists {new} more {family} addresses than before (limit: grow = {limit})")]
    Grown {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// How much is new.
        new: Percent,
        /// The limit in percent.
        limit: u32,
    },
    /// ASes it had prefixes of have none.
    #[error("it lists nothing any more for {}", asn_list(.0))]
    Vanished(BTreeSet<Asn>),
    /// A large part of the Internet is listed.
    #[error("it lists {prefix}, shorter than /{limit} (set allow_wide = true where that is right)")]
    Wide {
        /// The prefix.
        prefix: IpNet,
        /// The shortest length accepted.
        limit: u8,
    },
}

/// A share, shown as a whole percentage that never hides a change behind 0 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent(f64);

impl Eq for Percent {}

impl fmt::Display for Percent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 10.0 { write!(out, "{:.1} %", self.0) } else { write!(out, "{:.0} %", self.0) }
    }
}

/// `AS1, AS2`.
pub fn asn_list<'a>(asns: impl IntoIterator<Item = &'a Asn>) -> String {
    asns.into_iter().map(|asn| format!("AS{asn}")).collect::<Vec<_>>().join(", ")
}

/// Judges `new`, which was read for `need`, as the successor of `old`. `old` is `None` for the first copy, and where its
/// changes were waived by the operator.
pub fn admit(old: Option<&Copy>, new: &Content, need: &Need, limits: &Limits) -> Result<(), Refusal> {
    if let Some(why) = &new.cut {
        return Err(Refusal::Cut(why.clone()));
    }
    let entries = new.rows;
    if let Some(declared) = new.declared.filter(|&declared| declared != entries) {
        return Err(Refusal::Count { declared, counted: entries });
    }
    if new.prefixes.is_empty() && !limits.may_be_empty {
        return Err(Refusal::Empty);
    }
    if !limits.allow_wide {
        too_wide(&new.prefixes)?;
    }
    let Some(old) = old else { return Ok(()) };
    // Of RPKI payloads, some AS's last one is gone every day; lists name no AS.
    let (old_v4, old_v6) = if let Need::Origins(wanted) = need {
        let old = old.of_wanted(wanted);
        let new_asns: BTreeSet<Asn> = new.prefixes.asns();
        let vanished: BTreeSet<Asn> = old.asns().difference(&new_asns).copied().collect();
        if !vanished.is_empty() {
            return Err(Refusal::Vanished(vanished));
        }
        old.addresses()
    } else {
        old.addresses()
    };
    change("IPv4", &old_v4, &ranges(&new.prefixes.v4), limits)?;
    change("IPv6", &old_v6, &ranges(&new.prefixes.v6), limits)
}

fn ranges<A: Address>(listed: &[Listed<A>]) -> AddressSet<A> {
    listed.iter().map(|range| (range.first, range.last)).collect()
}

fn change<A: Address>(
    family: &'static str,
    old: &AddressSet<A>,
    new: &AddressSet<A>,
    limits: &Limits,
) -> Result<(), Refusal> {
    let before = old.addresses() as f64;
    if before == 0.0 {
        return Ok(());
    }
    let percent = |set: &AddressSet<A>| set.addresses() as f64 * 100.0 / before;
    let (gone, fresh) = (percent(&old.subtract(new)), percent(&new.subtract(old)));
    if gone > f64::from(limits.shrink) {
        return Err(Refusal::Shrunk { family, gone: Percent(gone), limit: limits.shrink });
    }
    if fresh > f64::from(limits.grow) {
        return Err(Refusal::Grown { family, new: Percent(fresh), limit: limits.grow });
    }
    Ok(())
}

/// Refuses prefixes that hold a large part of the Internet.
pub fn too_wide(prefixes: &crate::prefix::Prefixes) -> Result<(), Refusal> {
    let wide = |prefix: Option<IpNet>, limit| prefix.map_or(Ok(()), |prefix| Err(Refusal::Wide { prefix, limit }));
    wide(first_shorter(&prefixes.v4, WIDEST_V4, u128::from(u32::MAX >> WIDEST_V4)), WIDEST_V4)?;
    wide(first_shorter(&prefixes.v6, WIDEST_V6, u128::MAX >> WIDEST_V6), WIDEST_V6)
}

/// The first prefix in `ranges` shorter than `limit`. A range that spans no more than `span` cannot hold one.
fn first_shorter<A: Address>(ranges: &[Listed<A>], limit: u8, span: u128) -> Option<IpNet> {
    ranges
        .iter()
        .filter(|range| range.last.into() - range.first.into() > span)
        .flat_map(|range| A::cidrs(range.first, range.last))
        .find(|prefix| prefix.prefix_len() < limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::copy::{Provenance, WantedAsns};
    use crate::source::{read, read_list};

    fn list(text: &str) -> Content {
        Content::from(read_list(text.as_bytes()).unwrap())
    }

    fn both() -> Need {
        Need::Origins(WantedAsns { asns: [1, 2].into(), organisations: BTreeSet::new() })
    }

    fn origins(text: &str) -> Content {
        read(text.as_bytes(), &both()).unwrap()
    }

    fn copy(content: Content) -> Copy {
        Copy::renew(None, content, Provenance::default(), 0)
    }

    fn refusal(old: Option<Content>, new: &Content) -> String {
        refusal_for(&Need::List, old, new)
    }

    fn refusal_for(need: &Need, old: Option<Content>, new: &Content) -> String {
        admit(old.map(copy).as_ref(), new, need, &Limits::default())
            .map_or_else(|refusal| refusal.to_string(), |()| "ok".into())
    }

    #[test]
    fn an_empty_list_is_refused_unless_it_may_be_empty() {
        assert_eq!(
            refusal(None, &list("# nothing\n")),
            "it lists nothing (set may_be_empty = true where that is right)"
        );
        let limits = Limits { may_be_empty: true, shrink: 100, ..Limits::default() };
        assert_eq!(admit(None, &list(""), &Need::List, &limits), Ok(()));
        assert_eq!(
            admit(Some(&copy(list(""))), &list("192.0.2.0/24"), &Need::List, &limits),
            Ok(()),
            "nothing to grow from"
        );
    }

    #[test]
    fn what_is_gone_counts_even_where_as_much_is_new() {
        let old = || Some(list("10.0.0.0/24\n10.1.0.0/24\n10.2.0.0/24"));
        assert_eq!(refusal(old(), &list("10.0.0.0/24\n10.1.0.0/24\n10.2.0.0/24\n10.3.0.0/26")), "ok");
        assert_eq!(
            refusal(old(), &list("10.0.0.0/24\n10.1.0.0/24\n10.9.0.0/24")),
            "33 % of the IPv4 addresses that it listed are gone (limit: shrink = 30)"
        );
        assert_eq!(
            refusal(old(), &list("10.0.0.0/24\n10.1.0.0/24\n10.2.0.0/24\n10.3.0.0/24")),
            "it lists 33 % more IPv4 addresses than before (limit: grow = 30)"
        );
        assert_eq!(
            refusal(Some(list("10.0.0.0/24\n2001:db8::/32")), &list("10.0.0.0/24")),
            "100 % of the IPv6 addresses that it listed are gone (limit: shrink = 30)"
        );
    }

    #[test]
    fn an_as_that_is_gone_is_refused_by_its_number() {
        let old = || Some(origins("10.0.0.0,10.255.255.255,1,A\n11.0.0.0,11.0.0.255,2,B\n"));
        let refusal = |new: &str| refusal_for(&both(), old(), &origins(new));
        assert_eq!(refusal("10.0.0.0,10.255.255.255,1,A\n"), "it lists nothing any more for AS2");
        assert_eq!(refusal("10.0.0.0,10.255.255.255,1,A\n11.0.0.0,11.0.0.199,2,B\n"), "ok");
    }

    #[test]
    fn an_as_that_nobody_wants_any_more_is_not_missed() {
        let old = Some(origins("10.0.0.0,10.0.0.255,1,A\n11.0.0.0,11.255.255.255,2,B\n"));
        let one = Need::Origins(WantedAsns { asns: [1].into(), organisations: BTreeSet::new() });
        let new = read(b"10.0.0.0,10.0.0.255,1,A\n11.0.0.0,11.255.255.255,2,B\n", &one).unwrap();
        assert_eq!(refusal_for(&one, old, &new), "ok");
    }

    #[test]
    fn an_as_of_a_wanted_organisation_is_missed() {
        let named = Need::Origins(WantedAsns { asns: [1].into(), organisations: ["acme".into()].into() });
        let read = |text: &str| read(text.as_bytes(), &named).unwrap();
        let old = Some(read("10.0.0.0,10.255.255.255,1,A\n11.0.0.0,11.0.0.255,2,Acme Inc.\n"));
        let new = read("10.0.0.0,10.255.255.255,1,A\n");
        assert_eq!(refusal_for(&named, old, &new), "it lists nothing any more for AS2");
    }

    #[test]
    fn an_as_without_rpki_payloads_is_nothing_new() {
        let payloads = |text: &str| read(text.as_bytes(), &Need::Payloads).unwrap();
        let old = payloads(
            r#"{"roas":[{"asn":1,"prefix":"10.0.0.0/16","maxLength":16},{"asn":2,"prefix":"11.0.0.0/24","maxLength":24}]}"#,
        );
        let new = payloads(r#"{"roas":[{"asn":1,"prefix":"10.0.0.0/16","maxLength":16}]}"#);
        assert_eq!(refusal_for(&Need::Payloads, Some(old), &new), "ok");
    }

    #[test]
    fn the_sources_own_count_and_its_end_are_heeded() {
        let new = Content { declared: Some(3), ..list("10.0.0.0/24\n10.1.0.0/24") };
        assert_eq!(refusal(None, &new), "it says it has 3 entries and has 2");
        let new = Content { cut: Some("the last line is missing".into()), ..list("10.0.0.0/24") };
        assert_eq!(refusal(None, &new), "it is cut: the last line is missing");
    }

    #[test]
    fn a_large_part_of_the_internet_is_refused() {
        assert_eq!(
            refusal(None, &list("10.0.0.0/8\n12.0.0.0/7")),
            "it lists 12.0.0.0/7, shorter than /8 (set allow_wide = true where that is right)"
        );
        assert_eq!(
            refusal(None, &list("2001::/18")),
            "it lists 2001::/18, shorter than /19 (set allow_wide = true where that is right)"
        );
        let limits = Limits { allow_wide: true, ..Limits::default() };
        assert_eq!(admit(None, &list("0.0.0.0/0"), &Need::List, &limits), Ok(()));
    }
}
