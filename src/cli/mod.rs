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
mod bench;
mod config;
mod doctor;
mod forge;
mod generate;
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

pub use args::{Cli, Command, Shared};
pub use logging::report_faults;
pub use report::Usage;

use crate::config::{Settings, unknown_variables};
use crate::model::trial;
use crate::session::{self, EngineOptions, Request};
use crate::tui::{Player, Recording};
use crate::typing::{RecordText, Trace};
use clap::Parser;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

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
    let flags = cli.shared.layer();
    let file = cli.shared.config.as_deref();
    let mut out = io::stdout();
    if cli.command.is_some() && cli.record.record.is_some() {
        return Err(
            Usage("--record is for the workbench, which opens without a command".into()).into(),
        );
    }
    match &cli.command {
        None => {
            let settings = Settings::load(flags, file)?;
            let _log = logging::start(&settings)?;
            let recording = match &cli.record.record {
                Some(path) => {
                    let keep = match cli.record.record_text {
                        true => RecordText::Keep,
                        false => RecordText::TimingOnly,
                    };
                    Some(Recording::new(path.clone(), keep)?)
                }
                None => None,
            };
            workbench(&settings, None, recording)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Replay(args)) => {
            let settings = Settings::load(flags, file)?;
            let _log = logging::start(&settings)?;
            let trace = Trace::load(&args.trace)?;
            let replay = Player::new(vec![trace.events().to_vec()], args.speed)?;
            workbench(&settings, Some(replay), None)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Bench(args)) => {
            let settings = Settings::load(flags, file)?;
            let _log = logging::start(&settings)?;
            bench::run(args, &settings, &mut out)
        }
        Some(Command::Models(command)) => {
            let settings = Settings::load(flags, file)?;
            let _log = logging::start(&settings)?;
            models::run(command.clone(), &mut out)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Shot(args)) => {
            let settings = Settings::load(flags, file)?;
            let _log = logging::start(&settings)?;
            let order = shot::prepare(args, &settings)?;
            shot::run(session::spawn(engine_options(&settings)?), order, &mut out)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Run(args)) => {
            let settings = Settings::load(args.over(flags), file)?;
            let _log = logging::start(&settings)?;
            run_once(args, &settings, &mut out)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Plan(args)) => {
            let settings = Settings::load(flags, file)?;
            let _log = logging::start(&settings)?;
            tell_threads(&settings);
            plan::run(args, &settings, &mut out)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Forge(args)) => {
            let settings = Settings::load(flags, file)?;
            let _log = logging::start(&settings)?;
            tell_threads(&settings);
            forge::run(args, &settings, &mut out)?;
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
    Ok(settings.engine_options(|name| crate::model::catalog::resolve(name))?)
}

/// Opens the workbench. Everything that can be wrong is found before models are loaded.
fn workbench(
    settings: &Settings,
    replay: Option<Player>,
    recording: Option<Recording>,
) -> anyhow::Result<()> {
    let options = tui::prepare(settings, replay, recording)?;
    crate::tui::run(session::spawn(engine_options(settings)?), options)
}

fn run_once(args: &args::RunArgs, settings: &Settings, out: &mut io::Stdout) -> anyhow::Result<()> {
    let prompt = run::prompt(args, io::stdin())?;
    let options = EngineOptions {
        draft_waits: true,
        ..engine_options(settings)?
    };
    let request = Request::prompt(&options.system, prompt, options.params());
    let interrupts = run::interrupts()?;
    let engine = session::spawn(options);
    let answered = run::answer(
        &engine.connect(),
        request,
        &interrupts,
        &mut run::Output {
            out,
            err: &mut io::stderr(),
            json: args.json,
            terminal: io::stdout().is_terminal(),
            progress: progress::Progress::on_terminal(!args.json),
        },
    );
    engine.shutdown_telling(tell_wait);
    answered
}

/// Says that fewer threads compute than were asked for. Sessions say it themselves.
fn tell_threads(settings: &Settings) {
    if let Some(notice) = crate::system::threads_notice(settings.threads.value) {
        // Whoever cannot be told gets what is computed all the same.
        let _ = writeln!(io::stderr(), "note: {notice}");
    }
}

/// Says what an end waits for, where a second Ctrl-C does not.
fn tell_wait(what: &str) {
    // Whoever cannot be told waits all the same.
    let _ = writeln!(io::stderr(), "{what}; Ctrl-C again ends at once");
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
