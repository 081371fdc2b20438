//! The metrics as Prometheus takes them: a real one scrapes a real weir, and says what was sent, to the packet and byte. Holds
//! the dashboard, the alerts and docs/evidence.md to what is really there.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod exposition;
mod prometheus;
mod scraped;
mod shipped;
mod textfile;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use weir_tests::frame::frame;
use weir_tests::http::{self, Reply};
use weir_tests::lab::{
    CONTROL_V4, DEADLINE, LAN_V4, LAN_V6, LISTED_V4, LISTED_V6, MAC_LAN, MAC_ROUTER_LAN, MAC_ROUTER_WAN, MAC_WAN, Path,
    wait_until,
};
use weir_tests::weir::{Counter, Scratch, Weir};

/// Where weir serves, if nothing else is configured.
const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9846);

const MONITORED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const ALLOWED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 200);
const CAMPUS: Ipv4Addr = Ipv4Addr::new(198, 18, 5, 9);

/// A rule for each action, one of them with a name that needs escapes; a list from a source; clients.
const CONFIG: &str = r#"
[[interface]]
name = "lan0"
[[interface]]
name = "wan0"
egress = true
[[rule]]
name = 'tik "tok" \'
action = "block"
services = ["tiktok"]
[[rule]]
name = "campus"
action = "block"
lists = ["campus"]
[[rule]]
name = "watched"
action = "monitor"
prefixes = ["203.0.113.0/24"]
[[rule]]
name = "fine"
action = "allow"
prefixes = ["203.0.113.200/32"]
[metrics]
clients = 5
"#;

/// The name of the first rule, as it stands in a label.
const TIKTOK: &str = r#"tik \"tok\" \\"#;

/// A router with a daemon.
struct Site {
    // Fields are dropped in this order: the daemon before the namespace it lives in.
    weir: Weir,
    path: Path,
    _scratch: Scratch,
}

impl Site {
    /// Starts weir with `CONFIG` and more of `[metrics]`.
    fn start(more: &str) -> Self {
        let path = Path::new();
        // Without these, the server and the router answer by ICMP, which would be counted, too.
        path.wan.route("blackhole 10.66.0.0/24");
        path.wan.route("blackhole fd66::/64");
        let scratch = Scratch::new();
        let list = scratch.file("campus.netset", "198.18.5.0/24\n");
        let source = format!("[[source]]\nname = \"campus\"\nfile = \"{}\"\n", list.display());
        let config = scratch.file("weir.toml", format!("{CONFIG}{more}{source}"));
        let weir = Weir::start(&path.router, ["-c", config.to_str().unwrap()]);
        let site = Self { weir, path, _scratch: scratch };
        // Before that, the status ends with a code of its own.
        let status = || site.weir.verb(&["status", "--json"]).json();
        wait_until(DEADLINE, "the list is in force", || status()["lists"][0]["state"] == "good");
        site
    }

    /// What weir says, in the format that `accept` asks for.
    fn metrics(&self, accept: &str) -> Reply {
        let reply = http::ask(&self.path.router, HERE, "GET", "/metrics", &[("Accept", accept)], b"");
        assert_eq!(reply.status, 200);
        reply
    }

    /// The text of the older format.
    fn text(&self) -> String {
        String::from_utf8(self.metrics("text/plain").body).unwrap()
    }

    /// Sends something of every kind, in both families and from both sides, and waits until it is counted. Gives what was
    /// sent by the selector of its series, with `*` for `packets` and `bytes`.
    fn send(&self) -> Vec<(String, Counter)> {
        let (lan, wan) = (self.path.lan_socket(), self.path.wan_socket());
        let outwards = || frame().macs(MAC_LAN, MAC_ROUTER_LAN);
        let inwards = || frame().macs(MAC_WAN, MAC_ROUTER_WAN);
        let of = |name: &str, rule: &str, device: &str, direction: &str, family: &str| {
            format!(
                "weir_{name}_*_total{{rule=\"{rule}\",device=\"{device}\",direction=\"{direction}\",family=\"{family}\"}}"
            )
        };
        let flows = [
            (&lan, 1201, outwards().ipv4(LAN_V4, LISTED_V4), of("blocked", TIKTOK, "lan0", "out", "ipv4")),
            (&lan, 302, outwards().ipv6(LAN_V6, LISTED_V6), of("blocked", TIKTOK, "lan0", "out", "ipv6")),
            (&wan, 403, inwards().ipv4(LISTED_V4, LAN_V4), of("blocked", TIKTOK, "wan0", "in", "ipv4")),
            (&wan, 54, inwards().ipv6(LISTED_V6, LAN_V6), of("blocked", TIKTOK, "wan0", "in", "ipv6")),
            (&lan, 65, outwards().ipv4(LAN_V4, CAMPUS), of("blocked", "campus", "lan0", "out", "ipv4")),
            (&lan, 76, outwards().ipv4(LAN_V4, MONITORED), of("would_block", "watched", "lan0", "out", "ipv4")),
            (&lan, 87, outwards().ipv4(LAN_V4, ALLOWED), of("allowed", "fine", "lan0", "out", "ipv4")),
            (&lan, 98, outwards().ipv4(LAN_V4, CONTROL_V4), "control".into()),
        ];
        let (mut sent, mut dropped) = (Vec::new(), Counter::default());
        for (number, (socket, count, frame, series)) in (1..).zip(flows) {
            let frame = frame.payload(&vec![0; 20 * number]).udp(443).build();
            let packets = socket.flood(&[&frame], count);
            let counter = Counter { packets, bytes: packets * frame.len() as u64 };
            if series.starts_with("weir_blocked") {
                dropped.packets += counter.packets;
                dropped.bytes += counter.bytes;
            }
            sent.push((series, counter));
        }
        sent.retain(|(series, _)| series != "control");
        sent.push(("weir_dropped_*_total".into(), dropped));
        let counted = |rule: &str, packets: u64| self.weir.rule(rule, "out").packets == packets;
        wait_until(DEADLINE, "everything is counted", || {
            self.weir.dropped() == dropped && counted("watched", 76) && counted("fine", 87)
        });
        sent
    }
}

/// Names of the families that an exposition in the older format describes.
fn families(text: &str) -> Vec<&str> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).collect()
}
