//! What is measured beside weir, and weir: each installs itself on a lane's router for a list. A peer gets its cheapest form
//! that is right: it asks for the destination alone, and for ranges without overlap.

mod iptables;
mod nft;
mod weir;
mod xdp;
pub(crate) mod xdp_filter;

use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use crate::list::List;
use crate::path::lane::Lane;

pub(crate) use self::weir::detail;

/// What a candidate does to frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    /// Drops all.
    DropAll,
    /// Drops those to listed destinations.
    DropListed,
    /// Passes all.
    PassAll,
}

/// A filter that can be installed.
#[derive(Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    pub(crate) does: Does,
    /// Installs it, or says why that cannot be.
    pub(crate) install: fn(&Lane, &List) -> Result<Installed, String>,
}

/// A filter that is installed, for as long as this lives or the lane does; and what it took.
pub(crate) struct Installed {
    _guard: Box<dyn Any>,
    pub(crate) once: BTreeMap<String, f64>,
}

impl Installed {
    fn new(guard: impl Any, begun: Instant) -> Self {
        let once = [("load ms".to_owned(), begun.elapsed().as_secs_f64() * 1e3)].into();
        Self { _guard: Box::new(guard), once }
    }
}

/// Seconds that a peer may take to load a list.
const PATIENCE: &str = "60";

/// Runs a command in the lane's router, for a minute at most.
pub(crate) fn run(lane: &Lane, program: &str, arguments: &[&str]) -> Result<(), String> {
    let mut command = lane.router.command("timeout");
    command.arg(PATIENCE).arg(program).args(arguments);
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    if output.status.code() == Some(124) {
        return Err(format!("{program} did not end within {PATIENCE} s"));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} failed ({}): {}", output.status, said.lines().next().unwrap_or_default()))
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("scratch directories have plain names")
}

pub(crate) const NO_FILTER: Candidate =
    Candidate { name: "no filter", does: Does::PassAll, install: |_, _| Ok(Installed::new((), Instant::now())) };
pub(crate) const NULL_DROP: Candidate =
    Candidate { name: "null XDP drop", does: Does::DropAll, install: |lane, _| xdp::install(lane, "drop_all") };
/// On a lane of its own: how much lanes differ.
pub(crate) const NULL_DROP_AGAIN: Candidate = Candidate { name: "null XDP drop, another lane", ..NULL_DROP };
pub(crate) const NULL_PASS: Candidate =
    Candidate { name: "null XDP pass", does: Does::PassAll, install: |lane, _| xdp::install(lane, "pass_all") };
pub(crate) const DROP_MARKED: Candidate =
    Candidate { name: "null XDP, told", does: Does::DropListed, install: |lane, _| xdp::install(lane, "drop_marked") };
pub(crate) const WEIR_TABLES: Candidate =
    drops("weir's tables, uncounted", |lane, list| xdp::install_tables(lane, list, "drop_found"));
pub(crate) const WEIR_COUNTED: Candidate =
    drops("weir's tables, one counter", |lane, list| xdp::install_tables(lane, list, "drop_counted"));
pub(crate) const WEIR_TOLD: Candidate =
    drops("weir's tables, a counter for each client", |lane, list| xdp::install_tables(lane, list, "drop_told"));
pub(crate) const LPM: Candidate = drops("XDP with LPM_TRIE", xdp::install_lpm);
pub(crate) const WEIR_NATIVE: Candidate =
    drops("weir native", |lane, list| weir::daemon(lane, list, "xdp-native", true));
pub(crate) const WEIR_BARE: Candidate =
    drops("weir native, no clients or events", |lane, list| weir::daemon(lane, list, "xdp-native", false));
pub(crate) const WEIR_TCX: Candidate = drops("weir tcx", |lane, list| weir::daemon(lane, list, "tc", true));
pub(crate) const WEIR_TC: Candidate = drops("weir tc", weir::classic);
pub(crate) const WEIR_GENERIC: Candidate =
    drops("weir generic", |lane, list| weir::daemon(lane, list, "xdp-generic", true));
pub(crate) const NFT_INGRESS: Candidate = drops("nft netdev-ingress set", nft::ingress);
pub(crate) const NFT_PREROUTING: Candidate = drops("nft prerouting raw set", nft::prerouting);
pub(crate) const IPTABLES: Candidate = drops("iptables raw + ipset", iptables::raw);
pub(crate) const XDP_FILTER: Candidate = drops("xdp-filter", xdp_filter::exact);

const fn drops(name: &'static str, install: fn(&Lane, &List) -> Result<Installed, String>) -> Candidate {
    Candidate { name, does: Does::DropListed, install }
}
