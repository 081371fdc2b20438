//! The never-block set: addresses that no rule takes effect on, so that no feed can cut the router or its operator off.
//! Pure: what this host is comes as an argument.

use std::net::IpAddr;

use ipnet::IpNet;

use super::compile::Guard;
use crate::prefix::{AddressSet, Prefixes};

/// Never blocked, whatever a rule says: "this network", loopback, link-local, multicast, broadcast (RFC 6890).
const ALWAYS: [&str; 9] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "fe80::/10",
    "ff00::/8",
];

/// Never blocked unless a rule writes them out: private networks (RFC 1918, RFC 6598, RFC 4193). Public feeds hold them.
const PRIVATE: [&str; 5] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];

/// What the router itself needs, as read from the running system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Prefixes on its own devices.
    pub prefixes: Vec<IpNet>,
    /// Default gateways and resolvers.
    pub addresses: Vec<IpAddr>,
}

/// An own prefix shorter than this guards only the address it belongs to: a tunnel with a /0 must not disarm all rules.
const SHORTEST_OWN_V4: u8 = 8;
const SHORTEST_OWN_V6: u8 = 32;

/// Builds the never-block set from the operator's prefixes, the host, and the constants above. `written` holds the
/// prefixes that rules write out.
#[must_use]
pub fn guard<'a>(operator: &[IpNet], host: &Host, written: impl Iterator<Item = &'a IpNet>) -> Guard {
    let own = host.prefixes.iter().map(|&net| {
        let shortest = if net.addr().is_ipv4() { SHORTEST_OWN_V4 } else { SHORTEST_OWN_V6 };
        if net.prefix_len() < shortest { IpNet::from(net.addr()) } else { net }
    });
    let fixed = nets(&ALWAYS).chain(operator.iter().copied()).chain(own);
    let (fixed4, fixed6) = sets(fixed.chain(host.addresses.iter().map(|&address| IpNet::from(address))));
    let (private4, private6) = sets(nets(&PRIVATE));
    let (written4, written6) = sets(written.copied());
    Guard { v4: union(&fixed4, &private4.subtract(&written4)), v6: union(&fixed6, &private6.subtract(&written6)) }
}

fn nets(texts: &[&str]) -> impl Iterator<Item = IpNet> {
    texts.iter().filter_map(|text| text.parse().ok())
}

fn sets(nets: impl Iterator<Item = IpNet>) -> (AddressSet<u32>, AddressSet<u128>) {
    let mut prefixes = Prefixes::default();
    nets.for_each(|net| prefixes.push_net(net, 0));
    (
        prefixes.v4.iter().map(|range| (range.first, range.last)).collect(),
        prefixes.v6.iter().map(|range| (range.first, range.last)).collect(),
    )
}

fn union<A: crate::prefix::Address>(a: &AddressSet<A>, b: &AddressSet<A>) -> AddressSet<A> {
    a.ranges().iter().chain(b.ranges()).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded(guard: &Guard, address: &str) -> bool {
        match address.parse().unwrap() {
            IpAddr::V4(address) => guard.v4.contains(address.into()),
            IpAddr::V6(address) => guard.v6.contains(address.into()),
        }
    }

    #[test]
    fn the_router_its_gateways_and_the_operators_prefixes_are_guarded() {
        let host = Host {
            prefixes: vec!["203.0.113.9/24".parse().unwrap(), "2001:db8:1::1/64".parse().unwrap()],
            addresses: vec!["198.51.100.1".parse().unwrap()],
        };
        let guard = guard(&["192.0.2.7/32".parse().unwrap()], &host, [].into_iter());
        for address in ["203.0.113.200", "2001:db8:1::ffff", "198.51.100.1", "192.0.2.7", "127.0.0.1", "fe80::1"] {
            assert!(guarded(&guard, address), "{address}");
        }
        for address in ["203.0.114.1", "2001:db8:2::1", "198.51.100.2", "192.0.2.8", "71.18.1.1"] {
            assert!(!guarded(&guard, address), "{address}");
        }
    }

    #[test]
    fn private_networks_are_guarded_until_a_rule_writes_them_out() {
        let none = guard(&[], &Host::default(), [].into_iter());
        assert!(guarded(&none, "10.1.2.3") && guarded(&none, "fd00::1") && guarded(&none, "100.64.0.1"));
        let written: Vec<IpNet> = vec!["10.1.0.0/16".parse().unwrap(), "169.254.0.0/16".parse().unwrap()];
        let some = guard(&[], &Host::default(), written.iter());
        assert!(!guarded(&some, "10.1.2.3") && guarded(&some, "10.2.0.1"));
        assert!(guarded(&some, "169.254.1.1"), "link-local stays guarded");
    }

    #[test]
    fn an_own_prefix_of_no_length_guards_only_its_address() {
        let host = Host { prefixes: vec!["203.0.113.9/0".parse().unwrap()], addresses: vec![] };
        let guard = guard(&[], &host, [].into_iter());
        assert!(guarded(&guard, "203.0.113.9") && !guarded(&guard, "203.0.113.10"));
    }
}
