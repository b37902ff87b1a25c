//! `nmos models`: fetch, list, check and remove the models of the cache, and look into any file;
//! one file a subcommand.

mod inspect;
mod list;
mod pull;
mod remove;
mod verify;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;

use super::invocation::{Invocation, Run};
use crate::config::{Layer, Settings};
use crate::model::catalog::{self, Entry};
use crate::model::progress::{self, Progress};
use crate::model::store::Store;

pub use inspect::InspectArgs;
pub use pull::SourceArg;

/// What `nmos models` can do.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum ModelsCommand {
    /// Fetch models into the cache; an interrupted fetch goes on where it stopped
    Pull {
        /// Use this source alone [default: each in order until one works]
        #[arg(long, value_enum)]
        source: Option<SourceArg>,
        /// Models to fetch [default: the default oracle and draft]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Say what a model's file is, what is in it, and how it would run here
    Inspect(InspectArgs),
    /// List the known models and what is here of each
    List,
    /// Read models and compare their SHA-256
    Verify {
        /// Models to check [default: all that are here]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Remove models, and what an interrupted fetch left of them
    Rm {
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
}

impl Run for ModelsCommand {
    /// On the user's cache, with progress on standard error.
    fn run(&self, invocation: &Invocation) -> anyhow::Result<ExitCode> {
        let started = invocation.start()?;
        let store = Store::of_user()?;
        let progress = progress::for_stderr();
        let mut out = io::stdout();
        match self {
            Self::Inspect(arguments) => arguments.run(&store, &started.settings, &mut out)?,
            command => run_in(&store, command.clone(), &*progress, &mut out)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs a command on a cache, under the settings that hold without flags.
pub fn run_in(
    store: &Store,
    command: ModelsCommand,
    progress: &dyn Progress,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    match command {
        ModelsCommand::Pull { source, names } => {
            pull::pull(store, source.map(Into::into), &names, progress, out)
        }
        ModelsCommand::Inspect(arguments) => {
            arguments.run(store, &Settings::load(Layer::default(), None)?, out)
        }
        ModelsCommand::List => list::list(store, out),
        ModelsCommand::Verify { names } => verify::verify(store, &names, progress, out),
        ModelsCommand::Rm { names } => remove::remove(store, &names, out),
    }
}

/// The entries of all names; the first unknown one is an error, before anything is done.
fn find_all(names: &[String]) -> anyhow::Result<Vec<&'static Entry>> {
    names
        .iter()
        .map(|name| {
            catalog::find(name).with_context(|| {
                format!(
                    "no known model is named '{name}'; known are {}",
                    catalog::known_names()
                )
            })
        })
        .collect()
}
