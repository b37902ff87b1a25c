//! `nmos plan`: how a model would be placed in memory and how fast it would be, without
//! loading it.
//!
//! Measured: what the program itself holds, how fast the disk reads the model's file, and how
//! long each kind of step computes. The rest is derived from that and from files' headers,
//! and is labelled as predicted. `--check` loads the model and holds real passes against it.

mod text;

use super::args::PlanArgs;
use super::engine_options;
use crate::config::Settings;
use crate::model::{Blueprint, ChatTemplate, Gguf, Tokenizer};
use crate::session::predict::{self, Checked, Forecast, Outlook};
use crate::session::{self, Budget, EngineOptions, Held, TreeSize};
use crate::system;
use crate::system::measure::{Tuning, disk};
use crate::units::Bytes;
use anyhow::{Context, bail};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

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
    /// Where the figure comes from: `measured`, `predicted` or `fixed`.
    figure: &'static str,
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

/// Prints the plan for these settings.
///
/// # Errors
/// A model that is absent or unsupported, and memory that is too little.
pub fn run(args: &PlanArgs, settings: &Settings, out: &mut impl Write) -> anyhow::Result<()> {
    let report = examine(args, settings)?;
    super::output::print(&report, args.json, out, text::print)?;
    Ok(())
}

fn examine(args: &PlanArgs, settings: &Settings) -> anyhow::Result<Report> {
    let options = engine_options(settings)?;
    let outlook = Outlook::new(&options)?;
    let sizes = session::read_sizes(&options.oracle);
    let speed = disk::measure(&options.oracle, sizes.depth, sizes.bytes, 0)
        .with_context(|| format!("cannot read {}", options.oracle.display()))?;
    let forecasts = outlook.forecasts(&options)?;
    let computing_gb_s = forecasts.as_ref().and_then(|all| all.disk_gb_s);
    let passes = forecasts.map(|all| all.passes);
    let checked = match (args.check, &passes) {
        (Some(n), Some(passes)) => Some(predict::check(&outlook, &options, passes, n)?),
        (Some(_), None) if outlook.budget.device.is_some() => bail!(
            "--check has nothing to compare: how long passes take on a GPU is not predicted; \
             leave --check out, or the GPU (--vram none)"
        ),
        (Some(_), None) => bail!(
            "--check has nothing to compare: how long passes take is not predicted, since {}; \
             leave --check out",
            outlook.blueprint.left_to_llama().unwrap_or_default()
        ),
        (None, _) => None,
    };
    let n_shards = outlook.shards.len();
    let (stay, streamed) = outlook.budget.form.plan().map_or((n_shards, 0), |plan| {
        let stay = plan.pinned.iter().filter(|p| **p).count();
        (stay, plan.streamed_bytes as u64)
    });
    let gb_s = computing_gb_s.unwrap_or(speed.gb_s());
    let disk_s = (streamed > 0 && speed.bytes.0 > 0).then(|| streamed as f64 / gb_s / 1e9);
    let gpu = gpu(&outlook, options.vram.is_none());
    let single = passes.iter().flatten().find(|pass| pass.nodes == 1);
    let draft = outlook.pairing.draft.as_ref();
    let draft_on = match outlook.budget.draft_device() {
        Some(_) => Computes::Gpu,
        None => Computes::Cpu,
    };
    Ok(Report {
        draft_on: draft.map(|_| draft_on),
        model: model(&outlook.gguf, &outlook.blueprint),
        draft: draft.map(|gguf| lossy(gguf.path())),
        draft_left_out: outlook.pairing.left_out.clone(),
        chat_template: chat_template(&outlook.gguf, &options)?,
        form: outlook.budget.form_name(),
        llama_cpp_since: outlook.blueprint.left_to_llama(),
        ctx_tokens: outlook.ctx_tokens,
        max_nodes: outlook.budget.max_nodes,
        max_nodes_from: match options.tree {
            TreeSize::Fixed(_) | TreeSize::Chain(_) => NodesFrom::Setting,
            TreeSize::Auto if draft.is_none() => NodesFrom::NoDraft,
            TreeSize::Auto if outlook.budget.short_of_nodes() => NodesFrom::ShortMemory,
            TreeSize::Auto => NodesFrom::Auto,
        },
        ram_bytes: outlook.budget.ram,
        ram_is_default: options.ram.is_none(),
        budget: owners(&outlook.budget, outlook.held),
        gpu,
        shards_stay: stay,
        shards_stream: n_shards - stay,
        predicted_bytes_a_pass: Bytes(streamed),
        measured_disk: Disk {
            gb_s: speed.gb_s(),
            computing_gb_s,
            bytes: speed.bytes,
            seconds: speed.time.as_secs_f64(),
            reader: speed.reader,
            depth: sizes.depth,
            block_bytes: sizes.bytes,
            tuned: Tuning::of(&options.oracle).is_some(),
            direct: speed.direct,
        },
        predicted_disk_s_a_pass: disk_s,
        compute_s_a_pass: single.map(|pass| pass.predicted_compute_s),
        predicted_passes_per_s: single.map(|pass| pass.predicted_tokens_per_s),
        passes,
        checked,
    })
}

/// The form that prompts will have: tried out, as a session does it.
fn chat_template(gguf: &Gguf, options: &EngineOptions) -> anyhow::Result<String> {
    let tokenizer = Tokenizer::open(gguf.path())?;
    let own = gguf.str(session::TEMPLATE_KEY)?;
    let asked = options.chat_template.as_deref();
    let template = ChatTemplate::new(&tokenizer, own, asked, system::local_time())?;
    let mut words = template.source().to_string();
    if template.is_without_system() && !options.system.is_empty() {
        words += "; the system text goes before the first prompt";
    }
    Ok(words)
}

fn gpu(outlook: &Outlook, vram_is_default: bool) -> Option<Gpu> {
    let (device, vram) = outlook.budget.device.as_ref()?;
    let owners = vram.owners.iter().enumerate();
    let window = &vram.window;
    let passing = outlook.shards.iter().zip(&window.stays);
    let passing = passing.filter(|(_, stays)| !**stays);
    let tensors = passing.clone().flat_map(|(shard, _)| &shard.tensors);
    Some(Gpu {
        name: device.description(),
        vram_bytes: vram.vram,
        vram_is_default,
        budget: owners
            .map(|(i, &(owner, bytes))| Owner {
                owner,
                bytes,
                // The driver's own comes first.
                figure: if i == 0 { "fixed" } else { "predicted" },
            })
            .collect(),
        shards_stay: window.stays.len() - passing.count(),
        shards_pass: window.stays.iter().filter(|stays| !**stays).count(),
        window_slots: window.slots,
        predicted_bytes_a_pass: Bytes(tensors.map(|t| t.bytes as u64).sum()),
    })
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

/// The budget's owners; what is held before the weights one by one, and what is left over.
fn owners(budget: &Budget, held: Held) -> Vec<Owner> {
    let owner = |owner, bytes, figure| Owner {
        owner,
        bytes,
        figure,
    };
    let mut owners = vec![
        owner("program", held.program, "measured"),
        owner("vocabulary", held.vocabulary, "predicted"),
        owner("draft", held.draft, "predicted"),
    ];
    if held.drafters > Bytes(0) {
        owners.push(owner("other drafters", held.drafters, "fixed"));
    }
    for &(name, bytes) in &budget.owners {
        match name {
            Budget::HELD => {}
            Budget::MARGIN => owners.push(owner(name, bytes, "fixed")),
            _ => owners.push(owner(name, bytes, "predicted")),
        }
    }
    owners.push(owner("not used", budget.unused(), "predicted"));
    owners
}
