//! Who holds how much of a memory, and where each figure comes from.
//!
//! A [`Ledger`] is written when a memory is divided, before anything is loaded:
//!
//! ```text
//!  limit 960 MiB
//!    program            31.9 MiB  measured     what is in use already
//!    margin             28.0 MiB  fixed        a constant of ours
//!    KV cache          112.0 MiB  predicted    follows from a header and the settings
//!    ...
//!    (free)              3.1 MiB               what no entry takes
//! ```
//!
//! Plain data: whoever divides a memory decides what goes in.

use crate::units::Bytes;
use serde::Serialize;

/// What holds memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// This process with llama.cpp started and no model open.
    Program,
    /// llama.cpp's tables of the oracle's vocabulary.
    Vocabulary,
    /// The draft model, whatever it holds of this memory.
    Draft,
    /// What else guesses: tables.
    Drafters,
    /// What can be neither measured nor derived.
    Margin,
    /// llama.cpp's cells, scratch memory and results.
    Context,
    KvCache,
    Activations,
    Logits,
    /// Small tensors that our graphs keep.
    Norms,
    /// Tensors of no layer that llama.cpp's graph keeps.
    Head,
    EmbeddingRows,
    /// What is on its way to a device and back.
    Staging,
    /// Of graphs on a device.
    Scratch,
    /// What a device's driver takes for a process, and the code of kernels.
    Driver,
    /// All of the model, where none of it streams through memory of ours.
    Weights,
    PinnedWeights,
    /// The ring.
    StreamedWeights,
    /// Routed experts that are here.
    Experts,
    /// A device's slots for weights that pass through.
    Window,
}

impl Owner {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Vocabulary => "vocabulary",
            Self::Draft => "draft",
            Self::Drafters => "other drafters",
            Self::Margin => "margin",
            Self::Context => "context",
            Self::KvCache => "KV cache",
            Self::Activations => "activations",
            Self::Logits => "logits",
            Self::Norms => "norms and biases",
            Self::Head => "head, norms and the like",
            Self::EmbeddingRows => "rows of embeddings",
            Self::Staging => "staging for the GPU",
            Self::Scratch => "scratch",
            Self::Driver => "driver, kernels",
            Self::Weights => "weights",
            Self::PinnedWeights => "weights that stay",
            Self::StreamedWeights => "weights in flight",
            Self::Experts => "experts",
            Self::Window => "window",
        }
    }
}

/// Where a figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Figure {
    Measured,
    /// Derived from files' headers and settings.
    Predicted,
    /// A constant.
    Fixed,
}

impl Figure {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Predicted => "predicted",
            Self::Fixed => "fixed",
        }
    }
}

/// A row of a [`Ledger`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub owner: Owner,
    pub bytes: Bytes,
    pub figure: Figure,
}

/// How one memory is divided. Its entries sum to at most its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    limit: Bytes,
    entries: Vec<Entry>,
}

impl Ledger {
    /// Nobody holds any of `limit` yet.
    pub fn new(limit: Bytes) -> Self {
        Self {
            limit,
            entries: Vec::new(),
        }
    }

    /// Most that all owners may hold together.
    pub fn limit(&self) -> Bytes {
        self.limit
    }

    /// In the order that they were added in.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn measured(&mut self, owner: Owner, bytes: Bytes) {
        self.add(owner, bytes, Figure::Measured);
    }

    pub fn predicted(&mut self, owner: Owner, bytes: Bytes) {
        self.add(owner, bytes, Figure::Predicted);
    }

    pub fn fixed(&mut self, owner: Owner, bytes: Bytes) {
        self.add(owner, bytes, Figure::Fixed);
    }

    fn add(&mut self, owner: Owner, bytes: Bytes, figure: Figure) {
        self.entries.push(Entry {
            owner,
            bytes,
            figure,
        });
    }

    /// What `owner` holds; zero where it has no entry.
    pub fn bytes_of(&self, owner: Owner) -> Bytes {
        let entries = self.entries.iter().filter(|entry| entry.owner == owner);
        Bytes(entries.map(|entry| entry.bytes.0).sum())
    }

    /// What all owners hold together.
    pub fn given(&self) -> Bytes {
        Bytes(self.entries.iter().map(|entry| entry.bytes.0).sum())
    }

    /// What is left of the limit.
    pub fn free(&self) -> Bytes {
        self.limit.saturating_sub(self.given())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_is_given_is_free() {
        let mut ledger = Ledger::new(Bytes(100));
        assert_eq!((ledger.given(), ledger.free()), (Bytes(0), Bytes(100)));
        ledger.measured(Owner::Program, Bytes(30));
        ledger.predicted(Owner::Draft, Bytes(20));
        ledger.fixed(Owner::Margin, Bytes(10));
        assert_eq!((ledger.given(), ledger.free()), (Bytes(60), Bytes(40)));
        assert_eq!(ledger.bytes_of(Owner::Draft), Bytes(20));
        assert_eq!(ledger.bytes_of(Owner::Window), Bytes(0));
        let figures: Vec<_> = ledger.entries().iter().map(|e| e.figure.name()).collect();
        assert_eq!(figures, ["measured", "predicted", "fixed"]);
        // Too much is nothing left, not a number below zero.
        ledger.predicted(Owner::Logits, Bytes(50));
        assert_eq!(ledger.free(), Bytes(0));
    }
}
