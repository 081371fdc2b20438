//! A daemon that is killed again and again, while it publishes, under traffic. Alone in its program: it counts all that is in the
//! kernel.

use std::thread;
use std::time::Duration;

use aya::maps::loaded_maps;
use aya::programs::loaded_programs;
use weir_tests::lab::{DEADLINE, Path};
use weir_tests::traffic::under_traffic;
use weir_tests::wait_until;
use weir_tests::weir::{Scratch, Signal, Weir};

const KILLS: u64 = 100;

/// A configuration that blocks the peer, and `others` networks by a rule each: what counts them is outgrown on the way.
fn config(others: u64) -> String {
    let rule =
        |name: &str, prefix: &str| format!("[[rule]]\nname = \"{name}\"\naction = \"block\"\nprefixes = [{prefix}]\n");
    let mut text = String::from("[[interface]]\nname = \"lan0\"\n[[interface]]\nname = \"wan0\"\n");
    text += &rule("peer", "\"71.18.1.0/24\", \"2605:340::/64\"");
    text.extend((0..others).map(|n| rule(&format!("r{n}"), &format!("\"203.0.{n}.0/24\""))));
    text
}

#[test]
fn a_hundred_kills_during_publishes_leak_drop_and_lose_nothing() {
    let in_kernel = || (loaded_maps().count(), loaded_programs().count());
    let before = in_kernel();
    let path = Path::new();
    path.wan.route("blackhole ::/0");
    let files = Scratch::new();
    let file = files.file("weir.toml", config(0));
    let arguments = ["-c", file.to_str().unwrap()];
    let mut weir = Some(Weir::start(&path.router, arguments));
    let (mut reloading, mut starting) = (0, 0);
    let sent = under_traffic(&path, || {
        let mut counted = 0;
        for kill in 0..KILLS {
            let running = weir.take().unwrap();
            let dropped = running.dropped().packets;
            assert!(dropped >= counted, "{dropped} after {counted}");
            counted = dropped;
            files.file("weir.toml", config(1 + kill));
            running.signal(Signal::SIGHUP);
            // A publish takes some tens of milliseconds here: the kills are spread over it, and beyond.
            thread::sleep(Duration::from_micros(1700 * (kill % 50)));
            reloading += u64::from(!running.stderr().contains("published generation=2 "));
            let mut left = running.kill();
            if kill % 2 == 1 {
                let start = Weir::launch_in(&path.router, left, arguments);
                thread::sleep(Duration::from_micros(5000 * (kill % 50)));
                starting += u64::from(!start.stderr().contains("published generation=1 "));
                left = start.kill();
            }
            weir = Some(Weir::start_in(&path.router, left, arguments));
        }
    });
    let mut weir = weir.unwrap();
    println!("{KILLS} kills, {reloading} before a reload was published, {starting} more before a start was; {sent:?}");
    assert!(reloading >= KILLS / 10 && starting >= KILLS / 20, "{reloading}, {starting}");
    assert_eq!(weir.dropped(), sent, "each listed frame is counted once");
    assert!(weir.stop().success());
    drop((weir, path));
    wait_until(DEADLINE, "nothing is left in the kernel", || in_kernel() == before);
}
