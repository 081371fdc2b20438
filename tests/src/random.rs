//! Random and broken frames for differential tests: the same seed gives the same frame, so a failure names its seed.
//!
//! Half of what it makes is well-formed; the rest is cut at any byte, lies about lengths, or has bytes flipped. Addresses
//! come from the test's pools, because addresses drawn from the whole space would hit no rule.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::frame::{Frame, TPID_8021AD, TPID_8021Q, frame, packet};

/// With which header a random frame starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// An Ethernet header.
    Ethernet,
    /// An IP header.
    Ip,
}

/// Where the addresses of random frames come from.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    /// IPv4 addresses; drawn from the whole space if empty.
    pub v4: Vec<Ipv4Addr>,
    /// IPv6 addresses; drawn from the whole space if empty.
    pub v6: Vec<Ipv6Addr>,
}

/// A frame and how to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RandomFrame {
    /// With which header `bytes` starts.
    pub layer: Layer,
    /// The frame; may be shorter than any header, even empty.
    pub bytes: Vec<u8>,
}

/// A small generator (xorshift64*): good enough to choose frames, and no dependency.
#[derive(Clone, Debug)]
pub struct Xorshift(u64);

impl Xorshift {
    /// Starts at a seed; neighbouring seeds give unrelated numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // One round of splitmix64: the state must not be zero and should not look like its neighbour's.
        let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((state ^ (state >> 31)) | 1)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, which must not be 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next_u64() >> 33).unwrap() % end
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// Random bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.byte()).collect()
    }

    fn byte(&mut self) -> u8 {
        self.next_u64().to_be_bytes()[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

impl Pool {
    fn pair(&self, random: &mut Xorshift) -> (IpAddr, IpAddr) {
        if random.one_in(2) {
            (self.one_v4(random).into(), self.one_v4(random).into())
        } else {
            (self.one_v6(random).into(), self.one_v6(random).into())
        }
    }

    // One address in eight is not from the pool: misses must be tried too.
    fn one_v4(&self, random: &mut Xorshift) -> Ipv4Addr {
        if self.v4.is_empty() || random.one_in(8) {
            Ipv4Addr::from_bits(u32::try_from(random.next_u64() >> 32).unwrap())
        } else {
            random.choose(&self.v4)
        }
    }

    fn one_v6(&self, random: &mut Xorshift) -> Ipv6Addr {
        if self.v6.is_empty() || random.one_in(8) {
            let bits = (u128::from(random.next_u64()) << 64) | u128::from(random.next_u64());
            // Mostly global unicast, where prefixes are.
            Ipv6Addr::from_bits(if random.one_in(4) { bits } else { (bits >> 3) | (1 << 125) })
        } else {
            random.choose(&self.v6)
        }
    }
}

/// The frame of a seed.
#[must_use]
pub fn random(seed: u64, pool: &Pool) -> RandomFrame {
    let mut random = Xorshift::new(seed);
    let layer = if random.one_in(4) { Layer::Ip } else { Layer::Ethernet };
    let whole = well_formed(&mut random, layer, pool);
    let mut bytes = whole.build();
    if random.one_in(2) {
        return RandomFrame { layer, bytes };
    }
    match random.below(6) {
        0 => bytes.truncate(random.below(bytes.len() + 1)),
        // Where headers are, so that every boundary is met often.
        1 => bytes.truncate(random.below(bytes.len().min(96) + 1)),
        2 => corrupt(&mut random, &mut bytes),
        3 => wrong_length(&mut random, &mut bytes),
        4 => {
            corrupt(&mut random, &mut bytes);
            bytes.truncate(random.below(bytes.len() + 1));
        }
        _ => {
            let length = random.below(128);
            bytes = random.bytes(length);
        }
    }
    RandomFrame { layer, bytes }
}

fn well_formed(random: &mut Xorshift, layer: Layer, pool: &Pool) -> Frame {
    let length = random.choose(&[0, 1, 7, 8, 26, 64, 200, 1200]);
    let payload = random.bytes(length);
    let mut built = if layer == Layer::Ip { packet() } else { frame() };
    if layer == Layer::Ethernet {
        // Up to six tags: one and two more than weir reads.
        for _ in 0..random.choose(&[0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6]) {
            let tpid = random.choose(&[TPID_8021Q, TPID_8021Q, TPID_8021AD, 0x9100]);
            built = built.qinq(tpid, random.u16());
        }
        if random.one_in(4) {
            built = built.pppoe(random.u16());
        }
        if random.one_in(12) {
            let ethertype = random.choose(&[0x0806, 0x88cc, 0x888e, 0x8863, 0x8847, 0x88e5, 46, 1500, 0x9200]);
            return built.ethertype(ethertype).payload(&payload);
        }
    }
    let (source, destination) = pool.pair(random);
    built = built.ip(source, destination).ttl(random.byte()).payload(&payload);
    if source.is_ipv4() && random.one_in(6) {
        let words = random.below(11);
        built = built.options(&random.bytes(words * 4));
    }
    if source.is_ipv6() && random.one_in(4) {
        for _ in 0..=random.below(3) {
            built = built.extension(random.choose(&[0, 43, 60, 51]));
        }
    }
    if random.one_in(6) {
        built = built.fragment(random.u16() & 0xfff8, random.one_in(2));
    }
    match random.below(8) {
        0..=2 => built.udp_ports(random.u16(), random.u16()),
        3..=5 => built.tcp_flags(random.u16(), random.u16(), random.byte()),
        6 => built.echo(),
        _ => built.protocol(random.byte()),
    }
}

/// Replaces a few bytes, mostly in the headers, by values that boundaries like.
fn corrupt(random: &mut Xorshift, bytes: &mut [u8]) {
    if bytes.is_empty() {
        return;
    }
    for _ in 0..=random.below(3) {
        let reach = if random.one_in(4) { bytes.len() } else { bytes.len().min(64) };
        let at = random.below(reach);
        let any = random.byte();
        bytes[at] = random.choose(&[0, 1, 0x7f, 0x80, 0xff, any, any, bytes[at] ^ 1, bytes[at].wrapping_add(1)]);
    }
}

/// Makes the frame longer or shorter than its headers say.
fn wrong_length(random: &mut Xorshift, bytes: &mut Vec<u8>) {
    if random.one_in(2) {
        let length = random.below(64);
        let trailer = random.bytes(length);
        bytes.extend(trailer);
    } else {
        let cut = random.below(8);
        bytes.truncate(bytes.len().saturating_sub(cut));
    }
    // Length fields of an untagged IPv4 and IPv6 frame.
    let at = random.choose(&[16, 18]);
    if random.one_in(2) && bytes.len() > at + 1 {
        bytes[at] = random.byte();
        bytes[at + 1] = random.byte();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_frame_and_seeds_give_different_ones() {
        let pool = Pool { v4: vec![Ipv4Addr::new(192, 0, 2, 1)], v6: vec!["2001:db8::1".parse().unwrap()] };
        let frames: Vec<_> = (0..20_000).map(|seed| random(seed, &pool)).collect();
        assert!((0..20_000).zip(&frames).all(|(seed, frame)| random(seed, &pool) == *frame));
        let different: HashSet<_> = frames.iter().map(|frame| &frame.bytes).collect();
        assert!(different.len() > 19_000, "{} different frames", different.len());
    }

    #[test]
    fn every_truncation_of_the_headers_and_both_layers_are_met() {
        let frames: Vec<_> = (0..50_000).map(|seed| random(seed, &Pool::default())).collect();
        for layer in [Layer::Ethernet, Layer::Ip] {
            let lengths: HashSet<_> =
                frames.iter().filter(|frame| frame.layer == layer).map(|frame| frame.bytes.len()).collect();
            assert!((0..96).all(|length| lengths.contains(&length)), "{layer:?}");
        }
        let tagged = frames.iter().filter(|frame| frame.bytes.get(12..14) == Some(&[0x81, 0])).count();
        assert!(tagged > 5_000, "{tagged} tagged frames");
    }

    #[test]
    fn addresses_come_mostly_from_the_pool() {
        let address = Ipv4Addr::new(71, 18, 1, 1);
        let pool = Pool { v4: vec![address], v6: Vec::new() };
        let hits = (0..10_000).filter(|&seed| random(seed, &pool).bytes.windows(4).any(|at| at == address.octets()));
        assert!(hits.count() > 3_000);
    }
}
