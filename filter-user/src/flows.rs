//! The router's live flows, as connection tracking lists them: a plan says which of them its rules would hit. Pure: the
//! text is an argument, [`crate::network`] reads it.
//!
//! One flow a line, as `ct_seq_show` in the kernel's `net/netfilter/nf_conntrack_standalone.c` writes it: family and
//! protocol, each as name and number, seconds left (not for offloaded flows) and state, then the tuple of the direction
//! that began it, its counters (with `net.netfilter.nf_conntrack_acct`), and both again for replies, flags in between.

use std::net::IpAddr;
use std::str::FromStr;

/// The most lines that are read: what connection tracking holds at most where nobody raised its limit (`nf_conntrack_max`
/// on machines with much memory).
pub const MAX_LINES: usize = 262_144;

/// A flow between two hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The IP protocol number: 6 is TCP.
    pub protocol: u8,
    /// Who began it: the source of its first packet, before any address translation.
    pub client: IpAddr,
    /// Whom it was for: the destination of its first packet, before any address translation.
    pub server: IpAddr,
    /// Ports of client and server; `None` where the protocol has none.
    pub ports: Option<(u16, u16)>,
    /// Bytes of both directions, IP headers included; `None` where the kernel does not count (its default). Packets that
    /// hardware forwards are counted where the driver reports them.
    pub bytes: Option<u64>,
    /// A flow table or the hardware forwards its packets; they skip the firewall, and with hardware the hooks of weir.
    pub offloaded: bool,
}

/// What the list says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flows {
    /// The flows, in the kernel's order.
    pub flows: Vec<Flow>,
    /// Lines that say no flow that can be understood.
    pub skipped: u64,
    /// There are more lines than [`MAX_LINES`]; the rest is not in here.
    pub cut: bool,
}

/// Reads the text of `/proc/net/nf_conntrack`.
#[must_use]
pub fn parse(text: &str) -> Flows {
    let mut found = Flows::default();
    let mut lines = text.lines();
    for line in lines.by_ref().take(MAX_LINES) {
        match parse_line(line) {
            Some(flow) => found.flows.push(flow),
            None => found.skipped += 1,
        }
    }
    found.cut = lines.next().is_some();
    found
}

fn parse_line(line: &str) -> Option<Flow> {
    let mut words = line.split_ascii_whitespace();
    let protocol = words.nth(3)?.parse().ok()?;
    let (mut client, mut server, mut source_port, mut destination_port) = (None, None, None, None);
    let (mut bytes, mut offloaded) = (None, false);
    for word in words {
        match word.split_once('=') {
            Some(("src", value)) => first(&mut client, value)?,
            Some(("dst", value)) => first(&mut server, value)?,
            Some(("sport", value)) => first(&mut source_port, value)?,
            Some(("dport", value)) => first(&mut destination_port, value)?,
            Some(("bytes", value)) => bytes = Some(value.parse::<u64>().ok()?.saturating_add(bytes.unwrap_or(0))),
            None if word == "[OFFLOAD]" || word == "[HW_OFFLOAD]" => offloaded = true,
            _ => {}
        }
    }
    let (client, server): (IpAddr, IpAddr) = (client?, server?);
    if client.is_ipv4() != server.is_ipv4() || source_port.is_some() != destination_port.is_some() {
        return None;
    }
    Some(Flow { protocol, client, server, ports: source_port.zip(destination_port), bytes, offloaded })
}

/// Keeps the value that comes first, that of the direction which began the flow; `None` where it cannot be read.
fn first<T: FromStr>(place: &mut Option<T>, value: &str) -> Option<()> {
    let value = value.parse().ok()?;
    place.get_or_insert(value);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Lines of Linux 6.18, and of the documentation of the flow table infrastructure (`[OFFLOAD]`).
    const REAL: &str = "\
ipv4     2 tcp      6 431999 ESTABLISHED src=192.168.1.7 dst=71.18.1.1 sport=40001 dport=443 packets=3 bytes=324 \
src=71.18.1.1 dst=203.0.113.9 sport=443 dport=61001 packets=2 bytes=152 [ASSURED] mark=0 zone=0 use=2
ipv6     10 tcp      6 432000 ESTABLISHED src=fd66:0000:0000:0000:0000:0000:0000:0002 \
dst=2605:0340:0000:0000:0000:0000:0000:0001 sport=43342 dport=7777 \
src=2605:0340:0000:0000:0000:0000:0000:0001 dst=fd66:0000:0000:0000:0000:0000:0000:0002 sport=7777 dport=43342 \
[ASSURED] mark=0 zone=0 use=2
ipv4     2 udp      17 30 src=127.0.0.1 dst=127.0.0.9 sport=37879 dport=99 packets=1 bytes=30 [UNREPLIED] \
src=127.0.0.9 dst=127.0.0.1 sport=99 dport=37879 packets=0 bytes=0 mark=0 zone=0 use=2
ipv4     2 icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=4660 src=10.0.0.2 dst=10.0.0.1 type=0 code=0 \
id=4660 mark=0 use=1
ipv4     2 gre      47 30 timeout=30, stream_timeout=180 src=127.0.0.1 dst=127.0.0.9 srckey=0x0 dstkey=0x0 packets=1 \
bytes=28 [UNREPLIED] src=127.0.0.9 dst=127.0.0.1 srckey=0x0 dstkey=0x0 packets=0 bytes=0 mark=0 zone=0 use=2
ipv4     2 unknown  253 600 src=127.0.0.1 dst=127.0.0.9 packets=1 bytes=28 [UNREPLIED] src=127.0.0.9 dst=127.0.0.1 \
packets=0 bytes=0 mark=0 zone=0 use=2
ipv4     2 tcp      6 src=10.141.10.2 dst=192.168.10.2 sport=36392 dport=5201 src=192.168.10.2 dst=192.168.10.1 \
sport=5201 dport=36392 [OFFLOAD] mark=0 secctx=system_u:object_r:unlabeled_t:s0 use=2
ipv4     2 udp      17 src=10.141.10.2 dst=192.168.10.2 sport=1 dport=2 packets=9 bytes=18446744073709551615 \
src=192.168.10.2 dst=10.141.10.2 sport=2 dport=1 packets=9 bytes=2 [HW_OFFLOAD] mark=0 use=2
";

    fn flow(protocol: u8, ends: (&str, &str), ports: Option<(u16, u16)>, bytes: Option<u64>) -> Flow {
        let (client, server) = (ends.0.parse().unwrap(), ends.1.parse().unwrap());
        Flow { protocol, client, server, ports, bytes, offloaded: false }
    }

    #[test]
    fn every_kind_of_real_line_is_read_in_the_direction_that_began_the_flow() {
        let local = ("127.0.0.1", "127.0.0.9");
        let offloaded = ("10.141.10.2", "192.168.10.2");
        let flows = vec![
            flow(6, ("192.168.1.7", "71.18.1.1"), Some((40001, 443)), Some(476)),
            flow(6, ("fd66::2", "2605:340::1"), Some((43342, 7777)), None),
            flow(17, local, Some((37879, 99)), Some(30)),
            flow(1, ("10.0.0.1", "10.0.0.2"), None, None),
            flow(47, local, None, Some(28)),
            flow(253, local, None, Some(28)),
            Flow { offloaded: true, ..flow(6, offloaded, Some((36392, 5201)), None) },
            Flow { offloaded: true, ..flow(17, offloaded, Some((1, 2)), Some(u64::MAX)) },
        ];
        assert_eq!(parse(REAL), Flows { flows, skipped: 0, cut: false });
        assert_eq!(parse(""), Flows::default());
    }

    #[test]
    fn a_strange_line_is_skipped_and_counted_and_the_others_are_read() {
        let strange = [
            "",
            "ipv4 2 tcp",
            "ipv4 2 tcp 6 9 ESTABLISHED",
            "ipv4 2 tcp 256 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2",
            "ipv4 2 tcp 6 src=10.0.0.1 dst=fd66::2 sport=1 dport=2",
            "ipv4 2 tcp 6 src=10.0.0.1 sport=1 dport=2",
            "ipv4 2 tcp 6 src=10.0.0.1 dst=10.0.0.2 sport=1",
            "ipv4 2 tcp 6 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=65536",
            "ipv4 2 tcp 6 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 bytes=-1",
            "ipv4 2 tcp 6 src=10.0.0.1 dst=10.0.0.256 sport=1 dport=2",
        ];
        for line in strange {
            let text = format!("{line}\n{REAL}");
            let found = parse(&text);
            assert_eq!((found.flows.len(), found.skipped), (8, 1), "{line}");
        }
    }

    #[test]
    fn a_list_longer_than_the_limit_is_cut_and_says_so() {
        let line = "ipv4 2 unknown 253 600 src=127.0.0.1 dst=127.0.0.9\n";
        let whole = parse(&line.repeat(MAX_LINES));
        assert_eq!((whole.flows.len(), whole.cut), (MAX_LINES, false));
        let cut = parse(&line.repeat(MAX_LINES + 1));
        assert_eq!((cut.flows.len(), cut.skipped, cut.cut), (MAX_LINES, 0, true));
    }

    proptest! {
        #[test]
        fn whatever_happens_to_the_text_each_line_is_a_flow_or_counted(
            damage in prop::collection::vec((any::<prop::sample::Index>(), "\\PC|[ =\\[\\]\n\t0-9]|src=|dst="), 1..6),
            length in any::<prop::sample::Index>(),
        ) {
            let mut text = REAL[..=length.index(REAL.len() - 1)].to_owned();
            for (at, inserted) in damage {
                let at = at.index(text.len());
                if text.is_char_boundary(at) {
                    text.insert_str(at, &inserted);
                }
            }
            let found = parse(&text);
            prop_assert_eq!(found.flows.len() as u64 + found.skipped, text.lines().count() as u64);
        }
    }
}
