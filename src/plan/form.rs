//! How the oracle is run.

use crate::river::Plan;

/// The form of oracle that the memory is enough for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// llama.cpp over the whole model.
    Resident,
    /// Layer by layer over our own graphs; all shards may stay.
    Streamed(Plan),
    /// llama.cpp's graph over layers that come and go.
    Hooked(Plan),
}

impl Form {
    /// Which shards stay; none where the model is not cut into shards.
    pub fn plan(&self) -> Option<&Plan> {
        match self {
            Self::Resident => None,
            Self::Streamed(plan) | Self::Hooked(plan) => Some(plan),
        }
    }

    /// Bytes that every pass reads from the disk.
    pub fn streamed_bytes(&self) -> usize {
        self.plan().map_or(0, |plan| plan.streamed_bytes)
    }
}
