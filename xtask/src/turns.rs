//! Work that is done several at once, each piece once and its outcomes in order. Knows nothing of what is done.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread::{self, ScopedJoinHandle};

use anyhow::{Result, bail};

/// Does `work` on every item, on `jobs` threads; gives the outcomes in the order of the items. After an error nothing more is begun.
pub(crate) fn take<T: Send, R: Send>(
    items: impl IntoIterator<Item = T>,
    jobs: u16,
    work: impl Fn(usize, T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let waiting: Mutex<VecDeque<(usize, T)>> = Mutex::new(items.into_iter().enumerate().collect());
    let next = || waiting.lock().ok().and_then(|mut waiting| waiting.pop_front());
    let worker = || -> Result<Vec<(usize, R)>> {
        let mut outcomes = Vec::new();
        while let Some((place, item)) = next() {
            let outcome = work(place, item);
            if outcome.is_err() {
                waiting.lock().iter_mut().for_each(|waiting| waiting.clear());
            }
            outcomes.push((place, outcome?));
        }
        Ok(outcomes)
    };
    let outcomes: Result<Vec<Vec<(usize, R)>>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(worker)).collect();
        let joined = workers.into_iter().map(ScopedJoinHandle::join);
        joined.map(|result| result.unwrap_or_else(|_| bail!("a thread of xtask ended by a panic"))).collect()
    });
    let mut outcomes: Vec<(usize, R)> = outcomes?.into_iter().flatten().collect();
    outcomes.sort_by_key(|(place, _)| *place);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_is_done_once_and_outcomes_keep_their_order() {
        let slow_first = |place: usize, item: u64| {
            thread::sleep(Duration::from_millis(20 - item));
            Ok((place, item))
        };
        for jobs in [1, 3] {
            let done = take(0..20, jobs, slow_first).unwrap();
            assert_eq!(done, (0..20).map(|item| (item as usize, item)).collect::<Vec<_>>());
        }
        assert!(take(Vec::<u8>::new(), 2, |_, item| Ok(item)).unwrap().is_empty());
    }

    #[test]
    fn as_many_as_asked_for_are_done_at_once() {
        let all = Barrier::new(3);
        take(0..3, 3, |_, _| Ok(all.wait().is_leader())).unwrap();
    }

    #[test]
    fn an_error_is_told_and_nothing_more_is_begun() {
        let (begun, both) = (Mutex::new(Vec::new()), Barrier::new(2));
        let refused = take(0..4, 2, |_, item| {
            begun.lock().unwrap().push(item);
            if item < 2 {
                both.wait();
            }
            if item == 1 {
                bail!("no {item}");
            }
            // Until the other thread has told of its error.
            thread::sleep(Duration::from_millis(200));
            Ok(())
        });
        assert_eq!(refused.unwrap_err().to_string(), "no 1");
        assert_eq!(begun.into_inner().unwrap().len(), 2);
    }
}
