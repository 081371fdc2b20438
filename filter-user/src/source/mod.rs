//! List formats: each file turns the bytes of one format into prefixes. Pure: opens no file, fetches nothing.
//!
//! Formats are told apart by their content, never by a file name:
//!
//! | bytes                                            | as a list  | as an ASN table |
//! |--------------------------------------------------|------------|-----------------|
//! | MRT records, compressed or not                   | refused    | `mrt`           |
//! | start with 1f 8b                                 | `gzip`, then the rows below ||
//! | start with `BZh`                                 | `bzip`, then the rows below ||
//! | a tar or zip archive                             | refused    | refused         |
//! | `MaxMind` metadata marker near the end           | refused    | `mmdb`          |
//! | JSON with `asn` and `prefixes` or `subnets`      | `ipverse`  | `ipverse`       |
//! | JSON with `data` and `data_call_name`            | `ripestat` | `ripestat`      |
//! | JSON lines with `CIDR` and `ASN`                 | refused    | `bgptools`      |
//! | JSON lines with `cidr`, or `asn` and `rir`       | `spamhaus` | refused         |
//! | JSON with `roas`                                 | refused    | refused; `vrp` where VRPs are asked for |
//! | other JSON                                       | refused    | refused         |
//! | a first row that names `network` and AS columns  | refused    | `geolite`       |
//! | a first row of prefix and origin, tabs between   | refused    | `pfx2as`        |
//! | anything else                                    | `list`     | `asn_table`     |
//!
//! `irr` is no file: it speaks with a server that other sources are checked by.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crate::prefix::{Asn, Prefixes};

pub mod announced;
pub mod asn_table;
pub mod bgptools;
pub mod bzip;
pub mod content;
pub mod copy;
pub mod field;
pub mod gate;
pub mod geolite;
pub mod gzip;
pub mod ipverse;
pub mod irr;
pub mod json;
pub mod list;
pub mod mmdb;
pub mod mrt;
pub mod pfx2as;
pub mod ripestat;
pub mod spamhaus;
pub mod vrp;
pub mod wanted;

pub use content::{Content, Need, read};
pub use wanted::{NamePattern, Wanted};

/// What a source's bytes say, and what the reader should know about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The prefixes, in the order of the source.
    pub prefixes: Prefixes,
    /// What was accepted but deserves a look, one line each.
    pub warnings: Vec<Warning>,
    /// How many entries the source says it has, where it does so (`FireHOL`'s header, Spamhaus DROP's last line). Whoever
    /// takes the source compares it with the entries there are.
    pub declared: Option<u64>,
    /// Why the source is known to end early, as the end of a sentence; `prefixes` holds what came before. `None` for a
    /// source that is whole as far as its format can tell.
    pub cut: Option<String>,
}

/// Something a source says that was accepted with a correction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The line in the source, from 1; 0 for a source without lines.
    pub line: u64,
    /// What was found and what was made of it.
    pub text: String,
}

/// What an ASN table says about the wanted ASes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsnTable {
    /// The wanted rows; each carries its origin AS.
    pub parsed: Parsed,
    /// The organisation of each wanted AS: the first name the table gives, control characters replaced by spaces.
    pub organisations: BTreeMap<Asn, String>,
    /// Rows that name an origin AS, wanted or not. A table with none is no table.
    pub rows: u64,
}

/// Where in a text source something is wrong; shown as `line 3: "10.0.0.0/33"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: u64,
    /// The offending text as it stands in the source.
    pub text: Vec<u8>,
}

impl Place {
    fn new(line: u64, text: &[u8]) -> Self {
        Self { line, text: text.to_vec() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.text) } else { write!(f, "line {}: {}", self.line, self.text) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, quoted(&self.text))
    }
}

/// Why a source cannot be used. The file name is not in here: whoever opened the file adds it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The compressed form is damaged or too large.
    #[error(transparent)]
    Gzip(#[from] gzip::GzipError),
    /// The same of the other compressed form.
    #[error(transparent)]
    Bzip(#[from] bzip::BzipError),
    /// An entry of a list cannot be read.
    #[error(transparent)]
    List(#[from] list::ListError),
    /// A row of a text ASN table cannot be read.
    #[error(transparent)]
    AsnTable(#[from] asn_table::AsnTableError),
    /// A `MaxMind` database cannot be read or holds no ASNs.
    #[error(transparent)]
    Mmdb(#[from] mmdb::MmdbError),
    /// A dump of BGP cannot be read or holds no routing table.
    #[error(transparent)]
    Mrt(#[from] mrt::MrtError),
    /// A reply of a routing registry cannot be read.
    #[error(transparent)]
    Irr(#[from] irr::IrrError),
    /// A JSON document cannot be read.
    #[error(transparent)]
    Json(#[from] json::JsonError),
    /// An ipverse document cannot be read.
    #[error(transparent)]
    Ipverse(#[from] ipverse::IpverseError),
    /// A reply of `RIPEstat` cannot be read or is none.
    #[error(transparent)]
    Ripestat(#[from] ripestat::RipestatError),
    /// A row of bgp.tools' table cannot be read.
    #[error(transparent)]
    BgpTools(#[from] bgptools::BgpToolsError),
    /// A line of Spamhaus DROP cannot be read.
    #[error(transparent)]
    Spamhaus(#[from] spamhaus::SpamhausError),
    /// A row of a CSV table of networks cannot be read.
    #[error(transparent)]
    Geolite(#[from] geolite::GeoliteError),
    /// A row of a text table of routes cannot be read.
    #[error(transparent)]
    Pfx2as(#[from] pfx2as::Pfx2asError),
    /// An entry of a list of VRPs cannot be read.
    #[error(transparent)]
    Vrp(#[from] vrp::VrpError),
    /// An archive stands where one file is expected.
    #[error("is a {0} archive; unpack it and name the file inside")]
    Archive(&'static str),
    /// An ASN table stands where a list is expected.
    #[error("is {0}, not a list; name it under [asn] tables and its AS numbers in a rule")]
    TableAsList(&'static str),
    /// A list stands where an ASN table is expected.
    #[error("is Spamhaus DROP, a list that names no AS; name it in a rule's `files`")]
    DropAsTable,
    /// VRPs stand where prefixes that someone announces are expected.
    #[error(
        "is a list of RPKI VRPs, which says who may announce a prefix and not who does; use a prefix list or an ASN table here"
    )]
    Vrps,
    /// Something else stands where VRPs are expected.
    #[error("is no JSON with RPKI VRPs under `roas`; use what rpki-client or Routinator write with their json output")]
    NotVrps,
    /// JSON of another kind.
    #[error(
        "is JSON of no kind that is read: ipverse aggregated.json, RIPEstat announced-prefixes, Spamhaus DROP (as a list), \
         bgp.tools table.jsonl (as an ASN table); use one of these, or the text form of this source"
    )]
    OtherJson,
    /// An ASN table has nothing in it.
    #[error("no rows: the ASN table names no origin AS; download it again")]
    NoRows,
}

/// What a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Mmdb,
    Ipverse,
    Ripestat,
    BgpTools,
    Spamhaus,
    Vrps,
    OtherJson,
    Geolite,
    Pfx2as,
    /// A list or a text table of ranges, whichever is asked for.
    Text,
}

impl Format {
    /// The format of unpacked `bytes`.
    fn of(bytes: &[u8]) -> Result<Self, SourceError> {
        let text = without_bom(bytes);
        // Conditions in the order of the table above, one line for each.
        Ok(match () {
            () if mmdb::is_mmdb(bytes) => Self::Mmdb,
            () if json::is_json(text) => json::format_of(text)?,
            () if geolite::has_header(text) => Self::Geolite,
            () if pfx2as::is_pfx2as(text) => Self::Pfx2as,
            () => Self::Text,
        })
    }
}

/// Reads a list of prefixes, addresses and ranges, compressed or not.
pub fn read_list(bytes: &[u8]) -> Result<Parsed, SourceError> {
    if mrt::is_mrt(bytes) {
        return Err(SourceError::TableAsList("an MRT dump"));
    }
    let bytes = unpacked(bytes)?;
    Ok(match Format::of(&bytes)? {
        Format::Mmdb => return Err(SourceError::TableAsList("a MaxMind database")),
        Format::Ipverse => ipverse::parse_list(&bytes)?,
        Format::Ripestat => ripestat::parse_list(&bytes)?,
        Format::BgpTools => return Err(SourceError::TableAsList("bgp.tools' table of all routes")),
        Format::Spamhaus => spamhaus::parse(&bytes)?,
        Format::Vrps => return Err(SourceError::Vrps),
        Format::OtherJson => return Err(SourceError::OtherJson),
        Format::Geolite => return Err(SourceError::TableAsList("a CSV table of networks and their ASes")),
        Format::Pfx2as => return Err(SourceError::TableAsList("a table of routes and their origin ASes")),
        Format::Text => list::parse(&bytes)?,
    })
}

/// Reads the rows of the wanted ASes from an ASN table, compressed or not: text, `MaxMind` database or MRT dump.
///
/// A table that has rows but none of a wanted AS is no error: IPv4 and IPv6 often come in two tables.
pub fn read_asn_table(bytes: &[u8], wanted: &Wanted) -> Result<AsnTable, SourceError> {
    // Before unpacking: a dump is many times what may be unpacked at once.
    if mrt::is_mrt(bytes) {
        return Ok(mrt::parse(bytes, wanted)?);
    }
    let bytes = unpacked(bytes)?;
    let table = match Format::of(&bytes)? {
        Format::Mmdb => mmdb::parse(&bytes, wanted)?,
        Format::Ipverse => ipverse::parse(&bytes, wanted)?,
        Format::Ripestat => ripestat::parse(&bytes, wanted)?,
        Format::BgpTools => bgptools::parse(&bytes, wanted)?,
        Format::Spamhaus => return Err(spamhaus::parse(&bytes).map_or_else(Into::into, |_| SourceError::DropAsTable)),
        Format::Vrps => return Err(SourceError::Vrps),
        Format::OtherJson => return Err(SourceError::OtherJson),
        Format::Geolite => geolite::parse(&bytes, wanted)?,
        Format::Pfx2as => pfx2as::parse(&bytes, wanted)?,
        Format::Text => asn_table::parse(&bytes, wanted)?,
    };
    if table.rows == 0 { Err(SourceError::NoRows) } else { Ok(table) }
}

/// Reads RPKI VRPs from the JSON of rpki-client or Routinator, gzip-compressed or not: each prefix with the AS that may
/// announce it. AS0 is kept: a prefix of AS0 nobody may announce (RFC 6483 section 4).
pub fn read_vrps(bytes: &[u8]) -> Result<Prefixes, SourceError> {
    let bytes = unpacked(bytes)?;
    match Format::of(&bytes)? {
        Format::Vrps => Ok(vrp::parse(&bytes)?),
        _ => Err(SourceError::NotVrps),
    }
}

/// The content of `bytes` without its compression; archives of several files are refused by name.
fn unpacked(bytes: &[u8]) -> Result<Cow<'_, [u8]>, SourceError> {
    let content = if gzip::is_gzip(bytes) {
        Cow::Owned(gzip::inflate(bytes, gzip::LIMIT)?)
    } else if bzip::is_bzip2(bytes) {
        Cow::Owned(bzip::inflate(bytes, gzip::LIMIT)?)
    } else {
        Cow::Borrowed(bytes)
    };
    // POSIX ustar: the magic at byte 257. Zip: the local file header's signature (APPNOTE 4.3.7).
    if content.get(257..262) == Some(b"ustar") {
        return Err(SourceError::Archive("tar"));
    }
    if content.starts_with(b"PK\x03\x04") {
        return Err(SourceError::Archive("zip"));
    }
    Ok(content)
}

/// `text` in quotes for an error line: at most 60 characters, nothing in it that a terminal would act on.
fn quoted(text: &[u8]) -> String {
    const SHOWN: usize = 60;
    if let Ok(text) = std::str::from_utf8(text) {
        let shown: String = text.chars().take(SHOWN).collect();
        let more = if shown.len() < text.len() { "..." } else { "" };
        format!("{:?}", shown + more)
    } else {
        let shown = text.get(..SHOWN).unwrap_or(text);
        let more = if shown.len() < text.len() { "..." } else { "" };
        format!("\"{}{more}\"", shown.escape_ascii())
    }
}

/// An organisation's name as a table gives it; feeds are not trusted to keep terminal escapes out of names.
fn organisation(name: &[u8]) -> String {
    String::from_utf8_lossy(name.trim_ascii()).replace(char::is_control, " ")
}

/// The text without the byte order mark that some editors put in front.
fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// The lines with their numbers from 1, without their ends; those with nothing in them are left out.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let lines = without_bom(bytes).split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    (1..).zip(lines).filter(|(_, line)| !line.trim_ascii().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::Listed;

    #[test]
    fn a_table_without_an_origin_as_has_no_rows() {
        for text in ["", "# only a comment\n", "1.0.0.0\t1.0.0.255\t0\tNone\tNot routed\n"] {
            let error = read_asn_table(text.as_bytes(), &Wanted::All).unwrap_err();
            assert_eq!(error.to_string(), "no rows: the ASN table names no origin AS; download it again");
        }
    }

    #[test]
    fn a_table_without_a_wanted_as_is_accepted() {
        let table = read_asn_table(b"1.0.0.0,1.0.0.255,13335,Cloudflare\n", &Wanted::Only([1].into())).unwrap();
        assert_eq!((table.rows, table.parsed.prefixes.is_empty(), table.organisations.len()), (1, true, 0));
    }

    #[test]
    fn compressed_lists_are_read_like_plain_ones() {
        let parsed = read_list(&gzip::tests::compressed(b"192.0.2.0/24\n")).unwrap();
        assert_eq!(parsed.prefixes.v4, [Listed { first: 0xc000_0200, last: 0xc000_02ff, asn: 0 }]);
    }

    const VRPS: &str = r#"{"roas":[{"asn":7,"prefix":"192.0.2.0/24","maxLength":24}]}"#;
    const NET: Listed<u32> = Listed { first: 0xc000_0200, last: 0xc000_02ff, asn: 7 };

    /// One source of each text format, with 192.0.2.0/24 of AS7 in it.
    const SOURCES: [(Format, &str); 10] = [
        (Format::Ipverse, r#"{"asn":7,"prefixes":{"ipv4":["192.0.2.0/24"]}}"#),
        (
            Format::Ripestat,
            r#"{"status":"ok","status_code":200,"data":{"resource":"7","latest_time":"t","prefixes":[
                {"prefix":"192.0.2.0/24","timelines":[{"endtime":"t"}]}]}}"#,
        ),
        (Format::BgpTools, r#"{"CIDR":"192.0.2.0/24","ASN":7,"Hits":100}"#),
        (Format::Spamhaus, "{\"cidr\":\"192.0.2.0/24\"}\n{\"type\":\"metadata\",\"records\":1}"),
        (Format::Vrps, VRPS),
        (Format::OtherJson, r#"[{"prefix":"192.0.2.0/24","asn":7}]"#),
        (Format::Geolite, "network,autonomous_system_number,autonomous_system_organization\n192.0.2.0/24,7,\"X\"\n"),
        (Format::Pfx2as, "192.0.2.0\t24\t7\n"),
        (Format::Text, "192.0.2.0,192.0.2.255,7,X\n"),
        (Format::Text, "192.0.2.0/24\n"),
    ];

    #[test]
    fn each_format_is_known_by_its_content_whatever_the_compression_and_line_ends() {
        for (format, text) in SOURCES {
            for text in [text.to_owned(), text.replace('\n', "\r\n"), format!("\u{feff}{text}"), format!("\n {text}\n")]
            {
                let spaced = text.starts_with("\n ");
                assert_eq!(Format::of(text.as_bytes()).unwrap(), format, "{text}");
                for bytes in [text.as_bytes().to_vec(), gzip::tests::compressed(text.as_bytes())] {
                    let table = read_asn_table(&bytes, &Wanted::Only([7].into()));
                    match format {
                        Format::Spamhaus | Format::Vrps | Format::OtherJson => assert!(table.is_err(), "{text}"),
                        Format::Text if !text.contains(',') => assert!(table.is_err(), "{text}"),
                        // The header and the first column of a CSV table start their line.
                        Format::Geolite | Format::Text if spaced => (),
                        _ => assert_eq!(table.unwrap().parsed.prefixes.v4, [NET], "{text}"),
                    }
                    let list = read_list(&bytes);
                    match format {
                        Format::Ipverse | Format::Ripestat => assert_eq!(list.unwrap().prefixes.v4, [NET], "{text}"),
                        Format::Spamhaus => assert_eq!(list.unwrap().prefixes.v4, [Listed { asn: 0, ..NET }], "{text}"),
                        Format::Text if !text.contains(',') => assert_eq!(list.unwrap().prefixes.v4.len(), 1, "{text}"),
                        _ => assert!(list.is_err(), "{text}"),
                    }
                    assert_eq!(read_vrps(&bytes).is_ok(), format == Format::Vrps, "{text}");
                }
            }
        }
    }

    #[test]
    fn a_source_in_the_place_of_another_is_refused_with_a_remedy() {
        let list = |text: &str| read_list(text.as_bytes()).unwrap_err().to_string();
        let table = |text: &str| read_asn_table(text.as_bytes(), &Wanted::All).unwrap_err().to_string();
        let text = |format| SOURCES.iter().find(|source| source.0 == format).unwrap().1;
        for (format, what) in [
            (Format::BgpTools, "bgp.tools' table of all routes"),
            (Format::Geolite, "a CSV table of networks and their ASes"),
            (Format::Pfx2as, "a table of routes and their origin ASes"),
        ] {
            let says = format!("is {what}, not a list; name it under [asn] tables and its AS numbers in a rule");
            assert_eq!(list(text(format)), says);
        }
        assert_eq!(
            table(text(Format::Spamhaus)),
            "is Spamhaus DROP, a list that names no AS; name it in a rule's `files`"
        );
        let says = "is a list of RPKI VRPs, which says who may announce a prefix and not who does; use a prefix list or \
                    an ASN table here";
        assert_eq!((list(VRPS), table(VRPS)), (says.to_owned(), says.to_owned()));
        let says = "is JSON of no kind that is read: ipverse aggregated.json, RIPEstat announced-prefixes, Spamhaus DROP \
                    (as a list), bgp.tools table.jsonl (as an ASN table); use one of these, or the text form of this \
                    source";
        for json in ["{}", "[]", r#"{"a": 1}"#, r#"{"prefixes":[{"ip_prefix":"192.0.2.0/24"}]}"#] {
            assert_eq!((list(json), table(json)), (says.to_owned(), says.to_owned()));
        }
        let vrps = read_vrps(b"192.0.2.0/24\n").unwrap_err().to_string();
        assert_eq!(
            vrps,
            "is no JSON with RPKI VRPs under `roas`; use what rpki-client or Routinator write with their json output"
        );
        for html in ["<!DOCTYPE html>\n<html>", "<html>"] {
            assert!(
                list(html).contains("is a web page, not a list")
                    && table(html).contains("is a web page, not an ASN table")
            );
            assert!(read_vrps(html.as_bytes()).is_err());
        }
    }

    #[test]
    fn an_answer_without_a_prefix_is_no_list_either_where_it_is_about_one_as() {
        let text = r#"{"status":"ok","status_code":200,"data":{"resource":"7","latest_time":"t","prefixes":[]}}"#;
        let error = read_list(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(error, "RIPEstat lists no prefix that AS7 announces now; check the AS number");
    }

    #[test]
    fn an_answer_without_a_prefix_is_no_table() {
        for text in [
            r#"{"asn":7,"prefixes":{"ipv4":[],"ipv6":[]}}"#,
            r#"{"status":"ok","status_code":200,"data":{"resource":"7","latest_time":"t","prefixes":[]}}"#,
            r#"{"CIDR":"192.0.2.0/24","ASN":7,"Hits":99}"#,
            "network,asn\n",
            "192.0.2.0/24\t{7}\n",
        ] {
            assert_eq!(read_asn_table(text.as_bytes(), &Wanted::All), Err(SourceError::NoRows), "{text}");
        }
    }

    /// A megabyte each: what takes time or memory by the square of its length does not end.
    #[test]
    fn hostile_sources_end_soon_in_one_short_line() {
        const SIZE: usize = 1 << 20;
        let fill = |start: &str, filling: &str| start.to_owned() + &filling.repeat(SIZE / filling.len());
        let mut hostile = vec![
            fill("", "["),
            fill("", "{\"a\":"),
            fill("", "\0"),
            fill("", "\u{feff}"),
            fill("", "\""),
            fill("", "_"),
            fill("", "\t"),
            fill("", ","),
            fill("", "#"),
            fill("", "# Entries : 1 unique IPs\n"),
            fill("", "1.1.1.1/8\n"),
            fill("192.0.2.0/24\t", "1_"),
            fill("192.0.2.0/24\t", "_"),
            fill("192.0.2.0/24\t", "{"),
            fill("", "::/0\t1_2_3\n"),
            fill("", "::1/0\t{1}\n"),
            fill("", "0.0.0.0\t0\t1\n"),
            fill("", "0.0.0.0\t"),
            fill("network,asn\n", "\""),
            fill("network,asn\n192.0.2.0/24,\"", "\"\""),
            fill("network,asn\n", ","),
            fill("network,asn\n", "::1/0,1\n"),
            fill("network,asn,as_name\n", "::1/0,1,\"a\"\n"),
            fill("network,asn,", "asn,"),
            fill("{", "\"a\":1,"),
            fill("{\"data\":1,", "\"asn\":1,"),
            fill("{\"", "\\u0000"),
            fill("{\"roas\":", "["),
            fill("{\"roas\":[", "[],"),
            fill("{\"roas\":[{\"x\":", "["),
            fill("{\"roas\":[{\"asn\":\"", "\u{200b}"),
            fill("{\"roas\":[{\"prefix\":\"", "\\u0000"),
            fill("{\"roas\":[", "{\"asn\":1,\"prefix\":\"::/0\"},"),
            fill("{\"roas\":[{\"asn\":1,\"prefix\":\"::1/0\"},", "{},"),
            fill("{\"roas\":[{\"asn\":1,\"prefix\":\"::1/0\"},", "["),
            fill("{\"asn\":1,\"prefixes\":{\"ipv4\":", "["),
            fill("{\"asn\":1,\"prefixes\":{\"ipv4\":[", "\"::1/0\","),
            fill("{\"asn\":1,\"prefixes\":{\"ipv4\":[\"", "1"),
            fill("{\"asn\":1,\"subnets\":{\"x\":", "{\"x\":"),
            fill("{\"data\":{\"prefixes\":[", "[],"),
            fill("", "{\"CIDR\":\"::1/0\",\"ASN\":1,\"Hits\":1}\n"),
            fill("", "{\"CIDR\":\"::1/0\",\"ASN\":1,\"Hits\":100}\n"),
            fill("{\"CIDR\":\"", "\u{1b}"),
            fill("{\"CIDR\":0,\"ASN\":", "9"),
            fill("", "{\"cidr\":\"::1/0\"}\n"),
            fill("{\"cidr\":1}\n", "{\n"),
            fill("{\"type\":\"metadata\",\"records\":", "1"),
            fill(
                "{\"type\":\"metadata\",\"records\":1}\n",
                "{\"type\":\"metadata\",\"records\":18446744073709551615}\n",
            ),
        ];
        hostile.push(format!(
            "{{\"status\":\"error\",\"status_code\":400,\"data\":1,\"messages\":[{}[\"\",\"\"]]}}",
            fill("", "[\"error\",\"no\"],")
        ));
        let patterns = vec![NamePattern::new("a b").unwrap()];
        for text in hostile {
            let start: String = text.chars().take(80).collect();
            let results = [
                read_list(text.as_bytes()).map(|parsed| parsed.warnings.len()),
                read_asn_table(text.as_bytes(), &Wanted::All).map(|table| table.parsed.warnings.len()),
                read_asn_table(text.as_bytes(), &Wanted::Named([1].into(), patterns.clone()))
                    .map(|table| table.parsed.warnings.len()),
                read_vrps(text.as_bytes()).map(|_| 0),
            ];
            for result in results {
                match result {
                    Ok(warnings) => assert!(warnings <= 21, "{start:?}: {warnings}"),
                    Err(error) => {
                        let error = error.to_string();
                        assert!(error.len() < 1000 && !error.contains(char::is_control), "{start:?}: {error}");
                    }
                }
            }
        }
    }

    #[test]
    fn archives_are_refused_by_name() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        let error = read_asn_table(&gzip::tests::compressed(&tar), &Wanted::All).unwrap_err();
        assert_eq!(error.to_string(), "is a tar archive; unpack it and name the file inside");
        let error = read_list(b"PK\x03\x04rest").unwrap_err();
        assert_eq!(error.to_string(), "is a zip archive; unpack it and name the file inside");
    }

    #[test]
    fn errors_of_a_format_pass_through_unchanged() {
        let error = read_list(b"10.0.0.0/33").unwrap_err();
        assert!(error.to_string().starts_with("line 1: \"10.0.0.0/33\" "), "{error}");
    }

    #[test]
    fn offending_text_is_shortened_and_escaped() {
        assert_eq!(quoted(b"a\x1b[31m\"b"), r#""a\u{1b}[31m\"b""#);
        assert_eq!(quoted("é".repeat(61).as_bytes()), format!("\"{}...\"", "é".repeat(60)));
        assert_eq!(quoted(b"10.0.0.0\xff"), r#""10.0.0.0\xff""#);
        assert_eq!(quoted(&[0xff; 61]), format!("\"{}...\"", r"\xff".repeat(60)));
        assert_eq!(organisation(b" Evil \x1b]0;x\x07 Corp "), "Evil  ]0;x  Corp");
    }
}
