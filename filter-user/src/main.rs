//! The `weir` binary: parses arguments, runs a verb, maps its outcome to an exit code. Holds nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    weir::cli::main()
}
