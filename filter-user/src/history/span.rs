//! Which rows answer for a span of time: each moment by one row, no moment twice. Pure; knows no database.

use std::ops::Range;

/// How much time a row stands for. The finest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Resolution {
    Minute,
    Hour,
    Day,
}

impl Resolution {
    pub(super) const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    pub(super) const fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 60 * 60,
            Self::Day => 24 * 60 * 60,
        }
    }

    /// The table that holds its rows.
    pub(super) const fn table(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// When the minute, hour or day (UTC) began that holds this moment.
    pub(super) const fn begin(self, at: i64) -> i64 {
        at.saturating_sub(at.rem_euclid(self.seconds()))
    }

    /// When the one that holds this moment ends.
    pub(super) const fn end(self, at: i64) -> i64 {
        self.begin(at).saturating_add(self.seconds())
    }
}

/// From when on the finer rows are complete; before, they were deleted. Days are complete wherever there are any.
///
/// The floor of minutes lies on a whole hour and that of hours on a whole day, so that no row of one resolution is cut
/// by the floor of another; and minutes never reach back further than hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Floors {
    pub(super) minute: i64,
    pub(super) hour: i64,
}

impl Floors {
    /// Nothing was deleted yet.
    pub(super) const NONE: Self = Self { minute: i64::MIN, hour: i64::MIN };

    /// Whether the row of this moment is complete.
    pub(super) const fn keeps(self, resolution: Resolution, at: i64) -> bool {
        match resolution {
            Resolution::Minute => at >= self.minute,
            Resolution::Hour => at >= self.hour,
            Resolution::Day => true,
        }
    }

    /// The finest complete resolution at this moment.
    fn finest(self, at: i64) -> Resolution {
        let kept = |resolution: &Resolution| self.keeps(*resolution, resolution.begin(at));
        Resolution::ALL.into_iter().find(kept).unwrap_or(Resolution::Day)
    }

    /// The span, widened to whole rows of the finest resolution at its begin and its end.
    pub(super) fn widen(self, span: &Range<i64>) -> Range<i64> {
        if span.start >= span.end {
            return span.start..span.start;
        }
        let last = span.end - 1;
        self.finest(span.start).begin(span.start)..self.finest(last).end(last)
    }

    /// Rows that together are exactly this span, which must be widened: the coarsest that fit, no coarser than `coarsest`
    /// where finer ones are complete.
    pub(super) fn rows(self, span: &Range<i64>, coarsest: Resolution) -> Vec<(Resolution, Range<i64>)> {
        let mut rows: Vec<(Resolution, Range<i64>)> = Vec::new();
        let mut at = span.start;
        while at < span.end {
            let fits = |resolution: &Resolution| {
                let whole = resolution.begin(at) == at && resolution.end(at) <= span.end;
                let wanted = *resolution <= coarsest || !self.keeps(coarsest, at);
                whole && wanted
            };
            let resolution = Resolution::ALL.into_iter().rev().find(fits).unwrap_or(Resolution::Minute);
            let end = resolution.end(at);
            match rows.last_mut() {
                Some((last, range)) if *last == resolution => range.end = end,
                _ => rows.push((resolution, at..end)),
            }
            at = end;
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Resolution::{Day, Hour, Minute};

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    #[test]
    fn a_span_is_covered_by_the_coarsest_whole_rows() {
        let rows = Floors::NONE.rows(&(DAY - 2 * HOUR - 120..3 * DAY + HOUR + 60), Day);
        let edge = DAY - 2 * HOUR;
        assert_eq!(
            rows,
            [
                (Minute, edge - 120..edge),
                (Hour, edge..DAY),
                (Day, DAY..3 * DAY),
                (Hour, 3 * DAY..3 * DAY + HOUR),
                (Minute, 3 * DAY + HOUR..3 * DAY + HOUR + 60)
            ]
        );
    }

    #[test]
    fn hours_are_taken_one_by_one_and_days_only_where_no_hours_are_left() {
        let floors = Floors { minute: 5 * DAY + HOUR, hour: 2 * DAY };
        assert_eq!(floors.rows(&(0..4 * DAY), Hour), [(Day, 0..2 * DAY), (Hour, 2 * DAY..4 * DAY)]);
    }

    #[test]
    fn a_span_is_widened_to_what_is_left_at_its_ends() {
        let floors = Floors { minute: 5 * DAY + HOUR, hour: 2 * DAY };
        assert_eq!(floors.widen(&(DAY + 1..3 * DAY + 1)), DAY..3 * DAY + HOUR);
        assert_eq!(floors.widen(&(5 * DAY + HOUR + 61..6 * DAY - 1)), 5 * DAY + HOUR + 60..6 * DAY);
        assert_eq!(floors.widen(&(7..7)), 7..7);
        assert_eq!(Floors::NONE.widen(&(-61..-60)), -120..-60);
    }

    #[test]
    fn every_minute_of_a_widened_span_is_in_exactly_one_complete_row() {
        let floors = Floors { minute: 2 * DAY + 5 * HOUR, hour: DAY };
        for (since, until) in
            [(0, 3 * DAY), (DAY - 1, 2 * DAY + HOUR + 3), (2 * DAY + 5 * HOUR + 59, 2 * DAY + 6 * HOUR)]
        {
            let span = floors.widen(&(since..until));
            for coarsest in Resolution::ALL {
                let mut at = span.start;
                for (resolution, range) in floors.rows(&span, coarsest) {
                    assert_eq!(range.start, at, "no hole, no overlap");
                    assert!(floors.keeps(resolution, range.start), "{resolution:?} {range:?}");
                    assert_eq!((resolution.begin(range.start), range.end % resolution.seconds()), (range.start, 0));
                    at = range.end;
                }
                assert_eq!(at, span.end);
            }
        }
    }
}
