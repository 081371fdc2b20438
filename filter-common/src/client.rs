//! The table of clients: who sent listed packets, and how many. Must not know what a map is, nor read a clock.
//!
//! Each CPU has a table of its own, so that nothing is shared and nothing is locked. A table is an array of [`Bucket`]s, one
//! bucket four places of 64 bytes each. A key has two buckets that it may be in; a newcomer gets a free place in either,
//! or that of whoever was not seen for the longest time (Azar, Broder, Karlin, Upfal: "Balanced allocations", 1994: with two
//! choices buckets fill evenly).

use crate::abi::{BUCKETS, Bucket, Client, ClientKey, Count};

/// Packets of a client that count for its place: a mask.
const MOST: u64 = 127;
/// Places in a bucket.
pub const PLACES: usize = 4;
/// Taken places up to which a key's first bucket takes it in, whatever the other one has: where there are few clients, each
/// is in the first place that is looked at, and the CPU foresees it.
const CROWD: u64 = 1;

/// Buckets for `clients` clients: whole elements of the map. Half as many places more as there are clients: then two choices find a
/// free one.
#[must_use]
pub const fn buckets(clients: u32) -> u32 {
    (clients as u64 * 3).div_ceil(2 * PLACES as u64).next_multiple_of(BUCKETS as u64) as u32
}

impl ClientKey {
    /// Where it may be in a table of `buckets` buckets.
    #[must_use]
    #[inline(always)]
    pub const fn choices(&self, buckets: u32) -> Choices {
        // Multiplicative hashing (Knuth, TAOCP 6.4): odd numbers near 2^64 times an irrational. Of an IPv6 network's number the
        // lower half tells its /64s apart.
        let address = self.low ^ self.high << 32;
        let mixed =
            address.wrapping_add(self.met.wrapping_mul(0x1656_67b1_9e37_79f9)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (high, low) = ((mixed >> 32) as u32, mixed as u32);
        Choices { first: scaled(high, buckets), second: scaled(low, buckets), place: low as usize % PLACES }
    }

    #[inline(always)]
    const fn is(&self, other: &Self) -> bool {
        self.low ^ other.low | self.high ^ other.high | self.met ^ other.met == 0
    }
}

/// Where a key may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choices {
    /// The bucket that is searched first.
    pub first: u32,
    /// The other one; now and then the same.
    pub second: u32,
    /// The place in each with which the search begins.
    pub place: usize,
}

/// A number below `below`. Not by a remainder: 32-bit CPUs' JITs have none of 64 bits (Lemire: "Fast random integer
/// generation in an interval", 2019).
#[inline(always)]
const fn scaled(number: u32, below: u32) -> u32 {
    ((number as u64 * below as u64) >> 32) as u32
}

impl Bucket {
    /// Counts a packet of `length` bytes for `key`, if it has a place here. It is looked for from place `from` on.
    #[inline(always)]
    pub fn count(&mut self, key: &ClientKey, from: usize, length: u32, now: u64) -> bool {
        let mut at = 0;
        while at < PLACES {
            let client = &mut self.places[(from + at) % PLACES];
            if client.key.is(key) {
                client.count.packets += 1;
                client.count.bytes += u64::from(length);
                client.last = now;
                return true;
            }
            at += 1;
        }
        false
    }

    /// The place that a newcomer would get: the first free one from `from` on, or that of whoever was not seen for the longest
    /// time.
    ///
    /// Without a branch: the verifier would walk the rest of the program once for each order that four times can have.
    #[inline(always)]
    #[must_use]
    pub fn offer(&self, from: usize) -> Offer {
        let (mut place, mut oldest, mut taken) = (from as u64, self.places[from % PLACES].seen(), 0);
        let mut at = 0;
        while at < PLACES {
            let this = (from + at) % PLACES;
            let last = self.places[this].seen();
            let older = is_less(last, oldest);
            place = place.wrapping_add(older.wrapping_mul((this as u64).wrapping_sub(place)));
            oldest = oldest.wrapping_sub(older.wrapping_mul(oldest.wrapping_sub(last)));
            taken += is_less(0, last);
            at += 1;
        }
        Offer { place: place as usize, last: oldest, taken }
    }
}

/// 1 where `a < b`, else 0. Both are below 2^62: as nanoseconds, 146 years. Arithmetic, for LLVM makes a branch of a comparison.
#[inline(always)]
const fn is_less(a: u64, b: u64) -> u64 {
    const ONE: u64 = 1 << 62;
    (b + ONE - a - 1) >> 62
}

/// A place for a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its number in the bucket.
    pub place: usize,
    /// When its client was last seen, and how often; 0 where it is free.
    pub last: u64,
    /// Places in the bucket that are not free.
    pub taken: u64,
}

impl Offer {
    /// Whether this offer, of a key's first bucket, is to be taken, and not that of the `other`. The emptier bucket's, for so
    /// buckets fill evenly, once the first is crowded.
    #[inline(always)]
    #[must_use]
    pub const fn beats(&self, other: &Self) -> bool {
        self.taken <= CROWD || self.taken < other.taken || self.taken == other.taken && self.last <= other.last
    }
}

impl Client {
    /// When it was last seen, and for each of its first packets 8 ms more, a second at most: the clock moves a few times a
    /// second only, and who sends shall keep its place while forged addresses, of a packet each, come by the thousand.
    #[inline(always)]
    const fn seen(&self) -> u64 {
        let packets = self.count.packets;
        let most = (packets | is_less(MOST, packets).wrapping_neg()) & MOST;
        self.last + (most << 23)
    }

    /// Gives the place to `key`, for its first packet. `serial` is a number that the table has not given before.
    #[inline(always)]
    pub fn give(&mut self, key: &ClientKey, serial: u64, length: u32, now: u64) {
        *self = Self { key: *key, serial, last: now, count: Count { packets: 1, bytes: u64::from(length) }, rest: 0 };
    }

    /// The packets of the client that has this place, which was copied while a CPU may have written it, and copied again
    /// `later`; `None` where the copies do not agree on whose it is.
    ///
    /// A copy may be torn: half of it of a client that just lost the place, half of the next one. The other copy then names
    /// another client, or has counted less. Where neither is so, the first copy has no more than its client sent; what it
    /// lacks is there at the next reading.
    #[must_use]
    pub fn agreed(&self, later: &Self) -> Option<Count> {
        let same = (self.key, self.serial) == (later.key, later.serial) && self.serial != 0;
        let grew = self.count.packets <= later.count.packets && self.count.bytes <= later.count.bytes;
        (same && grew).then_some(self.count)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::HashMap;
    use std::vec;
    use std::vec::Vec;

    use super::*;

    fn key(low: u64) -> ClientKey {
        ClientKey::new([0, low], 1, 1, 0, false)
    }

    /// What the program does with a listed packet of `key`; false where the client got no place.
    fn met(table: &mut [Bucket], key: &ClientKey, serial: &mut u64, now: u64) -> bool {
        let Choices { first, second, place } = key.choices(table.len() as u32);
        let choices = [first, second].map(|choice| choice as usize);
        if choices.iter().any(|&choice| table[choice].count(key, place, 100, now)) {
            return true;
        }
        let [one, other] = choices.map(|choice| (choice, table[choice].offer(place)));
        let (choice, offer) = if one.1.beats(&other.1) { one } else { other };
        *serial += 1;
        table[choice].places[offer.place].give(key, *serial, 100, now);
        offer.last == 0
    }

    fn table(clients: u32) -> Vec<Bucket> {
        vec![Bucket::default(); buckets(clients) as usize]
    }

    fn held(table: &[Bucket]) -> HashMap<ClientKey, Count> {
        let places = table.iter().flat_map(|bucket| bucket.places);
        places.filter(|client| client.serial != 0).map(|client| (client.key, client.count)).collect()
    }

    #[test]
    fn as_many_clients_as_there_is_room_for_keep_their_places_and_every_packet() {
        // Neighbours, as a network's clients are; addresses far apart; and one in each of many /64s, whose numbers differ at their end.
        let nets = |client: u64| ClientKey::new([0x2001_0db8_0001_0000 + client, 1], 1, 1, 0, true);
        let spread: [&dyn Fn(u64) -> ClientKey; 5] =
            [&key, &|at| key(at * 256), &|at| key(at * 0x0001_0001), &|at| key(at << 40), &nets];
        for (way, spread) in spread.into_iter().enumerate() {
            let (mut table, mut serial) = (table(1024), 0);
            for round in 1..=5 {
                for client in 0..1024 {
                    met(&mut table, &spread(client), &mut serial, round);
                }
            }
            let held = held(&table);
            let whole = held.values().filter(|count| **count == Count { packets: 5, bytes: 500 }).count();
            assert!(whole >= 1020, "{whole} of 1024, spread {way}");
        }
    }

    #[test]
    fn where_there_are_few_clients_nearly_each_is_in_the_first_place_that_is_looked_at() {
        let (mut table, mut serial) = (table(1024), 0);
        (0..256).for_each(|client| _ = met(&mut table, &key(client), &mut serial, 1));
        let at_first = (0..256).map(key).filter(|key| {
            let Choices { first, place, .. } = key.choices(table.len() as u32);
            table[first as usize].places[place].key == *key
        });
        let at_first = at_first.count();
        assert!(at_first > 205, "{at_first} of 256");
    }

    #[test]
    fn a_client_that_sends_stays_while_forged_addresses_come_in_the_same_moment() {
        let (mut table, mut serial) = (table(64), 0);
        // Two beats of the clock, and 900 strangers between a beat and the client's next packet.
        let beat = |forged: u64| 1 + (forged + 900) / 50_000 * 250_000_000;
        for forged in 0..100_000 {
            // One packet in a thousand is the client's.
            if forged % 1000 == 0 {
                met(&mut table, &key(7), &mut serial, beat(forged));
                met(&mut table, &key(7), &mut serial, beat(forged));
            }
            met(&mut table, &key(1000 + forged), &mut serial, beat(forged));
        }
        assert_eq!(held(&table)[&key(7)].packets, 200);
    }

    #[test]
    fn a_client_is_counted_by_all_of_its_key() {
        let (mut table, mut serial) = (table(64), 0);
        let all = [
            key(1),
            ClientKey::new([0, 2], 1, 1, 0, false),
            ClientKey::new([1, 1], 1, 1, 0, false),
            ClientKey::new([0, 1], 2, 1, 0, false),
            ClientKey::new([0, 1], 1, 2, 0, false),
            ClientKey::new([0, 1], 1, 1, 1, false),
            ClientKey::new([0, 1], 1, 1, 0, true),
        ];
        for (times, key) in (1..).zip(&all) {
            for _ in 0..times {
                met(&mut table, key, &mut serial, 1);
            }
        }
        let held = held(&table);
        let counted: Vec<u64> = all.iter().map(|key| held[key].packets).collect();
        assert_eq!(counted, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(serial, 7);
    }

    #[test]
    fn whoever_was_not_seen_for_the_longest_time_makes_way() {
        let (mut table, mut serial) = (vec![Bucket::default()], 0);
        // The one that makes way sent more than any other, long ago.
        for (second, client) in [(1, 1), (2, 2), (2, 2), (2, 2), (13, 3), (14, 4), (15, 1)] {
            met(&mut table, &key(client), &mut serial, second * 1_000_000_000);
        }
        assert!(!met(&mut table, &key(9), &mut serial, 16_000_000_000), "no place was free");
        let held = held(&table);
        assert!(!held.contains_key(&key(2)) && held.len() == 4 && held[&key(9)].packets == 1);
        assert_eq!(held[&key(1)].packets, 2, "the others keep what they have");
        assert_eq!(table[0].places.map(|client| client.serial).iter().max(), Some(&5));
    }

    #[test]
    fn no_torn_copy_gives_a_client_what_another_one_sent() {
        let count = |packets| Count { packets, bytes: 100 * packets };
        let old = Client { key: key(1), serial: 3, last: 9, count: count(50), rest: 0 };
        let new = Client { key: key(2), serial: 4, last: 9, count: count(1), rest: 0 };
        let grown = Client { count: count(70), ..new };
        assert_eq!(old.agreed(&old), Some(count(50)));
        assert_eq!(new.agreed(&grown), Some(count(1)), "the rest comes at the next reading");
        assert_eq!(Client::default().agreed(&Client::default()), None, "a free place");
        // Each field of a copy is of the one or of the other.
        let torn = |of_new: [bool; 3]| Client {
            key: if of_new[0] { new.key } else { old.key },
            serial: if of_new[1] { new.serial } else { old.serial },
            count: if of_new[2] { new.count } else { old.count },
            ..old
        };
        for bits in 0..8 {
            let copy = torn([bits & 1 != 0, bits & 2 != 0, bits & 4 != 0]);
            for (first, second) in [(old, copy), (copy, new), (copy, grown)] {
                let sent = if first.key == old.key { 50 } else { second.count.packets };
                if let Some(found) = first.agreed(&second) {
                    let whole = (first.key, first.serial) == (old.key, 3) || (first.key, first.serial) == (new.key, 4);
                    assert!(whole && found.packets <= sent, "{first:?}, {second:?}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn all_buckets_are_used_and_none_beyond_them() {
        let mut begins = [0_u32; PLACES];
        for count in [1, 3, 80, 384] {
            let mut used = vec![0_u32; count as usize];
            for client in 0..10_000 {
                let Choices { first, second, place } = key(0x0a42_0000 + client).choices(count);
                used[first as usize] += 1;
                used[second as usize] += 1;
                begins[place] += 1;
            }
            let mean = 20_000 / count;
            assert!(used.iter().all(|&times| times > mean / 2 && times < 2 * mean), "{count}: {used:?}");
        }
        assert!(begins.iter().all(|&times| times.abs_diff(10_000) < 500), "{begins:?}");
        assert_eq!([0, 1, 1024].map(buckets), [0, 16, 384]);
        assert_eq!(buckets(1 << 20), 393_216);
    }
}
