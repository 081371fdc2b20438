//! Filters whose list is replaced while they work: weir by its library, and its peers. Each is installed on a lane's router
//! with its list, and drops what is to a listed destination.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::programs::xdp::XdpLink;
use aya::programs::{XdpMode, loaded_programs};
use weir::datapath::attach::AttachKind;
use weir::datapath::publish::{Datapath, Wanted};
use weir::network;
use weir::prefix::Address;
use weir::process::RunDir;
use weir::ruleset::{Guard, Sets, compile};
use weir_tests::internet::{self, Prefix};
use weir_tests::programs::{self, program};
use weir_tests::weir::Scratch;

use super::lists::Lists;
use super::{IPSET, LPM, NFT, WEIR};
use crate::path::lane::{INGRESS, Lane};
use crate::peers::{detail, run, text};

/// How long a list took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Took {
    /// From memory to where it drops.
    pub(super) live: Duration,
    /// The part of it in which one list took the other's place, where that can be told apart.
    pub(super) swap: Option<Duration>,
}

/// A filter that is installed, for as long as this lives.
pub(super) trait Filter: Send {
    /// Loads the list once more, and puts it in the place of the one in use.
    fn replace(&mut self) -> Result<Took, String>;

    /// Figures of it that are taken once.
    fn once(&self) -> BTreeMap<String, f64> {
        BTreeMap::new()
    }
}

/// A filter of any kind.
pub(super) type Boxed<'l> = Box<dyn Filter + 'l>;

/// A kind of filter.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) install: for<'l> fn(&'l Lane, &'l Lists) -> Result<Boxed<'l>, String>,
}

/// All of them, each on the lane of its number.
pub(super) const KINDS: [Kind; 4] = [
    Kind { name: WEIR, install: |lane, lists| boxed(Weir::install(lane, lists)) },
    Kind { name: NFT, install: |lane, lists| boxed(Nft::install(lane, lists)) },
    Kind { name: IPSET, install: |lane, lists| boxed(Ipset::install(lane, lists)) },
    Kind { name: LPM, install: |lane, lists| boxed(Lpm::install(lane, lists)) },
];

fn boxed<'l>(filter: Result<impl Filter + 'l, String>) -> Result<Boxed<'l>, String> {
    Ok(Box::new(filter?))
}

/// weir, without the daemon.
struct Weir<'l> {
    lane: &'l Lane,
    lists: &'l Lists,
    // Before the run directory, whose pins it holds.
    datapath: Datapath,
    sets: Sets,
    _run_dir: RunDir,
    _scratch: Scratch,
}

impl<'l> Weir<'l> {
    fn install(lane: &'l Lane, lists: &'l Lists) -> Result<Self, String> {
        let scratch = Scratch::new();
        let run_dir = RunDir::take(&scratch.path().join("run")).map_err(|error| error.to_string())?;
        let datapath = Datapath::new(run_dir.pins(), false, detail().clients);
        let mut weir = Self { lane, lists, datapath, sets: Sets::default(), _run_dir: run_dir, _scratch: scratch };
        weir.replace()?;
        Ok(weir)
    }
}

impl Filter for Weir<'_> {
    fn replace(&mut self) -> Result<Took, String> {
        let Self { lane, lists, datapath, sets, .. } = self;
        lane.router.enter(|| {
            let device = network::devices().unwrap().remove(INGRESS).unwrap();
            let wanted = [Wanted { device, kinds: vec![AttachKind::XdpNative], egress: false }];
            let begun = Instant::now();
            let rules = internet::one_rule(&lists.rows);
            let ruleset = compile(&rules, &Guard::default(), sets, &BTreeMap::new());
            let ruleset = ruleset.map_err(|error| error.to_string())?;
            let staged = datapath.stage(&ruleset, &wanted).map_err(|error| error.to_string())?;
            let swap = Instant::now();
            datapath.publish(staged, &wanted).map_err(|error| error.to_string())?;
            Ok(Took { live: begun.elapsed(), swap: Some(swap.elapsed()) })
        })
    }

    fn once(&self) -> BTreeMap<String, f64> {
        verified("weir_xdp_l2")
    }
}

/// How much the verifier walked through for the program with this name that was loaded last.
fn verified(name: &str) -> BTreeMap<String, f64> {
    let programs = loaded_programs().flatten().filter(|program| name.starts_with(program.name_as_str().unwrap_or("?")));
    let count = programs.last().and_then(|program| program.verified_instruction_count());
    count.map(|count| ("verified instructions".to_owned(), f64::from(count))).into_iter().collect()
}

/// nftables, as in section *path*, with a set for each family.
struct Nft<'l> {
    lane: &'l Lane,
    update: PathBuf,
}

impl<'l> Nft<'l> {
    fn install(lane: &'l Lane, lists: &Lists) -> Result<Self, String> {
        let table = lane.scratch.file("table.nft", Lists::nft_table());
        let update = lane.scratch.file("update.nft", lists.nft_update());
        run(lane, "nft", &["-f", text(&table)])?;
        let mut nft = Self { lane, update };
        nft.replace()?;
        Ok(nft)
    }
}

impl Filter for Nft<'_> {
    fn replace(&mut self) -> Result<Took, String> {
        let begun = Instant::now();
        run(self.lane, "nft", &["-f", text(&self.update)])?;
        Ok(Took { live: begun.elapsed(), swap: None })
    }
}

impl Drop for Nft<'_> {
    fn drop(&mut self) {
        let _ = run(self.lane, "nft", &["delete", "table", "inet", "bench"]);
    }
}

/// ipset under iptables.
struct Ipset<'l> {
    lane: &'l Lane,
    next: PathBuf,
}

/// The rule of each family.
const RULES: [(&str, &str); 2] = [("iptables", "listed4"), ("ip6tables", "listed6")];
/// The sets in use, and those that take their place.
const SWAPS: [(&str, &str); 2] = [("next4", "listed4"), ("next6", "listed6")];

impl<'l> Ipset<'l> {
    fn install(lane: &'l Lane, lists: &Lists) -> Result<Self, String> {
        let first = lane.scratch.file("listed.ipset", lists.ipset("listed"));
        let next = lane.scratch.file("next.ipset", lists.ipset("next"));
        run(lane, "ipset", &["restore", "-file", text(&first)])?;
        let ipset = Self { lane, next };
        ipset.rules("-A")?;
        Ok(ipset)
    }

    fn rules(&self, verb: &str) -> Result<(), String> {
        RULES.into_iter().try_for_each(|(program, set)| {
            let rule = ["-t", "raw", verb, "PREROUTING", "-m", "set", "--match-set", set, "dst", "-j", "DROP"];
            run(self.lane, program, &rule)
        })
    }
}

impl Filter for Ipset<'_> {
    fn replace(&mut self) -> Result<Took, String> {
        let begun = Instant::now();
        run(self.lane, "ipset", &["restore", "-file", text(&self.next)])?;
        let swap = Instant::now();
        SWAPS.into_iter().try_for_each(|(next, listed)| run(self.lane, "ipset", &["swap", next, listed]))?;
        let took = Took { live: begun.elapsed(), swap: Some(swap.elapsed()) };
        SWAPS.into_iter().try_for_each(|(next, _)| run(self.lane, "ipset", &["destroy", next]))?;
        Ok(took)
    }
}

impl Drop for Ipset<'_> {
    fn drop(&mut self) {
        let _ = self.rules("-D");
        for (_, listed) in SWAPS {
            let _ = run(self.lane, "ipset", &["destroy", listed]);
        }
    }
}

/// The filter with an `LPM_TRIE`, and one for IPv6 that it has no rule for.
struct Lpm<'l> {
    lane: &'l Lane,
    lists: &'l Lists,
    running: Option<(XdpLink, Ebpf)>,
}

impl<'l> Lpm<'l> {
    fn install(lane: &'l Lane, lists: &'l Lists) -> Result<Self, String> {
        let mut lpm = Self { lane, lists, running: None };
        lpm.replace()?;
        Ok(lpm)
    }
}

impl Filter for Lpm<'_> {
    fn replace(&mut self) -> Result<Took, String> {
        const PROGRAM: &str = "lpm_filter";
        let Self { lane, lists, running } = self;
        let begun = Instant::now();
        let mut ebpf = programs::load(&[("LPM4", lists.v4.len()), ("LPM6", lists.v6.len())], &[PROGRAM]);
        fill(&mut ebpf, "LPM4", &lists.v4, u32::to_be_bytes)?;
        fill(&mut ebpf, "LPM6", &lists.v6, u128::to_be_bytes)?;
        let swap = Instant::now();
        let before = running.take();
        let program = program(&mut ebpf, PROGRAM);
        let (link, old) = match before {
            Some((link, old)) => (program.attach_to_link(link), Some(old)),
            None => (lane.router.enter(|| program.attach(INGRESS, XdpMode::Driver)), None),
        };
        let took = Took { live: begun.elapsed(), swap: old.is_some().then(|| swap.elapsed()) };
        let link = link.and_then(|id| program.take_link(id)).map_err(|error| error.to_string())?;
        *running = Some((link, ebpf));
        drop(old);
        Ok(took)
    }

    fn once(&self) -> BTreeMap<String, f64> {
        verified("lpm_filter")
    }
}

fn fill<A: Address, const N: usize>(
    ebpf: &mut Ebpf,
    map: &str,
    prefixes: &[Prefix<A>],
    bytes: fn(A) -> [u8; N],
) -> Result<(), String>
where
    [u8; N]: aya::Pod,
{
    let mut trie =
        LpmTrie::<_, [u8; N], u32>::try_from(ebpf.map_mut(map).unwrap()).map_err(|error| error.to_string())?;
    for prefix in prefixes {
        trie.insert(&Key::new(prefix.length.into(), bytes(prefix.first)), 1, 0).map_err(|error| error.to_string())?;
    }
    Ok(())
}
