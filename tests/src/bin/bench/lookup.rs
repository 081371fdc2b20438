//! Section *lookup*: one question to a table, without packets. Both tables are asked the same keys and must answer the same.

use weir::prefix::{Address, Prefixes};
use weir_tests::frame::Xorshift;
use weir_tests::internet::{self, Prefix};
use weir_tests::keys::{anywhere_v4, anywhere_v6, inside_v4, inside_v6};
use weir_tests::lookup::{Bench, GROUP};

use crate::Section;
use crate::list::{label, table};
use crate::measure::{self, Effort};
use crate::results::{Group, Run, Series};
use crate::stats;

pub(crate) const SECTION: Section = Section { name: "lookup", measure, preface: PREFACE };

/// Candidates.
pub(crate) const WEIR: &str = "weir";
pub(crate) const LPM: &str = "LPM_TRIE";
const LOOP: &str = "the loop, subtracted above";
/// What is told of weir's tables beside their time.
pub(crate) const BYTES: &str = "table bytes";

/// Workloads.
pub(crate) const HITS_V4: &str = "IPv4, hits";
pub(crate) const HITS_V6: &str = "IPv6, hits";

const PREFACE: &str = "Nanoseconds for one lookup in a loop inside of a BPF program, less what the loop takes without it. \
Prefixes are a random sample of the Internet's table, with a set for each origin AS, so that neighbours do not merge. Each \
round asks 2^17 of 2^20 keys in random order. Hits are addresses of random prefixes; misses are addresses outside of all of \
them; Zipf is a router's traffic: nine in ten keys are of 256 hot addresses, by rank, the rest is anywhere, and half of all are \
listed. \"One after the other\" is the time until an answer is there: each key waits for the answer before it; elsewhere the \
CPU works on more than one lookup at a time. The sums of the answers of both tables are compared in each round.\n";

/// Keys in all, and those of one round.
const KEYS: usize = 1 << 20;
const ROUND: usize = 1 << 17;
/// A Zipf mix: hot addresses, and how many in a hundred keys are of them.
const HOT: usize = 256;
const HOT_SHARE: usize = 90;

/// A family's programs, and its keys.
struct Family<A> {
    name: &'static str,
    /// The loop alone, weir, `LPM_TRIE`.
    programs: [&'static str; 3],
    dependent: [&'static str; 3],
    inside: fn(&mut Xorshift, &[Prefix<A>]) -> A,
    anywhere: fn(&mut Xorshift) -> A,
    aim: fn(&mut Bench, &[A]),
}

const V4: Family<u32> = Family {
    name: "IPv4",
    programs: ["null4", "weir4", "lpm4"],
    dependent: ["null4_next", "weir4_next", "lpm4_next"],
    inside: inside_v4,
    anywhere: anywhere_v4,
    aim: Bench::keys_v4,
};

const V6: Family<u128> = Family {
    name: "IPv6",
    programs: ["null6", "weir6", "lpm6"],
    dependent: ["null6_next", "weir6_next", "lpm6_next"],
    inside: inside_v6,
    anywhere: anywhere_v6,
    aim: Bench::keys_v6,
};

fn measure(effort: &Effort, run: &mut Run) {
    let (v4, v6): (&[usize], &[usize]) = if effort.quick {
        (&[1_000], &[1_000])
    } else {
        (&[64, 1_000, 10_000, 100_000, usize::MAX], &[1_000, 10_000, usize::MAX])
    };
    for &size in v4 {
        let all = internet::prefixes_v4(&table().v4);
        let label = label(size, all.len());
        let sample = internet::sample(all, size, 1);
        let rows = Prefixes { v4: internet::rows(&sample), v6: Vec::new() };
        let (ruleset, ids) = internet::compiled(&rows);
        let bench = Bench::load(&ruleset.tables, (&sample, &[]), &ids, (KEYS / GROUP, 1));
        let bytes = ruleset.tables.v4.bytes();
        family(effort, run, &V4, Table { bench, bytes, prefixes: &sample, label });
    }
    for &size in v6 {
        let all = internet::prefixes_v6(&table().v6);
        let label = label(size, all.len());
        let sample = internet::sample(all, size, 1);
        let (ruleset, ids) = internet::compiled(&Prefixes { v4: Vec::new(), v6: internet::rows(&sample) });
        let bench = Bench::load(&ruleset.tables, (&[], &sample), &ids, (1, KEYS / GROUP));
        let bytes = ruleset.tables.v6.bytes();
        family(effort, run, &V6, Table { bench, bytes, prefixes: &sample, label });
    }
}

/// Tables that are loaded, and what is in them.
struct Table<'p, A> {
    bench: Bench,
    bytes: usize,
    prefixes: &'p [Prefix<A>],
    label: String,
}

fn family<A: Address>(effort: &Effort, run: &mut Run, family: &Family<A>, mut table: Table<'_, A>) {
    let listed = merged(table.prefixes);
    let mut random = Xorshift::new(2);
    let hit = |random: &mut Xorshift| (family.inside)(random, table.prefixes);
    let miss = |random: &mut Xorshift| loop {
        let key = (family.anywhere)(random);
        if !holds(&listed, key) {
            return key;
        }
    };
    let hits: Vec<A> = (0..KEYS).map(|_| hit(&mut random)).collect();
    let misses: Vec<A> = (0..KEYS).map(|_| miss(&mut random)).collect();
    let either = |random: &mut Xorshift| if random.one_in(2) { hit(random) } else { miss(random) };
    let zipf = zipf(&mut random, either);
    for (mix, keys) in [("hits", hits), ("misses", misses), ("Zipf", zipf)] {
        (family.aim)(&mut table.bench, &keys);
        for (form, programs) in [("", family.programs), (", one after the other", family.dependent)] {
            let workload = format!("{}, {mix}{form}", family.name);
            one(effort, run, &mut table, programs, workload, mix == "misses");
        }
    }
}

/// Measures one workload. Where all keys are misses, no answer is anything but 0.
fn one<A>(
    effort: &Effort,
    run: &mut Run,
    table: &mut Table<'_, A>,
    programs: [&str; 3],
    workload: String,
    misses: bool,
) {
    let bench = &mut table.bench;
    let mut sums = vec![[0; 3]; effort.rounds];
    let rounds = measure::in_turns(effort, programs.len(), |round, turn| {
        let from = round * ROUND % KEYS / GROUP;
        let (time, sum) = measure::on_cpu(effort.cpu, || bench.run(programs[turn], from, ROUND / GROUP));
        sums[round][turn] = sum;
        time.as_nanos() as f64 / GROUP as f64
    });
    for [_, weir, trie] in sums {
        assert_eq!(weir, trie, "{workload}: the sums of weir's answers and of LPM_TRIE's");
        assert_eq!(weir == 0, misses, "{workload}: the sum of the answers is {weir}");
    }
    let mut samples = rounds.samples.into_iter();
    let [null, weir, trie] = std::array::from_fn(|_| samples.next().expect("one for each program"));
    let net = |samples: &[f64]| stats::differences(samples, &null);
    let once = [(BYTES.to_owned(), table.bytes as f64)].into();
    let series = vec![
        Series { name: WEIR.into(), samples: net(&weir), once },
        Series { name: LPM.into(), samples: net(&trie), ..Series::default() },
        Series { name: LOOP.into(), samples: null.clone(), ..Series::default() },
    ];
    let group = Group {
        section: SECTION.name.into(),
        workload,
        size: table.prefixes.len(),
        label: table.label.clone(),
        unit: "ns".into(),
        base: WEIR.into(),
        series,
    };
    group.say();
    run.add(group, rounds.repeated, rounds.disturbed);
}

/// First and last of the ranges that sorted prefixes cover.
fn merged<A: Ord + Copy>(prefixes: &[Prefix<A>]) -> Vec<(A, A)> {
    let mut ranges: Vec<(A, A)> = Vec::new();
    for prefix in prefixes {
        match ranges.last_mut() {
            Some((_, last)) if prefix.first <= *last => *last = prefix.last.max(*last),
            _ => ranges.push((prefix.first, prefix.last)),
        }
    }
    ranges
}

fn holds<A: Ord + Copy>(ranges: &[(A, A)], address: A) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).is_some_and(|at| address <= ranges[at].1)
}

/// Keys of which most are of few hot addresses, the hottest as often as its rank says (Zipf's law, exponent 1).
fn zipf<A: Copy>(random: &mut Xorshift, mut either: impl FnMut(&mut Xorshift) -> A) -> Vec<A> {
    let hot: Vec<A> = (0..HOT).map(|_| either(random)).collect();
    let mut sums = Vec::with_capacity(HOT);
    let mut sum = 0;
    for rank in 1..=HOT {
        sum += KEYS / rank;
        sums.push(sum);
    }
    let mut draw = || {
        if random.below(100) < HOT_SHARE {
            let drawn = random.below(sum);
            hot[sums.partition_point(|&sum| sum <= drawn)]
        } else {
            either(random)
        }
    };
    (0..KEYS).map(|_| draw()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_held_by_the_ranges_of_its_prefixes_and_by_no_other() {
        let prefix = |first: u32, last: u32| Prefix { first, length: 0, last, asn: 1 };
        let ranges = merged(&[prefix(10, 20), prefix(12, 14), prefix(30, 30)]);
        assert_eq!(ranges, [(10, 20), (30, 30)]);
        let held: Vec<u32> = (0..40).filter(|&address| holds(&ranges, address)).collect();
        assert_eq!(held, (10..=20).chain([30]).collect::<Vec<_>>());
    }

    #[test]
    fn the_hottest_of_a_zipf_mix_is_twice_as_hot_as_the_next_and_a_tenth_is_not_hot() {
        let mut next = 0_usize;
        let keys = zipf(&mut Xorshift::new(1), |_| {
            next += 1;
            next
        });
        let count = |key: usize| keys.iter().filter(|&&other| other == key).count() as f64;
        let share = keys.iter().filter(|&&key| key > HOT).count() as f64 / KEYS as f64;
        assert!((1.9..2.1).contains(&(count(1) / count(2))), "{} {}", count(1), count(2));
        assert!((0.095..0.105).contains(&share), "{share}");
    }
}
