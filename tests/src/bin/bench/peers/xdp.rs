//! Programs of the benchmark's own object on a router: the null programs, and the plain `LPM_TRIE` filter.

use std::time::Instant;

use aya::maps::lpm_trie::{Key, LpmTrie};
use filter_common::abi::{BUCKETS, map};
use filter_common::client;
use weir_tests::programs;

use super::{Installed, weir};
use crate::list::List;
use crate::path::lane::{INGRESS, Lane, attach};

/// Attaches one that has no list.
pub(super) fn install(lane: &Lane, name: &str) -> Result<Installed, String> {
    let begun = Instant::now();
    let mut ebpf = programs::load(&[], &[name]);
    attach(&mut ebpf, name, &lane.router, INGRESS)?;
    Ok(Installed::new(ebpf, begun))
}

/// Attaches one that asks weir's IPv4 table.
pub(super) fn install_tables(lane: &Lane, list: &List, name: &str) -> Result<Installed, String> {
    let ruleset = weir::ruleset(list);
    let begun = Instant::now();
    let table = &ruleset.tables.v4;
    let clients = client::buckets(weir::detail().clients) as usize / BUCKETS;
    let sizes = [(map::LEAVES4, table.blocks.len()), (map::HITS, ruleset.actions.len()), (map::CLIENTS, clients)];
    let mut ebpf = programs::load(&sizes, &[name]);
    programs::fill(&mut ebpf, map::ROOT4, [table.root.as_ref()]);
    programs::fill(&mut ebpf, map::LEAVES4, table.blocks.iter().map(AsRef::as_ref));
    attach(&mut ebpf, name, &lane.router, INGRESS)?;
    Ok(Installed::new(ebpf, begun))
}

/// Attaches the `LPM_TRIE` filter.
pub(super) fn install_lpm(lane: &Lane, list: &List) -> Result<Installed, String> {
    let cidrs = &list.cidrs;
    let begun = Instant::now();
    let mut ebpf = programs::load(&[("LPM4", cidrs.len())], &["lpm_filter"]);
    let mut trie = LpmTrie::<_, [u8; 4], u32>::try_from(ebpf.map_mut("LPM4").unwrap()).unwrap();
    for &(first, length) in cidrs {
        trie.insert(&Key::new(length.into(), first.to_be_bytes()), 1, 0).map_err(|error| error.to_string())?;
    }
    attach(&mut ebpf, "lpm_filter", &lane.router, INGRESS)?;
    Ok(Installed::new(ebpf, begun))
}
