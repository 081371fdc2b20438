//! What became of a cell of the matrix: a line for each, which `cargo xtask vm` collects. Judges nothing.

use std::any::Any;
use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What became of a cell.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// As it should be; with what is worth telling.
    Passed(String),
    /// This kernel does not offer it: its own answer to the question.
    Absent(String),
    /// Not as it should be.
    Failed(String),
}

/// Runs a step that panics where something is not as it should be, and gives what it made.
pub(crate) fn attempt<T>(step: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(step)).map_err(|panic| words(panic.as_ref()))
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

/// Says what became of the cell in this row and column: to the person, and to the file that the variable `WEIR_CELLS` names.
pub(crate) fn tell(row: &str, column: &str, outcome: &Outcome) {
    let (word, note) = match outcome {
        Outcome::Passed(note) => ("passed", note),
        Outcome::Absent(note) => ("absent", note),
        Outcome::Failed(note) => ("failed", note),
    };
    let note = note.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = format!("cell: {row} {column} {word}: {note}\n");
    print!("{line}");
    if let Some(log) = env::var_os("WEIR_CELLS") {
        OpenOptions::new().create(true).append(true).open(log).unwrap().write_all(line.as_bytes()).unwrap();
    }
}

/// Says what became of each cell, and panics if one failed: then the test fails.
pub(crate) fn judge<'a>(row: &str, cells: impl IntoIterator<Item = (&'a str, Outcome)>) {
    let cells: Vec<_> = cells.into_iter().collect();
    for (column, outcome) in &cells {
        tell(row, column, outcome);
    }
    let failed: Vec<_> = cells.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Failed(_))).collect();
    assert!(failed.is_empty(), "{row}: {failed:?}");
}
