//! What no model's header may say, whatever its architecture: llama.cpp would end the process, or
//! compute nothing but what is not a number.

use super::super::gguf::{Gguf, GgufError};
use super::super::kind::FileKind;
use super::TrialError;

/// Ways to stretch positions that llama.cpp knows by name.
const ROPE_SCALINGS: [&str; 4] = ["none", "linear", "yarn", "longrope"];

/// Numbers whose powers are a position's angles.
const ROPE_BASES: [&str; 3] = [
    "rope.freq_base",
    "rope.freq_base_swa",
    "attention.compress_rope_freq_base",
];

/// Factors of angles and of what they turn. Some files have a negative number where there is none.
const ROPE_FACTORS: [&str; 7] = [
    "rope.scaling.alpha",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_log_multiplier",
];

/// Architectures for whose positions nothing turns.
const WITHOUT_ROPE: [&str; 20] = [
    "arwkv7",
    "bloom",
    "glm5-next",
    "gpt2",
    "gptj",
    "jais",
    "jamba",
    "kimi-k3",
    "kimi-linear",
    "mamba",
    "mamba2",
    "mpt",
    "nemotron_h",
    "nemotron_h_moe",
    "refact",
    "rwkv6",
    "rwkv6qwen2",
    "rwkv7",
    "t5",
    "wavtokenizer-dec",
];

/// Most layers, and elements of a token, that llama.cpp takes.
const MOST_LAYERS: u64 = 512;
const MOST_ELEMENTS: u64 = 1 << 22;

/// Elements that ggml takes at once of a head of RWKV's where vectors are the longest. Of a smaller
/// head it reads, and writes, past the end.
const WKV_STEP: u64 = 64;

/// Architectures whose models turn a text into numbers, and have no other output.
const EMBEDDERS: [&str; 11] = [
    "bert",
    "modern-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "neo-bert",
    "jina-bert-v2",
    "jina-bert-v3",
    "eurobert",
    "gemma-embedding",
    "llama-embed",
    "t5encoder",
];

/// Architectures whose attention looks ahead and that write text all the same, in a way of their
/// own.
const DIFFUSERS: [&str; 4] = ["dream", "llada", "llada-moe", "rnd1"];

/// Checks that the model writes text.
///
/// # Errors
/// A file that is no model, and an embedding model, by its architecture or by what its header says
/// it is for.
pub fn writes_text(gguf: &Gguf) -> Result<(), TrialError> {
    let kind = FileKind::of(gguf)?;
    if kind != FileKind::Model {
        return Err(TrialError::Kind {
            path: gguf.path().to_owned(),
            kind,
        });
    }
    let arch = gguf.architecture()?;
    let key = |name: &str| format!("{arch}.{name}");
    let pools = gguf.u32(&key("pooling_type"))?.is_some_and(|kind| kind > 0);
    let sees_ahead = gguf.bool(&key("attention.causal"))? == Some(false);
    if EMBEDDERS.contains(&arch) || pools || (sees_ahead && !DIFFUSERS.contains(&arch)) {
        return Err(TrialError::Embedding {
            path: gguf.path().to_owned(),
            arch: arch.to_owned(),
        });
    }
    Ok(())
}

/// Checks sizes and numbers.
///
/// # Errors
/// Names the key and what it holds.
pub(super) fn check(gguf: &Gguf) -> Result<(), TrialError> {
    let arch = gguf.architecture()?;
    let key = |name: &str| format!("{arch}.{name}");
    let wrong = |what: String| TrialError::Header {
        path: gguf.path().to_owned(),
        what,
    };
    for (name, most) in [
        ("block_count", MOST_LAYERS),
        ("embedding_length", MOST_ELEMENTS),
        ("context_length", u64::from(u32::MAX)),
    ] {
        let key = key(name);
        if let Some(n) = scalar(gguf.u64(&key)).filter(|n| !(1..=most).contains(n)) {
            return Err(wrong(format!("{key} is {n}, not 1 to {most}")));
        }
    }
    for name in [
        "attention.layer_norm_rms_epsilon",
        "attention.layer_norm_epsilon",
        "attention.group_norm_epsilon",
    ] {
        let key = key(name);
        let least = |x: &f32| !x.is_finite() || *x < 0.0;
        if let Some(x) = scalar(gguf.f32(&key)).filter(least) {
            return Err(wrong(format!("{key} is {x}, not a small positive number")));
        }
    }
    let key = key("wkv.head_size");
    if let Some(n) = scalar(gguf.u64(&key)).filter(|&n| n == 0 || !n.is_multiple_of(WKV_STEP)) {
        return Err(wrong(format!("{key} is {n}, not a multiple of {WKV_STEP}")));
    }
    rope(gguf, arch, wrong)?;
    vocabulary(gguf, wrong)
}

/// Positions: the bases and factors of their angles, and how many elements of a head turn.
///
/// ggml computes a head's elements in a loop that skips those that turned. With none, or a number
/// that is negative as ggml keeps it, the loop never ends.
fn rope(gguf: &Gguf, arch: &str, wrong: impl Fn(String) -> TrialError) -> Result<(), TrialError> {
    let key = |name: &str| format!("{arch}.{name}");
    let real = |name: &str, fits: fn(f32) -> bool, what: &str| {
        let key = key(name);
        match scalar(gguf.f32(&key)).filter(|&x| !fits(x)) {
            Some(x) => Err(wrong(format!("{key} is {x}, not a {what}"))),
            None => Ok(()),
        }
    };
    for name in ROPE_BASES {
        real(name, |x| x.is_finite() && x > 0.0, "positive number")?;
    }
    for name in ["rope.scaling.factor", "rope.scale_linear"] {
        // Zero is how some files say that there is none.
        real(name, |x| x.is_finite() && x >= 0.0, "positive number")?;
    }
    for name in ROPE_FACTORS {
        real(name, f32::is_finite, "finite number")?;
    }
    let size = |name: &str| scalar(gguf.u64(&key(name)));
    let heads = size("attention.head_count");
    let turns = heads != Some(0) && !WITHOUT_ROPE.contains(&arch);
    let width = size("embedding_length").zip(heads.filter(|&heads| heads > 0));
    let head = size("attention.key_length").or(width.map(|(width, heads)| width / heads));
    let swa = ("rope.dimension_count_swa", size("attention.key_length_swa"));
    for (name, head) in [("rope.dimension_count", head), swa] {
        let Some(n) = size(name) else { continue };
        let most = head.unwrap_or(MOST_ELEMENTS);
        if !n.is_multiple_of(2) || n > most || (n == 0 && turns) {
            let key = key(name);
            return Err(wrong(format!(
                "{key} is {n}, not an even number from 2 to {most}: elements of a head turn in pairs"
            )));
        }
    }
    let scaling = key("rope.scaling.type");
    if let Ok(Some(name)) = gguf.str(&scaling)
        && !ROPE_SCALINGS.contains(&name)
    {
        let known = ROPE_SCALINGS.join(", ");
        return Err(wrong(format!("{scaling} is {name:?}; known are {known}")));
    }
    Ok(())
}

fn vocabulary(gguf: &Gguf, wrong: impl Fn(String) -> TrialError) -> Result<(), TrialError> {
    let tokenizer = gguf.str("tokenizer.ggml.model")?;
    let n = scalar(gguf.array_len("tokenizer.ggml.tokens")).unwrap_or(0);
    let none = |name: &&str| matches!(*name, "none" | "no_vocab");
    if n == 0 || tokenizer.as_ref().is_some_and(none) {
        return Err(wrong(match tokenizer {
            Some(name) if none(&name) => {
                format!("its tokenizer is {name:?}, so that it reads and writes no text")
            }
            Some(name) => format!("it names a tokenizer ({name:?}) and has no vocabulary"),
            None => "it has no vocabulary".to_owned(),
        }));
    }
    if let Some((text, first, second)) = gguf.double_token()? {
        return Err(wrong(format!(
            "its vocabulary has {text:?} twice, as tokens {first} and {second}"
        )));
    }
    Ok(())
}

/// A value that some architectures have as an array, one a layer: llama.cpp looks at those.
fn scalar<T>(value: Result<Option<T>, GgufError>) -> Option<T> {
    value.ok().flatten()
}
