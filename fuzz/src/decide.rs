//! Rules and packets out of bytes: what the compiled ruleset decides is what a linear scan of the rules says.
//!
//! Input: how many rules (up to 8), each with a byte for action and direction, its ranges (`addresses`) and a byte that says
//! which limits its scope has; the ranges of the never-block set; then packets until the bytes end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir::ruleset::compile::CompileError;
use weir::ruleset::{RuleAction, RuleDirection, Scope, Sets};

use crate::addresses::{ranges_v4, ranges_v6, v4, v6};
use crate::bytes::Bytes;
use crate::rules::{DEVICES, Sighting, Stated, Stating, decided};

/// Ids that scopes name and frames carry; 0 is for none.
const VLANS: [u16; 6] = [0, 1, 7, 100, 4093, 4094];
const MACS: [[u8; 6]; 5] = [[0; 6], [2, 0, 0, 0, 0, 7], [2, 0, 0, 0, 0, 8], [2, 0, 0, 0, 1, 7], [0xff; 6]];
/// Packets, at most: what is behind them is not worth its time.
const MOST_PACKETS: usize = 64;

/// See the file's first lines.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let stating = stating(&mut bytes);
    let mut sets = Sets::default();
    let ruleset = match stating.try_compile(&mut sets) {
        Ok(ruleset) => ruleset,
        // Scopes can be too fine to compile, by a limit that has tests of its own.
        Err(CompileError::Scopes(_)) => return,
        Err(refused) => panic!("{refused}"),
    };
    let assert_decided = |met: &Sighting| {
        assert_eq!(decided(&ruleset, &sets, met), stating.expected(met), "{met:?} by {stating:?}");
    };
    let borders = [stating.borders_v4(), stating.borders_v6()];
    for addresses in &borders {
        for (at, &address) in addresses.iter().enumerate() {
            // The packet's other end is far away, so that all pairings of sets come up.
            assert_decided(&Sighting::of(address, addresses[(at * 7 + 3) % addresses.len()]));
        }
    }
    for _ in 0..MOST_PACKETS {
        if bytes.is_empty() {
            break;
        }
        assert_decided(&sighting(&mut bytes, &borders));
    }
}

pub(crate) fn identity(choice: u8) -> (RuleAction, RuleDirection) {
    let action = [RuleAction::Block, RuleAction::Monitor, RuleAction::Allow][usize::from(choice % 3)];
    (action, [RuleDirection::Both, RuleDirection::Out, RuleDirection::In][usize::from(choice / 3 % 3)])
}

fn stating(bytes: &mut Bytes<'_>) -> Stating {
    let rules = (0..bytes.below(9)).map(|_| {
        let (action, direction) = identity(bytes.byte());
        Stated { action, direction, v4: ranges_v4(bytes, 16), v6: ranges_v6(bytes, 16), scope: scope(bytes) }
    });
    let rules = rules.collect();
    Stating { rules, guard_v4: ranges_v4(bytes, 4), guard_v6: ranges_v6(bytes, 4) }
}

/// A byte whose bits say what the scope is limited by, and then the limits.
pub(crate) fn scope(bytes: &mut Bytes<'_>) -> Scope {
    let limits = bytes.byte();
    let mut scope = Scope::default();
    for bit in (0..8).filter(|bit| limits >> bit & 1 == 1) {
        match bit {
            0 => {
                let length = bytes.pick(&[0, 8, 16, 20, 24, 31, 32]);
                let net = ipnet::Ipv4Net::new(v4(bytes).into(), length).unwrap();
                scope.clients.push(net.trunc().into());
            }
            1 => {
                let length = bytes.pick(&[0, 16, 32, 48, 63, 64, 65, 120, 128]);
                let net = ipnet::Ipv6Net::new(v6(bytes).into(), length).unwrap();
                scope.clients.push(net.trunc().into());
            }
            2 | 3 => scope.vlans.push(bytes.pick(&VLANS)),
            4 | 5 => scope.devices.push(bytes.pick(&DEVICES).0.into()),
            _ => scope.macs.push(bytes.pick(&MACS)),
        }
    }
    scope
}

/// A byte for family and link layer, its ends, its device, and for Ethernet its MAC addresses and tags.
fn sighting(bytes: &mut Bytes<'_>, borders: &[Vec<IpAddr>; 2]) -> Sighting {
    let choice = bytes.byte();
    let is_v6 = choice & 1 == 1;
    let near = &borders[usize::from(is_v6)];
    let mut end = |at_border: bool| match (at_border, is_v6) {
        (true, _) => near[usize::from(bytes.u16()) % near.len()],
        (false, true) => Ipv6Addr::from(v6(bytes)).into(),
        (false, false) => Ipv4Addr::from(v4(bytes)).into(),
    };
    let (source, destination) = (end(choice & 2 != 0), end(choice & 4 != 0));
    let mut met = Sighting { device: bytes.below(DEVICES.len()), ..Sighting::of(source, destination) };
    if choice & 8 != 0 {
        met.macs = Some([bytes.pick(&MACS), bytes.pick(&MACS)]);
        // Priority bits do not belong to the id.
        met.tags =
            (0..usize::from(choice >> 6)).map(|_| bytes.pick(&VLANS) | u16::from(bytes.byte() & 0xf) << 12).collect();
        met.untagged = choice & 16 != 0 && !met.tags.is_empty();
    }
    met
}
