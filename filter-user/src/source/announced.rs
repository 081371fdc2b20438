//! Routes as BGP announces them become the addresses that each AS originates, by longest match. Knows no format.
//!
//! A packet to an address goes to whoever announces the longest prefix around it (RFC 4271 section 9.1.2.1 leaves that to
//! forwarding, RFC 1812 section 5.2.4.3 demands it). So a more specific prefix of another AS is cut out of an aggregate:
//! the aggregate's AS does not get its packets. Where several ASes announce one prefix (MOAS), it belongs to each.

use ipnet::IpNet;

use super::Wanted;
use crate::prefix::{Address, Asn, Listed, Prefixes};
use std::collections::HashMap;

/// One route: 12 bytes (IPv4) or 32 (IPv6), for there are a million of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Route<A> {
    first: A,
    length: u8,
    asn: Asn,
}

/// The routes of one table, in any order, repeated or not.
#[derive(Clone, Debug, Default)]
pub struct Announced {
    v4: Vec<Route<u32>>,
    v6: Vec<Route<u128>>,
}

impl Announced {
    /// Adds a route; host bits are ignored.
    pub fn push(&mut self, net: IpNet, asn: Asn) {
        match net {
            IpNet::V4(net) => {
                self.v4.push(Route { first: net.network().into(), length: net.prefix_len(), asn });
            }
            IpNet::V6(net) => {
                self.v6.push(Route { first: net.network().into(), length: net.prefix_len(), asn });
            }
        }
    }

    /// The ranges that the wanted ASes originate, in address order; those of one AS neither overlap nor touch.
    #[must_use]
    pub fn origins(self, wanted: &Wanted) -> Prefixes {
        Prefixes { v4: origins(self.v4, wanted), v6: origins(self.v6, wanted) }
    }
}

fn origins<A: Address>(mut routes: Vec<Route<A>>, wanted: &Wanted) -> Vec<Listed<A>> {
    routes.sort_unstable();
    routes.dedup();
    let mut output = Output { ranges: Vec::new(), latest: HashMap::new() };
    // The prefixes around the place of the sweep, the longest last, each with those of its ASes that are wanted, which are
    // few: others would be passed over again for every prefix inside. And where the longest one's next free address is.
    let mut around: Vec<(A, Vec<Asn>)> = Vec::new();
    let mut at: Option<A> = None;
    for group in routes.chunk_by(|a, b| (a.first, a.length) == (b.first, b.length)) {
        let Some(&Route { first, length, .. }) = group.first() else { continue };
        while let Some((last, inner)) = around.pop_if(|(last, _)| *last < first) {
            at = output.push(at, last, &inner);
        }
        if let (Some((_, outer)), Some(before)) = (around.last(), first.previous()) {
            output.push(at, before, outer);
        }
        at = Some(first);
        let asns = group.iter().map(|route| route.asn).filter(|&asn| wanted.includes(asn)).collect();
        around.push((first.last_of(length), asns));
    }
    while let Some((last, inner)) = around.pop() {
        at = output.push(at, last, &inner);
    }
    output.ranges
}

struct Output<A> {
    ranges: Vec<Listed<A>>,
    /// Place of each AS's latest range, which the next one may continue.
    latest: HashMap<Asn, usize>,
}

impl<A: Address> Output<A> {
    /// Gives `at..=last` to each of `asns`; returns where the rest begins.
    fn push(&mut self, at: Option<A>, last: A, asns: &[Asn]) -> Option<A> {
        let Some(first) = at.filter(|&first| first <= last) else { return at };
        for &asn in asns {
            let latest = self.latest.get(&asn).and_then(|&place| self.ranges.get_mut(place));
            if let Some(range) = latest.filter(|range| range.last.next() == Some(first)) {
                range.last = last;
            } else {
                self.latest.insert(asn, self.ranges.len());
                self.ranges.push(Listed { first, last, asn });
            }
        }
        last.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::AddressSet;
    use proptest::prelude::*;

    fn announced(routes: &[(&str, Asn)]) -> Announced {
        let mut table = Announced::default();
        for &(net, asn) in routes {
            table.push(net.parse().unwrap(), asn);
        }
        table
    }

    fn shown(routes: &[(&str, Asn)], wanted: &[Asn]) -> Vec<String> {
        let Prefixes { v4, v6 } = announced(routes).origins(&Wanted::Only(wanted.iter().copied().collect()));
        let v4 = v4.iter().map(|range| format!("{}-{} AS{}", range.first.to_ip(), range.last.to_ip(), range.asn));
        let v6 = v6.iter().map(|range| format!("{}-{} AS{}", range.first.to_ip(), range.last.to_ip(), range.asn));
        v4.chain(v6).collect()
    }

    #[test]
    fn a_more_specific_prefix_of_another_as_is_cut_out() {
        let routes = [("10.0.0.0/8", 1), ("10.1.0.0/16", 2), ("10.1.2.0/24", 1), ("10.255.0.0/16", 3)];
        assert_eq!(
            shown(&routes, &[1]),
            ["10.0.0.0-10.0.255.255 AS1", "10.1.2.0-10.1.2.255 AS1", "10.2.0.0-10.254.255.255 AS1"]
        );
        assert_eq!(shown(&routes, &[2]), ["10.1.0.0-10.1.1.255 AS2", "10.1.3.0-10.1.255.255 AS2"]);
    }

    #[test]
    fn a_prefix_of_several_ases_belongs_to_each() {
        let routes = [("10.0.0.0/8", 1), ("10.0.0.0/8", 2), ("10.0.0.0/8", 2), ("2001:db8::/32", 2)];
        let all = ["10.0.0.0-10.255.255.255 AS1", "10.0.0.0-10.255.255.255 AS2"];
        assert_eq!(shown(&routes, &[1]), all[..1]);
        assert_eq!(shown(&routes, &[1, 2])[..2], all);
        assert_eq!(shown(&routes, &[2])[1], "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff AS2");
    }

    #[test]
    fn the_ends_of_a_family_and_prefixes_of_no_length_are_no_special_case() {
        let routes = [("0.0.0.0/0", 1), ("255.255.255.255/32", 2), ("0.0.0.0/32", 2), ("::/0", 1)];
        assert_eq!(shown(&routes, &[1])[0], "0.0.0.1-255.255.255.254 AS1");
        assert_eq!(shown(&routes, &[2]), ["0.0.0.0-0.0.0.0 AS2", "255.255.255.255-255.255.255.255 AS2"]);
        assert_eq!(shown(&routes, &[1])[1], "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff AS1");
    }

    #[test]
    fn touching_prefixes_of_one_as_become_one_range() {
        let routes = [("10.0.0.0/9", 1), ("10.128.0.0/9", 1), ("10.64.0.0/16", 1)];
        assert_eq!(shown(&routes, &[1]), ["10.0.0.0-10.255.255.255 AS1"]);
    }

    proptest! {
        /// The oracle asks every route for every address.
        #[test]
        fn an_address_belongs_to_the_ases_of_its_longest_prefix(
            routes in prop::collection::vec((0_u32..32, 24_u8..=32, 1_u32..4), 0..12),
        ) {
            let routes: Vec<(u32, u8, Asn)> = routes
                .into_iter()
                .map(|(low, length, asn)| (0x0a00_0000 | (low << 3), length, asn))
                .map(|(first, length, asn)| (first & (u32::MAX << (32 - u32::from(length))), length, asn))
                .collect();
            let mut table = Announced::default();
            for &(first, length, asn) in &routes {
                table.push(IpNet::new(first.to_ip(), length).unwrap(), asn);
            }
            let ranges = table.origins(&Wanted::All).v4;
            for asn in 1..4 {
                let own: AddressSet<u32> =
                    ranges.iter().filter(|range| range.asn == asn).map(|range| (range.first, range.last)).collect();
                prop_assert_eq!(own.ranges().len(), ranges.iter().filter(|range| range.asn == asn).count());
                for address in 0x0a00_0000..0x0a00_0120 {
                    let covers = |&&(first, length, _): &&(u32, u8, Asn)| first.last_of(length) >= address && first <= address;
                    let longest = routes.iter().filter(covers).map(|route| route.1).max();
                    let expected = routes.iter().filter(covers).any(|route| Some(route.1) == longest && route.2 == asn);
                    prop_assert_eq!(own.contains(address), expected);
                }
            }
        }
    }
}
