//! The oracle that computes a model layer by layer over weights that come and go.
//!
//! ```text
//!  embedding rows (read one by one) -> x [n_embd, n]
//!  for each layer:  take(Attention)       x += attention(norm(x));  K, V -> cells
//!                   take(FeedForwardUp)   act = swiglu(norm(x))
//!                   take(FeedForwardDown) x += down(act)
//!  for each block of the head: logits[rows] = block * norm(x of the nodes that want them)
//! ```
//!
//! Weights come from a [`WeightSupply`]: memory that the CPU computes in, or a [`Window`] of a
//! device's memory. On a device the same steps are queued one after the other, and only logits are
//! waited for.
//!
//! Each step has a graph of its own, built for every pass over the same few activations, so that
//! computing a part of a layer begins when that part has arrived.

mod activations;
mod feed_forward_inputs;
mod graphs;
mod head;
mod memory;
mod probe;
mod scatter;
mod staging;
mod steps;
mod weights;

pub use probe::{PassShape, ProbeOptions, StepTimes};

use super::logits::LogitPool;
use super::{
    GiveUp, HiddenStates, Logits, NodeIdx, OpenError, Oracle, OracleError, PassCost, PassOutput,
    TokenTree, Trees, WidthClass, check_width, max_width,
};
use crate::ggml::{Compute, Context, Device, Place, dequantize_row};
use crate::io::RowFile;
use crate::kv::{CellMap, KvMemory, PagedKv};
use crate::model::{GgmlType, Gguf, ModelLayout, ModelShape, TensorInfo};
use crate::river::{
    DeviceSupply, HostSupply, Plan, ReadSizes, Reads, Setup, Shard, ShardIdx, Watcher,
    WeightMemory, WeightSupply, Window, WindowPlan, catalogue,
};
use crate::telemetry::Hub;
use activations::Activations;
use graphs::Graphs;
use head::LogitPath;
use memory::largest_block;
use staging::LogitStaging;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use steps::{PassExtent, Steps};
use weights::Weights;

/// Cells are attended to in runs of this many, so that few graph shapes occur. Cells after the
/// last one are masked and change no bits.
const KV_STEP: usize = 256;

/// How a [`LayerOracle`] is set up.
#[derive(Clone, Debug)]
pub struct LayerOracleOptions {
    pub ctx_tokens: usize,
    pub threads: usize,
    /// See [`Oracle::max_nodes`].
    pub max_nodes: usize,
    /// Which shards of the model's [`catalogue`] stay in the host's memory and which stream. What
    /// else is held: [`LayerOracle::other_bytes`].
    pub plan: Plan,
    pub read_sizes: ReadSizes,
    /// Where it computes, if not where the weights are.
    pub device: Option<DeviceOptions>,
}

/// A device that an oracle computes on.
#[derive(Clone, Debug)]
pub struct DeviceOptions {
    pub device: Device,
    /// Which shards stay in its memory, and what the others pass through. What else is held
    /// there: [`LayerOracle::device_bytes`].
    pub window: WindowPlan,
    pub kv: KvMemory,
}

/// See the module's text.
pub struct LayerOracle {
    shape: Rc<ModelShape>,
    steps: Steps,
    kv: PagedKv,
    cells: CellMap,
    embedding: TensorInfo,
    embedding_file: RowFile,
    max_nodes: usize,
    logit_path: LogitPath,
    logit_pool: LogitPool,
    keep_hidden: bool,
    hub: Arc<Hub>,
}

impl LayerOracle {
    /// Opens the model and starts to read it; the first pass waits for what has not arrived.
    ///
    /// # Errors
    /// Files that cannot be read, and memory that cannot be had.
    pub fn open(
        gguf: &Gguf,
        layout: &ModelLayout,
        options: LayerOracleOptions,
        hub: &Arc<Hub>,
    ) -> Result<Self, OpenError> {
        Self::over(gguf, layout, catalogue(layout), options, hub)
    }

    /// Over a part of the model's shards; steps of the others cannot be computed.
    fn over(
        gguf: &Gguf,
        layout: &ModelLayout,
        shards: Vec<Shard>,
        options: LayerOracleOptions,
        hub: &Arc<Hub>,
    ) -> Result<Self, OpenError> {
        crate::ggml::init()?;
        let shape = Rc::new(layout.shape.clone());
        let files: Vec<PathBuf> = gguf.files.iter().map(|f| f.path.clone()).collect();
        let on_device = options.device.as_ref();
        let device = on_device.map(|on| on.device);
        let embedding_file = RowFile::open(&files[layout.embedding.file])?;
        let weights = Weights::new(layout, &shards, &files, device)?;
        let (layers, row_bytes) = (shape.n_layer, Self::kv_row_bytes(&shape));
        let cells = options.ctx_tokens;
        let kv = match on_device {
            Some(on) => PagedKv::on_device(on.device, on.kv, layers, cells, row_bytes)?,
            None => PagedKv::new(layers, cells, row_bytes)?,
        };
        let kv_context = Context::new(shape.n_layer, 0);
        let kv_tensors = (0..shape.n_layer)
            .map(|layer| {
                let tensor = kv_context.tensor(GgmlType::F16, &[2 * shape.kv_width(), kv.rows()]);
                tensor.put(&kv.layer(layer));
                tensor
            })
            .collect();
        let compute = match device {
            Some(device) => Compute::on(device, options.threads)?,
            None => Compute::new(options.threads)?,
        };
        let activations = Activations::new(
            &shape,
            options.ctx_tokens,
            max_width(options.max_nodes),
            device,
        )?;
        let setup = Setup {
            files,
            shards,
            plan: options.plan,
            reads: Reads::from(options.read_sizes),
            memory: device.map_or(WeightMemory::Host, WeightMemory::PinnedFor),
            hub: Arc::clone(hub),
        };
        let (supply, logit_path) = match on_device {
            Some(on) => {
                let wanted = max_width(options.max_nodes);
                Self::supply_device(on, &weights, setup, wanted, options.threads)?
            }
            None => {
                let supply: Box<dyn WeightSupply> = Box::new(HostSupply::start(setup)?);
                (supply, LogitPath::Direct)
            }
        };
        Ok(Self {
            steps: Steps {
                supply,
                compute,
                weights,
                activations,
                kv: kv_tensors,
                give_up: None,
                feed_forward_inputs: None,
                reserved: PassExtent::default(),
            },
            max_nodes: options.max_nodes,
            logit_path,
            logit_pool: LogitPool::default(),
            keep_hidden: false,
            kv,
            cells: CellMap::new(options.ctx_tokens),
            embedding: layout.embedding.clone(),
            embedding_file,
            hub: Arc::clone(hub),
            shape,
        })
    }

    /// The supply of weights to a device through a window, and the way back for the logits of
    /// `wanted` tokens.
    fn supply_device(
        on: &DeviceOptions,
        weights: &Weights,
        setup: Setup,
        wanted: usize,
        threads: usize,
    ) -> Result<(Box<dyn WeightSupply>, LogitPath), OpenError> {
        let (device, shards) = (on.device, &setup.shards);
        let mut window = Window::new(device, &on.window, weights.layouts(shards, device))?;
        let staging = LogitStaging::new(device, largest_block(shards), wanted, threads)?;
        window.measure_link(staging.idle_region());
        // A graph's scratch memory is measured before its weights have arrived. Placed already,
        // they do not count as a part of it.
        for shard in (0..shards.len()).map(ShardIdx) {
            if let Some(span) = window.memory_of(shard) {
                let memory = Place::Device(span.clone());
                weights.place(shard, window.layout(shard), &memory);
            }
        }
        let supply = DeviceSupply::start(setup, window)?;
        Ok((Box::new(supply), LogitPath::Staged(staging)))
    }

    pub fn plan(&self) -> &Plan {
        self.steps.supply.river().plan()
    }

    /// Bytes of weights sent to the device so far; zero where there is none.
    pub fn bytes_sent(&self) -> u64 {
        self.steps.supply.bytes_sent()
    }

    /// Scratch memory that graphs take.
    pub fn scratch_bytes(&self) -> usize {
        self.steps.compute.scratch_bytes()
    }

    /// Tells `watcher` what a device copies and computes, if one does; see
    /// [`WeightSupply::watch`].
    pub fn watch(&mut self, watcher: Option<Watcher>) {
        self.steps.supply.watch(watcher);
    }

    /// Fills the activations for `tree`, padded to `width` tokens; says over how many cells
    /// attention runs.
    ///
    /// Padding repeats the first node in every respect, its cell too: it writes the same bits
    /// to the same place, and takes no cell of the context.
    fn load_tree(&mut self, tree: &TokenTree, width: usize) -> Result<usize, OracleError> {
        let cells = self.cells.begin_tree(tree.len())?.to_vec();
        let past = self.cells.len();
        let n_kv = self
            .cells
            .end()
            .next_multiple_of(KV_STEP)
            .min(self.kv.rows());
        // Masked cells are read as well. The cells of pruned nodes stay in memory, since the next
        // tree takes the same ones.
        self.kv.reach(n_kv)?;
        let row_bytes = crate::ggml::row_bytes(self.embedding.ty, self.shape.n_embd);
        let mut packed = vec![0; row_bytes];
        let mut row = vec![0.0; self.shape.n_embd];
        let mut mask = vec![activations::MASKED; n_kv];
        for cell in self.cells.committed() {
            mask[cell.0] = activations::OPEN;
        }
        // A single query is padded for attention alone.
        for i in 0..width.max(graphs::FEWEST_QUERIES) {
            let node = if i < tree.len() { i } else { 0 };
            let token = tree.nodes()[node].token;
            let index = usize::try_from(token.0)
                .ok()
                .filter(|&t| t < self.shape.n_vocab)
                .ok_or(OracleError::Token {
                    token: token.0,
                    n_vocab: self.shape.n_vocab,
                })?;
            self.embedding_file
                .read(
                    self.embedding.offset + (index * row_bytes) as u64,
                    &mut packed,
                )
                .map_err(|source| OracleError::Embedding {
                    token: token.0,
                    source,
                })?;
            dequantize_row(self.embedding.ty, &packed, &mut row);
            for ancestor in tree.ancestry(node) {
                mask[cells[ancestor].0] = activations::OPEN;
            }
            let position = past + tree.depth(node);
            self.steps
                .activations
                .set_token(i, &row, position, cells[node], &mask);
            for ancestor in tree.ancestry(node) {
                mask[cells[ancestor].0] = activations::MASKED;
            }
        }
        self.steps
            .activations
            .send(width.max(graphs::FEWEST_QUERIES), n_kv);
        Ok(n_kv)
    }

    /// What the layers made of the nodes that have logits, after a pass.
    fn hidden(&self, logits: &Logits) -> HiddenStates {
        let nodes = logits.nodes();
        let n = nodes.last().map_or(0, |&last| last + 1);
        let all = self.steps.activations.read_x(n);
        HiddenStates::of_nodes(nodes, self.shape.n_embd, &all)
    }

    /// All layers, and the head where logits are wanted.
    fn sweep(&mut self, tree: &TokenTree, width: WidthClass) -> Result<Logits, OracleError> {
        let n = tree.len().max(width.min);
        if self.cells.has_holes() && self.cells.end() + tree.len() > self.cells.capacity() {
            let moves = self.cells.close_holes();
            self.kv.move_rows(&moves);
            self.kv.release_after(self.cells.end());
        }
        let n_kv = self.load_tree(tree, n)?;
        let graphs = Graphs::new(&self.shape, n, n_kv, width, self.steps.on_cpu());
        let mut logits = Logits::for_tree(tree, self.shape.n_vocab, &self.logit_pool);
        let wanted = match logits.nodes().len() {
            0 => 0,
            nodes => nodes.max(width.min),
        };
        let extent = PassExtent {
            tokens: n,
            cells: n_kv,
            wanted,
        };
        self.steps.reserve(&graphs, extent)?;
        self.steps.layers(&graphs)?;
        if !logits.nodes().is_empty() {
            self.head(&graphs, &mut logits)?;
        }
        Ok(logits)
    }
}

impl Oracle for LayerOracle {
    fn n_vocab(&self) -> usize {
        self.shape.n_vocab
    }

    fn capacity(&self) -> usize {
        self.cells.capacity()
    }

    fn len(&self) -> usize {
        self.cells.len()
    }

    fn max_nodes(&self) -> usize {
        self.max_nodes
    }

    fn pass(&mut self, tree: &TokenTree, width: WidthClass) -> Result<PassOutput, OracleError> {
        check_width(tree, width, max_width(self.max_nodes))?;
        let began = Instant::now();
        let stall_before = self.steps.supply.river().stall();
        self.steps.compute.set_kernels(width.kernels());
        self.steps.supply.river().begin_pass()?;
        self.logit_path.clear(self.steps.compute.stream());
        let logits = self.sweep(tree, width);
        // Now all results of the pass are there, and nothing that the next one writes is in use.
        self.steps.compute.stream().synchronize();
        let ended = self.steps.supply.river().end_pass();
        let logits = logits?;
        ended?;
        logits.check()?;
        self.show_cells();
        let stall = self.steps.supply.river().stall();
        let stall = stall.saturating_sub(stall_before);
        Ok(PassOutput {
            hidden: self.keep_hidden.then(|| self.hidden(&logits)),
            logits,
            cost: PassCost {
                wall_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
                stall_us: u64::try_from(stall.as_micros()).unwrap_or(u64::MAX),
                demand_us: 0,
                stream_us: self.steps.supply.lap_us(),
                threads: self.steps.compute.take_threads_used(),
            },
        })
    }

    fn give_up_when(&mut self, outdated: Option<GiveUp>) {
        self.steps.give_up = outdated;
    }

    fn keep_hidden(&mut self, wanted: bool) {
        self.keep_hidden = wanted;
    }

    fn commit(&mut self, path: &[NodeIdx]) {
        self.cells.commit(path);
        self.show_cells();
    }

    fn truncate(&mut self, len: usize) {
        self.cells.truncate(len);
        self.kv.release_after(self.cells.end());
        self.show_cells();
    }

    fn bytes_read(&self) -> u64 {
        self.steps.supply.river().counters().all_bytes()
    }

    fn reading_us(&self) -> u64 {
        self.steps.supply.river().counters().reading_us()
    }

    fn hits_and_misses(&self) -> (u64, u64) {
        self.steps.supply.river().hits_and_misses()
    }

    fn streams(&self) -> bool {
        self.steps.supply.streams()
    }

    /// The CPU's kernels are known to keep bits; those of other devices divide sums by the width of
    /// a pass.
    fn trees(&self) -> Trees {
        if self.steps.on_cpu() {
            Trees::Exact
        } else {
            Trees::Rounded
        }
    }
}

impl Drop for LayerOracle {
    fn drop(&mut self) {
        // The device may still compute in memory that is freed next.
        self.steps.compute.stream().synchronize();
    }
}

impl LayerOracle {
    fn show_cells(&self) {
        let view = self.kv.view(self.cells.end(), self.cells.capacity());
        self.hub.update(|s| s.kv = view);
    }
}
