//! Whether a draft can serve an oracle, and what becomes of one that cannot.
//!
//! A draft that was asked for must fit: a session that cannot have it does not start. One that
//! nobody asked for, the default, is left out where it is absent or does not fit, and that is
//! said; `super::worth` leaves it out as well where its memory is better used. Sessions, `plan` and
//! `doctor` all go by both.

use super::options::EngineOptions;
use crate::model::{Gguf, Tokenizer, trial};
use crate::speculate::TreeSize;
use crate::units::Bytes;
use anyhow::Context;

/// The draft that an oracle gets.
#[derive(Debug)]
pub struct Pairing {
    /// Its index; its weights are not loaded.
    pub draft: Option<Gguf>,
    /// Why there is none although the default would have had one.
    pub left_out: Option<String>,
}

impl Pairing {
    /// The draft that these options give to `oracle`: none where nothing is to be guessed.
    ///
    /// # Errors
    /// A draft that was asked for and cannot be opened, or speaks of other tokens.
    pub fn of(options: &EngineOptions, oracle: &Gguf) -> anyhow::Result<Self> {
        if options.tree == TreeSize::Fixed(1) {
            return Ok(Self {
                draft: None,
                left_out: None,
            });
        }
        let Some(path) = &options.draft else {
            return Ok(Self {
                draft: None,
                left_out: options.draft_absent.clone(),
            });
        };
        let found = Gguf::open(path)
            .map_err(anyhow::Error::from)
            .and_then(|draft| check_draft(oracle, &draft, options.ram).map(|()| draft));
        match found {
            Ok(draft) => Ok(Self {
                draft: Some(draft),
                left_out: None,
            }),
            Err(error) if options.draft_required => Err(error),
            Err(error) => Ok(Self {
                draft: None,
                left_out: Some(left_out(&error)),
            }),
        }
    }
}

/// Says that the default draft is left out.
pub fn left_out(why: impl std::fmt::Display) -> String {
    format!("no draft, so that answers are slower: the default one is left out ({why:#})")
}

/// Checks that `draft` speaks of the oracle's tokens. Reads vocabularies, never weights.
/// `ram` is what this process may hold.
///
/// # Errors
/// Names both files and the first token that differs, or the one that cannot be used.
pub fn check_draft(oracle: &Gguf, draft: &Gguf, ram: Option<Bytes>) -> anyhow::Result<()> {
    trial::admit(draft, ram)?;
    // Mostly the files are of one family, and comparing their bytes is enough.
    if oracle.has_vocabulary_of(draft)? {
        return Ok(());
    }
    trial::admit(oracle, ram)?;
    let theirs = Tokenizer::open(draft.path())?;
    Tokenizer::open(oracle.path())?
        .check_draft(&theirs)
        .with_context(|| {
            format!(
                "{} cannot draft for {}",
                draft.path().display(),
                oracle.path().display()
            )
        })
}
