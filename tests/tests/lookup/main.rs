//! The lookup on the Internet's whole table: equal to the kernel's `LPM_TRIE` everywhere, how much faster, how much memory,
//! and how long a publish of it takes.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use filter_common::packet::Layer;
use weir::datapath::object::{Capacity, Detail, Hook, Object, Options};
use weir::prefix::{Address, Prefixes};
use weir::ruleset::{Guard, Rule, Ruleset, Sets, compile};
use weir_tests::frame::Xorshift;
use weir_tests::internet::{self, Prefix};
use weir_tests::keys::{anywhere_v4, anywhere_v6, distinct, inside_v4, inside_v6};
use weir_tests::lookup::{Bench, GROUP};
use weir_tests::require_root;

const RANDOM_KEYS: usize = 1 << 20;
/// The times of a lookup that hits are medians of so many.
const ROUNDS: usize = 9;
/// The machine is shared: a measurement that misses its mark is made again, as a whole, so often in all.
const ATTEMPTS: usize = 3;

/// One test at a time: each measures, or keeps both CPUs busy.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every range's first and last address and their neighbours, then random addresses, half of them listed, to whole groups.
fn telling<A: Address>(prefixes: &[Prefix<A>], mut random: impl FnMut(usize) -> A) -> Vec<A> {
    let near = |prefix: &Prefix<A>| {
        [prefix.first.previous(), Some(prefix.first), Some(prefix.last), prefix.last.next()].into_iter().flatten()
    };
    let mut keys: Vec<A> = prefixes.iter().flat_map(near).collect();
    let length = (keys.len() + RANDOM_KEYS).next_multiple_of(GROUP);
    keys.extend((keys.len()..length).map(&mut random));
    keys
}

#[test]
fn every_lookup_in_the_whole_internet_table_is_that_of_the_kernels_lpm_trie() {
    let test = "every_lookup_in_the_whole_internet_table_is_that_of_the_kernels_lpm_trie";
    let _alone = alone();
    require_root();
    let Some(all) = internet::read(test) else { return };
    let (v4, v6) = (internet::prefixes_v4(&all.v4), internet::prefixes_v6(&all.v6));
    assert_eq!((v4.len(), v6.len()), (564_580, 167_903));
    let (ruleset, ids) = internet::compiled(&all);
    let tables = &ruleset.tables;
    println!("{} + {} prefixes, {} sets", v4.len(), v6.len(), ids.len());
    println!("IPv4 table {} bytes, IPv6 table {} bytes", tables.v4.bytes(), tables.v6.bytes());
    assert!(tables.v4.bytes() <= 4_000_000 && tables.v6.bytes() <= 3_000_000, "{tables:?}");

    let mut random = Xorshift::new(1);
    let keys4 = telling(&v4, |at| if at % 2 == 0 { anywhere_v4(&mut random) } else { inside_v4(&mut random, &v4) });
    let keys6 = telling(&v6, |at| if at % 2 == 0 { anywhere_v6(&mut random) } else { inside_v6(&mut random, &v6) });
    let groups = (keys4.len() / GROUP, keys6.len() / GROUP);
    let mut bench = Bench::load(tables, (&v4, &v6), &ids, groups);
    for &key in &keys4 {
        assert_eq!(ruleset.set_of(key.to_ip()), bench.trie_v4(key), "weir left, LPM_TRIE right: {}", key.to_ip());
    }
    for &key in &keys6 {
        assert_eq!(ruleset.set_of(key.to_ip()), bench.trie_v6(key), "weir left, LPM_TRIE right: {}", key.to_ip());
    }
    // The same in the kernel, where a program returns the sum of a group's answers.
    bench.keys_v4(&keys4);
    bench.keys_v6(&keys6);
    for (weir, trie, groups) in [("weir4", "lpm4", groups.0), ("weir6", "lpm6", groups.1)] {
        for group in 0..groups {
            let (left, right) = (bench.run(weir, group, 1).1, bench.run(trie, group, 1).1);
            assert_eq!(left, right, "{weir} left, {trie} right, group {group}");
        }
    }
    println!("{} + {} addresses: all answers equal", keys4.len(), keys6.len());
}

/// Nanoseconds for one lookup, by program; the loop's own time is in all three.
struct Figures {
    null: f64,
    weir: f64,
    trie: f64,
}

impl Figures {
    fn ratio(&self) -> f64 {
        (self.trie - self.null) / (self.weir - self.null)
    }

    fn print(&self, what: &str) {
        let Self { null, weir, trie } = self;
        let (weir, trie) = (weir - null, trie - null);
        println!("{what}: weir {weir:.1} ns, LPM_TRIE {trie:.1} ns, {:.1} times; loop {null:.1} ns", self.ratio());
    }
}

/// Times of one lookup, IPv4 and IPv6. The programs take turns, so that a slow moment of the machine meets all of them.
fn measure(bench: &mut Bench, rounds: usize) -> [Figures; 2] {
    const PROGRAMS: [&str; 6] = ["null4", "weir4", "lpm4", "null6", "weir6", "lpm6"];
    let mut times = [const { Vec::new() }; 6];
    let mut sums = [0; 6];
    for _ in 0..rounds {
        for (at, name) in PROGRAMS.iter().enumerate() {
            let (time, sum) = bench.run(name, 0, RANDOM_KEYS / GROUP);
            times[at].push(time);
            sums[at] = sum;
        }
    }
    assert_eq!((sums[1], sums[4]), (sums[2], sums[5]), "weir's answers and LPM_TRIE's");
    let each = times.map(|times| median(times).as_nanos() as f64 / GROUP as f64);
    [Figures { null: each[0], weir: each[1], trie: each[2] }, Figures { null: each[3], weir: each[4], trie: each[5] }]
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Measures hits and misses with `count` prefixes of each family; true where hits are `wanted` times faster (IPv4, IPv6).
fn is_faster(all: &Prefixes, count: usize, wanted: [f64; 2], seed: u64) -> bool {
    let v4 = internet::sample(internet::prefixes_v4(&all.v4), count, seed);
    let v6 = internet::sample(internet::prefixes_v6(&all.v6), count, seed);
    let (ruleset, ids) = internet::compiled(&Prefixes { v4: internet::rows(&v4), v6: internet::rows(&v6) });
    let groups = RANDOM_KEYS / GROUP;
    let mut bench = Bench::load(&ruleset.tables, (&v4, &v6), &ids, (groups, groups));
    let mut random = Xorshift::new(seed);
    bench.keys_v4(&distinct(RANDOM_KEYS, || inside_v4(&mut random, &v4)));
    bench.keys_v6(&distinct(RANDOM_KEYS, || inside_v6(&mut random, &v6)));
    let hits = measure(&mut bench, ROUNDS);
    bench.keys_v4(&distinct(RANDOM_KEYS, || anywhere_v4(&mut random)));
    bench.keys_v6(&distinct(RANDOM_KEYS, || anywhere_v6(&mut random)));
    let anywhere = measure(&mut bench, 3);
    for (family, count, at) in [("IPv4", v4.len(), 0), ("IPv6", v6.len(), 1)] {
        hits[at].print(&format!("{family}, {count} prefixes, hits"));
        anywhere[at].print(&format!("{family}, {count} prefixes, random addresses"));
    }
    hits.iter().zip(wanted).all(|(figures, wanted)| figures.ratio() >= wanted)
}

#[test]
fn lookup_is_10x_faster_than_lpm_trie_at_100_000_real_prefixes_and_20x_at_the_full_table() {
    let test = "lookup_is_10x_faster_than_lpm_trie_at_100_000_real_prefixes_and_20x_at_the_full_table";
    let _alone = alone();
    require_root();
    let Some(all) = internet::read(test) else { return };
    // IPv6 is 9 to 31 times faster, by what else the machine's cache is used for: it is LPM_TRIE that gets slower. The benchmark
    // holds it to more (`cargo xtask bench`); this is to notice a change for the worse.
    for (count, wanted) in [(100_000, [10.0, 7.0]), (usize::MAX, [20.0, 9.0])] {
        let fast = (1..).take(ATTEMPTS).any(|attempt| {
            println!("attempt {attempt}, at least {wanted:?} times faster on hits:");
            is_faster(&all, count, wanted, attempt)
        });
        assert!(fast, "less than {wanted:?} times faster in {ATTEMPTS} attempts, figures above");
    }
}

/// How parsed lists become rules.
type Grouping = fn(&Prefixes) -> Vec<Rule>;

/// Times of one publish, from parsed lists to an object that can be attached.
struct Published {
    rules: Duration,
    compile: Duration,
    load: Duration,
    verify: [Duration; 6],
}

impl Published {
    fn total(&self) -> Duration {
        self.rules + self.compile + self.load + self.verify.iter().sum::<Duration>()
    }
}

fn load(ruleset: &Ruleset) -> Object {
    let sets = u32::try_from(ruleset.actions.len()).unwrap();
    let capacity = Capacity { ports: 4, sets };
    Object::load(
        ruleset,
        &Options { ports: &[], capacity, pins: None, detail: Detail::default(), trace: false, record: false },
    )
    .unwrap()
}

fn publish(all: &Prefixes, rules: Grouping, sets: &mut Sets) -> Published {
    fn timed<T>(step: impl FnOnce() -> T) -> (Duration, T) {
        let start = Instant::now();
        let made = step();
        (start.elapsed(), made)
    }
    let (rules, list) = timed(|| rules(all));
    let (compile, ruleset) = timed(|| compile(&list, &Guard::default(), sets, &BTreeMap::new()).unwrap());
    let (load, mut object) = timed(|| load(&ruleset));
    let mut verify = [Duration::ZERO; 6];
    let hooks = [Hook::Xdp, Hook::TcIngress, Hook::TcEgress];
    let entries = hooks.into_iter().flat_map(|hook| [(hook, Layer::Ethernet), (hook, Layer::Ip)]);
    for (time, (hook, layer)) in verify.iter_mut().zip(entries) {
        (*time, ()) = timed(|| match hook {
            Hook::Xdp => drop(object.xdp(layer).unwrap()),
            Hook::TcIngress | Hook::TcEgress => drop(object.classifier(hook, layer).unwrap()),
        });
    }
    Published { rules, compile, load, verify }
}

#[test]
fn the_full_table_is_published_in_half_a_second_and_each_program_is_verified_in_a_tenth() {
    let test = "the_full_table_is_published_in_half_a_second_and_each_program_is_verified_in_a_tenth";
    let _alone = alone();
    require_root();
    let Some(all) = internet::read(test) else { return };
    // 91,065 rules are no configuration that anybody has: they may take longer, but not for ever.
    let kinds: [(&str, Grouping, u64); 2] =
        [("one rule", internet::one_rule, 500), ("a rule for each AS", internet::rule_for_each_as, 3000)];
    for (what, rules, limit) in kinds {
        let mut sets = Sets::default();
        let fast = (1..=ATTEMPTS).any(|attempt| {
            let runs: Vec<_> = (0..5).map(|_| publish(&all, rules, &mut sets)).collect();
            let of = |time: &dyn Fn(&Published) -> Duration| median(runs.iter().map(time).collect());
            let verify: [Duration; 6] = std::array::from_fn(|at| of(&|run| run.verify[at]));
            let total = of(&Published::total);
            println!("attempt {attempt}, {what}: published in {total:.1?}, median of 5");
            println!(
                "  rules {:.1?}, compile {:.1?}, maps {:.1?}, verify {verify:.1?}",
                of(&|run| run.rules),
                of(&|run| run.compile),
                of(&|run| run.load)
            );
            total < Duration::from_millis(limit) && verify.iter().all(|&time| time < Duration::from_millis(100))
        });
        assert!(
            fast,
            "{what}: too slow in {ATTEMPTS} attempts, figures above; is filter-user optimised? (profile.dev in Cargo.toml)"
        );
    }
}
