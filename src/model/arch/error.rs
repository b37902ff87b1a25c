//! Why a model cannot be computed, or not by our own graphs.

use super::Arch;
use crate::model::gguf::{Gguf, GgufError};
use std::path::PathBuf;

/// Why a model cannot be computed layer by layer.
#[derive(Debug, thiserror::Error)]
pub enum ArchError {
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error(
        "{path}: architecture '{arch}' is not supported; supported are {supported}",
        supported = Arch::names()
    )]
    Unsupported { path: PathBuf, arch: String },
    #[error(
        "{path}: mixtures of experts of the architecture '{arch}' are not supported; supported are \
         {supported}",
        supported = Arch::MIXTURES.map(Arch::name).join(", ")
    )]
    Mixture { path: PathBuf, arch: String },
    /// A supported architecture with a part that is not.
    #[error("{path}: NMOS's own graph does not compute {what}")]
    Variant { path: PathBuf, what: String },
    #[error(
        "{path}: architecture '{arch}' cannot be computed: {why}. NMOS itself computes \
         {supported}, and llama.cpp, for the others, most decoders of text",
        supported = Arch::names()
    )]
    Neither {
        path: PathBuf,
        arch: String,
        why: String,
    },
    /// A supported architecture with a part that neither we nor llama.cpp know.
    #[error("{path}: it cannot be computed: NMOS's own graph does not compute {what}, and {why}")]
    NeitherVariant {
        path: PathBuf,
        what: String,
        why: String,
    },
    #[error("{path}: {what}")]
    Invalid { path: PathBuf, what: String },
}

impl ArchError {
    pub(in crate::model) fn invalid(gguf: &Gguf, what: impl Into<String>) -> Self {
        Self::Invalid {
            path: gguf.path().to_owned(),
            what: what.into(),
        }
    }

    pub(super) fn variant(gguf: &Gguf, what: impl Into<String>) -> Self {
        Self::Variant {
            path: gguf.path().to_owned(),
            what: what.into(),
        }
    }
}
