//! The three tables: their columns, rows, order and width. Pure; knows no terminal.

use std::cmp::Ordering;

use super::rates::{Rate, Rates};
use super::text::{clean, cut, fill, short, width};
use crate::render;
use crate::report::Status;
use crate::tally::{self, Tally};

/// Which table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Table {
    #[default]
    Rules,
    Clients,
    Devices,
}

impl Table {
    pub(super) const ALL: [Self; 3] = [Self::Rules, Self::Clients, Self::Devices];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Clients => "clients",
            Self::Devices => "devices",
        }
    }

    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Self::Rules => &RULES,
            Self::Clients => &CLIENTS,
            Self::Devices => &DEVICES,
        }
    }
}

/// A column, and how soon it goes where there is no room: 0 stays, the highest goes first.
#[derive(Debug)]
pub(super) struct Column {
    title: &'static str,
    goes: u8,
}

const fn column(title: &'static str, goes: u8) -> Column {
    Column { title, goes }
}

const RULES: [Column; 10] = [
    column("rule", 0),
    column("action", 2),
    column("bit/s", 0),
    column("packets/s", 1),
    column("out p/s", 6),
    column("in p/s", 6),
    column("bytes", 3),
    column("packets", 4),
    column("last", 5),
    column("note", 7),
];
const CLIENTS: [Column; 8] = [
    column("client", 0),
    column("dropped bit/s", 0),
    column("packets/s", 1),
    column("dropped bytes", 2),
    column("packets", 4),
    column("would drop bit/s", 5),
    column("would drop", 3),
    column("allowed", 6),
];
const DEVICES: [Column; 11] = [
    column("device", 0),
    column("attached", 1),
    column("state", 1),
    column("seen bit/s", 0),
    column("packets/s", 2),
    column("seen bytes", 3),
    column("packets", 4),
    column("IPv4", 5),
    column("IPv6", 5),
    column("not IP", 6),
    column("cut off", 6),
];

/// Column and direction that a table is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) column: usize,
    /// The smallest first, and texts from the end of the alphabet.
    pub(super) reversed: bool,
}

impl Sort {
    /// What moves most, first.
    pub(super) fn first(table: Table) -> Self {
        Self {
            column: if table == Table::Devices { 3 } else { usize::from(table == Table::Rules) + 1 },
            reversed: false,
        }
    }
}

/// What stands in one place of a table.
enum Cell {
    Text(String),
    Figure(f64, String),
    /// A figure that is not known.
    Unknown,
}

impl Cell {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Figure(_, text) => text,
            Self::Unknown => "-",
        }
    }

    /// Figures from the largest, what is not known last; texts by the alphabet.
    fn compare(&self, other: &Self) -> Ordering {
        let value = |cell: &Self| if let Self::Figure(value, _) = cell { *value } else { f64::NEG_INFINITY };
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (a, b) => value(b).total_cmp(&value(a)),
        }
    }
}

fn text(text: &str) -> Cell {
    Cell::Text(clean(text))
}

fn count(count: u64) -> Cell {
    Cell::Figure(count as f64, count.to_string())
}

fn bytes(tally: Tally) -> Cell {
    Cell::Figure(tally.bytes as f64, tally::bytes(tally.bytes))
}

fn known(value: Option<f64>) -> Cell {
    value.map_or(Cell::Unknown, |value| Cell::Figure(value, short(value)))
}

fn packets(rate: Option<Rate>) -> Cell {
    known(rate.map(|rate| rate.packets))
}

fn bits(rate: Option<Rate>) -> Cell {
    known(rate.map(|rate| rate.bits))
}

type Row = Vec<Cell>;

fn all(table: Table, status: &Status, rates: Option<&Rates>, now: i64) -> Vec<Row> {
    match table {
        Table::Rules => rules(status, rates, now),
        Table::Clients => clients(status, rates),
        Table::Devices => devices(status, rates),
    }
}

fn rules(status: &Status, rates: Option<&Rates>, now: i64) -> Vec<Row> {
    let row = |rule: &crate::report::RuleTotals| {
        let rate = rates.and_then(|rates| rates.rule(&rule.name, rule.action)).filter(|_| !rule.retired);
        let (out, in_) = (rate.map(|rate| rate.0), rate.map(|rate| rate.1));
        let both = rate.map(|(out, in_)| out.plus(in_));
        let mut sum = rule.out;
        sum += rule.in_;
        let age = rule.last.map(|last| now.saturating_sub(last).max(0));
        let last = age.map_or(Cell::Unknown, |age| Cell::Figure(-(age as f64), format!("{} ago", render::span(age))));
        let note = match rule {
            rule if rule.retired => "no longer configured",
            rule if status.resting.contains(&rule.name) => "off by schedule",
            _ => "",
        };
        vec![
            text(&rule.name),
            text(rule.action.as_str()),
            bits(both),
            packets(both),
            packets(out),
            packets(in_),
            bytes(sum),
            count(sum.packets),
            last,
            text(note),
        ]
    };
    status.rules.iter().map(row).collect()
}

fn clients(status: &Status, rates: Option<&Rates>) -> Vec<Row> {
    let row = |client: &crate::report::ClientTotals| {
        let rate = rates.and_then(|rates| rates.client(client.client));
        let dropped = rate.map(|rate| rate.dropped);
        vec![
            text(&client.client.to_string()),
            bits(dropped),
            packets(dropped),
            bytes(client.dropped),
            count(client.dropped.packets),
            bits(rate.map(|rate| rate.monitored)),
            bytes(client.monitored),
            bytes(client.allowed),
        ]
    };
    status.clients.iter().map(row).collect()
}

fn devices(status: &Status, rates: Option<&Rates>) -> Vec<Row> {
    let row = |device: &crate::report::DeviceStatus| {
        let rate = rates.and_then(|rates| rates.device(&device.name));
        vec![
            text(&device.name),
            text(&device.attach),
            text(&device.state),
            bits(rate),
            packets(rate),
            bytes(device.seen),
            count(device.seen.packets),
            count(device.parsed.ipv4),
            count(device.parsed.ipv6),
            count(device.parsed.non_ip),
            count(device.parsed.truncated),
        ]
    };
    status.devices.iter().map(row).collect()
}

/// A table as lines of text: the titles, and the rows in order.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) titles: String,
    pub(super) rows: Vec<String>,
    /// Rows before any were filtered out.
    pub(super) of: usize,
}

/// The table `width` columns wide, sorted, and only rows that hold `filter`.
pub(super) fn page(
    (table, sort, filter): (Table, Sort, &str),
    (status, rates, now): (&Status, Option<&Rates>, i64),
    most: usize,
) -> Page {
    let filter = clean(filter).to_lowercase();
    let mut rows = all(table, status, rates, now);
    let of = rows.len();
    rows.retain(|row| row.iter().any(|cell| matches!(cell, Cell::Text(text) if text.to_lowercase().contains(&filter))));
    // Equal ones stay in the order of the status.
    rows.sort_by(|a, b| {
        let order = match (a.get(sort.column), b.get(sort.column)) {
            (Some(a), Some(b)) => a.compare(b),
            _ => Ordering::Equal,
        };
        if sort.reversed { order.reverse() } else { order }
    });
    let titles: Vec<String> = (table.columns().iter().enumerate())
        .map(|(index, column)| match sort {
            Sort { column: sorted, reversed } if sorted == index => {
                format!("{} {}", column.title, if reversed { "^" } else { "v" })
            }
            _ => column.title.to_owned(),
        })
        .collect();
    let widths = widths(table, &titles, &rows, sort.column, most);
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (index, cell) in cells.enumerate() {
            let Some(&Some(to)) = widths.get(index) else { continue };
            if !line.is_empty() {
                line.push_str("  ");
            }
            line.push_str(&fill(cell, to, is_figure(table, index)));
        }
        cut(line.trim_end(), most)
    };
    Page {
        titles: line(&mut titles.iter().map(String::as_str)),
        rows: rows.iter().map(|row| line(&mut row.iter().map(Cell::text))).collect(),
        of,
    }
}

/// Names stand on the left, figures on the right.
fn is_figure(table: Table, index: usize) -> bool {
    let left = match table {
        Table::Rules => [0, 1, 9].as_slice(),
        Table::Clients => &[0],
        Table::Devices => &[0, 1, 2],
    };
    !left.contains(&index)
}

/// The width of each column that is shown.
fn widths(table: Table, titles: &[String], rows: &[Row], sorted: usize, most: usize) -> Vec<Option<usize>> {
    let columns = table.columns();
    let of = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| width(cell.text()));
        cells.chain(titles.get(index).map(|title| width(title))).max()
    };
    let mut widths: Vec<Option<usize>> = (0..columns.len()).map(of).collect();
    let taken = |widths: &[Option<usize>]| widths.iter().flatten().map(|width| width + 2).sum::<usize>();
    let mut name = widths.first().copied().flatten().unwrap_or_default();
    loop {
        // The name may be cut to this before a column goes.
        let spare = name.saturating_sub(SHORTEST_NAME);
        let over = taken(&widths).saturating_sub(most + 2);
        if over <= spare {
            name -= over;
            break;
        }
        let goes = |index: &usize| columns.get(*index).map_or(0, |column| column.goes);
        let shown = (0..columns.len()).rev().filter(|&index| widths.get(index).is_some_and(Option::is_some));
        let last = shown.filter(|index| *index != sorted && goes(index) > 0).max_by_key(goes);
        match last.and_then(|index| widths.get_mut(index)) {
            Some(width) => *width = None,
            None => break,
        }
    }
    if let Some(first) = widths.first_mut() {
        *first = Some(name);
    }
    widths
}

/// Columns of a name that stay readable: an IPv4 address.
const SHORTEST_NAME: usize = 15;
