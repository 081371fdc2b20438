//! What this machine's state means for a filter, and what to do about it: a survey becomes findings. Pure; reads nothing.

use serde::{Deserialize, Serialize};

use crate::datapath::foreign::is_weirs;
use crate::report::Status;
use crate::survey::{Survey, Surveyed};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something is not filtered, or may not be.
    Warning,
    /// Worth knowing.
    Note,
}

/// Something to know of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// The device that it is about, or `kernel`, `process`, `weir`.
    pub about: String,
    /// What is so, and what follows.
    pub finding: String,
    /// What to do; empty where there is nothing to do.
    pub remedy: String,
}

/// weir's oldest kernel, and those that brought what it uses where it is there.
const OLDEST: (u32, u32) = (5, 10);
const TCX: (u32, u32) = (6, 6);
const XDP_FEATURES: (u32, u32) = (6, 3);
const XDP_TAG: (u32, u32) = (6, 8);
/// The largest payload that drivers take in one page with XDP, most of them: 4096 bytes less headroom and `skb_shared_info`.
const PAGE_MTU: u32 = 3498;

/// Judges a survey. `running` is the status of the daemon, where one answered; `left`, that something filters all the same.
#[must_use]
pub fn judge(survey: &Survey, running: Option<&Status>, left: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |level, about: &str, finding: String, remedy: String| {
        findings.push(Finding { level, about: about.into(), finding, remedy });
    };
    let kernel = version(&survey.kernel);
    if kernel.is_some_and(|kernel| kernel < OLDEST) {
        let finding = format!("kernel {} is older than 5.10, weir's oldest", survey.kernel);
        find(Level::Warning, "kernel", finding, "upgrade the kernel".into());
    }
    if survey.jit == Some(false) {
        let finding = "the BPF JIT is off: programs are interpreted, several times slower".into();
        find(Level::Warning, "kernel", finding, "sysctl -w net.core.bpf_jit_enable=1".into());
    }
    if !survey.landlock {
        let finding =
            "no Landlock (kernel 5.13, CONFIG_SECURITY_LANDLOCK): the daemon could write where root can".into();
        find(Level::Note, "kernel", finding, String::new());
    }
    if !survey.lacks.is_empty() {
        let finding = format!("this process lacks {}: a daemon started like it would not run", survey.lacks.join(", "));
        find(Level::Note, "process", finding, "run weir as root, or with these capabilities".into());
    }
    match running {
        None => {
            // A filter on a clsact qdisc has no pin.
            let on_clsact = |device: &Surveyed| device.features.filters.iter().any(|name| is_weirs(name));
            let finding = if left || survey.devices.values().any(on_clsact) {
                "no daemon answers; what it left goes on filtering by the lists as they were"
            } else {
                "no daemon answers: nothing is filtered"
            };
            let finding = finding.into();
            find(Level::Warning, "weir", finding, "weir run -c /etc/weir.toml, or systemctl start weir".into());
        }
        Some(status) => {
            for fault in status.faults() {
                find(Level::Warning, "weir", fault, "weir status shows more".into());
            }
        }
    }
    // While a ruleset is published, the one before is there, too.
    if let (Some(status), Some(available)) = (running, survey.memory_available)
        && status.table_bytes > available
    {
        let finding =
            format!("a ruleset takes {} bytes, and {available} are left for its successor", status.table_bytes);
        find(Level::Warning, "weir", finding, "block fewer networks, or add memory".into());
    }
    for (name, device) in &survey.devices {
        let attach = running.and_then(|status| status.devices.iter().find(|filtered| filtered.name == *name));
        let kind = attach.map(|filtered| filtered.attach.as_str());
        findings.extend(judge_device(name, device, kind, kernel));
    }
    findings.sort_by_key(|finding| finding.level);
    findings
}

/// Judges a device that weir holds by `attach`, or does not hold.
fn judge_device(name: &str, device: &Surveyed, attach: Option<&str>, kernel: Option<(u32, u32)>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |level, finding: &str, remedy: String| {
        findings.push(Finding { level, about: name.into(), finding: finding.into(), remedy });
    };
    let features = &device.features;
    let held = attach.is_some();
    let level = if held { Level::Warning } else { Level::Note };
    if device.layer.is_none() {
        find(
            Level::Note,
            "weir cannot read this kind of device's frames",
            "filter on the Ethernet or IP device above it".into(),
        );
    }
    if features.offloaded {
        find(
            level,
            "a flow table with hardware offload has it: packets of flows that are in it pass no program, so what was \
             allowed when a flow began goes on",
            "remove `flags offload` from the flowtable (nft list flowtables)".into(),
        );
    }
    let foreign = device.xdp_owner.as_deref().filter(|owner| !is_weirs(owner));
    if let Some(owner) = foreign {
        let finding =
            format!("the XDP program \"{owner}\" is on it, which weir does not replace: weir attaches behind it");
        find(Level::Note, &finding, format!("to filter earlier: ip link set {name} xdp off, then weir apply"));
    }
    let before: Vec<&str> =
        device.tcx.iter().flatten().map(String::as_str).take_while(|owner| !is_weirs(owner)).collect();
    if !before.is_empty() && before.len() < device.tcx.as_ref().map_or(0, Vec::len) {
        let finding =
            format!("{} runs before weir on its tcx hook, and may end a packet's way first", before.join(", "));
        find(Level::Note, &finding, String::new());
    }
    let others: Vec<&str> = features.filters.iter().map(String::as_str).filter(|owner| !is_weirs(owner)).collect();
    if !others.is_empty() && attach.is_some_and(|kind| kind == "tc") {
        let finding = format!("{} is on the same clsact qdisc; by its priority it may run first", others.join(", "));
        find(Level::Note, &finding, format!("tc filter show dev {name} ingress"));
    }
    if features.lro == Some(true) {
        find(
            if attach == Some("xdp-native") { Level::Note } else { level },
            "LRO is on: most drivers refuse XDP with it, and a router must not forward what it joined",
            format!("ethtool -K {name} lro off"),
        );
    }
    if features.vlan_offload == Some(true)
        && attach.is_some_and(|kind| kind.starts_with("xdp"))
        && kernel.is_some_and(|kernel| kernel < XDP_TAG)
    {
        find(
            Level::Note,
            "the device takes VLAN tags out before XDP, which cannot see them before kernel 6.8: rules with `vlans` do \
             not match",
            format!("only with such rules: ethtool -K {name} rxvlan off"),
        );
    }
    if attach == Some("xdp-generic") {
        find(
            Level::Note,
            "generic XDP copies packets, and is the slowest kind",
            "where its driver has XDP or the kernel tcx, attach = \"auto\" takes it".into(),
        );
    }
    if features.mtu.is_some_and(|mtu| mtu > PAGE_MTU) && attach.is_some_and(|kind| kind != "xdp-native") {
        find(
            Level::Note,
            "drivers that keep a frame in one page refuse XDP at this MTU",
            format!("to filter in the driver: ip link set {name} mtu 1500"),
        );
    }
    if held && !features.up {
        find(Level::Note, "it is down: nothing arrives", format!("ip link set {name} up"));
    }
    findings
}

/// The attach kinds that a device may take, best first, as far as the kernel tells before it is tried.
#[must_use]
pub fn kinds(survey: &Survey, device: &Surveyed) -> Vec<String> {
    let kernel = version(&survey.kernel);
    let at_least = |least: (u32, u32)| kernel.is_none_or(|kernel| kernel >= least);
    if device.layer.is_none() {
        return Vec::new();
    }
    let is_taken = device.xdp_owner.as_deref().is_some_and(|owner| !is_weirs(owner));
    let mut kinds = Vec::new();
    match device.features.xdp {
        Some(true) if !is_taken => kinds.push("xdp-native".to_owned()),
        None if !is_taken && !at_least(XDP_FEATURES) => kinds.push("xdp-native?".to_owned()),
        _ => {}
    }
    if at_least(TCX) {
        kinds.push("tcx".to_owned());
    }
    kinds.push("tc".to_owned());
    if !is_taken {
        kinds.push("xdp-generic".to_owned());
    }
    kinds
}

/// A kernel's version out of its release: "6.1.0-50-amd64" is (6, 1).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Features;
    use crate::report::DeviceStatus;

    fn survey(kernel: &str, features: Features) -> Survey {
        let device = Surveyed { features, layer: Some("ethernet".into()), ..Surveyed::default() };
        let devices = [("eth0".into(), device)].into();
        Survey { kernel: kernel.into(), jit: Some(true), landlock: true, devices, ..Survey::default() }
    }

    fn up() -> Features {
        Features { up: true, mtu: Some(1500), xdp: Some(true), ..Features::default() }
    }

    fn holding(attach: &str) -> Status {
        let device =
            DeviceStatus { name: "eth0".into(), attach: attach.into(), state: "live".into(), ..Default::default() };
        Status { devices: vec![device], ..Status::default() }
    }

    /// Level, object and remedy of what is found.
    fn found(survey: &Survey, running: Option<&Status>) -> Vec<(Level, String, String)> {
        judge(survey, running, false)
            .into_iter()
            .map(|finding| (finding.level, finding.about, finding.remedy))
            .collect()
    }

    #[test]
    fn a_sound_machine_has_no_findings() {
        assert_eq!(judge(&survey("6.18.44", up()), Some(&holding("xdp-native")), false), []);
    }

    fn device(survey: &mut Survey) -> &mut Surveyed {
        survey.devices.get_mut("eth0").unwrap()
    }

    #[test]
    fn each_setting_that_hides_packets_is_found_with_its_remedy() {
        let of = |change: &dyn Fn(&mut Survey), attach: &str| {
            let mut survey = survey("6.1.0-50-amd64", up());
            change(&mut survey);
            found(&survey, Some(&holding(attach)))
        };
        let one = |level, about: &str, remedy: &str| vec![(level, about.to_owned(), remedy.to_owned())];
        assert_eq!(
            of(&|survey| survey.jit = Some(false), "tcx"),
            one(Level::Warning, "kernel", "sysctl -w net.core.bpf_jit_enable=1")
        );
        assert_eq!(
            of(&|survey| survey.kernel = "5.4.0".into(), "tc"),
            one(Level::Warning, "kernel", "upgrade the kernel")
        );
        let offloaded = of(&|survey| device(survey).features.offloaded = true, "xdp-native");
        assert_eq!(offloaded[0].0, Level::Warning);
        assert!(offloaded[0].2.contains("flags offload"));
        let lro = |survey: &mut Survey| device(survey).features.lro = Some(true);
        assert_eq!(of(&lro, "tc"), one(Level::Warning, "eth0", "ethtool -K eth0 lro off"));
        let tags = |survey: &mut Survey| device(survey).features.vlan_offload = Some(true);
        assert_eq!(of(&tags, "tc"), [], "tc programs are told of the tag");
        assert_eq!(
            of(&tags, "xdp-native"),
            one(Level::Note, "eth0", "only with such rules: ethtool -K eth0 rxvlan off")
        );
        let other = |survey: &mut Survey| device(survey).xdp_owner = Some("xdp_dispatcher".into());
        assert_eq!(
            of(&other, "tc"),
            one(Level::Note, "eth0", "to filter earlier: ip link set eth0 xdp off, then weir apply")
        );
        let ours = |survey: &mut Survey| device(survey).xdp_owner = Some("weir_xdp_l2".into());
        assert_eq!(of(&ours, "xdp-native"), []);
        let jumbo = |survey: &mut Survey| device(survey).features.mtu = Some(9000);
        assert_eq!(of(&jumbo, "tcx"), one(Level::Note, "eth0", "to filter in the driver: ip link set eth0 mtu 1500"));
        let down = |survey: &mut Survey| device(survey).features.up = false;
        assert_eq!(of(&down, "tc"), one(Level::Note, "eth0", "ip link set eth0 up"));
        let first =
            |survey: &mut Survey| device(survey).tcx = Some(vec!["cil_from_netdev".into(), "weir_in_l2".into()]);
        assert_eq!(of(&first, "tcx"), one(Level::Note, "eth0", ""));
        let behind = |survey: &mut Survey| device(survey).tcx = Some(vec!["weir_in_l2".into(), "other".into()]);
        assert_eq!(of(&behind, "tcx"), []);
    }

    #[test]
    fn a_daemon_that_is_missing_or_not_whole_is_a_warning() {
        let silent = found(&survey("6.18", up()), None);
        assert_eq!((silent.len(), silent[0].0, silent[0].1.as_str()), (1, Level::Warning, "weir"));
        let filters = Features { filters: vec!["weir_in_l2".into()], ..up() };
        for left in [judge(&survey("6.18", up()), None, true), judge(&survey("6.1", filters), None, false)] {
            assert!(left[0].finding.contains("what it left goes on filtering"), "{left:?}");
        }
        let mut status = holding("xdp-native");
        status.degraded.push("rule \"x\" has no list yet".into());
        assert_eq!(judge(&survey("6.18", up()), Some(&status), false)[0].finding, "rule \"x\" has no list yet");
    }

    #[test]
    fn attach_kinds_are_those_that_the_kernel_and_the_driver_have() {
        let of = |kernel: &str, features: Features| {
            let survey = survey(kernel, features);
            kinds(&survey, &survey.devices["eth0"]).join(" ")
        };
        assert_eq!(of("6.18.44", up()), "xdp-native tcx tc xdp-generic");
        assert_eq!(of("6.18.44", Features { xdp: Some(false), ..up() }), "tcx tc xdp-generic");
        assert_eq!(of("5.10.262", Features { xdp: None, ..up() }), "xdp-native? tc xdp-generic");
        let mut taken = survey("6.18", up());
        let device = taken.devices.get_mut("eth0").unwrap();
        device.xdp_owner = Some("other".into());
        let device = device.clone();
        assert_eq!(kinds(&taken, &device).join(" "), "tcx tc");
    }
}
