//! Every architecture of our own graphs against llama.cpp's, over small models of random weights:
//! the same bits, whatever the size, the grouping of heads and the types of the weights.

use crate::common::{self, least_in, rows, same_bits, tokens, turn};
use crate::program;
use crate::tiny_model::Tiny;
use crate::two_branches::two_branches;
use crate::watch::WATCH;
use nmos::forge::{Forge, Growth, Made, Means};
use nmos::ggml::GgmlType;
use nmos::ggml::llama::{self, Load};
use nmos::model::{Arch, Gguf, ModelLayout};
use nmos::oracle::{LayerOracle, LayerOracleOptions, LlamaOracle, Oracle, WidthClass};
use nmos::river::{Plan, ReadSizes, catalogue};
use nmos::telemetry::Hub;
use nmos::units::{Bytes, TokenId};
use std::path::Path;
use std::process::Output;

const ARCHITECTURES: [fn() -> Tiny; 3] = [Tiny::default, Tiny::qwen2, Tiny::qwen3];

fn prompt() -> Vec<TokenId> {
    tokens(&(0..96).map(|i| 3 + i * 37 % 256).collect::<Vec<_>>())
}

fn ours(path: &Path, weights: Bytes) -> LayerOracle {
    let gguf = Gguf::open(path).unwrap();
    let layout = ModelLayout::from_gguf(&gguf).unwrap();
    let options = LayerOracleOptions {
        ctx_tokens: 256,
        threads: 2,
        max_nodes: WidthClass::BATCH.max,
        plan: Plan::new(&catalogue(&layout), weights).unwrap(),
        read_sizes: ReadSizes::default(),
        device: None,
    };
    LayerOracle::open(&gguf, &layout, options, &Hub::new()).unwrap()
}

/// Compares both in passes of several widths, ours with next to no memory for weights and with
/// enough.
fn compare(what: &str, tiny: &Tiny) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    std::fs::write(&path, tiny.build()).unwrap();
    let model = llama::load(&path, Load::WeightsAsStored).unwrap();
    for width in [8, 13, 48] {
        let mut theirs = LlamaOracle::new(&model, 256, 2, WidthClass::BATCH.max).unwrap();
        let theirs = rows(&mut theirs, &prompt(), width);
        for weights in [Bytes::mib(4), Bytes::mib(256)] {
            let ours = rows(&mut ours(&path, weights), &prompt(), width);
            for (at, (a, b)) in ours.iter().zip(&theirs).enumerate() {
                let diff = common::max_diff(a, b);
                assert!(
                    same_bits(a, b),
                    "{what}, width {width}, {weights} of weights, token {at}: {diff:e} apart"
                );
            }
        }
    }
}

#[test]
fn no_architecture_of_ours_is_left_out() {
    let mut compared = ARCHITECTURES.map(|tiny| tiny().arch);
    let mut ours = Arch::ALL.map(Arch::name);
    compared.sort_unstable();
    ours.sort_unstable();
    assert_eq!(compared, ours);
}

#[test]
fn heads_grouped_and_wider_than_the_model_have_llama_cpps_bits() {
    let _turn = turn();
    for arch in ARCHITECTURES {
        let tiny = arch();
        for (heads, kv_heads, head_dim) in [(4, 4, 16), (4, 2, 16), (4, 1, 16), (6, 3, 32)] {
            if tiny.arch == "qwen2" && heads * head_dim != tiny.width {
                continue;
            }
            for tied in [false, true] {
                let tiny = Tiny {
                    heads,
                    kv_heads,
                    head_dim,
                    tied,
                    ..tiny.clone()
                };
                let what = format!(
                    "{}, {heads} heads of {head_dim} over {kv_heads}, tied {tied}",
                    tiny.arch
                );
                compare(&what, &tiny);
            }
        }
    }
}

#[test]
fn weights_of_the_usual_types_have_llama_cpps_bits() {
    let _turn = turn();
    for arch in ARCHITECTURES {
        for (ty, finer_ty) in [
            (GgmlType::F16, GgmlType::F16),
            (GgmlType::Q8_0, GgmlType::Q8_0),
            (GgmlType::Q4_0, GgmlType::Q6_K),
            (GgmlType::Q4_K, GgmlType::Q6_K),
            (GgmlType::Q3_K, GgmlType::Q5_K),
        ] {
            let tiny = Tiny {
                layers: 3,
                width: 512,
                heads: 8,
                kv_heads: 2,
                head_dim: 64,
                ff: 768,
                ty,
                finer_ty,
                ..arch()
            };
            compare(&format!("{}, {ty}", tiny.arch), &tiny);
        }
    }
}

#[test]
fn branches_of_a_tree_have_the_bits_that_they_have_alone() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    let (committed, drafted) = (&prompt()[..20], &prompt()[20..27]);
    for arch in ARCHITECTURES {
        let tiny = arch();
        std::fs::write(&path, tiny.build()).unwrap();
        let mut oracle = ours(&path, Bytes::mib(4));
        rows(&mut oracle, committed, WidthClass::BATCH.max);
        let (tree, branches) = two_branches(drafted);
        let output = oracle.pass(&tree, WidthClass::BATCH).unwrap();
        for branch in branches {
            oracle.truncate(committed.len());
            let alone: Vec<_> = branch.iter().map(|&node| drafted[node]).collect();
            let alone = rows(&mut oracle, &alone, WidthClass::BATCH.max);
            for (node, alone) in branch.into_iter().zip(&alone) {
                let in_tree = output.logits.of(node).unwrap();
                assert!(same_bits(in_tree, alone), "{}, node {node}", tiny.arch);
            }
        }
    }
}

/// Qwen3's norms of heads keep their length, and what normalises the width does not.
#[test]
fn a_qwen3_grows_and_computes_the_same() {
    let _turn = turn();
    nmos::ggml::init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source.gguf");
    std::fs::write(&source, Tiny::qwen3().build()).unwrap();
    let means = Means {
        ram: Bytes::mib(1024),
        threads: 2,
    };
    let grow = |name: &str, growth: Growth| {
        let forge = Forge::new(&source, &growth, None, 1).unwrap();
        let made = forge.make(&dir.path().join(name), means, true, &WATCH);
        match made.unwrap().made {
            Made::Agrees(agreement) => agreement,
            other => panic!("{other:?}"),
        }
    };
    let deeper = Growth {
        layers: Some(5),
        ..Growth::default()
    };
    assert!(grow("deeper.gguf", deeper).same_bits);
    let wider = Growth {
        width: Some(96),
        ..Growth::default()
    };
    let agreement = grow("wider.gguf", wider);
    assert!(agreement.difference < 1e-3, "{agreement:?}");
}

fn nmos(home: &Path, model: &Path, ram: &str) -> Output {
    program::nmos(home)
        .args([
            "run", "--json", "-n", "24", "--draft", "none", "--scout", "none",
        ])
        .args([
            "--threads",
            "1",
            "--ctx",
            "512",
            "--vram",
            "0",
            "--ram",
            ram,
        ])
        .arg("--oracle")
        .arg(model)
        .arg("hello")
        .output()
        .unwrap()
}

#[test]
fn a_qwen3_says_the_same_in_any_memory() {
    let _turn = turn();
    let home = tempfile::tempdir().unwrap();
    let model = home.path().join("qwen3.gguf");
    let tiny = Tiny {
        layers: 12,
        width: 512,
        heads: 8,
        kv_heads: 2,
        head_dim: 128,
        ff: 1536,
        ty: GgmlType::Q8_0,
        finer_ty: GgmlType::Q8_0,
        ..Tiny::qwen3()
    };
    std::fs::write(&model, tiny.build()).unwrap();
    let refused = nmos(home.path(), &model, "1MiB");
    assert_eq!(refused.status.code(), Some(1));
    let least = least_in(&String::from_utf8_lossy(&refused.stderr));
    let answer = |ram: Bytes| {
        let output = nmos(home.path(), &model, &format!("{}KiB", ram.0 >> 10));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{ram}: {said}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = json["text"].as_str().unwrap().to_owned();
        (text, json["bytes_read"].as_u64().unwrap())
    };
    let (text, read_once) = answer(Bytes::mib(1024));
    assert!(!text.is_empty());
    for more in [1, 12, 24] {
        let (again, bytes_read) = answer(Bytes(least.0 + Bytes::mib(more).0));
        assert_eq!(again, text, "{more} MiB above the least");
        assert!(bytes_read > read_once, "{more}: {bytes_read} {read_once}");
    }
}
