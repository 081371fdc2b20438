//! One page instead of a screen: two readings as text for people or JSON for programs. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::header;
use super::rates::Rates;
use super::rows::{self, Sort, Table};
use crate::report::Status;

/// Two readings; the JSON of `weir top --once --json`.
#[derive(Debug, Serialize)]
pub struct Reading {
    /// Seconds between the two.
    pub secs: f64,
    /// The rates; none where the difference says nothing.
    pub rates: Option<Rates>,
    /// The second one, as `weir status --json` shows it.
    pub status: Status,
}

impl Reading {
    /// Puts two answers of the daemon together.
    #[must_use]
    pub fn new(before: &Status, status: Status, time: Duration) -> Self {
        Self { secs: time.as_secs_f64(), rates: Rates::between(before, &status, time), status }
    }
}

/// Columns that a page takes at most.
const WIDTH: usize = 140;

/// A page for people.
#[must_use]
pub fn page(reading: &Reading, now: i64) -> String {
    let Reading { status, rates, .. } = reading;
    let mut text = format!("{}  {}\n{}\n", header::standing(status).1, header::title(status), header::devices(status));
    for (_, alert) in header::alerts(status) {
        let _ = writeln!(text, "{alert}");
    }
    let speed = match rates {
        Some(_) => header::speed(rates.as_ref(), true),
        None => vec!["rates: not known, weir was started anew between the two readings".into()],
    };
    for line in speed {
        let _ = writeln!(text, "{line}");
    }
    for table in Table::ALL {
        let page = rows::page((table, Sort::first(table), ""), (status, rates.as_ref(), now), WIDTH);
        if page.of > 0 {
            let _ = write!(text, "\n{}\n", page.titles);
            for row in page.rows {
                let _ = writeln!(text, "{row}");
            }
        }
    }
    text
}
