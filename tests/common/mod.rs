//! What the tests on real models share. They need the default models (`nmos models pull`).
#![allow(dead_code)]

use nmos::model::{Gguf, ModelLayout};
use nmos::oracle::{LayerOracle, LayerOracleOptions};
use nmos::telemetry::Hub;
use nmos::units::{Bytes, TokenId};
use std::path::PathBuf;

/// A default model's file.
pub fn model(file: &str) -> PathBuf {
    let cache = std::env::var_os("NMOS_CACHE").map_or_else(
        || {
            directories::ProjectDirs::from("", "", "nmos")
                .expect("a home directory")
                .cache_dir()
                .to_owned()
        },
        PathBuf::from,
    );
    let path = cache.join("models").join(file);
    assert!(
        path.is_file(),
        "{} is missing: run `nmos models pull`",
        path.display()
    );
    path
}

pub const ORACLE: &str = "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf";
pub const DRAFT: &str = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";
pub const SMOL: &str = "smollm2-135m-instruct-q4_1.gguf";

/// The streamed oracle with this much memory for weights.
pub fn layer_oracle(file: &str, weights: Bytes) -> LayerOracle {
    let gguf = Gguf::open(&model(file)).expect("a model");
    let layout = ModelLayout::from_gguf(&gguf).expect("a supported model");
    let options = LayerOracleOptions {
        ctx_tokens: 2048,
        threads: 2,
        weight_bytes: weights,
    };
    LayerOracle::open(&gguf, &layout, options, &Hub::new()).expect("an oracle")
}

pub fn tokens(ids: &[i32]) -> Vec<TokenId> {
    ids.iter().copied().map(TokenId).collect()
}

/// The largest difference between two rows.
pub fn max_diff(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(x, y)| (x - y).abs())
        .fold(0.0, f32::max)
}
