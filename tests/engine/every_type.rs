//! A small model of every type that ggml can store weights in: our graphs have llama.cpp's bits,
//! with all weights in memory and with most of them streamed; what ggml cannot multiply by is
//! refused in words.

use crate::common::{self, rows, same_bits, tokens, turn};
use crate::tiny_model::Tiny;
use nmos::ggml::GgmlType;
use nmos::ggml::llama::{self, Load};
use nmos::model::{Blueprint, Gguf};
use nmos::oracle::{LayerOracle, LayerOracleOptions, LlamaOracle, WidthClass};
use nmos::river::{Plan, ReadSizes, catalogue, total_bytes};
use nmos::telemetry::Hub;
use nmos::units::{Bytes, TokenId};

/// Stored by ggml, but for activations, indices or other programs.
const NOT_WEIGHTS: [GgmlType; 7] = [
    GgmlType::Q8_1,
    GgmlType::Q8_K,
    GgmlType::I8,
    GgmlType::I16,
    GgmlType::I32,
    GgmlType::I64,
    GgmlType::F64,
];

fn prompt() -> Vec<TokenId> {
    tokens(&(0..24).map(|i| 3 + i * 37 % 256).collect::<Vec<_>>())
}

fn tiny(ty: GgmlType) -> Tiny {
    Tiny {
        layers: 3,
        width: 256,
        heads: 4,
        head_dim: 64,
        ff: 512,
        ty,
        finer_ty: ty,
        ..Tiny::default()
    }
}

#[test]
fn weights_of_every_type_have_llama_cpps_bits_in_memory_and_streamed() {
    let _turn = turn();
    nmos::ggml::init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    for ty in GgmlType::all().filter(|ty| !NOT_WEIGHTS.contains(ty)) {
        std::fs::write(&path, tiny(ty).build()).unwrap();
        let model = llama::load(&path, Load::WeightsAsStored).unwrap();
        let mut theirs = LlamaOracle::new(&model, 256, 2, WidthClass::BATCH.max).unwrap();
        let theirs = rows(&mut theirs, &prompt(), 24);
        let gguf = Gguf::open(&path).unwrap();
        let Blueprint::Layers(layout) = Blueprint::from_gguf(&gguf).unwrap() else {
            panic!("{ty} is left to llama.cpp's graph");
        };
        let shards = catalogue(&layout);
        let all = total_bytes(&shards);
        for (weights, streams) in [(Bytes::mib(256), false), (Bytes(all.0 * 2 / 3), true)] {
            let plan = Plan::new(&shards, weights).unwrap();
            assert_eq!(plan.streamed_bytes > 0, streams, "{ty}");
            let options = LayerOracleOptions {
                ctx_tokens: 256,
                threads: 2,
                max_nodes: WidthClass::BATCH.max,
                plan,
                read_sizes: ReadSizes::default(),
                device: None,
            };
            let mut ours = LayerOracle::open(&gguf, &layout, options, &Hub::new()).unwrap();
            let ours = rows(&mut ours, &prompt(), 24);
            for (at, (a, b)) in ours.iter().zip(&theirs).enumerate() {
                let apart = common::max_diff(a, b);
                assert!(
                    same_bits(a, b),
                    "{ty}, {weights}, token {at}: {apart:e} apart"
                );
            }
        }
    }
}

#[test]
fn a_type_that_nothing_is_multiplied_by_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    for ty in NOT_WEIGHTS {
        let tiny = Tiny {
            finer_ty: GgmlType::F32,
            ..tiny(ty)
        };
        std::fs::write(&path, tiny.build()).unwrap();
        let said = Blueprint::from_gguf(&Gguf::open(&path).unwrap()).unwrap_err();
        let says = format!("blk.0.attn_q.weight is of type {ty:?}");
        assert!(said.to_string().contains(&says), "{said}");
    }
}
