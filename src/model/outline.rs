//! What a model file says whatever its architecture: enough to have llama.cpp's graph compute
//! it over weights that come and go.
//!
//! Every tensor is of one of four kinds:
//!
//! ```text
//!  layers    blk.N.* of two dimensions or more    come and go, a layer at a time
//!  experts   blk.N.*_exps, a matrix an expert     an expert is read when a token chooses it
//!  rows      embeddings that only give rows       single rows are read when they are needed
//!  resident  norms, biases, the head, the rest    stay
//! ```
//!
//! That experts are tables which a graph multiplies by ids is a guess from name and shape, by
//! which memory is planned; the graph that runs is held to it. Biases of experts have two
//! dimensions and come with their layer.
//!
//! The head is one step of the graph, which needs all of it at once: it stays. So does an
//! embedding that is the head as well.

use super::arch::{Arch, ArchError};
use super::gguf::{Gguf, TensorInfo};
use crate::units::Bytes;
use std::collections::BTreeSet;

const EMBEDDING: &str = "token_embd.weight";
const HEAD: &str = "output.weight";

/// Embeddings of a token for each layer, which some architectures add on the way.
const LAYER_EMBEDDING: &str = "per_layer_token_embd.weight";

/// Tokens of context where the file says nothing of it.
const CTX_DEFAULT: usize = 2048;

/// A model as its tensors and a few keys describe it.
#[derive(Clone, Debug)]
pub struct Outline {
    pub arch: String,
    /// What of it our own graph does not compute, where we have one for its architecture.
    pub variant: Option<String>,
    pub n_layer: usize,
    pub n_vocab: usize,
    pub ctx_train: usize,
    /// Elements of a token's keys (or values, the longer of the two) in the widest layer.
    pub kv_width: usize,
    /// Elements of the state that recurrent layers carry from token to token, all together.
    pub state_len: usize,
    /// Experts that a token uses in a layer; zero where the file does not say.
    pub experts_used: usize,
    pub layers: Vec<TensorInfo>,
    pub experts: Vec<TensorInfo>,
    pub rows: Vec<TensorInfo>,
    pub resident: Vec<TensorInfo>,
}

impl Outline {
    /// Reads the outline of `gguf`.
    ///
    /// # Errors
    /// Names the file and what is missing.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, ArchError> {
        let arch = gguf.architecture()?.to_owned();
        let embedding = gguf
            .tensor(EMBEDDING)
            .ok_or_else(|| ArchError::invalid(gguf, format!("tensor {EMBEDDING} is missing")))?;
        let tied = gguf.tensor(HEAD).is_none();
        let (mut layers, mut experts) = (Vec::new(), Vec::new());
        let (mut rows, mut resident) = (Vec::new(), Vec::new());
        for tensor in gguf.tensors() {
            let gives_rows = (tensor.name == EMBEDDING && !tied) || tensor.name == LAYER_EMBEDDING;
            let kind = if gives_rows {
                &mut rows
            } else if is_expert_table(tensor) {
                &mut experts
            } else if tensor.layer().is_some() && tensor.n_dims > 1 {
                &mut layers
            } else {
                &mut resident
            };
            kind.push(tensor.clone());
        }
        let context = gguf.u32(&format!("{arch}.context_length"))?;
        // A number for each layer is no number.
        let used = gguf.u32(&format!("{arch}.expert_used_count"));
        Ok(Self {
            n_layer: gguf.require_u32(&format!("{arch}.block_count"))? as usize,
            n_vocab: usize::try_from(embedding.dims[1]).unwrap_or(usize::MAX),
            ctx_train: context.map_or(CTX_DEFAULT, |n| n as usize),
            kv_width: kv_width(&layers),
            state_len: state_len(gguf, &arch, &layers),
            arch,
            variant: None,
            experts_used: used.ok().flatten().map_or(0, |n| n as usize),
            layers,
            experts,
            rows,
            resident,
        })
    }

    /// Why llama.cpp's graph computes it, as the end of a sentence.
    pub fn why(&self) -> String {
        match &self.variant {
            Some(what) => format!("NMOS's own graph does not compute {what}"),
            None => format!(
                "NMOS has no graph of its own for the architecture '{}', but for {}",
                self.arch,
                Arch::names()
            ),
        }
    }

    /// Whether it has routed experts, also where they come and go with their layer.
    pub fn is_mixture(&self) -> bool {
        !self.experts.is_empty() || self.layers.iter().any(is_expert_table)
    }

    /// Leaves out tensors that nobody uses.
    pub fn retain(&mut self, used: impl Fn(&str) -> bool) {
        let kinds = [
            &mut self.layers,
            &mut self.experts,
            &mut self.rows,
            &mut self.resident,
        ];
        for kind in kinds {
            kind.retain(|t| used(&t.name));
        }
    }

    /// The matrix that gives the logits.
    pub fn head_bytes(&self) -> Bytes {
        let head = self.resident.iter();
        let head = head.filter(|t| t.name == HEAD || t.name == EMBEDDING);
        Bytes(head.map(|t| t.bytes).max().unwrap_or(0))
    }
}

/// Whether a tensor is named as llama.cpp names the weights of routed experts, and has more than
/// one matrix.
fn is_expert_table(tensor: &TensorInfo) -> bool {
    let named = tensor.name.ends_with("exps.weight");
    named && tensor.layer().is_some() && tensor.n_dims == 3 && tensor.dims[2] > 1
}

/// From the matrices that make keys and values. Where one makes queries as well, what is left
/// over the queries, whose length is what attention puts out.
fn kv_width(layers: &[TensorInfo]) -> usize {
    let size = |layer: u32, part: &str, dim: usize| {
        let name = format!("blk.{layer}.{part}.weight");
        let tensor = layers.iter().find(|t| t.name == name)?;
        usize::try_from(tensor.dims[dim]).ok()
    };
    let last = layers.iter().filter_map(TensorInfo::layer).max();
    (0..=last.unwrap_or(0))
        .filter_map(|layer| {
            let apart = ["attn_k", "attn_v", "attn_kv_a_mqa"]
                .into_iter()
                .filter_map(|part| size(layer, part, 1))
                .max();
            let all = size(layer, "attn_qkv", 1);
            let queries = size(layer, "attn_output", 0).unwrap_or(0);
            apart.or_else(|| Some(all?.saturating_sub(queries).div_ceil(2)))
        })
        .max()
        .unwrap_or(0)
}

/// What llama.cpp's `llama_hparams::n_embd_r` and `n_embd_s` say of a layer, for those that have
/// the matrices of one.
fn state_len(gguf: &Gguf, arch: &str, layers: &[TensorInfo]) -> usize {
    // Zero also where there is a value for each layer.
    let key = |name: &str| {
        let value = gguf.u32(&format!("{arch}.{name}"));
        value.ok().flatten().unwrap_or(0) as usize
    };
    let (width, heads) = (key("embedding_length"), key("attention.head_count"));
    let convolved = key("ssm.conv_kernel").saturating_sub(1);
    let recalled = key("shortconv.l_cache").saturating_sub(1);
    let (wkv, kda) = (key("wkv.head_size"), key("kda.head_dim"));
    let of_layer = if wkv > 0 {
        // The last token, twice as a rule, and a square for each head.
        width.saturating_mul(wkv.saturating_add(2))
    } else if recalled > 0 {
        width.saturating_mul(recalled)
    } else if kda > 0 {
        let of_head = convolved.saturating_mul(3).saturating_add(kda);
        heads.saturating_mul(kda).saturating_mul(of_head)
    } else {
        let (inner, state) = (key("ssm.inner_size"), key("ssm.state_size"));
        let groups = key("ssm.group_count").saturating_mul(2);
        let width = inner.saturating_add(groups.saturating_mul(state));
        let convolution = convolved.saturating_mul(width);
        convolution.saturating_add(inner.saturating_mul(state))
    };
    let parts = ["ssm_", "shortconv.", "time_mix_"];
    let recurs = |tensor: &&TensorInfo| parts.iter().any(|part| tensor.name.contains(part));
    let recurrent: BTreeSet<_> = layers
        .iter()
        .filter(recurs)
        .map(TensorInfo::layer)
        .collect();
    recurrent.len().saturating_mul(of_layer)
}
