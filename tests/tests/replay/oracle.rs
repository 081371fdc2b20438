//! What tshark says of a capture, and what the rules should make of it by a scan of every rule for every frame.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::rules::Rule;

/// Source and destination of the outermost IP header, where there is one.
pub(crate) type Ends = Option<(IpAddr, IpAddr)>;

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Its length on the wire.
    pub(crate) length: u64,
    /// Its addresses.
    pub(crate) ends: Ends,
    /// IP right behind the Ethernet header: no tag, no PPPoE.
    pub(crate) is_plain_ip: bool,
}

pub(crate) fn has_tshark() -> bool {
    Command::new("tshark").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The frames of a capture as tshark dissects them.
pub(crate) fn dissect(capture: &Path) -> Vec<Frame> {
    let mut tshark = Command::new("tshark");
    tshark.args(["-n", "-T", "fields", "-E", "occurrence=f", "-E", "separator=|", "-r"]).arg(capture);
    for field in ["frame.len", "frame.protocols", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst"] {
        tshark.args(["-e", field]);
    }
    let output = tshark.output().unwrap();
    assert!(output.status.success(), "{tshark:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(frame).collect()
}

fn frame(line: &str) -> Frame {
    let fields: Vec<&str> = line.split('|').collect();
    let [length, protocols, v4_source, v4_destination, v6_source, v6_destination] = fields[..] else {
        panic!("not a line of tshark's: {line:?}")
    };
    // In a tunnel both families are there: the outer one stands first.
    let outermost = protocols.split(':').find(|protocol| ["ip", "ipv6"].contains(protocol));
    let ends = outermost.map(|family| {
        let ends = if family == "ip" { (v4_source, v4_destination) } else { (v6_source, v6_destination) };
        (ends.0.parse().unwrap(), ends.1.parse().unwrap())
    });
    let is_plain_ip = protocols.starts_with("eth:ethertype:ip:")
        || protocols.starts_with("eth:ethertype:ipv6:")
        || ["eth:ethertype:ip", "eth:ethertype:ipv6"].contains(&protocols);
    Frame { length: length.parse().unwrap(), ends, is_plain_ip }
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    packets: u64,
    bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.packets += 1;
        self.bytes += bytes;
    }

    fn json(self) -> Value {
        json!({ "packets": self.packets, "bytes": self.bytes })
    }
}

/// The rules that speak for an address in a direction, and how strongly: block 3, monitor 2, allow 1, none 0.
///
/// An allow rule silences all others on that address.
fn speaking<'r>(rules: &'r [Rule], address: IpAddr, direction: &str) -> (u8, Vec<&'r Rule>) {
    let holds = |rule: &&Rule| ["both", direction].contains(&rule.direction) && rule.contains(address);
    let all: Vec<&Rule> = rules.iter().filter(holds).collect();
    let of = |action: &str| all.iter().any(|rule| rule.action == action);
    if of("allow") {
        return (1, all.into_iter().filter(|rule| rule.action == "allow").collect());
    }
    let strength = if of("block") { 3 } else { 2 * u8::from(of("monitor")) };
    (strength, all)
}

/// The whole document that `weir replay --json` should print.
pub(crate) fn expected(rules: &[Rule], frames: &[Frame]) -> Value {
    let (mut bytes, mut passed, mut dropped) = (0, Tally::default(), Tally::default());
    let (mut v4, mut v6, mut other) = (0, 0, 0);
    // By rule: out, in.
    let mut totals = vec![[Tally::default(); 2]; rules.len()];
    for frame in frames {
        bytes += frame.length;
        let mut drops = false;
        match frame.ends {
            None => other += 1,
            Some((source, destination)) => {
                *if source.is_ipv4() { &mut v4 } else { &mut v6 } += 1;
                let out = speaking(rules, destination, "out");
                let in_ = speaking(rules, source, "in");
                // The stronger direction is the one that is counted; between equals, out.
                let (side, (strength, named)) = if out.0 >= in_.0 { (0, out) } else { (1, in_) };
                for (rule, totals) in rules.iter().zip(&mut totals) {
                    if named.iter().any(|named| named.name == rule.name) {
                        totals[side].add(frame.length);
                    }
                }
                drops = strength == 3;
            }
        }
        if drops { &mut dropped } else { &mut passed }.add(frame.length);
    }
    let rows = rules.iter().zip(totals).map(
        |(rule, [out, in_])| json!({ "name": rule.name, "action": rule.action, "out": out.json(), "in": in_.json() }),
    );
    json!({
        "frames": frames.len(),
        "bytes": bytes,
        "parsed": { "ipv4": v4, "ipv6": v6, "non_ip": other, "truncated": 0 },
        "rules": rows.collect::<Vec<_>>(),
        "passed": passed.json(),
        "dropped": dropped.json(),
    })
}
