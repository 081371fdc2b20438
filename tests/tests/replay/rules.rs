//! Rules for replays: by the numbers of real services, and by the addresses of a capture.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use crate::oracle::Frame;

/// A rule, with its lists as ranges so that a scan can ask it.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) action: &'static str,
    pub(crate) direction: &'static str,
    /// What the configuration says beside name, action and direction.
    keys: String,
    ranges: Vec<(IpAddr, IpAddr)>,
}

impl Rule {
    /// A rule of prefixes.
    pub(crate) fn new(name: &str, action: &'static str, direction: &'static str, prefixes: &[&str]) -> Self {
        let ranges = prefixes.iter().map(|prefix| range(prefix)).collect();
        Self { name: name.into(), action, direction, keys: format!("prefixes = {prefixes:?}"), ranges }
    }

    /// A rule of one AS in the small table.
    fn of_as(name: &str, action: &'static str, asn: u32, table: &str) -> Self {
        let row = |line: &str| {
            let mut fields = line.split(',');
            let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            (fields.next()?.parse() == Ok(asn)).then_some(range)
        };
        let ranges = table.lines().filter_map(row).collect();
        Self { name: name.into(), action, direction: "both", keys: format!("asns = [{asn}]"), ranges }
    }

    /// Whether one of its lists holds the address.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let inside = |&(first, last): &(IpAddr, IpAddr)| {
            first.is_ipv4() == address.is_ipv4() && first <= address && address <= last
        };
        self.ranges.iter().any(inside)
    }
}

/// First and last address of a prefix.
fn range(prefix: &str) -> (IpAddr, IpAddr) {
    let (address, length) = prefix.split_once('/').unwrap();
    let length: u32 = length.parse().unwrap();
    match address.parse().unwrap() {
        IpAddr::V4(address) => {
            let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
            (IpAddr::V4(address), IpAddr::V4((u32::from(address) | hosts).into()))
        }
        IpAddr::V6(address) => {
            let hosts = u128::MAX.checked_shr(length).unwrap_or(0);
            (IpAddr::V6(address), IpAddr::V6((u128::from(address) | hosts).into()))
        }
    }
}

/// The configuration that says so.
pub(crate) fn toml(rules: &[Rule]) -> String {
    let mut text = String::new();
    for Rule { name, action, direction, keys, .. } in rules {
        writeln!(text, "[[rule]]\nname = {name:?}\naction = {action:?}\ndirection = {direction:?}\n{keys}").unwrap();
    }
    if text.contains("asns") {
        let table = Path::new(SMALL_TABLE.get().unwrap());
        writeln!(text, "[asn]\ntables = [{:?}]", table.to_str().unwrap()).unwrap();
    }
    text
}

static SMALL_TABLE: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();

/// What the captures hold, with lists that overlap: every rule is hit in at least one of them.
pub(crate) fn services(data: &Path) -> Vec<Rule> {
    let path = SMALL_TABLE.get_or_init(|| data.join("asn/asn-small.csv").canonicalize().unwrap());
    let table = fs::read_to_string(path).unwrap();
    vec![
        Rule::new("telegram", "block", "both", &["91.108.0.0/16", "149.154.160.0/20"]),
        Rule::of_as("telegram-as", "monitor", 62041, &table),
        Rule::new("telegram-web", "allow", "both", &["149.154.167.51/32"]),
        Rule::new("telegram-calls", "block", "out", &["91.108.8.0/22", "91.108.16.0/22"]),
        Rule::of_as("steam", "block", 32590, &table),
        Rule::new("roblox", "block", "in", &["128.116.0.0/17"]),
        Rule::new("roblox-watch", "monitor", "both", &["128.116.0.0/16"]),
        Rule::new("google", "monitor", "out", &["173.194.0.0/16", "216.58.192.0/19"]),
        Rule::new("client", "block", "in", &["1.1.1.1/32"]),
        Rule::new("server", "block", "in", &["2.2.2.2/32"]),
        Rule::new("vlan", "block", "both", &["206.220.250.0/24", "141.142.0.0/16"]),
        Rule::new("six", "block", "both", &["2001::/19", "2600::/19"]),
    ]
}

/// Rules for every address of the frames: three actions, three directions, hosts and the networks around them.
pub(crate) fn rules_for(frames: &[Frame]) -> Vec<Rule> {
    let ends = frames.iter().filter_map(|frame| frame.ends).flat_map(|(source, destination)| [source, destination]);
    let addresses: BTreeSet<IpAddr> = ends.filter(|&address| !is_always_guarded(address)).collect();
    let directions = ["both", "out", "in", "both", "in"];
    let mut rules = Vec::new();
    for (index, &address) in addresses.iter().enumerate() {
        let action = ["block", "monitor", "allow", "block"][index % 4];
        let direction = directions[index % directions.len()];
        let host = format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 });
        rules.push(Rule::new(&format!("host {index}"), action, direction, &[&host]));
        let around = match address {
            IpAddr::V4(address) => format!("{}/24", std::net::Ipv4Addr::from(u32::from(address) & !0xff)),
            IpAddr::V6(address) => format!("{}/64", std::net::Ipv6Addr::from(u128::from(address) >> 64 << 64)),
        };
        let action = ["monitor", "block", "block"][index % 3];
        rules.push(Rule::new(&format!("around {index}"), action, directions[(index + 2) % 5], &[&around]));
    }
    rules
}

/// What weir never blocks, whoever lists it: README of the never-block set, filter-user/src/ruleset/guard.rs.
fn is_always_guarded(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.octets()[0] == 0 || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast()
        }
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_loopback() || v6.is_unicast_link_local() || v6.is_multicast(),
    }
}
