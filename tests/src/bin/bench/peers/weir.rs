//! weir on a lane's router: the release binary as a daemon. Where the daemon would not choose an attach kind, its library.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use filter_common::abi::Ports;
use weir::config::{CountersConfig, EventsConfig};
use weir::datapath::attach::{AttachKind, Attached};
use weir::datapath::object::{Capacity, Detail, Object, Options};
use weir::network;
use weir::prefix::AddressSet;
use weir::ruleset::{Guard, Rule, RuleAction, RuleDirection, RuleIdentity, Ruleset, Scope, Sets, compile};
use weir_tests::weir::Weir;

use super::{Installed, text};
use crate::list::List;
use crate::path::lane::{INGRESS, Lane};

/// Starts the daemon: one rule, whose list is a file. Without `detail` it counts no clients and reports no events.
pub(super) fn daemon(lane: &Lane, list: &List, attach: &str, detail: bool) -> Result<Installed, String> {
    lane.scratch.file("listed.txt", list.text());
    let detail = if detail { "" } else { "[counters]\nclients = 0\n[events]\nrate = 0\n" };
    let config = format!(
        "[[interface]]\nname = \"{INGRESS}\"\nattach = \"{attach}\"\n\
         [[rule]]\nname = \"listed\"\naction = \"block\"\nfiles = [\"listed.txt\"]\nallow_wide = true\n{detail}"
    );
    let config = lane.scratch.file("weir.toml", config);
    let begun = Instant::now();
    let weir = Weir::start(&lane.router, ["-c", text(&config)]);
    let attached = weir.attach(INGRESS);
    let wanted = if attach == "tc" { "tcx" } else { attach };
    if attached == wanted { Ok(Installed::new(weir, begun)) } else { Err(format!("weir is attached as {attached}")) }
}

/// Attaches the shipped object by clsact, which the daemon only does where there is no tcx.
pub(super) fn classic(lane: &Lane, list: &List) -> Result<Installed, String> {
    let begun = Instant::now();
    let ruleset = ruleset(list);
    let sets = u32::try_from(ruleset.actions.len()).unwrap();
    let ports = [(lane.router.index(INGRESS), Ports { ingress: 1, egress: 2 })];
    let options = Options {
        ports: &ports,
        capacity: Capacity { ports: 3, sets },
        pins: None,
        detail: detail(),
        trace: false,
        record: false,
    };
    let mut object = Object::load(&ruleset, &options).map_err(|error| error.to_string())?;
    // The filter goes with the device: nothing is left to detach when the namespace is gone.
    let attached = lane.router.enter(|| {
        let device = network::devices().unwrap().remove(INGRESS).unwrap();
        // A filter on a clsact qdisc has no pin.
        Attached::attach(&mut object, &device, &[AttachKind::Tc], false, Path::new(""))
            .map_err(|error| error.to_string())
    })?;
    Ok(Installed::new((attached.0, object), begun))
}

/// What is told of single clients and packets where the configuration says nothing of it.
pub(crate) fn detail() -> Detail {
    let (counters, events) = (CountersConfig::default(), EventsConfig::default());
    Detail { clients: counters.clients, events: events.rate, burst: events.burst }
}

/// A list as a ruleset of one rule.
pub(super) fn ruleset(list: &List) -> Ruleset {
    let identity = RuleIdentity { name: "listed".into(), action: RuleAction::Block, direction: RuleDirection::Both };
    let v4 = list.ranges.iter().copied().collect();
    let rule = Rule { identity, v4, v6: AddressSet::default(), scope: Scope::default() };
    compile(&[rule], &Guard::default(), &mut Sets::default(), &BTreeMap::new()).unwrap()
}
