//! The command line: what a person or a script runs.
//!
//! Owns the argument tree, the settings' layers, logging, and the one place where an outcome
//! becomes words and an exit code (`report`). One file a command; each is a thin layer over
//! the library.
//!
//! Whatever a command prints goes through a writer whose errors are handled, so that a closed
//! pipe ends quietly, and nothing exits the process but `main` returning, so that the terminal
//! and the log are always left in order.

mod args;
mod config;
mod doctor;
mod generate;
mod logging;
pub mod models;
mod progress;
mod report;
mod run;
mod version;

pub use args::{Cli, Command, Shared};
pub use report::Usage;

use crate::config::Settings;
use crate::session::{self, EngineOptions};
use clap::Parser;
use std::ffi::OsString;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    logging::report_panics();
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
    let flags = cli.shared.layer();
    let file = cli.shared.config.as_deref();
    let mut out = io::stdout();
    match &cli.command {
        None => Err(Usage("say what to do: nmos --help lists the commands".into()).into()),
        Some(Command::Run(args)) => {
            let settings = Settings::load(args.over(flags), file)?;
            let _log = logging::start(&settings)?;
            run_once(args, &settings, &mut out)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Doctor(args)) => doctor::run(args, flags, file, &mut out),
        Some(Command::Config(command)) => {
            config::run(command, flags, file, &mut out)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Completions { shell }) => {
            generate::completions(*shell, &mut out)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Man) => {
            generate::man(&mut out)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What a session is started with under these settings.
pub fn engine_options(settings: &Settings) -> anyhow::Result<EngineOptions> {
    Ok(settings.engine_options(crate::model::catalog::resolve)?)
}

fn run_once(args: &args::RunArgs, settings: &Settings, out: &mut io::Stdout) -> anyhow::Result<()> {
    let prompt = run::prompt(args, io::stdin())?;
    let options = engine_options(settings)?;
    let interrupts = run::interrupts()?;
    let engine = session::spawn(options);
    let answered = run::answer(
        &engine,
        &prompt,
        &interrupts,
        &mut run::Output {
            out,
            err: &mut io::stderr(),
            json: args.json,
            progress: progress::Progress::on_terminal(!args.json),
        },
    );
    engine.shutdown();
    answered
}
