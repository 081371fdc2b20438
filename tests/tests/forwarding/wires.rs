//! Both ends of the router, frames that are known again when they come out, and the daemon's counters. Judges nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;
use weir_tests::frame::{Frame, frame};
use weir_tests::lab::{DEADLINE, MAC_LAN, MAC_ROUTER_LAN, MAC_ROUTER_WAN, MAC_WAN, Path};
use weir_tests::socket::PacketSocket;
use weir_tests::wait_until;
use weir_tests::weir::{Counter, Scratch, Weir};

/// Within TikTok's networks, and no host's.
pub(crate) const SILENT_LISTED: [&str; 2] = ["71.18.1.99", "2605:340::99"];
/// In no list, and no host's.
pub(crate) const SILENT_CONTROL: [&str; 2] = ["198.51.100.99", "2001:db8:100::99"];

/// A path with an address on the LAN side, .77, that gets frames and answers none.
pub(crate) fn silent_path() -> Path {
    let path = Path::new();
    path.router.neighbour("lan0", "10.66.0.77", MAC_LAN);
    path.router.neighbour("lan0", "fd66::77", MAC_LAN);
    // Without a route the server would answer by ICMPv6, and quote the frame.
    path.wan.route("blackhole ::/0");
    path
}

/// From the silent client to the remote address.
pub(crate) fn outbound(remote: &str) -> Frame {
    let (client, remote) = ends(remote);
    frame().macs(MAC_LAN, MAC_ROUTER_LAN).ip(client, remote)
}

/// From the remote address to the silent client.
pub(crate) fn inbound(remote: &str) -> Frame {
    let (client, remote) = ends(remote);
    frame().macs(MAC_WAN, MAC_ROUTER_WAN).ip(remote, client)
}

pub(crate) fn ends(remote: &str) -> (IpAddr, IpAddr) {
    let remote: IpAddr = remote.parse().unwrap();
    (if remote.is_ipv4() { [10, 66, 0, 77].into() } else { "fd66::77".parse().unwrap() }, remote)
}

/// Both ends of the router, and what was sent so far: frames carry a number by which they are known when they come out.
pub(crate) struct Wires {
    pub(crate) lan: PacketSocket,
    pub(crate) wan: PacketSocket,
    sent: u64,
}

impl Wires {
    pub(crate) fn new(path: &Path) -> Self {
        Self { lan: path.lan_socket(), wan: path.wan_socket(), sent: 0 }
    }

    /// Sends each frame, and then one that must pass. Gives by place in `frames` whether it came out at the other end.
    pub(crate) fn pass(&mut self, out: bool, frames: &[Frame]) -> Vec<bool> {
        let (from, to) = if out { (&self.lan, &self.wan) } else { (&self.wan, &self.lan) };
        let first = self.sent;
        let last = if out { outbound(SILENT_CONTROL[0]) } else { inbound(SILENT_CONTROL[0]) };
        for frame in frames.iter().chain([&last.udp(9)]) {
            from.send(&numbered(frame, self.sent));
            self.sent += 1;
        }
        let mut passed = vec![false; frames.len()];
        let end = to.receive_where(DEADLINE, |frame| {
            let Some(number) = number_of(frame).and_then(|number| number.checked_sub(first)) else { return false };
            let place = usize::try_from(number).unwrap();
            passed.get_mut(place).is_none_or(|passed| {
                *passed = true;
                false
            })
        });
        assert!(end.is_some(), "the frame that nothing lists does not come out");
        passed
    }
}

pub(crate) const MARK: &[u8; 8] = b"numbered";

pub(crate) fn numbered(frame: &Frame, number: u64) -> Vec<u8> {
    frame.clone().payload(&[MARK.as_slice(), &number.to_be_bytes()].concat()).build()
}

pub(crate) fn number_of(frame: &[u8]) -> Option<u64> {
    let (rest, number) = frame.split_last_chunk::<8>()?;
    rest.ends_with(MARK).then(|| u64::from_be_bytes(*number))
}

pub(crate) fn config(text: &str) -> (Scratch, String) {
    let scratch = Scratch::new();
    let file = scratch.file("weir.toml", text);
    (scratch, file.display().to_string())
}

pub(crate) fn start(path: &Path, text: &str) -> Weir {
    let (_scratch, file) = config(text);
    Weir::start(&path.router, ["-c", &file])
}

/// Waits until `count` packets are dropped in all.
pub(crate) fn wait_for_drops(weir: &Weir, count: u64) {
    wait_until(DEADLINE, &format!("{count} packets dropped"), || weir.dropped().packets >= count);
    assert_eq!(weir.dropped().packets, count);
}

/// Device, hook, rule, direction, family.
pub(crate) type Place = (String, String, String, String, String);

pub(crate) fn counters(status: &Value) -> BTreeMap<Place, Counter> {
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
    let number = |entry: &Value, key: &str| entry[key].as_u64().unwrap();
    let place = |entry: &Value| {
        let [device, hook, rule] = ["device", "hook", "rule"].map(|key| text(entry, key));
        (device, hook, rule, text(entry, "direction"), text(entry, "family"))
    };
    let counter = |entry| Counter { packets: number(entry, "packets"), bytes: number(entry, "bytes") };
    status["counters"].as_array().unwrap().iter().map(|entry| (place(entry), counter(entry))).collect()
}

pub(crate) fn place(device: &str, hook: &str, rule: &str, direction: &str, remote: &str) -> Place {
    let family = if remote.contains(':') { "ipv6" } else { "ipv4" };
    (device.into(), hook.into(), rule.into(), direction.into(), family.into())
}

pub(crate) fn add(counter: &mut Counter, frame: &[u8], times: u64) {
    counter.packets += times;
    counter.bytes += times * frame.len() as u64;
}

pub(crate) const TWO_RULES: &str = r#"
[[rule]]
name = "tiktok"
action = "block"
services = ["tiktok"]
[[rule]]
name = "lab"
action = "block"
prefixes = ["203.0.113.0/24", "2001:db8:200::/48"]
"#;
