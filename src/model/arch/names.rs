//! Which tensors our graphs use: a file must hold no others than its architecture's table.

use super::ModelShape;
use crate::model::gguf::Gguf;

/// The first tensor of `gguf` that a model of this shape does not use.
pub(super) fn foreign(gguf: &Gguf, shape: &ModelShape) -> Option<String> {
    let mut tensors = gguf.tensors();
    let foreign = tensors.find(|t| !is_used(&t.name, shape))?;
    Some(format!("the tensor {}", foreign.name))
}

fn is_used(name: &str, shape: &ModelShape) -> bool {
    let found = shape.arch.tensor(name);
    found.is_some_and(|(layer, _)| layer.is_none_or(|layer| layer < shape.n_layer))
}
