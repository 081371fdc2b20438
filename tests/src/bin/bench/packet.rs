//! Section *packet*: whole programs on one frame again and again (`BPF_PROG_TEST_RUN`). All of it is in the cache, so this tells
//! what code costs and never what a table costs.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, OwnedFd};

use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use filter_common::packet::Layer;
use weir::datapath::object::{Capacity, Detail, Object, Options};
use weir::prefix::{Address, Prefixes};
use weir::ruleset::{Guard, Sets, compile};
use weir_tests::frame::{Frame, TPID_8021AD, frame};
use weir_tests::internet::{self, Prefix};
use weir_tests::programs::{self, program};

use crate::Section;
use crate::list::{List, table};
use crate::measure::{self, Effort};
use crate::path::lane::Bed;
use crate::peers::{self, xdp_filter};
use crate::results::{Group, Run, Series};

pub(crate) const SECTION: Section = Section { name: "packet", measure, preface: PREFACE };

/// Candidates.
pub(crate) const NULL: &str = "null XDP drop";
pub(crate) const PARSE: &str = "parse only";
pub(crate) const WEIR_MISS: &str = "weir, miss";
/// The workload that goals name.
pub(crate) const PLAIN: &str = "IPv4";
pub(crate) const LABEL: &str = "10k";

const PREFACE: &str = "Nanoseconds for one run of a whole XDP program on one frame, again and again by `BPF_PROG_TEST_RUN`, the \
kernel's own part of about the null program's figure included, in whole nanoseconds, as the kernel gives them. Everything is in the cache: the same frame, the same branches, \
the same few lines of the table. Such figures tell what code costs. What tables cost they hide, see the other sections. 10,000 \
prefixes of each family are listed; a hit is a frame to one of them, a miss one to the address right behind one of them. \"Parse only\" finds the IP header as weir does and reads both \
addresses. weir asks for both and counts; xdp-filter and the `LPM_TRIE` filter ask for the destination alone, and are left out where \
they do not read the frame. xdp-filter's candidates are exact addresses.\n";

const LISTED: usize = 10_000;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// Who sends.
const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 2);
const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0, 2);

/// A kind of frame, by its destination.
type Build = fn(Destinations, bool) -> Vec<u8>;

/// Kinds of frames.
const FRAMES: [(&str, Build); 5] = [
    (PLAIN, |to, hit| v4(frame(), to, hit)),
    ("IPv4 in a VLAN", |to, hit| v4(frame().vlan(7), to, hit)),
    ("IPv4 in two VLAN tags", |to, hit| v4(frame().qinq(TPID_8021AD, 8).vlan(7), to, hit)),
    ("IPv4 in PPPoE", |to, hit| v4(frame().pppoe(3), to, hit)),
    ("IPv6", v6),
];

/// Listed addresses, and such that stand right behind a listed prefix: a table has to look as close.
#[derive(Clone, Copy)]
struct Destinations {
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    unlisted_v4: Ipv4Addr,
    unlisted_v6: Ipv6Addr,
}

/// The first address of the first prefix, and the first one behind a prefix that no prefix holds.
fn around<A: Address>(prefixes: &[Prefix<A>]) -> (A, A) {
    let held = |address: A| prefixes.iter().any(|prefix| (prefix.first..=prefix.last).contains(&address));
    let mut behind = prefixes.iter().filter_map(|prefix| prefix.last.next());
    (prefixes[0].first, behind.find(|&address| !held(address)).unwrap())
}

fn v4(frame: Frame, to: Destinations, hit: bool) -> Vec<u8> {
    let destination = if hit { to.v4 } else { to.unlisted_v4 };
    // 60 bytes where there is no tag: 64 with the checksum that follows on a wire.
    frame.ipv4(CLIENT_V4, destination).udp(443).payload(&[0; 18]).build()
}

fn v6(to: Destinations, hit: bool) -> Vec<u8> {
    let destination = if hit { to.v6 } else { to.unlisted_v6 };
    frame().ipv6(CLIENT_V6, destination).udp(443).build()
}

/// A program, and what is asked of it.
struct Candidate {
    name: &'static str,
    program: OwnedFd,
    to: Destinations,
    hit: bool,
    /// What it must return.
    verdict: u32,
}

fn measure(effort: &Effort, run: &mut Run) {
    let v4 = internet::sample(internet::prefixes_v4(&table().v4), LISTED, 1);
    let v6 = internet::sample(internet::prefixes_v6(&table().v6), LISTED, 1);
    let ((hit_v4, miss_v4), (hit_v6, miss_v6)) = (around(&v4), around(&v6));
    let sample = Prefixes { v4: internet::rows(&v4), v6: internet::rows(&v6) };
    let to =
        Destinations { v4: hit_v4.into(), v6: hit_v6.into(), unlisted_v4: miss_v4.into(), unlisted_v6: miss_v6.into() };
    let mut own = programs::load(&[("LPM4", LISTED)], &["drop_all", "parse_only", "lpm_filter"]);
    let mut trie = LpmTrie::<_, [u8; 4], u32>::try_from(own.map_mut("LPM4").unwrap()).unwrap();
    for prefix in &v4 {
        trie.insert(&Key::new(prefix.length.into(), prefix.first.to_be_bytes()), 1, 0).unwrap();
    }
    let mut whole = weir(&sample, peers::detail());
    let mut bare = weir(&sample, Detail::default());
    let exact = List::of_addresses(LISTED);
    let (hit, miss) = around(&exact.prefixes);
    let exact_to = Destinations { v4: hit.into(), unlisted_v4: miss.into(), ..to };
    let bed = Bed::new(1);
    let peer = xdp_filter::exact(&bed.lanes[0], &exact)
        .and_then(|installed| Ok((installed, xdp_filter::program(&bed.lanes[0])?)));

    let candidate = |name, program: &OwnedFd, to, hit, verdict| {
        let program = program.try_clone().unwrap();
        Candidate { name, program, to, hit, verdict }
    };
    let [null, parse, lpm] = ["drop_all", "parse_only", "lpm_filter"].map(|name| fd(&mut own, name));
    let [whole, bare] = [&mut whole, &mut bare]
        .map(|object| object.xdp(Layer::Ethernet).unwrap().fd().unwrap().as_fd().try_clone_to_owned().unwrap());
    let mut candidates = vec![
        candidate(NULL, &null, to, false, XDP_DROP),
        candidate(PARSE, &parse, to, false, XDP_PASS),
        candidate(WEIR_MISS, &whole, to, false, XDP_PASS),
        candidate("weir, hit", &whole, to, true, XDP_DROP),
        candidate("weir, miss, no clients or events", &bare, to, false, XDP_PASS),
        candidate("weir, hit, no clients or events", &bare, to, true, XDP_DROP),
        candidate("XDP with LPM_TRIE, miss", &lpm, to, false, XDP_PASS),
        candidate("XDP with LPM_TRIE, hit", &lpm, to, true, XDP_DROP),
    ];
    match &peer {
        Ok((_, program)) => {
            candidates.push(candidate("xdp-filter, miss", program, exact_to, false, XDP_PASS));
            candidates.push(candidate("xdp-filter, hit", program, exact_to, true, XDP_DROP));
        }
        Err(why) => run.absent(SECTION.name, "xdp-filter", "", why),
    }
    for (kind, build) in FRAMES {
        one(effort, run, kind, build, &candidates);
    }
}

/// weir's object with one rule.
fn weir(listed: &Prefixes, detail: Detail) -> Object {
    let ruleset =
        compile(&internet::one_rule(listed), &Guard::default(), &mut Sets::default(), &BTreeMap::new()).unwrap();
    let sets = u32::try_from(ruleset.actions.len()).unwrap();
    let capacity = Capacity { ports: 4, sets };
    Object::load(&ruleset, &Options { ports: &[], capacity, pins: None, detail, trace: false, record: false }).unwrap()
}

fn fd(ebpf: &mut Ebpf, name: &str) -> OwnedFd {
    program(ebpf, name).fd().unwrap().as_fd().try_clone_to_owned().unwrap()
}

/// Measures all that read this kind of frame.
fn one(effort: &Effort, run: &mut Run, kind: &str, build: Build, candidates: &[Candidate]) {
    let repeat = if effort.quick { 200_000 } else { 1_000_000 };
    let frame = |candidate: &Candidate| build(candidate.to, candidate.hit);
    let verdict = |candidate: &Candidate| programs::run(candidate.program.as_fd(), &frame(candidate), 1).unwrap().0;
    let (reading, blind): (Vec<&Candidate>, Vec<&Candidate>) = candidates.iter().partition(|candidate| {
        // One that passes what it cannot read would be measured at doing nothing: its hits tell.
        let same = |other: &&Candidate| other.program_is(candidate) && verdict(other) != other.verdict;
        candidates.iter().find(same).is_none()
    });
    for candidate in blind {
        assert!(!candidate.name.starts_with("weir"), "{} is wrong about {kind}", candidate.name);
        run.absent(SECTION.name, candidate.name, kind, "it does not read such frames");
    }
    let rounds = measure::in_turns(effort, reading.len(), |_, turn| {
        let (candidate, frame) = (reading[turn], frame(reading[turn]));
        let (returned, time) =
            measure::on_cpu(effort.cpu, || programs::run(candidate.program.as_fd(), &frame, repeat).unwrap());
        assert_eq!(returned, candidate.verdict, "{} on {kind}", candidate.name);
        time.into()
    });
    let series = reading.iter().zip(rounds.samples);
    let group = Group {
        section: SECTION.name.into(),
        workload: kind.into(),
        size: LISTED,
        label: LABEL.into(),
        unit: "ns".into(),
        base: NULL.into(),
        series: series
            .map(|(candidate, samples)| Series { name: candidate.name.into(), samples, ..Series::default() })
            .collect(),
    };
    group.say();
    run.add(group, rounds.repeated, rounds.disturbed);
}

impl Candidate {
    /// Whether both ask the same filter: by the first word of their names.
    fn program_is(&self, other: &Self) -> bool {
        let filter = |name: &'static str| name.split(',').next();
        filter(self.name) == filter(other.name)
    }
}
