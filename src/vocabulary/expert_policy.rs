//! How the experts of a mixture come and go.

use serde::{Serialize, Serializer};

/// How the experts of a mixture come and go. All but the first are for comparison with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpertPolicy {
    #[default]
    ByLabel,
    AllLabels,
    Lru,
    WholeLayers,
}

impl ExpertPolicy {
    pub const ALL: [Self; 4] = [Self::ByLabel, Self::AllLabels, Self::Lru, Self::WholeLayers];

    /// Its name, on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ByLabel => "by-label",
            Self::AllLabels => "all-labels",
            Self::Lru => "lru",
            Self::WholeLayers => "whole-layers",
        }
    }

    /// What it does, for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::ByLabel => "those stay that are expected soonest in text of this label",
            Self::AllLabels => "the same, by what text of any label used, whatever the scout says",
            Self::Lru => {
                "the least recently used leaves, and none is read before a token chooses it"
            }
            Self::WholeLayers => "they are read with their layer, all of them, in every pass",
        }
    }

    /// Itself, where a report is to name it: nothing where it is the default.
    pub fn unless_default(self) -> Option<Self> {
        (self != Self::default()).then_some(self)
    }
}

impl Serialize for ExpertPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
