//! Features that a file may have, each with whose graph computes it.

use super::{By, check, logits_of, with};
use crate::common::{max_diff, same_bits};
use crate::gguf_builder::Builder;
use crate::tiny_model::{HEADS, KV_HEADS, LAYERS, Tiny, VOCAB, WIDTH, floats};

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
