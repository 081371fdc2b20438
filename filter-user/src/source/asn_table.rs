//! Text tables of address ranges by origin AS: AS numbers become prefixes offline. Never skips a row it should read.
//!
//! Two layouts, told apart by a tab in the first row. One row a line, ranges inclusive, IPv4 and IPv6 mixed:
//!
//! * CSV (RFC 4180, one line a record): `start,end,asn[,organisation[,...]]`, as in sapics/ip-location-db.
//! * TSV (<https://iptoasn.com>): `start`, `end`, `asn`, `country`, `organisation`; AS 0 means "not routed".
//!
//! Addresses are written as usual or, for IPv4, as one decimal integer in host order (`ip2asn-v4-u32.tsv`); ASNs with
//! or without `AS`. Lines that start with `#` and blank lines are skipped, and so is one header before the first row.
//! The lines are split here and not by a CSV reader: to that, a quote left open is a field that swallows every row up
//! to the next quote, and the table becomes shorter in silence.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::Ipv6Addr;

use super::field::{bare, read_asn, read_integer, read_ipv4};
use super::{AsnTable, Place, Wanted, organisation, without_bom};
use crate::prefix::{Asn, Listed, Prefixes};

/// Why an ASN table cannot be used, with the row at fault.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AsnTableError {
    /// A web page, often a login or error page served with status 200.
    #[error("{0} is a web page, not an ASN table; check the address it was downloaded from")]
    WebPage(Place),
    /// Fewer than three fields.
    #[error("{0} has too few fields; write start,end,asn,organisation or the same with tabs")]
    TooFewFields(Place),
    /// The third field is no AS number.
    #[error("{0} has no AS number in its third field; write 0 to 4294967295, with or without AS in front")]
    Asn(Place),
    /// The first or second field is no address.
    #[error("{0} has no address in its first or second field; write the first and the last address of the range")]
    Address(Place),
    /// An integer above the last IPv4 address.
    #[error("{0} has an integer that is no IPv4 address; use the table that writes IPv6 addresses in hexadecimal")]
    Integer(Place),
    /// An IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2), which never appears on the wire.
    #[error("{0} has an IPv4-mapped IPv6 address, which no packet carries; write it as IPv4")]
    Mapped(Place),
    /// A range from one family to the other.
    #[error("{0} mixes IPv4 and IPv6; write one row for each family")]
    MixedFamilies(Place),
    /// A range that ends before it starts.
    #[error("{0} ends before it starts; write the lower address first")]
    Reversed(Place),
    /// A quoted organisation that does not end on its line.
    #[error("{0} has a quote that is not closed; end the organisation with a quote on the same line")]
    OpenQuote(Place),
}

/// The variant of the error, still to be told the place.
type Refusal = fn(Place) -> AsnTableError;

/// Reads the rows of the wanted ASes; of other rows only the ASN is read, and counted.
pub fn parse(bytes: &[u8], wanted: &Wanted) -> Result<AsnTable, AsnTableError> {
    let bytes = without_bom(bytes);
    let mut table = AsnTable::default();
    let mut names: HashMap<Asn, Cow<'_, [u8]>> = HashMap::new();
    let mut layout = None;
    for (line, raw) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        let row = raw.strip_suffix(b"\r").unwrap_or(raw);
        if row.first().is_none_or(|&byte| byte == b'#') || row.trim_ascii().is_empty() {
            continue;
        }
        let refused = |refusal: Refusal| refusal(Place::new(line, row));
        let first_row = layout.is_none();
        let layout = *layout.get_or_insert(Layout::of(row));
        if first_row && is_header(row, layout) {
            continue;
        }
        let mut fields = row.splitn(4, |&byte| byte == layout.separator());
        let (Some(start), Some(end), Some(asn)) = (fields.next(), fields.next(), fields.next()) else {
            let refusal: Refusal =
                if row.starts_with(b"<") { AsnTableError::WebPage } else { AsnTableError::TooFewFields };
            return Err(refused(refusal));
        };
        let asn = read_asn(asn).ok_or_else(|| refused(AsnTableError::Asn))?;
        table.rows += u64::from(asn != 0);
        let rest = fields.next().unwrap_or_default();
        if !wanted.includes(asn) {
            // A name that cannot be read is no reason to keep a row that may not be wanted.
            let by_name = matches!(wanted, Wanted::Named(..));
            if !(by_name && layout.organisation(rest).is_ok_and(|name| wanted.takes(asn, &name))) {
                continue;
            }
        }
        push_range(start, end, asn, &mut table.parsed.prefixes).map_err(refused)?;
        // Read also where a name is known already: an open quote must not depend on which row it is in.
        let name = layout.organisation(rest).map_err(refused)?;
        if !name.is_empty() {
            names.entry(asn).or_insert(name);
        }
    }
    table.organisations = names.into_iter().map(|(asn, name)| (asn, organisation(&name))).collect();
    Ok(table)
}

/// How the fields of a row are arranged.
#[derive(Clone, Copy)]
enum Layout {
    /// Comma-separated, quotes allowed.
    Csv,
    /// Tab-separated, no quoting, a country before the organisation.
    Tsv,
}

impl Layout {
    fn of(row: &[u8]) -> Self {
        if row.contains(&b'\t') { Self::Tsv } else { Self::Csv }
    }

    fn separator(self) -> u8 {
        match self {
            Self::Csv => b',',
            Self::Tsv => b'\t',
        }
    }

    /// The organisation in what follows the ASN; empty where there is none.
    fn organisation(self, rest: &[u8]) -> Result<Cow<'_, [u8]>, Refusal> {
        let field = match self {
            Self::Tsv => rest.split(|&byte| byte == b'\t').nth(1).unwrap_or(rest),
            Self::Csv => match rest.strip_prefix(b"\"") {
                Some(quoted) => return unquoted(quoted).ok_or(AsnTableError::OpenQuote),
                None => rest.split(|&byte| byte == b',').next().unwrap_or_default(),
            },
        };
        Ok(Cow::Borrowed(field))
    }
}

/// The content of a quoted field whose opening quote is gone, `""` read as `"`; `None` when the quote stays open.
fn unquoted(field: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut parts = field.split(|&byte| byte == b'"').peekable();
    let mut content = Cow::Borrowed(parts.next()?);
    // Quotes come in pairs inside the field, so an empty part stands between the halves of each pair.
    loop {
        let after = parts.next()?;
        if !after.is_empty() || parts.peek().is_none() {
            return Some(content);
        }
        let owned = content.to_mut();
        owned.push(b'"');
        owned.extend_from_slice(parts.next()?);
    }
}

/// True for a line of column names: a first field that no range can start with, and no ASN in the third.
fn is_header(row: &[u8], layout: Layout) -> bool {
    let mut fields = row.split(|&byte| byte == layout.separator()).map(bare);
    fields.next().is_some_and(|field| {
        field.first().is_some_and(u8::is_ascii_alphabetic)
            && field.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_- ".contains(byte))
    }) && fields.nth(1).is_none_or(|field| read_asn(field).is_none())
}

/// One end of a range.
enum End {
    V4(u32),
    V6(u128),
}

fn read_end(field: &[u8]) -> Result<End, Refusal> {
    let field = bare(field);
    if let Some(address) = read_ipv4(field) {
        return Ok(End::V4(address));
    }
    if let Some(integer) = read_integer(field) {
        return integer.try_into().map(End::V4).map_err(|_| AsnTableError::Integer as Refusal);
    }
    let text = std::str::from_utf8(field).map_err(|_| AsnTableError::Address as Refusal)?;
    match text.parse::<Ipv6Addr>() {
        Ok(address) if address.to_ipv4_mapped().is_some() => Err(AsnTableError::Mapped),
        Ok(address) => Ok(End::V6(address.into())),
        Err(_) => Err(AsnTableError::Address),
    }
}

fn push_range(start: &[u8], end: &[u8], asn: Asn, prefixes: &mut Prefixes) -> Result<(), Refusal> {
    match (read_end(start)?, read_end(end)?) {
        (End::V4(first), End::V4(last)) if first <= last => prefixes.v4.push(Listed { first, last, asn }),
        (End::V6(first), End::V6(last)) if first <= last => prefixes.v6.push(Listed { first, last, asn }),
        (End::V4(_), End::V4(_)) | (End::V6(_), End::V6(_)) => return Err(AsnTableError::Reversed),
        _ => return Err(AsnTableError::MixedFamilies),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn all(text: &str) -> AsnTable {
        parse(text.as_bytes(), &Wanted::All).unwrap()
    }

    fn v4(first: u32, last: u32, asn: Asn) -> Listed<u32> {
        Listed { first, last, asn }
    }

    fn name(table: &AsnTable, asn: Asn) -> &str {
        table.organisations.get(&asn).map_or("-", String::as_str)
    }

    #[test]
    fn csv_rows_of_both_families_are_read() {
        let table = all("# source: somewhere\r\n\r\n1.0.0.0,1.0.0.255,13335,\"Cloudflare, Inc.\"\r\n\
             1.0.1.1,1.0.1.6,AS4294967295,\"The \"\"Real\"\" One\"\n2001:db8::,2001:db8::ff,as7\n");
        assert_eq!(
            table.parsed.prefixes.v4,
            [v4(0x0100_0000, 0x0100_00ff, 13335), v4(0x0100_0101, 0x0100_0106, u32::MAX)]
        );
        let base = 0x2001_0db8 << 96;
        assert_eq!(table.parsed.prefixes.v6, [Listed { first: base, last: base + 0xff, asn: 7 }]);
        assert_eq!(name(&table, 13335), "Cloudflare, Inc.");
        assert_eq!(name(&table, u32::MAX), "The \"Real\" One");
        assert_eq!((name(&table, 7), table.rows), ("-", 3));
    }

    #[test]
    fn tsv_rows_are_read_and_unrouted_ones_left_out() {
        let table =
            all("1.0.0.0\t1.0.0.255\t13335\tUS\tCLOUDFLARENET \"a, b\n1.0.1.0\t1.0.3.255\t0\tNone\tNot routed\n\
             ::\t2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff\t0\tNone\tNot routed\n\
             2001:200::\t2001:200:5ff:ffff:ffff:ffff:ffff:ffff\t2500\tJP\tWIDE\n");
        assert_eq!((table.parsed.prefixes.v4.len(), table.parsed.prefixes.v6.len(), table.rows), (1, 1, 2));
        assert_eq!((name(&table, 13335), name(&table, 2500)), ("CLOUDFLARENET \"a, b", "WIDE"));
    }

    #[test]
    fn integers_are_ipv4_addresses() {
        let table = all("16777216\t16777471\t13335\tUS\tCLOUDFLARENET\n0,4294967295,1\n".lines().next().unwrap());
        assert_eq!(table.parsed.prefixes.v4, [v4(0x0100_0000, 0x0100_00ff, 13335)]);
        assert_eq!(all("0,4294967295,1").parsed.prefixes.v4, [v4(0, u32::MAX, 1)]);
    }

    #[test]
    fn overlaps_repeats_and_order_are_kept() {
        let table = all("9.0.0.0,9.0.0.9,1,b\n1.0.0.0,1.0.0.9,1,a\n1.0.0.5,1.0.0.5,2\n1.0.0.0,1.0.0.9,1,a\n");
        let asns: Vec<_> = table.parsed.prefixes.v4.iter().map(|row| (row.first >> 24, row.asn)).collect();
        assert_eq!(asns, [(9, 1), (1, 1), (1, 2), (1, 1)]);
        assert_eq!(name(&table, 1), "b", "the first name seen");
    }

    #[test]
    fn only_wanted_rows_are_kept_and_read_in_full() {
        let text = b"1.0.0.0,1.0.0.9,1,one\nnonsense,,2,\"open\n2.0.0.0,2.0.0.9,3,three\n";
        let table = parse(text, &Wanted::Only([3, 9].into())).unwrap();
        assert_eq!(table.parsed.prefixes.v4, [v4(0x0200_0000, 0x0200_0009, 3)]);
        assert_eq!((table.organisations.len(), name(&table, 3), table.rows), (1, "three", 3));
        assert!(parse(text, &Wanted::All).is_err());
    }

    #[test]
    fn a_header_is_read_past_before_the_first_row_only() {
        for header in ["start,end,asn,org", "\"range_start\",\"range_end\",\"asn\"", "# x\nip_from,ip_to,as", "network"]
        {
            let table = all(&format!("{header}\n1.0.0.0,1.0.0.9,1,one\n"));
            assert_eq!(table.rows, 1, "{header}");
        }
        let error = parse(b"1.0.0.0,1.0.0.9,1\nstart,end,asn\n", &Wanted::All).unwrap_err();
        assert!(error.to_string().starts_with("line 2: \"start,end,asn\" has no AS number"), "{error}");
        let error = parse(b"1.0.0.256,1.0.0.9,1\n", &Wanted::All).unwrap_err();
        assert!(error.to_string().starts_with("line 1: \"1.0.0.256,1.0.0.9,1\" has no address"), "{error}");
    }

    #[test]
    fn each_kind_of_bad_row_has_its_own_message() {
        const FIELDS: &str = "has too few fields; write start,end,asn,organisation or the same with tabs";
        const ASN: &str = "has no AS number in its third field; write 0 to 4294967295, with or without AS in front";
        const ADDRESS: &str =
            "has no address in its first or second field; write the first and the last address of the range";
        const INTEGER: &str =
            "has an integer that is no IPv4 address; use the table that writes IPv6 addresses in hexadecimal";
        const MAPPED: &str = "has an IPv4-mapped IPv6 address, which no packet carries; write it as IPv4";
        const MIXED: &str = "mixes IPv4 and IPv6; write one row for each family";
        const REVERSED: &str = "ends before it starts; write the lower address first";
        const QUOTE: &str = "has a quote that is not closed; end the organisation with a quote on the same line";
        const WEB: &str = "is a web page, not an ASN table; check the address it was downloaded from";
        for (row, expected) in [
            ("1.0.0.0,1.0.0.9", FIELDS),
            ("1.0.0.0/24", FIELDS),
            ("1.0.0.0,1.0.0.9,", ASN),
            ("1.0.0.0,1.0.0.9,4294967296,x", ASN),
            ("1.0.0.0,1.0.0.9,99999999999999999999999,x", ASN),
            ("1.0.0.0,1.0.0.9,1.10,x", ASN),
            ("1.0.0.0,1.0.0.9,-1,x", ASN),
            ("1.0.0.0,1.0.0.9,AS,x", ASN),
            ("1.0.0.0,1.0.0,1,x", ADDRESS),
            (",1.0.0.0,1,x", ADDRESS),
            ("1.0.0.01,1.0.0.9,1,x", ADDRESS),
            ("4294967296,4294967297,1,x", INTEGER),
            ("::ffff:1.0.0.0,::ffff:1.0.0.9,1,x", MAPPED),
            ("1.0.0.0,2001:db8::,1,x", MIXED),
            ("1.0.0.9,1.0.0.0,1,x", REVERSED),
            ("2001:db8::1,2001:db8::,1,x", REVERSED),
            ("1.0.0.0,1.0.0.9,1,\"open", QUOTE),
            ("1.0.0.0,1.0.0.9,1,\"a \"\"b", QUOTE),
            ("<!DOCTYPE html>", WEB),
        ] {
            let text = format!("# head\n9.0.0.0,9.0.0.9,1,one\n\n{row}\r\n2.0.0.0,2.0.0.9,2,\"two\"\n");
            let message = parse(text.as_bytes(), &Wanted::All).unwrap_err().to_string();
            assert_eq!(message, format!("line 4: {row:?} {expected}"));
        }
    }

    #[test]
    fn names_that_are_no_text_do_not_spoil_the_row() {
        let table = parse(b"1.0.0.0,1.0.0.9,1,T\xe9l\xe9com\n2.0.0.0,2.0.0.9,2,\"\"\n", &Wanted::All).unwrap();
        assert_eq!((name(&table, 1), name(&table, 2), table.rows), ("T\u{fffd}l\u{fffd}com", "-", 2));
    }

    proptest! {
        #[test]
        fn rows_survive_a_round_trip(
            rows in prop::collection::vec(
                (any::<u32>(), any::<u32>(), any::<u128>(), any::<u128>(), 1_u32.., "[ -~]{0,12}"), 1..20,
            ),
            tabs: bool,
        ) {
            let (mut text, mut expected) = (String::new(), Prefixes::default());
            for (a, b, c, d, asn, name) in &rows {
                let (a, b, c, d) = (*a.min(b), *a.max(b), *c.min(d), *c.max(d));
                expected.v4.push(v4(a, b, *asn));
                expected.v6.push(Listed { first: c, last: d, asn: *asn });
                let (a, b, c, d) = (Ipv4Addr::from(a), Ipv4Addr::from(b), Ipv6Addr::from(c), Ipv6Addr::from(d));
                let quoted = name.replace('"', "\"\"");
                let rows = if tabs {
                    format!("{a}\t{b}\t{asn}\tZZ\t{name}\n{c}\t{d}\tAS{asn}\tZZ\t{name}\n")
                } else {
                    format!("{a},{b},{asn},\"{quoted}\"\n{c},{d},AS{asn},\"{quoted}\"\n")
                };
                text.push_str(&rows);
            }
            let table = all(&text);
            prop_assert_eq!(table.parsed.prefixes, expected);
            prop_assert_eq!(table.rows, 2 * rows.len() as u64);
            for (_, _, _, _, asn, name) in rows.iter().rev().filter(|row| !row.5.is_empty()) {
                if rows.iter().filter(|row| row.4 == *asn).count() == 1 {
                    prop_assert_eq!(table.organisations.get(asn).map(String::as_str), Some(name.trim()));
                }
            }
        }

        #[test]
        fn any_bytes_give_a_table_or_a_one_line_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Err(error) = parse(&bytes, &Wanted::All) {
                prop_assert!(!error.to_string().contains(char::is_control));
            }
        }
    }
}
