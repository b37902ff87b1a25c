//! What computes answers: the oracle with what it has committed, and all that guesses.
//!
//! A session has one, for all its clients. How tokens are chosen is an answer's own: see
//! [`Rules`](super::answer::Rules).

use super::cache::Cache;
use super::overlap::overlapped;
use crate::oracle::{Oracle, OracleError, WidthClass};
use crate::speculate::{DraftError, Speculator};
use crate::typing::Clock;
use crate::units::TokenId;
use std::sync::Arc;

/// See the module's text.
pub(super) struct Decoder {
    pub cache: Cache,
    pub speculator: Speculator,
    /// By which steps are timed.
    pub clock: Arc<dyn Clock>,
}

/// A step failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Oracle(#[from] OracleError),
    #[error("the draft fails ({0}); answering without it")]
    Draft(DraftError),
}

impl Decoder {
    pub(super) fn new(
        oracle: Box<dyn Oracle>,
        speculator: Speculator,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            cache: Cache::new(oracle),
            speculator,
            clock,
        }
    }

    /// One pass over `tokens`, a part of `text`, which the draft reads meanwhile.
    ///
    /// # Errors
    /// The pass's, and then nothing has been read, or the draft's: see [`StepError`].
    pub(super) fn read(
        &mut self,
        tokens: &[TokenId],
        width: WidthClass,
        text: &[TokenId],
    ) -> Result<(), StepError> {
        let Self {
            cache,
            speculator,
            clock,
        } = self;
        cache.keep_hidden(false);
        let (cost, ahead) = overlapped(
            speculator,
            &**clock,
            |speculator, stop| speculator.read_ahead(text, stop),
            || cache.read(tokens, width),
        );
        match cost {
            Ok(cost) => speculator.observe_pass(tokens.len(), width, cost),
            Err(error) => return Err(failed(error, ahead.drafted)),
        }
        ahead.drafted.map_err(StepError::Draft)
    }
}

/// The error of a step whose pass failed. If the draft failed meanwhile, the draft's error comes
/// first, since it must not be asked again; the next step shows whether passes still fail.
pub(super) fn failed(pass: OracleError, drafted: Result<(), DraftError>) -> StepError {
    match drafted {
        Ok(()) => pass.into(),
        Err(draft) => {
            tracing::error!(error = %pass, "a pass failed, and the draft during it");
            StepError::Draft(draft)
        }
    }
}
