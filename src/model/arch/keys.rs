//! Which metadata our graphs honour.
//!
//! An allow-list: every key of the architecture must be in one of its sets, with a value that
//! we compute as llama.cpp does. Of three sorts:
//!
//! ```text
//!  read        by `ModelShape::read`, of the type that llama.cpp takes
//!  idle        read by llama.cpp, without effect at the value that is found
//!  descriptive read by llama.cpp for none of the architectures that list it
//! ```
//!
//! Any other key, one of another architecture or one that nobody knows yet among them, may
//! change what a model computes, and so is foreign.

use crate::model::gguf::{Gguf, Value};

/// A key without the architecture's name before it, and the values of it that are honoured.
pub(super) struct Key {
    name: &'static str,
    honoured: Honoured,
}

/// Values of a key.
enum Honoured {
    /// 32-bit unsigned integers.
    Number,
    /// The same. An array has one for each layer, which our graphs do not compute.
    NumberOfAllLayers,
    /// 32-bit real numbers.
    Real,
    OneOf(&'static [&'static str]),
    Flag,
    True,
    Zero,
    /// The real number one.
    One,
    Anything,
}

const fn key(name: &'static str, honoured: Honoured) -> Key {
    Key { name, honoured }
}

/// The model's shape.
pub(super) const SHAPE: &[Key] = &[
    key("block_count", Honoured::Number),
    key("context_length", Honoured::Number),
    key("embedding_length", Honoured::Number),
    key("feed_forward_length", Honoured::NumberOfAllLayers),
    key("attention.head_count", Honoured::NumberOfAllLayers),
    key("attention.head_count_kv", Honoured::NumberOfAllLayers),
    key("attention.key_length", Honoured::Number),
    key("attention.value_length", Honoured::Number),
    key("attention.layer_norm_rms_epsilon", Honoured::Real),
    // Counts the tokens of a vocabulary that has none.
    key("vocab_size", Honoured::Number),
];

/// How heads rotate with their positions: all of their elements, scaled by one factor at most.
pub(super) const ROTATION: &[Key] = &[
    key("rope.dimension_count", Honoured::Number),
    key("rope.freq_base", Honoured::Real),
    key("rope.scaling.type", Honoured::OneOf(&["none", "linear"])),
    key("rope.scaling.factor", Honoured::Real),
    // Of use to the scalings that are foreign.
    key("rope.scaling.original_context_length", Honoured::Number),
    key("rope.scaling.attn_factor", Honoured::One),
    key("rope.scaling.finetuned", Honoured::Flag),
];

/// Keys that change nothing where their value says that the feature is absent.
pub(super) const IDLE: &[Key] = &[
    key("attention.causal", Honoured::True),
    key("expert_group_count", Honoured::Zero),
    key("expert_group_used_count", Honoured::Zero),
    key("nextn_predict_layers", Honoured::Zero),
    key("pooling_type", Honoured::Zero),
];

/// A model that is no mixture has no experts.
pub(super) const DENSE: &[Key] = &[
    key("expert_count", Honoured::Zero),
    key("expert_used_count", Honoured::Zero),
];

/// The experts of a mixture.
pub(super) const EXPERTS: &[Key] = &[
    key("expert_count", Honoured::Number),
    key("expert_used_count", Honoured::NumberOfAllLayers),
];

/// The same where experts have a width of their own.
pub(super) const EXPERT_WIDTH: &[Key] = &[key(
    "expert_feed_forward_length",
    Honoured::NumberOfAllLayers,
)];

/// Old files of Llama and Mistral have these.
pub(super) const OLD: &[Key] = &[
    key("tensor_data_layout", Honoured::Anything),
    key("attention.sliding_window", Honoured::Anything),
    key("attention.layer_norm_epsilon", Honoured::Anything),
];

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

/// Judges the keys of a model of architecture `arch`, which honours those in `sets`.
pub(super) fn judge(gguf: &Gguf, arch: &str, sets: &[&[Key]]) -> Verdict {
    for (key, value) in gguf.metadata.iter() {
        let of_arch = key.strip_prefix(arch);
        let found = match of_arch.and_then(|rest| rest.strip_prefix('.')) {
            Some(name) => of_key(sets, name, value),
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

/// Judges a key without the architecture's name before it.
fn of_key(sets: &[&[Key]], name: &str, value: &Value) -> Found {
    let mut keys = sets.iter().copied().flatten();
    match keys.find(|key| key.name == name) {
        Some(key) => key.honoured.judge(value),
        None => Found::Foreign,
    }
}

impl Honoured {
    fn judge(&self, value: &Value) -> Found {
        let is_honoured = match self {
            Self::Number => match value {
                Value::U32(_) => true,
                _ => return Found::NotA("a 32-bit unsigned integer"),
            },
            Self::NumberOfAllLayers => match value {
                Value::U32(_) => true,
                Value::Array(_) => false,
                _ => return Found::NotA("a 32-bit unsigned integer"),
            },
            Self::Real => match value {
                Value::F32(_) => true,
                _ => return Found::NotA("a 32-bit real number"),
            },
            Self::OneOf(texts) => {
                matches!(value, Value::String(s) if texts.contains(&s.as_str()))
            }
            Self::Flag => matches!(value, Value::Bool(_)),
            Self::True => *value == Value::Bool(true),
            Self::Zero => *value == Value::U32(0),
            Self::One => *value == Value::F32(1.0),
            Self::Anything => true,
        };
        match is_honoured {
            true => Found::Honoured,
            false => Found::Foreign,
        }
    }
}
