//! The file for a textfile collector: the same metrics, never half of them, and gone with the daemon.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use weir_tests::lab::wait_until;

use crate::{Site, families};

#[test]
fn the_file_says_the_same_is_replaced_at_once_and_goes_with_the_daemon() {
    let directory = weir_tests::weir::Scratch::new();
    let file = directory.path().join("weir.prom");
    let mut site = Site::start(&format!("textfile = \"{}\"\n", file.display()));
    site.send();
    let whole = |text: &str| text.starts_with("# HELP weir_blocked_packets_total ") && text.ends_with('\n');
    let mut inodes = BTreeSet::new();
    // Written every ten seconds; a reader that never stops must never find half a file.
    wait_until(Duration::from_secs(45), "the file is replaced twice", || {
        for _ in 0..500 {
            let Ok(text) = fs::read_to_string(&file) else { return false };
            assert!(
                whole(&text) && text.contains("\nweir_build_info{") && !text.contains("process_"),
                "half a file:\n{text}"
            );
        }
        inodes.insert(fs::metadata(&file).unwrap().ino());
        inodes.len() > 2
    });
    let (written, served) = (fs::read_to_string(&file).unwrap(), site.text());
    // The collector has figures of its own process under these names.
    let mut of_weir = families(&served);
    of_weir.retain(|family| !family.starts_with("process_"));
    assert_eq!(families(&written), of_weir);
    let lasting = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.contains("process_")).map(str::to_owned).collect()
    };
    assert_eq!(lasting(&written), lasting(&served));
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o644, "the collector is another user");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
    assert!(site.weir.stop().success());
    assert!(!file.exists(), "old figures would look like a weir that runs");
}
