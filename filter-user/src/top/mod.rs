//! `weir top`: what is counted just now. All but `terminal` is pure: readings, keys, a size and the time become lines of
//! text.

mod header;
mod keys;
mod once;
mod rates;
mod rows;
#[cfg(test)]
mod sample;
mod screen;
mod spark;
pub mod terminal;
#[cfg(test)]
mod tests;
mod text;

use std::time::Duration;

use ratatui::text::Line;

pub use keys::{Key, Wish};
pub use once::{Reading, page};
pub use rates::{ClientRate, DeviceRate, Rate, Rates, RuleRate};
pub use screen::{Look, Now};

use crate::report::Status;
use keys::View;
use spark::Spark;

/// What was read, and what of it is shown.
#[derive(Debug, Default)]
pub struct Top {
    /// The last answer, and when it came.
    status: Option<Status>,
    read: Duration,
    /// From the two last answers; after a time without any, their mean.
    rates: Option<Rates>,
    /// Packets dropped each second.
    dropped: Spark,
    /// Why there is no answer, and since when.
    trouble: Option<(String, Duration)>,
    view: View,
    /// What became of the last wish.
    note: Option<String>,
}

impl Top {
    /// Takes an answer, or why there is none. `at` is a clock that is never set.
    pub fn take(&mut self, answer: Result<Status, String>, at: Duration) {
        match answer {
            Ok(status) => {
                let time = at.saturating_sub(self.read);
                self.rates = self.status.as_ref().and_then(|before| Rates::between(before, &status, time));
                // The first reading has no rate and is no gap.
                if self.status.is_some() {
                    self.dropped.push(self.rates.as_ref().map(|rates| rates.dropped.packets));
                }
                (self.status, self.read, self.trouble) = (Some(status), at, None);
            }
            Err(problem) => {
                let since = self.trouble.take().map_or(at, |(_, since)| since);
                self.trouble = Some((problem, since));
                self.rates = None;
                self.dropped.push(None);
            }
        }
    }

    /// Takes what became of a wish, in one line.
    pub fn tell(&mut self, note: String) {
        self.note = Some(note);
    }

    /// Takes a key.
    pub fn press(&mut self, key: Key) -> Option<Wish> {
        self.note = None;
        self.view.press(key)
    }

    /// The screen: exactly `height` lines of at most `width` columns.
    pub fn lines(&mut self, look: Look, (width, height): (u16, u16), now: Now) -> Vec<Line<'static>> {
        screen::lines(self, look, (width.into(), height.into()), now)
    }
}
