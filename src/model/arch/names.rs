//! Which tensors our graphs use: a file must hold no others.

use super::ModelShape;
use crate::model::gguf::Gguf;

/// Of a layer.
const OF_LAYER: [&str; 12] = [
    "attn_norm.weight",
    "attn_q.weight",
    "attn_k.weight",
    "attn_v.weight",
    "attn_q.bias",
    "attn_k.bias",
    "attn_v.bias",
    "attn_output.weight",
    "ffn_norm.weight",
    "ffn_gate.weight",
    "ffn_up.weight",
    "ffn_down.weight",
];

/// The first tensor of `gguf` that a model of this shape does not use.
pub(super) fn foreign(gguf: &Gguf, shape: &ModelShape) -> Option<String> {
    let mut tensors = gguf.tensors();
    let foreign = tensors.find(|t| !is_used(&t.name, shape))?;
    Some(format!("the tensor {}", foreign.name))
}

fn is_used(name: &str, shape: &ModelShape) -> bool {
    match name {
        "token_embd.weight" | "output_norm.weight" | "output.weight" => true,
        "rope_freqs.weight" => shape.arch.traits().rope_factors,
        _ => of_layer(name).is_some_and(|(layer, part)| {
            // Written as we ask for it: without a sign or leading zeros.
            let number = layer.parse::<usize>().ok();
            number.is_some_and(|n| n < shape.n_layer && n.to_string() == layer)
                && OF_LAYER.contains(&part)
        }),
    }
}

fn of_layer(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("blk.")?.split_once('.')
}
