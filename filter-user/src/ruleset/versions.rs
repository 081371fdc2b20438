//! What the rules were resolved from, as evidence: each list and document with a checksum of the addresses in it.

use super::Rule;
use super::parts::{Copies, PartId};
use crate::account::ListVersion;
use crate::prefix::AddressSet;
use crate::source::copy::checksum;

/// The lists of `rules` as they were compiled, and the documents behind them.
#[must_use]
pub fn versions(rules: &[Rule], copies: &Copies) -> Vec<ListVersion> {
    let rules = rules.iter().map(|rule| {
        let (sha256, ranges) = digest(&rule.v4, &rule.v6);
        ListVersion { source: format!("rule {}", rule.identity.name), asn: None, sha256, ranges, changed: None }
    });
    let documents = copies.iter().map(|(id, copy)| {
        let (v4, v6) = copy.addresses();
        let (sha256, ranges) = digest(&v4, &v6);
        let (asn, changed) = match id {
            PartId::Source(_, asn) => (*asn, Some(copy.provenance.changed)),
            PartId::List(_) | PartId::Table(_) => (None, None),
        };
        let source = match id {
            PartId::Source(name, _) => name.clone(),
            PartId::List(path) | PartId::Table(path) => path.display().to_string(),
        };
        ListVersion { source, asn, sha256, ranges, changed }
    });
    rules.chain(documents).collect()
}

/// SHA-256 of the ranges, each as its first and last address in network byte order, IPv4 before IPv6; and how many they
/// are.
fn digest(v4: &AddressSet<u32>, v6: &AddressSet<u128>) -> (String, u64) {
    let mut bytes = Vec::new();
    for &(first, last) in v4.ranges() {
        bytes.extend(first.to_be_bytes());
        bytes.extend(last.to_be_bytes());
    }
    for &(first, last) in v6.ranges() {
        bytes.extend(first.to_be_bytes());
        bytes.extend(last.to_be_bytes());
    }
    (checksum(&bytes), (v4.ranges().len() + v6.ranges().len()) as u64)
}
