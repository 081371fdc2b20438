//! The last minutes of one rate as bars made of characters. Pure.

use std::collections::VecDeque;

/// Readings that are kept: five minutes, at one each second.
const KEPT: usize = 300;

/// Heights of a bar within one line; those of the locale that has no block characters.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII: [char; 3] = ['.', ':', '|'];

/// The last values of a rate; none where it was not known.
#[derive(Clone, Debug, Default)]
pub(super) struct Spark {
    values: VecDeque<Option<f64>>,
    /// Values that were ever put in: which ones share a bar must not change as time goes on.
    count: usize,
}

impl Spark {
    /// Puts in the value of the latest reading.
    pub(super) fn push(&mut self, value: Option<f64>) {
        if self.values.len() == KEPT {
            self.values.pop_front();
        }
        self.values.push_back(value);
        self.count += 1;
    }

    /// The largest value.
    pub(super) fn peak(&self) -> f64 {
        self.values.iter().flatten().copied().fold(0.0, f64::max)
    }

    /// Lines of bars, the latest at the right. A bar is the largest of its values; `?` where all are unknown.
    pub(super) fn bars(&self, width: usize, height: usize, blocks: bool) -> Vec<String> {
        let steps: &[char] = if blocks { &BLOCKS } else { &ASCII };
        let each = KEPT.div_ceil(width.max(1));
        let first = self.count - self.values.len();
        let mut bars: VecDeque<Option<f64>> = VecDeque::new();
        let mut open = None;
        for (value, number) in self.values.iter().zip(first..) {
            if open == Some(number / each) {
                if let Some(bar) = bars.back_mut() {
                    *bar = bar.map_or(*value, |bar| Some(bar.max(value.unwrap_or(0.0))));
                }
            } else {
                open = Some(number / each);
                bars.push_back(*value);
            }
        }
        while bars.len() > width {
            bars.pop_front();
        }
        let (peak, full) = (self.peak(), height * steps.len());
        // How many of all steps are lower than the value.
        let level = |value: f64| (0..full).take_while(|&step| value * full as f64 > peak * step as f64).count();
        let space = " ".repeat(width - bars.len());
        (0..height)
            .rev()
            .map(|line| {
                let below = line * steps.len();
                let glyph = |bar: &Option<f64>| match bar {
                    None => [' ', '?'][usize::from(line == 0)],
                    Some(value) => match level(*value).saturating_sub(below).min(steps.len()) {
                        0 => ' ',
                        step => steps.get(step - 1).copied().unwrap_or(' '),
                    },
                };
                space.chars().chain(bars.iter().map(glyph)).collect()
            })
            .collect()
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "quotients of small whole numbers are exact")]
mod tests {
    use super::*;

    fn spark(values: impl IntoIterator<Item = Option<f64>>) -> Spark {
        let mut spark = Spark::default();
        values.into_iter().for_each(|value| spark.push(value));
        spark
    }

    #[test]
    fn the_latest_value_stands_at_the_right_and_the_peak_is_a_full_bar() {
        let spark = spark([0.0, 4.0, 8.0, 1.0].map(Some));
        assert_eq!(spark.peak(), 8.0);
        assert_eq!(spark.bars(300, 1, true), [" ".repeat(296) + " ▄█▁"]);
        let two = spark.bars(300, 2, true);
        assert_eq!((two[0].trim_start(), &two[1][296..]), ("█ ", " ██▂"));
        assert_eq!(spark.bars(300, 1, false)[0].trim_start(), ":|.");
    }

    #[test]
    fn what_is_not_known_is_no_zero() {
        assert_eq!(spark([Some(1.0), None, Some(0.0)]).bars(300, 1, true), [" ".repeat(297) + "█? "]);
        assert_eq!(spark([]).bars(4, 1, true), ["    "]);
        assert_eq!(spark([Some(0.0)]).bars(4, 1, true), ["    "]);
    }

    #[test]
    fn bars_hold_their_values_as_time_goes_on() {
        // 30 columns: ten readings in each bar.
        let mut spark = spark((0..295).map(|n| Some(f64::from(u8::from(n == 141)))));
        for n in 295..700 {
            let bars: Vec<char> = spark.bars(30, 1, true)[0].chars().collect();
            let last = (n - 1) / 10;
            let expected = if n - 141 > KEPT { None } else { 29_usize.checked_sub(last - 14) };
            assert_eq!(bars.iter().position(|&c| c == '█'), expected, "{n}");
            spark.push(Some(0.0));
        }
    }

    #[test]
    fn any_size_is_drawn() {
        for width in 0..400 {
            for height in 0..5 {
                let bars = spark((0..width).map(|n| Some(n as f64))).bars(width, height, true);
                assert_eq!(bars.len(), height);
                assert!(bars.iter().all(|line| line.chars().count() == width));
            }
        }
    }
}
