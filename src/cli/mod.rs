//! The command line: what a person or a script runs.
//!
//! Owns the argument tree, the settings' layers, logging, and the one place where an outcome
//! becomes words and an exit code (`report`). One file a command, which holds its arguments and
//! what it does with them ([`Run`]), a thin layer over the library; and a row in the table below.
//!
//! Whatever a command prints goes through a writer whose errors are handled, so that a closed
//! pipe ends quietly, and nothing exits the process but `main` returning, so that the terminal
//! and the log are always left in order.

mod args;
mod bench;
mod config;
mod doctor;
mod expert_flags;
mod experts;
mod flags;
mod forge;
mod generate;
mod invocation;
mod logging;
pub mod models;
mod output;
mod plan;
mod progress;
mod report;
mod run;
mod shot;
mod tui;
mod version;

pub use args::Cli;
pub use invocation::{Invocation, Run};
pub use logging::report_faults;
pub use report::Usage;

use crate::config::unknown_variables;
use crate::model::trial;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

macro_rules! commands {
    ($($(#[$meta:meta])* $name:ident($arguments:ty);)*) => {
        /// What to do; nothing said is the workbench.
        #[derive(Debug, Subcommand)]
        pub enum Command { $($(#[$meta])* $name($arguments),)* }

        impl Run for Command {
            fn run(&self, invocation: &Invocation) -> anyhow::Result<ExitCode> {
                match self { $(Self::$name(arguments) => arguments.run(invocation),)* }
            }
        }
    };
}

commands! {
    /// Answer one prompt on standard output
    Run(run::RunArgs);
    /// Open the workbench and type a recorded trace into it
    Replay(tui::ReplayArgs);
    /// Replay recorded traces without a terminal and report what a typist waits for
    Bench(bench::BenchArgs);
    /// Fetch, list, check and remove models
    #[command(subcommand)]
    Models(models::ModelsCommand);
    /// Say how a model would be placed in memory and how fast it would be, without loading it
    Plan(plan::PlanArgs);
    /// Measure this machine and say whether it is fit
    Doctor(doctor::DoctorArgs);
    /// Make a large test model that computes what the oracle computes
    Forge(forge::ForgeArgs);
    /// Routed experts of a mixture
    #[command(subcommand)]
    Experts(experts::ExpertsCommand);
    /// Draw the workbench's screens as pictures, without a terminal
    Shot(shot::ShotArgs);
    /// The configuration file
    #[command(subcommand)]
    Config(config::ConfigCommand);
    /// Print a completion script for a shell
    Completions(generate::CompletionsArgs);
    /// Print the manual page
    Man(generate::ManArgs);
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    // The same program opens files that are new, in a process of its own.
    if let Some(code) = trial::child_main(std::env::args_os()) {
        return code;
    }
    // Not by its path, where another build may lie by the time that it is needed.
    let this = Path::new("/proc/self/exe");
    if this.exists() {
        trial::enable(this.to_owned());
    }
    report_faults();
    let outcome = catch_unwind(AssertUnwindSafe(|| dispatch(std::env::args_os())));
    match outcome {
        Ok(outcome) => report::finish(outcome, &mut io::stderr()),
        // The hook has said what there is to say.
        Err(_) => ExitCode::from(report::FAILED),
    }
}

fn dispatch(arguments: impl Iterator<Item = OsString>) -> anyhow::Result<ExitCode> {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are such "errors" too, on standard output and with code 0.
            error.print()?;
            io::stdout().flush()?;
            return Ok(if error.use_stderr() {
                ExitCode::from(report::USAGE)
            } else {
                ExitCode::SUCCESS
            });
        }
    };
    warn_of_unknown_variables(&mut io::stderr());
    let invocation = Invocation {
        flags: cli.shared.layer(),
        config: cli.shared.config().map(Path::to_owned),
    };
    match &cli.command {
        Some(_) if cli.record.record.is_some() => {
            Err(Usage("--record is for the workbench, which opens without a command".into()).into())
        }
        Some(command) => command.run(&invocation),
        None => cli.record.run(&invocation),
    }
}

/// Says which variables look like ours and are not, on standard error: they change nothing.
fn warn_of_unknown_variables(err: &mut impl Write) {
    for (name, near) in unknown_variables(std::env::vars_os().map(|(name, _)| name)) {
        let hint = match near {
            Some(near) => format!("did you mean {near}?"),
            None => "`nmos --help` says how variables are named".to_owned(),
        };
        // A warning that cannot be shown is no reason to give up.
        let _ = writeln!(err, "warning: there is no variable {name}: {hint}");
    }
}
