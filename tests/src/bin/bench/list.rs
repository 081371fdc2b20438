//! What is listed: samples of the Internet's prefixes, as each peer wants them, and addresses that they hold or do not. The
//! same size gives the same list.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;

use weir::prefix::{Address as _, Prefixes};
use weir_tests::frame::Xorshift;
use weir_tests::generator::Destination;
use weir_tests::internet::{self, Prefix};
use weir_tests::keys::{anywhere_v4, inside_v4};

/// The seed of every sample.
const SEED: u64 = 5;

/// A size as people write it.
pub(crate) fn label(size: usize, all: usize) -> String {
    match size {
        _ if size >= all => "all".into(),
        1_000_000.. => format!("{}M", size / 1_000_000),
        1_000.. => format!("{}k", size / 1_000),
        _ => size.to_string(),
    }
}

/// The whole table; read once.
pub(crate) fn table() -> &'static Prefixes {
    static TABLE: OnceLock<Prefixes> = OnceLock::new();
    TABLE.get_or_init(|| internet::parse().expect("set WEIR_DATA to a directory with asn/asn-ipv4.csv.gz and -ipv6"))
}

/// A list of IPv4 prefixes.
#[derive(Debug)]
pub(crate) struct List {
    /// The prefixes as they were drawn, one inside the other where the table has them so.
    pub(crate) prefixes: Vec<Prefix<u32>>,
    /// The same addresses without overlap: first and last of each range.
    pub(crate) ranges: Vec<(u32, u32)>,
    /// The same addresses as CIDR prefixes.
    pub(crate) cidrs: Vec<(u32, u8)>,
    pub(crate) label: String,
}

impl List {
    /// A random sample of the table.
    pub(crate) fn of_size(size: usize) -> Self {
        let all = internet::prefixes_v4(&table().v4);
        let label = label(size, all.len());
        Self::new(internet::sample(all, size, SEED), label)
    }

    /// `count` random addresses of the table, for who can list nothing else.
    pub(crate) fn of_addresses(count: usize) -> Self {
        let all = internet::prefixes_v4(&table().v4);
        let (mut random, label) = (Xorshift::new(SEED), label(count, all.len()));
        let one = |address| Prefix { first: address, last: address, length: 32, asn: all[0].asn };
        let mut prefixes = Vec::with_capacity(count);
        while prefixes.len() < count {
            let address = inside_v4(&mut random, &all);
            prefixes.extend(is_unicast(address).then(|| one(address)));
        }
        prefixes.sort_unstable();
        Self::new(prefixes, label)
    }

    fn new(prefixes: Vec<Prefix<u32>>, label: String) -> Self {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for prefix in &prefixes {
            match ranges.last_mut() {
                Some((_, last)) if prefix.first <= last.saturating_add(1) => *last = prefix.last.max(*last),
                _ => ranges.push((prefix.first, prefix.last)),
            }
        }
        let cidrs = ranges.iter().flat_map(|&(first, last)| u32::cidrs(first, last)).map(|net| match net.network() {
            IpAddr::V4(first) => (first.into(), net.prefix_len()),
            IpAddr::V6(first) => panic!("{first} among IPv4 ranges"),
        });
        Self { cidrs: cidrs.collect(), prefixes, ranges, label }
    }

    /// The same list for peers that are given each prefix as it is listed.
    pub(crate) fn unmerged(self) -> Self {
        let mut cidrs: Vec<(u32, u8)> = self.prefixes.iter().map(|prefix| (prefix.first, prefix.length)).collect();
        cidrs.dedup();
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for prefix in &self.prefixes {
            if ranges.last().is_none_or(|&(_, last)| prefix.first > last) {
                ranges.push((prefix.first, prefix.last));
            }
        }
        Self { ranges, cidrs, ..self }
    }

    /// The prefixes as a list file has them.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for prefix in &self.prefixes {
            writeln!(text, "{}/{}", Ipv4Addr::from(prefix.first), prefix.length).unwrap();
        }
        text
    }

    fn holds(&self, address: u32) -> bool {
        let after = self.ranges.partition_point(|&(first, _)| first <= address);
        after.checked_sub(1).is_some_and(|at| address <= self.ranges[at].1)
    }

    /// So many destinations, of which `share` of a hundred are listed; in random order.
    pub(crate) fn destinations(&self, count: usize, share: usize) -> Vec<Destination> {
        let mut random = Xorshift::new(SEED + 1);
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            // Exact for every count, and mixed: which of a hundred are listed is drawn by stepping through them.
            let listed = all.len() * 61 % 100 < share;
            let address = if listed { inside_v4(&mut random, &self.prefixes) } else { anywhere_v4(&mut random) };
            if is_unicast(address) && self.holds(address) == listed {
                all.push(Destination { address: address.into(), listed });
            }
        }
        for at in 1..count {
            all.swap(at, random.below(at + 1));
        }
        all
    }
}

/// Whether a router forwards to it, and weir has no reason of its own to pass it.
fn is_unicast(address: u32) -> bool {
    let address = Ipv4Addr::from(address);
    let [a, b, ..] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let benchmark = a == 198 && (18..20).contains(&b);
    let special =
        address.is_private() || address.is_loopback() || address.is_link_local() || address.is_documentation();
    (1..224).contains(&a) && !special && !shared && !benchmark
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(prefixes: &[(&str, u8)]) -> List {
        let prefixes = prefixes.iter().map(|&(first, length)| {
            let first: u32 = first.parse::<Ipv4Addr>().unwrap().into();
            Prefix { first, length, last: first | (u32::MAX >> length), asn: 1 }
        });
        List::new(prefixes.collect(), String::new())
    }

    #[test]
    fn overlapping_and_neighbouring_prefixes_become_one_range() {
        let list = list(&[("1.0.0.0", 8), ("1.2.0.0", 16), ("2.0.0.0", 9), ("3.0.0.0", 24)]);
        assert_eq!(list.ranges, [(0x0100_0000, 0x027f_ffff), (0x0300_0000, 0x0300_00ff)]);
        assert_eq!(list.cidrs, [(0x0100_0000, 8), (0x0200_0000, 9), (0x0300_0000, 24)]);
        assert_eq!(list.text(), "1.0.0.0/8\n1.2.0.0/16\n2.0.0.0/9\n3.0.0.0/24\n");
    }

    #[test]
    fn an_unmerged_list_keeps_each_prefix_and_its_ranges_leave_out_those_inside_of_others() {
        let list = list(&[("1.0.0.0", 8), ("1.2.0.0", 16), ("1.2.0.0", 16), ("2.0.0.0", 9)]).unmerged();
        assert_eq!(list.ranges, [(0x0100_0000, 0x01ff_ffff), (0x0200_0000, 0x027f_ffff)]);
        assert_eq!(list.cidrs, [(0x0100_0000, 8), (0x0102_0000, 16), (0x0200_0000, 9)]);
    }

    #[test]
    fn the_share_of_listed_destinations_is_exact_and_each_is_where_it_says() {
        let list = list(&[("8.0.0.0", 8), ("9.9.0.0", 16)]);
        for share in [0, 50, 100] {
            let destinations = list.destinations(2_000, share);
            assert_eq!(destinations.iter().filter(|to| to.listed).count(), 20 * share);
            for Destination { address, listed } in destinations {
                let [a, b, ..] = address.octets();
                assert_eq!(listed, a == 8 || (a, b) == (9, 9), "{address}");
            }
        }
    }

    #[test]
    fn sizes_are_written_as_people_write_them() {
        assert_eq!(
            [100, 1_000, 10_000, 100_000, 564_580].map(|size| label(size, 564_580)),
            ["100", "1k", "10k", "100k", "all"]
        );
    }
}
