//! Charts as inline SVG: shapes only, stretched to the width they get; words and figures stand beside them as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::moment;
use crate::history::query::Report;
use crate::tally::bytes;

/// Bars beside each other that can still be told apart on a small screen.
const MOST_BARS: i64 = 200;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// The drawing's size; it is stretched to the page.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 100.0;

/// How much was dropped, and would have been, in each hour; in each day, or in several, where hours would be too many.
/// Times that were not enforced are marked: there, nothing dropped means nothing known.
pub(super) fn over_time(report: &Report) -> String {
    let (since, until) = (report.since, report.until.max(report.since.saturating_add(1)));
    let step = step(until.saturating_sub(since));
    let begin = since.saturating_sub(since.rem_euclid(step.min(DAY)));
    let mut bars: BTreeMap<i64, [u64; 2]> = BTreeMap::new();
    for hour in &report.hours {
        let [dropped, monitored] = bars.entry((hour.begin - begin).div_euclid(step)).or_default();
        *dropped = dropped.saturating_add(hour.counted.dropped.bytes);
        *monitored = monitored.saturating_add(hour.counted.monitored.bytes);
    }
    let most = bars.values().map(|[dropped, monitored]| dropped.saturating_add(*monitored)).max().unwrap_or(0);
    let top = round_up(most);
    let count = ((until - begin) as f64 / step as f64).ceil().max(1.0);
    let place = |time: i64| ((time - begin) as f64 / (count * step as f64)).clamp(0.0, 1.0) * WIDTH;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Bytes dropped over \
         time, at most {}\">",
        bytes(most)
    );
    for gap in report.enforcement.gaps.iter().filter(|gap| gap.end > gap.begin) {
        let (left, right) = (place(gap.begin), place(gap.end));
        // One that is shorter than a line is wide is a line.
        rect(&mut svg, "gap", left, 0.0, (right - left).max(1.5), HEIGHT);
    }
    for line in [0.25, 0.5, 0.75] {
        rect(&mut svg, "grid", 0.0, HEIGHT * line, WIDTH, 0.3);
    }
    let width = WIDTH / count;
    for (index, [dropped, monitored]) in bars {
        let left = index as f64 * width + width * 0.1;
        let height = |value: u64| if top == 0 { 0.0 } else { value as f64 / top as f64 * HEIGHT };
        let (low, high) = (height(dropped), height(monitored));
        rect(&mut svg, "block", left, HEIGHT - low, width * 0.8, low);
        rect(&mut svg, "monitor", left, HEIGHT - low - high, width * 0.8, high);
    }
    svg.push_str("</svg>");
    let unit = match step {
        HOUR => "hour".to_owned(),
        DAY => "day".to_owned(),
        _ => format!("{} days", step / DAY),
    };
    let end = begin + (count * step as f64) as i64;
    let at = |part: i64| {
        let text = moment(begin + (end - begin) / 4 * part);
        // Seconds say nothing here.
        text.get(..16).unwrap_or(&text).to_owned()
    };
    let scale = if top == 0 { "nothing".to_owned() } else { bytes(top) };
    format!(
        "<figure><figcaption>Bytes in each {unit}: <i class=\"key block\"></i> dropped, <i class=\"key monitor\"></i> would \
         be dropped, <i class=\"key gap\"></i> not enforced. The top is {scale}.</figcaption>\n{svg}\n<div class=\"axis\">\
         <span>{}</span><span class=\"wide\">{}</span><span>{}</span><span class=\"wide\">{}</span><span>{}</span></div>\
         </figure>\n",
        at(0),
        at(1),
        at(2),
        at(3),
        at(4)
    )
}

fn step(length: i64) -> i64 {
    if length / HOUR <= MOST_BARS { HOUR } else { (length / DAY / MOST_BARS + 1) * DAY }
}

fn rect(svg: &mut String, class: &str, x: f64, y: f64, width: f64, height: f64) {
    if height > 0.0 {
        // Writing to a string cannot fail.
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\"/>"
        );
    }
}

/// The next figure of one or two digits in its binary unit: what people read at the top of a scale.
fn round_up(value: u64) -> u64 {
    let mut unit: u64 = 1;
    while value / unit >= 1024 {
        unit = unit.saturating_mul(1024);
    }
    let whole = value.div_ceil(unit);
    let step = match whole {
        0..=10 => 1,
        11..=100 => 10,
        _ => 100,
    };
    whole.div_ceil(step).saturating_mul(step).saturating_mul(unit)
}

/// A bar of this part of a row's width.
pub(super) fn bar(class: &str, part: u64, whole: u64) -> String {
    let width = if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 };
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"{class}\" \
         width=\"{width:.2}\" height=\"10\"/></svg>"
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::hostile;
    use super::*;

    #[test]
    fn scales_end_in_round_figures() {
        assert_eq!([0, 1, 11, 99, 101, 1023].map(round_up), [0, 1, 20, 100, 200, 1100]);
        assert_eq!([1024, 1025, 11 << 20, u64::MAX].map(round_up), [1024, 2048, 20 << 20, u64::MAX]);
    }

    #[test]
    fn bars_stand_where_their_time_is_and_gaps_behind_them() {
        let mut report = hostile();
        report.until = report.since + 4 * HOUR;
        let hour = report.hours[0].clone();
        report.hours.push(crate::history::query::HourRow { begin: hour.begin + 2 * HOUR, ..hour });
        let chart = over_time(&report);
        // 300 of 400 bytes, four hours of 250 units, 80 % of each.
        assert!(chart.contains("class=\"block\" x=\"25.00\" y=\"25.00\" width=\"200.00\" height=\"75.00\""), "{chart}");
        assert!(chart.contains("class=\"block\" x=\"525.00\" y=\"25.00\""), "{chart}");
        assert!(
            chart.contains("class=\"monitor\" x=\"25.00\" y=\"20.00\" width=\"200.00\" height=\"5.00\""),
            "{chart}"
        );
        assert!(chart.contains("class=\"gap\" x=\"6.94\""), "{chart}");
        assert!(chart.find("class=\"gap\" x").unwrap() < chart.find("class=\"block\" x").unwrap());
        assert!(chart.contains("The top is 400 B") && chart.contains("<span>2025-11-24 04:00</span></div>"), "{chart}");
    }

    #[test]
    fn any_span_has_a_chart_of_a_bounded_size() {
        for length in [0, 1, HOUR, 8 * DAY, 9 * DAY, 730 * DAY, 36_600 * DAY] {
            let mut report = hostile();
            report.until = report.since + length;
            report.hours = (0..2000)
                .map(|index| crate::history::query::HourRow {
                    begin: report.since + length / 2000 * index,
                    ..report.hours[0].clone()
                })
                .collect();
            let chart = over_time(&report);
            assert!(chart.matches("<rect").count() <= 2 * 202 + 4, "{length}");
        }
    }
}
