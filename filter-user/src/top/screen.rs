//! The whole screen as lines: header, bars, one table, keys. Pure; any size, down to none.

use std::time::Duration;

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::Top;
use super::header::{self, Tone};
use super::keys::{Mode, Wish};
use super::rows::{self, Table};
use super::text::{clean, cut, short, width};
use crate::report::Status;

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Colours; without them, bold and reversed text say the same.
    pub colour: bool,
    /// Block characters; without them, bars are made of ASCII.
    pub blocks: bool,
}

impl Look {
    fn style(self, tone: Tone) -> Style {
        let (colour, modifier) = match tone {
            Tone::Plain => return Style::new(),
            Tone::Good => (Color::Green, Modifier::BOLD),
            Tone::Notice => (Color::Yellow, Modifier::BOLD),
            Tone::Bad => (Color::Red, Modifier::BOLD | Modifier::REVERSED),
        };
        let style = Style::new().add_modifier(modifier);
        if self.colour { style.fg(colour) } else { style }
    }
}

/// What the clocks say.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The clock that readings are dated by.
    pub at: Duration,
    /// Unix seconds.
    pub unix: i64,
}

const KEYS: [&str; 12] = [
    "Tab 1 2 3      next table; rules, clients, devices",
    "s S            sort by the next column; turn the order round",
    "/              show only rows that contain a text; Esc ends it",
    "arrows j k     move; also Page Up and Down, Home, End",
    "p              pause all blocking for 5 minutes (asks first)",
    "r              end a pause (asks first)",
    "q Ctrl-C       quit; weir goes on",
    "",
    "A packet that several rules match counts for each of them.",
    "Clients: the 100 that met most. last: when the rule was met.",
    "bit/s and packets/s are of the last second, bytes and",
    "packets of all time. - : not known.",
];

/// Draws `height` lines.
pub(super) fn lines(top: &mut Top, look: Look, (most, height): (usize, usize), now: Now) -> Vec<Line<'static>> {
    let mut lines = above(top, look, (most, height), now);
    // A table of three rows and the keys stay, where there are so many lines.
    lines.truncate(height.saturating_sub(6).max(1));
    let room = height.saturating_sub(lines.len() + 1);
    lines.extend(body(top, (most, room), now));
    lines.resize(height.saturating_sub(1), Line::default());
    lines.push(footer(top, look, most));
    lines.truncate(height);
    lines
}

fn above(top: &Top, look: Look, (most, height): (usize, usize), now: Now) -> Vec<Line<'static>> {
    let line = |tone: Tone, text: &str| Line::styled(cut(text, most), look.style(tone));
    let mut lines = Vec::new();
    if let Some((problem, since)) = &top.trouble {
        let secs = now.at.saturating_sub(*since).as_secs();
        lines.push(line(Tone::Bad, &format!("NO ANSWER for {secs} s, asking again: {}", clean(problem))));
    }
    let Some(status) = &top.status else {
        if lines.is_empty() {
            lines.push(line(Tone::Plain, "asking weir ..."));
        }
        return lines;
    };
    let (tone, words) = match (header::standing(status), &top.trouble) {
        (standing, None) => standing,
        ((_, words), Some(_)) => (Tone::Plain, &*format!("last known: {words}")),
    };
    let title = format!("  {}", header::title(status));
    let room = most.saturating_sub(width(words));
    lines.push(Line::from(vec![Span::styled(cut(words, most), look.style(tone)), Span::raw(cut(&title, room))]));
    lines.push(line(Tone::Plain, &header::devices(status)));
    lines.extend(alerts(status, height / 5, line));
    lines.extend(header::speed(top.rates.as_ref(), top.trouble.is_none()).iter().map(|text| line(Tone::Plain, text)));
    if height >= 16 {
        let bars = top.dropped.bars(most, 1 + (height - 16) / 10, look.blocks);
        lines.push(line(Tone::Plain, &format!("peak {} packets/s dropped in 5 minutes", short(top.dropped.peak()))));
        let bar = if look.colour { Style::new().fg(Color::Cyan) } else { Style::new() };
        lines.extend(bars.into_iter().map(|text| Line::styled(text, bar)));
    }
    lines
}

/// As many as have room; the last line says how many more there are.
fn alerts(status: &Status, room: usize, line: impl Fn(Tone, &str) -> Line<'static>) -> Vec<Line<'static>> {
    let alerts = header::alerts(status);
    let shown = if alerts.len() <= room { alerts.len() } else { room.saturating_sub(1) };
    let mut lines: Vec<_> = alerts.iter().take(shown).map(|(tone, text)| line(*tone, text)).collect();
    if let Some((tone, _)) = alerts.get(shown) {
        lines.push(line(*tone, &format!("and {} more (weir status)", alerts.len() - shown)));
    }
    lines
}

/// The chosen table, or the help.
fn body(top: &mut Top, (most, room): (usize, usize), now: Now) -> Vec<Line<'static>> {
    if top.view.mode == Mode::Help {
        return KEYS.iter().take(room).map(|text| Line::raw(cut(text, most))).collect();
    }
    let Some(status) = &top.status else { return Vec::new() };
    let view = &mut top.view;
    let page = rows::page((view.table, view.sorted(), &view.filter), (status, top.rates.as_ref(), now.unix), most);
    view.page = room.saturating_sub(2);
    view.first = view.first.min(page.rows.len().saturating_sub(view.page));
    let mut lines = vec![tabs(view.table, page.rows.len(), page.of, &view.filter, most)];
    let titles = rows_width(&page.titles, most);
    lines.push(Line::styled(titles, Style::new().add_modifier(Modifier::REVERSED)));
    lines.extend(page.rows.into_iter().skip(view.first).take(view.page).map(Line::raw));
    lines.truncate(room);
    lines
}

/// A line that reaches the right edge.
fn rows_width(text: &str, most: usize) -> String {
    super::text::fill(text, most, false)
}

fn tabs(shown: Table, rows: usize, of: usize, filter: &str, most: usize) -> Line<'static> {
    let mut room = most;
    let mut spans = Vec::new();
    let mut push = |text: &str, style: Style| {
        let text = cut(text, room);
        room = room.saturating_sub(width(&text));
        spans.push(Span::styled(text, style));
    };
    for (number, table) in (1..).zip(Table::ALL) {
        let style = if table == shown {
            Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
        } else {
            Style::new()
        };
        push(&format!("{number} {}", table.name()), style);
        push("  ", Style::new());
    }
    if !filter.is_empty() {
        push(&format!(" {rows} of {of} with \"{}\"", clean(filter)), Style::new().add_modifier(Modifier::BOLD));
    }
    Line::from(spans)
}

fn footer(top: &Top, look: Look, most: usize) -> Line<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let (text, style) = match (&top.view.mode, &top.note) {
        (Mode::Filter, _) => (format!("filter: {}_   (Enter keeps it, Esc ends it)", clean(&top.view.filter)), bold),
        (Mode::Question(Wish::Resume), _) => ("End the pause and block again? y/n".into(), look.style(Tone::Notice)),
        (Mode::Question(_), _) => ("Pause all blocking for 5 minutes? y/n".into(), look.style(Tone::Notice)),
        (Mode::Help, _) => ("any key goes back".into(), bold),
        (Mode::Tables, Some(note)) => (clean(note), bold),
        (Mode::Tables, None) => ("Tab table  s sort  / filter  p r pause  ? help  q quit".into(), Style::new()),
    };
    Line::styled(cut(&text, most), style)
}
