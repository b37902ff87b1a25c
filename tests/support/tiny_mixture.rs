//! Mixtures of experts with random weights, of architectures that llama.cpp's graph computes.

use crate::gguf_builder::Builder;
use crate::tiny_model::{Random, Tiny, floats};
use nmos::ggml::{GgmlType, quantize_rows, row_bytes};

/// What the file is to be like.
#[derive(Clone)]
pub struct TinyMixture {
    pub arch: Arch,
    pub layers: usize,
    pub width: usize,
    pub experts: usize,
    pub used: usize,
    /// Inner width of an expert.
    pub ff: usize,
    /// Of the experts' way in, and of their way back.
    pub up_ty: GgmlType,
    pub down_ty: GgmlType,
    /// Of all other matrices but the router.
    pub ty: GgmlType,
    pub router_ty: GgmlType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// Norms of heads.
    Qwen3Moe,
    /// An expert that every token uses besides.
    Qwen2Moe,
    /// Biases of experts, a sliding window in every other layer.
    GptOss,
}

impl Arch {
    pub fn name(self) -> &'static str {
        match self {
            Self::Qwen3Moe => "qwen3moe",
            Self::Qwen2Moe => "qwen2moe",
            Self::GptOss => "gpt-oss",
        }
    }
}

const HEADS: usize = 4;
const KV_HEADS: usize = 2;

impl TinyMixture {
    /// Slices of 13,824 and 17,408 bytes: no whole pages.
    pub fn of(arch: Arch) -> Self {
        Self {
            arch,
            layers: 4,
            width: 256,
            experts: 16,
            used: 2,
            ff: 96,
            up_ty: GgmlType::Q4_K,
            down_ty: GgmlType::Q5_1,
            ty: GgmlType::Q4_K,
            router_ty: GgmlType::F32,
        }
    }

    /// The file.
    pub fn build(&self) -> Vec<u8> {
        let arch = self.arch.name();
        let head_dim = self.width / HEADS;
        let tiny = Tiny {
            arch,
            layers: 0,
            width: self.width,
            heads: HEADS,
            kv_heads: KV_HEADS,
            head_dim,
            ff: self.ff,
            ty: self.ty,
            finer_ty: self.ty,
            without: &["block_count"],
            ..Tiny::default()
        };
        tiny.build_with(|b| {
            let mut b = b;
            for (key, value) in [
                ("block_count", self.layers),
                ("expert_count", self.experts),
                ("expert_used_count", self.used),
                ("expert_feed_forward_length", self.ff),
            ] {
                b = b.u32(&format!("{arch}.{key}"), value as u32);
            }
            b = match self.arch {
                Arch::Qwen3Moe => b,
                Arch::Qwen2Moe => {
                    let key = format!("{arch}.expert_shared_feed_forward_length");
                    b.u32(&key, 256)
                }
                Arch::GptOss => b.u32(&format!("{arch}.attention.sliding_window"), 32),
            };
            let mut random = Random::default();
            (0..self.layers).fold(b, |b, layer| self.layer(b, layer, &mut random))
        })
    }

    fn layer(&self, b: Builder, layer: usize, random: &mut Random) -> Builder {
        let mut parts = Parts { b, layer, random };
        let (width, ff, experts) = (self.width, self.ff, self.experts);
        let head_dim = width / HEADS;
        let kv = KV_HEADS * head_dim;
        parts.norm("attn_norm", width);
        parts.matrix("attn_q", self.ty, [width, width]);
        parts.matrix("attn_k", self.ty, [width, kv]);
        parts.matrix("attn_v", self.ty, [width, kv]);
        parts.matrix("attn_output", self.ty, [width, width]);
        parts.matrix("ffn_gate_inp", self.router_ty, [width, experts]);
        parts.stack("ffn_gate_exps", self.up_ty, [width, ff, experts]);
        parts.stack("ffn_up_exps", self.up_ty, [width, ff, experts]);
        parts.stack("ffn_down_exps", self.down_ty, [ff, width, experts]);
        match self.arch {
            Arch::Qwen3Moe => {
                parts.norm("ffn_norm", width);
                parts.norm("attn_q_norm", head_dim);
                parts.norm("attn_k_norm", head_dim);
            }
            Arch::Qwen2Moe => {
                parts.norm("ffn_norm", width);
                parts.vector("ffn_gate_inp_shexp.weight", &[width]);
                parts.matrix("ffn_gate_shexp", self.ty, [width, 256]);
                parts.matrix("ffn_up_shexp", self.ty, [width, 256]);
                parts.matrix("ffn_down_shexp", self.ty, [256, width]);
            }
            Arch::GptOss => {
                parts.norm("post_attention_norm", width);
                parts.vector("attn_output.bias", &[width]);
                parts.vector("attn_sinks.weight", &[HEADS]);
                parts.vector("ffn_gate_inp.bias", &[experts]);
                parts.vector("ffn_gate_exps.bias", &[ff, experts]);
                parts.vector("ffn_up_exps.bias", &[ff, experts]);
                parts.vector("ffn_down_exps.bias", &[width, experts]);
            }
        }
        parts.b
    }
}

/// A layer's tensors, as they are added.
struct Parts<'a> {
    b: Builder,
    layer: usize,
    random: &'a mut Random,
}

impl Parts<'_> {
    fn add(&mut self, name: &str, ty: GgmlType, dims: &[usize], bytes: Vec<u8>) {
        let dims: Vec<_> = dims.iter().map(|&n| n as u64).collect();
        let name = format!("blk.{}.{name}", self.layer);
        let b = std::mem::take(&mut self.b);
        self.b = b.tensor_of(&name, ty.id(), &dims, bytes);
    }

    fn rows(&mut self, ty: GgmlType, from: usize, rows: usize) -> Vec<u8> {
        let scale = 2.0 / (from as f32).sqrt();
        let values: Vec<_> = (0..from * rows)
            .map(|_| self.random.next() * scale)
            .collect();
        let mut bytes = vec![0; row_bytes(ty, from) * rows];
        quantize_rows(ty, &values, from, &mut bytes);
        bytes
    }

    fn matrix(&mut self, name: &str, ty: GgmlType, [from, to]: [usize; 2]) {
        let bytes = self.rows(ty, from, to);
        self.add(&format!("{name}.weight"), ty, &[from, to], bytes);
    }

    fn stack(&mut self, name: &str, ty: GgmlType, [from, to, experts]: [usize; 3]) {
        let bytes = self.rows(ty, from, to * experts);
        self.add(&format!("{name}.weight"), ty, &[from, to, experts], bytes);
    }

    fn vector(&mut self, name: &str, dims: &[usize]) {
        let n = dims.iter().product();
        let bytes = floats((0..n).map(|_| self.random.next()));
        self.add(name, GgmlType::F32, dims, bytes);
    }

    fn norm(&mut self, name: &str, n: usize) {
        let bytes = floats((0..n).map(|_| self.random.next() + 1.5));
        self.add(&format!("{name}.weight"), GgmlType::F32, &[n], bytes);
    }
}
