//! Whether a draft can serve an oracle, and what becomes of one that cannot.
//!
//! A draft that was asked for must fit: otherwise nothing starts. The default draft, which nobody
//! asked for, is left out where it is absent or does not fit; `super::draft_policy` leaves it out
//! as well where its memory is better used.

use super::{DraftChoice, DraftRequest, LeftOut, PlacementError, PlanRequest, TreeSize};
use crate::model::{Gguf, Tokenizer, trial};
use crate::units::Bytes;

/// The draft that `request` gives to `oracle`: none where nothing is to be guessed.
///
/// # Errors
/// A draft that was asked for and cannot be opened, or speaks of other tokens.
pub(super) fn pair(
    request: &PlanRequest<'_>,
    oracle: &Gguf,
) -> Result<DraftChoice, PlacementError> {
    if request.tree == TreeSize::Fixed(1) {
        return Ok(DraftChoice::None);
    }
    let open = |path| {
        let draft = Gguf::open(path)?;
        check_draft(oracle, &draft, request.ram)?;
        Ok(DraftChoice::Model(Box::new(draft)))
    };
    match request.draft {
        DraftRequest::None => Ok(DraftChoice::None),
        DraftRequest::Missing(why) => Ok(DraftChoice::LeftOut(LeftOut::Missing(why.clone()))),
        DraftRequest::Required(path) => open(path),
        DraftRequest::Default(path) => Ok(open(path).unwrap_or_else(|error: PlacementError| {
            DraftChoice::LeftOut(LeftOut::Unusable(Box::new(error)))
        })),
    }
}

/// Checks that `draft` speaks of the oracle's tokens. Reads vocabularies, never weights.
/// `ram` is what this process may hold.
///
/// # Errors
/// Names both files and the first token that differs, or the one that cannot be used.
pub fn check_draft(oracle: &Gguf, draft: &Gguf, ram: Option<Bytes>) -> Result<(), PlacementError> {
    trial::admit(draft, ram)?;
    // Mostly the files are of one family, and comparing their bytes is enough.
    if oracle.has_vocabulary_of(draft)? {
        return Ok(());
    }
    trial::admit(oracle, ram)?;
    let theirs = Tokenizer::open(draft)?;
    let ours = Tokenizer::open(oracle)?;
    ours.check_draft(&theirs)
        .map_err(|source| PlacementError::OtherTokens {
            oracle: oracle.path().to_owned(),
            draft: draft.path().to_owned(),
            source: Box::new(source),
        })
}
