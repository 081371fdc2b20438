//! Measures candidates in turns, so that a slow moment of the machine meets all of them. Knows nothing of what is measured.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, panic, thread};

use weir_tests::cpu;

use crate::gauge;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Few sizes and rounds.
    pub(crate) quick: bool,
    /// Rounds of each group.
    pub(crate) rounds: usize,
    /// Rounds that may be made again.
    pub(crate) spare: usize,
    /// How long a group may wait for an undisturbed machine.
    pub(crate) patience: Duration,
    /// The CPU that measures; whatever else there is has the others.
    pub(crate) cpu: usize,
}

/// A round in which the hypervisor took more than this share of the measuring CPU is made again.
pub(crate) const MOST_STEAL: f64 = 0.05;
/// Ticks of /proc/stat a second (`USER_HZ`).
const TICKS: f64 = 100.0;

impl Effort {
    /// `rounds` in the place of the usual number.
    pub(crate) fn new(quick: bool, rounds: Option<usize>) -> Self {
        let usual = if quick { 5 } else { 15 };
        let (rounds, spare) = (rounds.unwrap_or(usual), usual / 2);
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        Self { quick, rounds, spare, patience: Duration::from_secs(if quick { 0 } else { 10 }), cpu: cpus - 1 }
    }
}

/// Samples of each candidate, one for each round.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    pub(crate) samples: Vec<Vec<f64>>,
    pub(crate) repeated: usize,
    pub(crate) disturbed: usize,
}

/// Measures `candidates` candidates in turns; `sample` is given the number of the round and of the candidate. A round starts
/// with another candidate each time, so that none always follows the same one's caches.
pub(crate) fn in_turns(effort: &Effort, candidates: usize, mut sample: impl FnMut(usize, usize) -> f64) -> Rounds {
    let mut rounds = Rounds { samples: vec![Vec::new(); candidates], ..Rounds::default() };
    let (mut number, mut patience) = (0, effort.patience);
    while number < effort.rounds {
        gauge::settle(effort, &mut patience);
        let (begun, stolen) = (Instant::now(), steal(effort.cpu));
        let mut round = vec![0.0; candidates];
        for turn in 0..candidates {
            let candidate = (turn + number) % candidates;
            stop_if_asked();
            round[candidate] = sample(number, candidate);
        }
        let share = (steal(effort.cpu) - stolen) / TICKS / begun.elapsed().as_secs_f64();
        let is_disturbed = share > MOST_STEAL || gauge::read(effort) > gauge::MOST_SLOWED;
        if is_disturbed && rounds.repeated < effort.spare {
            rounds.repeated += 1;
            continue;
        }
        rounds.disturbed += usize::from(is_disturbed);
        for (samples, sample) in rounds.samples.iter_mut().zip(round) {
            samples.push(sample);
        }
        number += 1;
    }
    rounds
}

/// Runs what is measured in a thread that has the CPU for itself.
pub(crate) fn on_cpu<T: Send>(number: usize, measured: impl FnOnce() -> T + Send) -> T {
    let joined = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            cpu::take(number);
            measured()
        });
        thread.join()
    });
    joined.unwrap_or_else(|payload| panic::resume_unwind(payload))
}

/// Ticks that the hypervisor has taken from a CPU (`proc_stat(5)`).
fn steal(cpu: usize) -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    stolen(&text, cpu).unwrap_or(0.0)
}

fn stolen(stat: &str, cpu: usize) -> Option<f64> {
    let name = format!("cpu{cpu}");
    let line = stat.lines().find(|line| line.split_whitespace().next() == Some(&name))?;
    line.split_whitespace().nth(8)?.parse().ok()
}

static STOP: AtomicBool = AtomicBool::new(false);

/// From now on SIGINT, SIGTERM and SIGHUP end the run in order.
pub(crate) fn stop_on_signals() {
    ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed)).expect("the only one");
}

/// Ends the run if a signal asked for it: unwinding removes what was made.
pub(crate) fn stop_if_asked() {
    if STOP.load(Ordering::Relaxed) {
        panic::resume_unwind(Box::new("stopped by a signal"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EFFORT: Effort = Effort { quick: true, rounds: 3, spare: 0, patience: Duration::ZERO, cpu: 0 };

    #[test]
    fn candidates_take_turns_and_each_begins_a_round() {
        let mut order = Vec::new();
        let rounds = in_turns(&EFFORT, 3, |round, candidate| {
            order.push(candidate);
            (10 * round + candidate) as f64
        });
        assert_eq!(order, [0, 1, 2, 1, 2, 0, 2, 0, 1]);
        assert_eq!(rounds.samples, [[0.0, 10.0, 20.0], [1.0, 11.0, 21.0], [2.0, 12.0, 22.0]]);
    }

    #[test]
    fn steal_is_the_eighth_figure_of_the_cpus_own_line() {
        let stat = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 80 9 10\ncpu1 1 2 3 4 5 6 7 81 9 10\nintr 1\n";
        assert_eq!(stolen(stat, 1), Some(81.0));
        assert_eq!(stolen(stat, 2), None);
    }
}
