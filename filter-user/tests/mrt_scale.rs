//! How long a dump of a million prefixes takes, and how much memory. The prefixes are made up, the routes to them are
//! those of two real slices; what each AS must get comes from bgpkit-parser and from arithmetic on the prefixes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod dumps;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use bgpkit_parser::RawMrtRecord;
use flate2::{Compression, write::GzEncoder};
use ipnet::IpNet;
use weir::prefix::{Address, AddressSet, Asn, Listed};
use weir::source::announced::Announced;
use weir::source::{Wanted, read_asn_table};

use dumps::{SLICES, files, unpacked};

/// IPv4 and IPv6 in the share they have in the whole table.
const PREFIXES_V4: u32 = 800_000;
const PREFIXES_V6: u32 = 200_000;
const ASES: usize = 50;

const MOST_TIME: Duration = Duration::from_secs(10);
const MOST_MEMORY: u64 = 200_000_000;

/// Set for the process that reads a dump, so that its memory is that of nothing else: the dump to read.
const DUMP: &str = "WEIR_TEST_DUMP";

/// A record of a slice: the routes as they stand there, and the origin of each.
struct Sample {
    routes: Vec<Vec<u8>>,
    origins: Vec<Option<Asn>>,
}

/// The routes of a RIB record of `TABLE_DUMP_V2` (RFC 6396 section 4.3.2).
fn sample(record: RawMrtRecord) -> Sample {
    let body = record.message_bytes.clone();
    let number = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    let mut at = 5 + usize::from(body[4]).div_ceil(8);
    let count = number(at);
    at += 2;
    let routes = (0..count).map(|_| {
        let end = at + 8 + number(at + 6);
        let route = body[at..end].to_vec();
        at = end;
        route
    });
    let routes: Vec<_> = routes.collect();
    let origins: Vec<_> = dumps::routes(record).unwrap().iter().map(|(_, path)| dumps::origin(path.as_ref())).collect();
    assert_eq!(routes.len(), origins.len());
    Sample { routes, origins }
}

/// A slice: its list of peers, and its routes.
struct Slice {
    peers: Vec<u8>,
    samples: Vec<Sample>,
    subtype: u16,
}

fn slice(bytes: &[u8], subtype: u16) -> Slice {
    let mut records = dumps::records(&unpacked(bytes)).into_iter();
    let peers = records.next().unwrap();
    assert_eq!(peers.common_header.entry_subtype, 1);
    // The default route is skipped, so it would make no prefix.
    let records = records.filter(|record| record.message_bytes[4] != 0);
    Slice { peers: peers.raw_bytes().to_vec(), samples: records.map(sample).collect(), subtype }
}

/// The `at`th prefix: a /24 or a /48, each once and in no order, for multiplication by an odd number is a permutation.
fn net_v4(at: u32) -> u32 {
    (at.wrapping_mul(0x9e37_79b1) & 0x00ff_ffff) << 8
}

fn net_v6(at: u32) -> u128 {
    (0x2000 << 112) | u128::from(at.wrapping_mul(0x9e37_79b1)) << 80
}

impl Slice {
    /// The prefixes of this slice, of whatever family, as the bytes on the wire.
    fn net(&self, at: u32) -> Vec<u8> {
        match self.subtype {
            2 => [&[24][..], &net_v4(at).to_be_bytes()[..3]].concat(),
            _ => [&[48][..], &net_v6(at).to_be_bytes()[..6]].concat(),
        }
    }

    fn sample(&self, at: u32) -> &Sample {
        &self.samples[at as usize % self.samples.len()]
    }

    /// A part of a dump, as a gzip member: `routes` says how many routes a prefix has.
    fn dump(&self, prefixes: std::ops::Range<u32>, routes: fn(u32) -> usize) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&self.peers).unwrap();
        for at in prefixes {
            let of = &self.sample(at).routes;
            let of = &of[..routes(at).min(of.len())];
            let count = u16::try_from(of.len()).unwrap();
            let body = [&at.to_be_bytes()[..], &self.net(at), &count.to_be_bytes(), &of.concat()].concat();
            let header = [0x537e_f060, 13 << 16 | u32::from(self.subtype), u32::try_from(body.len()).unwrap()];
            gzip.write_all(&header.map(u32::to_be_bytes).concat()).unwrap();
            gzip.write_all(&body).unwrap();
        }
        gzip.finish().unwrap()
    }

    /// What each AS originates.
    fn origins<A: Address>(
        &self,
        prefixes: u32,
        routes: fn(u32) -> usize,
        range: fn(u32) -> (A, A),
    ) -> HashMap<Asn, Vec<(A, A)>> {
        let mut origins: HashMap<Asn, Vec<(A, A)>> = HashMap::new();
        for at in 0..prefixes {
            let own: BTreeSet<Asn> = self.sample(at).origins.iter().take(routes(at)).flatten().copied().collect();
            for asn in own {
                origins.entry(asn).or_default().push(range(at));
            }
        }
        origins
    }
}

/// The sum of all an AS has, in which a wrong border shows.
fn digest<A: Address>(ranges: &AddressSet<A>) -> String {
    let sum = ranges.ranges().iter().fold(0_u128, |sum, &(first, last)| {
        sum.wrapping_mul(31).wrapping_add(first.into()).wrapping_mul(31).wrapping_add(last.into())
    });
    format!("{} ranges, {} addresses, {sum:x}", ranges.ranges().len(), ranges.addresses())
}

fn of_as<A: Address>(rows: &[Listed<A>], asn: Asn) -> AddressSet<A> {
    rows.iter().filter(|row| row.asn == asn).map(|row| (row.first, row.last)).collect()
}

/// What the reading process writes: the rows, the time and the memory it took, then a line for each AS.
fn read_dump(path: &Path) {
    let wanted: BTreeSet<Asn> = env::args().filter_map(|word| word.strip_prefix("AS")?.parse().ok()).collect();
    let start = Instant::now();
    let bytes = fs::read(path).unwrap();
    let table = read_asn_table(&bytes, &Wanted::Only(wanted.clone())).unwrap();
    let time = start.elapsed();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    println!("read {} {} {peak}", table.rows, time.as_micros());
    for asn in wanted {
        let prefixes = &table.parsed.prefixes;
        println!("AS{asn} {} {}", digest(&of_as(&prefixes.v4, asn)), digest(&of_as(&prefixes.v6, asn)));
    }
}

/// A file that goes with the test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

/// The test `name`: 50 ASes out of a million prefixes of `routes` routes each. Returns the file's size and the peak of
/// memory, in bytes.
fn resolve(name: &str, routes: fn(u32) -> usize) -> Option<(u64, u64)> {
    if let Some(path) = env::var_os(DUMP) {
        read_dump(Path::new(&path));
        return None;
    }
    let [v4, v6] = files(name, [SLICES[0], SLICES[1]])?;
    let (v4, v6) = (slice(&v4, 2), slice(&v6, 4));
    let half = PREFIXES_V4 / 2;
    let (first, rest) = thread::scope(|scope| {
        let first = scope.spawn(|| v4.dump(0..half, routes));
        let rest = [v4.dump(half..PREFIXES_V4, routes), v6.dump(0..PREFIXES_V6, routes)].concat();
        (first.join().unwrap(), rest)
    });
    let dump = Scratch(env::temp_dir().join(format!("weir-{name}-{}.mrt.gz", std::process::id())));
    fs::write(&dump.0, [first, rest].concat()).unwrap();
    let v4 = v4.origins(PREFIXES_V4, routes, |at| (net_v4(at), net_v4(at) | 0xff));
    let v6 = v6.origins(PREFIXES_V6, routes, |at| (net_v6(at), net_v6(at) | u128::MAX >> 48));
    // Those with most to do.
    let mut ases: Vec<Asn> = v4.keys().copied().collect();
    ases.sort_by_key(|asn| std::cmp::Reverse(v4[asn].len() + v6.get(asn).map_or(0, Vec::len)));
    ases.truncate(ASES);
    let mut command = Command::new(env::current_exe().unwrap());
    // Words that start with AS are filters to libtest, of which one that matches is enough.
    command.args([name, "--exact", "--nocapture"]).args(ases.iter().map(|asn| format!("AS{asn}")));
    let output = command.env(DUMP, &dump.0).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let figures = text.lines().find_map(|line| line.strip_prefix("read ")).unwrap_or_else(|| panic!("{text}"));
    let [rows, micros, peak] =
        figures.split(' ').map(|word| word.parse().unwrap()).collect::<Vec<u64>>().try_into().unwrap();
    let (time, peak, size) = (Duration::from_micros(micros), peak * 1024, fs::metadata(&dump.0).unwrap().len());
    println!("{name}: {rows} rows, {size} bytes of gzip, {time:?}, at most {peak} bytes of memory");
    let found: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("AS")?.split_once(' ')).collect();
    assert_eq!(found.len(), ASES);
    for asn in ases {
        let v4: AddressSet<u32> = v4.get(&asn).into_iter().flatten().copied().collect();
        let v6: AddressSet<u128> = v6.get(&asn).into_iter().flatten().copied().collect();
        assert_eq!(found[asn.to_string().as_str()], format!("{} {}", digest(&v4), digest(&v6)), "AS{asn}");
    }
    assert!(time < MOST_TIME, "{time:?}");
    Some((size, peak))
}

#[test]
fn fifty_ases_are_resolved_from_a_million_prefixes_of_one_to_three_routes() {
    let name = "fifty_ases_are_resolved_from_a_million_prefixes_of_one_to_three_routes";
    let Some((_, peak)) = resolve(name, |at| 1 + at as usize % 3) else { return };
    assert!(peak < MOST_MEMORY, "{peak}");
}

#[test]
fn fifty_ases_are_resolved_from_a_million_prefixes_of_every_peers_route() {
    let name = "fifty_ases_are_resolved_from_a_million_prefixes_of_every_peers_route";
    let Some((size, peak)) = resolve(name, |_| usize::MAX) else { return };
    // The file alone is most of it, and how small that is depends on who compressed it.
    assert!(peak - size < MOST_MEMORY / 4, "{peak} - {size}");
}

#[test]
fn prefixes_inside_one_of_very_many_ases_are_no_trap() {
    let (origins, inside) = (65_535_u32, 500_000);
    let net = |address: u32, length| IpNet::new(address.to_ip(), length).unwrap();
    let mut routes = Announced::default();
    (1..=origins).for_each(|asn| routes.push(net(0, 1), asn));
    (0..inside).for_each(|at| routes.push(net(at << 8, 25), 70_000));
    let start = Instant::now();
    let prefixes = routes.origins(&Wanted::Only([7, 70_000].into()));
    println!("{origins} origins around {inside} prefixes: {:?}", start.elapsed());
    let holes: AddressSet<u32> = (0..inside).map(|at| (at << 8, at << 8 | 0x7f)).collect();
    assert_eq!(of_as(&prefixes.v4, 70_000), holes);
    assert_eq!(of_as(&prefixes.v4, 7), AddressSet::from_iter([(0, u32::MAX >> 1)]).subtract(&holes));
    // To look at each origin for each prefix inside takes more than a minute.
    assert!(start.elapsed() < MOST_TIME, "{:?}", start.elapsed());
}
