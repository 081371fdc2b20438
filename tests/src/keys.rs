//! Addresses to ask for: inside of listed prefixes, or anywhere. The same seed gives the same addresses.

use std::collections::HashSet;
use std::hash::Hash;

use crate::frame::Xorshift;
use crate::internet::Prefix;

fn wide(random: &mut Xorshift) -> u128 {
    u128::from(random.next_u64()) << 64 | u128::from(random.next_u64())
}

/// A random address of a random one of the prefixes.
pub fn inside_v4(random: &mut Xorshift, prefixes: &[Prefix<u32>]) -> u32 {
    let Prefix { first, last, .. } = prefixes[random.below(prefixes.len())];
    first | (random.next_u64() >> 32) as u32 & (last - first)
}

/// As [`inside_v4`].
pub fn inside_v6(random: &mut Xorshift, prefixes: &[Prefix<u128>]) -> u128 {
    let Prefix { first, last, .. } = prefixes[random.below(prefixes.len())];
    first | wide(random) & (last - first)
}

/// Any address.
pub fn anywhere_v4(random: &mut Xorshift) -> u32 {
    (random.next_u64() >> 32) as u32
}

/// An address where prefixes are: in `2000::/3`.
pub fn anywhere_v6(random: &mut Xorshift) -> u128 {
    wide(random) >> 3 | 1 << 125
}

/// `count` keys, none of them twice.
pub fn distinct<A: Eq + Hash + Copy>(count: usize, mut next: impl FnMut() -> A) -> Vec<A> {
    let mut seen = HashSet::with_capacity(count);
    let mut keys = Vec::with_capacity(count);
    while keys.len() < count {
        let key = next();
        if seen.insert(key) {
            keys.push(key);
        }
    }
    keys
}
