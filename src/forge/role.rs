//! What each tensor of a model is for: which of its dimensions grow, and what its filler is.

use crate::model::TensorInfo;

/// What a dimension counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Elements of the residual stream.
    Embedding,
    /// Query heads' elements.
    Query,
    /// Key-value heads' elements.
    KeyValue,
    FeedForward,
    /// Something that does not grow, as the vocabulary.
    Fixed,
}

/// How a tensor's values come over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As they are.
    Plain,
    /// Weights of an RMS norm, which depend on the width.
    Norm,
    /// The last matrix of a branch: where it is worth nothing, so is the branch.
    Silencer,
}

/// A tensor's part in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// The name, in a layer without `blk.N.`.
    pub name: &'static str,
    /// The first dimension: along a row.
    pub cols: Axis,
    /// The second.
    pub rows: Axis,
    pub kind: Kind,
}

const fn role(name: &'static str, cols: Axis, rows: Axis, kind: Kind) -> Role {
    Role {
        name,
        cols,
        rows,
        kind,
    }
}

/// Tensors outside of layers.
const GLOBAL: [Role; 4] = [
    role(
        "token_embd.weight",
        Axis::Embedding,
        Axis::Fixed,
        Kind::Plain,
    ),
    role("output.weight", Axis::Embedding, Axis::Fixed, Kind::Plain),
    role(
        "output_norm.weight",
        Axis::Embedding,
        Axis::Fixed,
        Kind::Norm,
    ),
    role("rope_freqs.weight", Axis::Fixed, Axis::Fixed, Kind::Plain),
];

/// Tensors of a layer.
const LAYER: [Role; 12] = {
    use Axis::{Embedding, FeedForward, Fixed, KeyValue, Query};
    use Kind::{Norm, Plain, Silencer};
    [
        role("attn_norm.weight", Embedding, Fixed, Norm),
        role("attn_q.weight", Embedding, Query, Plain),
        role("attn_k.weight", Embedding, KeyValue, Plain),
        role("attn_v.weight", Embedding, KeyValue, Plain),
        role("attn_q.bias", Query, Fixed, Plain),
        role("attn_k.bias", KeyValue, Fixed, Plain),
        role("attn_v.bias", KeyValue, Fixed, Plain),
        role("attn_output.weight", Query, Embedding, Silencer),
        role("ffn_norm.weight", Embedding, Fixed, Norm),
        role("ffn_gate.weight", Embedding, FeedForward, Plain),
        role("ffn_up.weight", Embedding, FeedForward, Plain),
        role("ffn_down.weight", FeedForward, Embedding, Silencer),
    ]
};

/// A source tensor whose part is known.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub tensor: &'a TensorInfo,
    pub role: Role,
    pub layer: Option<usize>,
}

impl<'a> Known<'a> {
    /// `None` where forging does not know what the tensor is for.
    pub fn new(tensor: &'a TensorInfo) -> Option<Self> {
        let (layer, name) = match tensor.name.strip_prefix("blk.") {
            Some(rest) => {
                let (layer, name) = rest.split_once('.')?;
                (Some(layer.parse().ok()?), name)
            }
            None => (None, tensor.name.as_str()),
        };
        let roles: &[Role] = match layer {
            Some(_) => &LAYER,
            None => &GLOBAL,
        };
        let role = *roles.iter().find(|role| role.name == name)?;
        Some(Self {
            tensor,
            role,
            layer,
        })
    }

    /// The tensor's name where it stands in layer `layer`.
    pub fn name_in(&self, layer: usize) -> String {
        format!("blk.{layer}.{}", self.role.name)
    }
}
