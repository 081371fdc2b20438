//! Any bytes as a list of prefixes, as RPKI payloads and as the reply of a routing registry.
//!
//! Input: a byte for what it is read as (`run`), then the document. Plain lists are held against a second reader that knows
//! nothing but the form of an entry; what is read is read again from how it is printed.

use std::fmt::Write as _;
use std::net::IpAddr;

use weir::prefix::{Address, Listed, Prefixes};
use weir::source::{irr, list, read_list, read_vrps};

use crate::bytes::Bytes;
use crate::judge;

/// See the file's first lines.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    match bytes.byte() % 6 {
        0 => any_list(bytes.rest()),
        1 => plain_list(bytes.rest()),
        2 => payloads(bytes.rest()),
        3 => registry(bytes.rest()),
        4 => session(&mut bytes),
        _ => set_name(bytes.rest()),
    }
}

/// Whatever a rule's `files` may name.
fn any_list(document: &[u8]) {
    match read_list(document) {
        Ok(parsed) => {
            judge::parsed(&parsed, unpacked(document));
            assert_printed_reads_the_same(&parsed.prefixes);
        }
        Err(refused) => drop(judge::line(refused)),
    }
}

/// How long a document may be once it is unpacked: deflate makes a byte of up to 1032, bzip2 of a few a whole block.
pub(crate) fn unpacked(document: &[u8]) -> usize {
    match document {
        [0x1f, 0x8b, ..] => 1032 * document.len(),
        [b'B', b'Z', b'h', ..] => 1 << 30,
        _ => document.len(),
    }
}

/// The text form of what was read, one range a line, says the same.
fn assert_printed_reads_the_same(prefixes: &Prefixes) {
    let mut text = String::new();
    for range in &prefixes.v4 {
        writeln!(text, "{}-{}", range.first.to_ip(), range.last.to_ip()).unwrap();
    }
    // Mapped addresses are refused in lists; some formats have none that could say so.
    let v6: Vec<_> = prefixes.v6.iter().filter(|range| !is_mapped(range.first) && !is_mapped(range.last)).collect();
    for range in &v6 {
        writeln!(text, "{}-{}", range.first.to_ip(), range.last.to_ip()).unwrap();
    }
    let again = list::parse(text.as_bytes()).unwrap().prefixes;
    let bare = |range: &Listed<u128>| (range.first, range.last);
    assert!(again.v4.iter().zip(&prefixes.v4).all(|(a, b)| (a.first, a.last) == (b.first, b.last)));
    assert_eq!(again.v4.len(), prefixes.v4.len());
    assert_eq!(again.v6.iter().map(bare).collect::<Vec<_>>(), v6.into_iter().map(bare).collect::<Vec<_>>());
}

fn is_mapped(address: u128) -> bool {
    address >> 32 == 0xffff
}

/// A list with one entry a line: entry by entry what the second reader says, and the first line it refuses is named.
fn plain_list(document: &[u8]) {
    let read = list::parse(document);
    let expected = second_reader(document);
    match (&read, &expected) {
        (Ok(parsed), Ok(prefixes)) => {
            judge::parsed(parsed, document.len());
            assert_eq!(parsed.prefixes, *prefixes);
            assert_printed_reads_the_same(prefixes);
        }
        (Err(refused), Err(line)) => {
            assert_eq!(judge::named_line(&judge::line(refused), document), *line, "{refused}");
        }
        (read, expected) => panic!("{read:?}, expected was {expected:?}"),
    }
    // A comment in front moves the lines and nothing else.
    if !document.starts_with(b"\xef\xbb\xbf") {
        let shifted = list::parse(&[b"; comment\n", document].concat());
        match (&read, &shifted) {
            (Ok(parsed), Ok(shifted)) => assert_eq!(parsed.prefixes, shifted.prefixes),
            (Err(refused), Err(shifted)) => {
                let line = judge::named_line(&refused.to_string(), document);
                assert!(shifted.to_string().starts_with(&format!("line {}: ", line + 1)), "{shifted}");
            }
            _ => panic!("{read:?}, behind a comment {shifted:?}"),
        }
    }
}

/// The prefixes of a plain list, or the first line that is none.
fn second_reader(document: &[u8]) -> Result<Prefixes, u64> {
    let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
    let mut prefixes = Prefixes::default();
    for (number, line) in (1..).zip(document.split(|&byte| byte == b'\n')) {
        let end = line.iter().position(|byte| [b'#', b';'].contains(byte)).unwrap_or(line.len());
        let entry = line[..end].trim_ascii();
        if entry.is_empty() {
            continue;
        }
        let text = std::str::from_utf8(entry).map_err(|_| number)?;
        match entry_of(text).ok_or(number)? {
            (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
                prefixes.v4.push(Listed { first: first.into(), last: last.into(), asn: 0 });
            }
            (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
                prefixes.v6.push(Listed { first: first.into(), last: last.into(), asn: 0 });
            }
            _ => return Err(number),
        }
    }
    Ok(prefixes)
}

/// First and last address of `address/length`, `first-last` or an address.
fn entry_of(text: &str) -> Option<(IpAddr, IpAddr)> {
    if let Some((address, length)) = text.split_once('/') {
        let address = address_of(address)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        // One to three digits, and none in front that says nothing.
        let written = (0..=bits).find(|bits| bits.to_string() == length)?;
        let hosts = |width: u32| 1_u128.checked_shl(width).map_or(u128::MAX, |count| count - 1);
        let hosts = hosts(bits - written);
        return Some(match address {
            IpAddr::V4(address) => {
                let (bits, hosts) = (u32::from(address), hosts as u32);
                (IpAddr::V4((bits & !hosts).into()), IpAddr::V4((bits | hosts).into()))
            }
            IpAddr::V6(address) => {
                let bits = u128::from(address);
                (IpAddr::V6((bits & !hosts).into()), IpAddr::V6((bits | hosts).into()))
            }
        });
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((address_of(first.trim_ascii())?, address_of(last.trim_ascii())?))
}

/// An address that a packet can carry.
fn address_of(text: &str) -> Option<IpAddr> {
    text.parse().ok().filter(|address| !matches!(address, IpAddr::V6(address) if is_mapped((*address).into())))
}

/// RPKI payloads: prefixes all of them.
fn payloads(document: &[u8]) {
    match read_vrps(document) {
        Ok(prefixes) => {
            assert!(judge::ranges(&prefixes) <= unpacked(document));
            judge::all_prefixes(&prefixes);
        }
        Err(refused) => drop(judge::line(refused)),
    }
}

/// Any bytes as a reply.
fn registry(reply: &[u8]) {
    match irr::routes(reply, 64500) {
        Ok(prefixes) => {
            assert!(judge::ranges(&prefixes) <= reply.len());
            judge::all_prefixes(&prefixes);
            assert!(judge::asns(&prefixes).iter().all(|&asn| asn == 64500));
        }
        Err(refused) => drop(judge::line(refused)),
    }
    match irr::members(reply) {
        Ok(members) => assert!(members.len() <= reply.len()),
        Err(refused) => drop(judge::line(refused)),
    }
}

/// A reply made of answers whose frames are right: what they hold is found, and nothing else.
fn session(bytes: &mut Bytes<'_>) {
    let mut reply = b"C\n".to_vec();
    let mut expected = Prefixes::default();
    for is_v4 in [true, false] {
        let mut words = Vec::new();
        for _ in 0..bytes.below(8) {
            let net: ipnet::IpNet = if is_v4 {
                ipnet::Ipv4Net::new(bytes.u32().into(), bytes.byte() % 33).unwrap().into()
            } else {
                ipnet::Ipv6Net::new(u128::from_be_bytes(bytes.array()).into(), bytes.byte() % 129).unwrap().into()
            };
            expected.push_net(net, 7);
            words.push(net.to_string());
        }
        let data = words.join(" ");
        match (words.is_empty(), bytes.flag()) {
            (true, true) => reply.extend(b"D\n"),
            (true, false) => reply.extend(b"C\n"),
            (false, _) => reply.extend(format!("A{}\n{data}\nC\n", data.len() + 1).bytes()),
        }
    }
    assert_eq!(irr::routes(&reply, 7), Ok(expected));
    let cut = bytes.u16() as usize % reply.len();
    assert!(irr::routes(&reply[..cut], 7).is_err(), "cut at {cut} of {reply:?}");
}

/// A name that is asked for stays within its line.
fn set_name(name: &[u8]) {
    let Ok(name) = std::str::from_utf8(name) else { return };
    match irr::members_queries(name) {
        Ok(session) => {
            assert_eq!(session, format!("!!\n!nweir\n!i{name},1\n!q\n"));
            assert!(
                session.lines().count() == 4 && session.is_ascii() && !name.contains([' ', ',', '!']),
                "{session:?}"
            );
        }
        Err(refused) => drop(judge::line(refused)),
    }
}
