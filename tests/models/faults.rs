//! Files that are damaged, made wrongly or for something else: each is refused in words, and
//! nothing ends the process.

use crate::gguf_builder::{Builder, string};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const WIDTH: u64 = 64;
const FF: u64 = 96;
const LAYERS: u64 = 2;
const HEAD: u64 = 16;

/// An architecture of the same tensors as `llama`, which llama.cpp's graph alone computes.
const LEFT_TO_LLAMA: &str = "internlm2";

/// A vocabulary of SentencePiece: bytes, printable characters, control tokens, padding.
fn tokens() -> Vec<String> {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).into();
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.push("\u{2581}".to_owned());
    tokens.extend((33..127_u8).map(|c| char::from(c).to_string()));
    tokens.extend(["<|im_start|>", "<|im_end|>"].map(str::to_owned));
    tokens
}

fn kind_of(token: &str) -> i32 {
    match token {
        "<unk>" => 2,
        t if t.starts_with("<0x") => 6,
        t if t.starts_with('<') && t.len() > 2 || t == "</s>" => 3,
        t if t.starts_with("[PAD") => 5,
        _ => 1,
    }
}

fn numbers<const N: usize>(ty: u32, values: impl ExactSizeIterator<Item = [u8; N]>) -> Vec<u8> {
    let mut body = ty.to_le_bytes().to_vec();
    body.extend((values.len() as u64).to_le_bytes());
    values.for_each(|value| body.extend(value));
    body
}

/// A model under construction: keys can be left out or set before it is built.
struct Tiny {
    arch: &'static str,
    tokens: Vec<String>,
    block_count: u32,
    eps: f32,
    rope_base: f32,
    rope_dims: u32,
    /// Type of the norms, as ggml numbers it.
    norms: u32,
    extra: Vec<(String, u32, Vec<u8>)>,
    tokenizer: &'static str,
    embedding_rows: u64,
}

impl Tiny {
    fn new(arch: &'static str) -> Self {
        Self {
            arch,
            tokens: tokens(),
            block_count: LAYERS as u32,
            eps: 1e-5,
            rope_base: 1e4,
            rope_dims: HEAD as u32,
            norms: 0,
            extra: Vec::new(),
            tokenizer: "llama",
            embedding_rows: 0,
        }
    }

    fn key(mut self, key: &str, ty: u32, value: &[u8]) -> Self {
        self.extra.push((key.to_owned(), ty, value.to_vec()));
        self
    }

    fn bytes(mut self) -> Vec<u8> {
        while !self.tokens.len().is_multiple_of(32) {
            self.tokens.push(format!("[PAD{}]", self.tokens.len()));
        }
        let arch = self.arch;
        let key = |name: &str| format!("{arch}.{name}");
        let names: Vec<&str> = self.tokens.iter().map(String::as_str).collect();
        let kinds = names.iter().map(|t| kind_of(t).to_le_bytes());
        let scores = (0..names.len()).map(|i| (-(i as f32)).to_le_bytes());
        let mut builder = Builder::default()
            .text("general.architecture", arch)
            .u32(&key("block_count"), self.block_count)
            .u32(&key("context_length"), 512)
            .u32(&key("embedding_length"), WIDTH as u32)
            .u32(&key("feed_forward_length"), FF as u32)
            .u32(&key("attention.head_count"), (WIDTH / HEAD) as u32)
            .u32(&key("attention.head_count_kv"), 2)
            .f32(&key("attention.layer_norm_rms_epsilon"), self.eps)
            .u32(&key("rope.dimension_count"), self.rope_dims)
            .f32(&key("rope.freq_base"), self.rope_base)
            .text("tokenizer.ggml.model", self.tokenizer)
            .texts("tokenizer.ggml.tokens", &names)
            .raw("tokenizer.ggml.scores", 9, &numbers(6, scores))
            .raw("tokenizer.ggml.token_type", 9, &numbers(5, kinds))
            .u32("tokenizer.ggml.bos_token_id", 1)
            .u32("tokenizer.ggml.eos_token_id", 2)
            .u32("tokenizer.ggml.unknown_token_id", 0);
        for (key, ty, value) in &self.extra {
            builder = builder.raw(key, *ty, value);
        }
        let n = names.len() as u64;
        let mut add = |name: &str, ty: u32, dims: &[u64]| {
            let size = if ty == 1 { 2 } else { 4 };
            let bytes = dims.iter().product::<u64>() * size;
            builder = builder.clone().tensor(name, ty, dims, bytes);
        };
        add("token_embd.weight", 0, &[WIDTH, n + self.embedding_rows]);
        add("output.weight", 0, &[WIDTH, n]);
        add("output_norm.weight", self.norms, &[WIDTH]);
        for layer in 0..LAYERS {
            let mut part = |name: &str, ty: u32, dims: &[u64]| {
                add(&format!("blk.{layer}.{name}"), ty, dims);
            };
            part("attn_norm.weight", self.norms, &[WIDTH]);
            part("ffn_norm.weight", self.norms, &[WIDTH]);
            part("attn_q.weight", 0, &[WIDTH, WIDTH]);
            part("attn_k.weight", 0, &[WIDTH, 2 * HEAD]);
            part("attn_v.weight", 0, &[WIDTH, 2 * HEAD]);
            part("attn_output.weight", 0, &[WIDTH, WIDTH]);
            part("ffn_gate.weight", 0, &[WIDTH, FF]);
            part("ffn_up.weight", 0, &[WIDTH, FF]);
            part("ffn_down.weight", 0, &[FF, WIDTH]);
            match arch {
                "qwen3" => {
                    part("attn_q_norm.weight", 0, &[HEAD]);
                    part("attn_k_norm.weight", 0, &[HEAD]);
                }
                "qwen2" => {
                    part("attn_q.bias", 0, &[WIDTH]);
                    part("attn_k.bias", 0, &[2 * HEAD]);
                    part("attn_v.bias", 0, &[2 * HEAD]);
                }
                _ => {}
            }
        }
        builder.build()
    }
}

/// A cache of its own, so that no verdict is there from before.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    }

    fn nmos(&self, arguments: &[&str], oracle: &Path, draft: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_nmos"))
            .args(arguments)
            .args([
                "--draft",
                draft,
                "--scout",
                "none",
                "--ctx",
                "256",
                "--threads",
                "1",
            ])
            .args(["--ram", "256MiB", "--vram", "0"])
            .arg("--oracle")
            .arg(oracle)
            .env("NMOS_CACHE", self.0.path())
            .env("NMOS_LOG_LEVEL", "off")
            .output()
            .expect("nmos runs")
    }

    /// What `plan` and `run` say of a model that they refuse.
    fn refusals(&self, oracle: &Path, draft: &str) -> [String; 2] {
        [&["plan"][..], &["run", "-n", "2", "a"]].map(|command| {
            let output = self.nmos(command, oracle, draft);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
            said
        })
    }

    fn refused(&self, model: Tiny, says: &str) {
        let path = self.file("model.gguf", &model.bytes());
        for said in self.refusals(&path, "none") {
            assert!(said.contains(says), "{says}: {said}");
        }
    }
}

#[test]
fn a_tiny_model_runs_and_is_tried_once() {
    let place = Place::new();
    for arch in ["llama", "qwen2", "qwen3", LEFT_TO_LLAMA] {
        let path = place.file(&format!("{arch}.gguf"), &Tiny::new(arch).bytes());
        for _ in 0..2 {
            let output = place.nmos(&["run", "-n", "2", "a"], &path, "none");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{arch}: {said}");
        }
    }
    let kept = std::fs::read_to_string(place.0.path().join("trials.txt")).unwrap();
    assert_eq!(
        kept.lines().filter(|l| l.ends_with("\tpassed")).count(),
        4,
        "{kept}"
    );
    assert_eq!(kept.lines().count(), 4, "{kept}");
}

#[test]
fn headers_that_llama_cpp_would_end_the_process_over_are_refused() {
    let place = Place::new();
    let with = |change: fn(&mut Tiny)| {
        let mut model = Tiny::new("llama");
        change(&mut model);
        model
    };
    place.refused(
        with(|m| m.tokens[300] = m.tokens[299].clone()),
        "twice, as tokens 299 and 300",
    );
    place.refused(with(|m| m.eps = f32::NAN), "layer_norm_rms_epsilon is NaN");
    place.refused(with(|m| m.rope_base = 0.0), "rope.freq_base is 0");
    place.refused(with(|m| m.tokenizer = "no_vocab"), "no text");
    let mut no_layers = Tiny::new("qwen3");
    no_layers.block_count = 0;
    place.refused(no_layers, "block_count is 0");
    let scaling = Tiny::new("llama").key("llama.rope.scaling.type", 8, &string("llama3"));
    place.refused(scaling, "llama3");
}

#[test]
fn headers_that_llama_cpp_would_compute_positions_by_for_ever_are_refused_unopened() {
    let place = Place::new();
    // None, and as many as are negative in 32 bits.
    for dims in [0, 0x8000_0000, u32::MAX - 1] {
        let mut model = Tiny::new(LEFT_TO_LLAMA);
        model.rope_dims = dims;
        let says = format!("rope.dimension_count is {dims}, not an even number from 2 to {HEAD}");
        place.refused(model, &says);
    }
    let swa = format!("{LEFT_TO_LLAMA}.rope.dimension_count_swa");
    let swa = Tiny::new(LEFT_TO_LLAMA).key(&swa, 4, &0_u32.to_le_bytes());
    place.refused(swa, "rope.dimension_count_swa is 0");
    for name in ["scaling.attn_factor", "scaling.yarn_beta_fast"] {
        let key = format!("{LEFT_TO_LLAMA}.rope.{name}");
        for factor in [f32::NAN, f32::NEG_INFINITY] {
            let model = Tiny::new(LEFT_TO_LLAMA).key(&key, 6, &factor.to_le_bytes());
            place.refused(model, &format!("{key} is {factor}, not a finite number"));
        }
    }
}

#[test]
fn what_only_llama_cpp_finds_is_refused_in_its_words() {
    let place = Place::new();
    let mut halves = Tiny::new(LEFT_TO_LLAMA);
    halves.rope_dims = 8;
    place.refused(halves, "GGML_ASSERT");
    let mut norms = Tiny::new(LEFT_TO_LLAMA);
    norms.norms = 1;
    place.refused(norms, "unsupported types");
    // The verdict is kept, and a file that changes is tried again.
    let path = place.0.path().join("model.gguf");
    let kept = std::fs::read_to_string(place.0.path().join("trials.txt")).unwrap();
    assert!(kept.contains("refused"), "{kept}");
    std::fs::write(&path, Tiny::new(LEFT_TO_LLAMA).bytes()).unwrap();
    assert!(
        place
            .nmos(&["run", "-n", "1", "a"], &path, "none")
            .status
            .success()
    );
}

#[test]
fn a_model_that_computes_no_numbers_is_an_error() {
    let place = Place::new();
    for arch in ["llama", LEFT_TO_LLAMA] {
        let mut bytes = Tiny::new(arch).bytes();
        // All of the weights: every bit set is not a number.
        let weights = bytes.len() - 150_000;
        bytes[weights..].fill(0xFF);
        let path = place.file("nan.gguf", &bytes);
        let output = place.nmos(&["run", "-n", "2", "a"], &path, "none");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arch}: {said}");
        assert!(said.contains("computes no numbers"), "{arch}: {said}");
    }
}

#[test]
fn a_draft_that_computes_no_numbers_is_left_out_with_a_notice() {
    let place = Place::new();
    let oracle = place.file("oracle.gguf", &Tiny::new("llama").bytes());
    let mut bytes = Tiny::new("llama").bytes();
    let weights = bytes.len() - 150_000;
    bytes[weights..].fill(0xFF);
    let draft = place.file("draft.gguf", &bytes);
    let output = place.nmos(&["run", "-n", "4", "a"], &oracle, draft.to_str().unwrap());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("computes no numbers"), "{said}");
}

#[test]
fn embedding_models_are_told_from_models_that_write() {
    let place = Place::new();
    let pooled = Tiny::new("qwen2").key("qwen2.pooling_type", 4, &3_u32.to_le_bytes());
    let pooled = place.file("pooled.gguf", &pooled.bytes());
    let both_ways = Tiny::new("qwen3").key("qwen3.attention.causal", 7, &[0]);
    let both_ways = place.file("both.gguf", &both_ways.bytes());
    let bert = place.file("bert.gguf", &Tiny::new("nomic-bert").bytes());
    let oracle = place.file("oracle.gguf", &Tiny::new("llama").bytes());
    for path in [&pooled, &both_ways, &bert] {
        let as_draft = place.refusals(&oracle, path.to_str().unwrap());
        for said in place.refusals(path, "none").iter().chain(&as_draft) {
            assert!(said.contains("an embedding model writes no text"), "{said}");
        }
    }
}

#[test]
fn a_draft_with_tokens_that_the_oracle_lacks_names_the_first() {
    let place = Place::new();
    let oracle = place.file("oracle.gguf", &Tiny::new("llama").bytes());
    let mut more = Tiny::new("llama");
    while !more.tokens.len().is_multiple_of(32) {
        more.tokens.push(format!("[PAD{}]", more.tokens.len()));
    }
    let first = more.tokens.len();
    more.tokens.push("extra".to_owned());
    let draft = place.file("draft.gguf", &more.bytes());
    let draft = draft.to_str().unwrap();
    for said in place.refusals(&oracle, draft) {
        let says = format!("token {first} is \"extra\" there and no token here");
        assert!(said.contains(&says), "{said}");
    }
    // Padding may differ.
    let mut padded = Tiny::new("llama");
    while padded.tokens.len() < first + 32 {
        padded.tokens.push(format!("[PAD{}]", padded.tokens.len()));
    }
    let draft = place.file("padded.gguf", &padded.bytes());
    let output = place.nmos(&["run", "-n", "2", "a"], &oracle, draft.to_str().unwrap());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn a_character_without_a_token_is_named() {
    let place = Place::new();
    let mut model = Tiny::new("llama");
    // No token for single bytes, and none for what is unknown.
    model.tokens.retain(|t| !t.starts_with("<0x"));
    model.tokens.push("\n".to_owned());
    let path = place.file("nobytes.gguf", &model.bytes());
    let output = place.nmos(&["run", "-n", "2", "h\u{e9}llo"], &path, "none");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no token for 'é'"), "{said}");
}

#[test]
fn more_rows_of_embedding_than_tokens_are_no_abort() {
    let place = Place::new();
    let mut model = Tiny::new("llama");
    model.embedding_rows = 32;
    let path = place.file("rows.gguf", &model.bytes());
    for said in place.refusals(&path, "none") {
        assert!(
            said.contains("output.weight") || said.contains("token_embd"),
            "{said}"
        );
    }
}
