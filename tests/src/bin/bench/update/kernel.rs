//! What the kernel takes, as it says itself: not what maps say that they hold; and whether it still frees some. Must not judge.

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

/// Waits until the CPUs rest: the kernel frees maps and sets that nobody uses any more in threads of its own, which take 0.2 s
/// of a CPU for an `LPM_TRIE` of all prefixes, from whoever comes next.
pub(super) fn rest() {
    const WINDOW: Duration = Duration::from_millis(250);
    /// Windows without work, one after another: between two steps of freeing, readers of what is freed are waited for.
    const WINDOWS: usize = 2;
    /// Ticks of 10 ms in a window, of all CPUs, that are no work.
    const IDLE: u64 = 3;
    let (begun, mut before, mut windows) = (Instant::now(), busy(), 0);
    while windows < WINDOWS && begun.elapsed() < PATIENCE {
        thread::sleep(WINDOW);
        let now = busy();
        windows = if now - before <= IDLE { windows + 1 } else { 0 };
        before = now;
    }
}

fn busy() -> u64 {
    worked(&fs::read_to_string("/proc/stat").unwrap())
}

/// Ticks that all CPUs have worked (`proc_stat(5)`): all of the first line but `idle` and `iowait`.
fn worked(stat: &str) -> u64 {
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).expect("/proc/stat begins with all CPUs");
    let ticks = line.split_whitespace().enumerate().filter(|(at, _)| !matches!(at, 3 | 4));
    // Behind them is what the hypervisor took, and guests' time, which is in `user` as well.
    ticks.take(5).map(|(_, ticks)| ticks.parse::<u64>().unwrap()).sum()
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
    fn cpus_work_while_they_neither_idle_nor_wait_for_a_disk() {
        assert_eq!(worked("cpu  1 2 4 100 200 8 16 32 400 800\ncpu0 9 9 9 9 9 9 9 9 9 9\n"), 31);
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "sums of small integers are exact")]
    fn slab_percpu_and_vmalloc_are_added_and_nothing_else() {
        let meminfo =
            "MemTotal: 9 kB\nSlab: 10 kB\nSReclaimable: 5 kB\nVmallocTotal: 7 kB\nVmallocUsed: 20 kB\nPercpu: 3 kB\n";
        assert_eq!(sum(meminfo), 33.0 * 1024.0);
    }
}
