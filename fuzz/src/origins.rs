//! Any bytes as a table of what ASes originate, in each format; and routes whose owner the longest match decides.
//!
//! Input: a byte for the format (`run`), then the document. A table that is read for all ASes says of some of them what it
//! says when it is read for these alone. Routes are made of bytes: four each for prefix, length and AS.

use std::collections::BTreeSet;
use std::fmt::{Display, Write as _};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use weir::prefix::{Address, Asn, Listed};
use weir::source::announced::Announced;
use weir::source::{
    AsnTable, NamePattern, Wanted, asn_table, bgptools, geolite, ipverse, mmdb, pfx2as, read_asn_table, ripestat,
};

use crate::bytes::Bytes;
use crate::{judge, lists};

/// See the file's first lines.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    let format = bytes.byte();
    if format % 9 == 8 {
        return longest_match(&mut bytes);
    }
    let document = bytes.rest();
    match format % 9 {
        0 => table(document, read_asn_table),
        1 => text_table(document),
        2 => table(document, geolite::parse),
        3 => table(document, pfx2as::parse),
        4 => table(document, bgptools::parse),
        5 => table(document, ipverse::parse),
        6 => table(document, ripestat::parse),
        _ => table(document, mmdb::parse),
    }
}

/// Reads a document for all ASes, and for some of them.
pub(crate) fn table<E: Display>(document: &[u8], read: impl Fn(&[u8], &Wanted) -> Result<AsnTable, E>) {
    let all = match read(document, &Wanted::All) {
        Ok(all) => all,
        Err(refused) => return drop(judge::line(refused)),
    };
    judge::table(&all, lists::unpacked(document));
    // Every other AS that there is, and one that there is not.
    let asns: BTreeSet<Asn> = judge::asns(&all.parsed.prefixes).into_iter().step_by(2).chain([4_199_999_999]).collect();
    let some = read(document, &Wanted::Only(asns.clone())).unwrap_or_else(|refused| panic!("not for some: {refused}"));
    judge::table(&some, lists::unpacked(document));
    assert_eq!(judge::of_ases(&some.parsed.prefixes, &asns), judge::of_ases(&all.parsed.prefixes, &asns));
    assert!(judge::asns(&some.parsed.prefixes).is_subset(&asns), "an AS that was not asked for");
    assert_eq!(some.rows, all.rows, "rows are counted whoever is asked for");
    for asn in &asns {
        assert_eq!(some.organisations.get(asn), all.organisations.get(asn), "the name of AS{asn}");
    }
    // By name: whoever has it, and nobody who has another.
    let Some((pattern, name)) = all.organisations.values().find_map(|name| Some((NamePattern::new(name)?, name)))
    else {
        return;
    };
    if let Ok(named) = read(document, &Wanted::Named(BTreeSet::new(), vec![pattern.clone()])) {
        judge::table(&named, lists::unpacked(document));
        assert!(named.organisations.values().any(|found| found == name), "nobody is called {name:?}");
    }
}

/// The text form of what was read says the same.
fn text_table(document: &[u8]) {
    table(document, asn_table::parse);
    let Ok(all) = asn_table::parse(document, &Wanted::All) else { return };
    let mut text = String::new();
    for Listed { first, last, asn } in &all.parsed.prefixes.v4 {
        writeln!(text, "{},{},{asn}", first.to_ip(), last.to_ip()).unwrap();
    }
    for Listed { first, last, asn } in &all.parsed.prefixes.v6 {
        writeln!(text, "{},{},AS{asn}", first.to_ip(), last.to_ip()).unwrap();
    }
    assert_eq!(asn_table::parse(text.as_bytes(), &Wanted::All).unwrap().parsed, all.parsed);
}

/// Routes by the longest match, held against a question of every route for every address of interest.
fn longest_match(bytes: &mut Bytes<'_>) {
    let mut routes: Vec<(IpNet, Asn)> = Vec::new();
    while !bytes.is_empty() && routes.len() < 64 {
        let (high, low, length, asn) = (bytes.byte(), bytes.byte(), bytes.byte(), bytes.byte() % 5);
        // Prefixes around a few places, so that they lie in each other.
        let net: IpNet = if length & 0x80 == 0 {
            Ipv4Net::new(Ipv4Addr::new(10, high % 4, low, high), length % 33).unwrap().trunc().into()
        } else {
            let bits = 0x2001_0db8 << 96 | u128::from(high % 4) << 80 | u128::from(low) << 60 | u128::from(high);
            Ipv6Net::new(bits.into(), (length & 0x7f) + 1).unwrap().trunc().into()
        };
        routes.push((net, asn.into()));
    }
    let mut announced = Announced::default();
    for &(net, asn) in &routes {
        announced.push(net, asn);
    }
    let prefixes = announced.origins(&Wanted::All);
    disjoint(&prefixes.v4);
    disjoint(&prefixes.v6);
    let ends = routes.iter().flat_map(|(net, _)| [net.network(), net.broadcast()]).flat_map(near);
    for address in ends.collect::<BTreeSet<IpAddr>>() {
        let found: BTreeSet<Asn> = match address {
            IpAddr::V4(address) => owners(&prefixes.v4, address.into()),
            IpAddr::V6(address) => owners(&prefixes.v6, address.into()),
        };
        let around = || routes.iter().filter(|(net, _)| net.contains(&address));
        let longest = around().map(|(net, _)| net.prefix_len()).max();
        let of_longest = around().filter(|(net, asn)| Some(net.prefix_len()) == longest && *asn != 0);
        assert_eq!(found, of_longest.map(|(_, asn)| *asn).collect(), "{address} of {routes:?}");
    }
}

fn near(address: IpAddr) -> Vec<IpAddr> {
    fn around<A: Address>(address: A) -> Vec<IpAddr> {
        [address.previous(), Some(address), address.next()].into_iter().flatten().map(Address::to_ip).collect()
    }
    match address {
        IpAddr::V4(address) => around(u32::from(address)),
        IpAddr::V6(address) => around(u128::from(address)),
    }
}

fn owners<A: Address>(ranges: &[Listed<A>], address: A) -> BTreeSet<Asn> {
    let holding = ranges.iter().filter(|range| range.first <= address && address <= range.last);
    holding.map(|range| range.asn).collect()
}

/// The ranges of one AS neither overlap nor touch.
fn disjoint<A: Address>(ranges: &[Listed<A>]) {
    for asn in ranges.iter().map(|range| range.asn).collect::<BTreeSet<Asn>>() {
        let mut own: Vec<_> = ranges.iter().filter(|range| range.asn == asn).collect();
        own.sort_unstable();
        let apart = |pair: &[&Listed<A>]| pair[0].last.next().is_some_and(|after| after < pair[1].first);
        assert!(own.windows(2).all(apart), "AS{asn}: {own:?}");
    }
}
