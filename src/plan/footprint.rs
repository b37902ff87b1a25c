//! What will be held before the oracle's weights are placed, predicted from files' headers.
//!
//! Weights are placed before vocabulary and draft load, so what these will hold can only be
//! derived from what their files say:
//!
//! ```text
//!  program     what this process holds with llama.cpp started: measured
//!  vocabulary  entries of llama.cpp's tables, by the sizes of their parts
//!  draft       its tensors + its keys and values for the whole context + the activations of
//!              one decode, and logits for each of its branches
//! ```
//!
//! A draft on a GPU has all of that in the GPU's memory, except its embedding, which llama.cpp
//! looks up in the host's memory, and the logits that it is asked for. On a GPU llama.cpp reserves
//! what decoding a token of every branch after a full cache would use, its attention mask included.

use super::DraftCapacity;
use crate::model::{Gguf, GgufError, Outline};
use crate::units::Bytes;

/// llama.cpp keeps for a token: a record with its text (40 bytes), a node of the table from
/// text to token and its bucket (64 + 8), and the text that it prints (32). Loading leaves holes in
/// the heap where the file's own copy of the text and type was (32 + 4).
const TOKEN_BYTES: u64 = 40 + 64 + 8 + 32 + 36;

/// For a merge rule: a node of the table from two texts to a rank and its bucket (96 + 8), and
/// the hole that the file's own copy left (32).
const MERGE_BYTES: u64 = 96 + 8 + 32;

/// Cells of llama.cpp's cache come in runs of this many.
const CELL_RUN: u64 = 256;

/// What a draft takes of a GPU's memory beyond what can be derived: its backend's own buffers,
/// the code of kernels that the oracle does not use, and what allocations are rounded up by. Set
/// rather high: each 128 MiB too many displace weights that would stay, and cost 2 ms a pass.
const ON_DEVICE: Bytes = Bytes::mib(160);

/// And of the host's memory: buffers that it is filled from and copied to.
const HOST_BUFFERS: Bytes = Bytes::mib(16);

/// Where a draft is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftPlace {
    Host,
    /// Where the oracle computes.
    Device,
}

/// What is held before the oracle's weights, by owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Measured.
    pub program: Bytes,
    pub vocabulary: Bytes,
    /// `None` where no model drafts.
    pub draft: Option<DraftFootprint>,
    /// Drafters that are no models: a fixed size.
    pub drafters: Bytes,
}

/// What a draft holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DraftFootprint {
    /// Of the host's memory.
    pub host: Bytes,
    /// Of the device's, if it is there.
    pub device: Option<Bytes>,
}

impl Footprint {
    /// `program` is measured; the rest follows from the models' headers.
    ///
    /// # Errors
    /// A header that lacks what every model has.
    pub fn predict(
        program: Bytes,
        oracle: &Gguf,
        draft: Option<&Gguf>,
        drafters: Bytes,
        ctx_tokens: usize,
        place: DraftPlace,
    ) -> Result<Self, GgufError> {
        let draft = draft.map(|gguf| DraftFootprint::predict(gguf, ctx_tokens, place));
        Ok(Self {
            program,
            vocabulary: vocabulary(oracle)?,
            draft: draft.transpose()?,
            drafters,
        })
    }
}

impl DraftFootprint {
    fn predict(gguf: &Gguf, ctx_tokens: usize, place: DraftPlace) -> Result<Self, GgufError> {
        Ok(match place {
            DraftPlace::Host => Self {
                host: DraftParts::of(gguf, ctx_tokens, DraftCapacity::HOST)?.total(),
                device: None,
            },
            DraftPlace::Device => {
                let parts = DraftParts::of(gguf, ctx_tokens, DraftCapacity::DEVICE)?;
                Self {
                    host: parts.host_part(),
                    device: Some(parts.on_device()),
                }
            }
        })
    }
}

/// What llama.cpp takes for a model that it runs: its tensors.
pub fn tensor_bytes(gguf: &Gguf) -> Bytes {
    Bytes(gguf.tensors().map(|t| t.bytes).sum())
}

/// llama.cpp's tables of a vocabulary.
fn vocabulary(gguf: &Gguf) -> Result<Bytes, GgufError> {
    let tokens = gguf.array_len("tokenizer.ggml.tokens")?.unwrap_or(0);
    let merges = gguf.array_len("tokenizer.ggml.merges")?.unwrap_or(0);
    Ok(Bytes(tokens * TOKEN_BYTES + merges * MERGE_BYTES))
}

/// What a model that llama.cpp runs as a draft consists of, in bytes.
struct DraftParts {
    tensors: u64,
    embedding: u64,
    /// The output matrix is the embedding, or a copy of it where that is elsewhere.
    tied: bool,
    kv: u64,
    cells: u64,
    /// Of a token.
    activations: u64,
    logits: u64,
    capacity: DraftCapacity,
}

impl DraftParts {
    fn of(gguf: &Gguf, ctx_tokens: usize, capacity: DraftCapacity) -> Result<Self, GgufError> {
        let arch = gguf.architecture()?;
        let need = |name: &str| gguf.require_u32(&format!("{arch}.{name}")).map(u64::from);
        // `None` also where there is a value for each layer.
        let find = |name: &str| {
            let one = gguf.u32(&format!("{arch}.{name}"));
            one.ok().flatten().map(u64::from)
        };
        let (layers, width) = (need("block_count")?, need("embedding_length")?);
        let of_head = find("attention.head_count").map(|heads| {
            let heads = heads.max(1);
            let kv_heads = find("attention.head_count_kv").unwrap_or(heads);
            kv_heads * find("attention.key_length").unwrap_or(width / heads)
        });
        let kv_width = of_head.unwrap_or_else(|| {
            let outline = Outline::from_gguf(gguf);
            outline.map_or(width, |outline| outline.kv_width as u64)
        });
        let cells = (ctx_tokens as u64 + capacity.nodes as u64).next_multiple_of(CELL_RUN);
        let inner = find("feed_forward_length").unwrap_or(4 * width);
        let bytes = |name: &str| gguf.tensors().find(|t| t.name == name).map(|t| t.bytes);
        Ok(Self {
            tensors: tensor_bytes(gguf).0,
            embedding: bytes("token_embd.weight").unwrap_or(0),
            tied: bytes("output.weight").is_none(),
            // Keys and values, two bytes an element.
            kv: cells * layers * kv_width * 2 * 2,
            cells,
            // The widest step of a decode holds the gated inner state three times, as floats.
            activations: (3 * inner + 2 * width) * 4,
            logits: gguf.n_tokens()? as u64 * 4,
            capacity,
        })
    }

    /// All in the host's memory: of scratch memory, only what a decode uses.
    fn total(&self) -> Bytes {
        let scratch = self.capacity.batch as u64 * (self.activations + self.logits);
        Bytes(self.tensors + self.kv + scratch + self.kept_logits())
    }

    /// In a device's memory, where scratch is taken for a token of every branch, used or not.
    fn on_device(&self) -> Bytes {
        let elsewhere = if self.tied { 0 } else { self.embedding };
        let tokens = self.capacity.batch.max(self.capacity.sequences) as u64;
        let scratch = tokens * (self.activations + self.logits);
        // Whether a token sees a cell, two bytes each.
        let mask = tokens * self.cells * 2;
        Bytes(self.tensors - elsewhere + self.kv + scratch + mask + ON_DEVICE.0)
    }

    /// In the host's memory, where the rest is on a device.
    fn host_part(&self) -> Bytes {
        Bytes(self.embedding + self.kept_logits() + HOST_BUFFERS.0)
    }

    /// A row for each branch that may be under way.
    fn kept_logits(&self) -> u64 {
        self.capacity.sequences as u64 * self.logits
    }
}
