//! When a rule is in force: windows of the week by a zone's wall clock. Never reads the clock, nor zone data from disk.
//!
//! Each instant has one wall time, and a window covers the instants whose wall time lies in it. So a window that begins
//! in the hour that a clock change skips begins at the first instant after it, one that lies in that hour as a whole
//! does not happen, and one in a repeated hour covers it both times.

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Days as a configuration writes them, in the order of the week.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTES_OF_DAY: u16 = 24 * 60;
const SECONDS_OF_DAY: i64 = 24 * 60 * 60;
const SECONDS_OF_WEEK: i64 = 7 * SECONDS_OF_DAY;
/// 1970-01-01 was a Thursday, and weeks are counted from Monday.
const EPOCH_IN_WEEK: i64 = 3 * SECONDS_OF_DAY;

/// Why a schedule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// There is nothing to be in force for.
    #[error("a schedule without windows is never in force; give one window at least")]
    NoWindows,
    /// A window begins on no day.
    #[error("a window without days is never in force; give days such as \"mon-fri\"")]
    NoDays,
    /// Not the name of a day.
    #[error("day {0:?} is not known; accepted: mon, tue, wed, thu, fri, sat, sun, and ranges such as \"mon-fri\"")]
    Day(String),
    /// Not a time of day.
    #[error("time {0:?} is not accepted; write \"00:00\" to \"23:59\", and \"24:00\" for an end at midnight")]
    Time(String),
    /// A window ends when it begins: no time to one reader, a whole day to another.
    #[error("a window from {0:?} to {0:?} has no length; write \"00:00\" to \"24:00\" for a whole day")]
    NoLength(String),
    /// Neither a known name nor a rule that can be read.
    #[error(
        "zone {0:?} is not known; accepted: IANA names (\"Europe/Berlin\"), \"UTC\", and POSIX rules \
         (\"CET-1CEST,M3.5.0,M10.5.0/3\")"
    )]
    Zone(String),
    /// POSIX counts westwards, people count eastwards.
    #[error(
        "zone {0:?} means the opposite to POSIX and to people; write the name of a place, or \"<+02>-2\" for two hours \
         ahead of UTC"
    )]
    ZoneSign(String),
    /// jiff holds the changes of a POSIX rule within the UTC year and would give them at a wrong time.
    #[error(
        "zone {0:?} changes its clock at the turn of a year, or in another order in some years, which is not supported; \
         write an IANA name instead"
    )]
    ZoneTurn(String),
}

/// A part of the day, on some days of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The days it begins on; bit 0 is Monday.
    days: u8,
    /// Minute of the day at which it begins, 0 to 1439.
    from: u16,
    /// Minute of the day at which it is over, 0 to 1440; of the next day where it is less than `from`.
    to: u16,
}

impl Window {
    /// A window from its words: days such as `mon` or `sat-mon`, times such as `07:30`. One that ends at an earlier time
    /// than it begins runs past midnight and belongs to the day it begins on.
    pub fn new(days: &[impl AsRef<str>], from: &str, to: &str) -> Result<Self, ScheduleError> {
        let days = days.iter().try_fold(0, |all, word| Ok(all | days_of(word.as_ref())?))?;
        if days == 0 {
            return Err(ScheduleError::NoDays);
        }
        let begin = minute_of_day(from)?;
        if begin == MINUTES_OF_DAY {
            return Err(ScheduleError::Time(from.into()));
        }
        let end = minute_of_day(to)?;
        if begin == end {
            return Err(ScheduleError::NoLength(from.into()));
        }
        Ok(Self { days, from: begin, to: end })
    }

    /// Whether it covers a second of the week.
    fn covers(self, second: i64) -> bool {
        let day = second.div_euclid(SECONDS_OF_DAY);
        let second_of_day = second.rem_euclid(SECONDS_OF_DAY);
        let begins_on = |day: i64| self.days >> day.rem_euclid(7) & 1 == 1;
        let (from, to) = (i64::from(self.from) * 60, i64::from(self.to) * 60);
        if from < to {
            begins_on(day) && (from..to).contains(&second_of_day)
        } else {
            begins_on(day) && second_of_day >= from || begins_on(day - 1) && second_of_day < to
        }
    }

    /// The seconds of the week at which it begins or ends, not in order.
    fn edges(self) -> impl Iterator<Item = i64> {
        let days = (0..7).filter(move |day| self.days >> day & 1 == 1);
        days.flat_map(move |day| {
            let (from, to) = (i64::from(self.from) * 60, i64::from(self.to) * 60);
            let end = if from < to { to } else { SECONDS_OF_DAY + to };
            [from, end].map(|second| (day * SECONDS_OF_DAY + second).rem_euclid(SECONDS_OF_WEEK))
        })
    }
}

/// When a rule is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    windows: Vec<Window>,
    zone: TimeZone,
}

impl Schedule {
    /// The windows by the wall clock of `zone`: an IANA name, `UTC`, or a POSIX rule (the TZ variable of POSIX.1-2024
    /// section 8.3, as `OpenWrt` writes it to `/etc/TZ`).
    pub fn new(windows: Vec<Window>, zone: &str) -> Result<Self, ScheduleError> {
        if windows.is_empty() { Err(ScheduleError::NoWindows) } else { Ok(Self { windows, zone: zone_of(zone)? }) }
    }

    /// Whether the rule is in force at this instant, in seconds since 1970 (UTC). Before the year -9999 and after 9999,
    /// the zone's earliest and latest offset count.
    #[must_use]
    pub fn active(&self, at: i64) -> bool {
        self.covers(self.second_of_week(at))
    }

    /// The first instant after `after` at which [`Schedule::active`] changes, in seconds since 1970 (UTC). `None` where it
    /// never does, or not before the year 10000.
    #[must_use]
    pub fn next_change(&self, after: i64) -> Option<i64> {
        let state = self.active(after);
        // Else all clock changes of 8000 years would be looked at.
        if self.edges().all(|edge| self.covers(edge) == state) {
            return None;
        }
        let start = Timestamp::from_second(after).ok()?;
        let mut from = after;
        // Between two clock changes the week runs like any other.
        for transition in self.zone.following(start) {
            let until = transition.timestamp().as_second();
            if let Some(change) = self.next_edge(from, state).filter(|&change| change < until) {
                return Some(change);
            }
            if self.active(until) != state {
                return Some(until);
            }
            from = until;
        }
        self.next_edge(from, state).filter(|&change| Timestamp::from_second(change).is_ok())
    }

    /// The first instant after `from`, which is in `state`, that is not, if the clock never changed again.
    fn next_edge(&self, from: i64, state: bool) -> Option<i64> {
        let now = self.second_of_week(from);
        let distance = |edge: i64| (edge - now).rem_euclid(SECONDS_OF_WEEK);
        let edges = self.edges().filter(|&edge| self.covers(edge) != state);
        edges.map(distance).min().and_then(|distance| from.checked_add(distance))
    }

    fn covers(&self, second_of_week: i64) -> bool {
        self.windows.iter().any(|window| window.covers(second_of_week))
    }

    fn edges(&self) -> impl Iterator<Item = i64> {
        self.windows.iter().flat_map(|window| window.edges())
    }

    /// The wall time at this instant, counted from Monday 00:00.
    fn second_of_week(&self, at: i64) -> i64 {
        let edge = if at < 0 { Timestamp::MIN } else { Timestamp::MAX };
        let offset = self.zone.to_offset(Timestamp::from_second(at).unwrap_or(edge)).seconds();
        (at.rem_euclid(SECONDS_OF_WEEK) + EPOCH_IN_WEEK + i64::from(offset)).rem_euclid(SECONDS_OF_WEEK)
    }
}

/// One bit for each day of `mon` or `sat-mon`.
fn days_of(word: &str) -> Result<u8, ScheduleError> {
    let day = |name: &str| {
        let name = name.trim();
        let found = DAYS.iter().position(|day| day.eq_ignore_ascii_case(name));
        found.ok_or_else(|| ScheduleError::Day(word.into()))
    };
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last) = (day(first)?, day(last)?);
    let count = (last + DAYS.len() - first) % DAYS.len() + 1;
    Ok((first..first + count).fold(0, |days, day| days | 1 << (day % DAYS.len())))
}

/// The minute of the day that `HH:MM` is, 24:00 included.
fn minute_of_day(text: &str) -> Result<u16, ScheduleError> {
    let number = |digits: &str| {
        let two = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if two { digits.parse::<u16>().ok() } else { None }
    };
    let read = || {
        let (hour, minute) = text.split_once(':')?;
        let (hour, minute) = (number(hour)?, number(minute)?);
        (hour < 24 && minute < 60 || (hour, minute) == (24, 0)).then_some(hour * 60 + minute)
    };
    read().ok_or_else(|| ScheduleError::Time(text.into()))
}

fn zone_of(text: &str) -> Result<TimeZone, ScheduleError> {
    if let Ok(zone) = TimeZoneDatabase::bundled().get(text) {
        // "Etc/Unknown" would count as UTC.
        return if zone.is_unknown() { Err(ScheduleError::Zone(text.into())) } else { Ok(zone) };
    }
    let sign = text.strip_prefix("UTC").or_else(|| text.strip_prefix("GMT"));
    if sign.is_some_and(|rest| rest.starts_with(['+', '-'])) {
        return Err(ScheduleError::ZoneSign(text.into()));
    }
    let zone = TimeZone::posix(text).map_err(|_| ScheduleError::Zone(text.into()))?;
    if turns_with_the_year(&zone) { Err(ScheduleError::ZoneTurn(text.into())) } else { Ok(zone) }
}

/// Whether jiff would give a POSIX rule's clock or its changes wrongly, for it takes each UTC year for itself. A change on the
/// first or in the last second of a year it puts into another year, and after one at the end it finds no later change. Where the
/// two changes come in another order in some years, its clock jumps at the turn of the year, and no change tells of it.
fn turns_with_the_year(zone: &TimeZone) -> bool {
    // All fourteen calendars that a year can have come within 28 years; a rule has two changes in each.
    let changes = zone.following(Timestamp::UNIX_EPOCH).take(2 * 28);
    let changes: Vec<i64> = changes.map(|change| change.timestamp().as_second()).collect();
    let year = |second| Timestamp::from_second(second).map(|at| TimeZone::UTC.to_datetime(at).date().year()).ok();
    let offset = |second| Timestamp::from_second(second).map(|at| zone.to_offset(at)).ok();
    changes.iter().any(|at| year(at - 1) != year(at + 1))
        || changes.array_windows().any(|[change, next]| offset(*change) != offset(next - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(days: &[&str], from: &str, to: &str) -> Window {
        Window::new(days, from, to).unwrap()
    }

    fn schedule(zone: &str, windows: &[Window]) -> Schedule {
        Schedule::new(windows.to_vec(), zone).unwrap()
    }

    /// A zone's clock in 2025 (Apia: 2011), from the 2025b data as Python's zoneinfo reads it: names and rules that mean
    /// it, minutes ahead of UTC at first, and each change with the minutes from then on.
    type Clock = (&'static [&'static str], i64, &'static [(i64, i64)]);

    const CLOCKS: &[Clock] = &[
        (
            &["Europe/Berlin", "europe/berlin", "CET", "CET-1CEST,M3.5.0,M10.5.0/3"],
            60,
            &[(1_743_296_400, 120), (1_761_440_400, 60)],
        ),
        (
            &["America/New_York", "EST5EDT", "EST5EDT,M3.2.0,M11.1.0"],
            -300,
            &[(1_741_503_600, -240), (1_762_063_200, -300)],
        ),
        (&["Asia/Kolkata", "IST-5:30"], 330, &[]),
        (
            &["Australia/Lord_Howe", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0"],
            660,
            &[(1_743_865_200, 630), (1_759_591_800, 660)],
        ),
        (&["Africa/Casablanca"], 60, &[(1_740_276_000, 0), (1_743_904_800, 60)]),
        // Midnight is skipped, and the hour before it repeated.
        (&["Africa/Cairo", "EET-2EEST,M4.5.5/0,M10.5.4/24"], 120, &[(1_745_532_000, 180), (1_761_858_000, 120)]),
        (&["America/Nuuk", "<-02>2<-01>,M3.5.0/-1,M10.5.0/0"], -120, &[(1_743_296_400, -60), (1_761_440_400, -120)]),
        // The whole of Friday, 30 December is skipped.
        (&["Pacific/Apia"], -600, &[(1_301_752_800, -660), (1_316_872_800, -600), (1_325_239_200, 840)]),
        (&["UTC", "utc", "UTC0", "Etc/UTC", "GMT"], 0, &[]),
    ];

    /// The oracle: the wall time of one minute, looked for in each window in turn.
    fn expected(windows: &[(Vec<usize>, i64, i64)], &(_, first, changes): &Clock, at: i64) -> bool {
        let offset = changes.iter().rev().find(|(from, _)| *from <= at).map_or(first, |(_, offset)| *offset);
        let minutes = at.div_euclid(60) + offset;
        let (days, minute) = (minutes.div_euclid(1440), minutes.rem_euclid(1440));
        // Day 4 was Monday, 5 January 1970.
        let weekday = |day: i64| usize::try_from((day - 4).rem_euclid(7)).unwrap();
        windows.iter().any(|(on, from, to)| {
            let today = on.contains(&weekday(days)) && minute >= *from && (minute < *to || from > to);
            let since_yesterday = from > to && on.contains(&weekday(days - 1)) && minute < *to;
            today || since_yesterday
        })
    }

    /// Windows of which most have an edge where clocks change.
    fn any_window() -> impl Strategy<Value = (Vec<usize>, i64, i64)> {
        let time = || prop_oneof![0..260_i64, 1380..1440_i64, 0..1440_i64, Just(0), Just(1440), Just(120), Just(180)];
        (prop::collection::vec(0..7_usize, 1..8), time(), time())
            .prop_filter("no such window", |(_, from, to)| from != to && *from != 1440)
    }

    fn time_text(minute: i64) -> String {
        format!("{:02}:{:02}", minute / 60, minute % 60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn it_is_in_force_and_changes_when_a_scan_of_every_minute_says(
            windows in prop::collection::vec(any_window(), 1..4),
            clock in prop::sample::select(CLOCKS),
            name in any::<prop::sample::Index>(),
            change in any::<prop::sample::Index>(),
            distance in prop_oneof![-7_300..7_300_i64, -11 * SECONDS_OF_DAY..11 * SECONDS_OF_DAY],
        ) {
            let words = windows.iter().map(|(days, from, to)| {
                let days: Vec<&str> = days.iter().map(|&day| DAYS[day]).collect();
                window(&days, &time_text(*from), &time_text(*to))
            });
            let schedule = Schedule::new(words.collect(), clock.0[name.index(clock.0.len())]).unwrap();
            let summer = (1_750_000_000, 0);
            let around = if clock.2.is_empty() { summer } else { clock.2[change.index(clock.2.len())] };
            let start = around.0 + distance;
            let state = expected(&windows, &clock, start);
            prop_assert_eq!(schedule.active(start), state);
            let mut minutes = (1..21 * 1440).map(|minute| start.div_euclid(60) * 60 + minute * 60);
            let next = minutes.find(|&at| expected(&windows, &clock, at) != state);
            match schedule.next_change(start) {
                // Two windows that miss each other in one week may need more than three to change.
                Some(at) if next.is_none() => prop_assert!(at >= start + 20 * SECONDS_OF_DAY, "{at} after {start}"),
                found => prop_assert_eq!(found, next),
            }
        }

        #[test]
        fn no_text_makes_it_panic_and_errors_are_one_line(text in "\\PC{0,12}|[A-Z]{3}[-+0-9:,MJ./]{0,20}|(mon|tue|-|,){0,4}") {
            for error in [
                Window::new(&[&text], "00:00", "24:00").err(),
                Window::new(&["mon"], &text, "24:00").err(),
                Schedule::new(vec![window(&["mon"], "00:00", "24:00")], &text).err(),
            ].into_iter().flatten() {
                let line = error.to_string();
                prop_assert!(!line.contains(char::is_control) && line.contains(&format!("{text:?}")), "{line}");
            }
        }
    }

    /// 2025-03-30 00:00 in Berlin, the Sunday on which 02:00 to 03:00 is skipped.
    const SPRING: i64 = 1_743_289_200;
    /// 2025-10-26 00:00 in Berlin, the Sunday on which 02:00 to 03:00 comes twice.
    const AUTUMN: i64 = 1_761_429_600;
    const HOUR: i64 = 3600;

    /// When it changes within the day and a half after `start`, in minutes since then.
    fn changes(schedule: &Schedule, start: i64) -> Vec<i64> {
        let next = |&at: &i64| schedule.next_change(at);
        let all = std::iter::successors(Some(start), next).skip(1);
        all.take_while(|at| *at < start + 36 * HOUR).map(|at| (at - start) / 60).collect()
    }

    #[test]
    fn a_window_that_begins_in_the_skipped_hour_begins_after_it() {
        let berlin = |from, to| schedule("Europe/Berlin", &[window(&["sun"], from, to)]);
        assert_eq!(changes(&berlin("02:30", "05:00"), SPRING), [120, 240]);
        assert_eq!(changes(&berlin("01:00", "02:30"), SPRING), [60, 120], "it ends where the clock jumps over its end");
        assert_eq!(changes(&berlin("02:00", "03:00"), SPRING), [0; 0], "it does not happen");
        assert!(
            berlin("02:30", "05:00").active(SPRING + 2 * HOUR) && !berlin("02:00", "03:00").active(SPRING + 2 * HOUR)
        );
    }

    #[test]
    fn a_window_in_the_repeated_hour_covers_it_both_times() {
        let berlin = |from, to| schedule("Europe/Berlin", &[window(&["sun"], from, to)]);
        assert_eq!(changes(&berlin("02:00", "03:00"), AUTUMN), [120, 240]);
        assert_eq!(changes(&berlin("02:15", "02:30"), AUTUMN), [135, 150, 195, 210]);
        assert_eq!(changes(&berlin("01:00", "02:30"), AUTUMN), [60, 150, 180, 210]);
    }

    #[test]
    fn a_window_past_midnight_belongs_to_the_day_it_begins_on() {
        let night = schedule("Europe/Berlin", &[window(&["sat"], "22:00", "06:00")]);
        assert_eq!(changes(&night, SPRING - 12 * HOUR), [10 * 60, 17 * 60], "a night of seven hours");
        assert_eq!(changes(&night, AUTUMN - 12 * HOUR), [10 * 60, 19 * 60], "a night of nine hours");
        assert!(!night.active(SPRING + 30 * HOUR), "Monday 06:00");
        assert_eq!(changes(&schedule("UTC", &[window(&["thu"], "22:00", "00:00")]), 0), [22 * 60, 24 * 60]);
        assert_eq!(
            changes(&schedule("UTC", &[window(&["wed"], "22:00", "06:00")]), 0),
            [6 * 60],
            "1970 began on Thursday"
        );
    }

    #[test]
    fn windows_that_touch_or_overlap_are_one() {
        let days = [
            window(&["sat"], "12:00", "24:00"),
            window(&["sun"], "00:00", "06:00"),
            window(&["sun"], "05:00", "07:00"),
        ];
        assert_eq!(changes(&schedule("UTC", &days), 2 * 24 * HOUR), [12 * 60, 31 * 60]);
    }

    #[test]
    fn a_schedule_of_all_times_never_changes() {
        for windows in [
            vec![window(&["mon-sun"], "00:00", "24:00")],
            vec![window(&["tue-mon"], "06:00", "05:59"), window(&["mon-sun"], "05:00", "07:00")],
        ] {
            let always = schedule("Europe/Berlin", &windows);
            assert_eq!((always.active(SPRING), always.next_change(SPRING)), (true, None));
        }
    }

    #[test]
    fn times_out_of_all_calendars_are_no_special_case() {
        for zone in ["UTC", "Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3"] {
            let noon = schedule(zone, &[window(&["mon-sun"], "12:00", "13:00")]);
            for at in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX] {
                let _ = noon.active(at);
                assert_eq!(noon.next_change(at), None);
            }
            let end = Timestamp::MAX.as_second();
            assert_eq!(noon.next_change(end), None, "the next change is out of the calendar");
            assert!(noon.next_change(end - 2 * SECONDS_OF_DAY).is_some());
        }
    }

    #[test]
    fn days_are_names_and_ranges_around_the_week() {
        for (words, bits) in [
            (&["mon"][..], 0b000_0001),
            (&["mon", "tue"], 0b000_0011),
            (&["mon-fri"], 0b001_1111),
            (&["sat-mon"], 0b110_0001),
            (&["sun", "mon-sun"], 0b111_1111),
            (&["tue-mon"], 0b111_1111),
            (&["wed-wed"], 0b000_0100),
            (&["Fri - SAT"], 0b011_0000),
        ] {
            assert_eq!(window(words, "00:00", "24:00").days, bits, "{words:?}");
        }
        let window = window(&["mon"], "07:05", "24:00");
        assert_eq!((window.from, window.to), (425, 1440));
    }

    #[test]
    fn what_is_not_accepted_is_named_beside_what_is() {
        let days = |word| Window::new(&["mon", word], "00:00", "24:00").unwrap_err().to_string();
        for word in ["monday", "mon-", "", "mon-tue-wed", "1", "mo\n"] {
            assert_eq!(
                days(word),
                format!(
                    "day {word:?} is not known; accepted: mon, tue, wed, thu, fri, sat, sun, and ranges such as \"mon-fri\""
                )
            );
        }
        let none = Window::new(&[""; 0], "00:00", "24:00").unwrap_err().to_string();
        assert_eq!(none, "a window without days is never in force; give days such as \"mon-fri\"");
        let times = |from, to| Window::new(&["mon"], from, to).unwrap_err().to_string();
        for time in ["24:01", "7:00", "07:60", "25:00", "0700", "", "+7:00", "07:00:00", "24:00"] {
            assert_eq!(
                times(time, "12:00"),
                format!(
                    "time {time:?} is not accepted; write \"00:00\" to \"23:59\", and \"24:00\" for an end at midnight"
                )
            );
        }
        assert!(times("00:00", "24:01").starts_with("time \"24:01\" is not accepted"));
        assert_eq!(
            times("12:00", "12:00"),
            "a window from \"12:00\" to \"12:00\" has no length; write \"00:00\" to \"24:00\" for a whole day"
        );
        let none = Schedule::new(vec![], "UTC").unwrap_err().to_string();
        assert_eq!(none, "a schedule without windows is never in force; give one window at least");
    }

    #[test]
    fn zones_that_cannot_be_meant_are_refused() {
        let zones = |zone| Schedule::new(vec![window(&["mon"], "00:00", "24:00")], zone).unwrap_err().to_string();
        for zone in
            ["Mars/Base", "", "Etc/Unknown", "CET-1CEST", "CEST", ":Europe/Berlin", "+02:00", "../etc/localtime"]
        {
            let expected = "is not known; accepted: IANA names (\"Europe/Berlin\"), \"UTC\", and POSIX rules \
                            (\"CET-1CEST,M3.5.0,M10.5.0/3\")";
            assert_eq!(zones(zone), format!("zone {zone:?} {expected}"));
        }
        for zone in ["UTC+2", "GMT-3"] {
            let expected = "means the opposite to POSIX and to people; write the name of a place, or \"<+02>-2\" for two \
                            hours ahead of UTC";
            assert_eq!(zones(zone), format!("zone {zone:?} {expected}"));
        }
        for zone in [
            "AAA5BBB,J1/0,J365/23",
            "AAA-5BBB,J1/0,J180/0",
            "AAA-5BBB,J100,J365/167",
            "AAA5BBB,M12.5.0/23,M6.1.0",
            // The last Sunday of February is the fourth one, but for years in which the 29th is a Sunday.
            "CET22CEST,M2.5.0,M2.4.0/8",
            "AAA5BBB,M2.5.0/1,M2.4.0/9",
        ] {
            let expected = "changes its clock at the turn of a year, or in another order in some years, which is not \
                            supported; write an IANA name instead";
            assert_eq!(zones(zone), format!("zone {zone:?} {expected}"));
        }
    }

    /// The rules that tzdata 2025 has for zones that change their clocks, which is what OpenWrt writes to /etc/TZ.
    const RULES: [&str; 32] = [
        "<+00>0<+02>-2,M3.5.0/1,M10.5.0/3",
        "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
        "<+11>-11<+12>,M10.1.0,M4.1.0/3",
        "<+1245>-12:45<+1345>,M9.5.0/2:45,M4.1.0/3:45",
        "<-01>1<+00>,M3.5.0/0,M10.5.0/1",
        "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
        "<-03>3<-02>,M3.2.0,M11.1.0",
        "<-04>4<-03>,M9.1.6/24,M4.1.6/24",
        "<-06>6<-05>,M9.1.6/22,M4.1.6/22",
        "ACST-9:30ACDT,M10.1.0,M4.1.0/3",
        "AEST-10AEDT,M10.1.0,M4.1.0/3",
        "AKST9AKDT,M3.2.0,M11.1.0",
        "AST4ADT,M3.2.0,M11.1.0",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "CST5CDT,M3.2.0/0,M11.1.0/1",
        "CST6CDT,M3.2.0,M11.1.0",
        "EET-2EEST,M3.4.4/50,M10.4.4/50",
        "EET-2EEST,M3.5.0,M10.5.0/3",
        "EET-2EEST,M3.5.0/0,M10.5.0/0",
        "EET-2EEST,M3.5.0/3,M10.5.0/4",
        "EET-2EEST,M4.5.5/0,M10.5.4/24",
        "EST5EDT,M3.2.0,M11.1.0",
        "GMT0BST,M3.5.0/1,M10.5.0",
        "HST10HDT,M3.2.0,M11.1.0",
        "IST-1GMT0,M10.5.0,M3.5.0/1",
        "IST-2IDT,M3.4.4/26,M10.5.0",
        "MET-1MEST,M3.5.0,M10.5.0/3",
        "MST7MDT,M3.2.0,M11.1.0",
        "NST3:30NDT,M3.2.0,M11.1.0",
        "NZST-12NZDT,M9.5.0,M4.1.0/3",
        "PST8PDT,M3.2.0,M11.1.0",
        "WET0WEST,M3.5.0/1,M10.5.0",
    ];

    #[test]
    fn every_rule_that_a_place_goes_by_is_accepted() {
        for rule in RULES {
            assert!(zone_of(rule).is_ok(), "{rule}");
        }
    }

    #[test]
    fn every_zone_has_an_end_of_changes() {
        let mut zones = 0;
        for name in TimeZoneDatabase::bundled().available() {
            let Ok(zone) = zone_of(name.as_str()) else { panic!("{name:?}") };
            let mut last = Timestamp::MIN;
            for at in zone.following(Timestamp::MIN).map(|change| change.timestamp()) {
                assert!(at > last, "{name:?}: {at} after {last}");
                last = at;
            }
            zones += 1;
        }
        assert!(zones > 400, "{zones} zones");
    }
}
