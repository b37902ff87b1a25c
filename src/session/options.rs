//! What a session is started with: every default already resolved.

use super::request::Params;
use crate::model::Think;
use crate::plan::{DraftRequest, PlanRequest, TreeSize, Vram};
use crate::speculate::{DrafterOptions, Sampling, bytes_at_start};
use crate::units::Bytes;
use crate::vocabulary::ExpertPolicy;
use std::path::PathBuf;

/// How to run. Made by the command line from flags, environment, file and defaults.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The oracle's GGUF (the first of its parts, for a split one).
    pub oracle: PathBuf,
    /// The model that drafts; without one nothing is guessed but repetitions.
    pub draft: DraftRequest,
    /// The draft loads when the first token is out, not before [`Ready`](super::Event::Ready):
    /// for a session whose first prompt comes at once.
    pub draft_waits: bool,
    /// Whether the scout reads along.
    pub scout: bool,
    /// The most RAM the process may hold; `None` takes what is available less a margin.
    pub ram: Option<Bytes>,
    pub vram: Vram,
    /// Tokens of context; at most what the model was trained for.
    pub ctx_tokens: usize,
    pub threads: usize,
    /// Most nodes of a pass.
    pub tree: TreeSize,
    /// What guesses besides a draft.
    pub drafters: DrafterOptions,
    /// Most answer tokens.
    pub max_tokens: usize,
    /// Answer exactly `max_tokens` tokens, end-of-text or not (benchmarks).
    pub fixed_length: bool,
    /// Whether to think before answering, where the model can.
    pub think: Think,
    /// Most tokens of a thought, after which it is closed by force; `None`: as many as it takes.
    pub think_budget: Option<usize>,
    pub system: String,
    /// The name of a chat template or a Jinja file; `None` takes the model's own.
    pub chat_template: Option<String>,
    /// Work before Enter; a cold baseline turns it off.
    pub anticipate: bool,
    /// Answers depend on model, prompt and sampling alone, also where that takes longer.
    pub exact: bool,
    pub sampling: Sampling,
    /// How the experts of a mixture come and go.
    pub experts: ExpertPolicy,
    /// Where to write down which experts of a mixture are used. Who has the model can find the text
    /// again from that, by trying.
    pub record_routing: Option<PathBuf>,
}

impl EngineOptions {
    /// The part that decides the placement.
    pub fn plan_request(&self) -> PlanRequest<'_> {
        PlanRequest {
            oracle: &self.oracle,
            draft: &self.draft,
            drafters: bytes_at_start(self.drafters),
            ram: self.ram,
            vram: self.vram,
            ctx_tokens: self.ctx_tokens,
            threads: self.threads,
            tree: self.tree,
            exact: self.exact,
            experts: self.experts,
        }
    }

    /// How prompts that are typed are answered, and requests that want nothing else.
    pub fn params(&self) -> Params {
        Params {
            sampling: self.sampling,
            max_tokens: self.max_tokens,
            fixed_length: self.fixed_length,
            think_budget: self.think_budget,
        }
    }
}
