//! Which files our own graphs compute, and that what they compute is what llama.cpp does.

use crate::common::{self, max_diff, rows, same_bits, tokens};
use crate::gguf_builder::Builder;
use crate::tiny_model::{HEADS, KV_HEADS, LAYERS, Tiny, VOCAB, WIDTH, floats};
use nmos::ggml::bare::BareModel;
use nmos::ggml::llama::{self, Load};
use nmos::model::{Blueprint, Gguf};
use nmos::oracle::{
    HookedOptions, LayerOracle, LayerOracleOptions, LlamaOracle, Oracle, WidthClass,
};
use nmos::plan::shards;
use nmos::river::{Plan, ReadSizes, catalogue};
use nmos::telemetry::Hub;
use nmos::units::{Bytes, TokenId};
use proptest::prelude::*;
use std::path::Path;

/// Sums in another order differ by about 1e-5.
const TOLERANCE: f32 = 1e-3;

fn prompt() -> Vec<TokenId> {
    tokens(&(0..40).map(|i| 3 + i * 37 % 256).collect::<Vec<_>>())
}

/// llama.cpp's logits; `None` where it refuses the model.
fn theirs(path: &Path) -> Option<Vec<Vec<f32>>> {
    let model = llama::load(path, Load::WeightsAsStored).ok()?;
    let mut oracle = LlamaOracle::new(&model, 256, 2, WidthClass::BATCH.max).unwrap();
    Some(rows(&mut oracle, &prompt(), 40))
}

/// Ours, in the form that a model which does not fit gets; `None` where it is refused.
fn ours(gguf: &Gguf, blueprint: &Blueprint) -> Option<Vec<Vec<f32>>> {
    let mut oracle: Box<dyn Oracle> = match blueprint {
        Blueprint::Layers(layout) => {
            let options = LayerOracleOptions {
                ctx_tokens: 256,
                threads: 2,
                max_nodes: WidthClass::BATCH.max,
                plan: Plan::new(&catalogue(layout), Bytes::mib(1)).unwrap(),
                read_sizes: ReadSizes::default(),
                device: None,
            };
            Box::new(LayerOracle::open(gguf, layout, options, &Hub::new()).unwrap())
        }
        Blueprint::Graph(_) => {
            let mut blueprint = blueprint.clone();
            let bare: BareModel = nmos::plan::open_bare(gguf, &mut blueprint).ok()??;
            let Blueprint::Graph(outline) = &blueprint else {
                unreachable!("it was one before");
            };
            let options = HookedOptions {
                ctx_tokens: 256,
                threads: 2,
                max_nodes: WidthClass::BATCH.max,
                plan: Plan::new(&shards(&blueprint), Bytes::mib(1)).unwrap(),
                read_sizes: ReadSizes::default(),
            };
            Box::new(LlamaOracle::hooked(bare, gguf, outline, options, &Hub::new()).unwrap())
        }
    };
    Some(rows(&mut *oracle, &prompt(), 40))
}

/// Whose graph computes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Ours,
    Llama,
    /// Neither's, and llama.cpp says so itself.
    Nobody,
}

/// Writes the model, and checks that it is computed as llama.cpp does or refused as it does.
fn check(what: &str, tiny: &Tiny) -> By {
    check_bytes(what, &tiny.build())
}

fn check_bytes(what: &str, bytes: &[u8]) -> By {
    let _turn = common::turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    std::fs::write(&path, bytes).unwrap();
    nmos::ggml::init().unwrap();
    let gguf = Gguf::open(&path).unwrap();
    let blueprint = match Blueprint::from_gguf(&gguf) {
        Ok(blueprint) => blueprint,
        Err(error) => {
            assert!(
                theirs(&path).is_none(),
                "{what}: refused by us alone: {error}"
            );
            return By::Nobody;
        }
    };
    match (ours(&gguf, &blueprint), theirs(&path)) {
        (None, None) => By::Nobody,
        (Some(ours), Some(theirs)) => {
            let by = match blueprint {
                Blueprint::Layers(_) => By::Ours,
                Blueprint::Graph(_) => By::Llama,
            };
            for (at, (a, b)) in ours.iter().zip(&theirs).enumerate() {
                let same = match by {
                    By::Llama => same_bits(a, b),
                    _ => max_diff(a, b) < TOLERANCE,
                };
                assert!(
                    same,
                    "{what}, token {at}, by {by:?}: differs by {}",
                    max_diff(a, b)
                );
            }
            by
        }
        (ours, theirs) => panic!(
            "{what}: {} by us, {} by llama.cpp",
            if ours.is_some() {
                "computed"
            } else {
                "refused"
            },
            if theirs.is_some() {
                "computed"
            } else {
                "refused"
            },
        ),
    }
}

/// The text that a greedy answer would have, to see that a feature does change it.
fn logits_of(tiny: &Tiny) -> Vec<Vec<f32>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    std::fs::write(&path, tiny.build()).unwrap();
    theirs(&path).unwrap()
}

fn with(more: fn(Builder) -> Builder) -> Tiny {
    Tiny {
        more,
        ..Tiny::default()
    }
}

#[test]
fn what_published_models_have_is_computed_by_our_own_graph() {
    let cases = [
        ("llama", Tiny::default()),
        ("qwen2", Tiny::qwen2()),
        ("qwen3", Tiny::qwen3()),
        (
            "qwen3 with heads wider than the model, tied",
            Tiny {
                head_dim: 24,
                tied: true,
                ..Tiny::qwen3()
            },
        ),
        (
            "qwen3 scaled",
            Tiny {
                more: |b| {
                    b.f32("qwen3.rope.freq_base", 1_000_000.0)
                        .text("qwen3.rope.scaling.type", "linear")
                        .f32("qwen3.rope.scaling.factor", 4.0)
                        .u32("qwen3.expert_count", 0)
                },
                ..Tiny::qwen3()
            },
        ),
        (
            "qwen2 without biases",
            Tiny {
                biases: [false; 3],
                ..Tiny::qwen2()
            },
        ),
        (
            "llama with all three biases",
            Tiny {
                biases: [true; 3],
                ..Tiny::default()
            },
        ),
        (
            "tied",
            Tiny {
                tied: true,
                ..Tiny::default()
            },
        ),
        (
            "Llama 3's factors",
            Tiny {
                rope_factors: true,
                ..Tiny::default()
            },
        ),
        (
            "heads wider than the model",
            Tiny {
                head_dim: 24,
                ..Tiny::default()
            },
        ),
        (
            "lengths left to the width",
            Tiny {
                without: &[
                    "attention.key_length",
                    "attention.value_length",
                    "rope.dimension_count",
                ],
                ..Tiny::default()
            },
        ),
        (
            "a factor of a type",
            with(|b| {
                b.text("llama.rope.scaling.type", "linear")
                    .f32("llama.rope.scaling.factor", 4.0)
            }),
        ),
        (
            "a factor without a type",
            with(|b| b.f32("llama.rope.scaling.factor", 4.0)),
        ),
        (
            "a type without a factor",
            with(|b| b.text("llama.rope.scaling.type", "linear")),
        ),
        (
            "a factor of none",
            with(|b| {
                b.text("llama.rope.scaling.type", "none")
                    .f32("llama.rope.scaling.factor", 4.0)
            }),
        ),
        (
            "a factor of zero",
            with(|b| b.f32("llama.rope.scaling.factor", 0.0)),
        ),
        ("a base", with(|b| b.f32("llama.rope.freq_base", 500_000.0))),
        (
            "idle keys",
            with(|b| {
                b.u32("llama.vocab_size", VOCAB as u32)
                    .u32("llama.expert_count", 0)
                    .u32("llama.rope.scaling.original_context_length", 8)
                    .f32("llama.rope.scaling.attn_factor", 1.0)
                    .raw("llama.attention.causal", 7, &[1])
                    .raw("llama.rope.scaling.finetuned", 7, &[1])
                    .u32("llama.attention.sliding_window", 4)
                    .text("general.license", "none")
            }),
        ),
    ];
    for (what, tiny) in cases {
        assert_eq!(check(what, &tiny), By::Ours, "{what}");
    }
}

#[test]
fn a_factor_without_a_type_changes_what_is_computed() {
    let (plain, scaled) = (
        Tiny::default(),
        with(|b| b.f32("llama.rope.scaling.factor", 4.0)),
    );
    let (a, b) = (logits_of(&plain), logits_of(&scaled));
    assert!(max_diff(&a[39], &b[39]) > 0.1);
}

#[test]
fn what_our_graph_does_not_know_is_left_to_llama_cpps() {
    fn array(b: Builder, key: &str, value: u32) -> Builder {
        let mut body = 4u32.to_le_bytes().to_vec();
        body.extend((LAYERS as u64).to_le_bytes());
        body.extend((0..LAYERS).flat_map(|_| value.to_le_bytes()));
        b.raw(key, 9, &body)
    }
    let cases: Vec<(&str, Tiny)> = vec![
        (
            "an old factor",
            with(|b| b.f32("llama.rope.scale_linear", 4.0)),
        ),
        (
            "an attention factor",
            with(|b| b.f32("llama.rope.scaling.attn_factor", 3.0)),
        ),
        (
            "yarn",
            with(|b| {
                b.text("llama.rope.scaling.type", "yarn")
                    .f32("llama.rope.scaling.factor", 4.0)
                    .u32("llama.rope.scaling.original_context_length", 16)
            }),
        ),
        (
            "not causal",
            with(|b| b.raw("llama.attention.causal", 7, &[0])),
        ),
        (
            "a key that nobody knows",
            with(|b| b.u32("llama.some.key", 1)),
        ),
        (
            "k and v biases",
            Tiny {
                biases: [false, true, true],
                ..Tiny::default()
            },
        ),
        (
            "q biases",
            Tiny {
                biases: [true, false, false],
                ..Tiny::default()
            },
        ),
        (
            "qwen2 with q biases",
            Tiny {
                biases: [true, false, false],
                ..Tiny::qwen2()
            },
        ),
        (
            "fused",
            Tiny {
                fused: true,
                ..Tiny::default()
            },
        ),
        (
            "fused with biases apart",
            Tiny {
                fused: true,
                ..Tiny::qwen2()
            },
        ),
        (
            "heads of an odd size",
            Tiny {
                head_dim: 20,
                ..Tiny::default()
            },
        ),
        (
            "a bias of the output",
            Tiny {
                more: |b| {
                    let values = floats((0..VOCAB).map(|i| (i % 5) as f32 * 4.0));
                    b.tensor_of("output.bias", 0, &[VOCAB as u64], values)
                },
                ..Tiny::qwen2()
            },
        ),
        (
            "a bias of attention's output",
            with(|b| {
                (0..LAYERS).fold(b, |b, layer| {
                    let values = floats((0..WIDTH).map(|i| (i % 7) as f32 - 3.0));
                    b.tensor_of(
                        &format!("blk.{layer}.attn_output.bias"),
                        0,
                        &[WIDTH as u64],
                        values,
                    )
                })
            }),
        ),
        (
            "a bias of a feed-forward",
            with(|b| {
                let values = floats((0..WIDTH).map(|i| (i % 7) as f32 - 3.0));
                b.tensor_of("blk.1.ffn_down.bias", 0, &[WIDTH as u64], values)
            }),
        ),
        (
            "a scale",
            with(|b| b.tensor_of("blk.0.attn_q.scale", 0, &[1], floats([3.0]))),
        ),
        (
            "a scale of qwen2",
            Tiny {
                more: |b| b.tensor_of("blk.1.attn_output.scale", 0, &[1], floats([0.25])),
                ..Tiny::qwen2()
            },
        ),
        (
            "qwen3 with biases",
            Tiny {
                biases: [true; 3],
                ..Tiny::qwen3()
            },
        ),
        (
            "qwen3 with q, k and v in one",
            Tiny {
                fused: true,
                ..Tiny::qwen3()
            },
        ),
        (
            "qwen3 stretched by yarn",
            Tiny {
                more: |b| {
                    b.text("qwen3.rope.scaling.type", "yarn")
                        .f32("qwen3.rope.scaling.factor", 4.0)
                        .u32("qwen3.rope.scaling.original_context_length", 16)
                },
                ..Tiny::qwen3()
            },
        ),
        (
            "a key that is only old in others",
            Tiny {
                more: |b| b.u32("qwen3.attention.sliding_window", 4),
                ..Tiny::qwen3()
            },
        ),
        (
            "a scale of qwen3",
            Tiny {
                more: |b| b.tensor_of("blk.1.ffn_down.scale", 0, &[1], floats([0.25])),
                ..Tiny::qwen3()
            },
        ),
        (
            "heads layer by layer",
            Tiny {
                without: &["attention.head_count", "attention.head_count_kv"],
                more: |b| {
                    let b = array(b, "llama.attention.head_count", HEADS as u32);
                    array(b, "llama.attention.head_count_kv", KV_HEADS as u32)
                },
                ..Tiny::default()
            },
        ),
    ];
    for (what, tiny) in cases {
        assert_eq!(check(what, &tiny), By::Llama, "{what}");
    }
}

#[test]
fn what_llama_cpp_refuses_nobody_computes() {
    let cases: Vec<(&str, Tiny)> = vec![
        (
            "a tensor that nobody knows",
            with(|b| b.tensor_of("blk.0.attn_z.weight", 0, &[1], floats([3.0]))),
        ),
        (
            "a layer too many",
            with(|b| b.tensor_of("blk.2.attn_norm.weight", 0, &[64], floats([1.0; 64]))),
        ),
        (
            "a number with zeros",
            with(|b| b.tensor_of("blk.00.attn_q.bias", 0, &[64], floats([1.0; 64]))),
        ),
        (
            "qwen2 with factors",
            Tiny {
                rope_factors: true,
                ..Tiny::qwen2()
            },
        ),
        (
            "llama with norms of heads",
            Tiny {
                head_norms: true,
                ..Tiny::default()
            },
        ),
        (
            "qwen2 with norms of heads",
            Tiny {
                head_norms: true,
                ..Tiny::qwen2()
            },
        ),
        (
            "qwen3 without norms of heads",
            Tiny {
                head_norms: false,
                ..Tiny::qwen3()
            },
        ),
        (
            "qwen3 with factors",
            Tiny {
                rope_factors: true,
                ..Tiny::qwen3()
            },
        ),
        (
            "a key of another width",
            Tiny {
                without: &["block_count"],
                more: |b| b.raw("llama.block_count", 10, &(LAYERS as u64).to_le_bytes()),
                ..Tiny::default()
            },
        ),
        (
            "a text for a number",
            with(|b| b.text("llama.rope.freq_base", "10000")),
        ),
        (
            "factors too many",
            with(|b| b.tensor_of("rope_freqs.weight", 0, &[16], floats([1.0; 16]))),
        ),
        (
            "rotated in part",
            Tiny {
                without: &["rope.dimension_count"],
                more: |b| b.u32("llama.rope.dimension_count", 8),
                ..Tiny::default()
            },
        ),
    ];
    for (what, tiny) in cases {
        assert_eq!(check(what, &tiny), By::Nobody, "{what}");
    }
}

#[test]
fn tensors_at_odd_places_are_computed_with() {
    let plain = logits_of(&Tiny::default());
    for alignment in [1, 2, 4, 8, 16, 64, 4096] {
        for fused in [false, true] {
            let tiny = Tiny {
                alignment: Some(alignment),
                fused,
                // Shifts what comes after it by an odd number of bytes.
                more: |b| b.text("general.url", "x"),
                ..Tiny::default()
            };
            let by = if fused { By::Llama } else { By::Ours };
            assert_eq!(check(&format!("alignment {alignment}"), &tiny), by);
        }
        let tiny = Tiny {
            alignment: Some(alignment),
            ..Tiny::default()
        };
        assert!(same_bits(&logits_of(&tiny)[39], &plain[39]));
    }
}

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
