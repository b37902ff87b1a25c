//! Which metadata our graphs honour.
//!
//! An allow-list: every key of the architecture must be here with a value that we compute as
//! llama.cpp does. Of three sorts:
//!
//! ```text
//!  read        by `Checker::shape`, of the type that llama.cpp takes
//!  idle        read by llama.cpp, without effect at the value that is found
//!  descriptive read by llama.cpp for none of our architectures
//! ```
//!
//! Any other key, one of another architecture or one that nobody knows yet among them, may
//! change what a model computes, and so is foreign.

use super::Arch;
use crate::model::gguf::{Gguf, Value};

/// What is found of a file's metadata.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Honoured,
    /// The first thing that our graphs do not compute.
    Foreign(String),
    /// The first thing that llama.cpp refuses as well.
    Wrong(String),
}

/// Precision of single tensors' arithmetic.
const TENSOR_EXTRA: &str = "general.tensor_extra.";

/// Judges the keys of a model of architecture `arch`.
pub(super) fn judge(gguf: &Gguf, arch: Arch) -> Verdict {
    for (key, value) in gguf.metadata.iter() {
        let of_arch = key.strip_prefix(arch.name());
        let found = match of_arch.and_then(|rest| rest.strip_prefix('.')) {
            Some(name) => of_key(name, value),
            None if key.starts_with(TENSOR_EXTRA) => Found::Foreign,
            None => Found::Honoured,
        };
        match found {
            Found::Honoured => {}
            Found::Foreign => {
                let what = format!("the metadata key {key} ({})", value.describe());
                return Verdict::Foreign(what);
            }
            Found::NotA(wanted) => {
                let found = value.describe();
                let what = format!("metadata key {key} holds {found} where {wanted} is expected");
                return Verdict::Wrong(what);
            }
        }
    }
    Verdict::Honoured
}

enum Found {
    Honoured,
    Foreign,
    /// Neither of the type that is expected, nor one that llama.cpp takes instead.
    NotA(&'static str),
}

impl Found {
    fn only(honoured: bool) -> Self {
        if honoured {
            Self::Honoured
        } else {
            Self::Foreign
        }
    }
}

/// Judges a key without the architecture's name before it.
fn of_key(name: &str, value: &Value) -> Found {
    match name {
        // Of a layer each, where it is an array.
        "feed_forward_length" | "attention.head_count" | "attention.head_count_kv" => match value {
            Value::U32(_) => Found::Honoured,
            Value::Array(_) => Found::Foreign,
            _ => Found::NotA("a 32-bit unsigned integer"),
        },
        "block_count"
        | "context_length"
        | "embedding_length"
        | "attention.key_length"
        | "attention.value_length"
        | "rope.dimension_count"
        // Counts the tokens of a vocabulary that has none.
        | "vocab_size"
        // Of use to the scalings that are foreign.
        | "rope.scaling.original_context_length" => match value {
            Value::U32(_) => Found::Honoured,
            _ => Found::NotA("a 32-bit unsigned integer"),
        },
        "attention.layer_norm_rms_epsilon" | "rope.freq_base" | "rope.scaling.factor" => {
            match value {
                Value::F32(_) => Found::Honoured,
                _ => Found::NotA("a 32-bit real number"),
            }
        }
        "rope.scaling.type" => {
            Found::only(matches!(value, Value::String(s) if s == "none" || s == "linear"))
        }
        "rope.scaling.attn_factor" => Found::only(*value == Value::F32(1.0)),
        "rope.scaling.finetuned" => Found::only(matches!(value, Value::Bool(_))),
        "attention.causal" => Found::only(*value == Value::Bool(true)),
        "expert_count"
        | "expert_used_count"
        | "expert_group_count"
        | "expert_group_used_count"
        | "nextn_predict_layers"
        | "pooling_type" => Found::only(*value == Value::U32(0)),
        // Old files of Llama and Mistral have these.
        "tensor_data_layout" | "attention.sliding_window" | "attention.layer_norm_epsilon" => {
            Found::Honoured
        }
        _ => Found::Foreign,
    }
}
