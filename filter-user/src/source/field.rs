//! Fields that text formats share: AS numbers, addresses, prefixes, and the warning that many rows have in common.
//! Knows no format, and takes no second guess at a field it cannot read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Warning, quoted};
use crate::prefix::Asn;

/// What is wrong with a prefix, as the end of a sentence that starts with the offending text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// No address, or no slash after it.
    #[error("has no prefix such as 192.0.2.0/24 or 2001:db8::/32")]
    NotANet,
    /// What follows the slash is no length an IPv4 prefix can have.
    #[error("has no IPv4 prefix length from 0 to 32")]
    Ipv4Length,
    /// What follows the slash is no length an IPv6 prefix can have.
    #[error("has no IPv6 prefix length from 0 to 128")]
    Ipv6Length,
    /// An IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2), which never appears on the wire.
    #[error("has an IPv4-mapped IPv6 prefix, which no packet carries")]
    Mapped,
}

/// Reads `address/length`; host bits are kept, for the caller to warn about.
pub(super) fn read_net(text: &[u8]) -> Result<IpNet, NetError> {
    let slash = text.iter().position(|&byte| byte == b'/').ok_or(NetError::NotANet)?;
    let (address, length) = text.split_at_checked(slash).ok_or(NetError::NotANet)?;
    net(address, length.get(1..).unwrap_or_default())
}

/// Reads `address/length`, or an address that stands for itself alone.
pub(super) fn read_net_or_address(text: &[u8]) -> Result<IpNet, NetError> {
    if text.contains(&b'/') { read_net(text) } else { read_address(text).map(IpNet::from) }
}

/// A prefix from its two halves.
pub(super) fn net(address: &[u8], length: &[u8]) -> Result<IpNet, NetError> {
    let address = read_address(address)?;
    let refusal = if address.is_ipv4() { NetError::Ipv4Length } else { NetError::Ipv6Length };
    IpNet::new(address, read_length(length).ok_or(refusal)?).map_err(|_| refusal)
}

fn read_address(text: &[u8]) -> Result<IpAddr, NetError> {
    if let Some(address) = read_ipv4(text) {
        return Ok(Ipv4Addr::from(address).into());
    }
    let text = std::str::from_utf8(text).map_err(|_| NetError::NotANet)?;
    match text.parse::<Ipv6Addr>() {
        Ok(address) if address.to_ipv4_mapped().is_some() => Err(NetError::Mapped),
        Ok(address) => Ok(address.into()),
        Err(_) => Err(NetError::NotANet),
    }
}

/// One to three digits; `+8` is none, and neither is `010`, which is 8 for some readers.
fn read_length(text: &[u8]) -> Option<u8> {
    let plain = matches!(text, [_] | [b'1'..=b'9', _] | [b'1'..=b'9', _, _]);
    if plain { read_integer(text)?.try_into().ok() } else { None }
}

/// An AS number with or without `AS`.
pub(super) fn read_asn(field: &[u8]) -> Option<Asn> {
    let field = bare(field);
    let number = match field {
        [b'A' | b'a', b'S' | b's', number @ ..] | number => number,
    };
    read_integer(number)?.try_into().ok()
}

/// A field without spaces and quotes around it; addresses and ASNs hold neither inside.
pub(super) fn bare(field: &[u8]) -> &[u8] {
    let field = field.trim_ascii();
    field.strip_prefix(b"\"").and_then(|field| field.strip_suffix(b"\"")).unwrap_or(field)
}

/// A decimal integer; saturates, so that one too large is told from text.
pub(super) fn read_integer(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, &byte| {
        byte.is_ascii_digit().then(|| value.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
    })
}

/// A dotted quad without leading zeros, read as `Ipv4Addr::from_str` does; with that a whole table takes twice as long.
pub(super) fn read_ipv4(field: &[u8]) -> Option<u32> {
    let mut octets = 0;
    let mut address = 0;
    for octet in field.split(|&byte| byte == b'.') {
        let value = match *octet {
            [ones] => digit(ones)?,
            [b'0', ..] => return None,
            [tens, ones] => 10 * digit(tens)? + digit(ones)?,
            [hundreds, tens, ones] => 100 * digit(hundreds)? + 10 * digit(tens)? + digit(ones)?,
            _ => return None,
        };
        octets += 1;
        address = (address << 8) | u32::from(u8::try_from(value).ok()?);
    }
    (octets == 4).then_some(address)
}

fn digit(byte: u8) -> Option<u32> {
    byte.is_ascii_digit().then(|| u32::from(byte - b'0'))
}

/// Rows of which one thing is to be said: a table can have a million of them, so they share one warning.
#[derive(Debug, Default)]
pub(super) struct Noted {
    first: Option<(u64, String)>,
    count: u64,
}

impl Noted {
    /// Counts a row; `line` is 0 in a source without lines.
    pub(super) fn add(&mut self, line: u64, text: &[u8]) {
        self.first.get_or_insert_with(|| (line, quoted(text)));
        self.count += 1;
    }

    /// Counts `net` where it has host bits set.
    pub(super) fn add_if_masked(&mut self, line: u64, net: IpNet) {
        if net.addr() != net.network() {
            self.add(line, net.to_string().as_bytes());
        }
    }

    /// The warning for `what` (which rows, and what was made of them), at the first row's line.
    pub(super) fn warning(self, what: &str) -> Option<Warning> {
        let (line, first) = self.first?;
        Some(Warning { line, text: format!("{what}: {}, the first is {first}", self.count) })
    }
}

/// What [`Noted::add_if_masked`] counts.
pub(super) const MASKED: &str = "prefixes with host bits set, taken without them";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_prefix_field_is_read_as_lists_read_it() {
        for text in ["192.0.2.0/24", "0.0.0.0/0", "255.255.255.255/32", "2001:db8::/32", "::/0", "::/128", "10.0.0.1/8"]
        {
            assert_eq!(read_net(text.as_bytes()), Ok(text.parse().unwrap()), "{text}");
        }
        for (text, expected) in [
            ("", NetError::NotANet),
            ("/", NetError::NotANet),
            ("/8", NetError::NotANet),
            ("10.0.0.0", NetError::NotANet),
            ("10.0.0/8", NetError::NotANet),
            ("010.0.0.0/8", NetError::NotANet),
            (" 10.0.0.0/8", NetError::NotANet),
            ("fe80::%eth0/64", NetError::NotANet),
            ("10.0.0.0/8\0", NetError::Ipv4Length),
            ("10.0.0.0/", NetError::Ipv4Length),
            ("10.0.0.0/33", NetError::Ipv4Length),
            ("10.0.0.0/08", NetError::Ipv4Length),
            ("10.0.0.0/+8", NetError::Ipv4Length),
            ("10.0.0.0/-1", NetError::Ipv4Length),
            ("10.0.0.0/264", NetError::Ipv4Length),
            ("10.0.0.0/8/8", NetError::Ipv4Length),
            ("2001:db8::/129", NetError::Ipv6Length),
            ("::ffff:0:0/96", NetError::Mapped),
            ("::ffff:1.2.3.4/128", NetError::Mapped),
        ] {
            assert_eq!(read_net(text.as_bytes()), Err(expected), "{text:?}");
        }
        assert_eq!(read_net(b"\xff/8"), Err(NetError::NotANet));
    }

    #[test]
    fn an_address_is_a_prefix_of_its_own_only_where_that_is_asked_for() {
        assert_eq!(read_net_or_address(b"10.0.0.1"), Ok("10.0.0.1/32".parse().unwrap()));
        assert_eq!(read_net_or_address(b"::1"), Ok("::1/128".parse().unwrap()));
        assert_eq!(read_net_or_address(b"10.0.0.0/8"), Ok("10.0.0.0/8".parse().unwrap()));
        assert_eq!(read_net_or_address(b"10.0.0"), Err(NetError::NotANet));
    }

    #[test]
    fn rows_of_one_kind_share_one_warning() {
        let mut noted = Noted::default();
        assert_eq!(Noted::default().warning("none"), None);
        for (line, net) in [(3, "10.0.0.0/8"), (4, "10.0.0.1/8"), (9, "2001:db8::1/32")] {
            noted.add_if_masked(line, net.parse().unwrap());
        }
        let text = "prefixes with host bits set, taken without them: 2, the first is \"10.0.0.1/8\"".to_owned();
        assert_eq!(noted.warning(MASKED), Some(Warning { line: 4, text }));
    }

    proptest! {
        #[test]
        fn dotted_quads_are_read_as_std_reads_them(text in "([0-9]{1,3}\\.){3}[0-9]{1,3}|[0-9.:x]{0,16}") {
            prop_assert_eq!(read_ipv4(text.as_bytes()), text.parse::<Ipv4Addr>().ok().map(u32::from));
        }

        #[test]
        fn lengths_are_read_as_std_reads_them_without_signs_and_leading_zeros(text in "[+0-9]{0,4}") {
            let plain = text == "0" || !text.starts_with(['+', '0']);
            prop_assert_eq!(read_length(text.as_bytes()), text.parse().ok().filter(|_| plain));
        }
    }
}
