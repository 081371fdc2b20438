//! The router's live flows: real packets through connection tracking, found again by who talks to whom.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::IpAddr;
use std::process::Command;

use weir::flows::{self, Flow, Flows};
use weir::network;
use weir_tests::echo::{ECHO_PORT, TcpProbe, udp_echo};
use weir_tests::lab::{CONTROL_V6, DEADLINE, LAN_V4, LAN_V6, LISTED_V4, Path};
use weir_tests::netns::Netns;
use weir_tests::skipped;

/// Connection tracking listens in a namespace once a rule there asks for a flow's state.
const TRACK: &str = "add table inet lab; add chain inet lab forward { type filter hook forward priority 0; }; \
                     add rule inet lab forward ct state new counter";

fn listed(netns: &Netns) -> Flows {
    flows::parse(&netns.enter(|| network::flows().unwrap().unwrap()))
}

fn find(flows: &Flows, protocol: u8, client: impl Into<IpAddr>, server: impl Into<IpAddr>) -> Option<Flow> {
    let ends = (client.into(), server.into());
    let mut of = flows.flows.iter().filter(|flow| flow.protocol == protocol && (flow.client, flow.server) == ends);
    let found = of.next().cloned();
    assert!(of.next().is_none(), "two flows where one was begun: {flows:?}");
    found
}

#[test]
fn live_flows_through_the_router_are_found_with_client_server_ports_and_bytes() {
    const NAME: &str = "live_flows_through_the_router_are_found_with_client_server_ports_and_bytes";
    let path = Path::new();
    match path.router.command("nft").arg("list ruleset").output() {
        Ok(listed) if listed.status.success() => {}
        Ok(refused) => return skipped(NAME, &String::from_utf8_lossy(&refused.stderr)),
        Err(error) => return skipped(NAME, &format!("nft: {error}")),
    }
    if path.router.enter(network::flows).unwrap().is_none() {
        return skipped(NAME, "this kernel lists no flows (CONFIG_NF_CONNTRACK_PROCFS)");
    }
    let run = |arguments: &str| {
        let output = path.router.run(Command::new("nft").arg(arguments));
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(TRACK);
    assert_eq!(listed(&path.router), Flows::default());

    // Not counted yet, as the kernel's default is.
    let mut tcp = TcpProbe::connect(&path.lan, LISTED_V4.into(), DEADLINE).unwrap();
    assert!(tcp.echo(DEADLINE));
    let flows = listed(&path.router);
    let found = find(&flows, 6, LAN_V4, LISTED_V4).unwrap_or_else(|| panic!("{flows:?}"));
    let (client_port, server_port) = found.ports.unwrap();
    assert_eq!((server_port, found.bytes, found.offloaded), (ECHO_PORT, None, false));
    assert_ne!(client_port, ECHO_PORT);

    path.router.sysctl("net/netfilter/nf_conntrack_acct", 1);
    assert!(udp_echo(&path.lan, CONTROL_V6.into(), DEADLINE));
    let flows = listed(&path.router);
    let found = find(&flows, 17, LAN_V6, CONTROL_V6).unwrap_or_else(|| panic!("{flows:?}"));
    // IPv6 header, UDP header and four bytes, there and back.
    assert_eq!((found.ports.unwrap().1, found.bytes), (ECHO_PORT, Some(2 * (40 + 8 + 4))));
    assert!(find(&flows, 6, LAN_V4, LISTED_V4).is_some() && flows.flows.len() == 2 && flows.skipped == 0, "{flows:?}");

    // The file is that of the namespace, not that of the machine.
    assert_eq!(listed(&path.wan), Flows::default());
}
