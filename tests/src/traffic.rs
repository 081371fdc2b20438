//! Traffic that goes on beside what a test does, counted exactly at both ends. Knows nothing of weir.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::frame::frame;
use crate::lab::{CONTROL_V4, DEADLINE, LAN_V4, LISTED_V4, MAC_LAN, MAC_ROUTER_LAN, Path};
use crate::weir::Counter;

/// A frame of the client's to `remote`, as the router gets it.
#[must_use]
pub fn to(remote: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    frame().macs(MAC_LAN, MAC_ROUTER_LAN).ipv4(LAN_V4, remote).udp(9).payload(payload).build()
}

/// Whether a listed frame of the client's reaches the server. An unlisted one behind it must.
#[must_use]
pub fn passes(path: &Path) -> bool {
    let (lan, wan) = (path.lan_socket(), path.wan_socket());
    lan.send(&to(LISTED_V4, b"listed-probe"));
    lan.send(&to(CONTROL_V4, b"control-probe"));
    let first = wan.receive_where(DEADLINE, |frame| frame.ends_with(b"-probe")).unwrap();
    first.ends_with(b"listed-probe")
}

/// Ends the traffic, also when the test panics: the scope would wait for it for ever.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `meanwhile` while the client sends listed and control frames by turns, and checks that exactly the control frames come
/// out at the server. Gives how many listed frames of how many bytes were sent.
pub fn under_traffic(path: &Path, meanwhile: impl FnOnce()) -> Counter {
    const BATCH: usize = 32;
    const PACE: Duration = Duration::from_micros(500);
    let (lan, wan) = (path.lan_socket(), path.wan_socket());
    let listed = to(LISTED_V4, b"listed-frame");
    let control = to(CONTROL_V4, b"control-frame");
    let batch: Vec<&Vec<u8>> = [&listed, &control].into_iter().cycle().take(BATCH).collect();
    let done = AtomicBool::new(false);
    let (listed_sent, leaked) = thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let (mut sent, mut passed, mut leaked) = (0, 0, 0);
            while !done.load(Ordering::Relaxed) {
                // A pace, not a wait: flat out, traffic takes the core that what is tested needs.
                thread::sleep(PACE);
                lan.flood(&batch, BATCH as u64);
                sent += BATCH as u64 / 2;
                // The next batch waits for this one, so that no queue runs over: what is missing then was dropped.
                let deadline = Instant::now() + DEADLINE;
                while passed < sent {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let frame =
                        wan.receive(left).unwrap_or_else(|| panic!("{passed} of {sent} control frames came out"));
                    passed += u64::from(frame.ends_with(b"control-frame"));
                    leaked += u64::from(frame.ends_with(b"listed-frame"));
                }
            }
            assert_eq!(wan.drain(|frame| frame.ends_with(b"control-frame")), 0, "a control frame came out twice");
            (sent, leaked)
        });
        let end = End(&done);
        meanwhile();
        drop(end);
        traffic.join().unwrap()
    });
    assert_eq!(leaked, 0, "of {listed_sent} listed frames");
    Counter { packets: listed_sent, bytes: listed_sent * listed.len() as u64 }
}
