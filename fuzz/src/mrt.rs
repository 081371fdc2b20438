//! Any bytes as an MRT dump of a routing table; and dumps made of routes, whose routes must be found.
//!
//! Input: a byte. Even: the rest is a dump, as a file has it; two bytes before it say where it is cut. Odd: records until the
//! bytes end, each a form, a prefix and its routes' paths.

use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use weir::prefix::Asn;
use weir::source::mrt;

use crate::bytes::Bytes;
use crate::{judge, origins};

/// What stands for no network: AS0 and the stand-in for long numbers.
const NOBODY: [Asn; 2] = [0, 23456];

/// See the file's first lines.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    if bytes.flag() { made(&mut bytes) } else { any(&mut bytes) }
}

fn routes(dump: &[u8]) -> Result<(Vec<(IpNet, Asn)>, mrt::Contents), mrt::MrtError> {
    let mut found = Vec::new();
    let contents = mrt::routes(dump, |net, asn| found.push((net, asn)))?;
    Ok((found, contents))
}

fn any(bytes: &mut Bytes<'_>) {
    let cut = usize::from(bytes.u16());
    let dump = bytes.take(usize::MAX);
    let _ = mrt::is_mrt(dump);
    origins::table(dump, mrt::parse);
    let (found, contents) = match routes(dump) {
        Ok(read) => read,
        Err(refused) => return drop(judge::line(refused)),
    };
    assert_eq!(contents.routes, found.len() as u64);
    assert!(contents.rows <= contents.records.values().sum());
    assert!(found.iter().all(|(net, asn)| *net == net.trunc() && net.prefix_len() > 0 && !NOBODY.contains(asn)));
    if let Some(why) = contents.cut {
        judge::line(why);
    }

    // Cut anywhere, it gives what came before, and for the prefix that it ends in some of that.
    let cut = cut % (dump.len() + 1);
    let (before, contents) = routes(&dump[..cut]).unwrap_or_else(|refused| panic!("cut at {cut}: {refused}"));
    let last = before.last().map(|(net, _)| *net);
    let whole = before.iter().position(|(net, _)| Some(*net) == last).unwrap_or(0);
    assert_eq!(before[..whole], found[..whole], "cut at {cut}");
    let all: BTreeSet<_> = found.iter().collect();
    assert!(before.iter().all(|route| all.contains(route)), "{before:?} of {found:?}");
    assert!(contents.cut.is_none_or(|why| !judge::line(why).is_empty()));
}

/// A way for a route: its segments, and the origin that they mean (`None` where they mean none).
struct Path {
    segments: Vec<(u8, Vec<Asn>)>,
    origin: Option<Asn>,
}

const SEQUENCE: u8 = 2;

impl Path {
    fn new(bytes: &mut Bytes<'_>, longest: Asn) -> Self {
        let mut segments = Vec::new();
        for _ in 0..bytes.below(4) {
            // Set, sequence, confederation sequence, confederation set.
            let kind = bytes.pick(&[SEQUENCE, SEQUENCE, 1, 3, 4]);
            let asns = (0..=bytes.below(3)).map(|_| bytes.pick(&[1, 64500, 23456, 0, 70000, u32::MAX]).min(longest));
            segments.push((kind, asns.collect::<Vec<_>>()));
        }
        let origin = match segments.last() {
            Some((SEQUENCE, asns)) => asns.last().copied().filter(|asn| !NOBODY.contains(asn)),
            _ => None,
        };
        Self { segments, origin }
    }

    /// Length and path attributes, in which ASes have `size` bytes. An attribute that says nothing stands in front.
    fn encoded(&self, size: usize, extended: bool) -> Vec<u8> {
        let mut path = Vec::new();
        for (kind, asns) in &self.segments {
            path.extend([*kind, asns.len() as u8]);
            for asn in asns {
                path.extend(&asn.to_be_bytes()[4 - size..]);
            }
        }
        let mut attributes = vec![0x40, 1, 1, 0];
        if extended {
            attributes.extend([0x50, 2, 0, path.len() as u8]);
        } else {
            attributes.extend([0x40, 2, path.len() as u8]);
        }
        attributes.extend(path);
        [&(attributes.len() as u16).to_be_bytes()[..], &attributes].concat()
    }
}

fn record(kind: u16, subtype: u16, body: &[u8]) -> Vec<u8> {
    let head = [&[0, 0, 0, 1][..], &kind.to_be_bytes(), &subtype.to_be_bytes(), &(body.len() as u32).to_be_bytes()];
    [&head.concat(), body].concat()
}

/// Records whose routes are known: what each one announces is found, in its place.
fn made(bytes: &mut Bytes<'_>) {
    let (mut dump, mut expected): (Vec<u8>, Vec<(IpNet, BTreeSet<Asn>)>) = Default::default();
    let mut rows = 0;
    while !bytes.is_empty() && dump.len() < 1 << 14 {
        let (form, extended) = (bytes.below(6), bytes.flag());
        let is_v4 = form % 2 == 0;
        let (net, octets): (IpNet, Vec<u8>) = if is_v4 {
            let net = Ipv4Net::new(bytes.u32().into(), bytes.byte() % 33).unwrap().trunc();
            (net.into(), net.addr().octets().into())
        } else {
            let net = Ipv6Net::new(u128::from_be_bytes(bytes.array()).into(), bytes.byte() % 129).unwrap().trunc();
            (net.into(), net.addr().octets().into())
        };
        let length = net.prefix_len();
        let mut origins = BTreeSet::new();
        if form < 2 {
            // TABLE_DUMP: one route, ASes of two bytes.
            let path = Path::new(bytes, 65535);
            let head = [&[0; 4][..], &octets, &[length, 1, 0, 0, 0, 0]].concat();
            let peer = vec![7; octets.len() + 2];
            dump.extend(record(12, if is_v4 { 1 } else { 2 }, &[head, peer, path.encoded(2, extended)].concat()));
            origins.extend(path.origin);
        } else {
            // TABLE_DUMP_V2, the last two forms with path identifiers.
            let path_ids = form >= 4;
            let paths: Vec<Path> = (0..bytes.below(4)).map(|_| Path::new(bytes, u32::MAX)).collect();
            let prefix = &octets[..usize::from(length).div_ceil(8)];
            let mut body = [&[0, 0, 0, 9, length][..], prefix, &(paths.len() as u16).to_be_bytes()].concat();
            for path in &paths {
                body.extend(vec![5; if path_ids { 10 } else { 6 }]);
                body.extend(path.encoded(4, extended));
            }
            let subtype = if is_v4 { 2 } else { 4 } + if path_ids { 6 } else { 0 };
            dump.extend(record(13, subtype, &body));
            origins.extend(paths.iter().filter_map(|path| path.origin));
        }
        // Who offers a default route originates nothing.
        if length == 0 {
            origins.clear();
        }
        rows += u64::from(!origins.is_empty());
        match expected.last_mut().filter(|(last, _)| *last == net) {
            Some((_, known)) => known.extend(origins),
            None => expected.push((net, origins)),
        }
    }
    let (found, contents) = routes(&dump).unwrap_or_else(|refused| panic!("{refused}"));
    let expected: Vec<_> = expected.iter().flat_map(|(net, asns)| asns.iter().map(|&asn| (*net, asn))).collect();
    assert_eq!((found, contents.rows, contents.cut), (expected, rows, None));
}
