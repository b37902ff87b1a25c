//! What is asked of a plan.

use super::{TreeSize, Vram};
use crate::units::Bytes;
use crate::vocabulary::ExpertPolicy;
use std::path::{Path, PathBuf};

/// What a placement is to serve. Every default is resolved but those that the machine decides.
#[derive(Clone, Copy, Debug)]
pub struct PlanRequest<'a> {
    /// The oracle's GGUF (the first of its parts, for a split one).
    pub oracle: &'a Path,
    pub draft: &'a DraftRequest,
    /// What drafters other than the model hold.
    pub drafters: Bytes,
    /// The most RAM that the process may hold; `None` takes what is available less a margin.
    pub ram: Option<Bytes>,
    pub vram: Vram,
    /// Tokens of context; at most what the model was trained for.
    pub ctx_tokens: usize,
    pub threads: usize,
    /// Most nodes of a pass.
    pub tree: TreeSize,
    /// Answers depend on model, prompt and sampling alone, also where that takes longer.
    pub exact: bool,
    /// How the experts of a mixture come and go.
    pub experts: ExpertPolicy,
}

/// The draft that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DraftRequest {
    /// No model drafts.
    None,
    /// Somebody named it: nothing starts without it.
    Required(PathBuf),
    /// Nobody named it: it is left out where it does not fit, or its memory is better used.
    Default(PathBuf),
    /// The default one is not there, and why.
    Missing(String),
}

impl DraftRequest {
    /// The file that is wanted and there.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Required(path) | Self::Default(path) => Some(path),
            Self::None | Self::Missing(_) => None,
        }
    }
}
