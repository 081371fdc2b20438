//! Which CPU runs what: a measurement has one for itself, as far as the machine lets it.

use std::thread;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::sys;

/// Keeps the calling thread on one CPU, before all else that wants it.
pub fn take(cpu: usize) {
    stay(&[cpu]);
    sys::go_first().unwrap();
}

/// Keeps the calling thread, and what it starts from now on, off a CPU that measures; unless there is no other.
pub fn leave(cpu: usize) {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let others: Vec<usize> = (0..cpus).filter(|&other| other != cpu).collect();
    if !others.is_empty() {
        stay(&others);
    }
}

/// Keeps the calling thread on these CPUs.
pub fn stay(cpus: &[usize]) {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        set.set(cpu).unwrap();
    }
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}
