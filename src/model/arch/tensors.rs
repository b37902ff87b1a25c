//! What an architecture's table says of each tensor.

use super::Slot;
use crate::vocabulary::ShardPart;

/// What a dimension counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Elements of the residual stream.
    Embedding,
    /// Elements of all query heads.
    QueryHeads,
    /// Elements of all key-value heads.
    KeyValueHeads,
    /// Elements of one head.
    Head,
    /// Elements within a feed-forward; in a mixture, within one expert's.
    FeedForward,
    /// Experts of a layer.
    Experts,
    Vocabulary,
    /// Pairs of elements of a head that rotate together.
    RotatedPairs,
    /// Nothing: there is no such dimension.
    One,
}

/// What is computed with a tensor. It decides where the tensor is kept, and of which types it
/// may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Multiplied by: of any type, and large. A step's matrices come and go with its shard.
    Matrix,
    /// The weights of an RMS norm: F32, in memory for good.
    Norm,
    /// Added to a product: F32, in memory for good.
    Bias,
    /// What frequencies of rotation are divided by: F32, in memory for good.
    Factors,
}

/// Whether a model may lack a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Always,
    /// It has it or not.
    IfThere,
    /// A layer has all tensors of a step that are marked so, or none of them.
    AllOrNone,
}

/// One tensor of an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    pub slot: Slot,
    pub kind: Kind,
    /// The dimension along a row first.
    pub dims: [Axis; 2],
    /// There is one for each expert, one after the other in a third dimension.
    pub per_expert: bool,
    need: Need,
}

impl TensorSpec {
    /// A weight matrix from `from` to `to`, which is a row for each element of `to`.
    pub(super) const fn matrix(slot: Slot, from: Axis, to: Axis) -> Self {
        Self::new(slot, Kind::Matrix, [from, to])
    }

    /// Such a matrix for each expert.
    pub(super) const fn experts(slot: Slot, from: Axis, to: Axis) -> Self {
        let mut spec = Self::matrix(slot, from, to);
        spec.per_expert = true;
        spec
    }

    pub(super) const fn norm(slot: Slot, of: Axis) -> Self {
        Self::new(slot, Kind::Norm, [of, Axis::One])
    }

    pub(super) const fn bias(slot: Slot, of: Axis) -> Self {
        Self::new(slot, Kind::Bias, [of, Axis::One])
    }

    pub(super) const fn factors(slot: Slot, of: Axis) -> Self {
        Self::new(slot, Kind::Factors, [of, Axis::One])
    }

    const fn new(slot: Slot, kind: Kind, dims: [Axis; 2]) -> Self {
        Self {
            slot,
            kind,
            dims,
            per_expert: false,
            need: Need::Always,
        }
    }

    /// A model may lack it.
    pub(super) const fn if_there(mut self) -> Self {
        self.need = Need::IfThere;
        self
    }

    /// A layer may lack it, together with all others of its step that are marked so.
    pub(super) const fn all_or_none(mut self) -> Self {
        self.need = Need::AllOrNone;
        self
    }

    pub(super) const fn is_required(&self) -> bool {
        matches!(self.need, Need::Always)
    }

    pub(super) fn is_all_or_none(&self) -> bool {
        self.need == Need::AllOrNone
    }

    /// Whether its product is added to the residual stream: where it is zero, the branch that
    /// it ends adds nothing.
    pub fn ends_branch(&self) -> bool {
        self.kind == Kind::Matrix && self.dims[1] == Axis::Embedding
    }
}

/// A part of a layer whose matrices arrive together, and that is computed when they have.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub part: ShardPart,
    pub tensors: &'static [TensorSpec],
}

/// What every model has outside of its layers.
pub(super) const EMBEDDING: TensorSpec =
    TensorSpec::matrix(Slot::Embedding, Axis::Embedding, Axis::Vocabulary);
pub(super) const OUTPUT_NORM: TensorSpec = TensorSpec::norm(Slot::OutputNorm, Axis::Embedding);
pub(super) const OUTPUT: TensorSpec =
    TensorSpec::matrix(Slot::Output, Axis::Embedding, Axis::Vocabulary).if_there();

/// Attention, with biases on queries, keys and values, or none.
pub(super) const ATTENTION: Step = Step {
    part: ShardPart::Attention,
    tensors: &[
        TensorSpec::norm(Slot::AttentionNorm, Axis::Embedding),
        TensorSpec::matrix(Slot::Query, Axis::Embedding, Axis::QueryHeads),
        TensorSpec::matrix(Slot::Key, Axis::Embedding, Axis::KeyValueHeads),
        TensorSpec::matrix(Slot::Value, Axis::Embedding, Axis::KeyValueHeads),
        TensorSpec::bias(Slot::QueryBias, Axis::QueryHeads).all_or_none(),
        TensorSpec::bias(Slot::KeyBias, Axis::KeyValueHeads).all_or_none(),
        TensorSpec::bias(Slot::ValueBias, Axis::KeyValueHeads).all_or_none(),
        TensorSpec::matrix(Slot::AttentionOutput, Axis::QueryHeads, Axis::Embedding),
    ],
};

/// The gated feed-forward: its way up,
pub(super) const FEED_FORWARD_UP: Step = Step {
    part: ShardPart::FeedForwardUp,
    tensors: &[
        TensorSpec::norm(Slot::FeedForwardNorm, Axis::Embedding),
        TensorSpec::matrix(Slot::Gate, Axis::Embedding, Axis::FeedForward),
        TensorSpec::matrix(Slot::Up, Axis::Embedding, Axis::FeedForward),
    ],
};

/// and its way back.
pub(super) const FEED_FORWARD_DOWN: Step = Step {
    part: ShardPart::FeedForwardDown,
    tensors: &[TensorSpec::matrix(
        Slot::Down,
        Axis::FeedForward,
        Axis::Embedding,
    )],
};

/// The gated feed-forward of a mixture: the router with the way up of every expert,
pub(super) const EXPERTS_UP: Step = Step {
    part: ShardPart::FeedForwardUp,
    tensors: &[
        TensorSpec::norm(Slot::FeedForwardNorm, Axis::Embedding),
        TensorSpec::matrix(Slot::Router, Axis::Embedding, Axis::Experts),
        TensorSpec::experts(Slot::GateExperts, Axis::Embedding, Axis::FeedForward),
        TensorSpec::experts(Slot::UpExperts, Axis::Embedding, Axis::FeedForward),
    ],
};

/// and the way back.
pub(super) const EXPERTS_DOWN: Step = Step {
    part: ShardPart::FeedForwardDown,
    tensors: &[TensorSpec::experts(
        Slot::DownExperts,
        Axis::FeedForward,
        Axis::Embedding,
    )],
};
