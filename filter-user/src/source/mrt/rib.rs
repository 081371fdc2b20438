//! The records of an MRT routing table to prefixes and their origins. Knows neither files nor compression.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Contents;
use super::as_path::{self, AsnSize, AttributesError, Origin};
use super::records::{Header, TABLE_DUMP, TABLE_DUMP_V2};
use crate::prefix::Asn;

/// What stands in place of an AS number that is longer than two bytes (RFC 6793 section 9).
const AS_TRANS: Asn = 23456;

/// What is wrong inside a record, as the end of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The record is shorter than what it announces.
    #[error("a route reaches past the end")]
    Cut,
    /// Bytes that belong to nothing.
    #[error("bytes follow the last route")]
    Trailing,
    /// A prefix of more than 32 or 128 bits.
    #[error("the prefix is longer than an address")]
    Prefix,
    /// The path attributes of a route.
    #[error(transparent)]
    Attributes(#[from] AttributesError),
}

/// Turns records into routes.
pub(super) struct Routes<F> {
    each: F,
    /// The latest prefix and the origins of its routes.
    net: IpNet,
    origins: Vec<Asn>,
    contents: Contents,
}

impl<F: FnMut(IpNet, Asn)> Routes<F> {
    pub(super) fn new(each: F) -> Self {
        Self { each, net: IpNet::default(), origins: Vec::new(), contents: Contents::default() }
    }

    /// How many routes `each` was given.
    pub(super) fn found(&self) -> u64 {
        self.contents.routes
    }

    /// Gives what is left; returns what was found besides.
    pub(super) fn finish(mut self) -> Contents {
        self.flush();
        self.contents
    }

    /// Takes the next record.
    pub(super) fn record(&mut self, header: Header, body: &[u8]) -> Result<(), Damage> {
        *self.contents.records.entry((header.kind, header.subtype)).or_default() += 1;
        let named = match (header.kind, header.subtype) {
            (TABLE_DUMP, 1) => self.table_dump(body, Family::V4)?,
            (TABLE_DUMP, 2) => self.table_dump(body, Family::V6)?,
            // With path identifiers from 8 on (RFC 8050 section 4).
            (TABLE_DUMP_V2, subtype @ (2 | 8)) => self.table_dump_v2(body, Family::V4, subtype == 8)?,
            (TABLE_DUMP_V2, subtype @ (4 | 10)) => self.table_dump_v2(body, Family::V6, subtype == 10)?,
            // The peers and their places (RFC 6397) say nothing of a route's origin.
            (TABLE_DUMP_V2, 1 | 7) => false,
            _ => {
                self.contents.others += 1;
                false
            }
        };
        self.contents.rows += u64::from(named);
        Ok(())
    }

    /// RFC 6396 section 4.2. Returns whether the record names an origin.
    fn table_dump(&mut self, body: &[u8], family: Family) -> Result<bool, Damage> {
        let mut rest = body;
        // View and sequence number.
        take(&mut rest, 4)?;
        let bytes = take(&mut rest, family.bytes())?;
        let length = *take(&mut rest, 1)?.first().ok_or(Damage::Cut)?;
        self.start(family.net(bytes, length).ok_or(Damage::Prefix)?);
        // Status, time, the peer's address and AS.
        take(&mut rest, 1 + 4 + family.bytes() + 2)?;
        let named = self.route(&mut rest, AsnSize::TwoBytes)?;
        if rest.is_empty() { Ok(named) } else { Err(Damage::Trailing) }
    }

    /// RFC 6396 sections 4.3.2 and 4.3.4. Returns whether the record names an origin.
    fn table_dump_v2(&mut self, body: &[u8], family: Family, path_ids: bool) -> Result<bool, Damage> {
        let mut rest = body;
        // Sequence number.
        take(&mut rest, 4)?;
        let length = *take(&mut rest, 1)?.first().ok_or(Damage::Cut)?;
        let bytes = take(&mut rest, usize::from(length).div_ceil(8))?;
        self.start(family.net(bytes, length).ok_or(Damage::Prefix)?);
        let mut named = false;
        for _ in 0..number(&mut rest)? {
            // The peer's index, time, the path's identifier.
            take(&mut rest, 2 + 4 + if path_ids { 4 } else { 0 })?;
            named |= self.route(&mut rest, AsnSize::FourBytes)?;
        }
        if rest.is_empty() { Ok(named) } else { Err(Damage::Trailing) }
    }

    /// The length of a route's attributes and these. Returns whether they name an origin.
    fn route(&mut self, rest: &mut &[u8], size: AsnSize) -> Result<bool, Damage> {
        let length = number(rest)?;
        let origin = as_path::origin(take(rest, length.into())?, size)?;
        let contents = &mut self.contents;
        match origin {
            _ if self.net.prefix_len() == 0 => contents.defaults += 1,
            Origin::Set => contents.sets += 1,
            Origin::Own => contents.own += 1,
            Origin::As(0 | AS_TRANS) => contents.reserved += 1,
            Origin::As(asn) => {
                if self.origins.last() != Some(&asn) {
                    self.origins.push(asn);
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Starts a record of `net`, which may go on with the prefix of the record before.
    fn start(&mut self, net: IpNet) {
        // More than one record can hold: a run of records of one prefix may not fill the memory.
        if net != self.net || self.origins.len() > usize::from(u16::MAX) {
            self.flush();
            self.net = net;
        }
    }

    fn flush(&mut self) {
        self.origins.sort_unstable();
        self.origins.dedup();
        self.contents.routes += self.origins.len() as u64;
        self.origins.drain(..).for_each(|asn| (self.each)(self.net, asn));
    }
}

#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

impl Family {
    /// Of an address.
    fn bytes(self) -> usize {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// The prefix of `length` bits whose first bytes these are; bits behind it are ignored.
    fn net(self, bytes: &[u8], length: u8) -> Option<IpNet> {
        let mut address = [0; 16];
        address.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let address = u128::from_be_bytes(address);
        let net = match self {
            Self::V4 => Ipv4Net::new(Ipv4Addr::from((address >> 96) as u32), length).ok()?.into(),
            Self::V6 => Ipv6Net::new(Ipv6Addr::from(address), length).ok()?.into(),
        };
        Some(IpNet::trunc(&net))
    }
}

/// The next `count` bytes.
fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], Damage> {
    let (bytes, tail) = rest.split_at_checked(count).ok_or(Damage::Cut)?;
    *rest = tail;
    Ok(bytes)
}

/// The next two bytes as a number.
fn number(rest: &mut &[u8]) -> Result<u16, Damage> {
    let (&bytes, tail) = rest.split_first_chunk().ok_or(Damage::Cut)?;
    *rest = tail;
    Ok(u16::from_be_bytes(bytes))
}
