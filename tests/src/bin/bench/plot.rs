//! Curves as SVG, both axes logarithmic. Pure; needs no font but the reader's.

use std::fmt::Write as _;

/// One candidate's curve.
pub(crate) struct Curve {
    pub(crate) name: String,
    /// Size and cost, both above 0.
    pub(crate) points: Vec<(f64, f64)>,
}

/// The frame that curves are drawn in; names stand right of it.
const LEFT: f64 = 60.0;
const RIGHT: f64 = 620.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 400.0;
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 440.0;
/// Colours that most people can tell apart (Okabe and Ito), then the same with dashes.
const COLOURS: [&str; 8] = ["#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f"];

/// An axis: the decades it spans, and where they are.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// The whole decades around the values.
    fn around(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.map(f64::log10).filter(|value| value.is_finite()) {
            (low, high) = (low.min(value.floor()), high.max(value.ceil()));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        Self { low, high: high.max(low + 1.0), from, to }
    }

    fn place(&self, value: f64) -> f64 {
        self.from + (value.log10() - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    fn decades(&self) -> Vec<f64> {
        let steps = (self.high - self.low).round();
        #[expect(clippy::cast_sign_loss, reason = "high is above low")]
        (0..=steps as u32).map(|step| 10_f64.powf(self.low + f64::from(step))).collect()
    }
}

/// A picture of the curves.
pub(crate) fn svg(title: &str, across: &str, up: &str, curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let x = Axis::around(points().map(|point| point.0), LEFT, RIGHT);
    let y = Axis::around(points().map(|point| point.1), BOTTOM, TOP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    text(&mut svg, LEFT, TOP - 16.0, "start", &format!("{title}: {up} by {across}"));
    for value in x.decades() {
        let at = x.place(value);
        line(&mut svg, (at, TOP), (at, BOTTOM));
        text(&mut svg, at, BOTTOM + 18.0, "middle", &figure(value));
    }
    for value in y.decades() {
        let at = y.place(value);
        line(&mut svg, (LEFT, at), (RIGHT, at));
        text(&mut svg, LEFT - 6.0, at + 4.0, "end", &figure(value));
    }
    for (number, curve) in curves.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let dashes = if number < COLOURS.len() { "" } else { " stroke-dasharray=\"5 3\"" };
        let stroke = format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}");
        let places: Vec<String> =
            curve.points.iter().map(|&(a, b)| format!("{:.1},{:.1}", x.place(a), y.place(b))).collect();
        writeln!(svg, "<polyline points=\"{}\" {stroke}/>", places.join(" ")).unwrap();
        let row = TOP + 10.0 + 18.0 * number as f64;
        let (from, to) = (RIGHT + 16.0, RIGHT + 40.0);
        writeln!(svg, "<polyline points=\"{from:.1},{row:.1} {to:.1},{row:.1}\" {stroke}/>").unwrap();
        text(&mut svg, to + 6.0, row + 4.0, "start", &curve.name);
    }
    svg.push_str("</svg>\n");
    svg
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    writeln!(svg, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#dddddd\"/>").unwrap();
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>").unwrap();
}

fn figure(value: f64) -> String {
    match value {
        1e6.. => format!("{:.0}M", value / 1e6),
        1e3.. => format!("{:.0}k", value / 1e3),
        _ => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_times_as_much_is_as_far_everywhere_and_decades_are_marked() {
        let axis = Axis::around([100.0, 564_580.0].into_iter(), 0.0, 400.0);
        let places = [100.0, 1e3, 1e6].map(|value| format!("{:.1}", axis.place(value)));
        assert_eq!(places, ["0.0", "100.0", "400.0"]);
        assert_eq!(
            axis.decades().iter().map(|&value| figure(value)).collect::<Vec<_>>(),
            ["100", "1k", "10k", "100k", "1M"]
        );
    }

    #[test]
    fn every_curve_is_drawn_and_named_and_names_cannot_break_the_picture() {
        let curve = |name: &str| Curve { name: name.into(), points: vec![(100.0, 20.0), (1000.0, 90.0)] };
        let svg = svg("title", "listed", "ns", &[curve("a < b & c"), curve("d")]);
        assert_eq!(svg.matches("<polyline").count(), 4);
        assert!(svg.contains(">a &lt; b &amp; c</text>"), "{svg}");
    }

    #[test]
    fn nothing_to_draw_is_an_empty_frame() {
        assert!(svg("title", "listed", "ns", &[]).ends_with("</svg>\n"));
    }
}
