//! The embedded catalog against a real ASN table: does every AS exist, and does it belong to whom the catalog says?
//! Changes and fetches nothing: the tables are in the directory named by `WEIR_DATA`, or in `shared/data` beside the
//! workspace; without them a test counts as skipped.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use weir::catalog::{Catalog, name_fits};
use weir::prefix::Asn;
use weir::source::{Wanted, read_asn_table};

/// The organisation of every AS that has prefixes, and the ASes that have. `None` once the test is noted as skipped.
fn organisations(test: &str) -> Option<BTreeMap<Asn, String>> {
    let root = std::env::var_os("WEIR_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")), PathBuf::from);
    let mut organisations = BTreeMap::new();
    for path in ["asn/asn-ipv4.csv.gz", "asn/asn-ipv6.csv.gz"].map(|path| root.join(path)) {
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Not eprintln!, which the harness shows for failed tests only; one write, so that lines stay whole.
                let line = format!("skipped: {test}: {} not found\n", path.display());
                std::io::stderr().write_all(line.as_bytes()).unwrap();
                return None;
            }
            Err(error) => panic!("{}: {error}", path.display()),
        };
        let table = read_asn_table(&bytes, &Wanted::All).unwrap();
        let prefixes = &table.parsed.prefixes;
        let listed: BTreeSet<Asn> =
            prefixes.v4.iter().map(|row| row.asn).chain(prefixes.v6.iter().map(|row| row.asn)).collect();
        for asn in listed {
            organisations.entry(asn).or_insert_with(|| table.organisations[&asn].clone());
        }
    }
    Some(organisations)
}

#[test]
fn every_network_has_prefixes_and_belongs_to_whom_the_catalog_says() {
    let Some(organisations) = organisations("every_network_has_prefixes_and_belongs_to_whom_the_catalog_says") else {
        return;
    };
    let catalog = Catalog::embedded();
    let mut networks = 0;
    for service in catalog.services() {
        for network in &service.networks {
            networks += 1;
            let what = format!("{}: AS{} {:?}", service.id, network.asn, network.name);
            match organisations.get(&network.asn) {
                None => assert!(network.dormant, "{what} has no prefixes"),
                Some(found) => {
                    assert!(!network.dormant, "{what} is no longer dormant");
                    assert!(name_fits(&network.name, found), "{what} is {found:?} in the table");
                    // As the file says: the names are those of this very table.
                    assert_eq!(network.name, *found, "{what}");
                }
            }
        }
    }
    assert!(networks >= 300, "{networks}");
}

#[test]
fn every_shared_network_is_that_of_its_operator() {
    let Some(organisations) = organisations("every_shared_network_is_that_of_its_operator") else { return };
    let catalog = Catalog::embedded();
    for network in catalog.shared_networks() {
        assert_eq!(organisations.get(&network.asn), Some(&network.name), "AS{}", network.asn);
        assert_eq!(catalog.shared(network.asn), Some(network));
    }
    let shared = catalog.shared_networks().count();
    assert!(shared >= 100, "{shared}");
    // 99 of 100 ASes are nobody's cloud.
    assert!(shared < organisations.len() / 100, "{shared} of {}", organisations.len());
}

#[test]
fn the_names_of_most_other_networks_do_not_fit() {
    let Some(organisations) = organisations("the_names_of_most_other_networks_do_not_fit") else { return };
    // A name that fits everything would prove nothing: each expected name may fit a few ASes beside its own.
    let catalog = Catalog::embedded();
    let expected: BTreeSet<&str> =
        catalog.services().flat_map(|service| &service.networks).map(|network| network.name.as_str()).collect();
    let mut worst = (0, "");
    for name in expected {
        let fitting = organisations.values().step_by(97).filter(|found| name_fits(name, found)).count();
        worst = worst.max((fitting, name));
    }
    // About 940 names are looked at for each.
    assert!(worst.0 <= 9, "{worst:?}");
}

#[test]
fn tiktok_is_exactly_its_three_networks() {
    let catalog = Catalog::embedded();
    let networks: Vec<_> = catalog.service("tiktok").unwrap().networks.iter().map(|network| network.asn).collect();
    assert_eq!(networks, [11983, 138_699, 396_986]);
    let Some(organisations) = organisations("tiktok_is_exactly_its_three_networks") else { return };
    let named = |word: &str| -> Vec<Asn> {
        let fits = |(_, name): &(&Asn, &String)| name.to_lowercase().contains(word);
        organisations.iter().filter(fits).map(|(asn, _)| *asn).collect()
    };
    // No other AS of the table is called so; ByteDance's public clouds are services of their own.
    assert_eq!([named("tiktok"), named("bytedance")].concat(), [11983, 138_699, 396_986]);
    for cloud in [named("byteplus"), named("volcano engine")].concat() {
        assert!(catalog.shared(cloud).is_some(), "AS{cloud}");
    }
}

#[test]
fn every_category_is_filled_and_there_are_enough_services() {
    let catalog = Catalog::embedded();
    assert_eq!(catalog.categories().len(), 13);
    for category in catalog.categories() {
        assert!(catalog.services_of(&category.id).next().is_some(), "{}", category.id);
    }
    assert!(catalog.services().count() >= 40);
    for service in catalog.services().filter(|service| !service.shared) {
        assert!(service.networks.iter().all(|network| catalog.shared(network.asn).is_none()), "{}", service.id);
    }
}
