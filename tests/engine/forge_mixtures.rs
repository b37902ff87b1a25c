//! Mixtures of experts grow as dense models do, and a dense model becomes one that says the same.

use crate::common::{SMOL, model, rows, same_bits, tokens, turn};
use crate::forge::{MEANS, bytes_of, floats_of};
use crate::tiny_mixture::{Arch, TinyMixture};
use crate::tiny_model::Tiny;
use crate::watch::WATCH;
use nmos::forge::{
    Agreement, Forge, ForgeError, Forged, Growth, Likeness, Made, Quant, TOLERANCE, VerifyError,
    verify,
};
use nmos::ggml::llama::{self, Load};
use nmos::ggml::{self, GgmlType};
use nmos::model::{Experts, Gguf, ModelLayout};
use nmos::oracle::{LlamaOracle, Oracle, WidthClass};
use nmos::plan::{DraftRequest, PlanRequest, Planner, TreeSize, Vram};
use nmos::telemetry::Hub;
use nmos::units::{Bytes, TokenId};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Half precision's one, where a block has its scale.
const ONE: [u8; 2] = [0x00, 0x3c];

/// A source of few bytes, and space for what is made of it.
struct Small {
    dir: TempDir,
    source: PathBuf,
}

impl Small {
    fn new(file: Vec<u8>) -> Self {
        ggml::init().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source.gguf");
        std::fs::write(&source, file).unwrap();
        Self { dir, source }
    }

    fn mixture() -> Self {
        Self::new(TinyMixture::of(Arch::Qwen3Moe).build())
    }

    fn make(&self, growth: Growth, quant: Option<Quant>) -> (PathBuf, Forged) {
        let path = self.dir.path().join("made.gguf");
        let forge = Forge::new(&self.source, &growth, quant, 1).unwrap();
        let made = forge.make(&path, MEANS, true, &WATCH).unwrap();
        let bytes = std::fs::metadata(&path).unwrap().len();
        assert_eq!(bytes, forge.blueprint().unwrap().file_bytes().0);
        (path, made)
    }

    fn refusal(&self, growth: Growth) -> String {
        let error = Forge::new(&self.source, &growth, None, 1).unwrap_err();
        let text = error.to_string();
        assert!(!text.contains('\n'), "{text}");
        text
    }

    /// Whether the program finds that the model at `path` computes something else.
    fn differs(&self, path: &Path, likeness: Likeness) -> bool {
        match verify(&self.source, path, likeness, MEANS, &WATCH) {
            Ok(_) => false,
            Err(ForgeError::Verify(error)) => matches!(*error, VerifyError::Differs(_)),
            Err(other) => panic!("{other}"),
        }
    }
}

fn deeper(layers: usize) -> Growth {
    Growth {
        layers: Some(layers),
        ..Growth::default()
    }
}

fn experts(count: usize, used: usize) -> Growth {
    Growth {
        experts: Some(Experts { count, used }),
        ..Growth::default()
    }
}

fn agreement(forged: Forged) -> Agreement {
    match forged.made {
        Made::Agrees(agreement) => agreement,
        other => panic!("{other:?}"),
    }
}

/// Logits of any text by llama.cpp alone.
fn by_llama(path: &Path) -> Vec<Vec<f32>> {
    let text = tokens(&(0..48).map(|i| 3 + i * 37 % 256).collect::<Vec<_>>());
    let model = llama::load(path, Load::WeightsAsStored).unwrap();
    let mut oracle = LlamaOracle::new(&model, 256, MEANS.threads, WidthClass::BATCH.max).unwrap();
    rows(&mut oracle, &text, 24)
}

/// The file as a session opens it.
fn as_in_a_session(path: &Path) -> Box<dyn Oracle> {
    let planner = Planner::open(PlanRequest {
        oracle: path,
        draft: &DraftRequest::None,
        drafters: Bytes(0),
        ram: Some(MEANS.ram),
        vram: Vram::None,
        ctx_tokens: 512,
        threads: MEANS.threads,
        tree: TreeSize::Fixed(8),
        exact: false,
        experts: nmos::vocabulary::ExpertPolicy::default(),
    })
    .unwrap();
    let placement = planner.place().unwrap();
    let file = planner.oracle;
    placement
        .open_oracle(&file.index, &file.blueprint, file.bare, None, &Hub::new())
        .unwrap()
}

#[test]
fn a_deeper_mixture_has_the_same_bits_and_a_broken_one_is_found() {
    let _turn = turn();
    let small = Small::mixture();
    let (path, forged) = small.make(deeper(7), None);
    assert!(agreement(forged).same_bits, "{forged:?}");
    assert_eq!(forged.routing, None);
    let (ours, source) = (by_llama(&path), by_llama(&small.source));
    assert!(ours.iter().zip(&source).all(|(a, b)| same_bits(a, b)));

    // Three over four: the first added layer comes after the second, and routes as that one does.
    let (gguf, real) = (
        Gguf::open(&path).unwrap(),
        Gguf::open(&small.source).unwrap(),
    );
    for part in ["ffn_gate_inp", "ffn_up_exps", "ffn_gate_exps", "attn_q"] {
        assert_eq!(
            bytes_of(&gguf, &format!("blk.2.{part}.weight")),
            bytes_of(&real, &format!("blk.1.{part}.weight")),
            "{part}"
        );
    }
    let down = gguf.tensor("blk.2.ffn_down_exps.weight").unwrap();
    assert_eq!((down.ty, down.dims), (GgmlType::Q5_1, [96, 256, 16, 1]));
    assert!(floats_of(&gguf, &down.name).iter().all(|&x| x == 0.0));

    // One scale of one expert.
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&ONE, down.offset).unwrap();
    assert!(small.differs(&path, Likeness::Bits));
}

#[test]
fn a_wider_mixture_says_the_same_and_a_wrong_column_is_found() {
    let _turn = turn();
    let small = Small::mixture();
    let growth = Growth {
        width: Some(512),
        heads: Some(8),
        kv_heads: Some(4),
        ff: Some(128),
        layers: Some(5),
        ..Growth::default()
    };
    let (path, forged) = small.make(growth, None);
    let agreement = agreement(forged);
    assert!(agreement.difference < TOLERANCE, "{agreement:?}");

    let gguf = Gguf::open(&path).unwrap();
    let shape = ModelLayout::of_mixture(&gguf).unwrap().shape;
    let there = (shape.n_embd, shape.n_ff, shape.n_head, shape.experts);
    let sixteen = Some(Experts { count: 16, used: 2 });
    assert_eq!(there, (512, 128, 8, sixteen));
    // What llama.cpp divides by the experts of a token where it finds no width of one.
    let dense = gguf.u32("qwen3moe.feed_forward_length").unwrap();
    assert_eq!(dense, Some(2 * 128));

    let real = Gguf::open(&small.source).unwrap();
    let check = |name: &str, [cols, rows]: [usize; 2], [wide, high]: [usize; 2]| {
        let (ours, source) = (floats_of(&gguf, name), floats_of(&real, name));
        for (i, &x) in ours.iter().enumerate() {
            let (col, row, expert) = (i % wide, i / wide % high, i / wide / high);
            let expected = match col < cols && row < rows {
                true => source[(expert * rows + row) * cols + col],
                false => 0.0,
            };
            assert_eq!(
                x, expected,
                "{name}: column {col}, row {row}, expert {expert}"
            );
        }
    };
    check("blk.0.ffn_gate_inp.weight", [256, 16], [512, 16]);
    check("blk.0.ffn_up_exps.weight", [256, 96], [512, 128]);
    check("blk.0.ffn_down_exps.weight", [96, 256], [128, 512]);

    // Experts that write into columns of the residual stream that are not real.
    let down = gguf.tensor("blk.1.ffn_down_exps.weight").unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    for row in (0..16 * 512).filter(|row| row % 512 >= 256) {
        let block = down.offset + row * down.row_bytes();
        file.write_all_at(&ONE, block).unwrap();
    }
    assert!(small.differs(&path, Likeness::Text));
}

#[test]
fn a_requantised_mixture_keeps_its_routers() {
    let _turn = turn();
    let small = Small::mixture();
    let (path, forged) = small.make(deeper(5), Some(Quant::Q8_0));
    assert!(agreement(forged).same_bits, "{forged:?}");
    let gguf = Gguf::open(&path).unwrap();
    for tensor in gguf.tensors() {
        let is_f32 = tensor.n_dims == 1 || tensor.name.contains("ffn_gate_inp");
        let expected = if is_f32 {
            GgmlType::F32
        } else {
            GgmlType::Q8_0
        };
        assert_eq!(tensor.ty, expected, "{}", tensor.name);
    }
}

#[test]
fn dense_models_become_mixtures_of_llama_cpps_architectures() {
    let _turn = turn();
    for (tiny, name) in [(Tiny::default(), "llama"), (Tiny::qwen3(), "qwen3moe")] {
        let small = Small::new(tiny.build());
        let growth = Growth {
            width: Some(96),
            layers: Some(3),
            ..experts(8, 2)
        };
        let (path, forged) = small.make(growth, None);
        assert!(agreement(forged).difference < 1e-3, "{name}: {forged:?}");
        let shares = forged.routing.unwrap();
        assert!(shares.least > 0.0 && shares.most < 6.0, "{shares:?}");

        let gguf = Gguf::open(&path).unwrap();
        assert_eq!(gguf.architecture().unwrap(), name);
        let said = gguf.name();
        assert!(said.contains("forged"), "{said}");
        assert!(said.contains("routers are cluster centres"), "{said}");
        // Nothing is left under the old name.
        let of_others = |key: &str| {
            let arch = key.split('.').next().unwrap();
            !["general", "tokenizer", name].contains(&arch)
        };
        assert!(
            !gguf.metadata.iter().any(|(key, _)| of_others(key)),
            "{name}"
        );
        let router = floats_of(&gguf, "blk.1.ffn_gate_inp.weight");
        assert_eq!(router.len(), 8 * 96);
        for (i, &x) in router.iter().enumerate() {
            assert_eq!(x == 0.0, i % 96 >= 64, "{name}: {i}");
        }
        // And what came out can be forged again.
        let again = Forge::new(&path, &deeper(4), None, 1).unwrap();
        let dims = again.blueprint().unwrap().dims;
        assert_eq!(dims.experts, Some(Experts { count: 8, used: 2 }));
    }
}

#[test]
fn a_real_dense_model_says_the_same_with_experts_and_uses_most_of_them() {
    let _turn = turn();
    ggml::init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("experts.gguf");
    let forge = Forge::new(&model(SMOL), &experts(4, 1), None, 1).unwrap();
    let forged = forge.make(&path, MEANS, true, &WATCH).unwrap();
    let shares = forged.routing.unwrap();
    assert!(shares.least > 0.05, "{shares:?}");
    let agreement = agreement(forged);
    assert!(agreement.difference < TOLERANCE, "{agreement:?}");

    // Of text that the routers were not made from.
    let mut oracle = as_in_a_session(&path);
    let ids: Vec<i32> = (0..40).map(|i| 300 + (i * 7919) % 20_000).collect();
    let text: Vec<TokenId> = tokens(&ids);
    rows(&mut *oracle, &text, 20);
    let counts = oracle.experts().unwrap();
    let used = counts.misses as f64 / (30 * 4) as f64;
    assert!(used > 0.6, "{counts:?}");
}

#[test]
fn what_cannot_become_a_mixture_is_refused_in_a_line() {
    let mixture = Small::mixture();
    let text = mixture.refusal(experts(8, 2));
    assert!(text.contains("16 experts already"), "{text}");
    let text = Small::new(Tiny::qwen2().build()).refusal(experts(8, 2));
    assert!(text.contains("sum to one"), "{text}");
    let text = Small::new(TinyMixture::of(Arch::Qwen2Moe).build()).refusal(deeper(8));
    assert!(text.contains("supported are llama, qwen3moe"), "{text}");
    let biased = Tiny {
        more: |b| b.u32("llama.expert_count", 8),
        ..Tiny::default()
    };
    let text = Small::new(biased.build()).refusal(deeper(8));
    assert!(text.contains("expert_used_count"), "{text}");
}
