//! Runs single frames through the shipped object (`BPF_PROG_TEST_RUN`, kernel 4.12): for replay and the differential
//! test, and for the self-test of the live program. Attaches nothing, and counts for no device.

use aya::maps::{Array, MapError};
use aya::programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use filter_common::abi::{LastDecision, map};
use filter_common::decide::{Verdict, decide};
use filter_common::packet::{Layer, Meta};

use super::object::{Capacity, Detail, Hook, LoadError, Object, Options};
use super::publish::Datapath;
use crate::ruleset::Ruleset;

/// The kernel takes no shorter frame (`ETH_HLEN`; `bpf_test_init` in `net/bpf/test_run.c`).
const SHORTEST_FRAME: usize = 14;
/// The kernel takes no longer frame for XDP than fits a page with its headroom; every header the decision reads is in
/// the first 78 bytes, so the rest of a longer one is cut off.
const LONGEST_FRAME: usize = 2048;

/// Return codes: `XDP_DROP` of `enum xdp_action`, `TC_ACT_SHOT` of `pkt_cls.h`.
const XDP_DROP: u32 = 1;
const TC_ACT_SHOT: u32 = 2;

/// Index of the loopback device, in every network namespace: where the kernel says a frame is met if nobody says more.
const LOOPBACK: u32 = 1;

/// Why a frame could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The object does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The kernel does not run it.
    #[error("the kernel does not run the program on a frame of {length} bytes")]
    Run {
        /// Length of the frame.
        length: usize,
        /// What the kernel says.
        #[source]
        source: ProgramError,
    },
    /// The decision cannot be read back.
    #[error("cannot read the decision back")]
    Read(#[from] MapError),
}

/// The shipped object, ready to run single frames.
#[derive(Debug)]
pub struct Bench<'a> {
    ruleset: &'a Ruleset,
    object: Object,
    device: u32,
}

impl<'a> Bench<'a> {
    /// Loads the object with `ruleset`, recording decisions.
    pub fn new(ruleset: &'a Ruleset) -> Result<Self, LoadError> {
        let sets = u32::try_from(ruleset.actions.len()).unwrap_or(u32::MAX);
        let object = Object::load(
            ruleset,
            &Options {
                ports: &[],
                capacity: Capacity { ports: 1, sets },
                pins: None,
                detail: Detail::default(),
                trace: false,
                record: true,
            },
        )?;
        Ok(Self { ruleset, object, device: LOOPBACK })
    }

    /// Says at which device frames are met from now on, by its index in the caller's network namespace; before, it is the
    /// loopback device. Needs kernel 5.14 for XDP.
    pub fn meet_at(&mut self, device: u32) {
        self.device = device;
    }

    /// The verdict and the decision on `frame` at `hook`.
    pub fn run(&mut self, hook: Hook, layer: Layer, frame: &[u8]) -> Result<(Verdict, LastDecision), RunError> {
        if frame.len() < SHORTEST_FRAME {
            let decision = decide(frame, &Meta { layer, device: self.device, vlan: 0 }, self.ruleset);
            return Ok((decision.verdict(), decision.record()));
        }
        let verdict = run(&mut self.object, hook, layer, frame, self.device)?;
        let last = self.object.ebpf.map(map::LAST).ok_or(LoadError::Missing(map::LAST))?;
        Ok((verdict, Array::<_, LastDecision>::try_from(last)?.get(&0, 0)?))
    }
}

/// The verdict of a program of `object` on a frame that is met at `device`.
fn run(object: &mut Object, hook: Hook, layer: Layer, frame: &[u8], device: u32) -> Result<Verdict, RunError> {
    let length = frame.len();
    let data = frame.get(..length.min(LONGEST_FRAME)).unwrap_or(frame);
    let context = context(hook, device, data.len());
    let ctx_in = (device != LOOPBACK).then_some(context.as_flattened());
    let options = TestRunOptions { data_in: Some(data), ctx_in, ..TestRunOptions::default() };
    let (result, drops) = match hook {
        Hook::Xdp => (Xdp::test_run(object.xdp(layer)?, options), XDP_DROP),
        Hook::TcIngress | Hook::TcEgress => {
            (SchedClassifier::test_run(object.classifier(hook, layer)?, options), TC_ACT_SHOT)
        }
    };
    let result = result.map_err(|source| RunError::Run { length, source })?;
    Ok(if result.return_value == drops { Verdict::Drop } else { Verdict::Pass })
}

impl Datapath {
    /// The hooks that hold a program, by device.
    #[must_use]
    pub fn held(&self) -> Vec<(String, Hook, Layer)> {
        let mut held = Vec::new();
        for attached in self.attached() {
            let (name, layer) = (&attached.device.name, attached.layer());
            let ingress = if attached.kind.is_xdp() { Hook::Xdp } else { Hook::TcIngress };
            held.push((name.clone(), ingress, layer));
            if attached.filters_egress() {
                held.push((name.clone(), Hook::TcEgress, layer));
            }
        }
        held
    }

    /// Runs a frame through the program of the generation that is live. It is met at the loopback device, so that what is
    /// counted of it counts for no device. `None` where nothing is live.
    pub fn probe(&mut self, hook: Hook, layer: Layer, frame: &[u8]) -> Option<Result<Verdict, RunError>> {
        self.object().map(|object| run(object, hook, layer, frame, LOOPBACK))
    }
}

/// The start of the context that the kernel is given for a frame of `length` bytes met at `device`; the rest is zero.
fn context(hook: Hook, device: u32, length: usize) -> [[u8; 4]; 11] {
    /// Places of members of `xdp_md` and `__sk_buff` (`include/uapi/linux/bpf.h`), in words.
    const XDP_DATA_END: usize = 1;
    const XDP_INGRESS_IFINDEX: usize = 3;
    const SKB_IFINDEX: usize = 10;
    let words: &[(usize, u32)] = match hook {
        Hook::Xdp => &[(XDP_DATA_END, length as u32), (XDP_INGRESS_IFINDEX, device)],
        Hook::TcIngress | Hook::TcEgress => &[(SKB_IFINDEX, device)],
    };
    std::array::from_fn(|place| {
        let word = words.iter().find(|word| word.0 == place);
        word.map_or(0, |&(_, value)| value).to_ne_bytes()
    })
}
