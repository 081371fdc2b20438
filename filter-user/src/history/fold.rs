//! Which clients have figures of their own. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::account::Account;
use crate::tally::Tally;

/// Adds without a way to fail: a counter that is full stays full.
pub(super) fn add(sum: &mut Tally, more: Tally) {
    sum.packets = sum.packets.saturating_add(more.packets);
    sum.bytes = sum.bytes.saturating_add(more.bytes);
}

/// The same accounts with at most `most` clients; what the others counted goes to the accounts without a client. Those
/// with the most bytes stay.
pub(super) fn fold(accounts: &BTreeMap<Account, Tally>, most: usize) -> BTreeMap<Account, Tally> {
    let mut clients: BTreeMap<IpAddr, Tally> = BTreeMap::new();
    for (account, &tally) in accounts {
        if let Some(client) = account.client {
            add(clients.entry(client).or_default(), tally);
        }
    }
    let mut largest: Vec<(IpAddr, Tally)> = clients.into_iter().collect();
    largest.sort_by_key(|(client, tally)| (Reverse(tally.bytes), Reverse(tally.packets), *client));
    let kept: BTreeSet<IpAddr> = largest.into_iter().take(most).map(|(client, _)| client).collect();
    let mut folded = BTreeMap::new();
    for (account, &tally) in accounts {
        let client = account.client.filter(|client| kept.contains(client));
        add(folded.entry(Account { client, ..account.clone() }).or_default(), tally);
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::RuleAction;
    use filter_common::decide::Direction;

    fn account(client: Option<u8>, direction: Direction) -> Account {
        Account {
            action: RuleAction::Block,
            rules: vec!["r".into()],
            direction,
            device: "lan0".into(),
            client: client.map(|last| IpAddr::from([192, 0, 2, last])),
        }
    }

    #[test]
    fn the_clients_with_the_most_bytes_stay_and_nothing_is_lost() {
        let tally = |packets, bytes| Tally { packets, bytes };
        let accounts = BTreeMap::from([
            (account(Some(1), Direction::Out), tally(9, 100)),
            (account(Some(2), Direction::Out), tally(1, 60)),
            (account(Some(2), Direction::In), tally(1, 60)),
            (account(Some(3), Direction::In), tally(5, 7)),
            (account(None, Direction::In), tally(2, 3)),
        ]);
        let one = BTreeMap::from([
            (account(Some(2), Direction::Out), tally(1, 60)),
            (account(Some(2), Direction::In), tally(1, 60)),
            (account(None, Direction::Out), tally(9, 100)),
            (account(None, Direction::In), tally(7, 10)),
        ]);
        assert_eq!(fold(&accounts, 1), one, "client 2 has the most in both directions together");
        assert_eq!(fold(&accounts, 3), accounts);
        assert!(fold(&accounts, 0).keys().all(|account| account.client.is_none()));
    }
}
