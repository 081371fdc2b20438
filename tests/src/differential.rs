//! The loaded object against the host's `decide`: random and broken frames, random rulesets, and every decision equal in full.
//! Attaches nothing: the kernel runs each frame by itself (`BPF_PROG_TEST_RUN`). Judges no totals: that is the tests' part.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use filter_common::abi::LastDecision;
use filter_common::decide::{Reason, Verdict, decide};
use filter_common::packet::{self, Meta, Protocol};
use weir::datapath::object::Hook;
use weir::datapath::testrun::Bench;
use weir::prefix::AddressSet;
use weir::ruleset::{Guard, Rule, RuleAction, RuleDirection, RuleIdentity, Ruleset, Scope, Sets, compile};

use crate::frame::{Layer, Pool, RandomFrame, Xorshift, random};

/// Of how many frames one also runs through each tc program.
const TC_EVERY: u64 = 10;

/// Addresses that lists are made around: several in one /24, /64 and /16, and both ends of the family.
const CENTRES_V4: [u32; 6] = [0, 0x0a01_0000, 0x0a01_0100, 0x4712_0100, 0xc633_6400, 0xffff_ff00];
const CENTRES_V6: [u128; 6] = [
    0,
    0x2001_0db8 << 96,
    0x2001_0db8_0001_0001 << 64,
    0x2001_0db8_0001_0002 << 64,
    0x2605_0340 << 96,
    0xffff_ffff_ffff_ffff << 64,
];

/// Devices that rules name: the tests make some of them.
pub const DEVICES: [&str; 4] = ["lo", "lan0", "wan0", "gone0"];
/// Ids that scopes name and frames carry; 4095 is nobody's.
const VLANS: [u16; 6] = [0, 1, 7, 100, 4094, 4095];
const MACS: [[u8; 6]; 5] = [[0; 6], [2, 0, 0, 0, 0, 7], [2, 0, 0, 0, 0, 8], [2, 0, 0, 0, 1, 7], [0xff; 6]];

/// A limit in about half of the dimensions. Clients are near the centres: a packet's other end is drawn there, too.
fn scope(random: &mut Xorshift) -> Scope {
    let mut scope = Scope::default();
    for _ in 0..random.below(2) * (1 + random.below(3)) {
        let v4 = CENTRES_V4[random.below(6)].wrapping_add(u32::try_from(random.below(0x1_0000)).unwrap());
        let length = [0, 8, 16, 20, 24, 32][random.below(6)];
        scope.clients.push(format!("{}/{length}", Ipv4Addr::from_bits(v4)).parse().unwrap());
        let v6 = CENTRES_V6[random.below(6)].wrapping_add(random.below(300) as u128);
        let length = [0, 32, 48, 64, 120, 128][random.below(6)];
        scope.clients.push(format!("{}/{length}", Ipv6Addr::from_bits(v6)).parse().unwrap());
    }
    for _ in 0..random.below(2) * (1 + random.below(3)) {
        scope.vlans.push(VLANS[random.below(VLANS.len())]);
    }
    for _ in 0..random.below(2) * (1 + random.below(3)) {
        scope.devices.push(DEVICES[random.below(DEVICES.len())].into());
    }
    for _ in 0..random.below(2) * (1 + random.below(3)) {
        scope.macs.push(MACS[random.below(MACS.len())]);
    }
    scope
}

/// Puts MAC addresses and VLAN ids of scopes into a frame, where it is one; wherever it is cut.
fn address_frame(random: &mut Xorshift, made: &mut RandomFrame) {
    if made.layer == Layer::Ip || random.one_in(8) {
        return;
    }
    let (destination, source) = (MACS[random.below(MACS.len())], MACS[random.below(MACS.len())]);
    let addresses = destination.into_iter().chain(source);
    made.bytes.iter_mut().zip(addresses).for_each(|(byte, new)| *byte = new);
    if let [0x81 | 0x91, 0] | [0x88, 0xa8] = made.bytes.get(12..14).unwrap_or_default()
        && let Some(control) = made.bytes.get_mut(14..16)
    {
        let id = VLANS[random.below(VLANS.len())] | (random.next_u64() as u16 & 0xf000);
        control.copy_from_slice(&id.to_be_bytes());
    }
}

/// One generation.
struct Generation {
    ruleset: Ruleset,
    /// The same rules without their scopes, by the same set ids.
    unscoped: Ruleset,
    /// The addresses at which lists begin and end, one off included.
    pool: Pool,
}

/// Rules around the centres.
fn generation(seed: u64, devices: &BTreeMap<String, u32>) -> Generation {
    let mut random = Xorshift::new(seed);
    let (mut rules, mut pool) = (Vec::new(), Pool::default());
    let most = if random.one_in(2) { 300 } else { 20 };
    for number in 0..2 + random.below(7) {
        let (v4, v6) = (ranges_v4(&mut random, most), ranges_v6(&mut random, most));
        let near_v4 = v4.iter().flat_map(|&(first, last)| [first.wrapping_sub(1), first, last, last.wrapping_add(1)]);
        pool.v4.extend(near_v4.map(Ipv4Addr::from_bits));
        let near_v6 = v6.iter().flat_map(|&(first, last)| [first.wrapping_sub(1), first, last, last.wrapping_add(1)]);
        pool.v6.extend(near_v6.map(Ipv6Addr::from_bits));
        rules.push(Rule {
            identity: RuleIdentity {
                name: number.to_string(),
                action: [RuleAction::Block, RuleAction::Monitor, RuleAction::Allow][random.below(3)],
                direction: [RuleDirection::Out, RuleDirection::In, RuleDirection::Both][random.below(3)],
            },
            v4: v4.into_iter().collect(),
            v6: v6.into_iter().collect(),
            // Every other ruleset has none: then the object must not look at scopes at all.
            scope: if seed.is_multiple_of(2) || random.one_in(4) { Scope::default() } else { scope(&mut random) },
        });
    }
    let guard = Guard { v4: ranges_v4(&mut random, 3).into_iter().collect(), v6: AddressSet::default() };
    let mut sets = Sets::default();
    let ruleset = compile(&rules, &guard, &mut sets, devices).unwrap();
    for rule in &mut rules {
        rule.scope = Scope::default();
    }
    Generation { ruleset, unscoped: compile(&rules, &guard, &mut sets, devices).unwrap(), pool }
}

fn ranges_v4(random: &mut Xorshift, most: usize) -> Vec<(u32, u32)> {
    let range = |random: &mut Xorshift| {
        let spread = [16, 256, 0x1_0000, 0x100_0000][random.below(4)];
        let length = [0, 0, 3, 0xff, 0xffff][random.below(5)];
        let first = CENTRES_V4[random.below(6)].wrapping_add(u32::try_from(random.below(spread)).unwrap());
        (first, first.saturating_add(length))
    };
    (0..=random.below(most)).map(|_| range(random)).collect()
}

fn ranges_v6(random: &mut Xorshift, most: usize) -> Vec<(u128, u128)> {
    let range = |random: &mut Xorshift| {
        let shift = [0, 0, 16, 56, 64, 72, 80][random.below(7)];
        let bits = [0, 0, 32, 64, 64, 80][random.below(6)];
        let first = CENTRES_V6[random.below(6)].wrapping_add((random.below(300) as u128) << shift);
        (first, first.saturating_add((1 << bits) - 1))
    };
    (0..=random.below(most)).map(|_| range(random)).collect()
}

fn layer_of(frame: &RandomFrame) -> packet::Layer {
    match frame.layer {
        Layer::Ethernet => packet::Layer::Ethernet,
        Layer::Ip => packet::Layer::Ip,
    }
}

fn other(layer: packet::Layer) -> packet::Layer {
    match layer {
        packet::Layer::Ethernet => packet::Layer::Ip,
        packet::Layer::Ip => packet::Layer::Ethernet,
    }
}

/// The host's answer.
fn on_host(ruleset: &Ruleset, layer: packet::Layer, device: u32, frame: &[u8]) -> (Verdict, LastDecision) {
    let decision = decide(frame, &Meta { layer, device, vlan: 0 }, ruleset);
    (decision.verdict(), decision.record())
}

/// Frames that the kernel does not run through tc programs. Whatever the program's layer, it takes bytes 12 and 13 for
/// the `EtherType`, wants a byte behind them (some versions), and (6.18, not 5.10) a whole fixed header where they say
/// IPv4 or IPv6. The program then sees the frame from its first byte, so frames without an Ethernet header can be fed.
fn too_short_for_tc(frame: &[u8]) -> bool {
    let shortest = match frame.get(12..14) {
        Some([0x08, 0x00]) => 14 + 20,
        Some([0x86, 0xdd]) => 14 + 40,
        _ => 15,
    };
    frame.len() < shortest
}

/// How often each outcome was met: a comparison of misses alone would prove little.
#[derive(Debug, Default)]
pub struct Met {
    /// Frames compared.
    pub frames: u64,
    /// Frames that the kernel did not run, because they are too short for it.
    pub refused: u64,
    /// Frames for which a rule did not speak because of its scope, by protocol.
    pub narrowed: [u64; 2],
    time: Duration,
    outcomes: HashMap<(u32, u32, u32), u64>,
}

impl Met {
    fn compare(
        &mut self,
        bench: &mut Bench<'_>,
        generation: &Generation,
        at: (Hook, packet::Layer, u32),
        seed: u64,
        frame: &[u8],
    ) {
        let (hook, layer, device) = at;
        // The kernel runs no frame shorter than an Ethernet header; `Bench` answers for it, which compares nothing.
        if frame.len() < 14 {
            return;
        }
        bench.meet_at(device);
        let start = Instant::now();
        let answer = bench.run(hook, layer, frame);
        self.time += start.elapsed();
        if hook != Hook::Xdp && too_short_for_tc(frame) && answer.is_err() {
            self.refused += 1;
            return;
        }
        let kernel = answer.unwrap_or_else(|error| panic!("seed {seed}, {hook:?} {layer:?}: {error}: {frame:02x?}"));
        let host = on_host(&generation.ruleset, layer, device, frame);
        assert_eq!(kernel, host, "seed {seed}, {at:?}, kernel left, host right: {frame:02x?}");
        self.frames += 1;
        if host != on_host(&generation.unscoped, layer, device, frame) {
            self.narrowed[host.1.protocol as usize & 1] += 1;
        }
        *self.outcomes.entry((host.1.reason, host.1.protocol, host.1.direction)).or_default() += 1;
    }

    /// Prints what was met.
    pub fn print(&self, what: &str) {
        let rate = self.frames as f64 / self.time.as_secs_f64();
        println!(
            "{what}: {} frames, {rate:.0} frames/s with their system calls, {} refused, narrowed {:?}",
            self.frames, self.refused, self.narrowed
        );
    }

    /// How many frames were decided so.
    #[must_use]
    pub fn count(&self, reason: Reason, protocol: Protocol, direction: u32) -> u64 {
        self.outcomes.get(&(reason as u32, protocol as u32, direction)).copied().unwrap_or(0)
    }
}

/// Compares decisions on `frames` random frames under each of `rulesets` random rulesets, panics at the first difference, and
/// tells what was met at XDP and at tc. Rules name `devices`; frames are met at those of them with the indices `at`.
#[must_use]
pub fn compare(rulesets: u64, frames: u64, devices: &BTreeMap<String, u32>, at: &[u32]) -> (Met, Met) {
    let (mut xdp, mut tc) = (Met::default(), Met::default());
    for number in 0..rulesets {
        let made = generation(number, devices);
        let Generation { ruleset, pool, .. } = &made;
        let seeds = number * frames..(number + 1) * frames;
        println!("ruleset {number}: {} sets, {} bytes, frame seeds {seeds:?}", ruleset.actions.len(), ruleset.bytes());
        let mut bench = Bench::new(ruleset).unwrap();
        for seed in seeds {
            let mut sent = random(seed, pool);
            let mut choice = Xorshift::new(!seed);
            address_frame(&mut choice, &mut sent);
            let device = at[choice.below(at.len())];
            let layer = layer_of(&sent);
            xdp.compare(&mut bench, &made, (Hook::Xdp, layer, device), seed, &sent.bytes);
            xdp.compare(&mut bench, &made, (Hook::Xdp, other(layer), device), seed, &sent.bytes);
            if seed % TC_EVERY == 0 {
                for hook in [Hook::TcIngress, Hook::TcEgress] {
                    tc.compare(&mut bench, &made, (hook, layer, device), seed, &sent.bytes);
                }
            }
        }
    }
    (xdp, tc)
}
