//! `cargo xtask bench`, the part that measures (root) and the part that writes the document (no root). Everything is measured
//! in namespaces made here, by one list of sections. Must not decide what a figure should be: `goal` does.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "runs the lab; a step that fails must stop it where it stands, and what it made is undone on the way out"
)]

mod args;
mod bystander;
mod document;
mod gauge;
mod goal;
mod list;
mod lookup;
mod machine;
mod measure;
mod packet;
mod path;
mod peers;
mod plot;
mod results;
mod stats;
mod update;

use std::fs;
use std::process::ExitCode;

use args::{Arguments, Document, Measure, Verb};
use clap::Parser as _;
use measure::Effort;
use results::{Results, Run};

/// A part of the benchmark.
pub(crate) struct Section {
    /// Its name on the command line and in the results.
    pub(crate) name: &'static str,
    /// Measures it once.
    pub(crate) measure: fn(&Effort, &mut Run),
    /// What the document says before its figures.
    pub(crate) preface: &'static str,
}

/// All of them, in the order of the document.
pub(crate) const SECTIONS: [Section; 5] =
    [lookup::SECTION, packet::SECTION, path::SECTION, update::SECTION, bystander::SECTION];

fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Measure(arguments) => measure(&arguments),
        Verb::Document(arguments) => document(&arguments),
    }
}

fn measure(arguments: &Measure) -> ExitCode {
    weir_tests::require_root();
    measure::stop_on_signals();
    let effort = Effort::new(arguments.quick, arguments.rounds);
    let unknown = arguments.sections.iter().find(|name| SECTIONS.iter().all(|section| section.name != **name));
    if let Some(name) = unknown {
        eprintln!("bench: no section {name:?}; there are: {}", SECTIONS.map(|section| section.name).join(", "));
        return ExitCode::FAILURE;
    }
    let chosen = |section: &&Section| {
        arguments.sections.is_empty() || arguments.sections.iter().any(|name| name == section.name)
    };
    let mut results = Results {
        machine: machine::read(arguments.commit.as_deref()),
        quick: arguments.quick,
        whole: !arguments.quick && arguments.sections.is_empty(),
        runs: Vec::new(),
    };
    for number in 1..=arguments.runs {
        let mut run = Run::default();
        for section in SECTIONS.iter().filter(chosen) {
            println!("bench: run {number} of {}, {}", arguments.runs, section.name);
            (section.measure)(&effort, &mut run);
        }
        results.runs.push(run);
        // After each: an hour's figures are not lost with the run after it.
        fs::write(&arguments.json, serde_json::to_string_pretty(&results).unwrap()).unwrap();
    }
    ExitCode::SUCCESS
}

fn document(arguments: &Document) -> ExitCode {
    let text = fs::read_to_string(&arguments.json).unwrap();
    let results: Results = serde_json::from_str(&text).unwrap();
    if let Some(directory) = &arguments.into {
        document::write(&results, directory);
    }
    let outcomes = goal::judge(&results);
    print!("{}", goal::table(&outcomes));
    if arguments.assert && goal::failed(&results, &outcomes) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
