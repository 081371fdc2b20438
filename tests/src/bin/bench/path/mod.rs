//! Section *path*: frames a second through a router that drops or forwards them, counted where they arrive.

pub(crate) mod lane;
mod trial;

use weir_tests::cpu;
use weir_tests::generator::Clients;

use crate::Section;
use crate::list::List;
use crate::measure::{Effort, Rounds};
use crate::peers::{self, Does};
use crate::results::{Group, Run};
use trial::Trial;

pub(crate) const SECTION: Section = Section { name: "path", measure, preface: PREFACE };

/// Workloads, by the share of frames to listed destinations.
pub(crate) const DROP: &str = "all frames to listed destinations";
pub(crate) const MIXED: &str = "half of the frames to listed destinations";
pub(crate) const FORWARD: &str = "no frame to a listed destination";
pub(crate) const AS_LISTED: &str = "all frames to listed destinations, lists as they are";
pub(crate) const DUEL_DROP: &str = "all frames to listed destinations, in short turns";
pub(crate) const DUEL_FORWARD: &str = "no frame to a listed destination, in short turns";
pub(crate) const FORGED: &str = "all frames to listed destinations, from 65,536 sources";
pub(crate) const EXACT: &str = "all frames to listed destinations, exact addresses";

const PREFACE: &str = "Nanoseconds for one 64-byte UDP frame, from its making to its end: the generator's, the veth's and, \
where it passes, the IP stack's share included. A generator (a BPF program in a test run with live frames) sends out of a \
veth; each frame has a random source among 256 clients of 10.66.1.0/24 (where it says so, among 65,536 of 10.66.0.0/16) and \
the next of 2^20 destinations in random order, drawn from the listed prefixes or from addresses outside of them. Each \
candidate has a router, a namespace of its own, between the same sender and receiver; all routers are alike (GRO is on, or no \
veth takes frames from XDP's sending side), and how much they differ is the line \"another lane\". What arrives is counted at the router's device and at the receiver, which drops \
all; before it is measured, each candidate must have dropped exactly what is listed and forwarded exactly what is not. \
Sender and router share one CPU, so a figure says what all of it costs and not what a NIC could do: ratios count. weir asks \
for destination and source and counts what it drops; peers ask for the destination alone. Where lists are \"as they are\", peers \
hold each prefix as a list file has it (nft, which takes no overlap, each that is inside of no other); that is what the goals \
name. Elsewhere peers get the fewest ranges or prefixes that hold the same addresses, which is the best that can be made of the \
list for them, and what weir makes of it by itself: at all prefixes they are fewer than at 100k. Comparisons \"in short turns\" are \
the closest ones of the goals: many short bursts, each side on another's lane for half of them. Beside weir are there its tables alone, in a \
program that looks up and drops, the same with one counter for each set, and with one for each client too: what no filter of this \
shape can be faster than, where it tells nothing, how much was dropped, or whose packets. They know neither devices nor families, \
report no packet, and do not count what they pass.\n";

/// What the generator sends, and who is asked to do what with it.
struct Workload {
    name: &'static str,
    /// How many in a hundred frames go to listed destinations.
    share: usize,
    clients: Clients,
    /// Those that do one of these are measured.
    does: &'static [Does],
    /// With whom they are compared.
    base: &'static str,
    /// Whether the document says here how long each took to load.
    tells_load: bool,
}

const LAN: Clients = Clients::Lan([10, 66, 1]);
const DROPS: &[Does] = &[Does::DropAll, Does::DropListed];

const ALL_LISTED: Workload =
    Workload { name: DROP, share: 100, clients: LAN, does: DROPS, base: peers::NULL_DROP.name, tells_load: true };
const NONE_LISTED: Workload = Workload {
    name: FORWARD,
    share: 0,
    clients: LAN,
    does: &[Does::PassAll, Does::DropListed],
    base: peers::NO_FILTER.name,
    tells_load: false,
};
const HALF_LISTED: Workload = Workload {
    name: MIXED,
    share: 50,
    clients: LAN,
    does: &[Does::DropListed],
    base: peers::DROP_MARKED.name,
    tells_load: false,
};
const LISTED_AS_THEY_ARE: Workload = Workload { name: AS_LISTED, ..ALL_LISTED };
const DUEL_DROPPING: Workload = Workload { name: DUEL_DROP, tells_load: false, ..ALL_LISTED };
const DUEL_FORWARDING: Workload = Workload { name: DUEL_FORWARD, ..NONE_LISTED };
const FORGED_SOURCES: Workload =
    Workload { name: FORGED, clients: Clients::Forged([10, 66]), tells_load: false, ..ALL_LISTED };
const EXACT_ADDRESSES: Workload = Workload { name: EXACT, ..ALL_LISTED };

/// Nanoseconds that a burst should take.
const BURST: f64 = 60e6;
const SHORT_BURST: f64 = 25e6;

fn measure(effort: &Effort, run: &mut Run) {
    cpu::leave(effort.cpu);
    let sizes: &[usize] = if effort.quick { &[10_000] } else { &[100, 10_000, 100_000, usize::MAX] };
    for &size in sizes {
        let list = List::of_size(size);
        duel(effort, run, &list);
        prefixes(effort, run, &list);
    }
    let sizes: &[usize] = if effort.quick { &[10_000] } else { &[10_000, usize::MAX] };
    for &size in sizes {
        as_listed(effort, run, size);
    }
    if effort.quick {
        return;
    }
    for count in [100, 10_000, 100_000] {
        let list = List::of_addresses(count);
        let candidates = [peers::NULL_DROP, peers::WEIR_NATIVE, peers::XDP_FILTER];
        let measured = Trial::new(effort, run, &list, &candidates).measure(&EXACT_ADDRESSES, BURST);
        add(run, measured);
    }
}

/// Peers with each prefix as it is listed: what a list file gives who takes it as it comes.
fn as_listed(effort: &Effort, run: &mut Run, size: usize) {
    let list = List::of_size(size).unmerged();
    let candidates = [
        peers::NULL_DROP,
        peers::WEIR_NATIVE,
        peers::WEIR_TABLES,
        peers::WEIR_TOLD,
        peers::LPM,
        peers::NFT_INGRESS,
        peers::NFT_PREROUTING,
        peers::IPTABLES,
    ];
    let measured = Trial::new(effort, run, &list, &candidates).measure(&LISTED_AS_THEY_ARE, BURST);
    add(run, measured);
}

fn add(run: &mut Run, (group, rounds): (Group, Rounds)) {
    group.say();
    run.add(group, rounds.repeated, rounds.disturbed);
}

/// The closest comparisons, measured more often than the others and by turns so short that what else the machine does meets
/// both sides; in the second half each side is on another's lane.
fn duel(effort: &Effort, run: &mut Run, list: &List) {
    let effort = Effort { rounds: 2 * effort.rounds, ..*effort };
    let mut candidates = [
        peers::NULL_DROP,
        peers::WEIR_NATIVE,
        peers::NO_FILTER,
        peers::WEIR_TABLES,
        peers::WEIR_COUNTED,
        peers::WEIR_TOLD,
    ];
    let mut halves = Vec::new();
    for _ in 0..2 {
        let mut trial = Trial::new(&effort, run, list, &candidates);
        halves.push([&DUEL_DROPPING, &DUEL_FORWARDING].map(|workload| trial.measure(workload, SHORT_BURST)));
        candidates.rotate_left(1);
    }
    let mut halves = halves.into_iter();
    let (Some(first), Some(second)) = (halves.next(), halves.next()) else { return };
    for ((mut group, mut rounds), (more, others)) in first.into_iter().zip(second) {
        group.append(&more);
        rounds.repeated += others.repeated;
        rounds.disturbed += others.disturbed;
        add(run, (group, rounds));
    }
}

fn prefixes(effort: &Effort, run: &mut Run, list: &List) {
    let mut candidates = vec![
        peers::NULL_DROP,
        peers::NO_FILTER,
        peers::WEIR_NATIVE,
        peers::WEIR_BARE,
        peers::DROP_MARKED,
        peers::NULL_DROP_AGAIN,
        peers::NULL_PASS,
        peers::WEIR_TCX,
        peers::LPM,
        peers::NFT_INGRESS,
        peers::NFT_PREROUTING,
        peers::IPTABLES,
    ];
    if !effort.quick {
        candidates.extend([peers::WEIR_TC, peers::WEIR_GENERIC]);
    }
    let mut trial = Trial::new(effort, run, list, &candidates);
    let mut workloads = vec![&ALL_LISTED, &NONE_LISTED];
    if !effort.quick && matches!(&*list.label, "10k" | "all") {
        workloads.extend([&HALF_LISTED, &FORGED_SOURCES]);
    }
    for workload in workloads {
        add(run, trial.measure(workload, BURST));
    }
}
