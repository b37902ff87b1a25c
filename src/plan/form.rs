//! How the oracle is run.

use crate::experts::ExpertPlan;
use crate::river::Plan;
use crate::units::Bytes;

/// The form of oracle that the memory is enough for.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// llama.cpp over the whole model.
    Resident,
    /// Layer by layer over our own graphs; all shards may stay.
    Streamed(Plan),
    /// llama.cpp's graph over layers that come and go, and experts, in a mixture.
    Hooked {
        layers: Plan,
        experts: Option<ExpertPlan>,
    },
}

impl Form {
    /// Which shards stay; none where the model is not cut into shards.
    pub fn plan(&self) -> Option<&Plan> {
        match self {
            Self::Resident => None,
            Self::Streamed(plan) | Self::Hooked { layers: plan, .. } => Some(plan),
        }
    }

    /// How much memory routed experts have, in a mixture.
    pub fn experts(&self) -> Option<&ExpertPlan> {
        match self {
            Self::Hooked { experts, .. } => experts.as_ref(),
            Self::Resident | Self::Streamed(_) => None,
        }
    }

    /// Bytes that every pass reads from the disk, whatever its tokens.
    pub fn streamed_bytes(&self) -> usize {
        self.plan().map_or(0, |plan| plan.streamed_bytes)
    }

    /// Bytes that a pass over one token reads from the disk, as far as they can be predicted.
    pub fn token_bytes(&self) -> Bytes {
        let missed = self
            .experts()
            .map(|experts| experts.predicted_token_bytes.0);
        Bytes(self.streamed_bytes() as u64 + missed.unwrap_or(0))
    }
}
