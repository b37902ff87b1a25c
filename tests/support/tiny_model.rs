//! A decoder of a few kilobytes, or as large as a test wants it, whose every weight is random:
//! what it computes depends on all that its file says.
#![allow(dead_code, reason = "each test program uses its part")]

use crate::gguf_builder::Builder;
use nmos::ggml::{GgmlType, quantize_rows, row_bytes};

pub const LAYERS: usize = 2;
pub const WIDTH: usize = 64;
pub const HEADS: usize = 4;
pub const KV_HEADS: usize = 2;
pub const FF: usize = 96;
pub const VOCAB: usize = 288;
/// The token that ends a text.
pub const END: usize = 2;

/// What the file is to be like.
#[derive(Clone)]
pub struct Tiny {
    pub arch: &'static str,
    pub layers: usize,
    pub width: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub ff: usize,
    /// Of most matrices; norms and biases are F32.
    pub ty: GgmlType,
    /// Of the embedding, the head, values and the feed-forward's way back, where a mixture
    /// spends more bits.
    pub finer_ty: GgmlType,
    /// Which of q, k and v have biases.
    pub biases: [bool; 3],
    /// Norms of each head of q and k.
    pub head_norms: bool,
    /// One matrix for q, k and v.
    pub fused: bool,
    pub tied: bool,
    pub rope_factors: bool,
    pub alignment: Option<u32>,
    /// Entries and tensors of the test's own.
    pub more: fn(Builder) -> Builder,
    /// Keys, without the architecture's name, that are left out.
    pub without: &'static [&'static str],
}

impl Default for Tiny {
    fn default() -> Self {
        Self {
            arch: "llama",
            layers: LAYERS,
            width: WIDTH,
            heads: HEADS,
            kv_heads: KV_HEADS,
            head_dim: WIDTH / HEADS,
            ff: FF,
            ty: GgmlType::F32,
            finer_ty: GgmlType::F32,
            biases: [false; 3],
            head_norms: false,
            fused: false,
            tied: false,
            rope_factors: false,
            alignment: None,
            more: |b| b,
            without: &[],
        }
    }
}

/// Random numbers that are the same in every run.
pub struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }
}

impl Random {
    pub fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Rows of `row_len` floats as `ty`; zeros for a type that holds no weights.
fn quantized(ty: GgmlType, values: &[f32], row_len: usize) -> Vec<u8> {
    use GgmlType as T;
    let mut bytes = vec![0; row_bytes(ty, row_len) * (values.len() / row_len)];
    match ty {
        T::Q8_1 | T::Q8_K | T::I8 | T::I16 | T::I32 | T::I64 | T::F64 => {}
        _ => quantize_rows(ty, values, row_len, &mut bytes),
    }
    bytes
}

pub fn floats(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

impl Tiny {
    pub fn qwen2() -> Self {
        Self {
            arch: "qwen2",
            biases: [true; 3],
            ..Self::default()
        }
    }

    pub fn qwen3() -> Self {
        Self {
            arch: "qwen3",
            head_norms: true,
            ..Self::default()
        }
    }

    fn keys(&self, mut b: Builder) -> Builder {
        let keys = [
            ("block_count", self.layers),
            ("context_length", 2048),
            ("embedding_length", self.width),
            ("feed_forward_length", self.ff),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("rope.dimension_count", self.head_dim),
            ("attention.key_length", self.head_dim),
            ("attention.value_length", self.head_dim),
        ];
        for (name, value) in keys {
            if !self.without.contains(&name) {
                b = b.u32(&format!("{}.{name}", self.arch), value as u32);
            }
        }
        let eps = format!("{}.attention.layer_norm_rms_epsilon", self.arch);
        b.f32(&eps, 1e-5)
    }

    pub fn vocabulary(b: Builder) -> Builder {
        let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).into();
        let mut types = vec![2, 3, 3];
        tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
        types.resize(tokens.len(), 6);
        tokens.extend(["\u{2581}", "h", "e", "l", "o"].map(String::from));
        types.resize(tokens.len(), 1);
        tokens.extend((tokens.len()..VOCAB).map(|id| format!("[PAD{id}]")));
        types.resize(VOCAB, 5);
        let names: Vec<_> = tokens.iter().map(String::as_str).collect();
        let array = |ty: u32, bytes: Vec<u8>| {
            let mut body = ty.to_le_bytes().to_vec();
            body.extend((VOCAB as u64).to_le_bytes());
            body.extend(bytes);
            body
        };
        let types = types.iter().flat_map(|t: &i32| t.to_le_bytes()).collect();
        b.text("tokenizer.ggml.model", "llama")
            .texts("tokenizer.ggml.tokens", &names)
            .raw(
                "tokenizer.ggml.scores",
                9,
                &array(6, floats((0..VOCAB).map(|i| -(i as f32)))),
            )
            .raw("tokenizer.ggml.token_type", 9, &array(5, types))
            .u32("tokenizer.ggml.bos_token_id", 1)
            .u32("tokenizer.ggml.eos_token_id", END as u32)
            .u32("tokenizer.ggml.unknown_token_id", 0)
    }

    /// The file.
    pub fn build(&self) -> Vec<u8> {
        self.build_with(self.more)
    }

    /// The file with these entries and tensors instead of its own.
    pub fn build_with(&self, more: impl FnOnce(Builder) -> Builder) -> Vec<u8> {
        more(self.tensors(self.metadata())).build()
    }

    /// The first of two parts: no tensors, and these entries besides.
    pub fn first_part(&self, more: impl FnOnce(Builder) -> Builder) -> Vec<u8> {
        more(self.metadata()).build()
    }

    /// The second: all tensors, over the entries of `b`.
    pub fn second_part(&self, b: Builder) -> Vec<u8> {
        self.tensors(b).build()
    }

    pub fn n_tensors(&self) -> usize {
        let biases = self.biases.iter().filter(|there| **there).count();
        let matrices = if self.fused { 5 } else { 7 };
        2 + usize::from(!self.tied)
            + usize::from(self.rope_factors)
            + self.layers * (matrices + 2 + biases + 2 * usize::from(self.head_norms))
    }

    fn metadata(&self) -> Builder {
        let mut b = Builder::default();
        if let Some(alignment) = self.alignment {
            b = b.alignment(alignment);
        }
        b = b.text("general.architecture", self.arch);
        Self::vocabulary(self.keys(b))
    }

    /// The type that a matrix is stored in.
    fn type_of(&self, name: &str) -> GgmlType {
        let finer = ["token_embd", "output.weight", "attn_v", "ffn_down"];
        match finer.iter().any(|part| name.contains(part)) {
            true => self.finer_ty,
            false => self.ty,
        }
    }

    fn tensors(&self, mut b: Builder) -> Builder {
        let mut random = Random::default();
        let mut matrix = |b: Builder, name: &str, from: usize, to: usize, scale: f32| {
            let scale = scale / (from as f32).sqrt();
            let mut values: Vec<_> = (0..from * to).map(|_| random.next() * scale).collect();
            if name == "output.weight" {
                // Nothing but its length ends an answer.
                values[END * from..(END + 1) * from].fill(0.0);
            }
            let ty = self.type_of(name);
            let bytes = quantized(ty, &values, from);
            b.tensor_of(name, ty.id(), &[from as u64, to as u64], bytes)
        };
        let (width, ff) = (self.width, self.ff);
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        b = matrix(b, "token_embd.weight", width, VOCAB, 8.0);
        if !self.tied {
            b = matrix(b, "output.weight", width, VOCAB, 4.0);
        }
        for layer in 0..self.layers {
            let at = |part: &str| format!("blk.{layer}.{part}");
            if self.fused {
                b = matrix(b, &at("attn_qkv.weight"), width, q + 2 * kv, 2.0);
            } else {
                b = matrix(b, &at("attn_q.weight"), width, q, 2.0);
                b = matrix(b, &at("attn_k.weight"), width, kv, 2.0);
                b = matrix(b, &at("attn_v.weight"), width, kv, 2.0);
            }
            b = matrix(b, &at("attn_output.weight"), q, width, 2.0);
            b = matrix(b, &at("ffn_gate.weight"), width, ff, 2.0);
            b = matrix(b, &at("ffn_up.weight"), width, ff, 2.0);
            b = matrix(b, &at("ffn_down.weight"), ff, width, 2.0);
        }
        let mut vector = |b: Builder, name: &str, n: usize, least: f32| {
            let values = floats((0..n).map(|_| random.next() + least));
            b.tensor_of(name, 0, &[n as u64], values)
        };
        b = vector(b, "output_norm.weight", width, 1.5);
        if self.rope_factors {
            b = vector(b, "rope_freqs.weight", self.head_dim / 2, 3.0);
        }
        for layer in 0..self.layers {
            let at = |part: &str| format!("blk.{layer}.{part}");
            b = vector(b, &at("attn_norm.weight"), width, 1.5);
            b = vector(b, &at("ffn_norm.weight"), width, 1.5);
            for (part, there, n) in [
                ("attn_q.bias", self.biases[0], q),
                ("attn_k.bias", self.biases[1], kv),
                ("attn_v.bias", self.biases[2], kv),
                ("attn_q_norm.weight", self.head_norms, self.head_dim),
                ("attn_k_norm.weight", self.head_norms, self.head_dim),
            ] {
                let least = if part.ends_with("norm.weight") {
                    1.5
                } else {
                    0.0
                };
                if there {
                    b = vector(b, &at(part), n, least);
                }
            }
        }
        b
    }
}
