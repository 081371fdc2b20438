//! What the kernel takes, as it says itself: not what maps say that they hold. Must not judge.

use std::time::{Duration, Instant};
use std::{fs, thread};

use aya::maps::{MapType, loaded_maps};

/// Lines of /proc/meminfo that grow with a filter: slabs and large `kmalloc`, per-CPU memory, `vmalloc` (arrays, programs).
const LINES: [&str; 3] = ["Slab", "Percpu", "VmallocUsed"];
/// Readings that differ by less stand still.
const STILL: f64 = 32_768.0;
/// The kernel frees maps and sets some time after they are gone.
const PAUSE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes in use, once they stand still.
pub(super) fn taken() -> f64 {
    let begun = Instant::now();
    let mut before = now();
    loop {
        thread::sleep(PAUSE);
        let bytes = now();
        if (bytes - before).abs() <= STILL || begun.elapsed() > PATIENCE {
            return bytes;
        }
        before = bytes;
    }
}

fn now() -> f64 {
    // Dentries and inodes of all the commands that ran come and go with no filter.
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    // Counters are kept by CPU, and folded now and then: this folds them.
    fs::write("/proc/sys/vm/stat_refresh", "1").unwrap();
    sum(&fs::read_to_string("/proc/meminfo").unwrap()) + ring_buffers()
}

fn sum(meminfo: &str) -> f64 {
    let value = |name: &str| -> f64 {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
    };
    LINES.iter().map(|name| value(name) * 1024.0).sum()
}

/// The pages of ring buffers: they are mapped, but not by `vmalloc`.
fn ring_buffers() -> f64 {
    let rings = loaded_maps().flatten().filter(|map| map.map_type().is_ok_and(|kind| kind == MapType::RingBuf));
    rings.map(|map| f64::from(map.max_entries())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "sums of small integers are exact")]
    fn slab_percpu_and_vmalloc_are_added_and_nothing_else() {
        let meminfo =
            "MemTotal: 9 kB\nSlab: 10 kB\nSReclaimable: 5 kB\nVmallocTotal: 7 kB\nVmallocUsed: 20 kB\nPercpu: 3 kB\n";
        assert_eq!(sum(meminfo), 33.0 * 1024.0);
    }
}
