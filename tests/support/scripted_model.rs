//! A model that says what a test has written: after each token of its script the next one.
//!
//! ```text
//!  embedding   one place a token          x[a] = 1
//!  layer       all zero                   x as it is
//!  head        the script, token by token head[b][a] = 1 where b follows a
//! ```
//!
//! So each token may be in a script once, and what the prompt ends with decides where it begins.
#![allow(dead_code, reason = "each test program uses its part")]

use crate::gguf_builder::Builder;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Kinds of tokens, as GGUF numbers them.
pub const NORMAL: i32 = 1;
pub const UNKNOWN: i32 = 2;
pub const CONTROL: i32 = 3;
pub const USER_DEFINED: i32 = 4;
pub const UNUSED: i32 = 5;
pub const BYTE: i32 = 6;

/// The number of a token.
pub type Numbers<'a> = dyn Fn(&str) -> u32 + 'a;

/// Adds entries to a file.
pub type Entries = dyn Fn(Builder, &Numbers<'_>) -> Builder;

/// What a model is to be like.
pub struct Scripted<'a> {
    /// Tokens by name; a line end is `<0x0A>`, a space `▁`. The first is what a prompt ends with.
    pub says: &'a [&'a str],
    /// Tokens besides bytes and single characters.
    pub more: &'a [(&'a str, i32)],
    pub template: Option<&'a str>,
    /// Whether `</s>` is there, and the file names it.
    pub has_end: bool,
    /// Entries of the test's own, by the numbers of tokens.
    pub entries: &'a Entries,
}

impl Default for Scripted<'_> {
    fn default() -> Self {
        Self {
            says: &[":", "O", "k", "</s>"],
            more: &[],
            template: None,
            has_end: true,
            entries: &|b, _| b,
        }
    }
}

/// A model's file, in a folder that goes with it.
pub struct Model {
    pub folder: TempDir,
    pub names: Vec<String>,
}

impl Model {
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("scripted.gguf")
    }
}

fn array(ty: u32, values: &[[u8; 4]]) -> Vec<u8> {
    let mut body = ty.to_le_bytes().to_vec();
    body.extend((values.len() as u64).to_le_bytes());
    body.extend(values.concat());
    body
}

/// An array of whole numbers, for `Builder::raw` with type 9.
pub fn numbers(values: &[u32]) -> Vec<u8> {
    let values: Vec<_> = values.iter().map(|n| n.to_le_bytes()).collect();
    array(4, &values)
}

impl Scripted<'_> {
    pub fn write(&self) -> Model {
        let folder = tempfile::tempdir().expect("a folder");
        let names = self.write_to(&folder.path().join("scripted.gguf"));
        Model { folder, names }
    }

    /// Writes the file, and says the names of its tokens.
    pub fn write_to(&self, path: &Path) -> Vec<String> {
        let end = match self.has_end {
            true => ("</s>", CONTROL),
            false => ("[no end]", NORMAL),
        };
        let mut tokens: Vec<(String, i32)> = vec![("<unk>".into(), UNKNOWN)];
        tokens.push(("<s>".into(), CONTROL));
        tokens.push((end.0.into(), end.1));
        tokens.extend((0..=255).map(|byte| (format!("<0x{byte:02X}>"), BYTE)));
        tokens.push(("▁".into(), NORMAL));
        tokens.extend(('!'..='~').map(|c| (c.to_string(), NORMAL)));
        tokens.extend(self.more.iter().map(|(name, ty)| ((*name).into(), *ty)));
        while !tokens.len().is_multiple_of(64) {
            tokens.push((format!("[PAD{}]", tokens.len()), UNUSED));
        }
        let (names, types): (Vec<_>, Vec<_>) = tokens.into_iter().unzip();
        let n = names.len();
        let id = |name: &str| {
            let at = names.iter().position(|n| n == name);
            at.unwrap_or_else(|| panic!("no token {name}"))
        };
        let texts: Vec<_> = names.iter().map(String::as_str).collect();
        let scores: Vec<_> = (0..n).map(|i| (-(i as f32)).to_le_bytes()).collect();
        let types: Vec<_> = types.iter().map(|ty| ty.to_le_bytes()).collect();
        let mut b = Builder::default()
            .text("general.architecture", "llama")
            .text("general.name", "scripted")
            .u32("llama.block_count", 1)
            .u32("llama.context_length", 2048)
            .u32("llama.embedding_length", n as u32)
            .u32("llama.feed_forward_length", 32)
            .u32("llama.attention.head_count", (n / 64) as u32)
            .u32("llama.attention.head_count_kv", (n / 64) as u32)
            .u32("llama.rope.dimension_count", 64)
            .f32("llama.attention.layer_norm_rms_epsilon", 1e-6)
            .text("tokenizer.ggml.model", "llama")
            .texts("tokenizer.ggml.tokens", &texts)
            .raw("tokenizer.ggml.scores", 9, &array(6, &scores))
            .raw("tokenizer.ggml.token_type", 9, &array(5, &types))
            .u32("tokenizer.ggml.bos_token_id", 1)
            .u32("tokenizer.ggml.unknown_token_id", 0)
            .raw("tokenizer.ggml.add_space_prefix", 7, &[0]);
        if self.has_end {
            b = b.u32("tokenizer.ggml.eos_token_id", 2);
        }
        if let Some(template) = self.template {
            b = b.text("tokenizer.chat_template", template);
        }
        b = (self.entries)(b, &|name| id(name) as u32);
        let script: Vec<_> = self.says.iter().map(|name| id(name)).collect();
        std::fs::write(path, Self::with_weights(b, n, &script).build()).expect("written");
        names
    }

    fn with_weights(b: Builder, n: usize, script: &[usize]) -> Builder {
        let (mut embedding, mut head) = (vec![0.0_f32; n * n], vec![0.0_f32; n * n]);
        (0..n).for_each(|i| embedding[i * n + i] = 1.0);
        for pair in script.windows(2) {
            head[pair[1] * n + pair[0]] = 1.0;
        }
        let tensor = |b: Builder, name: &str, dims: &[u64], values: Vec<f32>| {
            let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
            b.tensor_of(name, 0, dims, bytes)
        };
        let square = [n as u64, n as u64];
        let mut b = tensor(b, "token_embd.weight", &square, embedding);
        b = tensor(b, "output_norm.weight", &[n as u64], vec![1.0; n]);
        b = tensor(b, "output.weight", &square, head);
        for part in ["attn_norm", "ffn_norm"] {
            let name = format!("blk.0.{part}.weight");
            b = tensor(b, &name, &[n as u64], vec![1.0; n]);
        }
        for part in ["attn_q", "attn_k", "attn_v", "attn_output"] {
            let name = format!("blk.0.{part}.weight");
            b = tensor(b, &name, &square, vec![0.0; n * n]);
        }
        for part in ["ffn_gate", "ffn_up"] {
            let name = format!("blk.0.{part}.weight");
            b = tensor(b, &name, &[n as u64, 32], vec![0.0; n * 32]);
        }
        tensor(
            b,
            "blk.0.ffn_down.weight",
            &[32, n as u64],
            vec![0.0; n * 32],
        )
    }
}
