//! Services by name, and an ASN table compiled in, so that "tiktok" works before any download. Decides nothing.
//!
//! A service lists only ASes that belong to the organisation alone. Clouds that rent to others (AS137718, AS150436) are
//! no part of `tiktok`: blocking them blocks strangers.

use crate::prefix::Asn;

/// An app or site that people name, as the networks that carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// What a rule's `services` calls it: lower case, no spaces.
    pub id: &'static str,
    /// What people call it.
    pub name: &'static str,
    /// The id of the category it belongs to.
    pub category: &'static str,
    /// The origin ASes, in ascending order.
    pub asns: &'static [Asn],
    /// The day the ASes' owners were last checked, ISO 8601.
    pub checked: &'static str,
}

/// Where the embedded table comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The day it was gathered, ISO 8601.
    pub date: &'static str,
    /// Who published it.
    pub source: &'static str,
    /// The SPDX id of its licence.
    pub licence: &'static str,
}

const SERVICES: &[Service] = &[Service {
    id: "tiktok",
    name: "TikTok",
    category: "social-media",
    asns: &[11983, 138_699, 396_986],
    checked: "2026-11-22",
}];

/// All services, in the order of their ids.
#[must_use]
pub fn services() -> &'static [Service] {
    SERVICES
}

/// The service with this id.
#[must_use]
pub fn service(id: &str) -> Option<&'static Service> {
    SERVICES.iter().find(|service| service.id == id)
}

/// The embedded ASN table, in the CSV layout that [`crate::source::asn_table`] reads. It covers every service's ASes.
#[must_use]
pub fn embedded_table() -> &'static [u8] {
    include_bytes!("../assets/tiktok.csv")
}

/// The origin of [`embedded_table`].
#[must_use]
pub fn snapshot() -> Snapshot {
    Snapshot { date: "2026-11-22", source: "ipverse as-ip-blocks", licence: "CC0-1.0" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::{AddressSet, Listed};
    use crate::source::{AsnTable, Wanted, read_asn_table};
    use ipnet::{Ipv4Net, Ipv6Net};
    use std::collections::BTreeSet;

    fn table() -> AsnTable {
        read_asn_table(embedded_table(), &Wanted::All).unwrap()
    }

    fn v4(nets: &[&str]) -> AddressSet<u32> {
        let nets = nets.iter().map(|net| net.parse::<Ipv4Net>().unwrap());
        nets.map(|net| (net.network().into(), net.broadcast().into())).collect()
    }

    fn v6(nets: &[&str]) -> AddressSet<u128> {
        let nets = nets.iter().map(|net| net.parse::<Ipv6Net>().unwrap());
        nets.map(|net| (net.network().into(), net.broadcast().into())).collect()
    }

    fn of<A: crate::prefix::Address>(rows: &[Listed<A>], asn: Asn) -> AddressSet<A> {
        rows.iter().filter(|row| row.asn == asn).map(|row| (row.first, row.last)).collect()
    }

    #[test]
    fn ids_are_sorted_and_found() {
        assert!(services().is_sorted_by_key(|service| service.id));
        for service in services() {
            assert_eq!(super::service(service.id), Some(service));
            assert!(!service.asns.is_empty() && service.asns.is_sorted());
            assert!(service.id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
        }
        assert_eq!(service("TikTok"), None);
    }

    #[test]
    fn the_table_holds_exactly_the_services_ases() {
        let table = table();
        let prefixes = &table.parsed.prefixes;
        let listed: BTreeSet<_> =
            prefixes.v4.iter().map(|row| row.asn).chain(prefixes.v6.iter().map(|row| row.asn)).collect();
        let services: BTreeSet<_> = services().iter().flat_map(|service| service.asns).copied().collect();
        assert_eq!(listed, services);
        assert_eq!(listed, [11983, 138_699, 396_986].into());
        let names: Vec<_> = table.organisations.values().map(String::as_str).collect();
        assert_eq!(names, ["Tiktok U.S. Data Security Inc.", "TIKTOK PTE. LTD.", "Bytedance Inc."]);
        assert_eq!(table.parsed.warnings, []);
    }

    #[test]
    fn the_table_is_whole() {
        let prefixes = table().parsed.prefixes;
        // The publisher's own counts: addresses of IPv4, /48s of IPv6.
        for (asn, addresses, subnets) in [(138_699, 5_376, 6), (396_986, 63_744, 104), (11983, 9_216, 17)] {
            assert_eq!(of(&prefixes.v4, asn).addresses(), addresses, "AS{asn}");
            assert_eq!(of(&prefixes.v6, asn).addresses(), subnets << 80, "AS{asn}");
        }
        assert!(prefixes.v4.is_sorted() && prefixes.v6.is_sorted());
    }

    #[test]
    fn known_prefixes_are_in_their_as_and_neighbours_are_not() {
        let prefixes = table().parsed.prefixes;
        for (asn, inside) in [(138_699, "71.18.248.0/22"), (396_986, "130.44.214.0/23"), (11983, "71.18.8.0/24")] {
            assert_eq!(v4(&[inside]).subtract(&of(&prefixes.v4, asn)).ranges(), [], "{inside} in AS{asn}");
        }
        assert_eq!(v6(&["2404:9dc0:cd04::/46"]).subtract(&of(&prefixes.v6, 138_699)).ranges(), []);
        assert_eq!(v6(&["2605:340::/47"]).subtract(&of(&prefixes.v6, 396_986)).ranges(), []);
        assert_eq!(of(&prefixes.v4, 138_699).intersect(&v4(&["71.18.254.0/24", "103.136.222.0/24"])).ranges(), []);
    }

    #[test]
    fn every_range_lies_in_the_organisations_blocks() {
        let prefixes = table().parsed.prefixes;
        let all_v4: AddressSet<u32> = prefixes.v4.iter().map(|row| (row.first, row.last)).collect();
        let all_v6: AddressSet<u128> = prefixes.v6.iter().map(|row| (row.first, row.last)).collect();
        let blocks_v4 = v4(&[
            "71.18.0.0/16",
            "101.45.0.0/16",
            "103.136.220.0/22",
            "130.44.212.0/22",
            "139.177.224.0/19",
            "147.160.176.0/20",
            "180.240.234.0/23",
            "192.64.14.0/23",
            "199.103.24.0/23",
            "202.52.240.0/21",
        ]);
        let blocks_v6 = v6(&[
            "2001:fb0:1056::/48",
            "2404:8d04:2643::/48",
            "2404:8d04:4642::/48",
            "2404:9dc0::/32",
            "2605:340::/32",
        ]);
        assert_eq!(all_v4.subtract(&blocks_v4).ranges(), []);
        assert_eq!(all_v6.subtract(&blocks_v6).ranges(), []);
    }

    #[test]
    fn no_range_is_private_or_reserved() {
        let prefixes = table().parsed.prefixes;
        let all_v4: AddressSet<u32> = prefixes.v4.iter().map(|row| (row.first, row.last)).collect();
        let all_v6: AddressSet<u128> = prefixes.v6.iter().map(|row| (row.first, row.last)).collect();
        // RFC 6890's registry, multicast and the rest of 224.0.0.0/3.
        let bogons = v4(&[
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ]);
        assert_eq!(all_v4.intersect(&bogons).ranges(), []);
        // Only 2000::/3 is assigned for global unicast; inside it, documentation, 6to4 and 2001::/23 (IETF) are not.
        assert_eq!(all_v6.subtract(&v6(&["2000::/3"])).ranges(), []);
        let bogons = v6(&["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"]);
        assert_eq!(all_v6.intersect(&bogons).ranges(), []);
    }

    #[test]
    fn the_file_names_its_source_date_and_licence() {
        let text = std::str::from_utf8(embedded_table()).unwrap();
        let head: Vec<_> = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert!(head.iter().any(|line| line.contains(snapshot().source)));
        assert!(head.iter().any(|line| line.starts_with(&format!("# date: {} ", snapshot().date))));
        assert!(head.iter().any(|line| line.contains("CC0 1.0")) && snapshot().licence == "CC0-1.0");
    }
}
