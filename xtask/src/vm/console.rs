//! What a guest said on its console: its kernel, its tests, and the cells of the matrix. Judges only what it is told there.

/// What became of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// As it should be.
    Passed,
    /// The kernel does not offer it.
    Absent,
    /// Not as it should be.
    Failed,
}

/// A cell of the matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) row: String,
    pub(super) column: String,
    pub(super) outcome: Outcome,
    pub(super) note: String,
}

/// How a guest fared.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// As `uname -r` told.
    pub(super) kernel: String,
    /// 0, 1, or none where the kernel has no JIT.
    pub(super) jit: String,
    /// Whether there was a BTF of the kernel's.
    pub(super) btf: String,
    pub(super) cells: Vec<Cell>,
    /// Tests that passed.
    pub(super) passed: usize,
    /// Tests, and other steps, that did not.
    pub(super) failed: Vec<String>,
    /// The guest came to its end by itself.
    pub(super) ended: bool,
}

/// The link layers.
pub(super) const LAYERS: &[&str] = &["ethernet", "vlan", "qinq", "pppoe", "ip"];
/// The attach kinds, best first.
pub(super) const KINDS: [&str; 4] = ["xdp-native", "tcx", "tc", "xdp-generic"];
/// Rows of the matrix and their columns, as the test program `kernels` names them. One that is missing failed.
const ROWS: [(&str, &[&str]); 5] = [
    ("programs", &["verified", "decide"]),
    (KINDS[0], LAYERS),
    (KINDS[1], LAYERS),
    (KINDS[2], LAYERS),
    (KINDS[3], LAYERS),
];

impl Report {
    /// Reads a console.
    pub(super) fn read(console: &str) -> Self {
        let mut report = Self::default();
        console.lines().for_each(|line| report.take(line.trim()));
        report
    }

    fn take(&mut self, line: &str) {
        if let Some(said) = line.strip_prefix("vm: ") {
            match said.split_once(": ") {
                Some(("kernel", release)) => release.clone_into(&mut self.kernel),
                Some(("jit", jit)) => jit.clone_into(&mut self.jit),
                Some(("btf", btf)) => btf.clone_into(&mut self.btf),
                Some(("failed", what)) => self.failed.push(format!("{what}, as a whole")),
                _ => self.ended |= said == "end",
            }
        } else if let Some(cell) = line.strip_prefix("cell: ").and_then(cell) {
            self.cells.push(cell);
        } else if let Some((name, outcome)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) {
            match outcome {
                "ok" => self.passed += 1,
                "FAILED" => self.failed.push(name.to_owned()),
                _ => {}
            }
        }
    }

    /// The cell in this row and column.
    pub(super) fn cell(&self, row: &str, column: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.row == row && cell.column == column)
    }

    /// How many cells passed, were absent, and failed or are missing.
    pub(super) fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for (row, columns) in ROWS {
            for column in columns {
                counts[match self.cell(row, column).map(|cell| cell.outcome) {
                    Some(Outcome::Passed) => 0,
                    Some(Outcome::Absent) => 1,
                    Some(Outcome::Failed) | None => 2,
                }] += 1;
            }
        }
        counts
    }

    /// Some tests ran, all of them passed, and the guest ended. Where the matrix was `asked` for, no cell failed or is missing.
    pub(super) fn is_good(&self, asked: bool) -> bool {
        self.ended && self.failed.is_empty() && self.passed > 0 && (!asked || self.counts()[2] == 0)
    }
}

fn cell(text: &str) -> Option<Cell> {
    let (head, note) = text.split_once(':')?;
    let [row, column, outcome] = head.split(' ').collect::<Vec<_>>()[..] else { return None };
    let outcome = match outcome {
        "passed" => Outcome::Passed,
        "absent" => Outcome::Absent,
        "failed" => Outcome::Failed,
        _ => return None,
    };
    Some(Cell { row: row.to_owned(), column: column.to_owned(), outcome, note: note.trim().to_owned() })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a guest says of all cells.
    pub(in crate::vm) fn all_cells(outcome: &str) -> String {
        let lines = ROWS.iter().flat_map(|(row, columns)| columns.iter().map(move |column| (row, column)));
        let lines = lines.map(|(row, column)| format!("cell: {row} {column} {outcome}: because\n"));
        lines.collect::<Vec<_>>().concat()
    }

    #[test]
    fn a_guest_is_good_that_ran_tests_passed_all_of_them_and_ended() {
        assert!(Report::read("test a ... ok\r\nvm: end\r\n").is_good(false));
        assert!(!Report::read("vm: end\n").is_good(false), "no test ran");
        assert!(!Report::read("test a ... ok\n").is_good(false), "it did not end");
        assert!(!Report::read("test a ... ok\ntest b ... FAILED\nvm: end\n").is_good(false));
        assert!(!Report::read("test a ... ok\nvm: failed: verifier\nvm: end\n").is_good(false));
    }

    #[test]
    fn a_matrix_is_good_whose_every_cell_passed_or_is_not_offered() {
        let guest = |cells: &str| Report::read(&format!("test a ... ok\n{cells}vm: end\n"));
        assert!(guest(&all_cells("passed")).is_good(true));
        assert!(guest(&all_cells("absent")).is_good(true));
        assert!(!guest(&all_cells("failed")).is_good(true));
        assert!(!guest("").is_good(true), "every cell is missing");
        let one_less = all_cells("passed").replace("cell: tc vlan passed: because\n", "");
        assert_eq!(guest(&one_less).counts(), [21, 0, 1]);
        assert!(!guest(&one_less).is_good(true));
    }

    #[test]
    fn a_guest_tells_its_kernel_and_the_notes_of_its_cells() {
        let report = Report::read(
            "vm: kernel: 6.1.0\nvm: jit: none\nvm: btf: no\ncell: tcx ip absent: no tcx (os error 22: x)\n",
        );
        assert_eq!([&report.kernel, &report.jit, &report.btf], ["6.1.0", "none", "no"]);
        assert_eq!(report.cell("tcx", "ip").unwrap().note, "no tcx (os error 22: x)");
    }
}
