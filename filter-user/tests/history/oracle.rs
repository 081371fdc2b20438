//! What the history must say: every interval as it was handed over, scanned from the first to the last.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Range;

use filter_common::decide::Direction;
use weir::account::{Account, Interval};
use weir::history::Report;
use weir::ruleset::RuleAction;
use weir::tally::Tally;

#[derive(Default)]
pub(crate) struct Oracle(pub(crate) Vec<Interval>);

fn sum<'a>(tallies: impl Iterator<Item = &'a Tally>) -> (u64, u64) {
    tallies.fold((0, 0), |sum, tally| (sum.0 + tally.packets, sum.1 + tally.bytes))
}

fn pair(tally: Tally) -> (u64, u64) {
    (tally.packets, tally.bytes)
}

impl Oracle {
    fn within(&self, span: &Range<i64>) -> impl Iterator<Item = &Interval> {
        self.0.iter().filter(move |interval| span.contains(&interval.end))
    }

    /// Packets and bytes of the accounts that `wanted` names.
    pub(crate) fn counted(&self, span: &Range<i64>, wanted: impl Fn(&Account) -> bool) -> (u64, u64) {
        let accounts = self.within(span).flat_map(|interval| &interval.accounts);
        sum(accounts.filter(|(account, _)| wanted(account)).map(|(_, tally)| tally))
    }

    pub(crate) fn seen(&self, span: &Range<i64>, device: Option<&str>) -> (u64, u64) {
        let seen = self.within(span).flat_map(|interval| &interval.seen);
        sum(seen.filter(|(name, _)| device.is_none_or(|device| device == name.as_str())).map(|(_, tally)| tally))
    }

    /// Compares every figure of a report, whose clients are not folded.
    pub(crate) fn agrees(&self, report: &Report, span: &Range<i64>) {
        assert!(report.balance.equal, "{:?}", report.balance);
        let actions = [RuleAction::Block, RuleAction::Monitor, RuleAction::Allow];
        let tallies = [report.totals.dropped, report.totals.monitored, report.totals.allowed];
        for (action, tally) in actions.into_iter().zip(tallies) {
            assert_eq!(pair(tally), self.counted(span, |account| account.action == action), "{action:?}");
        }
        assert_eq!(pair(report.totals.seen), self.seen(span, None));
        for row in &report.rules {
            let is = |account: &Account| account.action == row.action && account.rules.contains(&row.name);
            let of = |direction| self.counted(span, |account| is(account) && account.direction == direction);
            assert_eq!((pair(row.out), pair(row.in_)), (of(Direction::Out), of(Direction::In)), "{}", row.name);
        }
        let mut clients: BTreeSet<Option<IpAddr>> = BTreeSet::new();
        for row in &report.clients {
            assert!(clients.insert(row.client), "{:?} is there twice", row.client);
            let of = |action| self.counted(span, |account| account.client == row.client && account.action == action);
            let figures = [row.dropped, row.monitored, row.allowed].map(pair);
            assert_eq!(figures, actions.map(of), "{:?}", row.client);
        }
        for row in &report.devices {
            let of = |action| self.counted(span, |account| account.device == row.name && account.action == action);
            let figures = [row.counted.dropped, row.counted.monitored, row.counted.allowed].map(pair);
            assert_eq!(figures, actions.map(of), "{}", row.name);
            assert_eq!(pair(row.counted.seen), self.seen(span, Some(&row.name)), "{}", row.name);
        }
        let mut before = i64::MIN;
        for row in &report.hours {
            assert!(row.begin >= before, "in order, none twice");
            before = row.begin + row.secs;
            let of = |action| self.counted(&(row.begin..before), |account| account.action == action);
            let figures = [row.counted.dropped, row.counted.monitored, row.counted.allowed].map(pair);
            assert_eq!(figures, actions.map(of), "{row:?}");
            assert_eq!(pair(row.counted.seen), self.seen(&(row.begin..before), None), "{row:?}");
        }
        let seen = report.hours.iter().map(|row| row.counted.seen).collect::<Vec<_>>();
        assert_eq!(sum(seen.iter()), self.seen(span, None));
    }
}
