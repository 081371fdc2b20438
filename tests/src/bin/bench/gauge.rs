//! How disturbed the machine is: a walk through memory that takes always the same, unless a neighbour has the core's other half or
//! the cache. Looks at nothing that is measured.

use std::hint::black_box;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::measure::{self, Effort};

/// A round in which the walk took this many times longer than it did at best is made again.
pub(crate) const MOST_SLOWED: f64 = 1.1;

/// Places in the walk, each in a cache line of its own: more than a core's own cache has, as the tables of a full list.
const PLACES: usize = 2 << 20 >> 6;
/// Numbers in a cache line.
const LINE: usize = 16;
/// Steps of one walk: about a millisecond.
const STEPS: usize = 40_000;

struct Gauge {
    /// For each place the next one, in one cycle through all of them.
    next: Vec<u32>,
    /// The fastest walk in seconds.
    best: f64,
}

impl Gauge {
    fn new() -> Self {
        // Sattolo: "An algorithm to generate a random cyclic permutation", 1986.
        let mut order: Vec<u32> = (0..PLACES as u32).collect();
        let mut random = 1_u64;
        for last in (1..PLACES).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(last, (random >> 33) as usize % last);
        }
        let mut next = vec![0; PLACES * LINE];
        for (place, to) in order.into_iter().enumerate() {
            next[place * LINE] = to;
        }
        Self { next, best: f64::INFINITY }
    }

    /// Walks, and tells how many times longer it took than the fastest walk.
    fn read(&mut self) -> f64 {
        let begun = Instant::now();
        let mut at = 0;
        for _ in 0..STEPS {
            at = self.next[at as usize * LINE];
        }
        black_box(at);
        self.hold(begun.elapsed().as_secs_f64())
    }

    /// How many times longer a walk of `took` seconds was than the fastest, which it may be itself.
    fn hold(&mut self, took: f64) -> f64 {
        self.best = self.best.min(took);
        took / self.best
    }
}

/// How many times longer than at best a walk takes now, on the CPU that measures.
pub(crate) fn read(effort: &Effort) -> f64 {
    static GAUGE: LazyLock<Mutex<Gauge>> = LazyLock::new(|| Mutex::new(Gauge::new()));
    measure::on_cpu(effort.cpu, || {
        let mut gauge = GAUGE.lock().unwrap_or_else(PoisonError::into_inner);
        // The first walk brings the places into the cache; of the others the best counts, for interrupts come to all.
        (0..4).map(|_| gauge.read()).fold(f64::INFINITY, f64::min)
    })
}

/// Waits until the machine is undisturbed, but no longer than `patience`.
pub(crate) fn settle(effort: &Effort, patience: &mut Duration) {
    const PAUSE: Duration = Duration::from_millis(250);
    while read(effort) > MOST_SLOWED && *patience >= PAUSE {
        measure::stop_if_asked();
        thread::sleep(PAUSE);
        *patience -= PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_comes_through_every_place() {
        let gauge = Gauge::new();
        let mut seen = vec![false; PLACES];
        let mut at = 0;
        for _ in 0..PLACES {
            at = gauge.next[at as usize * LINE];
            seen[at as usize] = true;
        }
        assert!(at == 0 && seen.iter().all(|&seen| seen));
    }

    #[test]
    fn a_walk_is_held_against_the_fastest() {
        let mut gauge = Gauge::new();
        let (first, faster) = (gauge.read(), gauge.best / 2.0);
        assert_eq!((first, gauge.best.is_finite()), (1.0, true), "the first is the fastest so far");
        assert_eq!((gauge.hold(faster), gauge.best), (1.0, faster), "a faster one takes its place");
        assert_eq!((gauge.hold(4.0 * faster), gauge.best), (4.0, faster), "a slower one does not");
    }
}
