//! iptables with ipset: a hash of prefixes, asked in the raw table.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Instant;

use super::{Installed, run, text};
use crate::list::List;
use crate::path::lane::Lane;

/// Drops before routing and connection tracking.
pub(super) fn raw(lane: &Lane, list: &List) -> Result<Installed, String> {
    let cidrs = &list.cidrs;
    let room = cidrs.len().next_power_of_two().max(1024);
    let mut script = format!("create listed hash:net family inet hashsize {room} maxelem {}\n", room.max(65_536));
    for &(first, length) in cidrs {
        writeln!(script, "add listed {}/{length}", Ipv4Addr::from(first)).unwrap();
    }
    let file = lane.scratch.file("listed.ipset", script);
    let begun = Instant::now();
    run(lane, "ipset", &["restore", "-file", text(&file)])?;
    let rule = ["-t", "raw", "-A", "PREROUTING", "-m", "set", "--match-set", "listed", "dst", "-j", "DROP"];
    run(lane, "iptables", &rule)?;
    Ok(Installed::new((), begun))
}
