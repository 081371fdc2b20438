//! The product: what happens to a frame, as one pure function. Must not count, log or touch a map.

use crate::abi::{Hit, LastDecision, SetActions};
use crate::frame::Frame;
use crate::lookup::{self, Slot, Tables, UNLISTED};
use crate::packet::{Ends, Meta, Packet, Protocol};
use crate::scope::{Key, Met, Scopes};

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
    /// Address of the client, the end that is not listed; 0 where none is.
    pub client: Key,
}

impl Decision {
    #[inline(always)]
    const fn unlisted(protocol: Protocol) -> Self {
        let client = Key { high: 0, low: 0 };
        Self { reason: Reason::Unlisted, protocol, direction: Direction::Out, set: UNLISTED, client }
    }

    #[inline(always)]
    const fn blocked_out(protocol: Protocol, set: u32, client: Key) -> Self {
        Self { reason: Reason::Blocked, protocol, direction: Direction::Out, set, client }
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
            client: [self.client.high, self.client.low],
        }
    }
}

impl Hit {
    /// What was decided.
    #[must_use]
    #[inline(always)]
    pub const fn record(&self) -> LastDecision {
        let Self { key, reason, protocol, .. } = *self;
        LastDecision { reason, protocol, direction: key.direction(), set: key.set(), client: [key.high, key.low] }
    }

    /// True where the packet belongs in totals: one that is dropped ends at the hook that drops it; one that passes may
    /// meet an ingress and an `egress` hook, and belongs to the ingress hook's.
    #[must_use]
    #[inline(always)]
    pub const fn is_final(&self, egress: bool) -> bool {
        self.reason == Reason::Blocked as u32 || !egress
    }

    /// True where the packet is worth an event: it was dropped, or would have been.
    #[must_use]
    #[inline(always)]
    pub const fn is_reported(&self, egress: bool) -> bool {
        self.reason >= Reason::Monitored as u32 && self.is_final(egress)
    }
}

impl SetActions {
    /// True where packets to the set are dropped, whatever their source is: nothing is stronger than a block, and between
    /// equals the destination's counts. Its addresses' slots say so ([`Slot::is_blocked`]), so that what is sent to blocked
    /// networks costs one search and no more.
    #[must_use]
    pub const fn blocks(&self) -> bool {
        self.scoped == 0 && self.out == Action::Block as u32
    }
}

/// What a ruleset says of sets, beside its tables.
pub trait Ruleset: Tables + Scopes {
    /// What to do with the packets of set `set`.
    fn actions(&self, set: u32) -> Option<&SetActions>;
}

/// Decides on `frame`, of which the hook knows `meta`, by `rules`.
///
/// Each address is looked up on its own: the destination's set speaks for direction out, the source's for in. Of a set
/// only those rules speak whose scope holds the packet. The stronger action wins; between equals, out.
#[inline(always)]
pub fn decide<F: Frame + ?Sized, R: Ruleset + ?Sized>(frame: &F, meta: &Meta, rules: &R) -> Decision {
    judge(frame, Packet::parse(frame, meta.layer), meta, rules)
}

/// As [`decide`], for a frame that was parsed: it carries `packet`. Its addresses are there, for its header is; only the verifier
/// wants to hear what happens where they are not.
#[inline(always)]
pub fn judge<F: Frame + ?Sized, R: Ruleset + ?Sized>(frame: &F, packet: Packet, meta: &Meta, rules: &R) -> Decision {
    // A judgement for each family: only one of them has four words of addresses to keep while it looks up.
    match packet.protocol {
        Protocol::Ipv4 => {
            let Some((source, destination)) = packet.addresses_v4(frame) else {
                return Decision::unlisted(packet.protocol);
            };
            let keys = Ends { source, destination }.map(|address| Key::low(address.into()));
            let listed = lookup::slot_of_v4(rules, destination);
            if listed.is_blocked() {
                return Decision::blocked_out(packet.protocol, listed.set(), keys.source);
            }
            let sets = Ends { source: lookup::slot_of_v4(rules, source), destination: listed }.map(Slot::set);
            weigh(frame, meta, rules, packet.protocol, sets, keys)
        }
        Protocol::Ipv6 => {
            let Some((source, destination)) = packet.addresses_v6(frame) else {
                return Decision::unlisted(packet.protocol);
            };
            let keys = Ends { source, destination }.map(|[high, low]| Key { high, low });
            let listed = lookup::slot_of_v6(rules, destination);
            if listed.is_blocked() {
                return Decision::blocked_out(packet.protocol, listed.set(), keys.source);
            }
            let sets = Ends { source: lookup::slot_of_v6(rules, source), destination: listed }.map(Slot::set);
            weigh(frame, meta, rules, packet.protocol, sets, keys)
        }
        Protocol::NotIp | Protocol::Truncated => Decision::unlisted(packet.protocol),
    }
}

/// What is asked for of the packets of set `set`. Most packets have one listed end at most: nothing is read for the other.
#[inline(always)]
fn asked<R: Ruleset + ?Sized>(rules: &R, set: u32) -> SetActions {
    match set {
        UNLISTED => SetActions::default(),
        _ => rules.actions(set).copied().unwrap_or_default(),
    }
}

/// Decides on a packet whose addresses are in `sets`. `keys` are the addresses, as scopes look at them.
#[inline(always)]
fn weigh<F: Frame + ?Sized, R: Ruleset + ?Sized>(
    frame: &F,
    meta: &Meta,
    rules: &R,
    protocol: Protocol,
    sets: Ends<u32>,
    keys: Ends<Key>,
) -> Decision {
    let Ends { mut source, mut destination } = sets;
    if source | destination == UNLISTED {
        return Decision::unlisted(protocol);
    }
    let (mut out, mut in_) = (asked(rules, destination), asked(rules, source));
    if out.scoped | in_.scoped != 0 {
        let met = Met::read(frame, meta, protocol, keys, rules);
        if out.scoped != 0 {
            destination = met.narrow_out(rules, out.scoped);
            out = asked(rules, destination);
        }
        if in_.scoped != 0 {
            source = met.narrow_in(rules, in_.scoped);
            in_ = asked(rules, source);
        }
    }
    let (direction, set, action, client) = if out.out >= in_.in_ {
        (Direction::Out, destination, out.out, keys.source)
    } else {
        (Direction::In, source, in_.in_, keys.destination)
    };
    let reason = match action {
        0 => return Decision::unlisted(protocol),
        1 => Reason::Allowed,
        2 => Reason::Monitored,
        _ => Reason::Blocked,
    };
    Decision { reason, protocol, direction, set, client }
}
