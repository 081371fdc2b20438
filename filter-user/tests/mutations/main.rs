//! Every reader of foreign bytes against thousands of damaged real files. Whatever it is given, it must not panic, must
//! answer in time and in bounded memory, and say what is wrong in one line that a terminal can show.
//!
//! The mutants are the same in each run, and a failure names the one it failed on. Formats that a reader learns later are
//! covered as soon as the data set has a file of them: all seeds go to all readers.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod allocator;
mod mutation;
mod seeds;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use allocator::peak_of;
use mutation::{Random, mutate};
use seeds::Seed;
use weir::capture;
use weir::catalog::Catalog;
use weir::config::Config;
use weir::prefix::{Address, Listed};
use weir::source::{NamePattern, Parsed, Wanted, read_asn_table, read_list};

/// What a reader may take and say.
struct Bounds {
    /// Bytes of memory, whatever the input.
    fixed: usize,
    /// And for each byte of the input, once that is unpacked.
    factor: usize,
    /// Bytes of an error's line.
    line: usize,
}

/// The shortest entry is `::` and a line's end, three bytes that become a range of 48. Twice as much again is there while
/// a vector grows, and the unpacked text beside it.
const LIST: Bounds = Bounds { fixed: 256 << 10, factor: 64, line: 400 };
/// In a MaxMind database, six bytes of a node may stand for eight ranges of 48.
const ASN_TABLE: Bounds = Bounds { fixed: 256 << 10, factor: 256, line: 400 };
/// Frames stay where they are. An interface is 20 bytes in the file and 8 in memory.
const CAPTURE: Bounds = Bounds { fixed: 4 << 10, factor: 2, line: 200 };
/// A token of one byte is a node of a hundred.
const CONFIG: Bounds = Bounds { fixed: 256 << 10, factor: 256, line: 3000 };
/// The window and tables of a decompressor; most are those of bzip2 with its largest blocks.
const DECOMPRESSOR: usize = 8 << 20;

/// How long one call may take, on the machine of whoever runs this.
const LONGEST_CALL: Duration = Duration::from_secs(2);
/// How many bytes of mutants are made of a seed that the reader accepts, and so how long all this takes.
const BUDGET: usize = 8 << 20;
/// How many mutants that are, at least and at most.
const MUTANTS: (usize, usize) = (60, 2000);
/// A seed that the reader refuses as it is leads to few places: of these, one mutant is made where others have so many.
const REFUSED: usize = 10;

/// Gives every mutant of every seed to a reader, which returns its error's text.
fn hold(test: &str, bounds: &Bounds, read: impl Fn(&[u8]) -> Result<(), String>) {
    let Some(seeds) = seeds::all(test) else { return };
    assert!(seeds.len() > 50, "{} seeds", seeds.len());
    let (started, watch) = (Instant::now(), Watch::start());
    let read = |bytes: &[u8]| catch_unwind(AssertUnwindSafe(|| read(bytes)));
    let (mut calls, mut accepted, mut slowest, mut densest) = (0, 0, Most::default(), Most::default());
    for seed in &seeds {
        let mut random = Random::new(&seed.name);
        let count = (BUDGET / seed.bytes.len().max(1)).clamp(MUTANTS.0, MUTANTS.1);
        watch.note(&seed.name);
        let count = if matches!(read(&seed.bytes), Ok(Ok(()))) { count } else { count / REFUSED };
        for number in 0..count {
            let (input, what) = mutant(seed, &seeds, number, &mut random);
            let name = format!("{}, mutant {number} ({what}, {} bytes)", seed.name, input.len());
            watch.note(&name);
            let before = Instant::now();
            let (result, peak) = peak_of(|| read(&input));
            let took = before.elapsed();
            let Ok(result) = result else { panic!("{name}: it panicked") };
            if let Err(line) = &result {
                let fit = !line.is_empty() && line.len() <= bounds.line;
                let fit = fit && !line.contains(char::is_control);
                assert!(fit, "{name}: {:?}", line.chars().take(1000).collect::<String>());
            }
            assert!(took < LONGEST_CALL, "{name}: {took:?}");
            let content = seeds::content(&input, usize::MAX);
            let decompressor = if content.is_some() { DECOMPRESSOR } else { 0 };
            let content = input.len().max(content.map_or(0, |content| content.len()));
            let allowed = bounds.fixed + decompressor + bounds.factor * content;
            assert!(peak <= allowed, "{name}: {peak} bytes of memory, allowed are {allowed}");
            calls += 1;
            accepted += u32::from(result.is_ok());
            slowest.note(took.as_secs_f64() * 1e3, &name);
            if decompressor == 0 {
                densest.note(peak.saturating_sub(bounds.fixed) as f64 / content.max(1) as f64, &name);
            }
        }
    }
    println!("{test}: {calls} mutants of {} seeds in {:?}, {accepted} accepted", seeds.len(), started.elapsed());
    println!("  slowest: {:.1} ms, {}", slowest.0, slowest.1);
    println!("  most memory: {:.1} bytes for each of the input, {}", densest.0, densest.1);
}

/// The most of something, and what took it.
#[derive(Default)]
struct Most(f64, String);

impl Most {
    fn note(&mut self, amount: f64, name: &str) {
        if amount > self.0 {
            *self = Self(amount, name.to_owned());
        }
    }
}

/// Ends the process, by name of the mutant, where a call does not come back: nothing else would say which it was.
struct Watch(Arc<Mutex<(Instant, String)>>);

impl Watch {
    fn start() -> Self {
        let watched = Arc::new(Mutex::new((Instant::now(), String::new())));
        let watch = Self(watched.clone());
        thread::spawn(move || {
            while Arc::strong_count(&watched) > 1 {
                thread::sleep(LONGEST_CALL / 10);
                let (since, name) = &*watched.lock().unwrap();
                if since.elapsed() > 10 * LONGEST_CALL {
                    let line = format!("{name}: no answer after {:?}\n", since.elapsed());
                    io::stderr().write_all(line.as_bytes()).unwrap();
                    process::abort();
                }
            }
        });
        watch
    }

    fn note(&self, name: &str) {
        *self.0.lock().unwrap() = (Instant::now(), name.to_owned());
    }
}

/// The mutant of this number: the seed itself, then cuts all along it, then damage.
fn mutant(seed: &Seed, seeds: &[Seed], number: usize, random: &mut Random) -> (Vec<u8>, &'static str) {
    const CUTS: usize = 16;
    let mut bytes = seed.bytes.clone();
    match number {
        0 => return (bytes, "whole"),
        1..=CUTS => {
            bytes.truncate(bytes.len() * (number - 1) / CUTS);
            return (bytes, "cut");
        }
        _ => {}
    }
    let other = &seeds[random.below(seeds.len())];
    mutate(&mut bytes, &other.bytes, random);
    (bytes, "damaged")
}

/// What any answer must be, however damaged the source is.
fn judge(parsed: &Parsed) {
    fn ordered<A: Address>(ranges: &[Listed<A>]) {
        assert!(ranges.iter().all(|range| range.first <= range.last), "a range ends before it starts");
    }
    ordered(&parsed.prefixes.v4);
    ordered(&parsed.prefixes.v6);
    for text in parsed.warnings.iter().map(|warning| &warning.text).chain(&parsed.cut) {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

#[test]
fn no_mutant_breaks_the_reader_of_lists() {
    hold("no_mutant_breaks_the_reader_of_lists", &LIST, |bytes| {
        read_list(bytes).map(|parsed| judge(&parsed)).map_err(|error| error.to_string())
    });
}

#[test]
fn no_mutant_breaks_the_reader_of_asn_tables() {
    let named = Wanted::Named([64500, 13335].into(), vec![NamePattern::new("tiktok").unwrap()]);
    hold("no_mutant_breaks_the_reader_of_asn_tables", &ASN_TABLE, |bytes| {
        for wanted in [&named, &Wanted::All] {
            let table = read_asn_table(bytes, wanted).map_err(|error| error.to_string())?;
            judge(&table.parsed);
            let asns = table.parsed.prefixes.v4.iter().map(|range| range.asn);
            assert!(asns.chain(table.parsed.prefixes.v6.iter().map(|range| range.asn)).all(|asn| asn != 0));
            assert!(table.rows > 0 && !table.organisations.values().any(|name| name.contains(char::is_control)));
        }
        Ok(())
    });
}

#[test]
fn no_mutant_breaks_the_reader_of_captures() {
    hold("no_mutant_breaks_the_reader_of_captures", &CAPTURE, |bytes| {
        let mut held = 0;
        for frame in capture::frames(bytes).map_err(|error| error.to_string())? {
            let frame = frame.map_err(|error| error.to_string())?;
            assert!(frame.wire_len as usize >= frame.bytes.len());
            held += frame.bytes.len();
        }
        // An Ethernet header that was rebuilt is shorter than the record's header it stands for.
        assert!(held <= bytes.len(), "{held} bytes of frames in a file of {}", bytes.len());
        Ok(())
    });
}

#[test]
fn no_mutant_breaks_the_reader_of_configurations() {
    hold("no_mutant_breaks_the_reader_of_configurations", &CONFIG, |bytes| {
        Config::parse(Path::new("weir.toml"), bytes, Catalog::embedded()).map(drop).map_err(|error| error.to_string())
    });
}

#[test]
fn a_bomb_takes_no_more_than_its_content() {
    const CONTENT: usize = 64 << 20;
    let bomb = seeds::compressed(&vec![b'\n'; CONTENT]);
    let (parsed, peak) = peak_of(|| read_list(&bomb));
    assert_eq!(parsed.unwrap(), Parsed::default());
    // The text, and its half while it grew.
    assert!(
        peak < LIST.fixed + DECOMPRESSOR + 3 * CONTENT,
        "{peak} bytes for a content of {CONTENT}, out of {}",
        bomb.len()
    );
}
