//! The oracle that runs llama.cpp's own graph: over a model that fits in memory, or *hooked*,
//! over weights that come and go while it computes.
//!
//! What llama.cpp keeps of the tokens that were read decides what a pass can be: a tree, over
//! cells ([`Branches`]), or a chain, over a state ([`State`]).
//!
//! Where the memory for experts holds those of a few tokens only, a pass is computed in pieces of
//! as many, one after the other: within a width class that changes no bits.

mod cells;

use super::branches::{self, Branches};
use super::expert_scratch::ExpertScratch;
use super::fed_run::FedRun;
use super::hooked::{Bits, Feed, HookedOptions};
use super::logits::LogitPool;
use super::state::{self, State};
use super::{
    GiveUp, Logits, NodeIdx, OpenError, Oracle, OracleError, PassCost, PassOutput, TokenTree,
    Trees, WidthClass, check_width,
};
use crate::experts::{ExpertCounts, ExpertGuide};
use crate::ggml::Kernels;
use crate::ggml::bare::BareModel;
use crate::ggml::llama::{LlamaError, RunOptions};
use crate::ggml::model::Model;
use crate::kv::CellsFull;
use crate::ledger::Owner;
use crate::model::{Gguf, Outline};
use crate::river::{Plan, Reads};
use crate::telemetry::Hub;
use crate::units::Bytes;
use cells::{CELL_RUN, Cells};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// With fewer cells than this, attention has one order of sums for any number of queries. It
/// changes at 512, and llama.cpp takes cells in runs of 256.
const FEW_CELLS: usize = 256;

/// See the module's text.
pub struct LlamaOracle {
    run: FedRun,
    read: Read,
    n_vocab: usize,
    capacity: usize,
    max_nodes: usize,
    /// Most tokens of a pass over a prompt.
    prompt_width: usize,
    logits: LogitPool,
    /// See [`LlamaOracle::has_one_kernel`].
    one_kernel: bool,
}

/// What the context keeps of the tokens that it has read.
enum Read {
    /// A cell of each.
    Cells(Branches),
    /// A state that all have gone into, and cells too where some layers are of the other kind.
    State(State),
}

impl From<LlamaError> for OracleError {
    fn from(error: LlamaError) -> Self {
        if let LlamaError::Ended = error {
            return Self::GivenUp;
        }
        match error {
            LlamaError::NoNumbers => Self::NoNumbers,
            other => Self::Llama(other),
        }
    }
}

impl LlamaOracle {
    /// A context over a loaded model.
    ///
    /// # Errors
    /// llama.cpp's reason, usually that memory is short.
    pub fn new(
        model: &Arc<Model>,
        ctx_tokens: usize,
        threads: usize,
        max_nodes: usize,
    ) -> Result<Self, LlamaError> {
        let cells = Cells::new(model, ctx_tokens);
        let run = FedRun::resident(model, options(model, cells.all, threads))?;
        Ok(Self::with_run(run, cells.committed, max_nodes))
    }

    /// A context over a model whose layers stream. What stays is read now, and reading the layers
    /// begins; the first pass waits for what has not arrived.
    ///
    /// # Errors
    /// Files that cannot be read, and memory that cannot be had.
    pub fn hooked(
        model: BareModel,
        gguf: &Gguf,
        outline: &Outline,
        setup: HookedOptions,
        hub: &Arc<Hub>,
    ) -> Result<Self, OpenError> {
        Self::hooked_with(
            Reads::from(setup.read_sizes),
            model,
            gguf,
            outline,
            setup,
            hub,
        )
    }

    /// The same with a reader of the caller's choice.
    ///
    /// # Errors
    /// As [`LlamaOracle::hooked`].
    pub fn hooked_with(
        reads: Reads,
        model: BareModel,
        gguf: &Gguf,
        outline: &Outline,
        setup: HookedOptions,
        hub: &Arc<Hub>,
    ) -> Result<Self, OpenError> {
        let model = Rc::new(model);
        let model_takes_wide = !model.model().recurs() && !model.model().is_for_one_sequence();
        let HookedOptions {
            ctx_tokens,
            threads,
            max_nodes,
            plan,
            experts,
            ..
        } = setup;
        let prompt_width = match &experts {
            Some(experts) if model_takes_wide => experts.widest.max(WidthClass::BATCH.max),
            _ => WidthClass::BATCH.max,
        };
        let feed = Feed::start(&model, gguf, outline, plan, experts, reads, hub)?;
        let cells = Cells::new(model.model(), ctx_tokens);
        let options = RunOptions {
            batch: prompt_width,
            ..options(model.model(), cells.all, threads)
        };
        let run = FedRun::hooked(feed, options)?;
        let oracle = Self::with_run(run, cells.committed, max_nodes).knowing(gguf);
        Ok(Self {
            prompt_width,
            ..oracle
        })
    }

    fn with_run(run: FedRun, ctx_tokens: usize, max_nodes: usize) -> Self {
        let model = run.run.model();
        Self {
            n_vocab: model.n_tokens(),
            read: match model.recurs() {
                true => Read::State(State::new()),
                false => Read::Cells(Branches::new(!model.is_for_one_sequence())),
            },
            run,
            capacity: ctx_tokens,
            max_nodes: max_nodes.min(WidthClass::BATCH.max),
            prompt_width: WidthClass::BATCH.max,
            logits: LogitPool::default(),
            one_kernel: false,
        }
    }

    /// Whether the weights of `gguf` are all of types whose kernels are the same for one token as
    /// for a few.
    fn has_one_kernel(gguf: &Gguf) -> bool {
        let mut matrices = gguf.tensors().filter(|t| t.n_dims > 1);
        matrices.all(|t| t.ty.has_one_kernel())
    }

    /// Allows a token to be computed alone where the model in `gguf` gives it the same bits as
    /// among others. Without this call it never is.
    #[must_use]
    pub fn knowing(mut self, gguf: &Gguf) -> Self {
        self.one_kernel = Self::has_one_kernel(gguf);
        self
    }

    /// Has others look after the experts of a mixture. To be called before the first pass.
    #[must_use]
    pub fn guided_by(self, guide: ExpertGuide) -> Self {
        self.run.guide(guide);
        self
    }

    /// Fewest tokens of a pass in `width`.
    fn least(&self, tree: &TokenTree, width: WidthClass) -> usize {
        if self.run.is_mixture() {
            // Steps that would be computed otherwise are computed with plain kernels.
            return width.min;
        }
        // llama.cpp's attention sums in another order, which depends on the number of threads,
        // for a single query over many cells: a single one is padded there.
        let few_cells = self.len() + tree.len() < FEW_CELLS;
        match self.one_kernel && few_cells {
            true => width.min,
            false => width.min.max(2),
        }
    }

    /// Memory of a hooked oracle that is not for layers, by owner, with passes over prompts of
    /// `prompt_width` tokens.
    pub fn other_bytes(
        outline: &Outline,
        ctx_tokens: usize,
        max_nodes: usize,
        prompt_width: usize,
    ) -> [(Owner, Bytes); 3] {
        let context = Self::context_bytes(outline, ctx_tokens, max_nodes);
        let experts = ExpertScratch::of(outline);
        let experts = experts.map_or(0, |of| of.bytes(ctx_tokens, prompt_width));
        [
            (Owner::Context, Bytes(context.0.saturating_add(experts))),
            (Owner::Head, Feed::resident_bytes(outline)),
            (
                Owner::EmbeddingRows,
                Feed::row_bytes(outline, prompt_width.max(WidthClass::BATCH.max)),
            ),
        ]
    }

    /// Where the layers are, if they stream.
    pub fn plan(&self) -> Option<Plan> {
        self.run.river().map(|river| river.plan().clone())
    }

    /// Time that passes have waited for weights, and the part of it for what they demanded.
    fn stalls(&self) -> [Duration; 2] {
        let river = self.run.river();
        river.map_or([Duration::ZERO; 2], |river| {
            [river.stall(), river.demand_stall()]
        })
    }

    /// Memory of the context, apart from the weights: an estimate from the model's shape.
    pub fn context_bytes(outline: &Outline, ctx_tokens: usize, max_nodes: usize) -> Bytes {
        // Numbers of a file, which may be any.
        let product = |factors: &[usize]| {
            let factors = factors.iter().map(|&n| n as u64);
            factors.fold(1, u64::saturating_mul)
        };
        let width = WidthClass::BATCH.max;
        let cells = (ctx_tokens + width).next_multiple_of(CELL_RUN);
        let kv = product(&[cells, outline.n_layer, outline.kv_width, 2 * 2]);
        let states = product(&[state::SEQUENCES, outline.state_len, 4]);
        // llama.cpp sets aside scratch memory for the logits of every token of a batch, and memory
        // for one row of results a sequence; a pass returns a copy of those.
        let copied = max_nodes.min(WidthClass::BATCH.max);
        let logits = product(&[width + branches::SEQUENCES + copied, outline.n_vocab, 4]);
        let parts = [kv, states, logits, 32 << 20];
        Bytes(parts.into_iter().fold(0, u64::saturating_add))
    }

    /// A state has one text: a chain alone goes into it.
    fn check_form(&self, tree: &TokenTree) -> Result<(), OracleError> {
        let nodes = tree.nodes();
        let is_chain = (0..nodes.len()).all(|i| nodes[i].parent == i.checked_sub(1));
        match self.read {
            Read::State(_) if !is_chain => Err(OracleError::TooWide {
                nodes: nodes.len(),
                min: 1,
                max: 1,
            }),
            Read::State(_) | Read::Cells(_) => Ok(()),
        }
    }

    /// Computes `tree`, of no more tokens at a time than the run takes, and writes down its logits.
    fn compute(
        &mut self,
        tree: &TokenTree,
        width: WidthClass,
        logits: &mut Logits,
    ) -> Result<PassCost, OracleError> {
        let least = self.least(tree, width);
        let bits = match (self.trees().round(), width.kernels()) {
            (true, _) => Bits::Rounded,
            (false, Kernels::Plain) => Bits::Plain,
            (false, Kernels::Fastest) => Bits::Batch,
        };
        // A state can lack the end of the text, which is then computed first.
        let (batch, first) = match &mut self.read {
            Read::Cells(branches) => (branches.batch(tree, &mut self.run)?, 0),
            Read::State(state) => state.batch(tree, &mut self.run)?,
        };
        let (began, [stall_before, demand_before]) = (Instant::now(), self.stalls());
        let rows = logits.nodes().iter().map(|node| first + node);
        let rows: Vec<_> = rows.enumerate().collect();
        let mut start = 0;
        for piece in batch.chunks(self.run.widest()) {
            match &mut self.read {
                Read::Cells(branches) => branches.decode(piece, (bits, least), &mut self.run)?,
                Read::State(_) => self.run.decode(piece, piece.len(), bits)?,
            }
            let places = start..start + piece.len();
            for &(row, place) in rows.iter().filter(|(_, place)| places.contains(place)) {
                let found = self.run.run.logits(place - start)?;
                logits.row_mut(row).copy_from_slice(found);
            }
            start = places.end;
        }
        let [stall, demand] = self.stalls();
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Ok(PassCost {
            wall_us: us(began.elapsed()),
            stall_us: us(stall.saturating_sub(stall_before)),
            demand_us: us(demand.saturating_sub(demand_before)),
            stream_us: self.run.river().map_or(0, |river| river.lap_us()),
            threads: self.run.run.take_threads_used(),
        })
    }

    /// Nothing of a pass that failed is kept.
    fn has_failed(&mut self) {
        match &mut self.read {
            Read::Cells(branches) => branches.drop_uncommitted(&mut self.run),
            Read::State(state) => state.has_failed(),
        }
    }
}

impl Oracle for LlamaOracle {
    fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn len(&self) -> usize {
        match &self.read {
            Read::Cells(branches) => branches.len,
            Read::State(state) => state.len(),
        }
    }

    fn max_nodes(&self) -> usize {
        self.max_nodes
    }

    /// A kept branch stays in whatever cells llama.cpp found for it, and sums follow the order of
    /// cells.
    fn trees(&self) -> Trees {
        match &self.read {
            Read::Cells(branches) if branches.fork() => Trees::Chains,
            Read::Cells(_) | Read::State(_) => Trees::RoundedChains,
        }
    }

    fn prompt_width(&self) -> usize {
        self.prompt_width
    }

    fn pass(&mut self, tree: &TokenTree, width: WidthClass) -> Result<PassOutput, OracleError> {
        check_width(tree, width, self.prompt_width)?;
        if self.len() + tree.len() > self.capacity {
            return Err(CellsFull {
                capacity: self.capacity,
                needed: tree.len(),
            }
            .into());
        }
        self.check_form(tree)?;
        let mut logits = Logits::for_tree(tree, self.n_vocab, &self.logits);
        let computed = self.compute(tree, width, &mut logits);
        if computed.is_err() {
            self.has_failed();
        }
        Ok(PassOutput {
            logits,
            hidden: None,
            cost: computed?,
        })
    }

    fn use_idle_time(&mut self) -> Result<bool, OracleError> {
        self.run.use_idle_time()
    }

    fn give_up_when(&mut self, outdated: Option<GiveUp>) {
        // llama.cpp does not say how much of a graph is done.
        self.run.run.end_when(
            outdated.map(|outdated| -> Box<dyn Fn() -> bool> { Box::new(move || outdated(0.0)) }),
        );
    }

    fn commit(&mut self, path: &[NodeIdx]) {
        match &mut self.read {
            Read::Cells(branches) => branches.commit(path, &mut self.run),
            // A path of a chain is its beginning.
            Read::State(state) => state.commit(path.len()),
        }
    }

    fn truncate(&mut self, len: usize) {
        match &mut self.read {
            Read::Cells(branches) => branches.truncate(len, &mut self.run),
            Read::State(state) => state.truncate(len, &mut self.run),
        }
    }

    fn ready(&self, len: usize) -> usize {
        match &self.read {
            Read::Cells(branches) => len.min(branches.len),
            Read::State(state) => state.ready(len),
        }
    }

    fn bytes_read(&self) -> u64 {
        self.run
            .river()
            .map_or(0, |river| river.counters().all_bytes())
    }

    fn reading_us(&self) -> u64 {
        self.run
            .river()
            .map_or(0, |river| river.counters().reading_us())
    }

    fn hits_and_misses(&self) -> (u64, u64) {
        self.run
            .river()
            .map_or((0, 0), |river| river.hits_and_misses())
    }

    fn experts(&self) -> Option<ExpertCounts> {
        self.run.experts()
    }

    fn streams(&self) -> bool {
        self.run
            .river()
            .is_some_and(|river| river.plan().streamed_bytes > 0)
    }
}

fn options(model: &Model, ctx_tokens: usize, threads: usize) -> RunOptions {
    RunOptions {
        ctx_tokens,
        batch: WidthClass::BATCH.max,
        sequences: match (model.recurs(), model.is_for_one_sequence()) {
            // A sequence costs a state.
            (true, _) => state::SEQUENCES,
            (_, true) => 1,
            _ => branches::SEQUENCES,
        },
        threads,
    }
}
