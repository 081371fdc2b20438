//! How often something may happen: a token bucket without tokens. Must not read a clock.
//!
//! The generic cell rate algorithm (ITU-T I.371, section A): instead of counting tokens it keeps the time at which the
//! next one would be due if all came evenly. One number, one comparison, no division: as a BPF program wants it.

/// True where something that happens at `now` keeps to one every `interval` in the long run, and to a head start of
/// `burst`; it then counts. All are nanoseconds; `due` is what this function keeps between its calls, 0 at first.
#[must_use]
#[inline(always)]
pub const fn admits(due: &mut u64, now: u64, interval: u64, burst: u64) -> bool {
    if *due > now + burst {
        return false;
    }
    *due = if *due > now { *due } else { now } + interval;
    true
}

/// How often each CPU may take a client's place for another: a network does not gain 500 clients a second, but whoever
/// sends from forged addresses would drive out the real ones.
pub const CLIENT_INTERVAL: u64 = 2_000_000;
/// A head start: all clients of a network come at once when weir starts.
pub const CLIENT_BURST: u64 = 512 * CLIENT_INTERVAL;

#[cfg(test)]
mod tests {
    use super::admits;

    #[test]
    fn a_burst_is_admitted_and_then_one_every_interval() {
        let mut due = 0;
        let admitted = |due: &mut u64, now: u64| (0..1000).filter(|_| admits(due, now, 100, 400)).count();
        assert_eq!(admitted(&mut due, 5000), 5, "one, and four ahead of time");
        assert_eq!(admitted(&mut due, 5099), 0);
        assert_eq!(admitted(&mut due, 5100), 1);
        assert_eq!(admitted(&mut due, 5350), 2);
        assert_eq!(admitted(&mut due, 9_000_000), 5, "no more than a burst, however long it was quiet");
    }

    #[test]
    fn the_long_run_keeps_to_the_rate_whatever_the_arrivals() {
        let (mut due, mut count, mut now) = (0, 0_u64, 1_000_000);
        for step in 0..100_000_u64 {
            now += step * 7919 % 13;
            count += u64::from(admits(&mut due, now, 50, 500));
        }
        let most = (now - 1_000_000) / 50 + 11;
        assert!(count <= most && count + 12 >= most, "{count} of {most}");
    }
}
