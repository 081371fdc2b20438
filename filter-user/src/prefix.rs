//! Address ranges and sets of them: what every list is reduced to. Pure arithmetic; knows no list format and no rule.
//!
//! Addresses are integers in host order (`u32` for IPv4, `u128` for IPv6), so one generic algorithm serves both
//! families. Ranges are inclusive at both ends: the last address of a family has no successor to be exclusive with.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Net, Ipv6Subnets};

/// An autonomous system number (RFC 6793): all 32 bits are value, none is a flag.
pub type Asn = u32;

/// An address of one family as an integer in host order.
pub trait Address: Copy + Ord + Debug + Into<u128> + 'static {
    /// The highest address of the family.
    const MAX: Self;

    /// The address after this one; `None` after the last.
    fn next(self) -> Option<Self>;

    /// The address before this one; `None` before the first.
    fn previous(self) -> Option<Self>;

    /// The same address in the type people read.
    fn to_ip(self) -> IpAddr;

    /// The last address of the prefix of `length` bits that starts here; a length above the family's is the family's.
    #[must_use]
    fn last_of(self, length: u8) -> Self;

    /// The fewest CIDR prefixes that cover `first..=last` exactly.
    fn cidrs(first: Self, last: Self) -> Vec<IpNet>;
}

impl Address for u32 {
    const MAX: Self = u32::MAX;

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn previous(self) -> Option<Self> {
        self.checked_sub(1)
    }

    fn to_ip(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(self))
    }

    fn last_of(self, length: u8) -> Self {
        self | u32::MAX.checked_shr(length.into()).unwrap_or(0)
    }

    fn cidrs(first: Self, last: Self) -> Vec<IpNet> {
        Ipv4Subnets::new(first.into(), last.into(), 0).map(IpNet::V4).collect()
    }
}

impl Address for u128 {
    const MAX: Self = u128::MAX;

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn previous(self) -> Option<Self> {
        self.checked_sub(1)
    }

    fn to_ip(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self))
    }

    fn last_of(self, length: u8) -> Self {
        self | u128::MAX.checked_shr(length.into()).unwrap_or(0)
    }

    fn cidrs(first: Self, last: Self) -> Vec<IpNet> {
        Ipv6Subnets::new(first.into(), last.into(), 0).map(IpNet::V6).collect()
    }
}

/// A range of addresses as a source lists it, both ends inclusive, with the AS that originates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed<A> {
    /// The first address.
    pub first: A,
    /// The last address; never below `first`.
    pub last: A,
    /// The origin AS the source gives, 0 (reserved by RFC 7607) where it names none.
    pub asn: Asn,
}

/// What one source lists, in the source's order: ranges may overlap, touch and repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    /// The IPv4 ranges.
    pub v4: Vec<Listed<u32>>,
    /// The IPv6 ranges.
    pub v6: Vec<Listed<u128>>,
}

impl Prefixes {
    /// Adds a CIDR prefix, its host bits ignored.
    pub fn push_net(&mut self, net: IpNet, asn: Asn) {
        match net {
            IpNet::V4(net) => self.push_v4(net, asn),
            IpNet::V6(net) => self.push_v6(net, asn),
        }
    }

    fn push_v4(&mut self, net: Ipv4Net, asn: Asn) {
        self.v4.push(Listed { first: net.network().into(), last: net.broadcast().into(), asn });
    }

    fn push_v6(&mut self, net: Ipv6Net, asn: Asn) {
        self.v6.push(Listed { first: net.network().into(), last: net.broadcast().into(), asn });
    }

    /// Appends everything `other` lists.
    pub fn append(&mut self, mut other: Self) {
        self.v4.append(&mut other.v4);
        self.v6.append(&mut other.v6);
    }

    /// True when nothing is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

/// A set of addresses of one family: sorted, disjoint ranges with a gap between any two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressSet<A> {
    ranges: Vec<(A, A)>,
}

impl<A> Default for AddressSet<A> {
    fn default() -> Self {
        Self { ranges: Vec::new() }
    }
}

impl<A: Address> FromIterator<(A, A)> for AddressSet<A> {
    /// The union of inclusive ranges given in any order.
    fn from_iter<I: IntoIterator<Item = (A, A)>>(ranges: I) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        if !ranges.is_sorted() {
            ranges.sort_unstable();
        }
        let mut merged: Vec<(A, A)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if end.next().is_none_or(|after| first <= after) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        merged.shrink_to_fit();
        Self { ranges: merged }
    }
}

impl<A: Address> AddressSet<A> {
    /// The ranges: sorted, disjoint, never touching.
    #[must_use]
    pub fn ranges(&self) -> &[(A, A)] {
        &self.ranges
    }

    /// The range that holds `address`.
    #[must_use]
    pub fn range_of(&self, address: A) -> Option<(A, A)> {
        let at = self.ranges.partition_point(|&(first, _)| first <= address).checked_sub(1)?;
        self.ranges.get(at).copied().filter(|&(_, last)| address <= last)
    }

    /// True when `address` is in the set.
    #[must_use]
    pub fn contains(&self, address: A) -> bool {
        self.range_of(address).is_some()
    }

    /// The addresses of this set that are not in `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut kept = Vec::with_capacity(self.ranges.len());
        let mut holes = other.ranges.iter().peekable();
        for &(mut first, last) in &self.ranges {
            while holes.next_if(|hole| hole.1 < first).is_some() {}
            let mut rest = holes.clone();
            let mut open = true;
            while let Some(&&(hole_first, hole_last)) = rest.peek().filter(|hole| hole.0 <= last) {
                if let Some(before) = hole_first.previous().filter(|&before| first <= before) {
                    kept.push((first, before));
                }
                let Some(after) = hole_last.next().filter(|&after| after <= last) else {
                    open = false;
                    break;
                };
                first = after;
                rest.next();
            }
            if open {
                kept.push((first, last));
            }
        }
        Self { ranges: kept }
    }

    /// The addresses that are in both sets.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        self.subtract(&self.subtract(other))
    }

    /// How many addresses the set holds; 2^128, which `u128` cannot hold, saturates.
    #[must_use]
    pub fn addresses(&self) -> u128 {
        self.ranges.iter().fold(0_u128, |sum, &(first, last)| {
            let span: u128 = last.into() - first.into();
            sum.saturating_add(span).saturating_add(1)
        })
    }

    /// The fewest CIDR prefixes that make up the set, in address order.
    pub fn cidrs(&self) -> impl Iterator<Item = IpNet> {
        self.ranges.iter().flat_map(|&(first, last)| A::cidrs(first, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(ranges: &[(u32, u32)]) -> AddressSet<u32> {
        ranges.iter().copied().collect()
    }

    #[test]
    fn touching_and_overlapping_ranges_become_one() {
        assert_eq!(set(&[(10, 20), (1, 9), (15, 30), (32, 33)]).ranges(), &[(1, 30), (32, 33)]);
        assert_eq!(set(&[(0, u32::MAX), (7, 7)]).ranges(), &[(0, u32::MAX)]);
    }

    #[test]
    fn the_whole_family_is_counted_without_overflow() {
        assert_eq!(set(&[(0, u32::MAX)]).addresses(), 1 << 32);
        let all: AddressSet<u128> = [(0, u128::MAX)].into_iter().collect();
        assert_eq!(all.addresses(), u128::MAX);
    }

    #[test]
    fn a_range_that_is_no_single_prefix_expands_to_the_fewest_cidrs() {
        let cidrs: Vec<_> = set(&[(0x0a00_0001, 0x0a00_0006)]).cidrs().map(|net| net.to_string()).collect();
        assert_eq!(cidrs, ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"]);
    }

    #[test]
    fn host_bits_of_a_pushed_prefix_are_ignored() {
        let mut prefixes = Prefixes::default();
        prefixes.push_net("192.0.2.77/24".parse().unwrap(), 0);
        assert_eq!(prefixes.v4, [Listed { first: 0xc000_0200, last: 0xc000_02ff, asn: 0 }]);
    }

    proptest! {
        #[test]
        fn set_operations_agree_with_membership(
            a in prop::collection::vec((0_u32..40, 0_u32..6), 0..8),
            b in prop::collection::vec((0_u32..40, 0_u32..6), 0..8),
        ) {
            let spans = |list: Vec<(u32, u32)>| -> AddressSet<u32> {
                list.into_iter().map(|(first, length)| (first, first + length)).collect()
            };
            let (a, b) = (spans(a), spans(b));
            let (without, both) = (a.subtract(&b), a.intersect(&b));
            for address in 0..60 {
                prop_assert_eq!(without.contains(address), a.contains(address) && !b.contains(address));
                prop_assert_eq!(both.contains(address), a.contains(address) && b.contains(address));
            }
            prop_assert!(without.ranges().windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
        }
    }
}
