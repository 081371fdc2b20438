//! Where the tests of MRT dumps find real ones, and what bgpkit-parser, their oracle, says of them. Judges nothing.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::{env, fs};

use bgpkit_parser::models::{AsPath, AsPathSegment, MrtMessage, NetworkPrefix, TableDumpV2Message};
use bgpkit_parser::{ParserError, RawMrtRecord, chunk_mrt_record};
use ipnet::IpNet;
use weir::prefix::Asn;

/// The slices of whole dumps: IPv4 of 2014, IPv6 of 2015, IPv4 of 2008 in the older format. Each is cut at 1 MB.
pub(crate) const SLICES: [&str; 3] = [
    "pyasn/rib.20140523.0600_firstMB.bz2",
    "pyasn/rib6.20151101.0600_firstMB.bz2",
    "pyasn/rib.20080501.0644_firstMB.bz2",
];

/// Tells the person, and the test runner in the form that it counts, that a test could not run.
pub(crate) fn skip(test: &str, why: &str) {
    let line = format!("skipped: {test}: {why}\n");
    eprint!("{line}");
    if let Some(log) = env::var_os("WEIR_SKIPPED") {
        OpenOptions::new().create(true).append(true).open(log).unwrap().write_all(line.as_bytes()).unwrap();
    }
}

/// The files at `paths` of the set "mrt"; `None`, and skipped, where one is absent.
pub(crate) fn files<const N: usize>(test: &str, paths: [&str; N]) -> Option<[Vec<u8>; N]> {
    let data = env::var_os("WEIR_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let mut contents = [const { Vec::new() }; N];
    for (content, path) in contents.iter_mut().zip(paths) {
        let path = data.join("mrt").join(path);
        match fs::read(&path) {
            Ok(bytes) => *content = bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                skip(test, &format!("{} not found", path.display()));
                return None;
            }
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
    Some(contents)
}

/// What a file holds without its compression, as far as a cut stream goes.
pub(crate) fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut source: Box<dyn Read + '_> = match bytes {
        [b'B', b'Z', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(bytes)),
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(bytes)),
        _ => Box::new(bytes),
    };
    let mut content = Vec::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match source.read(&mut piece) {
            Ok(0) => return content,
            Ok(read) => content.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return content,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The whole records of an unpacked dump.
pub(crate) fn records(mut unpacked: &[u8]) -> Vec<RawMrtRecord> {
    std::iter::from_fn(|| chunk_mrt_record(&mut unpacked).ok()).collect()
}

/// Each route of a record, its path joined from `AS_PATH` and `AS4_PATH` where that is due.
pub(crate) fn routes(record: RawMrtRecord) -> Result<Vec<(IpNet, Option<AsPath>)>, ParserError> {
    let net = |prefix: NetworkPrefix| prefix.prefix.trunc();
    Ok(match record.parse()?.message {
        MrtMessage::TableDumpMessage(route) => vec![(net(route.prefix), route.attributes.effective_as_path())],
        MrtMessage::TableDumpV2Message(TableDumpV2Message::RibAfi(rib)) => {
            // In this format AS_PATH has long numbers, so an AS4_PATH has no place (RFC 6793 section 4.1).
            let path = |route: bgpkit_parser::models::RibEntry| route.attributes.as_path().cloned();
            rib.rib_entries.into_iter().map(|route| (net(rib.prefix), path(route))).collect()
        }
        _ => Vec::new(),
    })
}

/// The origin of a path: `None` where it names none, or one that stands for no network.
pub(crate) fn origin(path: Option<&AsPath>) -> Option<Asn> {
    let Some(AsPathSegment::AsSequence(asns)) = path?.segments.last() else { return None };
    asns.last().map(bgpkit_parser::models::Asn::to_u32).filter(|&asn| asn != 0 && asn != 23456)
}
