//! docs/KERNELS.md: what a run of everything found, as tables. Leaves nothing out, and explains nothing that a guest did not say.

use std::fmt::Write as _;

use super::console::{KINDS, LAYERS, Outcome};
use super::guest::Ran;

/// Where it is.
pub(super) const PATH: &str = "docs/KERNELS.md";

const HEAD: &str = "\
# Kernels

`cargo xtask vm` wrote this page; do not edit it. It boots Debian's kernels in QEMU, without KVM, in a file system of busybox,
`ip`, the modules that are needed, `weir`, and the test program `kernels` (`tests/tests/kernels/`), and collects what that
program says of each cell. Nothing is installed.

- *xdp-native, tcx, tc, xdp-generic*: the real daemon attaches in this way to a real device in a network namespace. Frames to
  listed and unlisted addresses, IPv4 and IPv6, go through before, while it runs, and after: listed ones are dropped, and counted
  to the packet and byte; all others come out. Each kind in each link layer: Ethernet, a VLAN tag, two of them (802.1ad),
  a PPPoE session, and a device without Ethernet header (tun).
- *verified*: the kernel takes all six programs of the object, with scopes, details and a trace and without; and the most
  instructions that its verifier walked for one of them.
- *decide*: the loaded object and the `decide` of the host agree on random and broken frames (`BPF_PROG_TEST_RUN`).
- *plain*: with the JIT where the kernel has one, and with its BTF where it has one. *no-jit*: interpreted. *no-btf*: BTF hidden,
  as OpenWrt's kernels have none.
- *yes*: passed. *-*: the kernel does not offer it; its own answer is in the notes. *FAILED*: not as it should be.

On x86-64 this machine's own programs run, and on the first guest of each kernel all tests of `attach`, `forwarding`,
`persistence` and `verifier`, too. For the other CPUs `weir` and the test program are static, against musl, built by zig,
and not optimised; the BPF object is the one that is shipped (of the CPU's byte order: s390x is big endian).

One guest alone: `cargo xtask vm mipsel --only no-jit`; its console is then in `target/vm/mipsel-no-jit.log`.
";

/// The page.
pub(super) fn text(ran: &[Ran]) -> String {
    let mut notes = Notes::default();
    let mut text = format!("{HEAD}\n## Guests\n\n");
    text += "| kernel | CPU | version | variant | JIT | BTF | tests passed | verified | decide |\n";
    text += "|---|---|---|---|---|---|---|---|---|\n";
    for ran in ran {
        let Ran { choice, variant, report, .. } = ran;
        let jit = match report.jit.as_str() {
            "0" => "off",
            "none" => "the kernel has none",
            _ => "on",
        };
        let tests = if report.failed.is_empty() && report.ended {
            report.passed.to_string()
        } else {
            format!("{}, FAILED", report.passed)
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {jit} | {} | {tests} | {} | {} |",
            choice.name,
            choice.cpu.name,
            report.kernel,
            variant.name,
            report.btf,
            told(ran, "verified"),
            told(ran, "decide"),
        );
    }
    let _ = write!(text, "\n## Attach kinds and link layers\n\n| kernel | variant | kind | {} |\n", LAYERS.join(" | "));
    let _ = writeln!(text, "|---|---|---|{}", "---|".repeat(LAYERS.len()));
    for ran in ran {
        for kind in KINDS {
            let cells: Vec<String> = LAYERS.iter().map(|layer| notes.cell(ran, kind, layer)).collect();
            let _ = writeln!(text, "| {} | {} | {kind} | {} |", ran.choice.name, ran.variant.name, cells.join(" | "));
        }
    }
    for (number, note) in (1..).zip(&notes.0) {
        let _ = write!(text, "\n{number}. {note}");
    }
    text.trim_end().to_owned() + "\n"
}

/// What a cell of the programs' row says.
fn told(ran: &Ran, column: &str) -> String {
    match ran.report.cell("programs", column) {
        Some(cell) if cell.outcome != Outcome::Failed => cell.note.clone(),
        Some(cell) => format!("FAILED: {}", cell.note),
        None => "FAILED".into(),
    }
}

/// What is said of cells that did not pass, each once.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    fn cell(&mut self, ran: &Ran, row: &str, column: &str) -> String {
        let Some(cell) = ran.report.cell(row, column) else { return "FAILED: the guest did not get there".into() };
        let mark = match cell.outcome {
            Outcome::Passed => return "yes".into(),
            Outcome::Absent => "-",
            Outcome::Failed => "FAILED",
        };
        let number = self.0.iter().position(|note| *note == cell.note).unwrap_or_else(|| {
            self.0.push(cell.note.clone());
            self.0.len() - 1
        });
        format!("{mark} ({})", number + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::console::Report;
    use super::super::console::tests::all_cells;
    use super::super::machine::CHOICES;
    use super::*;

    #[test]
    fn every_cell_of_every_guest_is_in_a_table_and_what_is_not_offered_has_its_note_once() {
        let console = format!("vm: kernel: 5.10.0\nvm: jit: 1\nvm: btf: no\n{}vm: end\n", all_cells("passed"))
            .replace("cell: tcx ip passed: because", "cell: tcx ip absent: no tcx")
            .replace("cell: tcx vlan passed: because", "cell: tcx vlan absent: no tcx")
            .replace("cell: tc pppoe passed: because\n", "");
        let guest = |place: usize| Ran::of(&CHOICES[0], CHOICES[0].cpu.variants[place], Report::read(&console));
        let text = text(&[guest(0), guest(1)]);
        for line in [
            "| 5.10 | x86-64 | 5.10.0 | plain | on | no | 0 | because | because |",
            "| 5.10 | no-jit | xdp-native | yes | yes | yes | yes | yes |",
            "| 5.10 | plain | tcx | yes | - (1) | yes | yes | - (1) |",
            "| 5.10 | plain | tc | yes | yes | yes | FAILED: the guest did not get there | yes |",
            "1. no tcx",
        ] {
            assert_eq!(text.lines().filter(|found| *found == line).count(), 1, "{line}\n{text}");
        }
        assert!(!text.contains("2. "), "{text}");
    }
}
