//! `nmos plan`: how a model would be placed in memory and how fast it would be, without
//! loading it.
//!
//! Measured: what the program itself holds, how fast the disk reads the model's file, and how
//! long each kind of step computes. The rest is derived from that and from files' headers,
//! and is labelled as predicted. `--check` loads the model and holds real passes against it.

mod text;

use super::invocation::{Invocation, Run, engine_options, tell_threads};
use crate::config::Settings;
use crate::experts::{ExpertGroup, PredictedFrom};
use crate::ledger::{Figure, Ledger};
use crate::model::{Blueprint, ChatTemplate, Gguf, Tokenizer, stored_template};
use crate::plan::{
    self, Checked, DevicePlacement, Forecast, Forecasts, OracleFile, Placement, Planner, TreeSize,
    Vram,
};
use crate::river::Shard;
use crate::session::EngineOptions;
use crate::system;
use crate::system::measure::disk;
use crate::tui::clean;
use crate::units::Bytes;
use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;

/// Everything that is printed. A field that cannot be known is null.
#[derive(Debug, Serialize)]
struct Report {
    model: Model,
    draft: Option<String>,
    /// Where the draft would compute; null without one.
    draft_on: Option<Computes>,
    /// Why the default draft is not used.
    draft_left_out: Option<String>,
    /// The form of prompts, in words.
    chat_template: String,
    /// `resident`, `streamed` or `hooked`.
    form: &'static str,
    /// Why llama.cpp's graph computes it, whatever fits; null where NMOS's own can.
    llama_cpp_since: Option<String>,
    ctx_tokens: usize,
    /// Most nodes of a pass.
    max_nodes: usize,
    /// Why it is that many.
    max_nodes_from: NodesFrom,
    ram_bytes: Bytes,
    /// `--ram` was not given: it is what is available less a margin.
    ram_is_default: bool,
    /// Sums to `ram_bytes`.
    budget: Vec<Owner>,
    /// Null where no GPU computes.
    gpu: Option<Gpu>,
    shards_stay: usize,
    shards_stream: usize,
    /// Null where the model is no mixture of experts that come and go.
    experts: Option<Experts>,
    /// Of a pass over one token.
    predicted_bytes_a_pass: Bytes,
    measured_disk: Disk,
    /// `predicted_bytes_a_pass` at the measured speed: the least time of a pass.
    predicted_disk_s_a_pass: Option<f64>,
    /// Of a pass over one token, as sessions run it; from measured kernels. Null for an
    /// architecture that llama.cpp's graph computes, as are the predictions below.
    compute_s_a_pass: Option<f64>,
    /// Passes a second over one token: tokens a second at one token a pass.
    predicted_passes_per_s: Option<f64>,
    /// Passes over larger and larger trees.
    passes: Option<Vec<Forecast>>,
    /// Null without `--check`.
    checked: Option<Vec<Checked>>,
}

/// Routed experts, of which those that are used most stay.
#[derive(Debug, Serialize)]
struct Experts {
    /// Layers that have some.
    layers: usize,
    /// In the layer that has the most.
    experts_a_layer: usize,
    experts_a_token: usize,
    bytes: Bytes,
    /// As many of them as fit.
    fit_bytes: Bytes,
    /// Tokens that can be computed together; passes over more are computed in pieces.
    widest_pass: usize,
    predicted_hit_rate: f64,
    predicted_from: PredictedFrom,
    predicted_bytes_a_token: Bytes,
}

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Computes {
    Cpu,
    Gpu,
}

/// What the most nodes of a pass follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum NodesFrom {
    Setting,
    Auto,
    /// As many as repetitions, which are all that is guessed, may fill.
    NoDraft,
    /// Fewer than there could be, since the weights need the memory more.
    ShortMemory,
}

#[derive(Debug, Serialize)]
struct Model {
    name: String,
    path: String,
    arch: String,
    layers: usize,
    bytes: Bytes,
    bits_per_weight: f64,
    /// Bytes by element type, the most first.
    types: Vec<(String, Bytes)>,
}

/// The GPU that would compute.
#[derive(Debug, Serialize)]
struct Gpu {
    name: String,
    vram_bytes: Bytes,
    /// `--vram` was not given: it is what is free less a margin.
    vram_is_default: bool,
    /// Sums to at most `vram_bytes`.
    budget: Vec<Owner>,
    shards_stay: usize,
    shards_pass: usize,
    window_slots: usize,
    /// Sent to it in every pass.
    predicted_bytes_a_pass: Bytes,
}

#[derive(Debug, Serialize)]
struct Owner {
    owner: &'static str,
    bytes: Bytes,
    /// Where that is from.
    figure: Figure,
}

#[derive(Debug, Serialize)]
struct Disk {
    gb_s: f64,
    /// While kernels run, as they do in a pass; null where nothing streams.
    computing_gb_s: Option<f64>,
    bytes: Bytes,
    seconds: f64,
    reader: &'static str,
    depth: usize,
    block_bytes: usize,
    /// `nmos doctor` chose depth and block size on this disk; else they are defaults.
    tuned: bool,
    /// Whether the page cache was passed by; if not, the disk may be slower than this.
    direct: bool,
}

/// `nmos plan`
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Load the model, run N passes of each shape, and compare with what is predicted
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "5")]
    pub check: Option<NonZeroUsize>,
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub json: bool,
}

impl Run for PlanArgs {
    /// Works the plan out and prints it.
    fn run(&self, invocation: &Invocation) -> anyhow::Result<ExitCode> {
        let started = invocation.start()?;
        tell_threads(&started.settings);
        let report = examine(self, &started.settings)?;
        super::output::print(&report, self.json, &mut io::stdout(), text::print)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn examine(args: &PlanArgs, settings: &Settings) -> anyhow::Result<Report> {
    let options = engine_options(settings)?;
    let mut planner = Planner::open(options.plan_request())?;
    let known = planner.experts.as_mut();
    if let Some(fault) = known.and_then(|known| known.fault.take()) {
        // Where this cannot be printed, the plan says itself what it is from.
        let _ = writeln!(
            io::stderr(),
            "note: {}",
            clean(&format!("{:#}", anyhow!(fault)))
        );
    }
    let placement = planner.place()?;
    let (oracle, sizes) = (&planner.oracle, placement.read_sizes);
    let speed = disk::measure(&options.oracle, sizes.depth, sizes.bytes, 0)
        .with_context(|| format!("cannot read {}", options.oracle.display()))?;
    let forecasts = Forecasts::measure(oracle, &placement)?;
    let computing_gb_s = forecasts.as_ref().and_then(|all| all.disk_gb_s);
    let passes = forecasts.map(|all| all.passes);
    let checked = match (args.check, &passes) {
        (Some(n), Some(passes)) => Some(plan::check(oracle, &placement, passes, n)?),
        (Some(_), None) if placement.device.is_some() => bail!(
            "--check has nothing to compare: how long passes take on a GPU is not predicted; \
             leave --check out, or the GPU (--vram none)"
        ),
        (Some(_), None) => bail!(
            "--check has nothing to compare: how long passes take is not predicted, since {}; \
             leave --check out",
            oracle.blueprint.left_to_llama().unwrap_or_default()
        ),
        (None, _) => None,
    };
    let n_shards = oracle.shards.len();
    let stay = placement.form.plan().map_or(n_shards, |plan| {
        plan.pinned.iter().filter(|pinned| **pinned).count()
    });
    let streamed = placement.form.token_bytes().0;
    let gb_s = computing_gb_s.unwrap_or(speed.gb_s());
    let disk_s = (streamed > 0 && speed.bytes.0 > 0).then(|| streamed as f64 / gb_s / 1e9);
    let on_device = placement.device.as_ref();
    let gpu = on_device.map(|on| gpu(on, &oracle.shards, options.vram == Vram::Auto));
    let single = passes.iter().flatten().find(|pass| pass.nodes == 1);
    let draft = placement.draft.model();
    let draft_on = match placement.draft_device() {
        Some(_) => Computes::Gpu,
        None => Computes::Cpu,
    };
    Ok(Report {
        draft_on: draft.map(|_| draft_on),
        model: model(&oracle.index, &oracle.blueprint),
        draft: draft.map(|gguf| lossy(gguf.path())),
        draft_left_out: placement.draft.left_out().map(ToString::to_string),
        chat_template: chat_template(&oracle.index, &options)?,
        form: placement.oracle_form().name(),
        llama_cpp_since: oracle.blueprint.left_to_llama(),
        ctx_tokens: placement.ctx_tokens,
        max_nodes: placement.max_nodes,
        max_nodes_from: nodes_from(&placement, options.tree),
        ram_bytes: placement.ledger.limit(),
        ram_is_default: options.ram.is_none(),
        budget: all_owners(&placement.ledger),
        gpu,
        shards_stay: stay,
        shards_stream: n_shards - stay,
        experts: experts(oracle, &placement),
        predicted_bytes_a_pass: Bytes(streamed),
        measured_disk: Disk {
            gb_s: speed.gb_s(),
            computing_gb_s,
            bytes: speed.bytes,
            seconds: speed.time.as_secs_f64(),
            reader: speed.reader,
            depth: sizes.depth,
            block_bytes: sizes.bytes,
            tuned: planner.machine.disk.is_some(),
            direct: speed.direct,
        },
        predicted_disk_s_a_pass: disk_s,
        compute_s_a_pass: single.map(|pass| pass.predicted_compute_s),
        predicted_passes_per_s: single.map(|pass| pass.predicted_tokens_per_s),
        passes,
        checked,
    })
}

fn experts(oracle: &OracleFile, placement: &Placement) -> Option<Experts> {
    let (mixture, plan) = (oracle.mixture()?, placement.form.experts()?);
    let of_groups = mixture.groups.iter().map(ExpertGroup::experts);
    let layers: BTreeSet<u32> = mixture.groups.iter().map(|group| group.layer).collect();
    Some(Experts {
        layers: layers.len(),
        experts_a_layer: of_groups.max().unwrap_or(0),
        experts_a_token: mixture.used,
        bytes: plan.all,
        fit_bytes: plan.bytes,
        widest_pass: plan.widest,
        predicted_hit_rate: plan.predicted_hit_rate,
        predicted_from: plan.predicted_from,
        predicted_bytes_a_token: plan.predicted_token_bytes,
    })
}

fn nodes_from(placement: &Placement, tree: TreeSize) -> NodesFrom {
    match tree {
        TreeSize::Fixed(_) | TreeSize::Chain(_) => NodesFrom::Setting,
        TreeSize::Auto if placement.draft.model().is_none() => NodesFrom::NoDraft,
        TreeSize::Auto if placement.is_short_of_nodes() => NodesFrom::ShortMemory,
        TreeSize::Auto => NodesFrom::Auto,
    }
}

/// The form that prompts will have: tried out, as a session does it.
fn chat_template(gguf: &Gguf, options: &EngineOptions) -> anyhow::Result<String> {
    let tokenizer = Tokenizer::open(gguf)?;
    let own = stored_template(gguf)?;
    let asked = options.chat_template.as_deref();
    let template = ChatTemplate::new(&tokenizer, own, asked, system::local_time())?;
    let mut words = template.source().to_string();
    if template.is_without_system() && !options.system.is_empty() {
        words += "; the system text goes before the first prompt";
    }
    Ok(words)
}

fn gpu(on: &DevicePlacement, shards: &[Shard], vram_is_default: bool) -> Gpu {
    let window = &on.window;
    let passing = shards.iter().zip(&window.stays);
    let passing = passing.filter(|(_, stays)| !**stays);
    let tensors = passing.clone().flat_map(|(shard, _)| &shard.tensors);
    Gpu {
        name: on.device.description(),
        vram_bytes: on.ledger.limit(),
        vram_is_default,
        budget: owners(&on.ledger).collect(),
        shards_stay: window.stays.len() - passing.clone().count(),
        shards_pass: passing.count(),
        window_slots: window.slots,
        predicted_bytes_a_pass: Bytes(tensors.map(|t| t.bytes as u64).sum()),
    }
}

/// A path as it can be printed, in JSON too.
fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn model(gguf: &Gguf, blueprint: &Blueprint) -> Model {
    let mut by_type: BTreeMap<String, u64> = BTreeMap::new();
    let (mut bytes, mut elements) = (0, 0);
    for tensor in gguf.tensors() {
        *by_type.entry(tensor.ty.to_string()).or_default() += tensor.bytes;
        bytes += tensor.bytes;
        elements += tensor.dims.iter().product::<u64>();
    }
    let mut types: Vec<_> = by_type.into_iter().map(|(t, n)| (t, Bytes(n))).collect();
    types.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    Model {
        name: gguf.name(),
        path: lossy(gguf.path()),
        arch: blueprint.arch().to_owned(),
        layers: blueprint.n_layer(),
        bytes: Bytes(gguf.file_bytes()),
        bits_per_weight: bytes as f64 * 8.0 / (elements as f64).max(1.0),
        types,
    }
}

fn owners(ledger: &Ledger) -> impl Iterator<Item = Owner> {
    ledger.entries().iter().map(|entry| Owner {
        owner: entry.owner.name(),
        bytes: entry.bytes,
        figure: entry.figure,
    })
}

/// The owners, and what is left over.
fn all_owners(ledger: &Ledger) -> Vec<Owner> {
    let free = Owner {
        owner: "not used",
        bytes: ledger.free(),
        figure: Figure::Predicted,
    };
    owners(ledger).chain([free]).collect()
}
