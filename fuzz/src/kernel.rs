//! What the kernel and this host's files say: live flows, netlink messages, routes, resolvers, and copies of dropped packets.
//!
//! Input: a byte for which of these (`run`), then what is said; for a flow that is made, its fields.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use filter_common::abi::Event;
use filter_common::event::COPIED;
use weir::flows::{self, Flow};
use weir::ledger::Hook;
use weir::{events, network};

use crate::bytes::Bytes;

/// See the file's first lines.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    match bytes.byte() % 6 {
        0 => flows(bytes.rest()),
        1 => flow(&mut bytes),
        2 => links(bytes.rest()),
        3 => texts(bytes.rest()),
        4 => event(&mut bytes),
        _ => {
            let table = bytes.rest();
            let names: usize = network::read_flow_table(table).iter().map(String::len).sum();
            // A byte that is no text becomes a sign of three.
            assert!(names <= 3 * table.len());
        }
    }
}

/// Every line is a flow or counted as none.
fn flows(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let found = flows::parse(&text);
    assert_eq!(found.flows.len() + found.skipped as usize, text.lines().count());
    assert!(!found.cut);
    assert!(found.flows.iter().all(|flow| flow.client.is_ipv4() == flow.server.is_ipv4()));
    // Each line speaks for itself.
    let alone = text.lines().flat_map(|line| flows::parse(line).flows);
    assert_eq!(alone.collect::<Vec<_>>(), found.flows);
}

/// A flow as the kernel writes it is found, whatever its replies say.
fn flow(bytes: &mut Bytes<'_>) {
    let is_v4 = bytes.flag();
    let mut address = || -> IpAddr { if is_v4 { bytes.array::<4>().into() } else { bytes.array::<16>().into() } };
    let (client, server, translated) = (address(), address(), address());
    let has_ports = bytes.flag();
    let protocol = bytes.byte();
    let ports = has_ports.then(|| (bytes.u16(), bytes.u16()));
    let counts = bytes.flag().then(|| (bytes.u32(), bytes.u32()));
    let offloaded = bytes.flag();

    let mut line = format!("ipv{0} {1} tcp {protocol} ", if is_v4 { 4 } else { 6 }, if is_v4 { 2 } else { 10 });
    if !offloaded {
        line.push_str("431999 ESTABLISHED ");
    }
    for (source, destination, is_reply) in [(client, server, false), (server, translated, true)] {
        write!(line, "src={source} dst={destination} ").unwrap();
        if let Some((from, to)) = ports {
            let (from, to) = if is_reply { (to, 1024) } else { (from, to) };
            write!(line, "sport={from} dport={to} ").unwrap();
        }
        if let Some((there, back)) = counts {
            write!(line, "packets=1 bytes={} ", if is_reply { back } else { there }).unwrap();
        }
    }
    line.push_str(if offloaded { "[OFFLOAD] mark=0 use=3" } else { "[ASSURED] mark=0 use=2" });
    let bytes = counts.map(|(there, back)| u64::from(there) + u64::from(back));
    let expected = Flow { protocol, client, server, ports, bytes, offloaded };
    assert_eq!(flows::parse(&line).flows, [expected], "{line}");
}

/// A dump of devices ends, and names no more than it holds.
fn links(messages: &[u8]) {
    let mut devices = BTreeMap::new();
    let _ = network::read_links(messages, &mut devices);
    let names: usize = devices.keys().map(String::len).sum();
    assert!(names <= 3 * messages.len() && devices.iter().all(|(name, device)| *name == device.name));
}

fn texts(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().count();
    assert!(network::parse_received(&text).len() <= lines);
    assert!(network::gateways4(&text).iter().all(|gateway| gateway.is_ipv4() && !gateway.is_unspecified()));
    assert!(network::gateways6(&text).iter().all(|gateway| gateway.is_ipv6() && !gateway.is_unspecified()));
    assert!(network::resolvers(&text).len() <= lines);
}

/// A record out of the ring buffer, of the right length or not.
fn event(bytes: &mut Bytes<'_>) {
    let (micros, record) = (bytes.u64().cast_signed(), bytes.take(usize::MAX));
    let Some(event) = Event::from_bytes(record) else {
        return assert_ne!(record.len(), size_of::<Event>());
    };
    assert!(event.copied().len() <= COPIED);
    let hook = Hook { device: "eth0".into(), egress: event.port & 1 == 1 };
    let Some(told) = events::read(&event, vec!["rule".into()], &hook, micros) else { return };
    assert_eq!(told.src_ip.is_ipv4(), event.copied()[0] >> 4 == 4);
    let line = serde_json::to_string(&told).unwrap();
    assert!(!line.contains('\n'));
    assert_eq!(serde_json::from_str::<events::Event>(&line).unwrap(), told);
}
