//! `nmos completions` and `nmos man`: made from the command line's own definition, which they are
//! part of.

use super::args::Cli;
use super::invocation::{Invocation, Run};
use clap::{Args, CommandFactory};
use std::io::{self, Write};
use std::process::ExitCode;

/// `nmos completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// bash, elvish, fish, powershell or zsh
    shell: clap_complete::Shell,
}

impl Run for CompletionsArgs {
    fn run(&self, _: &Invocation) -> anyhow::Result<ExitCode> {
        completions(self.shell, &mut io::stdout())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// `nmos man`
#[derive(Debug, Args)]
pub struct ManArgs {}

impl Run for ManArgs {
    fn run(&self, _: &Invocation) -> anyhow::Result<ExitCode> {
        man(&mut io::stdout())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints a completion script.
fn completions(shell: clap_complete::Shell, out: &mut impl Write) -> anyhow::Result<()> {
    // Into memory first: the generator panics when its output cannot be written.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "nmos", &mut script);
    out.write_all(&script)?;
    Ok(out.flush()?)
}

/// Prints the manual: the program's own page, then one for each command.
fn man(out: &mut impl Write) -> anyhow::Result<()> {
    let mut root = Cli::command();
    // Passes shared options on to the commands, so that their pages list them.
    root.build();
    clap_mangen::Man::new(root.clone()).render(out)?;
    for command in root.get_subcommands() {
        page(command, "nmos", out)?;
    }
    Ok(out.flush()?)
}

fn page(command: &clap::Command, parent: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let name = format!("{parent}-{}", command.get_name());
    let named = command
        .clone()
        .name(name.clone())
        .display_name(name.clone());
    clap_mangen::Man::new(named).render(out)?;
    for inner in command.get_subcommands() {
        page(inner, &name, out)?;
    }
    Ok(())
}
