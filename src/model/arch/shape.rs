//! A model's dimensions, as its metadata gives them.

use super::{Arch, ArchError, Axis, ExpertWidth, Slot};
use crate::ggml::RopeKind;
use crate::model::gguf::Gguf;

/// The largest published models are two orders below; a wild header must not turn into a wild
/// allocation.
const MAX_SIZE: usize = 1 << 22;

/// The keys of a feed-forward's width, and of an expert's.
pub(super) const FF: &str = "feed_forward_length";
pub(super) const EXPERT_FF: &str = "expert_feed_forward_length";

/// The experts of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Experts {
    pub count: usize,
    /// By a token.
    pub used: usize,
}

/// A model's dimensions.
#[derive(Clone, Debug)]
pub struct ModelShape {
    pub arch: &'static Arch,
    pub name: String,
    pub n_layer: usize,
    pub n_embd: usize,
    pub n_head: usize,
    pub n_head_kv: usize,
    pub head_dim: usize,
    /// Elements within a feed-forward; in a mixture, within one expert's.
    pub n_ff: usize,
    /// In a mixture.
    pub experts: Option<Experts>,
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

    /// Elements along a dimension that counts `axis`.
    pub fn size_of(&self, axis: Axis) -> usize {
        match axis {
            Axis::Embedding => self.n_embd,
            Axis::QueryHeads => self.n_head * self.head_dim,
            Axis::KeyValueHeads => self.kv_width(),
            Axis::Head => self.head_dim,
            Axis::FeedForward => self.n_ff,
            Axis::Experts => self.experts.map_or(0, |experts| experts.count),
            Axis::Vocabulary => self.n_vocab,
            Axis::RotatedPairs => self.rope_dims / 2,
            Axis::One => 1,
        }
    }

    /// Reads the shape of `gguf`, a model of architecture `arch`. Its keys are honoured ones.
    pub(super) fn read(gguf: &Gguf, arch: &'static Arch) -> Result<Self, ArchError> {
        let keys = Keys { gguf, arch };
        let heads = Heads::read(&keys)?;
        let experts = Experts::read(&keys)?;
        Ok(Self {
            arch,
            name: gguf.name(),
            n_layer: keys.size("block_count")?,
            n_embd: heads.n_embd,
            n_head: heads.n_head,
            n_head_kv: heads.n_head_kv,
            head_dim: heads.dim,
            n_ff: n_ff(&keys, experts)?,
            experts,
            n_vocab: n_vocab(gguf)?,
            ctx_train: ctx_train(&keys)?,
            rms_eps: gguf.require_f32(&keys.full("attention.layer_norm_rms_epsilon"))?,
            rope_kind: arch.rope,
            rope_dims: heads.dim,
            rope_freq_base: gguf
                .f32(&keys.full("rope.freq_base"))?
                .unwrap_or(arch.rope_freq_base),
            rope_freq_scale: rope_freq_scale(&keys)?,
        })
    }
}

/// The keys of a file's architecture.
struct Keys<'a> {
    gguf: &'a Gguf,
    arch: &'static Arch,
}

impl Keys<'_> {
    fn full(&self, name: &str) -> String {
        format!("{}.{name}", self.arch.name())
    }

    fn invalid(&self, what: impl Into<String>) -> ArchError {
        ArchError::invalid(self.gguf, what)
    }

    fn size(&self, name: &str) -> Result<usize, ArchError> {
        let n = self.gguf.require_u32(&self.full(name))? as usize;
        if n == 0 || n > MAX_SIZE {
            return Err(self.invalid(format!("{} is {n}", self.full(name))));
        }
        Ok(n)
    }

    fn size_or(&self, name: &str, otherwise: usize) -> Result<usize, ArchError> {
        match self.gguf.u32(&self.full(name))? {
            Some(_) => self.size(name),
            None => Ok(otherwise),
        }
    }
}

/// How attention is cut into heads.
struct Heads {
    n_embd: usize,
    n_head: usize,
    n_head_kv: usize,
    dim: usize,
}

impl Heads {
    fn read(keys: &Keys<'_>) -> Result<Self, ArchError> {
        let n_head = keys.size("attention.head_count")?;
        let n_embd = keys.size("embedding_length")?;
        let n_head_kv = keys.size_or("attention.head_count_kv", n_head)?;
        let dim = keys.size_or("attention.key_length", n_embd / n_head)?;
        // What follows llama.cpp refuses or does not survive: its graph has one length of head
        // for keys, values and rotation.
        let value_dim = keys.size_or("attention.value_length", n_embd / n_head)?;
        if value_dim != dim {
            return Err(keys.invalid(format!(
                "keys of {dim} and values of {value_dim} elements do not fit together"
            )));
        }
        if n_head % n_head_kv != 0 || dim == 0 || dim % 2 != 0 {
            return Err(keys.invalid(format!(
                "{n_head} heads of {dim} over {n_head_kv} key heads do not fit together"
            )));
        }
        if keys.arch.heads_fill_width && n_head * dim != n_embd {
            return Err(keys.invalid(format!(
                "{n_head} heads of {dim} do not fill a width of {n_embd}"
            )));
        }
        let rope_dims = keys.size_or("rope.dimension_count", dim)?;
        if rope_dims != dim {
            return Err(keys.invalid(format!("{rope_dims} rotated dimensions of {dim}")));
        }
        Ok(Self {
            n_embd,
            n_head,
            n_head_kv,
            dim,
        })
    }
}

impl Experts {
    /// `None` where the architecture has none.
    fn read(keys: &Keys<'_>) -> Result<Option<Self>, ArchError> {
        if keys.arch.experts.is_none() {
            return Ok(None);
        }
        let (count, used) = (keys.size("expert_count")?, keys.size("expert_used_count")?);
        if count < 2 || used > count {
            return Err(keys.invalid(format!("{used} experts used of {count}")));
        }
        Ok(Some(Self { count, used }))
    }
}

/// See [`ModelShape::n_ff`].
fn n_ff(keys: &Keys<'_>, experts: Option<Experts>) -> Result<usize, ArchError> {
    match (keys.arch.experts, experts) {
        (Some(ExpertWidth::Own), Some(experts)) => {
            if keys.gguf.u32(&keys.full(EXPERT_FF))?.is_some() {
                return keys.size(EXPERT_FF);
            }
            Ok(keys.size(FF)? / experts.used)
        }
        _ => keys.size(FF),
    }
}

/// Without a type, a factor is a linear one, and one of zero is none.
fn rope_freq_scale(keys: &Keys<'_>) -> Result<f32, ArchError> {
    let factor = keys.gguf.f32(&keys.full("rope.scaling.factor"))?;
    let factor = factor.unwrap_or(0.0);
    let ty = keys.gguf.str(&keys.full("rope.scaling.type"))?;
    let scales = ty != Some("none") && factor != 0.0;
    Ok(if scales { 1.0 / factor } else { 1.0 })
}

/// The rows of the embedding, of which the vocabulary must have as many.
fn n_vocab(gguf: &Gguf) -> Result<usize, ArchError> {
    let name = Slot::Embedding.name();
    let embedding = gguf
        .tensor(name)
        .ok_or_else(|| ArchError::invalid(gguf, format!("tensor {name} is missing")))?;
    let n_vocab = usize::try_from(embedding.dims[1]).unwrap_or(usize::MAX);
    if n_vocab == 0 || n_vocab > MAX_SIZE {
        return Err(ArchError::invalid(
            gguf,
            format!("a vocabulary of {n_vocab} tokens"),
        ));
    }
    if let Some(n) = gguf.array_len("tokenizer.ggml.tokens")?
        && n != embedding.dims[1]
    {
        return Err(ArchError::invalid(
            gguf,
            format!("tensor {name} has {n_vocab} rows for a vocabulary of {n} tokens"),
        ));
    }
    Ok(n_vocab)
}

/// It only limits what is asked for: the longest published are long.
fn ctx_train(keys: &Keys<'_>) -> Result<usize, ArchError> {
    let key = keys.full("context_length");
    match keys.gguf.require_u32(&key)? {
        0 => Err(keys.invalid(format!("{key} is 0"))),
        n => Ok(n as usize),
    }
}
