//! The figures of one answer, in the names that `run --json` and bench reports print.

use crate::vocabulary::{ExpertPolicy, Label};
use serde::Serialize;

/// A field that cannot be known is null, never zero.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AnswerStats {
    /// Enter to the first verified token shown, be it of a thought or of the answer.
    pub ttft_ms: Option<f64>,
    /// Enter to the first word of the answer itself, after what was thought; null where there is
    /// none.
    pub first_answer_ms: Option<f64>,
    /// The same prompt with KV and speculation empty and work starting at Enter; null in `run`.
    pub cold_ttft_ms: Option<f64>,
    /// `1 - ttft_ms / cold_ttft_ms`.
    pub hidden_fraction: Option<f64>,
    /// Answer tokens, those of thoughts and markers included.
    pub tokens: u64,
    /// Of those, tokens of thoughts.
    pub thinking_tokens: u64,
    /// Tokens of thoughts after which one was closed by force, as was asked for: the answer follows
    /// from that. Null where none was.
    pub think_cut: Option<u64>,
    /// Answer tokens after those shown first (what was decoded before Enter is shown at once)
    /// over the time since then; null where none came later.
    pub tokens_per_s: Option<f64>,
    /// Oracle passes that the answer used, those before Enter included.
    pub passes: u64,
    /// Answer tokens a pass that yielded answer tokens.
    pub accepted_per_pass: Option<f64>,
    /// Accepted over drafted nodes; null where nothing was drafted.
    pub accept_rate: Option<f64>,
    /// Mean nodes of the trees that were verified.
    pub tree_nodes_mean: Option<f64>,
    /// From disk, for weights and KV, from the first event of the prompt to the answer's end.
    pub bytes_read: u64,
    /// Of those, read for passes whose result was thrown away.
    pub bytes_wasted: u64,
    /// While reading; null where nothing streams.
    pub read_gb_s: Option<f64>,
    /// Compute waiting for weights.
    pub stall_ms: f64,
    /// Shards that were there when needed; null where nothing streams.
    pub prefetch_hit_rate: Option<f64>,
    /// Experts that were in memory when a token of the answer asked for them; null where the model
    /// is no mixture whose experts come and go, or no token asked.
    pub expert_hit_rate: Option<f64>,
    /// Of the same experts, those that would have been in memory if the least recently used had
    /// always left: simulated; null likewise.
    pub expert_lru_hit_rate: Option<f64>,
    /// Of experts, for a token of the answer; null likewise.
    pub expert_bytes_per_token: Option<f64>,
    /// `expert_hit_rate` up to the answer's 16th token; null likewise, and where it has fewer or
    /// all of these came with the prompt's last pass.
    pub expert_hit_rate_first16: Option<f64>,
    /// How experts came and went; null where that was as by default.
    pub expert_policy: Option<ExpertPolicy>,
    pub rss_peak_bytes: Option<u64>,
    /// Fewest and most threads of the CPU that passes were computed with: fewer than asked for
    /// where other programs have the cores. Null where no pass was computed there.
    pub threads_least: Option<usize>,
    pub threads_most: Option<usize>,
    pub scout_label: Option<Label>,
    pub scout_confidence: Option<f32>,
    pub text: String,
    /// What was thought before; null where nothing was.
    pub thinking: Option<String>,
    /// Why the answer ended.
    pub end: AnswerEnd,
    /// Fewest and most tokens in a pass: within it the text does not depend on the tree.
    pub width_class: (usize, usize),
    /// Not even within it: trees of other sizes round logits otherwise. Two answers to one prompt
    /// can then part where two tokens are nearly as likely.
    pub rounded: bool,
    /// Tokens of the prompt, and how many of them were in the cache when its answer began: at
    /// Enter, or when the answers before it had ended.
    pub prompt_tokens: u64,
    pub prompt_tokens_ready: u64,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerEnd {
    /// The model ended it with a token that is for it.
    #[default]
    EndOfText,
    /// The model wrote what its template writes after an answer; it is no part of the text.
    StopString,
    /// The limit of tokens was reached.
    Length,
    /// The user stopped it.
    Stopped,
    /// The context is full.
    ContextFull,
}
