//! `Packet::parse` against etherparse (`oracle`): what weir takes for an IP packet, and where it finds the addresses.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod oracle;

use etherparse::{
    EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6FragmentHeader, Ipv6Header,
    NetSlice, SingleVlanHeader, SlicedPacket, VlanId,
};
use filter_common::packet::{Layer, Protocol};
use oracle::{IPV4, IPV6, PPPOE_SESSION, TPIDS, expected, parsed};
use proptest::prelude::*;

/// A frame's link headers: tags with their TPID, then perhaps the first two bytes of a PPPoE header.
#[derive(Clone, Debug)]
struct Link {
    tags: Vec<u16>,
    pppoe: Option<[u8; 2]>,
}

const PLAIN: Link = Link { tags: Vec::new(), pppoe: None };
const PPPOE: Link = Link { tags: Vec::new(), pppoe: Some([0x11, 0]) };

fn tagged(tags: &[u16]) -> Link {
    Link { tags: tags.to_vec(), pppoe: None }
}

/// `packet` behind `link`, said to be of type `ethertype`.
fn framed(link: &Link, ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let payload = if link.pppoe.is_some() { PPPOE_SESSION } else { ethertype };
    let mut types = link.tags.iter().copied().chain([payload]).map(EtherType);
    let ethernet = Ethernet2Header { source: [2; 6], destination: [4; 6], ether_type: types.next().unwrap() };
    let mut bytes = ethernet.to_bytes().to_vec();
    for (id, ether_type) in (1..).zip(types) {
        let tag = SingleVlanHeader { vlan_id: VlanId::try_new(id).unwrap(), ether_type, ..Default::default() };
        bytes.extend(tag.to_bytes());
    }
    if let Some(version_and_code) = link.pppoe {
        bytes.extend(version_and_code);
        bytes.extend([0, 7, 0, 99]);
        bytes.extend(match ethertype {
            IPV4 => [0x00, 0x21],
            IPV6 => [0x00, 0x57],
            // LCP.
            _ => [0xc0, 0x21],
        });
    }
    bytes.extend(packet);
    bytes
}

fn ipv4(options: &[u8], fragment: u16) -> Vec<u8> {
    let mut header = Ipv4Header::new(8, 64, IpNumber::UDP, [192, 0, 2, 1], [198, 51, 100, 2]).unwrap();
    header.options = Ipv4Options::try_from(options).unwrap();
    header.fragment_offset = IpFragOffset::try_new(fragment).unwrap();
    header.set_payload_len(8).unwrap();
    [&header.to_bytes()[..], &[1, 2, 3, 4, 0, 8, 0, 0]].concat()
}

fn ipv6(fragment: Option<u16>) -> Vec<u8> {
    let next_header = if fragment.is_some() { IpNumber::IPV6_FRAGMENTATION_HEADER } else { IpNumber::UDP };
    let payload_length = if fragment.is_some() { 16 } else { 8 };
    let mut destination = [0xfe; 16];
    destination[15] = 9;
    let header = Ipv6Header {
        payload_length,
        next_header,
        source: [0x20; 16],
        destination,
        hop_limit: 64,
        ..Default::default()
    };
    let mut bytes = header.to_bytes().to_vec();
    if let Some(offset) = fragment {
        let offset = IpFragOffset::try_new(offset).unwrap();
        bytes.extend(Ipv6FragmentHeader::new(IpNumber::UDP, offset, true, 5).to_bytes());
    }
    bytes.extend([1, 2, 3, 4, 0, 8, 0, 0]);
    bytes
}

/// The frame is one of `protocol`, and so say etherparse and, where it can, etherparse's walk over the whole packet.
#[track_caller]
fn assert_found(frame: &[u8], layer: Layer, protocol: Protocol) {
    let found = parsed(frame, layer);
    assert_eq!(found.protocol, protocol, "{frame:02x?}");
    assert_eq!(found, expected(frame, layer), "{frame:02x?}");
    let whole = match layer {
        Layer::Ethernet => SlicedPacket::from_ethernet(frame),
        Layer::Ip => SlicedPacket::from_ip(frame),
    };
    let addresses = match whole.ok().and_then(|whole| whole.net) {
        Some(NetSlice::Ipv4(ip)) => (ip.header().source().to_vec(), ip.header().destination().to_vec()),
        Some(NetSlice::Ipv6(ip)) => (ip.header().source().to_vec(), ip.header().destination().to_vec()),
        _ => return,
    };
    assert_eq!(found.addresses, Some(addresses), "{frame:02x?}");
}

#[test]
fn an_ip_packet_is_found_behind_ethernet_and_on_raw_ip_devices() {
    assert_found(&framed(&PLAIN, IPV4, &ipv4(&[], 0)), Layer::Ethernet, Protocol::Ipv4);
    assert_found(&framed(&PLAIN, IPV6, &ipv6(None)), Layer::Ethernet, Protocol::Ipv6);
    assert_found(&ipv4(&[], 0), Layer::Ip, Protocol::Ipv4);
    assert_found(&ipv6(None), Layer::Ip, Protocol::Ipv6);
}

#[test]
fn an_ip_packet_is_found_behind_one_to_four_tags_of_every_type() {
    for first in TPIDS {
        for second in TPIDS {
            let tags = [first, second, second, first];
            for count in 1..=4 {
                let link = tagged(&tags[..count]);
                assert_found(&framed(&link, IPV4, &ipv4(&[], 0)), Layer::Ethernet, Protocol::Ipv4);
                assert_found(&framed(&link, IPV6, &ipv6(None)), Layer::Ethernet, Protocol::Ipv6);
            }
        }
    }
}

#[test]
fn a_frame_with_five_tags_is_not_ip_even_when_it_ends_there() {
    let frame = framed(&tagged(&[0x8100; 5]), IPV4, &ipv4(&[], 0));
    assert_found(&frame, Layer::Ethernet, Protocol::NotIp);
    // Ethernet and four tags are 30 bytes; what the fourth names is a tag and no IP packet.
    assert_found(&frame[..30], Layer::Ethernet, Protocol::NotIp);
    assert_found(&frame[..29], Layer::Ethernet, Protocol::Truncated);
}

#[test]
fn an_ip_packet_is_found_in_a_pppoe_session_also_inside_tags() {
    for tags in [&[][..], &[0x88a8], &[0x88a8, 0x8100], &[0x9100, 0x88a8, 0x8100, 0x8100]] {
        let link = Link { tags: tags.to_vec(), ..PPPOE };
        assert_found(&framed(&link, IPV4, &ipv4(&[], 0)), Layer::Ethernet, Protocol::Ipv4);
        assert_found(&framed(&link, IPV6, &ipv6(None)), Layer::Ethernet, Protocol::Ipv6);
    }
}

#[test]
fn a_pppoe_header_of_another_version_type_or_code_or_with_lcp_is_not_ip() {
    for version_and_code in [[0x21, 0], [0x12, 0], [0x01, 0], [0x10, 0], [0x11, 0x09], [0x11, 0xa7]] {
        let link = Link { tags: vec![0x8100], pppoe: Some(version_and_code) };
        assert_found(&framed(&link, IPV4, &ipv4(&[], 0)), Layer::Ethernet, Protocol::NotIp);
        assert_found(&framed(&link, IPV6, &ipv6(None)), Layer::Ethernet, Protocol::NotIp);
    }
    assert_found(&framed(&PPPOE, 0, &ipv4(&[], 0)), Layer::Ethernet, Protocol::NotIp);
}

#[test]
fn a_version_that_is_none_or_not_the_ethertypes_is_not_ip() {
    for link in [PLAIN, PPPOE, tagged(&[0x8100, 0x88a8])] {
        // Long enough for an IPv6 header.
        assert_found(&framed(&link, IPV6, &ipv4(&[1; 12], 0)), Layer::Ethernet, Protocol::NotIp);
        assert_found(&framed(&link, IPV4, &ipv6(None)), Layer::Ethernet, Protocol::NotIp);
    }
    for version in (0..16).filter(|version| ![4, 6].contains(version)) {
        let mut packet = ipv6(None);
        packet[0] = version << 4 | 5;
        assert_found(&packet, Layer::Ip, Protocol::NotIp);
        assert_found(&framed(&PLAIN, IPV4, &packet), Layer::Ethernet, Protocol::NotIp);
        assert_found(&framed(&PLAIN, IPV6, &packet), Layer::Ethernet, Protocol::NotIp);
    }
}

#[test]
fn other_ethertypes_are_not_ip() {
    // A length (802.3), ARP, PPPoE discovery, EAPOL, LLDP, and neighbours of the known ones.
    for ethertype in [46, 1500, 0x0806, 0x8863, 0x888e, 0x88cc, 0x0801, 0x86dc, 0x8101, 0x88a9, 0x9101, 0x9200, 0x0008]
    {
        assert_found(&framed(&PLAIN, ethertype, &ipv4(&[], 0)), Layer::Ethernet, Protocol::NotIp);
        assert_found(&framed(&tagged(&[0x9100]), ethertype, &ipv6(None)), Layer::Ethernet, Protocol::NotIp);
    }
}

#[test]
fn options_and_fragments_do_not_move_the_addresses() {
    for words in 0..=10 {
        let packet = ipv4(&vec![1; words * 4], 0);
        assert_found(&packet, Layer::Ip, Protocol::Ipv4);
        assert_found(&framed(&PLAIN, IPV4, &packet), Layer::Ethernet, Protocol::Ipv4);
    }
    for offset in [1, 185, 8191] {
        assert_found(&framed(&PLAIN, IPV4, &ipv4(&[], offset)), Layer::Ethernet, Protocol::Ipv4);
        assert_found(&framed(&PLAIN, IPV6, &ipv6(Some(offset))), Layer::Ethernet, Protocol::Ipv6);
    }
}

#[test]
fn a_frame_cut_at_any_byte_is_truncated_until_the_fixed_part_of_its_ip_header_is_whole() {
    for (link, length) in [(PLAIN, 14), (tagged(&TPIDS), 26), (tagged(&[0x88a8; 4]), 30), (PPPOE, 22)] {
        for (ethertype, packet, protocol, fixed) in
            [(IPV4, ipv4(&[1; 8], 0), Protocol::Ipv4, 20), (IPV6, ipv6(Some(3)), Protocol::Ipv6, 40)]
        {
            let frame = framed(&link, ethertype, &packet);
            for end in 0..=frame.len() {
                let outcome = if end < length + fixed { Protocol::Truncated } else { protocol };
                assert_found(&frame[..end], Layer::Ethernet, outcome);
                let whole = parsed(&frame[..end], Layer::Ethernet).addresses.is_some();
                assert_eq!(whole, end >= length + fixed, "{end} bytes of {frame:02x?}");
            }
            for end in 0..=packet.len() {
                let outcome = if end < fixed { Protocol::Truncated } else { protocol };
                assert_found(&packet[..end], Layer::Ip, outcome);
            }
        }
    }
}

fn links() -> impl Strategy<Value = Link> {
    let tpid = prop_oneof![6 => prop::sample::select(&TPIDS[..]), 1 => any::<u16>()];
    let header = prop_oneof![6 => Just([0x11, 0]), 1 => any::<[u8; 2]>()];
    (prop::collection::vec(tpid, 0..=6), prop::option::weighted(0.4, header))
        .prop_map(|(tags, pppoe)| Link { tags, pppoe })
}

fn packets() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (0_usize..=10, 0_u16..8192).prop_map(|(words, fragment)| ipv4(&vec![1; words * 4], fragment)),
        prop::option::of(0_u16..8192).prop_map(ipv6),
        prop::collection::vec(any::<u8>(), 0..60),
    ]
}

fn ethertypes() -> impl Strategy<Value = u16> {
    prop_oneof![8 => Just(IPV4), 8 => Just(IPV6), 2 => prop::sample::select(&TPIDS[..]), 1 => Just(PPPOE_SESSION),
        1 => any::<u16>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_frames_are_read_as_etherparse_reads_them(
        link in links(),
        ethertype in ethertypes(),
        packet in packets(),
        layer in prop::sample::select(&[Layer::Ethernet, Layer::Ethernet, Layer::Ip][..]),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        end in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        let mut frame = if layer == Layer::Ethernet { framed(&link, ethertype, &packet) } else { packet };
        for (at, byte) in flips {
            if !frame.is_empty() {
                let at = at.index(frame.len().min(48));
                frame[at] = byte;
            }
        }
        frame.truncate(end.map_or(frame.len(), |end| end.index(frame.len() + 1)));
        prop_assert_eq!(parsed(&frame, layer), expected(&frame, layer), "{:02x?}", frame);
    }
}
