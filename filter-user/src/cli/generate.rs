//! `weir completion` and `weir man`: what a package installs beside the binary, made from the same definitions.

use std::io::Write as _;

use clap::{Args, CommandFactory as _};

use super::{Arguments, Outcome, print};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "Example:  weir completion bash > /etc/bash_completion.d/weir")]
pub(super) struct Completion {
    /// The shell
    shell: clap_complete::Shell,
}

impl Completion {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "weir", &mut script);
        print(&String::from_utf8_lossy(&script))?;
        Ok(Outcome::Done)
    }
}

/// Print the manual page
#[derive(Debug, Args)]
#[command(after_help = "Example:  weir man > /usr/local/share/man/man8/weir.8")]
pub(super) struct Man {}

impl Man {
    pub(super) fn execute() -> anyhow::Result<Outcome> {
        let mut page = Vec::new();
        let manual = clap_mangen::Man::new(Arguments::command()).section("8");
        manual.render_title(&mut page)?;
        manual.render_name_section(&mut page)?;
        manual.render_synopsis_section(&mut page)?;
        manual.render_description_section(&mut page)?;
        manual.render_options_section(&mut page)?;
        for verb in Arguments::command().get_subcommands() {
            render_verb("weir", verb, &mut page)?;
        }
        manual.render_extra_section(&mut page)?;
        print(&String::from_utf8_lossy(&page))?;
        Ok(Outcome::Done)
    }
}

/// A section for one verb, and for each verb below it: a page of its own for each would hide them.
fn render_verb(above: &str, verb: &clap::Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    let name = format!("{above} {}", verb.get_name());
    writeln!(page, ".SH {}", name.to_uppercase())?;
    let manual = clap_mangen::Man::new(verb.clone());
    for render in [clap_mangen::Man::render_description_section, clap_mangen::Man::render_options_section] {
        let mut section = Vec::new();
        render(&manual, &mut section)?;
        // Headings of a verb stand below the verb's own.
        page.extend(String::from_utf8_lossy(&section).replace(".SH ", ".SS ").into_bytes());
    }
    verb.get_subcommands().try_for_each(|verb| render_verb(&name, verb, page))
}
