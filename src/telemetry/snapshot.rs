//! The state of the engine at one instant, as its panes show it.

use super::{ExpertsView, SpeculationView};
use crate::units::Bytes;
use crate::vocabulary::{Label, OracleForm, ShardPart};
use std::collections::VecDeque;

/// How many passes and key gaps the panes look back on.
pub const HISTORY: usize = 64;

/// Everything that is shown. Cheap to clone: a few kilobytes.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub phase: Phase,
    pub engine: EngineView,
    pub memory: MemoryView,
    pub shards: Vec<ShardView>,
    pub experts: ExpertsView,
    pub queue: QueueView,
    pub kv: KvView,
    pub accept: AcceptView,
    pub speculation: SpeculationView,
    pub cadence: CadenceView,
    pub scout: ScoutView,
    pub prefill: PrefillView,
}

/// What the engine is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Models are being opened; typing is accepted. Says what is loading.
    Loading(String),
    #[default]
    Idle,
    /// The user types and no pass is under way.
    Composing,
    /// A pass runs on text that has not been submitted.
    Anticipating,
    /// The submitted prompt is being read or answered.
    Answering,
    /// The engine cannot go on; says why and what to do.
    Failed(String),
}

/// What runs, as it was set up.
#[derive(Clone, Debug, Default)]
pub struct EngineView {
    /// Model name from its file, with `(forged)` where it is.
    pub oracle: String,
    /// `None` until the memory is divided.
    pub form: Option<OracleForm>,
    /// Draft model's name, or `None` where there is no draft.
    pub draft: Option<String>,
    pub threads: usize,
    /// Threads that compute now, and the most that may: fewer now where others use the cores.
    /// Zero where that is not known.
    pub threads_now: usize,
    pub threads_max: usize,
    /// Speed of an answer, estimated when the memory was divided; `None` where nothing is known
    /// to estimate it from.
    pub predicted_tokens_per_s: Option<f64>,
    pub ctx_tokens: usize,
    /// Fewest and most tokens in a pass; kernels are the same for any number between.
    pub width_class: (usize, usize),
    /// `io_uring` or `pread`, with `O_DIRECT` or without.
    pub reader: String,
}

/// Memory, against the promise of `--ram`.
#[derive(Clone, Debug, Default)]
pub struct MemoryView {
    pub budget: Bytes,
    pub rss: Bytes,
    pub rss_peak: Bytes,
    /// Who holds how much, as planned; sums to at most `budget`.
    pub owners: Vec<(&'static str, Bytes)>,
}

/// Where a shard's bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residency {
    #[default]
    Disk,
    Loading,
    Ram,
    Vram,
}

/// One shard of the oracle, in order of use.
#[derive(Clone, Copy, Debug)]
pub struct ShardView {
    /// `None` for the head.
    pub layer: Option<u32>,
    pub part: ShardPart,
    pub bytes: Bytes,
    pub residency: Residency,
    /// Stays in memory for good.
    pub pinned: bool,
    /// In use by the pass at this instant.
    pub in_use: bool,
}

/// What the reader does.
#[derive(Clone, Debug, Default)]
pub struct QueueView {
    /// The next shards that stream, soonest first.
    pub next: Vec<QueueItem>,
    /// Over the last quarter of a second of reading, decimal gigabytes a second.
    pub read_gb_s: f64,
    pub bytes_read: u64,
    /// Time that passes waited for weights.
    pub stall_ms: f64,
    /// Shards that were there when they were needed, and those that were not.
    pub hits: u64,
    pub misses: u64,
}

/// A shard on its way. Times are from the instant of the snapshot.
#[derive(Clone, Copy, Debug)]
pub struct QueueItem {
    /// Index into [`Snapshot::shards`].
    pub shard: usize,
    /// When the pass will use it; `None` where no pass is under way.
    pub predicted_need_ms: Option<f64>,
    /// When it will be there; zero where it is there already.
    pub predicted_arrival_ms: f64,
}

/// The KV cache's pages.
#[derive(Clone, Debug, Default)]
pub struct KvView {
    pub page_bytes: Bytes,
    /// Rows are groups of eight layers, columns are runs of tokens.
    pub pages: Vec<Vec<KvPageView>>,
    pub tokens_per_page: usize,
    pub cells_used: usize,
    pub cells_max: usize,
    /// Memory under the pages that are mapped; the last group of layers has smaller pages.
    pub mapped_bytes: Bytes,
    /// In the memory of the device that computes.
    pub on_device: bool,
}

/// One page of the map.
#[derive(Clone, Copy, Debug, Default)]
pub struct KvPageView {
    /// Memory is mapped to it.
    pub mapped: bool,
    /// Share of its cells that hold a token, 0 to 1.
    pub used: f32,
}

/// How speculation fares.
#[derive(Clone, Debug, Default)]
pub struct AcceptView {
    /// The answer's last passes, oldest first.
    pub recent: VecDeque<PassView>,
    /// Of the present or last answer.
    pub tokens: u64,
    pub passes: u64,
    pub drafted: u64,
    pub accepted: u64,
    pub tokens_per_s: Option<f64>,
    pub ttft_ms: Option<f64>,
    /// Until the first word of the answer itself, after what was thought.
    pub first_answer_ms: Option<f64>,
    /// Of the tokens, those of thoughts.
    pub thinking_tokens: u64,
    /// A thought is under way.
    pub is_thinking: bool,
}

/// One pass of an answer.
#[derive(Clone, Copy, Debug)]
pub struct PassView {
    /// Drafted nodes that it verified.
    pub drafted: usize,
    /// Of those, accepted.
    pub accepted: usize,
    pub ms: f64,
}

/// The rhythm of the typing.
#[derive(Clone, Debug, Default)]
pub struct CadenceView {
    /// The last gaps between keys, oldest first, in milliseconds.
    pub gaps_ms: VecDeque<f32>,
    pub median_gap_ms: Option<f64>,
    pub keys: u64,
    pub backspaces: u64,
    pub pastes: u64,
    /// Since the last key.
    pub pause_ms: Option<f64>,
    /// That Enter comes within the next second, 0 to 1.
    pub predicted_submit: Option<f64>,
}

/// The scout's opinion of the text so far. All of it is a prediction.
#[derive(Clone, Debug, Default)]
pub struct ScoutView {
    /// Probability of each of [`Label::ALL`]; `None` before there is text, or without a scout.
    pub predicted: Option<[f32; 3]>,
    /// What spoke for the first of them, in words.
    pub reasons: Vec<String>,
    /// Time that the last look at the text took.
    pub last_us: u64,
}

impl ScoutView {
    /// The likeliest label and its probability.
    pub fn best(&self) -> Option<(Label, f32)> {
        let probabilities = self.predicted?;
        Label::ALL
            .into_iter()
            .zip(probabilities)
            .max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// How much of the typed prompt has been read before Enter.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrefillView {
    /// Tokens of the whole prompt as typed so far (history and template too).
    pub prompt_tokens: usize,
    /// Of those, in the KV cache.
    pub ready_tokens: usize,
}
