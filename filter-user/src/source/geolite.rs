//! CSV tables of networks with a header that names the columns, as `MaxMind` and `IPinfo` publish them. Never skips a row.
//!
//! * GeoLite2-ASN-Blocks: `network,autonomous_system_number,autonomous_system_organization`.
//! * `IPinfo` Lite: `network,country,country_code,continent,continent_code,asn,as_name,as_domain`.
//!
//! A network is a prefix, in `IPinfo`'s table also a single address; a network without an AS number is one that nobody
//! announces. Each row has as many fields as the header, so that a row cut short is seen. One line is one row, for the
//! reason `asn_table` gives.

use std::borrow::Cow;
use std::collections::HashMap;

use super::field::{MASKED, NetError, Noted, bare, read_asn, read_net_or_address};
use super::{AsnTable, Place, Wanted, lines, organisation};
use crate::prefix::Asn;

/// Why a table cannot be used, with the row at fault.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeoliteError {
    /// More or fewer fields than the header has.
    #[error("{0} has not as many fields as the header; download it again, or take an earlier copy")]
    Fields(Place),
    /// A quoted field that does not end on its line, or with something after its last quote.
    #[error("{0} has a quote that is not closed before a comma; download it again, or take an earlier copy")]
    Quote(Place),
    /// The AS number's column holds something else.
    #[error("{0} has no AS number in its column; download it again, or take an earlier copy")]
    Asn(Place),
    /// The network's column holds something else.
    #[error("{0} {1}; download it again, or take an earlier copy")]
    Net(Place, NetError),
}

/// Where a row has what, counted from 0.
struct Columns {
    network: usize,
    asn: usize,
    organisation: Option<usize>,
    count: usize,
}

impl Columns {
    /// The columns that `header` names; `None` where it is no header of such a table.
    fn of(header: &[u8]) -> Option<Self> {
        let names = || header.split(|&byte| byte == b',').map(bare);
        let place = |wanted: &[&str]| names().position(|name| wanted.iter().any(|wanted| wanted.as_bytes() == name));
        Some(Self {
            network: place(&["network"])?,
            asn: place(&["autonomous_system_number", "asn"])?,
            organisation: place(&["autonomous_system_organization", "as_name"]),
            count: names().count(),
        })
    }
}

/// Numbered rows; blank lines and comments are none.
fn rows(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    lines(bytes).filter(|(_, row)| !row.starts_with(b"#"))
}

/// True when the first row is the header of a table of networks with AS numbers.
pub(super) fn has_header(bytes: &[u8]) -> bool {
    rows(bytes).next().is_some_and(|(_, row)| Columns::of(row).is_some())
}

/// Reads the rows of the wanted ASes; of other rows only the ASN is read, and counted. Without a header there are none.
pub fn parse(bytes: &[u8], wanted: &Wanted) -> Result<AsnTable, GeoliteError> {
    let mut rows = rows(bytes);
    let (mut table, mut masked) = (AsnTable::default(), Noted::default());
    let mut names: HashMap<Asn, Cow<'_, [u8]>> = HashMap::new();
    let Some(columns) = rows.next().and_then(|(_, header)| Columns::of(header)) else { return Ok(table) };
    for (line, row) in rows {
        let place = || Place::new(line, row);
        let (mut network, mut asn, mut name, mut count) = (None, None, None, 0);
        for field in Fields(Some(row)) {
            let field = field.ok_or_else(|| GeoliteError::Quote(place()))?;
            match count {
                at if at == columns.network => network = Some(field),
                at if at == columns.asn => asn = Some(field),
                at if Some(at) == columns.organisation => name = Some(field),
                _ => (),
            }
            count += 1;
        }
        let (Some(network), Some(asn), true) = (network, asn, count == columns.count) else {
            return Err(GeoliteError::Fields(place()));
        };
        if asn.is_empty() {
            continue;
        }
        let asn = read_asn(&asn).ok_or_else(|| GeoliteError::Asn(place()))?;
        table.rows += u64::from(asn != 0);
        let name = name.unwrap_or_default();
        if wanted.takes(asn, &name) {
            let net = read_net_or_address(&network).map_err(|error| GeoliteError::Net(place(), error))?;
            masked.add_if_masked(line, net);
            table.parsed.prefixes.push_net(net, asn);
            if !name.trim_ascii().is_empty() {
                names.entry(asn).or_insert(name);
            }
        }
    }
    table.parsed.warnings.extend(masked.warning(MASKED));
    table.organisations = names.into_iter().map(|(asn, name)| (asn, organisation(&name))).collect();
    Ok(table)
}

/// What is left of a row; `None` after its last field.
struct Fields<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Fields<'a> {
    /// A field without its quotes and with `""` read as `"`; `None` where a quote is not closed, which ends the row.
    type Item = Option<Cow<'a, [u8]>>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.0.take()?;
        if let Some(rest) = row.strip_prefix(b"\"") {
            return Some(self.quoted(rest));
        }
        let mut parts = row.splitn(2, |&byte| byte == b',');
        let field = parts.next().map(Cow::Borrowed);
        self.0 = parts.next();
        Some(field)
    }
}

impl<'a> Fields<'a> {
    /// The field whose opening quote is gone.
    fn quoted(&mut self, mut rest: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let mut field = Cow::Borrowed([].as_slice());
        loop {
            let (part, after) = rest.split_at_checked(rest.iter().position(|&byte| byte == b'"')?)?;
            if field.is_empty() {
                field = Cow::Borrowed(part);
            } else {
                field.to_mut().extend_from_slice(part);
            }
            match after {
                [_, b'"', after @ ..] => {
                    field.to_mut().push(b'"');
                    rest = after;
                    continue;
                }
                [_] => (),
                [_, b',', after @ ..] => self.0 = Some(after),
                _ => return None,
            }
            return Some(field);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::{Listed, Prefixes};
    use crate::source::{NamePattern, quoted};
    use proptest::prelude::*;
    use std::fmt::Write;
    use std::net::IpAddr;

    const GEOLITE: &str = "network,autonomous_system_number,autonomous_system_organization\n\
        192.0.2.0/24,64500,\"Example, Inc.\"\n198.51.100.0/24,64501,Other\n2001:db8::/32,64500,\"Second \"\"name\"\"\"\n";
    const IPINFO: &str = "network,country,country_code,continent,continent_code,asn,as_name,as_domain\n\
        192.0.2.0/24,\"Nowhere, Republic of\",ZZ,Europe,EU,AS64500,\"Example, Inc.\",example.com\n\
        198.51.100.7,Nowhere,ZZ,Europe,EU,AS64501,Other,example.org\n203.0.113.0/24,Nowhere,ZZ,Europe,EU,,,\n\
        2001:db8::/32,Nowhere,ZZ,Europe,EU,AS64500,\"Example, Inc.\",example.com\n";
    const V6: u128 = 0x2001_0db8 << 96;

    fn all(text: &str) -> AsnTable {
        parse(text.as_bytes(), &Wanted::All).unwrap()
    }

    fn v4(first: u32, last: u32, asn: Asn) -> Listed<u32> {
        Listed { first, last, asn }
    }

    #[test]
    fn both_vendors_tables_are_read() {
        for text in [GEOLITE.to_owned(), GEOLITE.replace('\n', "\r\n"), format!("\u{feff}# today\n\n{GEOLITE}")] {
            assert!(has_header(text.as_bytes()));
            let table = all(&text);
            let v6 = Listed { first: V6, last: V6 + (u128::MAX >> 32), asn: 64500 };
            let v4 = vec![v4(0xc000_0200, 0xc000_02ff, 64500), v4(0xc633_6400, 0xc633_64ff, 64501)];
            assert_eq!((table.parsed.prefixes, table.rows), (Prefixes { v4, v6: vec![v6] }, 3));
            let names = [(64500, "Example, Inc.".to_owned()), (64501, "Other".to_owned())];
            assert_eq!((table.organisations, table.parsed.warnings.len()), (names.into(), 0));
        }
        let table = all(IPINFO);
        assert_eq!(
            table.parsed.prefixes.v4,
            [v4(0xc000_0200, 0xc000_02ff, 64500), v4(0xc633_6407, 0xc633_6407, 64501)]
        );
        assert_eq!((table.parsed.prefixes.v6.len(), table.rows), (1, 3), "the row without an AS is none");
        assert_eq!(table.organisations.get(&64500).map(String::as_str), Some("Example, Inc."));
    }

    #[test]
    fn other_first_rows_are_no_header() {
        for text in [
            "",
            "network\n",
            "start,end,asn,org\n",
            "network,country\n",
            "192.0.2.0/24,64500,x\n",
            "# network,asn\n",
            "asn,as_name\n",
            "network;asn\n",
        ] {
            assert!(!has_header(text.as_bytes()), "{text}");
            assert_eq!(all(text), AsnTable::default());
        }
        assert!(has_header(b"\"network\", \"asn\"\n") && has_header(b"asn,network"));
    }

    #[test]
    fn only_wanted_rows_are_kept_by_number_or_name() {
        let wanted = |wanted: &Wanted| parse(GEOLITE.as_bytes(), wanted).unwrap();
        let table = wanted(&Wanted::Only([64501].into()));
        assert_eq!((table.parsed.prefixes.v4.len(), table.parsed.prefixes.v6.len(), table.rows), (1, 0, 3));
        assert_eq!(table.organisations, [(64501, "Other".to_owned())].into());
        let table = wanted(&Wanted::Named([].into(), vec![NamePattern::new("second name").unwrap()]));
        assert_eq!((table.parsed.prefixes.v4.len(), table.parsed.prefixes.v6.len(), table.rows), (0, 1, 3));
        let unread = GEOLITE.replace("198.51.100.0/24", "nonsense");
        assert!(parse(unread.as_bytes(), &Wanted::Only([64500].into())).is_ok());
        assert!(parse(unread.as_bytes(), &Wanted::All).is_err());
    }

    #[test]
    fn host_bits_are_cleared_with_one_warning() {
        let table = all(&GEOLITE.replace(".0/24", ".9/24"));
        assert_eq!(table.parsed.prefixes, all(GEOLITE).parsed.prefixes);
        let text = "prefixes with host bits set, taken without them: 2, the first is \"192.0.2.9/24\"".to_owned();
        assert_eq!(table.parsed.warnings, [crate::source::Warning { line: 2, text }]);
    }

    #[test]
    fn each_kind_of_bad_row_has_its_own_message() {
        const FIELDS: &str = "has not as many fields as the header";
        const QUOTE: &str = "has a quote that is not closed before a comma";
        const ASN: &str = "has no AS number in its column";
        const NET: &str = "has no prefix such as 192.0.2.0/24 or 2001:db8::/32";
        for (row, expected) in [
            ("192.0.2.0/24,64500", FIELDS),
            ("192.0.2.0/24", FIELDS),
            ("192.0.2.0/24,64500,a,b", FIELDS),
            ("192.0.2.0/24,64500,a,", FIELDS),
            ("192.0.2.0/24,64500,\"a", QUOTE),
            ("192.0.2.0/24,64500,\"a\"\"", QUOTE),
            ("192.0.2.0/24,64500,\"a\"b", QUOTE),
            ("192.0.2.0/24,64500,\"", QUOTE),
            ("192.0.2.0/24,ASX,a", ASN),
            ("192.0.2.0/24,4294967296,a", ASN),
            ("192.0.2.0/24, ,a", ASN),
            ("192.0.2.0-192.0.2.9,64500,a", NET),
            (",64500,a", NET),
            ("192.0.2.0/33,64500,a", "has no IPv4 prefix length from 0 to 32"),
            ("2001:db8::/200,64500,a", "has no IPv6 prefix length from 0 to 128"),
            ("::ffff:0:0/96,64500,a", "has an IPv4-mapped IPv6 prefix, which no packet carries"),
            ("network,autonomous_system_number,autonomous_system_organization", ASN),
            ("<html>", FIELDS),
        ] {
            let text = format!("{GEOLITE}\n{row}\r\n198.51.100.0/24,64501,\"Other\"\n");
            let message = parse(text.as_bytes(), &Wanted::All).unwrap_err().to_string();
            let row = quoted(row.as_bytes());
            assert_eq!(message, format!("line 6: {row} {expected}; download it again, or take an earlier copy"));
        }
    }

    #[test]
    fn a_table_cut_inside_a_row_is_refused_unless_only_its_last_field_is_shorter() {
        let row = GEOLITE.rfind("2001").unwrap();
        let name = GEOLITE.rfind(",\"Second").unwrap();
        for length in row + 1..GEOLITE.len() {
            let text = &GEOLITE[..length];
            let read = parse(text.as_bytes(), &Wanted::All);
            let whole = length == name + 1 || length == GEOLITE.len() - 1;
            // Cut after the first quote of a pair, a name looks complete.
            let cut_name = text.get(name + 2..).is_some_and(|cut| cut.ends_with('"'));
            assert!(read.is_err() || whole || cut_name, "{text}");
        }
    }

    #[test]
    fn names_that_are_no_text_do_not_spoil_the_row() {
        let text =
            [GEOLITE.as_bytes(), b"203.0.113.0/24,7,T\xe9l\x1b\n10.0.0.0/8,8,\"\"\n10.0.0.0/8,9,\"\"\"\"\n"].concat();
        let table = parse(&text, &Wanted::Only([7, 8, 9].into())).unwrap();
        assert_eq!(table.organisations, [(7, "T\u{fffd}l ".to_owned()), (9, "\"".to_owned())].into());
        assert_eq!(table.parsed.prefixes.v4.len(), 3);
    }

    proptest! {
        #[test]
        fn rows_survive_a_round_trip(
            rows in prop::collection::vec(
                (any::<u32>(), 0_u8..=32, any::<u128>(), 0_u8..=128, 1_u32.., "[ -~]{0,12}"), 1..20,
            ),
            ipinfo: bool,
        ) {
            let (mut text, mut expected) = (GEOLITE.lines().next().unwrap().to_owned() + "\n", Prefixes::default());
            if ipinfo {
                text = IPINFO.lines().next().unwrap().to_owned() + "\n";
            }
            for (v4, short, v6, long, asn, name) in &rows {
                let quoted = name.replace('"', "\"\"");
                for (address, length) in [(IpAddr::from(v4.to_be_bytes()), short), (v6.to_be_bytes().into(), long)] {
                    let net = ipnet::IpNet::new(address, *length).unwrap().trunc();
                    expected.push_net(net, *asn);
                    if ipinfo {
                        writeln!(text, "{net},\"{quoted}\",ZZ,Europe,EU,AS{asn},\"{quoted}\",example.com").unwrap();
                    } else {
                        writeln!(text, "{net},{asn},\"{quoted}\"").unwrap();
                    }
                }
            }
            let table = all(&text);
            prop_assert_eq!(table.parsed.prefixes, expected);
            prop_assert_eq!(table.rows, 2 * rows.len() as u64);
            for (_, _, _, _, asn, name) in rows.iter().filter(|row| !row.5.trim().is_empty()) {
                if rows.iter().filter(|row| row.4 == *asn).count() == 1 {
                    prop_assert_eq!(table.organisations.get(asn).map(String::as_str), Some(name.trim()));
                }
            }
        }

        #[test]
        fn any_bytes_give_a_table_or_a_one_line_error(
            bytes in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(),
        ) {
            let at = at.index(IPINFO.len());
            let damaged = [&IPINFO.as_bytes()[..at], &bytes, &IPINFO.as_bytes()[at..]].concat();
            for bytes in [bytes, damaged] {
                if let Err(error) = parse(&bytes, &Wanted::All) {
                    prop_assert!(!error.to_string().contains(char::is_control));
                }
            }
        }
    }
}
