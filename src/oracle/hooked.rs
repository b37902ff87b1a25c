//! Weights for llama.cpp's graph that come and go while it computes.
//!
//! ```text
//!  step asked for     reads a layer's weights       first of its layer: give the layer before
//!                                                   back, take this one, place its weights
//!                     -> computed at once
//!                     makes whole numbers           -> computed at once, if there are experts
//!                     multiplies by experts         hold those that its numbers name
//!                     looks up rows                 read these rows into the table
//!                     reads what stays, or nothing  -> computed together with the next
//! ```
//!
//! Every step that reads weights of a layer that comes and goes is computed before the next step
//! is asked for. When a step of another layer comes, nothing that is still to be computed can
//! therefore need the layer before: that holds for any graph, whatever its names or its shape.
//! Weights that are used out of the layers' order are waited for one round of the ring longer.
//!
//! Which experts a step multiplies by is known when the step that chose them has been computed.
//! Choices are whole numbers, whatever else a graph does: so every step that makes such is
//! computed at once, and experts that were held until then may leave. From [`TILED_ROWS`] rows of
//! a pass for one expert on ggml has other kernels, so that a token's bits would depend on what
//! others choose: such steps are computed apart, by the kernels that the pass's [`Bits`] are of. So
//! are, in passes over a few tokens, those whose sums are others for one token, which need not be
//! padded, and attention of many: a mixture's prompt is read in passes as wide as memory allows, since
//! all of them read nearly the same experts.
//!
//! After a failed read the pass ends, and its result is thrown away; so it does after a choice among
//! what are no numbers, which need not show in the result.

mod places;

use super::pass_rows::PassRows;
use super::{OpenError, OracleError, WidthClass};
use crate::experts::{
    ExpertBoard, ExpertCounts, ExpertGuide, ExpertPlan, ExpertStore, Mixture, Recorder, TableIdx,
};
use crate::ggml::TILED_ROWS;
use crate::ggml::bare::{BareModel, WeightIdx};
use crate::ggml::hook::{Hook, Reads as StepReads, Step, Then, Use};
use crate::model::{Gguf, Outline};
use crate::river::{
    HostSupply, Plan, ReadSizes, Reads, River, RiverError, Setup, Shard, ShardIdx, WeightMemory,
    WeightSupply, catalogue_by_layer,
};
use crate::telemetry::Hub;
use crate::units::Bytes;
use places::{RowTable, padded, place_experts, place_resident};
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes of experts that are read at a time while nothing is asked for. A key is heard after them:
/// some milliseconds, on a disk of 100 MB/s a tenth of a second.
const FILL_BYTES: usize = 8 << 20;

/// How a hooked oracle is set up.
#[derive(Clone, Debug)]
pub struct HookedOptions {
    pub ctx_tokens: usize,
    pub threads: usize,
    /// See [`Oracle::max_nodes`](super::Oracle::max_nodes).
    pub max_nodes: usize,
    /// Which layers stay and which stream, of those that [`catalogue_by_layer`] lists.
    pub plan: Plan,
    /// Memory for routed experts; `None`: for as many as there are.
    pub experts: Option<ExpertPlan>,
    pub read_sizes: ReadSizes,
}

/// Whose bits a pass over a mixture has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bits {
    /// Of [`Kernels::Plain`](crate::ggml::Kernels::Plain), at any width.
    Plain,
    /// Of [`WidthClass::BATCH`]: of kernels for many rows, however few tokens choose an expert.
    Batch,
    /// Nobody counts on the same ones, but for experts.
    Rounded,
}

/// Where a weight's bytes are.
#[derive(Clone, Copy, Debug)]
enum Home {
    Resident,
    Shard(ShardIdx),
    Rows(usize),
    Experts(TableIdx),
}

/// See the module's text.
pub(super) struct Feed {
    model: Rc<BareModel>,
    supply: HostSupply,
    shards: Arc<Vec<Shard>>,
    /// By weight.
    homes: Vec<Home>,
    /// By shard: its weights, in the order of its tensors.
    weights: Vec<Vec<WeightIdx>>,
    tables: Vec<RowTable>,
    /// It has experts, whether they come and go one by one or with their layer: then what a step
    /// computes for a token must not depend on the others.
    is_mixture: bool,
    /// In a mixture whose experts come and go one by one.
    experts: Option<ExpertStore>,
    board: Option<ExpertBoard>,
    /// Experts that a token uses in a layer.
    used: usize,
    recorder: Option<Rc<RefCell<Recorder>>>,
    /// Of the pass at hand.
    rows: PassRows,
    widest: usize,
    /// Of the pass at hand.
    bits: Bits,
    held: Option<ShardIdx>,
    failure: Option<OracleError>,
}

impl Feed {
    /// Reads what stays, and starts to read layers.
    pub(super) fn start(
        model: &Rc<BareModel>,
        gguf: &Gguf,
        outline: &Outline,
        plan: Plan,
        experts: Option<ExpertPlan>,
        reads: Reads,
        hub: &Arc<Hub>,
    ) -> Result<Self, OpenError> {
        let files: Vec<PathBuf> = gguf.files.iter().map(|f| f.path.clone()).collect();
        let shards = catalogue_by_layer(&outline.layers);
        let find = |tensor: &str| {
            let found = model.find(tensor);
            found.ok_or_else(|| OracleError::Graph(format!("llama.cpp does not use {tensor}")))
        };
        let mut homes = vec![None; model.len()];
        place_resident(model, outline, &files, |tensor| {
            let weight = find(tensor)?;
            homes[weight.0] = Some(Home::Resident);
            Ok(weight)
        })?;
        let mut tables = Vec::new();
        for info in &outline.rows {
            let weight = find(&info.name)?;
            homes[weight.0] = Some(Home::Rows(tables.len()));
            let table = RowTable::open(info, &files[info.file])?;
            model.place(weight, &table.region);
            tables.push(table);
        }
        let mut weights = Vec::with_capacity(shards.len());
        for (shard, index) in shards.iter().zip((0..).map(ShardIdx)) {
            let of_shard = shard
                .tensors
                .iter()
                .map(|t| find(&t.name))
                .collect::<Result<Vec<_>, _>>()?;
            for weight in &of_shard {
                homes[weight.0] = Some(Home::Shard(index));
            }
            weights.push(of_shard);
        }
        let mixture = Mixture::of(outline);
        let used = mixture.as_ref().map_or(1, |mixture| mixture.used);
        let experts = mixture.map(|mixture| {
            let plan = experts.unwrap_or_else(|| mixture.plan_for_all(WidthClass::BATCH.max));
            let store = place_experts(model, mixture, plan.bytes, |tensor, table| {
                let weight = find(tensor)?;
                homes[weight.0] = Some(Home::Experts(table));
                Ok(weight)
            })?;
            let board = ExpertBoard::new(Arc::clone(hub), &store, &plan);
            Ok::<_, OpenError>((store, (board, plan.widest)))
        });
        let (experts, shown) = experts.transpose()?.unzip();
        let (board, widest) = shown.unzip();
        let homes = homes
            .into_iter()
            .zip((0..).map(WeightIdx))
            .map(|(home, weight)| {
                home.ok_or_else(|| {
                    let name = model.name(weight);
                    OracleError::Graph(format!("{name} is not in the file"))
                })
            })
            .collect::<Result<_, _>>()?;
        let supply = HostSupply::start(Setup {
            files,
            shards,
            plan,
            reads,
            memory: WeightMemory::Host,
            hub: Arc::clone(hub),
        })?;
        Ok(Self {
            model: Rc::clone(model),
            shards: Arc::clone(supply.river().shards()),
            supply,
            homes,
            weights,
            tables,
            is_mixture: outline.is_mixture(),
            experts,
            board,
            used,
            recorder: None,
            rows: PassRows::default(),
            widest: widest.unwrap_or(WidthClass::BATCH.max).max(1),
            bits: Bits::Rounded,
            held: None,
            failure: None,
        })
    }

    /// Bytes of the tensors that stay.
    pub(super) fn resident_bytes(outline: &Outline) -> Bytes {
        let sizes = outline.resident.iter().map(|t| padded(t) as u64);
        Bytes(sizes.sum::<u64>().next_multiple_of(2 << 20))
    }

    /// The most that rows take in a pass of `tokens` tokens.
    pub(super) fn row_bytes(outline: &Outline, tokens: usize) -> Bytes {
        let page = crate::io::BLOCK as u64;
        // A row that is no whole pages long begins in one and ends in another.
        let rows = outline.rows.iter();
        let pages = rows.map(|t| (t.row_bytes().div_ceil(page) + 1) * page);
        Bytes(pages.sum::<u64>() * tokens as u64)
    }

    pub(super) fn model(&self) -> &Rc<BareModel> {
        &self.model
    }

    pub(super) fn river(&self) -> &River {
        self.supply.river()
    }

    /// Most different tokens of a pass, whose experts in a layer are all here at once.
    pub(super) fn widest(&self) -> usize {
        self.widest
    }

    pub(super) fn is_mixture(&self) -> bool {
        self.is_mixture
    }

    /// What has been asked for of experts, in a mixture.
    pub(super) fn experts(&self) -> Option<ExpertCounts> {
        self.experts.as_ref().map(ExpertStore::counts)
    }

    /// To be called before the first pass.
    pub(super) fn guide(&mut self, guide: ExpertGuide) {
        if let Some(experts) = &mut self.experts {
            experts.evict_by(guide.eviction);
            self.recorder = guide.recorder;
        }
    }

    /// Reads a few experts between passes, where memory for them is free. Whether there may be more
    /// to read.
    pub(super) fn use_idle_time(&mut self) -> Result<bool, OracleError> {
        let Some(experts) = self.experts.as_mut().filter(|experts| !experts.is_filled()) else {
            return Ok(false);
        };
        let river = self.supply.river();
        river.begin_pass()?;
        // Every token needs these.
        if river.wait_for_one_that_stays()? {
            return Ok(true);
        }
        let supply = &mut self.supply;
        Ok(experts.fill(FILL_BYTES, |demands| supply.fetch(demands))?)
    }

    /// To be called before each pass. In a mixture it is seen to here that it has these `bits`.
    pub(super) fn begin(&mut self, rows: PassRows, bits: Bits) -> Result<(), OracleError> {
        self.failure = None;
        self.bits = bits;
        self.rows = rows;
        if let Some(recorder) = &self.recorder {
            recorder.borrow_mut().begin_pass(rows.tokens());
        }
        if let Some(experts) = &mut self.experts {
            experts.begin_pass();
        }
        Ok(self.river().begin_pass()?)
    }

    /// To be called after each pass, also one that was not `computed`; returns what went wrong with
    /// its weights.
    pub(super) fn end(&mut self, computed: bool) -> Result<(), OracleError> {
        if let Some(recorder) = &self.recorder
            && computed
            && self.failure.is_none()
        {
            recorder.borrow_mut().end_pass();
        }
        self.let_go();
        if let Some(experts) = &mut self.experts {
            experts.computed();
            if let Some(board) = &mut self.board {
                board.pass_ended(experts, self.rows.tokens());
            }
        }
        for table in &self.tables {
            table.region.discard();
        }
        let ended = self.river().end_pass();
        self.failure.take().map_or(Ok(()), Err)?;
        Ok(ended?)
    }

    fn let_go(&mut self) {
        if let Some(shard) = self.held.take() {
            if !self.stays(shard) {
                for &weight in &self.weights[shard.0] {
                    self.model.withdraw(weight);
                }
            }
            self.supply.give(shard);
        }
    }

    fn hold(&mut self, shard: ShardIdx) -> Result<(), RiverError> {
        if self.held == Some(shard) {
            return Ok(());
        }
        self.let_go();
        let region = self.supply.take(shard)?;
        self.held = Some(shard);
        let tensors = &self.shards[shard.0].tensors;
        for (&weight, placed) in self.weights[shard.0].iter().zip(tensors) {
            self.model
                .place(weight, &region.part(placed.at, placed.bytes));
        }
        Ok(())
    }

    /// Whether a layer never leaves: nothing need be computed before the next one comes.
    fn stays(&self, shard: ShardIdx) -> bool {
        self.river().plan().pinned[shard.0]
    }

    /// Puts in place what `step` reads; says when the step must be computed.
    fn provide(&mut self, step: &Step<'_>) -> Result<Then, OracleError> {
        let mut then = match self.is_mixture {
            true if self.bits == Bits::Plain && step.differs_for_one() => Then::StopPlain,
            true if step.differs_for_many() => Then::StopPlain,
            true if step.makes_numbers() => Then::Stop,
            _ => Then::GoOn,
        };
        let mut of_layer = None;
        for Use { weight, reads } in step.uses() {
            let cannot = |what: &str| {
                let (step, name) = (step.name(), self.model.name(weight));
                OracleError::Graph(format!(
                    "step {step} of the graph reads all of {name}, {what}"
                ))
            };
            match (self.homes[weight.0], reads) {
                (Home::Resident, _) => {}
                (Home::Rows(table), StepReads::Rows(rows)) => {
                    let mut rows = rows.into_iter();
                    rows.try_for_each(|row| self.tables[table].fetch(row))?;
                }
                (Home::Rows(_), _) => return Err(cannot("not rows of it")),
                (Home::Experts(table), StepReads::Matrices(ids)) => {
                    self.hold_experts(table, &ids)?;
                    then = then.max(self.by_rows(step, ids));
                }
                (Home::Experts(_), _) => return Err(cannot("not experts of it")),
                (Home::Shard(shard), reads) => {
                    if of_layer.is_some_and(|other| other != shard) {
                        return Err(OracleError::Graph(format!(
                            "step {} of the graph reads weights of two layers",
                            step.name()
                        )));
                    }
                    of_layer = Some(shard);
                    self.hold(shard)?;
                    if !self.stays(shard) {
                        then = then.max(Then::Stop);
                    }
                    if let StepReads::Matrices(ids) = reads {
                        then = then.max(self.by_rows(step, ids));
                    }
                }
            }
        }
        // In a graph without experts the numbers may not be known yet.
        if self.is_mixture
            && let Some(number) = step.looks_past_the_end()
        {
            let step = step.name();
            return Err(OracleError::Lookup { step, number });
        }
        Ok(then)
    }

    /// Sees to it that these experts are here until they have been computed with.
    fn hold_experts(&mut self, table: TableIdx, ids: &[i32]) -> Result<(), OracleError> {
        if let Some(experts) = &mut self.experts {
            let supply = &mut self.supply;
            let counted = self.rows.tokens_of(ids.len() / self.used) * self.used;
            experts.hold(table, ids, counted, |demands| supply.demand(demands))?;
            if let Some(recorder) = &self.recorder {
                recorder.borrow_mut().chose(table, &ids[..counted]);
            }
        }
        Ok(())
    }

    /// How the products with these experts are computed, where ggml chooses the kernel of each by
    /// how often it is named.
    fn by_rows(&self, step: &Step<'_>, mut ids: Vec<i32>) -> Then {
        // In a graph without experts the numbers may not be known yet.
        if !self.is_mixture || !step.differs_by_rows() {
            return Then::GoOn;
        }
        ids.sort_unstable();
        let is_tiled = |run: &[i32]| run.len() >= TILED_ROWS;
        let mut runs = ids.chunk_by(|a, b| a == b);
        match self.bits {
            Bits::Batch if !runs.all(is_tiled) => Then::StopTiled,
            Bits::Plain | Bits::Rounded if runs.any(is_tiled) => Then::StopPlain,
            _ => Then::GoOn,
        }
    }
}

impl Hook for Feed {
    fn before(&mut self, step: &Step<'_>) -> Then {
        if self.failure.is_none() {
            match self.provide(step) {
                Ok(then) => return then,
                Err(error) => self.failure = Some(error),
            }
        }
        // Not computed, since its weights are not there, or experts that it names; `after` ends
        // the pass.
        Then::Skip
    }

    fn after(&mut self, step: &Step<'_>) -> bool {
        if let Some(experts) = &mut self.experts {
            experts.computed();
        }
        if self.is_mixture && self.failure.is_none() && step.chose_among_no_numbers() {
            self.failure = Some(OracleError::NoNumbers);
        }
        self.failure.is_none()
    }
}
