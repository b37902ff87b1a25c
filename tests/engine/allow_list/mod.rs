//! Which files our own graphs compute, and that what they compute is what llama.cpp does.

mod cases;
mod keys;

use crate::common::{self, max_diff, rows, same_bits, tokens};
use crate::gguf_builder::Builder;
use crate::tiny_model::Tiny;
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
                experts: None,
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
