//! nftables: an interval set of destinations, at the device's ingress or before connection tracking.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Instant;

use super::{Installed, run, text};
use crate::list::List;
use crate::path::lane::{INGRESS, Lane};

/// Drops at the device, before the stack.
pub(super) fn ingress(lane: &Lane, list: &List) -> Result<Installed, String> {
    install(lane, list, "netdev", &format!("type filter hook ingress device \"{INGRESS}\" priority 0"))
}

/// Drops before routing and connection tracking.
pub(super) fn prerouting(lane: &Lane, list: &List) -> Result<Installed, String> {
    install(lane, list, "ip", "type filter hook prerouting priority raw")
}

fn install(lane: &Lane, listed: &List, table: &str, hook: &str) -> Result<Installed, String> {
    let mut script = format!("table {table} bench {{\nset listed {{ type ipv4_addr; flags interval; elements = {{\n");
    for &(first, last) in &listed.ranges {
        let (first, last) = (Ipv4Addr::from(first), Ipv4Addr::from(last));
        if first == last { writeln!(script, "{first},") } else { writeln!(script, "{first}-{last},") }.unwrap();
    }
    write!(script, "}}; }}\nchain first {{ {hook}; policy accept; ip daddr @listed drop; }}\n}}\n").unwrap();
    let script = lane.scratch.file("listed.nft", script);
    let begun = Instant::now();
    run(lane, "nft", &["-f", text(&script)])?;
    // Rules and sets are the router's, and go with it.
    Ok(Installed::new((), begun))
}
