//! `nmos models`: fetch, list, check and remove the models of the cache, and look into any file;
//! one file a subcommand.

mod inspect;
mod known;
mod list;
mod pull;
mod recommend;
mod remove;
mod verify;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::invocation::{Invocation, Run};
use crate::config::{Layer, Settings};
use crate::model::catalog::{self, Entry, Named};
use crate::model::locate;
use crate::model::progress::{self, Progress};
use crate::model::store::Store;
use crate::plan::Capacity;

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
        /// Models to fetch: known ones, or `OWNER/REPO:QUANT` of Hugging Face [default: the
        /// default oracle and draft]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Say what a model's file is, what is in it, and how it would run here
    Inspect(InspectArgs),
    /// List the known models, what is here of each and how it would run
    List,
    /// Name the best few models for this machine's memory, or for --ram SIZE
    Recommend,
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
            command => {
                let capacity = known::capacity(started.settings.ram.value.size(), store.dir());
                let capacity = capacity.as_ref();
                run_in(&store, command.clone(), capacity, &*progress, &mut out)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs a command on a cache, under the settings that hold without flags; models are judged for a
/// machine of this capacity.
pub fn run_in(
    store: &Store,
    command: ModelsCommand,
    capacity: Option<&Capacity>,
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
        ModelsCommand::List => list::list(store, capacity, out),
        ModelsCommand::Recommend => recommend::recommend(store, capacity, out),
        ModelsCommand::Verify { names } => verify::verify(store, &names, progress, out),
        ModelsCommand::Rm { names } => remove::remove(store, &names, out),
    }
}

/// What all names mean; the first unknown one is an error, before anything is done.
fn find_all(names: &[String]) -> anyhow::Result<Vec<Named>> {
    names
        .iter()
        .map(|name| {
            catalog::named(name).with_context(|| {
                format!(
                    "no known model is named '{name}'; known are {}, and any model of Hugging \
                     Face as OWNER/REPO or OWNER/REPO:QUANT",
                    catalog::known_names()
                )
            })
        })
        .collect()
}

/// A model of the cache that was asked for.
enum Here {
    /// Of the catalogue, or of a hub and here.
    Known(Entry),
    /// Of a hub, by this name, and nothing of it is here.
    Nothing(String),
}

/// The models of the cache that all names mean; the first one that is unknown, or means several,
/// is an error, before anything is done.
fn find_here(store: &Store, names: &[String]) -> anyhow::Result<Vec<Here>> {
    let here = |(named, text): (Named, &String)| match named {
        Named::Entry(entry) => Ok(Here::Known(entry.clone())),
        Named::Hub(name) => match &store.hub_models_named(&name)?[..] {
            [] => Ok(Here::Nothing(text.clone())),
            [entry] => Ok(Here::Known(entry.clone())),
            several => bail!(
                "there are several models of '{text}' here: {}; name one of them",
                locate::names(several)
            ),
        },
    };
    find_all(names)?.into_iter().zip(names).map(here).collect()
}
