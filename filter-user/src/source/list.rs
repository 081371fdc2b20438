//! Plain, range and netset list files, what public feeds are. Never drops a line it cannot read: a list that became
//! shorter in silence lets through what it used to block.
//!
//! One entry a line, IPv4 and IPv6 mixed: a CIDR prefix (RFC 4632, RFC 4291 section 2.3), an address, or an inclusive
//! range `first-last` (iprange's and `PeerGuardian`'s form; spaces around the dash allowed). A comment runs from `#`
//! (`FireHOL` netsets) or `;` (Spamhaus DROP) to the end of the line and may hold any bytes. Blank lines, CRLF, a UTF-8
//! byte order mark and a missing last newline are all fine. No origin AS is named: `asn` is 0 throughout. `FireHOL` says
//! in a comment how many entries there are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Parsed, Place, Warning, quoted, without_bom};
use crate::prefix::{Listed, Prefixes};

/// Why a list cannot be used, with the line at fault.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// A web page, often a login or error page served with status 200.
    #[error("{0} is a web page, not a list; check the address it was downloaded from")]
    WebPage(Place),
    /// A JSON document.
    #[error("{0} is JSON, not a list; use the text form of this feed, one prefix a line")]
    Json(Place),
    /// Bytes outside a comment that are no text.
    #[error("{0} is not UTF-8; save the list as plain text")]
    NotUtf8(Place),
    /// A host name, or a hosts file's `address name`.
    #[error("{0} names a host; a prefix list takes prefixes, addresses and ranges only")]
    HostName(Place),
    /// An AS number.
    #[error("{0} is an AS number; write it in a rule's `asns`")]
    AsNumber(Place),
    /// An octet such as `010`, octal for some readers and decimal for others.
    #[error("{0} has an octet with leading zeros, which may mean octal; write it in decimal without them")]
    LeadingZero(Place),
    /// What follows the slash is no length an IPv4 prefix can have.
    #[error("{0} has no valid IPv4 prefix length; write 0 to 32 after the slash")]
    Ipv4Length(Place),
    /// What follows the slash is no length an IPv6 prefix can have.
    #[error("{0} has no valid IPv6 prefix length; write 0 to 128 after the slash")]
    Ipv6Length(Place),
    /// An IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2), which never appears on the wire.
    #[error("{0} is an IPv4-mapped IPv6 address, which no packet carries; write it as IPv4")]
    Mapped(Place),
    /// A zone id (RFC 4007 section 11), which means something on one machine only.
    #[error("{0} has a zone id; write the address without the % part")]
    ZoneId(Place),
    /// A range from one family to the other.
    #[error("{0} mixes IPv4 and IPv6; write one range for each family")]
    MixedFamilies(Place),
    /// A range that ends before it starts.
    #[error("{0} ends before it starts; write the lower address first")]
    Reversed(Place),
    /// Anything else.
    #[error("{0} is not an entry; write a prefix (192.0.2.0/24), an address or a range (first-last)")]
    NotAnEntry(Place),
}

/// The variant of the error, still to be told the place.
type Refusal = fn(Place) -> ListError;

/// Lines that are each named in a warning of their own; beyond these a list is more wrong than any warning can help.
const NAMED: u64 = 20;

/// Reads a whole list. An empty one is no error: whether it may be empty is for the caller to judge.
pub fn parse(bytes: &[u8]) -> Result<Parsed, ListError> {
    let mut parsed = Parsed::default();
    let mut masked_lines = 0;
    for (line, raw) in (1..).zip(without_bom(bytes).split(|&byte| byte == b'\n')) {
        // The comment goes first: in old feeds it is where Latin-1 names are.
        let entry = raw.split(|byte| b"#;".contains(byte)).next().unwrap_or_default().trim_ascii();
        if entry.is_empty() {
            if let Some(entries) = declared(raw) {
                // Netsets put together in one file are added up.
                parsed.declared = Some(parsed.declared.unwrap_or(0).saturating_add(entries));
            }
            continue;
        }
        let refused = |refusal: Refusal| refusal(Place::new(line, entry));
        let text = std::str::from_utf8(entry).map_err(|_| refused(ListError::NotUtf8))?;
        if let Some(masked) = read_entry(text, &mut parsed.prefixes).map_err(refused)? {
            masked_lines += 1;
            if masked_lines <= NAMED {
                let text = format!("{} has host bits set; taken as {masked}", quoted(entry));
                parsed.warnings.push(Warning { line, text });
            }
        }
    }
    if let (Some(last), more @ 1..) = (parsed.warnings.last(), masked_lines.saturating_sub(NAMED)) {
        let text = format!("host bits are set in {more} lines more, each taken without them");
        parsed.warnings.push(Warning { line: last.line, text });
    }
    Ok(parsed)
}

/// The number of entries that a line of `FireHOL`'s header gives: `# Entries : 2744 subnets, 619265499 unique IPs`, or
/// `# Entries : 12 unique IPs` where all entries are addresses.
fn declared(line: &[u8]) -> Option<u64> {
    let header = line.strip_prefix(b"#")?.trim_ascii_start().strip_prefix(b"Entries")?;
    let counts = std::str::from_utf8(header.trim_ascii_start().strip_prefix(b":")?).ok()?.trim();
    let unique = counts.strip_suffix(" unique IPs")?;
    let entries = unique.split_once(" subnets, ").map_or(unique, |(subnets, _)| subnets);
    entries.parse().ok().filter(|_| !entries.starts_with('+'))
}

/// Adds one entry; returns the prefix it became when its host bits had to be cleared.
fn read_entry(text: &str, prefixes: &mut Prefixes) -> Result<Option<IpNet>, Refusal> {
    if let Some((address, length)) = text.split_once('/') {
        let address = read_address(address, text)?;
        let net = read_prefix(address, length)?;
        prefixes.push_net(net, 0);
        return Ok((net.addr() != net.network()).then(|| net.trunc()));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (read_address(first.trim_ascii(), text)?, read_address(last.trim_ascii(), text)?) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            prefixes.v4.push(Listed { first: first.into(), last: last.into(), asn: 0 });
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            prefixes.v6.push(Listed { first: first.into(), last: last.into(), asn: 0 });
        }
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => return Err(ListError::Reversed),
        _ => return Err(ListError::MixedFamilies),
    }
    Ok(None)
}

fn read_prefix(address: IpAddr, length: &str) -> Result<IpNet, Refusal> {
    let refusal: Refusal = if address.is_ipv4() { ListError::Ipv4Length } else { ListError::Ipv6Length };
    // `str::parse` takes "+8" and "010", which is 8 for some readers.
    if length.starts_with('+') || (length.len() > 1 && length.starts_with('0')) {
        return Err(refusal);
    }
    IpNet::new(address, length.parse().map_err(|_| refusal)?).map_err(|_| refusal)
}

/// Reads an address that is, or is part of, the entry `whole`.
fn read_address(text: &str, whole: &str) -> Result<IpAddr, Refusal> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => Err(ListError::Mapped),
        Ok(address) => Ok(address),
        Err(_) => Err(diagnose(text, whole)),
    }
}

/// Says what stands where an address was expected.
fn diagnose(text: &str, whole: &str) -> Refusal {
    if whole.starts_with('<') {
        ListError::WebPage
    } else if whole.starts_with(['{', '[']) {
        ListError::Json
    } else if text.split_once('%').is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok()) {
        ListError::ZoneId
    } else if without_leading_zeros(text).parse::<Ipv4Addr>().is_ok() {
        ListError::LeadingZero
    } else if whole.split_ascii_whitespace().any(is_host_name) {
        ListError::HostName
    } else if is_as_number(whole) {
        ListError::AsNumber
    } else {
        ListError::NotAnEntry
    }
}

fn without_leading_zeros(text: &str) -> String {
    let octets = text.split('.').map(|octet| match octet.trim_start_matches('0') {
        "" if !octet.is_empty() => "0",
        digits => digits,
    });
    octets.collect::<Vec<_>>().join(".")
}

/// True for what a domain or hosts list holds: labels with a dot between, a letter in the last.
fn is_host_name(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        && word.rsplit_once('.').is_some_and(|(_, last)| last.contains(|letter: char| letter.is_ascii_alphabetic()))
}

fn is_as_number(text: &str) -> bool {
    text.get(..2).is_some_and(|prefix| prefix.eq_ignore_ascii_case("as"))
        && text.get(2..).is_some_and(|number| number.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4(first: u32, last: u32) -> Listed<u32> {
        Listed { first, last, asn: 0 }
    }

    fn v6(first: u128, last: u128) -> Listed<u128> {
        Listed { first, last, asn: 0 }
    }

    fn message(bytes: &[u8]) -> String {
        parse(bytes).unwrap_err().to_string()
    }

    const NET: Listed<u32> = Listed { first: 0xc000_0200, last: 0xc000_02ff, asn: 0 };

    #[test]
    fn every_form_of_entry_is_read() {
        let text = "192.0.2.0/24\n192.0.2.7\n192.0.2.1-192.0.2.6\n 192.0.2.1 - 192.0.2.6 \n2001:db8::/32\n\
                    2001:db8::1\n2001:db8::1-2001:db8::ff\n::/0\n0.0.0.0-255.255.255.255\n";
        let parsed = parse(text.as_bytes()).unwrap();
        let range = v4(0xc000_0201, 0xc000_0206);
        assert_eq!(parsed.prefixes.v4, [NET, v4(0xc000_0207, 0xc000_0207), range, range, v4(0, u32::MAX)]);
        let base = 0x2001_0db8 << 96;
        let (one, ff) = (base + 1, base + 0xff);
        assert_eq!(
            parsed.prefixes.v6,
            [v6(base, base + (u128::MAX >> 32)), v6(one, one), v6(one, ff), v6(0, u128::MAX)]
        );
        assert_eq!(parsed.warnings, []);
    }

    #[test]
    fn comments_line_ends_and_a_byte_order_mark_are_not_entries() {
        for text in [
            b"\xef\xbb\xbf192.0.2.0/24".as_slice(),
            b"# head\n\n192.0.2.0/24 ; SBL1 # both\n",
            b"; head\r\n192.0.2.0/24\r\n\r\n",
            b"192.0.2.0/24\r",
            b"\t192.0.2.0/24 # caf\xe9 in Latin-1\n#\xff\n",
            b"192.0.2.0/24#close",
        ] {
            assert_eq!(parse(text).unwrap().prefixes.v4, [NET], "{}", text.escape_ascii());
        }
    }

    #[test]
    fn an_empty_list_is_left_to_the_caller() {
        for text in ["", "\n", "# nothing\r\n", "\u{feff}"] {
            assert_eq!(parse(text.as_bytes()).unwrap(), Parsed::default());
        }
    }

    #[test]
    fn the_number_of_entries_in_a_netset_header_is_declared() {
        let declared = |text: &str| parse(text.as_bytes()).unwrap().declared;
        let header = "#\n# Version         : 25569\n# Entries         : 2744 subnets, 619265499 unique IPs\n#\n";
        assert_eq!(declared(header), Some(2744));
        assert_eq!(declared(&format!("{header}192.0.2.0/24\n").replace('\n', "\r\n")), Some(2744));
        assert_eq!(declared(&format!("{header}192.0.2.0/24\n{header}")), Some(5488), "two in one file");
        assert_eq!(declared("# Entries         : 0 unique IPs\n"), Some(0));
        for text in [
            "",
            "192.0.2.0/24\n",
            "192.0.2.0/24 # Entries : 5 unique IPs\n",
            "# Entries : many\n",
            "# Entries : 5\n",
            "# Entries : +5 unique IPs\n",
            "# Entries : -5 subnets, 5 unique IPs\n",
            "# Entries : 99999999999999999999 unique IPs\n",
            "; Entries : 5 unique IPs\n",
        ] {
            assert_eq!(declared(text), None, "{text}");
        }
    }

    #[test]
    fn a_list_full_of_host_bits_does_not_become_a_list_of_warnings() {
        let parsed = parse("192.0.2.7/24\n".repeat(1000).as_bytes()).unwrap();
        assert_eq!((parsed.prefixes.v4.len(), parsed.warnings.len()), (1000, 21));
        let last = parsed.warnings.last().unwrap();
        assert_eq!(
            (last.line, last.text.as_str()),
            (20, "host bits are set in 980 lines more, each taken without them")
        );
        assert_eq!(parse("192.0.2.7/24\n".repeat(20).as_bytes()).unwrap().warnings.len(), 20);
    }

    #[test]
    fn host_bits_are_cleared_with_a_warning() {
        let parsed = parse(b"# head\n192.0.2.77/24\n2001:db8::1/32\n192.0.2.0/24\n").unwrap();
        assert_eq!(parsed.prefixes.v4, [NET, NET]);
        let warnings: Vec<_> = parsed.warnings.iter().map(|warning| (warning.line, warning.text.as_str())).collect();
        assert_eq!(
            warnings,
            [
                (2, r#""192.0.2.77/24" has host bits set; taken as 192.0.2.0/24"#),
                (3, r#""2001:db8::1/32" has host bits set; taken as 2001:db8::/32"#),
            ]
        );
    }

    #[test]
    fn each_kind_of_bad_line_has_its_own_message() {
        const NOT_AN_ENTRY: &str = "is not an entry; write a prefix (192.0.2.0/24), an address or a range (first-last)";
        const LEADING_ZEROS: &str =
            "has an octet with leading zeros, which may mean octal; write it in decimal without them";
        const V4_LENGTH: &str = "has no valid IPv4 prefix length; write 0 to 32 after the slash";
        const V6_LENGTH: &str = "has no valid IPv6 prefix length; write 0 to 128 after the slash";
        const MAPPED: &str = "is an IPv4-mapped IPv6 address, which no packet carries; write it as IPv4";
        const ZONE: &str = "has a zone id; write the address without the % part";
        const MIXED: &str = "mixes IPv4 and IPv6; write one range for each family";
        const REVERSED: &str = "ends before it starts; write the lower address first";
        const HOST: &str = "names a host; a prefix list takes prefixes, addresses and ranges only";
        const WEB: &str = "is a web page, not a list; check the address it was downloaded from";
        const JSON: &str = "is JSON, not a list; use the text form of this feed, one prefix a line";
        const AS_NUMBER: &str = "is an AS number; write it in a rule's `asns`";
        for (entry, expected) in [
            ("10.0.0.9-10.0.0.1", REVERSED),
            ("2001:db8::2-2001:db8::1", REVERSED),
            ("10.0.0.1-2001:db8::1", MIXED),
            ("2001:db8::1-10.0.0.1", MIXED),
            ("10.0.0.0/33", V4_LENGTH),
            ("10.0.0.0/-1", V4_LENGTH),
            ("10.0.0.0/+8", V4_LENGTH),
            ("10.0.0.0/010", V4_LENGTH),
            ("10.0.0.0/", V4_LENGTH),
            ("10.0.0.0/255.0.0.0", V4_LENGTH),
            ("10.0.0.0/8/8", V4_LENGTH),
            ("10.0.0.0/256", V4_LENGTH),
            ("2001:db8::/129", V6_LENGTH),
            ("010.1.2.3", LEADING_ZEROS),
            ("10.1.2.00/24", LEADING_ZEROS),
            ("10.1.2.3-10.1.2.009", LEADING_ZEROS),
            ("::ffff:1.2.3.4", MAPPED),
            ("::ffff:0:0/96", MAPPED),
            ("fe80::1%eth0", ZONE),
            ("fe80::%eth0/64", ZONE),
            ("tiktok.com @!cn", HOST),
            ("0.0.0.0 tiktok.com", HOST),
            ("my-cdn.example-1.com", HOST),
            ("AS396986", AS_NUMBER),
            ("as1", AS_NUMBER),
            ("<!DOCTYPE html>", WEB),
            ("<html lang=en>", WEB),
            ("{\"cidr\":\"1.10.16.0/20\"}", JSON),
            ("256.1.1.1", NOT_AN_ENTRY),
            ("10.0/16", NOT_AN_ENTRY),
            ("10.0.0.1 10.0.0.2", NOT_AN_ENTRY),
            ("10.0.0.1-", NOT_AN_ENTRY),
            ("-", NOT_AN_ENTRY),
            ("/8", NOT_AN_ENTRY),
            ("10.0.0.0/8-11.0.0.0/8", V4_LENGTH),
            ("10.0.0.1–10.0.0.2", NOT_AN_ENTRY),
            ("10.0.0.0 /8", NOT_AN_ENTRY),
            ("\u{1b}[2J", NOT_AN_ENTRY),
            ("ä", NOT_AN_ENTRY),
        ] {
            let text = format!("# head\n192.0.2.0/24\n\n{entry}\r\n");
            assert_eq!(message(text.as_bytes()), format!("line 4: {entry:?} {expected}"));
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_named() {
        assert_eq!(
            message(b"192.0.2.0/24\n10.0.0.\xb2\n"),
            r#"line 2: "10.0.0.\xb2" is not UTF-8; save the list as plain text"#
        );
    }

    #[test]
    fn a_long_line_is_shortened() {
        let text = message("x".repeat(5000).as_bytes());
        assert!(text.starts_with(&format!("line 1: \"{}...\" is not an entry", "x".repeat(60))), "{text}");
    }

    proptest! {
        #[test]
        fn ranges_and_prefixes_survive_a_round_trip(
            a: u32, b: u32, c: u128, d: u128, short in 0_u8..=32, long in 0_u8..=128, crlf: bool,
        ) {
            // Mapped addresses are refused by design; random u128 practically never hit them.
            let (a, b, c, d) = (a.min(b), a.max(b), c.min(d), c.max(d));
            let nets = [IpNet::new(Ipv4Addr::from(a).into(), short).unwrap().trunc(),
                        IpNet::new(Ipv6Addr::from(c).into(), long).unwrap().trunc()];
            let end = if crlf { "\r\n" } else { "\n" };
            let text = format!(
                "{}-{}{end}{} - {}{end}{}{end}{}",
                Ipv4Addr::from(a), Ipv4Addr::from(b), Ipv6Addr::from(c), Ipv6Addr::from(d), nets[0], nets[1],
            );
            let mut expected = Prefixes { v4: vec![v4(a, b)], v6: vec![v6(c, d)] };
            for net in nets {
                expected.push_net(net, 0);
            }
            let parsed = parse(text.as_bytes()).unwrap();
            prop_assert_eq!(parsed.prefixes, expected);
            prop_assert_eq!(parsed.warnings, []);
        }

        #[test]
        fn any_bytes_give_a_list_or_a_one_line_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Err(error) = parse(&bytes) {
                prop_assert!(!error.to_string().contains(char::is_control));
            }
        }
    }
}
