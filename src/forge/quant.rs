//! Which type each tensor gets when a model is quantised again: the usual mixtures, by the names
//! that llama.cpp gives them.
//!
//! A mixture has one type for most matrices, and spends more bits where quality depends on
//! them: on the head, on attention's values, on the feed-forward's way back. Tables of experts have
//! the types of a dense feed-forward, and routers stay as they are. Floats are for
//! comparisons: kernels do not round activations to integers for them.

use super::role::Known;
use crate::model::{GgmlType, Gguf, Kind, ModelShape, Slot};

/// A mixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quant {
    Q2K,
    Q3KM,
    Q4_0,
    Q4KM,
    Q5KM,
    Q6K,
    Q8_0,
    F16,
    F32,
}

/// What the choice depends on besides the tensor itself.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    pub layers: usize,
    /// The head is the embedding.
    pub tied: bool,
    /// Query heads a KV head.
    pub group: usize,
}

impl Model {
    pub fn of(gguf: &Gguf, shape: &ModelShape) -> Self {
        Self {
            layers: shape.n_layer,
            tied: gguf.tensor(Slot::Output.name()).is_none(),
            group: shape.n_head / shape.n_head_kv,
        }
    }
}

impl Quant {
    pub const ALL: [Self; 9] = [
        Self::Q2K,
        Self::Q3KM,
        Self::Q4_0,
        Self::Q4KM,
        Self::Q5KM,
        Self::Q6K,
        Self::Q8_0,
        Self::F16,
        Self::F32,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Q2K => "q2_k",
            Self::Q3KM => "q3_k_m",
            Self::Q4_0 => "q4_0",
            Self::Q4KM => "q4_k_m",
            Self::Q5KM => "q5_k_m",
            Self::Q6K => "q6_k",
            Self::Q8_0 => "q8_0",
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|quant| quant.name() == name)
    }

    /// The number in `general.file_type`.
    pub const fn file_type(self) -> u32 {
        match self {
            Self::Q2K => 10,
            Self::Q3KM => 12,
            Self::Q4_0 => 2,
            Self::Q4KM => 15,
            Self::Q5KM => 17,
            Self::Q6K => 18,
            Self::Q8_0 => 7,
            Self::F16 => 1,
            Self::F32 => 0,
        }
    }

    /// The type of most matrices.
    const fn base(self) -> GgmlType {
        match self {
            Self::Q2K => GgmlType::Q2_K,
            Self::Q3KM => GgmlType::Q3_K,
            Self::Q4_0 => GgmlType::Q4_0,
            Self::Q4KM => GgmlType::Q4_K,
            Self::Q5KM => GgmlType::Q5_K,
            Self::Q6K => GgmlType::Q6_K,
            Self::Q8_0 => GgmlType::Q8_0,
            Self::F16 => GgmlType::F16,
            Self::F32 => GgmlType::F32,
        }
    }

    /// The type that `known` gets. Vectors stay as they are.
    pub fn type_of(self, known: &Known<'_>, model: Model) -> GgmlType {
        let tensor = known.tensor;
        if tensor.n_dims < 2 || known.spec.kind != Kind::Matrix {
            return tensor.ty;
        }
        let row = tensor.dims[0];
        let layer = known.layer.unwrap_or(0);
        let more_bits = more_bits(layer, model.layers);
        let ty = match known.spec.slot {
            // A rounded one would choose other experts.
            Slot::Router => return tensor.ty,
            Slot::Output => self.head(row),
            Slot::Embedding if model.tied => self.head(row),
            Slot::Value => match self {
                Self::Q2K if model.group >= 4 => GgmlType::Q4_K,
                Self::Q2K => GgmlType::Q3_K,
                Self::Q3KM if layer < 2 => GgmlType::Q5_K,
                Self::Q3KM => GgmlType::Q4_K,
                Self::Q4KM | Self::Q5KM if more_bits => GgmlType::Q6_K,
                _ => self.base(),
            },
            Slot::AttentionOutput => match self {
                Self::Q2K => GgmlType::Q3_K,
                Self::Q3KM => GgmlType::Q4_K,
                _ => self.base(),
            },
            Slot::Down | Slot::DownExperts => match self {
                Self::Q2K => GgmlType::Q3_K,
                Self::Q3KM if layer < model.layers / 16 => GgmlType::Q5_K,
                Self::Q3KM => GgmlType::Q4_K,
                Self::Q4KM | Self::Q5KM if more_bits => GgmlType::Q6_K,
                _ => self.base(),
            },
            _ => self.base(),
        };
        in_whole_blocks(ty, row)
    }

    fn head(self, row: u64) -> GgmlType {
        let base = self.base();
        if matches!(base, GgmlType::F16 | GgmlType::F32) {
            base
        } else if base == GgmlType::Q8_0 || !row.is_multiple_of(base.block_elems()) {
            GgmlType::Q8_0
        } else {
            GgmlType::Q6_K
        }
    }
}

/// The first and the last eighth of the layers, and every third between.
fn more_bits(layer: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// `ty`, or the next best whose blocks divide a row of `row` elements.
fn in_whole_blocks(ty: GgmlType, row: u64) -> GgmlType {
    use GgmlType as T;
    if row.is_multiple_of(ty.block_elems()) {
        return ty;
    }
    let smaller = match ty {
        T::Q2_K | T::Q3_K => T::Q4_0,
        T::Q4_K => T::Q5_0,
        T::Q5_K => T::Q5_1,
        T::Q6_K => T::Q8_0,
        other => other,
    };
    if row.is_multiple_of(smaller.block_elems()) {
        smaller
    } else {
        T::F16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Arch, TensorInfo};

    fn type_of(quant: Quant, name: &str, row: u64) -> GgmlType {
        let tensor = TensorInfo {
            name: name.to_owned(),
            ty: GgmlType::F32,
            dims: [row, 64, 1, 1],
            n_dims: if name.ends_with("norm.weight") { 1 } else { 2 },
            file: 0,
            offset: 0,
            bytes: 0,
        };
        let model = Model {
            layers: 28,
            tied: true,
            group: 6,
        };
        let arch = match name.contains("exps") || name.contains("gate_inp") {
            true => Arch::MIXTURES[0],
            false => Arch::ALL[0],
        };
        quant.type_of(&Known::new(arch, &tensor).unwrap(), model)
    }

    #[test]
    fn mixtures_spend_bits_where_llama_cpp_does() {
        use GgmlType as T;
        for (quant, name, ty) in [
            (Quant::Q4KM, "blk.0.attn_q.weight", T::Q4_K),
            (Quant::Q4KM, "blk.0.ffn_down.weight", T::Q6_K),
            (Quant::Q4KM, "blk.3.ffn_down.weight", T::Q4_K),
            (Quant::Q4KM, "blk.5.attn_v.weight", T::Q6_K),
            (Quant::Q4KM, "token_embd.weight", T::Q6_K),
            (Quant::Q3KM, "blk.0.ffn_down.weight", T::Q5_K),
            (Quant::Q3KM, "blk.1.ffn_down.weight", T::Q4_K),
            (Quant::Q3KM, "blk.1.attn_v.weight", T::Q5_K),
            (Quant::Q3KM, "blk.9.ffn_up.weight", T::Q3_K),
            (Quant::Q8_0, "token_embd.weight", T::Q8_0),
            (Quant::F16, "token_embd.weight", T::F16),
            (Quant::F32, "blk.1.attn_v.weight", T::F32),
            (Quant::Q2K, "blk.4.attn_norm.weight", T::F32),
            (Quant::Q4KM, "blk.0.ffn_down_exps.weight", T::Q6_K),
            (Quant::Q4KM, "blk.3.ffn_up_exps.weight", T::Q4_K),
            (Quant::Q4KM, "blk.3.ffn_gate_inp.weight", T::F32),
        ] {
            assert_eq!(type_of(quant, name, 1536), ty, "{} {name}", quant.name());
        }
    }

    #[test]
    fn rows_that_are_not_whole_blocks_get_smaller_ones() {
        use GgmlType as T;
        assert_eq!(type_of(Quant::Q4KM, "blk.9.ffn_up.weight", 576), T::Q5_0);
        assert_eq!(type_of(Quant::Q3KM, "blk.9.ffn_up.weight", 576), T::Q4_0);
        assert_eq!(type_of(Quant::Q6K, "token_embd.weight", 576), T::Q8_0);
        assert_eq!(type_of(Quant::Q4_0, "blk.9.ffn_up.weight", 100), T::F16);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for quant in Quant::ALL {
            assert_eq!(Quant::from_name(quant.name()), Some(quant));
        }
        assert_eq!(Quant::from_name("q9"), None);
    }
}
