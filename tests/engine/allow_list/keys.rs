//! Keys of a file's metadata: none that changes the computation is passed over.

use super::{check_bytes, with};
use crate::tiny_model::Tiny;
use nmos::model::{Blueprint, Gguf};
use proptest::prelude::*;

#[test]
fn the_reason_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    let reason = |tiny: &Tiny| {
        std::fs::write(&path, tiny.build()).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        Blueprint::from_gguf(&gguf).unwrap().left_to_llama()
    };
    assert_eq!(reason(&Tiny::default()), None);
    let why = reason(&with(|b| b.f32("llama.rope.scale_linear", 4.0))).unwrap();
    assert!(why.contains("llama.rope.scale_linear"), "{why}");
    let why = reason(&with(|b| b.f32("llama.rope.scaling.attn_factor", 3.0))).unwrap();
    assert!(why.contains("llama.rope.scaling.attn_factor"), "{why}");
    let extra = with(|b| b.texts("general.tensor_extra.name", &["output.weight"]));
    let why = reason(&extra).unwrap();
    assert!(why.contains("general.tensor_extra.name"), "{why}");
    for key in [
        "expert_count",
        "expert_used_count",
        "nextn_predict_layers",
        "pooling_type",
    ] {
        let key = format!("llama.{key}");
        std::fs::write(&path, Tiny::default().build_with(|b| b.u32(&key, 1))).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        let why = Blueprint::from_gguf(&gguf).unwrap().left_to_llama();
        assert!(why.unwrap().contains(&key));
    }
}

/// Keys that llama.cpp reads of a model of any kind.
const KEYS: [&str; 24] = [
    "embedding_length_out",
    "classifier.pooling_type",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
    "attention.scale",
    "attention.clamp_kqv",
    "attention.max_alibi_bias",
    "attention.key_length_swa",
    "attention.value_length_swa",
    "attention.sliding_window_pattern",
    "attention.temperature_scale",
    "attention.output_scale",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "rope.dimension_count_swa",
    "rope.freq_base_swa",
    "rope.scale_linear",
    "rope.scaling.alpha",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_log_multiplier",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_beta_fast",
    "expert_weights_scale",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever key is added, with whatever value: the answer is llama.cpp's, or there is none.
    #[test]
    fn no_key_is_read_past(
        key in prop::sample::select(&KEYS[..]),
        value in prop_oneof![
            (0u32..9).prop_map(|n| (4u32, n.to_le_bytes())),
            (0.25f32..8.0).prop_map(|x| (6u32, x.to_le_bytes())),
        ],
        which in 0..3usize,
    ) {
        let tiny = [Tiny::default(), Tiny::qwen2(), Tiny::qwen3()][which].clone();
        let key = format!("{}.{key}", tiny.arch);
        check_bytes(&key, &tiny.build_with(|b| b.raw(&key, value.0, &value.1)));
    }
}
