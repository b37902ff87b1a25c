//! Architectures: what a model file must hold, and the shape that it describes.
//!
//! One file an architecture; each says how its layers differ from the common transformer
//! block (pre-norm, rotary attention with grouped heads, gated feed-forward):
//!
//! ```text
//!  x -> norm -> q,k,v (+bias?) -> rope -> attention -> o -> +x -> norm -> swiglu -> down -> +
//! ```
//!
//! Every tensor's shape is checked here, since ggml aborts the process on a wrong one.
//!
//! A layout is one that our graphs compute *as llama.cpp does*. What they honour is listed, by
//! metadata key ([`keys`]) and by tensor ([`names`]): a file with anything else, known to
//! llama.cpp or to nobody, is left to llama.cpp's graph, which alone can say what it means.

mod keys;
mod llama;
mod names;
mod qwen2;

use super::gguf::{Gguf, GgufError, TensorInfo};
use super::outline::Outline;
use crate::ggml::{GgmlType, RopeKind};
use std::path::PathBuf;

/// Architectures that the layer-by-layer oracle computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    Qwen2,
    Llama,
}

impl Arch {
    pub const ALL: [Self; 2] = [Self::Qwen2, Self::Llama];

    /// The name in `general.architecture`, which is also the prefix of its keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qwen2 => qwen2::NAME,
            Self::Llama => llama::NAME,
        }
    }

    fn traits(self) -> ArchTraits {
        match self {
            Self::Qwen2 => qwen2::TRAITS,
            Self::Llama => llama::TRAITS,
        }
    }
}

/// How an architecture differs from the common block.
#[derive(Clone, Copy, Debug)]
struct ArchTraits {
    rope: RopeKind,
    /// Frequencies of rotation may be divided by factors of the file.
    rope_factors: bool,
    /// All heads together are as wide as the model.
    heads_fill_width: bool,
    rope_freq_base: f32,
}

/// A model's dimensions.
#[derive(Clone, Debug)]
pub struct ModelShape {
    pub arch: Arch,
    pub name: String,
    pub n_layer: usize,
    pub n_embd: usize,
    pub n_head: usize,
    pub n_head_kv: usize,
    pub head_dim: usize,
    pub n_ff: usize,
    pub n_vocab: usize,
    pub ctx_train: usize,
    pub rms_eps: f32,
    pub rope_kind: RopeKind,
    pub rope_dims: usize,
    pub rope_freq_base: f32,
    pub rope_freq_scale: f32,
}

impl ModelShape {
    /// Elements of a token's keys (or values) in one layer.
    pub fn kv_width(&self) -> usize {
        self.n_head_kv * self.head_dim
    }
}

/// The tensors of one layer.
#[derive(Clone, Debug)]
pub struct LayerTensors {
    pub attn_norm: TensorInfo,
    pub q: TensorInfo,
    pub k: TensorInfo,
    pub v: TensorInfo,
    pub qkv_bias: Option<[TensorInfo; 3]>,
    pub o: TensorInfo,
    pub ffn_norm: TensorInfo,
    pub gate: TensorInfo,
    pub up: TensorInfo,
    pub down: TensorInfo,
}

/// A model whose tensors are all there and fit together.
#[derive(Clone, Debug)]
pub struct ModelLayout {
    pub shape: ModelShape,
    pub layers: Vec<LayerTensors>,
    pub embedding: TensorInfo,
    pub output_norm: TensorInfo,
    /// The head; the embedding itself where the model ties them.
    pub output: TensorInfo,
    pub rope_factors: Option<TensorInfo>,
}

/// How a model can be computed when not all of it fits in memory.
#[derive(Clone, Debug)]
pub enum Blueprint {
    /// By graphs of our own, layer by layer.
    Layers(Box<ModelLayout>),
    /// By llama.cpp's graph.
    Graph(Outline),
}

impl Blueprint {
    /// Reads how `gguf` can be computed. Whether llama.cpp knows an architecture that is left
    /// to it shows only when it opens the model.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, ArchError> {
        match ModelLayout::from_gguf(gguf) {
            Ok(layout) => Ok(Self::Layers(Box::new(layout))),
            Err(ArchError::Unsupported { .. }) => Ok(Self::Graph(Outline::from_gguf(gguf)?)),
            Err(ArchError::Variant { what, .. }) => Ok(Self::Graph(Outline {
                variant: Some(what),
                ..Outline::from_gguf(gguf)?
            })),
            Err(other) => Err(other),
        }
    }

    /// Why llama.cpp's graph computes it; `None` where ours can.
    pub fn left_to_llama(&self) -> Option<String> {
        match self {
            Self::Layers(_) => None,
            Self::Graph(outline) => Some(outline.why()),
        }
    }

    pub fn arch(&self) -> &str {
        match self {
            Self::Layers(layout) => layout.shape.arch.name(),
            Self::Graph(outline) => &outline.arch,
        }
    }

    pub fn n_layer(&self) -> usize {
        match self {
            Self::Layers(layout) => layout.shape.n_layer,
            Self::Graph(outline) => outline.n_layer,
        }
    }

    pub fn n_vocab(&self) -> usize {
        match self {
            Self::Layers(layout) => layout.shape.n_vocab,
            Self::Graph(outline) => outline.n_vocab,
        }
    }

    /// Elements of a token's keys (or values) in one layer.
    pub fn kv_width(&self) -> usize {
        match self {
            Self::Layers(layout) => layout.shape.kv_width(),
            Self::Graph(outline) => outline.kv_width,
        }
    }

    /// Tokens of context that the model was trained for.
    pub fn ctx_train(&self) -> usize {
        match self {
            Self::Layers(layout) => layout.shape.ctx_train,
            Self::Graph(outline) => outline.ctx_train,
        }
    }
}

/// Why a model cannot be computed layer by layer.
#[derive(Debug, thiserror::Error)]
pub enum ArchError {
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error(
        "{path}: architecture '{arch}' is not supported; supported are {supported}",
        supported = Arch::ALL.map(Arch::name).join(", ")
    )]
    Unsupported { path: PathBuf, arch: String },
    /// A supported architecture with a part that is not.
    #[error("{path}: NMOS's own graph does not compute {what}")]
    Variant { path: PathBuf, what: String },
    #[error(
        "{path}: architecture '{arch}' cannot be computed: {why}. NMOS itself computes \
         {supported}, and llama.cpp, for the others, most decoders of text",
        supported = Arch::ALL.map(Arch::name).join(", ")
    )]
    Neither {
        path: PathBuf,
        arch: String,
        why: String,
    },
    /// A supported architecture with a part that neither we nor llama.cpp know.
    #[error("{path}: it cannot be computed: NMOS's own graph does not compute {what}, and {why}")]
    NeitherVariant {
        path: PathBuf,
        what: String,
        why: String,
    },
    #[error("{path}: {what}")]
    Invalid { path: PathBuf, what: String },
}

impl ArchError {
    pub(super) fn invalid(gguf: &Gguf, what: String) -> Self {
        Self::Invalid {
            path: gguf.path().to_owned(),
            what,
        }
    }
}

impl ModelLayout {
    /// Reads and checks the layout of `gguf`.
    ///
    /// # Errors
    /// Names the file and the first thing that is unsupported, missing or of a wrong shape.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, ArchError> {
        Checker { gguf }.layout()
    }
}

struct Checker<'a> {
    gguf: &'a Gguf,
}

impl Checker<'_> {
    fn invalid(&self, what: impl Into<String>) -> ArchError {
        ArchError::invalid(self.gguf, what.into())
    }

    fn variant(&self, what: impl Into<String>) -> ArchError {
        ArchError::Variant {
            path: self.gguf.path().to_owned(),
            what: what.into(),
        }
    }

    fn layout(&self) -> Result<ModelLayout, ArchError> {
        let name = self.gguf.architecture()?;
        let arch = Arch::ALL
            .into_iter()
            .find(|a| a.name() == name)
            .ok_or_else(|| ArchError::Unsupported {
                path: self.gguf.path().to_owned(),
                arch: name.to_owned(),
            })?;
        match keys::judge(self.gguf, arch) {
            keys::Verdict::Honoured => {}
            keys::Verdict::Foreign(what) => return Err(self.variant(what)),
            keys::Verdict::Wrong(what) => return Err(self.invalid(what)),
        }
        let shape = self.shape(arch)?;
        if let Some(what) = names::foreign(self.gguf, &shape) {
            return Err(self.variant(what));
        }
        if shape.head_dim % 8 != 0 {
            return Err(self.variant(format!("heads of {} elements", shape.head_dim)));
        }
        let (d, vocab) = (shape.n_embd, shape.n_vocab);
        let layers = (0..shape.n_layer)
            .map(|i| self.layer(&shape, i))
            .collect::<Result<_, _>>()?;
        let embedding = self.matrix("token_embd.weight", d, vocab)?;
        let output_norm = self.vector("output_norm.weight", d)?;
        let output = if self.gguf.tensor("output.weight").is_some() {
            self.matrix("output.weight", d, vocab)?
        } else {
            embedding.clone()
        };
        let rope_factors = match self.gguf.tensor("rope_freqs.weight") {
            Some(_) => Some(self.vector("rope_freqs.weight", shape.rope_dims / 2)?),
            None => None,
        };
        Ok(ModelLayout {
            shape,
            layers,
            embedding,
            output_norm,
            output,
            rope_factors,
        })
    }

    fn shape(&self, arch: Arch) -> Result<ModelShape, ArchError> {
        let g = self.gguf;
        let key = |name: &str| format!("{}.{name}", arch.name());
        let size = |name: &str| -> Result<usize, ArchError> {
            let n = g.require_u32(&key(name))? as usize;
            // The largest published models are two orders below; a wild header must not
            // turn into a wild allocation.
            if n == 0 || n > 1 << 22 {
                return Err(self.invalid(format!("{} is {n}", key(name))));
            }
            Ok(n)
        };
        let traits = arch.traits();
        let n_head = size("attention.head_count")?;
        let n_embd = size("embedding_length")?;
        let n_head_kv = match g.u32(&key("attention.head_count_kv"))? {
            Some(_) => size("attention.head_count_kv")?,
            None => n_head,
        };
        let head_dim = match g.u32(&key("attention.key_length"))? {
            Some(_) => size("attention.key_length")?,
            None => n_embd / n_head,
        };
        // What follows llama.cpp refuses or does not survive: its graph has one length of head
        // for keys, values and rotation.
        let value_dim = match g.u32(&key("attention.value_length"))? {
            Some(_) => size("attention.value_length")?,
            None => n_embd / n_head,
        };
        if value_dim != head_dim {
            return Err(self.invalid(format!(
                "keys of {head_dim} and values of {value_dim} elements do not fit together"
            )));
        }
        if n_head % n_head_kv != 0 || head_dim == 0 || head_dim % 2 != 0 {
            return Err(self.invalid(format!(
                "{n_head} heads of {head_dim} over {n_head_kv} key heads do not fit together"
            )));
        }
        if traits.heads_fill_width && n_head * head_dim != n_embd {
            return Err(self.invalid(format!(
                "{n_head} heads of {head_dim} do not fill a width of {n_embd}"
            )));
        }
        let rope_dims = match g.u32(&key("rope.dimension_count"))? {
            Some(_) => size("rope.dimension_count")?,
            None => head_dim,
        };
        if rope_dims != head_dim {
            return Err(self.invalid(format!("{rope_dims} rotated dimensions of {head_dim}")));
        }
        // Without a type, a factor is a linear one, and one of zero is none.
        let factor = g.f32(&key("rope.scaling.factor"))?.unwrap_or(0.0);
        let scales = g.str(&key("rope.scaling.type"))? != Some("none") && factor != 0.0;
        let rope_freq_scale = if scales { 1.0 / factor } else { 1.0 };
        let embedding = g
            .tensor("token_embd.weight")
            .ok_or_else(|| self.invalid("tensor token_embd.weight is missing"))?;
        let n_vocab = usize::try_from(embedding.dims[1]).unwrap_or(usize::MAX);
        if n_vocab == 0 || n_vocab > 1 << 22 {
            return Err(self.invalid(format!("a vocabulary of {n_vocab} tokens")));
        }
        if let Some(n) = g.array_len("tokenizer.ggml.tokens")?
            && n != embedding.dims[1]
        {
            return Err(self.invalid(format!(
                "tensor token_embd.weight has {n_vocab} rows for a vocabulary of {n} tokens"
            )));
        }
        // It only limits what is asked for: the longest published are long.
        let ctx_train = g.require_u32(&key("context_length"))? as usize;
        if ctx_train == 0 {
            return Err(self.invalid(format!("{} is 0", key("context_length"))));
        }
        Ok(ModelShape {
            arch,
            name: g.name(),
            n_layer: size("block_count")?,
            n_embd,
            n_head,
            n_head_kv,
            head_dim,
            n_ff: size("feed_forward_length")?,
            n_vocab,
            ctx_train,
            rms_eps: g.require_f32(&key("attention.layer_norm_rms_epsilon"))?,
            rope_kind: traits.rope,
            rope_dims,
            rope_freq_base: g
                .f32(&key("rope.freq_base"))?
                .unwrap_or(traits.rope_freq_base),
            rope_freq_scale,
        })
    }

    fn layer(&self, s: &ModelShape, index: usize) -> Result<LayerTensors, ArchError> {
        let at = |part: &str| format!("blk.{index}.{part}");
        let (d, q, kv, ff) = (s.n_embd, s.n_head * s.head_dim, s.kv_width(), s.n_ff);
        let biases = ["attn_q.bias", "attn_k.bias", "attn_v.bias"].map(at);
        let qkv_bias = match biases.each_ref().map(|b| self.gguf.tensor(b).is_some()) {
            [true, true, true] => Some([
                self.vector(&biases[0], q)?,
                self.vector(&biases[1], kv)?,
                self.vector(&biases[2], kv)?,
            ]),
            [false, false, false] => None,
            some => {
                let there = biases.iter().zip(some).find(|(_, there)| *there);
                let name = there.map_or("", |(name, _)| name);
                return Err(
                    self.variant(format!("the tensor {name} without all three of its kind"))
                );
            }
        };
        Ok(LayerTensors {
            attn_norm: self.vector(&at("attn_norm.weight"), d)?,
            q: self.matrix(&at("attn_q.weight"), d, q)?,
            k: self.matrix(&at("attn_k.weight"), d, kv)?,
            v: self.matrix(&at("attn_v.weight"), d, kv)?,
            qkv_bias,
            o: self.matrix(&at("attn_output.weight"), q, d)?,
            ffn_norm: self.vector(&at("ffn_norm.weight"), d)?,
            gate: self.matrix(&at("ffn_gate.weight"), d, ff)?,
            up: self.matrix(&at("ffn_up.weight"), d, ff)?,
            down: self.matrix(&at("ffn_down.weight"), ff, d)?,
        })
    }

    /// A weight matrix `[from, to]` of any type that ggml multiplies by and converts: its Q8_1
    /// and Q8_K exist for activations alone.
    fn matrix(&self, name: &str, from: usize, to: usize) -> Result<TensorInfo, ArchError> {
        let tensor = self.tensor(name, &[from, to])?;
        if matches!(
            tensor.ty,
            GgmlType::I8
                | GgmlType::I16
                | GgmlType::I32
                | GgmlType::I64
                | GgmlType::F64
                | GgmlType::Q8_1
                | GgmlType::Q8_K
        ) {
            return Err(self.invalid(format!("tensor {name} is of type {:?}", tensor.ty)));
        }
        Ok(tensor)
    }

    /// A small vector, which stays in memory: F32.
    fn vector(&self, name: &str, n: usize) -> Result<TensorInfo, ArchError> {
        let tensor = self.tensor(name, &[n])?;
        if tensor.ty != GgmlType::F32 {
            return Err(self.invalid(format!("tensor {name} is {:?}, not F32", tensor.ty)));
        }
        Ok(tensor)
    }

    fn tensor(&self, name: &str, dims: &[usize]) -> Result<TensorInfo, ArchError> {
        let tensor = self
            .gguf
            .tensor(name)
            .ok_or_else(|| self.invalid(format!("tensor {name} is missing")))?;
        let mut want = [1; 4];
        for (slot, &n) in want.iter_mut().zip(dims) {
            *slot = n as u64;
        }
        if tensor.dims != want {
            return Err(self.invalid(format!(
                "tensor {name} has shape {:?}, not {want:?}",
                tensor.dims
            )));
        }
        Ok(tensor.clone())
    }
}
