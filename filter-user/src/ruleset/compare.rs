//! Where sources disagree: for each AS and source, what it lists and no other does. Changes no ruleset.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::Serialize;

use super::origins::Origins;
use super::parts::{Copies, wanted};
use crate::config::Config;
use crate::prefix::{AddressSet, Asn};

/// What one source lists for one AS, beside the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The AS.
    pub asn: Asn,
    /// The table or source.
    pub source: String,
    /// IPv4 addresses that it lists.
    pub ipv4_addresses: u128,
    /// IPv4 addresses that it alone lists.
    pub ipv4_alone: u128,
    /// The fewest IPv6 prefixes that it lists.
    pub ipv6_prefixes: usize,
    /// The fewest IPv6 prefixes that make up what it alone lists.
    pub ipv6_alone: usize,
    /// The largest prefix that it alone lists.
    pub largest_alone: Option<IpNet>,
}

/// Compares all sources for every AS that a rule names; an AS that has one source only is left out.
#[must_use]
pub fn compare(config: &Config, copies: &Copies) -> Vec<Comparison> {
    let asns: BTreeSet<Asn> = wanted(config).asns;
    // Each source by itself, before quorum and RPKI take anything away.
    let mut plain = config.clone();
    plain.asn.quorum = 1;
    plain.asn.rpki = None;
    let origins = Origins::new(&plain, copies);
    asns.into_iter().flat_map(|asn| compare_as(asn, &origins)).collect()
}

fn compare_as(asn: Asn, origins: &Origins<'_>) -> Vec<Comparison> {
    let answers = origins.of(asn).answers;
    if answers.len() < 2 {
        return Vec::new();
    }
    let sets: Vec<(AddressSet<u32>, AddressSet<u128>)> =
        answers.iter().map(super::origins::Answer::addresses).collect();
    let one = |(place, answer): (usize, &super::origins::Answer)| {
        let others = || sets.iter().enumerate().filter(move |(other, _)| *other != place).map(|(_, set)| set);
        let others4: AddressSet<u32> = others().flat_map(|set| set.0.ranges().to_vec()).collect();
        let others6: AddressSet<u128> = others().flat_map(|set| set.1.ranges().to_vec()).collect();
        let (own4, own6) = answer.addresses();
        let (alone4, alone6) = (own4.subtract(&others4), own6.subtract(&others6));
        Comparison {
            asn,
            source: answer.source.clone(),
            ipv4_addresses: own4.addresses(),
            ipv4_alone: alone4.addresses(),
            ipv6_prefixes: own6.cidrs().count(),
            ipv6_alone: alone6.cidrs().count(),
            largest_alone: alone4
                .cidrs()
                .min_by_key(IpNet::prefix_len)
                .or_else(|| alone6.cidrs().min_by_key(IpNet::prefix_len)),
        }
    };
    answers.iter().enumerate().map(one).collect()
}
