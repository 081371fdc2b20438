//! Frames while a list is replaced: none that is listed may come through, and none that is not may be dropped. Counts only.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use weir_tests::generator::{Clients, Router as Generator};

use super::daemon::{LISTED, Reloading};
use super::filters::KINDS;
use super::lists::Lists;
use super::{LEAKED, LOST, SECTION, WEIR, lane_of};
use crate::measure::{self, Effort};
use crate::path::lane::{Bed, Counted, Lane, MAC_INGRESS, MAC_SENDER};
use crate::results::{Group, Run, Series};

/// Destinations, and frames of one burst: about 60 ms, far longer than it takes to set up.
const DESTINATIONS: usize = 1 << 16;
const BURST: u32 = 1 << 17;

/// What was sent and counted during updates.
#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    arrived: u64,
    forwarded: u64,
    /// Lost behind the filter, in the receiver's queue.
    overrun: u64,
}

/// Replaces the list of weir's daemon and of the peers under traffic.
pub(super) fn measure(effort: &Effort, run: &mut Run, bed: &Bed, lists: &Lists) {
    let many = if effort.quick { 5 } else { 20 };
    for (workload, share) in [(LEAKED, 100), (LOST, 0)] {
        let mut generator = Generator::new(DESTINATIONS, MAC_SENDER, MAC_INGRESS, Clients::Lan([10, 66, 1]));
        generator.aim(&lists.list.destinations(DESTINATIONS, share));
        let mut series = Vec::new();
        for kind in &KINDS {
            let Some(lane) = lane_of(bed, kind.name) else { continue };
            let slow = kind.name != WEIR && lists.is_whole();
            let updates = if slow { 1 } else { many };
            let traffic = if kind.name == WEIR {
                lane.scratch.file("listed.txt", lists.text());
                let daemon = Reloading::start(lane, LISTED);
                under(effort, bed, lane, &mut generator, || {
                    (0..updates).for_each(|_| {
                        daemon.publish(LISTED);
                    });
                    Ok(())
                })
            } else {
                (kind.install)(lane, lists).and_then(|mut filter| {
                    under(effort, bed, lane, &mut generator, || {
                        (0..updates).try_for_each(|_| filter.replace().map(drop))
                    })
                })
            };
            let traffic = match traffic {
                Ok(traffic) => traffic,
                Err(why) => {
                    run.absent(SECTION.name, kind.name, &lists.label, &why);
                    continue;
                }
            };
            let wrong = if share == 0 {
                traffic.arrived.saturating_sub(traffic.forwarded).saturating_sub(traffic.overrun)
            } else {
                traffic.forwarded
            };
            println!("  {}, {workload}: {}: {wrong} in {updates} updates, {traffic:?}", lists.label, kind.name);
            let once = [("updates", f64::from(updates)), ("frames", traffic.arrived as f64)];
            series.push(Series {
                name: kind.name.into(),
                samples: vec![wrong as f64],
                once: once.map(|(name, figure)| (name.to_owned(), figure)).into(),
            });
        }
        let group = Group {
            section: SECTION.name.into(),
            workload: workload.into(),
            size: lists.len(),
            label: lists.label.clone(),
            unit: "frames".into(),
            base: WEIR.into(),
            series,
        };
        run.add(group, 0, 0);
    }
}

/// Tells the sender to end, also when the updates panic: the scope would wait for it for ever.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends without a pause while `updates` go on.
fn under(
    effort: &Effort,
    bed: &Bed,
    lane: &Lane,
    generator: &mut Generator,
    updates: impl FnOnce() -> Result<(), String>,
) -> Result<Traffic, String> {
    measure::stop_if_asked();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let (mut traffic, mut from) = (Traffic::default(), 0);
            while !done.load(Ordering::Relaxed) {
                let lost = lane.overrun();
                let (sent, Counted { arrived, forwarded }) = bed.burst(lane, generator, effort.cpu, from, BURST);
                from += sent.frames;
                traffic.arrived += arrived;
                traffic.forwarded += forwarded;
                traffic.overrun += lane.overrun() - lost;
            }
            traffic
        });
        let end = End(&done);
        let result = updates();
        drop(end);
        let traffic = sender.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload));
        result.map(|()| traffic)
    })
}
