//! Lists of both families, as each filter wants them. Must not load any.

use std::fmt::Write as _;

use weir::prefix::{Address, Prefixes};
use weir_tests::internet::{self, Prefix};

use crate::list::{List, label, table};

/// So many prefixes of each family, or all.
pub(super) struct Lists {
    /// What a source parses.
    pub(super) rows: Prefixes,
    pub(super) v4: Vec<Prefix<u32>>,
    pub(super) v6: Vec<Prefix<u128>>,
    /// The IPv4 prefixes once more, for who sends frames.
    pub(super) list: List,
    pub(super) label: String,
}

impl Lists {
    pub(super) fn of_size(size: usize) -> Self {
        let list = List::of_size(size);
        let v4 = list.prefixes.clone();
        let v6 = internet::sample(internet::prefixes_v6(&table().v6), size, 1);
        let rows = Prefixes { v4: internet::rows(&v4), v6: internet::rows(&v6) };
        let label = label(size, internet::prefixes_v4(&table().v4).len());
        Self { rows, v4, v6, list, label }
    }

    /// How many prefixes they hold.
    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether nothing of the table is left out.
    pub(super) fn is_whole(&self) -> bool {
        self.label == "all"
    }

    /// The prefixes as a list file has them.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        lines(&mut text, "", &self.v4);
        lines(&mut text, "", &self.v6);
        text
    }

    /// nft's sets, empty, and the rules that ask them.
    pub(super) fn nft_table() -> &'static str {
        "table inet bench {\nset listed4 { type ipv4_addr; flags interval; }\nset listed6 { type ipv6_addr; flags interval; }\n\
         chain first { type filter hook prerouting priority raw; policy accept; ip daddr @listed4 drop; ip6 daddr @listed6 drop; }\n}\n"
    }

    /// What replaces all elements of nft's sets, in one transaction.
    pub(super) fn nft_update(&self) -> String {
        let mut text = String::from("flush set inet bench listed4\nflush set inet bench listed6\n");
        elements(&mut text, "listed4", &self.v4);
        elements(&mut text, "listed6", &self.v6);
        text
    }

    /// What makes the sets `NAME4` and `NAME6` of ipset.
    pub(super) fn ipset(&self, name: &str) -> String {
        let mut text = String::new();
        for (family, number, count) in [("inet", 4, self.v4.len()), ("inet6", 6, self.v6.len())] {
            let room = count.next_power_of_two().max(1024);
            let most = room.max(65_536);
            writeln!(text, "create {name}{number} hash:net family {family} hashsize {room} maxelem {most}").unwrap();
        }
        lines(&mut text, &format!("add {name}4 "), &self.v4);
        lines(&mut text, &format!("add {name}6 "), &self.v6);
        text
    }
}

/// Each prefix once, as people write it.
fn lines<A: Address>(text: &mut String, before: &str, prefixes: &[Prefix<A>]) {
    let mut latest = None;
    for prefix in prefixes {
        if latest.replace((prefix.first, prefix.length)) != Some((prefix.first, prefix.length)) {
            writeln!(text, "{before}{}/{}", prefix.first.to_ip(), prefix.length).unwrap();
        }
    }
}

/// Ranges that are inside of no other.
fn elements<A: Address>(text: &mut String, set: &str, prefixes: &[Prefix<A>]) {
    writeln!(text, "add element inet bench {set} {{").unwrap();
    let mut latest: Option<A> = None;
    for prefix in prefixes {
        if latest.is_none_or(|last| prefix.first > last) {
            writeln!(text, "{}/{},", prefix.first.to_ip(), prefix.length).unwrap();
            latest = Some(prefix.last);
        }
    }
    text.push_str("}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_gets_a_prefix_once_and_nft_none_inside_of_another() {
        let prefix = |first: u32, length: u8, last: u32| Prefix { first, length, last, asn: 1 };
        let v4 = [
            prefix(0x0100_0000, 8, 0x01ff_ffff),
            prefix(0x0102_0000, 16, 0x0102_ffff),
            prefix(0x0102_0000, 16, 0x0102_ffff),
            prefix(0x0200_0000, 9, 0x027f_ffff),
        ];
        let (mut all, mut outer) = (String::new(), String::new());
        lines(&mut all, "add x ", &v4);
        elements(&mut outer, "x", &v4);
        assert_eq!(all, "add x 1.0.0.0/8\nadd x 1.2.0.0/16\nadd x 2.0.0.0/9\n");
        assert_eq!(outer, "add element inet bench x {\n1.0.0.0/8,\n2.0.0.0/9,\n}\n");
    }
}
