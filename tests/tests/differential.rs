//! The shipped object against the host's `decide`, long enough that every outcome was met often.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use filter_common::decide::Reason;
use filter_common::packet::Protocol;
use weir::network;
use weir_tests::differential::{DEVICES, compare};
use weir_tests::netns::{Netns, veth};
use weir_tests::require_root;

const RULESETS: u64 = 16;
const FRAMES: u64 = 14_000;

#[test]
fn the_shipped_object_decides_every_random_frame_as_the_host_does() {
    require_root();
    let (netns, other) = (Netns::new("differential"), Netns::new("other"));
    for (name, end) in [("lan0", "eth0"), ("wan0", "eth1")] {
        veth((&netns, name, [2, 0, 0, 0, 9, 1]), (&other, end, [2, 0, 0, 0, 9, 2]));
    }
    netns.enter(compare_all);
}

fn compare_all() {
    let devices = network::indices().unwrap();
    let indices: Vec<u32> = DEVICES.iter().filter_map(|&name| devices.get(name).copied()).collect();
    assert_eq!(indices.len(), 3, "{devices:?}");
    let (xdp, tc) = compare(RULESETS, FRAMES, &devices, &indices);
    xdp.print("xdp, each frame at both layers");
    tc.print("tc, ingress and egress");
    assert!(xdp.frames >= 2 * 200_000 && xdp.refused == 0, "{} frames, {} refused", xdp.frames, xdp.refused);
    assert!(tc.frames >= 2 * 20_000 && tc.refused * 40 < tc.frames, "{} frames, {} refused", tc.frames, tc.refused);
    assert!(xdp.narrowed.iter().all(|&narrowed| narrowed > 1000), "{:?}", xdp.narrowed);
    assert!(tc.narrowed.iter().all(|&narrowed| narrowed > 50), "{:?}", tc.narrowed);
    for protocol in [Protocol::Ipv4, Protocol::Ipv6] {
        for reason in [Reason::Allowed, Reason::Monitored, Reason::Blocked] {
            for direction in [0, 1] {
                let counts = (xdp.count(reason, protocol, direction), tc.count(reason, protocol, direction));
                assert!(counts.0 > 500 && counts.1 > 20, "{reason:?} {protocol:?} {direction}: {counts:?}");
            }
        }
    }
    for protocol in [Protocol::Ipv4, Protocol::Ipv6, Protocol::NotIp, Protocol::Truncated] {
        assert!(xdp.count(Reason::Unlisted, protocol, 0) > 1000, "{protocol:?}");
    }
}
