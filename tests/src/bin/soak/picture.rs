//! The samples as a picture: a strip for each figure, from 0 on, over the time. Pure.

use std::fmt::Write as _;

use crate::sample::{Sample, Trend};

const LEFT: f64 = 120.0;
const RIGHT: f64 = 860.0;
const STRIP: f64 = 110.0;
const GAP: f64 = 34.0;

/// A picture of the trends.
pub(crate) fn svg(trends: &[Trend], samples: &[Sample]) -> String {
    let height = 30.0 + trends.len() as f64 * (STRIP + GAP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"900\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    let last = samples.last().map_or(1, |sample| sample.second) as f64;
    for (number, trend) in trends.iter().enumerate() {
        let top = 30.0 + number as f64 * (STRIP + GAP);
        let values: Vec<f64> = samples.iter().map(|sample| (trend.figure)(sample) as f64 / trend.unit.1).collect();
        // Room above the highest.
        let most = values.iter().copied().fold(0.0, f64::max) * 1.1;
        let most = if most > 0.0 { most } else { 1.0 };
        let at = |sample: &Sample, value: f64| {
            let x = LEFT + sample.second as f64 / last * (RIGHT - LEFT);
            format!("{x:.1},{:.1}", top + STRIP - value / most * STRIP)
        };
        let points: Vec<String> = samples.iter().zip(&values).map(|(sample, &value)| at(sample, value)).collect();
        let bottom = top + STRIP;
        let stroke = "stroke=\"#dddddd\"";
        writeln!(
            svg,
            "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{}\" height=\"{STRIP}\" fill=\"none\" {stroke}/>",
            RIGHT - LEFT
        )
        .unwrap();
        writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#0072b2\" stroke-width=\"1.5\"/>",
            points.join(" ")
        )
        .unwrap();
        let unit = if trend.unit.0.is_empty() { String::new() } else { format!(", {}", trend.unit.0) };
        writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\">{}{unit}</text>", top - 6.0, trend.name).unwrap();
        writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{most:.1}</text>", LEFT - 6.0, top + 10.0).unwrap();
        writeln!(svg, "<text x=\"{}\" y=\"{bottom}\" text-anchor=\"end\">0</text>", LEFT - 6.0).unwrap();
    }
    writeln!(svg, "<text x=\"{RIGHT}\" y=\"{}\" text-anchor=\"end\">{last:.0} s</text>", height - 14.0).unwrap();
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_has_a_strip_with_a_point_for_each_second() {
        let sample = |second| Sample { second, resident: 9_000_000, maps: 1, descriptors: 7, generation: 1, seen: 1 };
        let samples: Vec<Sample> = (1..=50).map(sample).collect();
        let svg = svg(&Trend::all(&samples), &samples);
        assert_eq!(svg.matches("<polyline").count(), 3);
        assert_eq!(svg.lines().find(|line| line.contains("<polyline")).unwrap().matches(',').count(), 50);
    }
}
