//! What the tests on real models share. They need the default models and two that are for tests
//! alone: `make test` fetches them.
#![allow(dead_code, reason = "each test program uses its part")]

use nmos::ggml::llama::{self, Load};
use nmos::model::{Gguf, ModelLayout, Think};
use nmos::oracle::{
    DeviceOptions, LayerOracle, LayerOracleOptions, LlamaOracle, Oracle, TokenTree, WidthClass,
};
use nmos::plan::{DraftRequest, TreeSize, Vram};
use nmos::river::{Plan, ReadSizes, catalogue};
use nmos::session::{
    Client, DrafterOptions, EngineHandle, EngineOptions, Event, Intent, RequestEvent, Sampling,
    spawn, spawn_with_clock,
};
use nmos::telemetry::{AnswerStats, Hub};
use nmos::typing::{Clock, Edit, TypingEvent};
use nmos::units::{Bytes, TokenId};
use nmos::vocabulary::ExpertPolicy;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Held while a test computes: two at a time would take each other's processors.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed while it held this left nothing to undo.
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
    let shards = catalogue(&layout);
    let plan = match &device {
        Some(on) => Plan::before_device(&shards, &on.window.stays, weights),
        None => Plan::new(&shards, weights),
    };
    let options = LayerOracleOptions {
        ctx_tokens,
        threads: 2,
        max_nodes: WidthClass::WIDE.max,
        plan: plan.expect("memory enough"),
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

/// Logits of every token after what is committed, in passes of `width` tokens, all committed.
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
        draft: DraftRequest::None,
        scout: false,
        ram: Some(ram),
        vram: Vram::None,
        ctx_tokens: 1024,
        threads: 2,
        tree: TreeSize::Auto,
        max_tokens: 64,
        fixed_length: false,
        draft_waits: false,
        chat_template: None,
        think: Think::Auto,
        think_budget: None,
        system: "You are a helpful assistant.".to_owned(),
        anticipate: false,
        exact: false,
        experts: ExpertPolicy::default(),
        record_routing: None,
        drafters: DrafterOptions::default(),
        sampling: Sampling::default(),
    }
}

/// A session and a client of it.
pub struct Session {
    pub engine: EngineHandle,
    client: Client,
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Session {
    pub fn new(options: EngineOptions) -> Self {
        Self::over(spawn(options))
    }

    pub fn with_clock(options: EngineOptions, clock: Arc<dyn Clock>) -> Self {
        Self::over(spawn_with_clock(options, clock))
    }

    fn over(engine: EngineHandle) -> Self {
        let client = engine.connect();
        Self { engine, client }
    }

    pub fn shutdown(self) {
        self.engine.shutdown();
    }

    pub fn tell(&self, intent: Intent) {
        self.send(intent).expect("a session");
    }

    pub fn next_event(&self) -> Event {
        self.events().recv().expect("the session says how it ends")
    }

    /// Waits until the session is ready, or says why it never will be.
    pub fn ready(&self) -> Result<(), String> {
        loop {
            match self.next_event() {
                Event::Ready => return Ok(()),
                Event::Fatal(why) => return Err(why.to_string()),
                _ => {}
            }
        }
    }

    pub fn type_edit(&self, edit: Edit) {
        self.tell(Intent::Typing(TypingEvent { t_us: 0, edit }));
    }

    /// Pastes a prompt and submits it.
    pub fn send_prompt(&self, prompt: &str) {
        self.type_edit(paste(prompt));
        self.type_edit(Edit::Enter);
    }

    /// How the next prompt that was typed ends: the pieces of its answer and its figures, or why
    /// there is none.
    pub fn outcome(&self) -> Result<(Vec<String>, AnswerStats), String> {
        let mut pieces = Vec::new();
        loop {
            match self.next_event() {
                Event::Request(_, RequestEvent::Text(text)) => pieces.push(text),
                Event::Request(_, RequestEvent::Done(stats)) => {
                    assert_eq!(stats.text, pieces.concat());
                    return Ok((pieces, *stats));
                }
                Event::Request(_, RequestEvent::Failed(why)) => return Err(why.to_string()),
                Event::Fatal(why) => panic!("{why}"),
                Event::Notice(why) => panic!("{why}"),
                Event::Ready
                | Event::Request(
                    _,
                    RequestEvent::Submitted { .. } | RequestEvent::Thought { .. },
                ) => {}
            }
        }
    }

    /// The pieces of the next answer, and its figures.
    pub fn answer(&self) -> (Vec<String>, AnswerStats) {
        self.outcome().unwrap_or_else(|why| panic!("{why}"))
    }

    /// Pastes a prompt, submits it and waits for its answer.
    pub fn ask_typed(&self, prompt: &str) -> (Vec<String>, AnswerStats) {
        self.send_prompt(prompt);
        self.answer()
    }
}

pub fn paste(text: &str) -> Edit {
    Edit::Insert {
        text: text.to_owned(),
        paste: true,
    }
}

/// The size that a refusal calls the least that works.
pub fn least_in(message: &str) -> Bytes {
    let (_, rest) = message
        .split_once("the least that works is ")
        .unwrap_or_else(|| panic!("no least budget in: {message}"));
    let (size, _) = rest.split_once(';').expect("a sentence that goes on");
    size.replace(' ', "").parse().expect("a size")
}

/// The least budget that this session works in, as its own message says.
pub fn least_ram(options: &EngineOptions) -> Bytes {
    let session = Session::new(EngineOptions {
        ram: Some(Bytes::mib(1)),
        ..options.clone()
    });
    let why = session.ready().expect_err("one MiB is not enough");
    session.shutdown();
    least_in(&why)
}
