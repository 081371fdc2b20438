//! `MaxMind` DB files with ASNs, the form most vendors offer. Never maps a file: one cut short would kill the process.
//!
//! Format: <https://maxmind.github.io/MaxMind-DB/>, version 2. The number is read from `autonomous_system_number`
//! (GeoLite2-ASN, DB-IP ASN Lite: an integer) or `asn` (ipinfo: `"AS123"`; integers too), the name from
//! `autonomous_system_organization`, `as_name` or `name`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use serde::Deserialize;

use super::{AsnTable, Wanted, organisation};
use crate::prefix::Asn;

/// What the metadata section starts with.
const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

/// The metadata section, marker included, lies within this many bytes of the end ("Database Metadata" in the format).
const METADATA_MAX: usize = 128 * 1024;

/// Leaves a tree may have for each of its nodes, empty ones included. A tree has one more leaf than nodes; writers hang
/// the IPv4 tree under up to three IPv6 prefixes as well. Beyond that the nodes form no tree, and a few hundred of them
/// can stand for 2^128 leaves.
const LEAVES_PER_NODE: u64 = 8;

/// Why a `MaxMind` database cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MmdbError {
    /// The file breaks the format.
    #[error("MaxMind database is damaged: {0}; download it again")]
    Damaged(String),
    /// The nodes lead to far more networks than a tree of their number can.
    #[error("MaxMind database is damaged: its {nodes} nodes form no tree; download it again")]
    NotATree {
        /// The node count the metadata give.
        nodes: u32,
    },
    /// The records are of another kind.
    #[error("MaxMind database of type {database_type:?} has no ASN field; use an ASN database such as GeoLite2-ASN")]
    NoAsnField {
        /// `database_type` in the metadata.
        database_type: String,
    },
    /// A record cannot be read.
    #[error(
        "MaxMind database of type {database_type:?} has no readable ASN record for {network}: {reason}; \
         use an ASN database such as GeoLite2-ASN"
    )]
    Record {
        /// `database_type` in the metadata.
        database_type: String,
        /// The network the record belongs to.
        network: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl From<MaxMindDbError> for MmdbError {
    fn from(error: MaxMindDbError) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// The fields of a record that matter; vendors' names for the same things side by side.
#[derive(Deserialize)]
struct Record<'a> {
    autonomous_system_number: Option<Number<'a>>,
    asn: Option<Number<'a>>,
    autonomous_system_organization: Option<&'a str>,
    as_name: Option<&'a str>,
    name: Option<&'a str>,
}

/// An ASN as an integer or as `AS123`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number<'a> {
    Integer(Asn),
    Text(&'a str),
}

impl Record<'_> {
    /// The ASN: `None` where the record has none, an error's reason where it has something else.
    fn asn(&self) -> Result<Option<Asn>, String> {
        match self.autonomous_system_number.as_ref().or(self.asn.as_ref()) {
            None | Some(Number::Text("")) => Ok(None),
            Some(&Number::Integer(asn)) => Ok(Some(asn)),
            Some(Number::Text(text)) => {
                let digits = text.strip_prefix("AS").unwrap_or(text);
                digits.parse().map(Some).map_err(|_| format!("{text:?} is no AS number"))
            }
        }
    }

    fn organisation(&self) -> Option<&str> {
        self.autonomous_system_organization.or(self.as_name).or(self.name)
    }
}

/// True when `bytes` end in a `MaxMind` database's metadata.
#[must_use]
pub fn is_mmdb(bytes: &[u8]) -> bool {
    let tail = bytes.get(bytes.len().saturating_sub(METADATA_MAX)..).unwrap_or(bytes);
    tail.windows(MARKER.len()).any(|window| window == MARKER)
}

/// Reads the networks of the wanted ASes. IPv4 networks are listed once, not again under the IPv6 prefixes that embed
/// IPv4 addresses. `rows` counts networks with an ASN.
pub fn parse(bytes: &[u8], wanted: &Wanted) -> Result<AsnTable, MmdbError> {
    let reader = Reader::from_source(bytes)?;
    let nodes = reader.metadata().node_count;
    let database_type = || reader.metadata().database_type.clone();
    let mut table = AsnTable::default();
    // By a record's place: its AS, and whether that is wanted.
    let mut known: HashMap<usize, (Asn, bool)> = HashMap::new();
    // Every leaf is asked for, also those without data and the aliases: the iterator skips what it is told to skip in a
    // loop of its own, which no count of results can end.
    let every_leaf = WithinOptions::default().include_networks_without_data().include_aliased_networks();
    for (count, leaf) in (1_u64..).zip(reader.networks(every_leaf)?) {
        if count > LEAVES_PER_NODE * (u64::from(nodes) + 1) {
            return Err(MmdbError::NotATree { nodes });
        }
        let leaf = leaf?;
        let Some(offset) = leaf.offset() else { continue };
        let network = leaf.network()?;
        if is_alias(&reader, network.ip(), network.prefix(), offset)? {
            continue;
        }
        // Many networks share one record.
        let (asn, wanted) = if let Some(&record) = known.get(&offset) {
            record
        } else {
            let unreadable = |reason: String| MmdbError::Record {
                database_type: database_type(),
                network: network.to_string(),
                reason,
            };
            let record: Record<'_> = leaf
                .decode()
                .map_err(|error| unreadable(error.to_string()))?
                .ok_or_else(|| unreadable("no record".to_owned()))?;
            let asn = record.asn().map_err(unreadable)?.unwrap_or(0);
            let name = record.organisation().unwrap_or_default().as_bytes();
            let wanted = wanted.takes(asn, name);
            known.insert(offset, (asn, wanted));
            if wanted && !name.is_empty() {
                table.organisations.entry(asn).or_insert_with(|| organisation(name));
            }
            (asn, wanted)
        };
        table.rows += u64::from(asn != 0);
        if wanted {
            let net = IpNet::new(network.ip(), network.prefix())
                .map_err(|error| MmdbError::Damaged(format!("{network}: {error}")))?;
            table.parsed.prefixes.push_net(net, asn);
        }
    }
    if table.rows == 0 && !known.is_empty() {
        return Err(MmdbError::NoAsnField { database_type: database_type() });
    }
    Ok(table)
}

/// True when an IPv6 network only repeats the record of the IPv4 network embedded in it.
///
/// A prefix comparison alone would lose what a database says about these ranges themselves, 6to4 relays for example.
fn is_alias(reader: &Reader<&[u8]>, address: IpAddr, length: u8, offset: usize) -> Result<bool, MaxMindDbError> {
    let IpAddr::V6(address) = address else { return Ok(false) };
    let bits = u128::from(address);
    // IPv4-mapped (RFC 4291), 6to4 (RFC 3056), Teredo (RFC 4380, whose server address comes first).
    let embedded_at = match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] => 96,
        [0x2002, ..] => 16,
        [0x2001, 0, ..] => 32,
        _ => return Ok(false),
    };
    let Some(length) = length.checked_sub(embedded_at) else { return Ok(false) };
    let [a, b, c, d, ..] = (bits << embedded_at).to_be_bytes();
    let embedded = reader.lookup(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))?;
    Ok(embedded.offset() == Some(offset) && embedded.network()?.prefix() == length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::{Listed, Prefixes};
    use proptest::prelude::*;

    /// Writes just enough of the format, 24-bit records, to build what vendors' test files do not contain.
    struct Writer {
        nodes: Vec<[Child; 2]>,
        records: Vec<u8>,
        ip_version: u8,
    }

    #[derive(Clone, Copy)]
    enum Child {
        Nothing,
        Node(usize),
        Record(usize),
    }

    fn text(value: &str) -> Vec<u8> {
        let length = u8::try_from(value.len()).unwrap();
        let head = if length < 29 { vec![0x40 | length] } else { vec![0x5d, length - 29] };
        [head.as_slice(), value.as_bytes()].concat()
    }

    fn uint32(value: u32) -> Vec<u8> {
        [[0xc4].as_slice(), &value.to_be_bytes()].concat()
    }

    fn uint16(value: u8) -> Vec<u8> {
        vec![0xa1, value]
    }

    fn map(fields: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![0xe0 | u8::try_from(fields.len()).unwrap()];
        for (key, value) in fields {
            bytes.extend([text(key), value.clone()].concat());
        }
        bytes
    }

    impl Writer {
        fn new(ip_version: u8) -> Self {
            Self { nodes: vec![[Child::Nothing; 2]], records: Vec::new(), ip_version }
        }

        fn record(&mut self, fields: &[(&str, Vec<u8>)]) -> Child {
            let offset = self.records.len();
            self.records.extend(map(fields));
            Child::Record(offset)
        }

        /// Puts `child` at the prefix of `length` bits that `bits` starts with.
        fn put(&mut self, bits: u128, length: usize, child: Child) {
            let mut node = 0;
            for depth in 0..length {
                let side = usize::from(bits >> (127 - depth) & 1 == 1);
                if depth == length - 1 {
                    self.nodes[node][side] = child;
                } else if let Child::Node(next) = self.nodes[node][side] {
                    node = next;
                } else {
                    self.nodes.push([Child::Nothing; 2]);
                    self.nodes[node][side] = Child::Node(self.nodes.len() - 1);
                    node = self.nodes.len() - 1;
                }
            }
        }

        fn put_v4(&mut self, address: u32, length: usize, child: Child) {
            self.put(u128::from(address), 96 + length, child);
        }

        /// The node that all IPv4 addresses hang under.
        fn v4_root(&self) -> Child {
            (0..96).fold(Child::Node(0), |node, _| match node {
                Child::Node(node) => self.nodes[node][0],
                other => other,
            })
        }

        fn finish(&self) -> Vec<u8> {
            let count = self.nodes.len();
            let mut bytes = Vec::new();
            for child in self.nodes.iter().flatten() {
                let pointer = match *child {
                    Child::Nothing => count,
                    Child::Node(node) => node,
                    Child::Record(offset) => count + 16 + offset,
                };
                bytes.extend(&u32::try_from(pointer).unwrap().to_be_bytes()[1..]);
            }
            bytes.extend([0; 16]);
            bytes.extend(&self.records);
            bytes.extend(MARKER);
            bytes.extend(map(&[
                ("binary_format_major_version", uint16(2)),
                ("binary_format_minor_version", uint16(0)),
                ("build_epoch", vec![0x01, 0x02, 1]),
                ("database_type", text("weir test")),
                ("description", map(&[("en", text("test"))])),
                ("ip_version", uint16(self.ip_version)),
                ("languages", vec![0x00, 0x04]),
                ("node_count", uint32(u32::try_from(count).unwrap())),
                ("record_size", uint16(24)),
            ]));
            bytes
        }
    }

    fn v4(first: u32, last: u32, asn: Asn) -> Listed<u32> {
        Listed { first, last, asn }
    }

    const NET: u32 = 0xc000_0200;

    #[test]
    fn both_vendors_names_of_the_fields_are_read() {
        let mut writer = Writer::new(6);
        let geolite = [("autonomous_system_number", uint32(u32::MAX)), ("autonomous_system_organization", text("Max"))];
        let ipinfo = [("asn", text("AS123")), ("as_name", text("Info\u{1b}")), ("name", text("not this"))];
        let older = [("asn", text("AS124")), ("name", text("Older"))];
        let number = [("asn", uint32(125))];
        let unknown = [("asn", text("")), ("name", text(""))];
        let country = [("country", text("ZZ"))];
        for (at, fields) in [geolite.as_slice(), &ipinfo, &older, &number, &unknown, &country].into_iter().enumerate() {
            let record = writer.record(fields);
            writer.put_v4(NET + (u32::try_from(at).unwrap() << 8), 24, record);
        }
        let table = parse(&writer.finish(), &Wanted::All).unwrap();
        let asns: Vec<_> = table.parsed.prefixes.v4.iter().map(|row| row.asn).collect();
        assert_eq!((asns, table.rows), (vec![u32::MAX, 123, 124, 125], 4));
        let names: Vec<_> = table.organisations.iter().map(|(&asn, name)| (asn, name.as_str())).collect();
        assert_eq!(names, [(123, "Info "), (124, "Older"), (u32::MAX, "Max")]);
    }

    #[test]
    fn an_ipv4_only_tree_is_read() {
        let mut writer = Writer::new(4);
        let record = writer.record(&[("autonomous_system_number", uint32(64500))]);
        writer.put(u128::from(NET) << 96, 24, record);
        let table = parse(&writer.finish(), &Wanted::All).unwrap();
        assert_eq!(table.parsed.prefixes, Prefixes { v4: vec![v4(NET, NET + 255, 64500)], v6: Vec::new() });
    }

    #[test]
    fn aliases_of_the_ipv4_tree_are_not_listed_but_their_own_records_are() {
        let mut writer = Writer::new(6);
        let (a, b) = (writer.record(&[("asn", uint32(1))]), writer.record(&[("asn", uint32(2))]));
        writer.put_v4(NET, 24, a);
        writer.put_v4(0x0a00_0000, 8, b);
        let root = writer.v4_root();
        writer.put(0xffff << 32, 96, root);
        writer.put(0x2001_0000 << 96, 32, root);
        let relay = 0x2002_0102_0304 << 80;
        writer.put(relay, 48, b);
        let table = parse(&writer.finish(), &Wanted::All).unwrap();
        assert_eq!(table.parsed.prefixes.v4, [v4(0x0a00_0000, 0x0aff_ffff, 2), v4(NET, NET + 255, 1)]);
        assert_eq!(table.parsed.prefixes.v6, [Listed { first: relay, last: relay + (u128::MAX >> 48), asn: 2 }]);
        assert_eq!(table.rows, 3);
        let mut aliased = Writer::new(6);
        let record = aliased.record(&[("asn", uint32(1))]);
        aliased.put_v4(NET, 24, record);
        aliased.put(0x2002 << 112, 16, aliased.v4_root());
        assert_eq!(parse(&aliased.finish(), &Wanted::All).unwrap().parsed.prefixes.v6, []);
    }

    #[test]
    fn only_wanted_networks_are_kept() {
        let mut writer = Writer::new(6);
        for asn in 1..4_u32 {
            let record = writer.record(&[("asn", uint32(asn)), ("name", text("x"))]);
            writer.put_v4(NET + (asn << 8), 24, record);
        }
        let table = parse(&writer.finish(), &Wanted::Only([2].into())).unwrap();
        assert_eq!(table.parsed.prefixes.v4, [v4(NET + 512, NET + 767, 2)]);
        assert_eq!((table.organisations.len(), table.rows), (1, 3));
    }

    #[test]
    fn records_without_a_number_are_named() {
        let message = |value| {
            let mut writer = Writer::new(6);
            let record = writer.record(&[value]);
            writer.put_v4(NET, 24, record);
            parse(&writer.finish(), &Wanted::All).unwrap_err().to_string()
        };
        assert_eq!(
            message(("country", text("ZZ"))),
            "MaxMind database of type \"weir test\" has no ASN field; use an ASN database such as GeoLite2-ASN"
        );
        assert_eq!(
            message(("asn", text("ASX"))),
            "MaxMind database of type \"weir test\" has no readable ASN record for 192.0.2.0/24: \"ASX\" is no AS \
             number; use an ASN database such as GeoLite2-ASN"
        );
        let wrong_type = message(("asn", map(&[])));
        assert!(wrong_type.contains("has no readable ASN record for 192.0.2.0/24: decoding error"), "{wrong_type}");
    }

    #[test]
    fn a_database_without_networks_has_no_rows() {
        assert_eq!(parse(&Writer::new(6).finish(), &Wanted::All).unwrap(), AsnTable::default());
    }

    #[test]
    fn nodes_that_form_no_tree_end_in_an_error() {
        // Both children of each node are the next one: 2^96 ways to the node that IPv4 hangs under.
        let mut writer = Writer::new(6);
        let record = writer.record(&[("asn", uint32(1))]);
        writer.nodes = (1..=100).map(|next| [Child::Node(next); 2]).collect();
        for last in [Child::Nothing, record] {
            writer.nodes.truncate(100);
            writer.nodes.push([last; 2]);
            let message = parse(&writer.finish(), &Wanted::All).unwrap_err().to_string();
            assert_eq!(message, "MaxMind database is damaged: its 101 nodes form no tree; download it again");
        }
        writer.nodes = vec![[Child::Node(0); 2]];
        let message = parse(&writer.finish(), &Wanted::All).unwrap_err().to_string();
        assert!(message.starts_with("MaxMind database is damaged: "), "{message}");
    }

    #[test]
    fn the_marker_counts_near_the_end_only() {
        let near = [MARKER, &vec![0; METADATA_MAX - MARKER.len()]].concat();
        assert!(is_mmdb(&near) && !is_mmdb(&[near.as_slice(), b"x"].concat()) && !is_mmdb(b"text"));
        assert!(parse(&near, &Wanted::All).unwrap_err().to_string().starts_with("MaxMind database is damaged: "));
    }

    proptest! {
        #[test]
        fn a_damaged_database_never_panics(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut writer = Writer::new(6);
            let record = writer.record(&[("asn", text("AS1")), ("name", text("One"))]);
            writer.put_v4(NET, 24, record);
            writer.put(0x2001_0db8 << 96, 32, record);
            let mut bytes = writer.finish();
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let _ = parse(&bytes, &Wanted::All);
        }
    }
}
