//! Why there is no placement.

use super::{DivisionError, NoVram, TooSmall, VramTooSmall};
use crate::ggml::InitError;
use crate::ggml::llama::LlamaError;
use crate::model::trial::TrialError;
use crate::model::{ArchError, GgufError, VocabularyMismatch};
use crate::system::BudgetError;
use std::path::PathBuf;

/// A model that is absent or cannot be used, memory that cannot be had, or too little of it.
#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error(transparent)]
    Arch(#[from] ArchError),
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// llama.cpp refuses a model that was left to it.
    #[error("{refused} (llama.cpp was asked, since {why})")]
    LeftToLlama {
        refused: Box<TrialError>,
        why: String,
    },
    #[error(transparent)]
    Kernels(#[from] InitError),
    #[error(transparent)]
    NoVram(#[from] NoVram),
    #[error(transparent)]
    NoRam(#[from] BudgetError),
    #[error(transparent)]
    TooSmall(#[from] TooSmall),
    #[error(transparent)]
    VramTooSmall(#[from] VramTooSmall),
    /// A vocabulary cannot be loaded.
    #[error(transparent)]
    Vocabulary(#[from] LlamaError),
    #[error("{} cannot draft for {}", draft.display(), oracle.display())]
    OtherTokens {
        oracle: PathBuf,
        draft: PathBuf,
        source: Box<VocabularyMismatch>,
    },
}

impl From<DivisionError> for PlacementError {
    fn from(error: DivisionError) -> Self {
        match error {
            DivisionError::Ram(error) => Self::TooSmall(error),
            DivisionError::Vram(error) => Self::VramTooSmall(error),
        }
    }
}
