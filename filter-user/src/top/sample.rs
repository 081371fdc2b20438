//! A status for tests: two devices, three rules, two clients.

use std::net::IpAddr;

use crate::report::{ClientTable, ClientTotals, DeviceStatus, Parsed, RuleTotals, Status};
use crate::ruleset::RuleAction;
use crate::tally::Tally;

pub(super) fn tally(packets: u64) -> Tally {
    Tally { packets, bytes: packets * 100 }
}

pub(super) fn rule(name: &str, action: RuleAction, out: u64) -> RuleTotals {
    RuleTotals { name: name.into(), action, out: tally(out), in_: Tally::default(), last: None, retired: false }
}

pub(super) fn client(number: u8, dropped: u64) -> ClientTotals {
    ClientTotals {
        client: IpAddr::from([10, 66, 0, number]),
        dropped: tally(dropped),
        monitored: Tally::default(),
        allowed: Tally::default(),
    }
}

fn device(name: &str, seen: u64) -> DeviceStatus {
    DeviceStatus {
        name: name.into(),
        attach: "xdp-native".into(),
        state: "live".into(),
        egress: name == "wan0",
        seen: tally(seen),
        parsed: Parsed { ipv4: seen, ..Parsed::default() },
    }
}

pub(super) fn status() -> Status {
    Status {
        version: "0.1.0".into(),
        pid: 7,
        uptime_secs: 7384,
        generation: 12,
        table_bytes: 655_360,
        devices: vec![device("lan0", 5000), device("wan0", 3000)],
        rules: vec![
            rule("tiktok", RuleAction::Block, 400),
            rule("telegram", RuleAction::Block, 100),
            rule("games", RuleAction::Monitor, 30),
        ],
        dropped: tally(500),
        monitored: tally(30),
        allowed: Tally::default(),
        seen: tally(8000),
        clients: vec![client(9, 300), client(10, 200)],
        client_table: ClientTable { room: 1000, held: 2, evicted: 0, crowded: 0 },
        ..Status::default()
    }
}
