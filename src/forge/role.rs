//! What each tensor of a source is for: what its architecture's table says of it, and the layer
//! that it is in.

use crate::model::{Arch, Axis, Kind, TensorInfo, TensorSpec};

/// A source tensor whose part in the model is known.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub tensor: &'a TensorInfo,
    pub spec: &'static TensorSpec,
    pub layer: Option<usize>,
}

impl<'a> Known<'a> {
    /// `None` where models of this architecture have no such tensor.
    pub fn new(arch: &Arch, tensor: &'a TensorInfo) -> Option<Self> {
        let (layer, spec) = arch.tensor(&tensor.name)?;
        Some(Self {
            tensor,
            spec,
            layer,
        })
    }

    /// What is counted along a row.
    pub fn cols(&self) -> Axis {
        self.spec.dims[0]
    }

    /// What its rows are counted by.
    pub fn rows(&self) -> Axis {
        self.spec.dims[1]
    }

    /// Whether it normalises rows that grow, so that its weights depend on their length.
    pub fn is_norm_of_width(&self) -> bool {
        self.spec.kind == Kind::Norm && self.cols() == Axis::Embedding
    }

    /// The tensor's name where it is in layer `layer`, of a model whose feed-forwards have become
    /// experts or not.
    pub fn name_in(&self, layer: usize, as_experts: bool) -> String {
        let slot = self.spec.slot;
        let experts = slot.for_experts().filter(|_| as_experts);
        format!("blk.{layer}.{}", experts.unwrap_or(slot).name())
    }
}
