//! The kernel matrix: on whatever kernel this runs, each attach kind on each link layer of a real device, with the real
//! daemon; the verifier; and the decisions of the loaded object. One line a cell; what a kernel does not offer is asked of the
//! kernel, never taken from weir's own refusal.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod report;
mod wire;

use std::collections::BTreeMap;

use report::{Outcome, attempt, judge};
use weir::datapath::attach::AttachKind;
use weir::network;
use weir_tests::differential::{DEVICES, compare};
use weir_tests::netns::{Netns, veth};
use weir_tests::weir::{Counter, Scratch, Weir};
use weir_tests::{kernel, lab, loads, require_root, wait_until};
use wire::{DEVICE, LISTED, Layer, Wire};

#[test]
fn xdp_native_drops_what_is_listed_in_each_link_layer() {
    row(AttachKind::XdpNative);
}

#[test]
fn tcx_drops_what_is_listed_in_each_link_layer() {
    row(AttachKind::Tcx);
}

#[test]
fn tc_drops_what_is_listed_in_each_link_layer() {
    row(AttachKind::Tc);
}

#[test]
fn xdp_generic_drops_what_is_listed_in_each_link_layer() {
    row(AttachKind::XdpGeneric);
}

/// All cells of one attach kind.
fn row(kind: AttachKind) {
    let cells = [Wire::ethernet(), Wire::ip()].into_iter().flat_map(|wire| cells(kind, &wire));
    judge(&kind.to_string(), cells.map(|(layer, outcome)| (layer.name(), outcome)));
}

/// The cells of one device.
fn cells(kind: AttachKind, wire: &Wire) -> Vec<(Layer, Outcome)> {
    let all = |outcome: &Outcome| wire.layers.iter().map(|&layer| (layer, outcome.clone())).collect();
    let offered = match kind {
        AttachKind::Tcx => kernel::offers_tcx(&wire.router, DEVICE),
        AttachKind::XdpNative | AttachKind::XdpGeneric => {
            kernel::offers_xdp(&wire.router, DEVICE, kind == AttachKind::XdpNative)
        }
        AttachKind::Tc => Ok(()),
    };
    if let Err(answer) = offered {
        return all(&Outcome::Absent(answer));
    }
    let each = |step: &dyn Fn(Layer)| wire.layers.iter().map(|&layer| attempt(|| step(layer))).collect::<Vec<_>>();
    let before = each(&|layer| passes_everything(wire, layer));
    let mut weir = match attempt(|| start(kind, wire)) {
        Ok(weir) => weir,
        Err(why) => return all(&Outcome::Failed(why)),
    };
    let while_it_runs = each(&|layer| drops_the_listed(&weir, kind, wire, layer));
    if let Err(why) = attempt(|| assert!(weir.stop().success(), "it does not end well: {}", weir.stderr())) {
        return all(&Outcome::Failed(why));
    }
    let after = each(&|layer| passes_everything(wire, layer));
    let steps = before.into_iter().zip(while_it_runs).zip(after);
    let outcome = |steps: Result<(), String>| steps.map_or_else(Outcome::Failed, |()| Outcome::Passed(String::new()));
    let outcomes = steps.map(|((before, while_it_runs), after)| outcome(before.and(while_it_runs).and(after)));
    wire.layers.iter().copied().zip(outcomes).collect()
}

/// Starts the daemon and has it attach in this way.
fn start(kind: AttachKind, wire: &Wire) -> Weir {
    let choice = match kind {
        AttachKind::XdpNative => "xdp-native",
        AttachKind::Tcx | AttachKind::Tc => "tc",
        AttachKind::XdpGeneric => "xdp-generic",
    };
    let [v4, v6] = LISTED;
    let config = format!(
        "[[interface]]\nname = \"{DEVICE}\"\nattach = \"{choice}\"\n\
         [[rule]]\nname = \"listed\"\naction = \"block\"\nprefixes = [\"{v4}/32\", \"{v6}/128\"]\n\
         [http]\nlisten = \"off\"\n"
    );
    let scratch = Scratch::new();
    let weir = Weir::start(&wire.router, ["-c", &scratch.file("weir.toml", config).display().to_string()]);
    if kind == AttachKind::Tc && weir.attach(DEVICE) == "tcx" {
        // It takes clsact only where it finds tcx dead.
        assert_eq!(weir.sever(wire.router.index(DEVICE)), 1);
        wait_until(lab::DEADLINE, "tc follows tcx", || {
            wire.send(wire.layers[0]);
            weir.attach(DEVICE) == "tc"
        });
    }
    assert_eq!(weir.attach(DEVICE), kind.to_string());
    weir
}

fn passes_everything(wire: &Wire, layer: Layer) {
    let sent = wire.send(layer);
    let wanted = (sent.packets_listed(), sent.unlisted.packets);
    assert_eq!(
        wire.arrived(&sent, wanted.0),
        wanted,
        "{layer:?}, without weir: listed and unlisted ones that came out"
    );
}

fn drops_the_listed(weir: &Weir, kind: AttachKind, wire: &Wire, layer: Layer) {
    let (seen, dropped) = (weir.seen(DEVICE), dropped(weir));
    let sent = wire.send(layer);
    let came_out = wire.arrived(&sent, 0);
    let wanted = (0, sent.unlisted.packets);
    assert_eq!(came_out, wanted, "{layer:?}: listed and unlisted ones that came out");
    let now = || difference(weir.seen(DEVICE), seen);
    wait_until(lab::DEADLINE, "every frame is counted", || now().packets >= sent.all().packets);
    assert_eq!(wire.late(&sent), 0, "{layer:?}: listed ones that came out late");
    // A tc program does not see the tag that the kernel took out of the frame.
    let taken = if kind.is_xdp() { 0 } else { layer.taken() };
    let length = |counter: Counter| Counter { bytes: counter.bytes - taken * counter.packets, ..counter };
    assert_eq!(now(), length(sent.all()), "{layer:?}: seen");
    for (family, sent) in ["ipv4", "ipv6"].into_iter().zip(sent.listed) {
        let before = dropped.get(family).copied().unwrap_or_default();
        let after = self::dropped(weir).get(family).copied().unwrap_or_default();
        assert_eq!(difference(after, before), length(sent), "{layer:?}: {family} dropped");
    }
}

fn difference(after: Counter, before: Counter) -> Counter {
    Counter { packets: after.packets - before.packets, bytes: after.bytes - before.bytes }
}

/// What the rule dropped on its way out at the device's ingress, by family.
fn dropped(weir: &Weir) -> BTreeMap<String, Counter> {
    let status = weir.status();
    let counters = status["counters"].as_array().unwrap().iter();
    let number = |counter: &serde_json::Value, key: &str| counter[key].as_u64().unwrap();
    let read = |counter: &serde_json::Value| {
        let place = ["device", "hook", "rule", "direction"].map(|key| counter[key].as_str().unwrap().to_owned());
        assert_eq!(place, [DEVICE, "ingress", "listed", "out"], "nothing else can be counted: {status}");
        let counted = Counter { packets: number(counter, "packets"), bytes: number(counter, "bytes") };
        (counter["family"].as_str().unwrap().to_owned(), counted)
    };
    counters.map(read).collect()
}

#[test]
fn the_verifier_takes_every_program_with_scopes_details_and_trace_and_without() {
    require_root();
    let outcome = match attempt(loads::all) {
        Err(why) => Outcome::Failed(why),
        Ok(loads) => Outcome::Passed(match loads.iter().filter_map(|load| load.walked).max() {
            Some(most) => format!("{} loads, at most {most} instructions walked", loads.len()),
            None => format!("{} loads; this kernel does not tell how many instructions it walked", loads.len()),
        }),
    };
    judge("programs", [("verified", outcome)]);
}

#[test]
fn the_loaded_object_decides_random_frames_as_the_host_does() {
    /// Few: a kernel that is emulated takes a hundred times as long, and the test `differential` does the rest.
    const RULESETS: u64 = 6;
    const FRAMES: u64 = 700;
    require_root();
    let (netns, other) = (Netns::new("differential"), Netns::new("other"));
    for (name, end) in [("lan0", "eth0"), ("wan0", "eth1")] {
        veth((&netns, name, [2, 0, 0, 0, 9, 1]), (&other, end, [2, 0, 0, 0, 9, 2]));
    }
    let run = || {
        let devices = network::indices().unwrap();
        // Older kernels run a frame through XDP at the loopback device only (`ctx_in`, 5.14).
        let at = if kernel::version() < (5, 14) { &DEVICES[..1] } else { &DEVICES[..3] };
        let indices: Vec<u32> = at.iter().map(|name| devices[*name]).collect();
        let (xdp, tc) = compare(RULESETS, FRAMES, &devices, &indices);
        assert!(xdp.frames > RULESETS * FRAMES && xdp.refused == 0, "{xdp:?}");
        assert!(tc.frames > RULESETS * FRAMES / 10 && tc.refused * 10 < tc.frames, "{tc:?}");
        format!("{} decisions at {}", xdp.frames + tc.frames, at.join(", "))
    };
    let outcome = attempt(|| netns.enter(run)).map_or_else(Outcome::Failed, Outcome::Passed);
    judge("programs", [("decide", outcome)]);
}
