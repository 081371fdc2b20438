//! The product: what happens to a frame, as one pure function. Must not count, log or touch a map.

use crate::abi::{LastDecision, SetActions};
use crate::frame::Frame;
use crate::lookup::{self, Tables, UNLISTED};
use crate::packet::{Layer, Packet, Protocol};

/// What a rule asks for. The stronger of two actions is the one with the higher number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Action {
    /// No rule speaks for this direction.
    None = 0,
    /// Pass, and count it.
    Allow = 1,
    /// Pass, and count it as what a block would have dropped.
    Monitor = 2,
    /// Drop.
    Block = 3,
}

/// Which of a packet's addresses is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Direction {
    /// The destination is listed: traffic to the network.
    Out = 0,
    /// The source is listed: traffic from the network.
    In = 1,
}

/// The fate of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The frame goes on.
    Pass,
    /// The frame ends here.
    Drop,
}

/// Why a frame got its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// Passed: neither address is in a rule that speaks for its direction, or the frame carries no IP packet.
    Unlisted = 0,
    /// Passed: an allow rule names the address.
    Allowed = 1,
    /// Passed: only monitor rules name the address.
    Monitored = 2,
    /// Dropped: a block rule names the address.
    Blocked = 3,
}

/// What is decided on one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Why; it also says the verdict.
    pub reason: Reason,
    /// What the frame carries.
    pub protocol: Protocol,
    /// Which address was listed; `Out` where none was.
    pub direction: Direction,
    /// The set of the listed address; [`UNLISTED`] where none was.
    pub set: u32,
}

impl Decision {
    #[inline(always)]
    const fn unlisted(protocol: Protocol) -> Self {
        Self { reason: Reason::Unlisted, protocol, direction: Direction::Out, set: UNLISTED }
    }

    /// The fate of the frame. Only [`Reason::Blocked`] drops: what weir cannot read, it passes.
    #[must_use]
    #[inline(always)]
    pub const fn verdict(&self) -> Verdict {
        match self.reason {
            Reason::Blocked => Verdict::Drop,
            Reason::Unlisted | Reason::Allowed | Reason::Monitored => Verdict::Pass,
        }
    }

    /// The decision as a map value.
    #[must_use]
    #[inline(always)]
    pub const fn record(&self) -> LastDecision {
        LastDecision {
            reason: self.reason as u32,
            protocol: self.protocol as u32,
            direction: self.direction as u32,
            set: self.set,
        }
    }
}

/// What a ruleset says of sets, beside its tables.
pub trait Ruleset: Tables {
    /// What to do with the packets of set `set`.
    fn actions(&self, set: u32) -> Option<&SetActions>;
}

/// Decides on `frame`, which starts with `layer`, by `rules`.
///
/// Each address is looked up on its own: the destination's set speaks for direction out, the source's for in. The
/// stronger action wins; between equals, out.
#[inline(always)]
pub fn decide<F: Frame + ?Sized, R: Ruleset + ?Sized>(frame: &F, layer: Layer, rules: &R) -> Decision {
    let packet = Packet::parse(frame, layer);
    let (source, destination) = match packet.protocol {
        Protocol::Ipv4 => {
            let Some((source, destination)) = packet.addresses_v4(frame) else {
                return Decision::unlisted(Protocol::Truncated);
            };
            (lookup::set_of_v4(rules, source), lookup::set_of_v4(rules, destination))
        }
        Protocol::Ipv6 => {
            let Some((source, destination)) = packet.addresses_v6(frame) else {
                return Decision::unlisted(Protocol::Truncated);
            };
            (lookup::set_of_v6(rules, source), lookup::set_of_v6(rules, destination))
        }
        Protocol::NotIp | Protocol::Truncated => return Decision::unlisted(packet.protocol),
    };
    if source | destination == UNLISTED {
        return Decision::unlisted(packet.protocol);
    }
    let out = rules.actions(destination).map_or(0, |actions| actions.out);
    let in_ = rules.actions(source).map_or(0, |actions| actions.in_);
    let (direction, set, action) =
        if out >= in_ { (Direction::Out, destination, out) } else { (Direction::In, source, in_) };
    let reason = match action {
        0 => return Decision::unlisted(packet.protocol),
        1 => Reason::Allowed,
        2 => Reason::Monitored,
        _ => Reason::Blocked,
    };
    Decision { reason, protocol: packet.protocol, direction, set }
}
