//! The oracle that runs llama.cpp's own graph: over a model that fits in memory, or *hooked*,
//! over weights that come and go while it computes.
//!
//! A tree's branches are llama.cpp's sequences: sequence 0 holds what is committed, each leaf
//! gets one that shares it, and a node belongs to the sequences of all leaves below it.
//!
//! Padding repeats a token of the pass, each in a sequence of its own that shares all before that
//! token: it computes the same, so that in a mixture it needs no experts of its own.
//!
//! Where the memory for experts holds those of a few tokens only, a pass is computed in pieces of
//! as many, one after the other: within a width class that changes no bits.

use super::hooked::{Feed, HookedOptions};
use super::logits::LogitPool;
use super::{
    GiveUp, Logits, NodeIdx, Oracle, OracleError, PassCost, PassOutput, TokenTree, Trees,
    WidthClass, check_width,
};
use crate::experts::ExpertCounts;
use crate::ggml::bare::BareModel;
use crate::ggml::hook::Hook;
use crate::ggml::llama::{BatchToken, Hooks, LlamaError, LlamaRun, RunOptions};
use crate::ggml::model::Model;
use crate::kv::CellsFull;
use crate::ledger::Owner;
use crate::model::{Gguf, Outline};
use crate::river::{Plan, Reads, River};
use crate::telemetry::Hub;
use crate::units::Bytes;
use std::cell::{Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most leaves of a tree. Sequence 0 is the committed text, and the last ones are padding.
const MAX_LEAVES: usize = 56;
const PADDING: i32 = MAX_LEAVES as i32 + 1;
const MAX_PADDING: usize = WidthClass::BATCH.min - 1;
const SEQUENCES: usize = 1 + MAX_LEAVES + MAX_PADDING;

/// With fewer cells than this, attention has one order of sums for any number of queries. It
/// changes at 512, and llama.cpp takes cells in runs of 256.
const FEW_CELLS: usize = 256;
/// llama.cpp rounds a context up to whole runs of so many tokens.
const CELL_RUN: usize = 256;

/// See the module's text.
pub struct LlamaOracle {
    run: LlamaRun<Hooks>,
    /// Where weights come from, if they stream.
    feed: Option<Rc<RefCell<Feed>>>,
    n_vocab: usize,
    capacity: usize,
    max_nodes: usize,
    /// Most tokens that are computed at a time.
    widest: usize,
    logits: LogitPool,
    len: usize,
    /// The sequence that each node of the last pass lies in (one of them).
    sequence_of: Vec<i32>,
    leaves: i32,
    /// See [`LlamaOracle::has_one_kernel`].
    one_kernel: bool,
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
        let run = LlamaRun::new(Arc::clone(model), options(cells.all, threads))?;
        Ok(Self::with_run(run, None, cells.committed, max_nodes))
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
    ) -> anyhow::Result<Self> {
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
    ) -> anyhow::Result<Self> {
        let model = Rc::new(model);
        let HookedOptions {
            ctx_tokens,
            threads,
            max_nodes,
            plan,
            experts,
            ..
        } = setup;
        let experts = Feed::experts_of(outline, experts);
        let widest = experts.as_ref().map(|(_, plan)| plan.widest.max(1));
        let feed = Feed::start(&model, gguf, outline, plan, experts, reads, hub)?;
        let feed = Rc::new(RefCell::new(feed));
        let hook: Rc<RefCell<dyn Hook>> = Rc::<RefCell<Feed>>::clone(&feed);
        let cells = Cells::new(model.model(), ctx_tokens);
        let run = LlamaRun::hooked(&model, options(cells.all, threads), hook)?;
        let mut oracle = Self::with_run(run, Some(feed), cells.committed, max_nodes);
        oracle.widest = widest.unwrap_or(oracle.widest).min(oracle.widest);
        Ok(oracle.knowing(gguf))
    }

    fn with_run(
        run: LlamaRun<Hooks>,
        feed: Option<Rc<RefCell<Feed>>>,
        ctx_tokens: usize,
        max_nodes: usize,
    ) -> Self {
        Self {
            n_vocab: run.model().n_tokens(),
            run,
            feed,
            capacity: ctx_tokens,
            max_nodes: max_nodes.min(WidthClass::BATCH.max),
            widest: WidthClass::BATCH.max,
            logits: LogitPool::default(),
            len: 0,
            sequence_of: Vec::new(),
            leaves: 0,
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

    /// Fewest tokens of a pass in `width`.
    fn least(&self, tree: &TokenTree, width: WidthClass) -> usize {
        if self.experts().is_some() {
            // Steps that would be computed otherwise are computed with plain kernels.
            return width.min;
        }
        // llama.cpp's attention sums in another order, which depends on the number of threads,
        // for a single query over many cells: a single one is padded there.
        let few_cells = self.len + tree.len() < FEW_CELLS;
        match self.one_kernel && few_cells {
            true => width.min,
            false => width.min.max(2),
        }
    }

    /// Memory of a hooked oracle that is not for layers, by owner.
    pub fn other_bytes(
        outline: &Outline,
        ctx_tokens: usize,
        max_nodes: usize,
    ) -> [(Owner, Bytes); 3] {
        let context = Self::context_bytes(
            outline.n_layer,
            outline.kv_width,
            outline.n_vocab,
            ctx_tokens,
            max_nodes,
        );
        [
            (Owner::Context, context),
            (Owner::Head, Feed::resident_bytes(outline)),
            (
                Owner::EmbeddingRows,
                Feed::row_bytes(outline, WidthClass::BATCH.max),
            ),
        ]
    }

    /// Where the layers are, if they stream.
    pub fn plan(&self) -> Option<Plan> {
        self.river().map(|river| river.plan().clone())
    }

    fn river(&self) -> Option<Ref<'_, River>> {
        let feed = self.feed.as_ref()?;
        Some(Ref::map(feed.borrow(), Feed::river))
    }

    /// Time that passes have waited for weights, and the part of it for what they demanded.
    fn stalls(&self) -> [Duration; 2] {
        let river = self.river();
        river.map_or([Duration::ZERO; 2], |river| {
            [river.stall(), river.demand_stall()]
        })
    }

    /// Decodes; where that fails, nothing of the batch is kept.
    fn decode(&mut self, batch: &[BatchToken], width: WidthClass) -> Result<(), OracleError> {
        if let Some(feed) = &self.feed {
            feed.borrow_mut().begin(width.kernels())?;
        }
        let decoded = self.run.decode(batch).map_err(OracleError::from);
        let fed = match &self.feed {
            Some(feed) => feed.borrow_mut().end(),
            None => Ok(()),
        };
        if let (Err(OracleError::GivenUp), Some(river)) = (&decoded, self.river()) {
            river.rewind();
        }
        // A decode that had no weights fails, or its result is of no use.
        let result = fed.and(decoded);
        if result.is_err() {
            self.drop_branches();
        }
        result
    }

    /// Memory of the context, apart from the weights: an estimate from the model's shape.
    pub fn context_bytes(
        n_layer: usize,
        kv_width: usize,
        n_vocab: usize,
        ctx_tokens: usize,
        max_nodes: usize,
    ) -> Bytes {
        let width = WidthClass::BATCH.max;
        let cells = (ctx_tokens + width).next_multiple_of(256);
        let kv = cells * n_layer * kv_width * 2 * 2;
        // llama.cpp sets aside scratch memory for the logits of every token of a batch, and memory
        // for one row of results a sequence; a pass returns a copy of those.
        let copied = max_nodes.min(WidthClass::BATCH.max);
        let logits = (width + SEQUENCES + copied) * n_vocab * 4;
        Bytes((kv + logits + (32 << 20)) as u64)
    }

    /// Computes `nodes` of a tree, of which those before have been computed, in `width` and at
    /// least so many tokens, and writes down their logits.
    fn compute(
        &mut self,
        nodes: std::ops::Range<usize>,
        batch: &mut Vec<BatchToken>,
        (width, least): (WidthClass, usize),
        logits: &mut Logits,
    ) -> Result<(), OracleError> {
        let padding = least.saturating_sub(batch.len());
        let Some(first) = batch.first().cloned() else {
            return Ok(());
        };
        for sequence in (PADDING..).take(padding) {
            self.run
                .share(first.sequences[0], sequence, 0, first.position);
            batch.push(BatchToken {
                sequences: vec![sequence],
                logits: false,
                ..first.clone()
            });
        }
        let wanted: Vec<_> = logits.nodes().iter().copied().enumerate().collect();
        let wanted = wanted.into_iter().filter(|(_, node)| nodes.contains(node));
        let wanted: Vec<_> = wanted.collect();
        // llama.cpp computes the last layer and the head only for tokens that want logits:
        // these make a batch of their own, which must be of the same width class.
        let missing = match wanted.len() {
            0 => 0,
            wanted => least.saturating_sub(wanted),
        };
        for token in batch.iter_mut().rev().filter(|t| !t.logits).take(missing) {
            token.logits = true;
        }
        self.decode(batch, width)?;
        (PADDING..)
            .take(padding)
            .for_each(|sequence| self.run.forget(sequence, 0));
        for (row, node) in wanted {
            let found = self.run.logits(node - nodes.start)?;
            logits.row_mut(row).copy_from_slice(found);
        }
        Ok(())
    }

    /// Ends the sequences of the last pass's branches.
    fn drop_branches(&mut self) {
        for sequence in (PADDING..).take(MAX_PADDING) {
            self.run.forget(sequence, 0);
        }
        self.run.forget(0, self.len);
        for sequence in 1..=self.leaves {
            self.run.forget(sequence, 0);
        }
        self.leaves = 0;
    }

    /// The sequences of every node: those of the leaves at or below it.
    fn sequences(&mut self, tree: &TokenTree) -> Result<Vec<Vec<i32>>, OracleError> {
        let n = tree.len();
        let mut has_child = vec![false; n];
        for node in tree.nodes() {
            if let Some(parent) = node.parent {
                has_child[parent] = true;
            }
        }
        let leaves: Vec<_> = (0..n).filter(|&i| !has_child[i]).collect();
        let mut of = vec![Vec::new(); n];
        if let [leaf] = leaves[..] {
            // A chain needs no branch.
            tree.ancestry(leaf).for_each(|node| of[node].push(0));
        } else {
            if leaves.len() > MAX_LEAVES {
                return Err(OracleError::TooWide {
                    nodes: leaves.len(),
                    min: 1,
                    max: MAX_LEAVES,
                });
            }
            for (sequence, &leaf) in (1..).zip(&leaves) {
                self.run.share(0, sequence, 0, self.len);
                tree.ancestry(leaf).for_each(|node| of[node].push(sequence));
                self.leaves = sequence;
            }
        }
        self.sequence_of = of.iter().map(|s| s[0]).collect();
        Ok(of)
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
        self.len
    }

    fn max_nodes(&self) -> usize {
        self.max_nodes
    }

    /// A kept branch stays in whatever cells llama.cpp found for it, and sums follow the order of
    /// cells.
    fn trees(&self) -> Trees {
        Trees::Chains
    }

    fn pass(&mut self, tree: &TokenTree, width: WidthClass) -> Result<PassOutput, OracleError> {
        check_width(tree, width, WidthClass::BATCH.max)?;
        if self.len + tree.len() > self.capacity {
            return Err(CellsFull {
                capacity: self.capacity,
                needed: tree.len(),
            }
            .into());
        }
        let began = Instant::now();
        let [stall_before, demand_before] = self.stalls();
        self.drop_branches();
        let sequences = self.sequences(tree)?;
        let tokens = tree.nodes().iter().zip(sequences).enumerate();
        let tokens = tokens.map(|(i, (node, sequences))| BatchToken {
            token: node.token.0,
            position: self.len + tree.depth(i),
            sequences,
            logits: node.logits,
        });
        let tokens: Vec<_> = tokens.collect();
        let least = self.least(tree, width);
        let mut logits = Logits::for_tree(tree, self.n_vocab, &self.logits);
        let mut start = 0;
        for piece in tokens.chunks(self.widest) {
            let nodes = start..start + piece.len();
            start = nodes.end;
            let computed = self.compute(nodes, &mut piece.to_vec(), (width, least), &mut logits);
            if computed.is_err() {
                self.drop_branches();
            }
            computed?;
        }
        let [stall, demand] = self.stalls();
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Ok(PassOutput {
            logits,
            hidden: None,
            cost: PassCost {
                wall_us: us(began.elapsed()),
                stall_us: us(stall.saturating_sub(stall_before)),
                demand_us: us(demand.saturating_sub(demand_before)),
                stream_us: self.river().map_or(0, |river| river.lap_us()),
                threads: self.run.take_threads_used(),
            },
        })
    }

    fn give_up_when(&mut self, outdated: Option<GiveUp>) {
        // llama.cpp does not say how much of a graph is done.
        self.run.end_when(
            outdated.map(|outdated| -> Box<dyn Fn() -> bool> { Box::new(move || outdated(0.0)) }),
        );
    }

    fn commit(&mut self, path: &[NodeIdx]) {
        let len = self.len + path.len();
        if let Some(&last) = path.last()
            && self.sequence_of[last] != 0
        {
            self.run.share(self.sequence_of[last], 0, self.len, len);
        }
        self.len = len;
        self.drop_branches();
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.drop_branches();
    }

    fn bytes_read(&self) -> u64 {
        self.river().map_or(0, |river| {
            let counters = river.counters();
            counters.bytes() + counters.demanded_bytes()
        })
    }

    fn reading_us(&self) -> u64 {
        self.river()
            .map_or(0, |river| river.counters().busy_ns() / 1000)
    }

    fn hits_and_misses(&self) -> (u64, u64) {
        self.river().map_or((0, 0), |river| river.hits_and_misses())
    }

    fn experts(&self) -> Option<ExpertCounts> {
        self.feed.as_ref()?.borrow().experts()
    }

    fn streams(&self) -> bool {
        self.river()
            .is_some_and(|river| river.plan().streamed_bytes > 0)
    }
}

/// How many tokens a context holds, and how many of them can be committed: the rest is for the
/// padding of passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cells {
    all: usize,
    committed: usize,
}

impl Cells {
    fn new(model: &Model, ctx_tokens: usize) -> Self {
        let arch = model.metadata("general.architecture");
        let key = arch.map(|arch| format!("{arch}.rope.scaling.original_context_length"));
        let original = key.and_then(|key| model.metadata(&key));
        Self::within(ctx_tokens, original.and_then(|n| n.parse().ok()))
    }

    /// A model may rotate differently in a context that is longer than its `original` one. Padding
    /// must not make a context that long.
    fn within(ctx_tokens: usize, original: Option<usize>) -> Self {
        let padding = WidthClass::BATCH.max;
        let padded = (ctx_tokens + padding).next_multiple_of(CELL_RUN);
        match original {
            Some(original)
                if ctx_tokens <= original && padded > original && original >= 2 * CELL_RUN =>
            {
                let all = original / CELL_RUN * CELL_RUN;
                Self {
                    all,
                    committed: ctx_tokens.min(all - padding),
                }
            }
            _ => Self {
                all: ctx_tokens + padding,
                committed: ctx_tokens,
            },
        }
    }
}

fn options(ctx_tokens: usize, threads: usize) -> RunOptions {
    RunOptions {
        ctx_tokens,
        batch: WidthClass::BATCH.max,
        sequences: SEQUENCES,
        threads,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_makes_no_context_longer_than_the_original_one() {
        let cells = |ctx, original| {
            let cells = Cells::within(ctx, original);
            (cells.all, cells.committed)
        };
        assert_eq!(cells(4096, None), (4159, 4096));
        assert_eq!(cells(4096, Some(4096)), (4096, 4033));
        assert_eq!(cells(4000, Some(4096)), (4063, 4000));
        assert_eq!(cells(2048, Some(4096)), (2111, 2048));
        assert_eq!(cells(4097, Some(4096)), (4160, 4097));
        assert_eq!(cells(300, Some(300)), (363, 300));
    }
}
