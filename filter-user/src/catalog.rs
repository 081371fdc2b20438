//! Services by name, and an ASN table compiled in, so that "tiktok" works before any download. Decides nothing.
//!
//! A service lists only ASes that belong to the organisation alone. Networks that others rent, clouds and CDNs, are
//! services of their own, marked shared: blocking them blocks strangers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use serde::Serialize;

use crate::prefix::Asn;

mod names;
mod near;
mod parse;
mod raw;

pub use names::name_fits;
pub use raw::CatalogError;

/// Services, their categories, and the networks that others rent. Immutable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    categories: Vec<Category>,
    services: BTreeMap<String, Service>,
    /// Shared by entries of their own.
    shared: BTreeMap<Asn, SharedNetwork>,
    /// Shared as networks of shared services.
    rented: BTreeMap<Asn, SharedNetwork>,
    removed_services: BTreeSet<String>,
    removed_shared: BTreeSet<Asn>,
}

/// A group of services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Category {
    /// What a rule calls it.
    pub id: String,
    /// What people call it.
    pub name: String,
}

/// An app or site that people name, as the networks, lists and names that carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What a rule's `services` calls it: lower-case letters, digits, `-` and `_`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The id of the category it belongs to.
    pub category: String,
    /// Its networks, in ascending order of their ASNs. Empty for a service that lives on networks of others.
    pub networks: Vec<Network>,
    /// Ids of built-in list sources that name its addresses.
    pub lists: Vec<String>,
    /// Names that lead to it, in the order of the file.
    pub domains: Vec<Domain>,
    /// Where `domains` come from, with the licence.
    pub domains_source: String,
    /// The day its networks and names were last checked, ISO 8601.
    pub checked: String,
    /// Others rent its networks: a rule must say `allow_shared = true`.
    pub shared: bool,
    /// What a block by address does not reach, or reaches besides; may be empty.
    pub note: String,
}

/// An AS of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Network {
    /// The origin AS.
    pub asn: Asn,
    /// The organisation's name that a table is expected to give; see [`name_fits`].
    pub name: String,
    /// It announced nothing when it was checked: a table without it is in order.
    pub dormant: bool,
}

/// A network in which many live: blocking it blocks strangers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedNetwork {
    /// The origin AS.
    pub asn: Asn,
    /// The organisation's name that a table is expected to give.
    pub name: String,
    /// Who runs it, as people call it.
    pub operator: String,
}

/// A name that leads to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domain {
    /// This name and every name below it.
    Suffix(String),
    /// This name alone.
    Full(String),
}

impl fmt::Display for Domain {
    /// As the file writes it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suffix(name) => out.write_str(name),
            Self::Full(name) => write!(out, "full:{name}"),
        }
    }
}

static EMBEDDED: LazyLock<Arc<Catalog>> = LazyLock::new(|| {
    let text = include_bytes!("../assets/catalog.toml");
    // A test proves that it parses. An empty catalog refuses every name, which is better than a router that is down.
    Arc::new(parse::read(Path::new("catalog.toml"), text, &Catalog::default()).unwrap_or_default())
});

impl Catalog {
    /// The catalog compiled in.
    #[must_use]
    pub fn embedded() -> Arc<Self> {
        Arc::clone(&EMBEDDED)
    }

    /// Reads an operator's own entries, which may name categories of the embedded catalog. [`Catalog::with`] adds them.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self, CatalogError> {
        parse::read(file, bytes, &EMBEDDED)
    }

    /// This catalog with the entries of `overrides`: those of the same id (or AS) replaced whole, the removed ones gone.
    #[must_use]
    pub fn with(&self, overrides: &Self) -> Self {
        let mut merged = self.clone();
        for category in &overrides.categories {
            match merged.categories.iter_mut().find(|known| known.id == category.id) {
                Some(known) => known.clone_from(category),
                None => merged.categories.push(category.clone()),
            }
        }
        merged.services.retain(|id, _| !overrides.removed_services.contains(id));
        merged.services.extend(overrides.services.clone());
        merged.shared.retain(|asn, _| !overrides.removed_shared.contains(asn));
        merged.shared.extend(overrides.shared.clone());
        merged.rented = rented(&merged.services);
        merged
    }

    /// The categories, in the order of the file.
    #[must_use]
    pub fn categories(&self) -> &[Category] {
        &self.categories
    }

    /// The category with this id.
    #[must_use]
    pub fn category(&self, id: &str) -> Option<&Category> {
        self.categories.iter().find(|category| category.id == id)
    }

    /// All services, in the order of their ids.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// The service with this id.
    #[must_use]
    pub fn service(&self, id: &str) -> Option<&Service> {
        self.services.get(id)
    }

    /// The services of a category, in the order of their ids.
    pub fn services_of(&self, category: &str) -> impl Iterator<Item = &Service> {
        self.services.values().filter(move |service| service.category == category)
    }

    /// Who shares out the networks of this AS, if it is known to be shared: by an entry of its own, or as a network of a
    /// shared service. Whoever resolves a rule asks it for every AS, those of services included.
    #[must_use]
    pub fn shared(&self, asn: Asn) -> Option<&SharedNetwork> {
        self.shared.get(&asn).or_else(|| self.rented.get(&asn))
    }

    /// All shared networks.
    pub fn shared_networks(&self) -> impl Iterator<Item = &SharedNetwork> {
        let rented = self.rented.values().filter(|network| !self.shared.contains_key(&network.asn));
        self.shared.values().chain(rented)
    }
}

/// The networks of shared services.
fn rented(services: &BTreeMap<String, Service>) -> BTreeMap<Asn, SharedNetwork> {
    let of_service = |service: &'_ Service| {
        let Service { networks, name: operator, .. } = service.clone();
        networks
            .into_iter()
            .map(move |Network { asn, name, .. }| (asn, SharedNetwork { asn, name, operator: operator.clone() }))
    };
    services.values().filter(|service| service.shared).flat_map(of_service).collect()
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

/// The embedded ASN table, in the CSV layout that [`crate::source::asn_table`] reads. It covers the service `tiktok`.
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
    fn the_embedded_catalog_parses() {
        let text = include_bytes!("../assets/catalog.toml");
        let read = parse::read(Path::new("catalog.toml"), text, &Catalog::default()).unwrap();
        assert_eq!(read, *Catalog::embedded());
        assert!(read.services().count() >= 45);
    }

    #[test]
    fn every_category_has_a_service_and_every_service_a_category() {
        let catalog = Catalog::embedded();
        let ids: Vec<_> = catalog.categories().iter().map(|category| category.id.as_str()).collect();
        let expected = "social-media messenger streaming gaming ai shopping dating gambling privacy-vpn cdn cloud software \
                        threat";
        assert_eq!(ids.join(" "), expected);
        for id in ids {
            assert!(catalog.services_of(id).next().is_some(), "{id} is empty");
        }
        let grouped: usize =
            catalog.categories().iter().map(|category| catalog.services_of(&category.id).count()).sum();
        assert_eq!(grouped, catalog.services().count());
    }

    #[test]
    fn every_entry_can_be_trusted_and_explained() {
        for service in Catalog::embedded().services() {
            let Service { id, networks, domains, domains_source, note, checked, .. } = service;
            assert!(!note.is_empty(), "{id} does not say what a block by address leaves");
            assert_eq!(
                domains.is_empty(),
                domains_source.is_empty(),
                "{id}: domains without a source, or a source alone"
            );
            assert!(checked.as_str() >= "2026-11-22", "{id}");
            assert!(networks.is_sorted_by_key(|network| network.asn), "{id}");
        }
    }

    #[test]
    fn tiktok_is_three_networks_and_not_the_clouds_of_its_owner() {
        let catalog = Catalog::embedded();
        let tiktok = catalog.service("tiktok").unwrap();
        let networks: Vec<_> = tiktok.networks.iter().map(|network| (network.asn, network.name.as_str())).collect();
        assert_eq!(
            networks,
            [(11983, "Tiktok U.S. Data Security Inc."), (138_699, "TIKTOK PTE. LTD."), (396_986, "Bytedance Inc.")]
        );
        assert_eq!((tiktok.shared, tiktok.category.as_str()), (false, "social-media"));
        assert!(tiktok.networks.iter().all(|network| !network.dormant && catalog.shared(network.asn).is_none()));
        for (id, asn) in [("volcengine", 137_718), ("byteplus", 150_436)] {
            let cloud = catalog.service(id).unwrap();
            assert_eq!((cloud.shared, cloud.networks.len(), cloud.networks[0].asn), (true, 1, asn));
            assert_eq!(catalog.shared(asn).unwrap().operator, cloud.name);
        }
        let names: Vec<_> = tiktok.domains.iter().map(ToString::to_string).collect();
        assert!(names.contains(&"tiktok.com".into()) && names.contains(&"full:p16-tiktokcdn-com.akamaized.net".into()));
    }

    #[test]
    fn no_service_takes_a_shared_network_for_its_own() {
        let catalog = Catalog::embedded();
        for service in catalog.services().filter(|service| !service.shared) {
            for network in &service.networks {
                assert_eq!(catalog.shared(network.asn), None, "{}", service.id);
            }
        }
        // Clouds, CDNs and hosters that lists of services name most often by mistake.
        let shared = [
            16509, 14618, 8987, 15169, 396_982, 394_089, 19527, 8075, 8068, 8069, 13335, 209_242, 20940, 16625, 63949,
            36183, 35994, 32787, 21342, 34164, 54113, 15133, 31898, 16276, 24940, 14061, 212_238, 60068, 9009, 49544,
            37963, 45102, 134_963, 45090, 132_203, 55990, 136_907, 137_718, 150_436, 200_350,
        ];
        for asn in shared {
            assert!(catalog.shared(asn).is_some_and(|network| network.asn == asn), "AS{asn}");
        }
        assert_eq!(catalog.shared(64500), None);
    }

    #[test]
    fn an_operators_entries_replace_add_and_remove() {
        let text = r#"
            [[category]]
            id = "office"
            name = "Office"
            [[category]]
            id = "ai"
            name = "Machines that talk"
            [[service]]
            id = "tiktok"
            name = "TikTok here"
            category = "office"
            checked = "2026-12-01"
            asns = [{ asn = 64500, name = "Example" }]
            [[service]]
            id = "rented"
            name = "A rack"
            category = "cloud"
            checked = "2026-12-01"
            asns = [{ asn = 64501, name = "Rack Ltd" }]
            shared = true
            [[service]]
            id = "aws"
            remove = true
            [[shared]]
            asn = 9009
            remove = true
            [[shared]]
            asn = 49544
            name = "i3D"
            operator = "a game hoster"
            [[shared]]
            asn = 64502
            name = "Colo"
            operator = "a hall"
            "#;
        let base = Catalog::embedded();
        let own = Catalog::parse(Path::new("own.toml"), text.as_bytes()).unwrap();
        let merged = base.with(&own);
        assert_eq!(merged.categories().len(), base.categories().len() + 1);
        assert_eq!(merged.category("ai").unwrap().name, "Machines that talk");
        assert_eq!(merged.services().count(), base.services().count());
        let tiktok = merged.service("tiktok").unwrap();
        assert_eq!((tiktok.name.as_str(), tiktok.networks.len(), tiktok.domains.len()), ("TikTok here", 1, 0));
        assert_eq!(merged.services_of("office").count(), 1);
        assert_eq!((merged.service("aws"), merged.shared(16509), merged.shared(9009)), (None, None, None));
        assert_eq!(merged.shared(49544).unwrap().operator, "a game hoster");
        assert_eq!(merged.shared(64501).unwrap().operator, "A rack");
        assert_eq!(merged.shared(64502).unwrap().name, "Colo");
        assert_eq!(merged.shared(13335), base.shared(13335));
        assert_eq!(merged.with(&Catalog::default()), merged);
        assert_eq!(base.with(&Catalog::default()), *base);
    }

    #[test]
    fn the_table_holds_exactly_the_ases_of_tiktok() {
        let table = table();
        let prefixes = &table.parsed.prefixes;
        let listed: BTreeSet<_> =
            prefixes.v4.iter().map(|row| row.asn).chain(prefixes.v6.iter().map(|row| row.asn)).collect();
        let tiktok: BTreeSet<_> =
            Catalog::embedded().service("tiktok").unwrap().networks.iter().map(|network| network.asn).collect();
        assert_eq!(listed, tiktok);
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
