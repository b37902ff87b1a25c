//! What the tests on real models share. They need the default models and two that are for tests
//! alone: `make test` fetches them.
#![allow(dead_code)]

pub mod cgroup;

use nmos::ggml::llama::{self, Load};
use nmos::model::{Gguf, ModelLayout};
use nmos::oracle::{
    DeviceOptions, LayerOracle, LayerOracleOptions, LlamaOracle, Oracle, TokenTree, WidthClass,
};
use nmos::river::{Placement, ReadSizes};
use nmos::session::{
    DrafterOptions, EngineHandle, EngineOptions, Event, Intent, Sampling, TreeSize, spawn,
};
use nmos::telemetry::{AnswerStats, Hub};
use nmos::typing::{Edit, TypingEvent};
use nmos::units::{Bytes, TokenId};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held while a test computes: two at a time would take each other's processors.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed while it held this left nothing behind it.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

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
        "{} is missing: `make test` fetches it",
        path.display()
    );
    path
}

pub const ORACLE: &str = "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf";
pub const DRAFT: &str = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";
pub const SMOL: &str = "smollm2-135m-instruct-q4_1.gguf";
/// Of an architecture that only llama.cpp's graph computes.
pub const GEMMA: &str = "gemma-3-270m-q4_k_m.gguf";

/// The streamed oracle with this much memory for weights.
pub fn layer_oracle(file: &str, weights: Bytes) -> LayerOracle {
    layer_oracle_with_context(file, weights, 2048)
}

/// The streamed oracle with this much memory for weights and this many tokens of context.
pub fn layer_oracle_with_context(file: &str, weights: Bytes, ctx_tokens: usize) -> LayerOracle {
    open_oracle(file, weights, ctx_tokens, None)
}

/// The same on a device, or where the weights are.
pub fn open_oracle(
    file: &str,
    weights: Bytes,
    ctx_tokens: usize,
    device: Option<DeviceOptions>,
) -> LayerOracle {
    let gguf = Gguf::open(&model(file)).expect("a model");
    let layout = ModelLayout::from_gguf(&gguf).expect("a supported model");
    let options = LayerOracleOptions {
        ctx_tokens,
        threads: 2,
        max_nodes: WidthClass::WIDE.max,
        weight_bytes: weights,
        placement: Placement::Even,
        read_sizes: ReadSizes::default(),
        device,
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

/// llama.cpp's own graph, over weights laid out as in the file where `as_stored`.
pub fn llama_oracle(file: &str, as_stored: bool) -> LlamaOracle {
    let what = if as_stored {
        Load::WeightsAsStored
    } else {
        Load::Weights
    };
    let model = llama::load(&model(file), what).expect("a model");
    LlamaOracle::new(&model, 2048, 2, WidthClass::WIDE.max).expect("an oracle")
}

/// Logits of every token behind what is committed, in passes of `width` tokens, all committed.
pub fn rows(oracle: &mut dyn Oracle, tokens: &[TokenId], width: usize) -> Vec<Vec<f32>> {
    let mut rows = Vec::with_capacity(tokens.len());
    for chunk in tokens.chunks(width) {
        let tree = TokenTree::chain(chunk, 0);
        let output = oracle.pass(&tree, WidthClass::BATCH).expect("a pass");
        rows.extend((0..chunk.len()).map(|i| output.logits.of(i).expect("a row").to_vec()));
        let all: Vec<_> = (0..chunk.len()).collect();
        oracle.commit(&all);
    }
    rows
}

/// Whether two rows are the same bits.
pub fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
}

/// How sessions are started by tests: greedy, without scout and draft.
pub fn options(oracle: &str, ram: Bytes) -> EngineOptions {
    EngineOptions {
        oracle: model(oracle),
        draft: None,
        draft_required: true,
        draft_absent: None,
        scout: false,
        ram: Some(ram),
        vram: Some(Bytes(0)),
        ctx_tokens: 1024,
        threads: 2,
        tree: TreeSize::Auto,
        max_tokens: 64,
        fixed_length: false,
        draft_waits: false,
        chat_template: None,
        system: "You are a helpful assistant.".to_owned(),
        anticipate: false,
        exact: false,
        drafters: DrafterOptions::default(),
        sampling: Sampling::default(),
    }
}

/// Waits until the session is ready, or says why it never will be.
pub fn ready(engine: &EngineHandle) -> Result<(), String> {
    loop {
        match engine.events.recv().expect("the session says how it ends") {
            Event::Ready => return Ok(()),
            Event::Fatal(why) => return Err(why),
            _ => {}
        }
    }
}

pub fn type_edit(engine: &EngineHandle, edit: Edit) {
    let event = TypingEvent { t_us: 0, edit };
    engine
        .intents
        .send(Intent::Typing(event))
        .expect("a session");
}

/// The pieces of the next answer, and its figures.
pub fn answer(engine: &EngineHandle) -> (Vec<String>, AnswerStats) {
    let mut pieces = Vec::new();
    loop {
        match engine.events.recv().expect("a session") {
            Event::Text(text) => pieces.push(text),
            Event::Done(stats) => return (pieces, *stats),
            Event::Error(why) | Event::Fatal(why) | Event::Notice(why) => panic!("{why}"),
            Event::Ready | Event::Submitted { .. } => {}
        }
    }
}

/// Pastes a prompt, submits it and waits for its answer.
pub fn ask(engine: &EngineHandle, prompt: &str) -> (Vec<String>, AnswerStats) {
    let text = prompt.to_owned();
    type_edit(engine, Edit::Insert { text, paste: true });
    type_edit(engine, Edit::Enter);
    answer(engine)
}

/// The size that a refusal calls the least that works.
pub fn least_in(message: &str) -> Bytes {
    let (_, rest) = message
        .split_once("the least that works is ")
        .unwrap_or_else(|| panic!("no least budget in: {message}"));
    let (size, _) = rest.split_once(';').expect("a sentence that goes on");
    size.replace(' ', "").parse().expect("a size")
}

/// The least budget that this session works in, by its own word.
pub fn least_ram(options: &EngineOptions) -> Bytes {
    let engine = spawn(EngineOptions {
        ram: Some(Bytes::mib(1)),
        ..options.clone()
    });
    let why = ready(&engine).expect_err("one MiB is not enough");
    engine.shutdown();
    least_in(&why)
}
