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
//! On a device other than the CPU the same steps run over a [`Window`] of its memory: they are
//! asked for one behind the other, and only logits are waited for.
//!
//! The graph of each step is built anew over the same few activations, so that compute on a
//! part of a layer begins when that part has arrived.

mod activations;
mod device;
mod graphs;
mod head;
mod landing;
mod memory;
mod probe;
mod weights;

pub use probe::{PassShape, StepTimes};

use super::logits::Shelf;
use super::{
    GiveUp, HiddenStates, Logits, NodeIdx, Oracle, OracleError, PassCost, PassOutput, TokenTree,
    Trees, WidthClass, check_width, max_width,
};
use crate::ggml::{Compute, Context, Device, Tensor, dequantize_row};
use crate::io::RowFile;
use crate::kv::{CellMap, KvMemory, PagedKv};
use crate::model::{GgmlType, Gguf, ModelLayout, ModelShape, TensorInfo};
use crate::river::{
    Placement, Plan, ReadCounters, ReadSizes, River, Shard, ShardIdx, Watcher, Window, WindowPlan,
    catalogue,
};
use crate::telemetry::{Hub, ShardPart};
use crate::units::Bytes;
use activations::Activations;
use device::DeviceSide;
use graphs::Graphs;
use landing::Landing;
use memory::largest_block;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use weights::Weights;

/// Cells are attended to in runs of this many, so that few graph shapes occur. Cells behind
/// the last one are masked and change no bits.
const KV_STEP: usize = 256;

/// How a [`LayerOracle`] is set up.
#[derive(Clone, Copy, Debug)]
pub struct LayerOracleOptions {
    pub ctx_tokens: usize,
    pub threads: usize,
    /// See [`Oracle::max_nodes`].
    pub max_nodes: usize,
    /// Memory for weights: what stays and what is in flight. See [`LayerOracle::other_bytes`].
    pub weight_bytes: Bytes,
    pub placement: Placement,
    pub read_sizes: ReadSizes,
    /// Where it computes, if not where the weights are.
    pub device: Option<DeviceOptions>,
}

/// A device that an oracle computes on.
#[derive(Clone, Copy, Debug)]
pub struct DeviceOptions {
    pub device: Device,
    /// Its memory for weights: what stays there, and the window. See
    /// [`LayerOracle::device_bytes`].
    pub weight_bytes: Bytes,
    pub kv: KvMemory,
}

/// See the module's text.
pub struct LayerOracle {
    shape: Rc<ModelShape>,
    weights: Weights,
    activations: Activations,
    kv: PagedKv,
    kv_tensors: Vec<Tensor>,
    cells: CellMap,
    river: River,
    compute: Compute,
    embedding: TensorInfo,
    embedding_file: RowFile,
    max_nodes: usize,
    logits: Shelf,
    hub: Arc<Hub>,
    /// `None` where the CPU computes on weights where they are.
    side: Option<DeviceSide>,
    /// The shape of pass that scratch memory is enough for: tokens, cells, wanted rows.
    reserved: (usize, usize, usize),
    give_up: Option<GiveUp>,
    keep_hidden: bool,
}

impl LayerOracle {
    /// Opens the model and starts to read it; the first pass waits for what has not arrived.
    ///
    /// # Errors
    /// Files that cannot be read, or a plan that does not fit.
    pub fn open(
        gguf: &Gguf,
        layout: &ModelLayout,
        options: LayerOracleOptions,
        hub: &Arc<Hub>,
    ) -> anyhow::Result<Self> {
        Self::over(gguf, layout, catalogue(layout), options, hub)
    }

    /// Over a part of the model's shards: what is left out can only not be computed.
    fn over(
        gguf: &Gguf,
        layout: &ModelLayout,
        shards: Vec<Shard>,
        options: LayerOracleOptions,
        hub: &Arc<Hub>,
    ) -> anyhow::Result<Self> {
        crate::ggml::init()?;
        let shape = Rc::new(layout.shape.clone());
        let files: Vec<PathBuf> = gguf.files.iter().map(|f| f.path.clone()).collect();
        let device = options.device.map(|d| d.device);
        let window = options
            .device
            .map(|d| WindowPlan::new(&shards, d.weight_bytes))
            .transpose()?;
        let plan = match &window {
            Some(window) => Plan::before_device(&shards, &window.stays, options.weight_bytes)?,
            None => Plan::placed(&shards, options.weight_bytes, options.placement)?,
        };
        let embedding_file = RowFile::open(&files[layout.embedding.file])?;
        let weights = Weights::new(layout, &shards, &files, device)?;
        let (layers, row_bytes) = (shape.n_layer, Self::kv_row_bytes(&shape));
        let cells = options.ctx_tokens;
        let kv = match options.device {
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
        let side = match (device, &window) {
            (Some(device), Some(plan)) => {
                let wanted = max_width(options.max_nodes);
                let mut window = Window::new(device, plan, weights.layouts(&shards, device))?;
                let landing =
                    Landing::new(device, largest_block(&shards), wanted, options.threads)?;
                window.measure_link(landing.room());
                // A graph's scratch memory is measured before its weights have come: they must
                // not count as a part of it.
                for shard in (0..shards.len()).map(ShardIdx) {
                    if let Some(span) = window.memory_of(shard) {
                        weights.place_on(shard, window.layout(shard), span);
                    }
                }
                Some(DeviceSide {
                    device,
                    window,
                    landing,
                })
            }
            _ => None,
        };
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
        let sizes = options.read_sizes;
        let river = match device {
            Some(device) => River::start_in(
                |len| device.pinned(len),
                &files,
                shards,
                plan,
                sizes,
                Arc::clone(hub),
            )?,
            None => River::start(&files, shards, plan, sizes, Arc::clone(hub))?,
        };
        Ok(Self {
            activations,
            max_nodes: options.max_nodes,
            logits: Shelf::default(),
            weights,
            kv,
            kv_tensors,
            cells: CellMap::new(options.ctx_tokens),
            river,
            compute,
            embedding: layout.embedding.clone(),
            embedding_file,
            hub: Arc::clone(hub),
            shape,
            side,
            reserved: (0, 0, 0),
            give_up: None,
            keep_hidden: false,
        })
    }

    pub fn plan(&self) -> &Plan {
        self.river.plan()
    }

    /// Bytes of weights sent to the device so far; zero where there is none.
    pub fn bytes_sent(&self) -> u64 {
        self.side.as_ref().map_or(0, |s| s.window.bytes_sent())
    }

    /// Scratch memory that graphs take.
    pub fn scratch_bytes(&self) -> usize {
        self.compute.scratch_bytes()
    }

    /// Tells `watcher` of what a device copies and computes, where one computes; see
    /// [`Window::watch`](crate::river::Window::watch).
    pub fn watch(&mut self, watcher: Option<Watcher>) {
        if let Some(side) = &mut self.side {
            side.window.watch(watcher);
        }
    }

    /// Time to send what passes through the window in a pass, in microseconds.
    fn link_us(&self) -> u64 {
        self.side.as_ref().map_or(0, |side| side.window.lap_us())
    }

    fn on_cpu(&self) -> bool {
        self.side.as_ref().is_none_or(|s| s.device.is_cpu())
    }

    /// What has been read so far, and what that cost.
    pub fn counters(&self) -> &Arc<ReadCounters> {
        self.river.counters()
    }

    /// Fills the activations for `tree`, padded to `width` tokens; says over how many cells
    /// attention runs.
    ///
    /// Padding repeats the first node in every respect, its cell too: it writes the same bits
    /// to the same place, and takes no room in the context.
    fn load_tree(&mut self, tree: &TokenTree, width: usize) -> Result<usize, OracleError> {
        let cells = self.cells.begin_tree(tree.len())?.to_vec();
        let past = self.cells.len();
        let n_kv = self
            .cells
            .end()
            .next_multiple_of(KV_STEP)
            .min(self.kv.rows());
        // What is masked is read as well. A tree's cells that are pruned stay: the next one's are
        // the same.
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
            self.activations
                .set_token(i, &row, position, cells[node], &mask);
            for ancestor in tree.ancestry(node) {
                mask[cells[ancestor].0] = activations::MASKED;
            }
        }
        self.activations
            .send(width.max(graphs::FEWEST_QUERIES), n_kv);
        Ok(n_kv)
    }

    fn shards_where(&self, is_wanted: impl Fn(ShardPart) -> bool) -> Vec<ShardIdx> {
        let shards = self.river.shards();
        (0..shards.len())
            .filter(|&i| is_wanted(shards[i].part))
            .map(ShardIdx)
            .collect()
    }

    /// Runs `step` with the memory of `shard` under its tensors.
    fn with_shard(
        &mut self,
        shard: ShardIdx,
        graphs: &Graphs,
        step: impl FnOnce(&mut Self, &Graphs) -> Result<(), OracleError>,
    ) -> Result<(), OracleError> {
        if let Some(side) = &mut self.side {
            let stream = self.compute.stream();
            let span = side.window.take(shard, &mut self.river, stream)?;
            let parts = side.window.layout(shard);
            self.weights.place_on(shard, parts, &span);
            let result = step(self, graphs);
            if let Some(side) = &mut self.side {
                side.window.give(shard, self.compute.stream());
            }
            return result;
        }
        let region = self.river.take(shard)?;
        self.weights
            .place(shard, &self.river.shards()[shard.0], &region);
        let result = step(self, graphs);
        self.river.give(shard);
        result
    }

    /// The step of a shard of a layer.
    fn layer_step(&mut self, shard: ShardIdx, graphs: &Graphs) -> Result<(), OracleError> {
        let Shard { layer, part, .. } = self.river.shards()[shard.0];
        let layer = layer.map_or(0, |l| l.0 as usize);
        self.with_shard(shard, graphs, |o, g| {
            let graph = o.layer_graph(g, layer, part);
            Ok(o.compute.start(&graph)?)
        })
    }

    /// Ends a pass whose result is of no use any more. `next` is the shard that it would take.
    /// What a device was asked for runs on in any case.
    fn check_use(&self, next: ShardIdx) -> Result<(), OracleError> {
        let Some(outdated) = self.give_up.as_ref().filter(|_| self.side.is_none()) else {
            return Ok(());
        };
        let done = next.0 as f64 / self.river.shards().len() as f64;
        if !outdated(done) {
            return Ok(());
        }
        self.river.rewind();
        Err(OracleError::GivenUp)
    }

    fn layers(&mut self, graphs: &Graphs) -> Result<(), OracleError> {
        for shard in self.shards_where(|part| part != ShardPart::Head) {
            self.check_use(shard)?;
            self.layer_step(shard, graphs)?;
        }
        Ok(())
    }

    /// What the layers made of the nodes that have logits, after a pass.
    fn hidden(&self, logits: &Logits) -> HiddenStates {
        let nodes = logits.nodes();
        let n = nodes.last().map_or(0, |&last| last + 1);
        let all = self.activations.read_x(n);
        HiddenStates::of_nodes(nodes, self.shape.n_embd, &all)
    }

    /// All layers, and the head where logits are wanted.
    fn sweep(&mut self, tree: &TokenTree, width: WidthClass) -> Result<Logits, OracleError> {
        let n = tree.len().max(width.min);
        if self.cells.has_holes() && self.cells.end() + tree.len() > self.cells.capacity() {
            let moves = self.cells.close_holes();
            self.kv.move_rows(&moves);
            self.kv.release_behind(self.cells.end());
        }
        let n_kv = self.load_tree(tree, n)?;
        let graphs = Graphs::new(&self.shape, n, n_kv, width, self.on_cpu());
        let mut logits = Logits::for_tree(tree, self.shape.n_vocab, &self.logits);
        let wanted = match logits.nodes().len() {
            0 => 0,
            nodes => nodes.max(width.min),
        };
        self.reserve(&graphs, (n, n_kv, wanted))?;
        self.layers(&graphs)?;
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
        let stall_before = self.river.stall();
        self.compute.set_kernels(width.kernels());
        self.river.begin_pass()?;
        if let Some(side) = &mut self.side {
            side.landing.clear(self.compute.stream());
        }
        let logits = self.sweep(tree, width);
        // What a pass wants is there when it ends; what the next one writes is in use by none.
        self.compute.stream().synchronize();
        let ended = self.river.end_pass();
        let logits = logits?;
        ended?;
        logits.check()?;
        self.show_cells();
        let stall = self.river.stall().saturating_sub(stall_before);
        Ok(PassOutput {
            hidden: self.keep_hidden.then(|| self.hidden(&logits)),
            logits,
            cost: PassCost {
                wall_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
                stall_us: u64::try_from(stall.as_micros()).unwrap_or(u64::MAX),
                stream_us: self.river.lap_us().max(self.link_us()),
                threads: self.compute.take_threads_used(),
            },
        })
    }

    fn give_up_when(&mut self, outdated: Option<GiveUp>) {
        self.give_up = outdated;
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
        self.kv.release_behind(self.cells.end());
        self.show_cells();
    }

    fn bytes_read(&self) -> u64 {
        self.river.counters().bytes()
    }

    fn reading_us(&self) -> u64 {
        self.river.counters().busy_ns() / 1000
    }

    fn hits_and_misses(&self) -> (u64, u64) {
        self.river.hits_and_misses()
    }

    fn streams(&self) -> bool {
        let passes = |side: &DeviceSide| side.window.passes();
        self.river.plan().streamed_bytes > 0 || self.side.as_ref().is_some_and(passes)
    }

    /// The CPU's kernels are known for it; other devices' divide sums by the width of a pass.
    fn trees(&self) -> Trees {
        if self.on_cpu() {
            Trees::Exact
        } else {
            Trees::Rounded
        }
    }
}

impl Drop for LayerOracle {
    fn drop(&mut self) {
        // Before the memory that it may still be computing in goes.
        self.compute.stream().synchronize();
    }
}

impl LayerOracle {
    fn show_cells(&self) {
        let view = self.kv.view(self.cells.end(), self.cells.capacity());
        self.hub.update(|s| s.kv = view);
    }
}
