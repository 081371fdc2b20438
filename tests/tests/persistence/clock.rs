//! The clock of a router jumps: it starts in 1970 and is set by NTP, or runs away. What is blocked stays blocked, schedules follow
//! the clock, and the books stay whole.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_tests::lab::{DEADLINE, Path};
use weir_tests::traffic::under_traffic;
use weir_tests::weir::{Scratch, Weir};
use weir_tests::{skipped, wait_until};

use crate::{BOTH, config, written};

/// The library that tells programs another time, where it is installed (Debian: faketime).
fn library() -> Option<PathBuf> {
    let places = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    places.into_iter().find(|path| path.exists())
}

/// A time of day in `hours` hours, as the configuration has it.
fn in_hours(hours: u64) -> String {
    let minute = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 60 + 60 * hours;
    format!("{:02}:{:02}", minute / 60 % 24, minute % 60)
}

#[test]
fn a_clock_that_jumps_moves_schedules_and_nothing_else() {
    const TEST: &str = "a_clock_that_jumps_moves_schedules_and_nothing_else";
    let Some(library) = library() else { return skipped(TEST, "faketime is not installed") };
    let path = Path::new();
    path.wan.route("blackhole ::/0");
    let files = Scratch::new();
    let later = format!(
        "[[rule]]\nname = \"later\"\naction = \"block\"\nprefixes = [\"198.18.0.0/24\"]\n\
         schedule = {{ from = \"{}\", to = \"{}\", zone = \"UTC\" }}\n",
        in_hours(2),
        in_hours(4)
    );
    let arguments = written(&files, &(config(&BOTH, "auto") + &later));
    let clock = files.file("clock", "+0");
    let environment = [
        "env".to_owned(),
        format!("LD_PRELOAD={}", library.display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()),
        "FAKETIME_NO_CACHE=1".into(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
    ];
    let environment: Vec<&str> = environment.iter().map(String::as_str).collect();
    let weir = Weir::start_by(&environment, &path.router, Scratch::new(), &arguments);
    let rests = || weir.status()["resting"] == serde_json::json!(["later"]);
    assert!(rests());
    let sent = under_traffic(&path, || {
        // The file is replaced, not written over: half a line is no time.
        let set = |jump: &str| {
            let next = files.file("clock.new", jump);
            fs::rename(next, &clock).unwrap();
        };
        for (jump, asleep) in
            [("+3h", false), ("+0", true), ("-1y", true), ("+10y", true), ("-40y", true), ("+3h", false)]
        {
            set(jump);
            // A year is no whole number of days to the library: what it makes of the schedule is not known beforehand.
            if jump.ends_with('h') || jump == "+0" {
                wait_until(DEADLINE, "the schedule follows the clock", || rests() == asleep);
            } else {
                thread::sleep(Duration::from_secs(2));
            }
            // An entry is made of what was counted until now, whatever the clock said before.
            let state = weir.run_dir().join("state").display().to_string();
            let report = weir.verb(&["report", "--since", "1h", "--format", "json", "--state-dir", &state]);
            assert_eq!(report.code, 0, "{jump}: {report:?}");
        }
        set("+0");
        wait_until(DEADLINE, "it is back", rests);
    });
    assert_eq!(weir.dropped(), sent);
    assert!(!weir.stderr().contains("panicked") && !weir.stderr().contains("ERROR"), "{}", weir.stderr());
}
