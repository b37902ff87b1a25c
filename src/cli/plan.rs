//! `nmos plan`: how a model would be placed in memory, without loading it.
//!
//! Two things are measured: what the program itself holds, and how fast the disk reads the
//! model's file. The rest is derived from files' headers and is labelled as predicted. How
//! long computing takes is not known before a model runs, and is not guessed.

use super::args::PlanArgs;
use super::doctor::disk::{self, ReadSpeed};
use super::engine_options;
use crate::config::Settings;
use crate::model::{Blueprint, Gguf};
use crate::session::{self, Budget, Held, Pairing};
use crate::system;
use crate::units::Bytes;
use anyhow::Context;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

/// Everything that is printed. A field that cannot be known is null.
#[derive(Debug, Serialize)]
struct Report {
    model: Model,
    draft: Option<PathBuf>,
    /// Why the default draft is not used.
    draft_left_out: Option<String>,
    /// `resident`, `streamed` or `hooked`.
    form: &'static str,
    ctx_tokens: usize,
    ram_bytes: Bytes,
    /// `--ram` was not given: it is what is available less a margin.
    ram_is_default: bool,
    /// Sums to `ram_bytes`.
    budget: Vec<Owner>,
    shards_stay: usize,
    shards_stream: usize,
    predicted_bytes_a_pass: Bytes,
    measured_disk: Disk,
    /// `predicted_bytes_a_pass` at the measured speed: the least time of a pass.
    predicted_disk_s_a_pass: Option<f64>,
    /// Not known before the model runs.
    compute_s_a_pass: Option<f64>,
    /// Passes a second if computing took no time; tokens a second at one token a pass.
    predicted_most_passes_per_s: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Model {
    name: String,
    path: PathBuf,
    arch: String,
    layers: usize,
    bytes: Bytes,
    bits_per_weight: f64,
    /// Bytes by element type, the most first.
    types: Vec<(String, Bytes)>,
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
    bytes: Bytes,
    seconds: f64,
    reader: &'static str,
    /// Whether the page cache was passed by; if not, the disk may be slower than this.
    direct: bool,
}

/// Prints the plan for these settings.
///
/// # Errors
/// A model that is absent or unsupported, and memory that is too little.
pub fn run(args: &PlanArgs, settings: &Settings, out: &mut impl Write) -> anyhow::Result<()> {
    let report = examine(settings)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        print(&report, out)?;
    }
    out.flush()?;
    Ok(())
}

fn examine(settings: &Settings) -> anyhow::Result<Report> {
    let options = engine_options(settings)?;
    let gguf = Gguf::open(&options.oracle)?;
    let mut blueprint = Blueprint::from_gguf(&gguf)?;
    let ctx_tokens = options.ctx_tokens.min(blueprint.ctx_train());
    crate::ggml::init()?;
    let program = system::rss().unwrap_or_default();
    // Only llama.cpp can say whether it knows the architecture, and which tensors it uses.
    session::open_bare(&gguf, &mut blueprint)?;
    let Pairing { draft, left_out } = Pairing::of(&options, &gguf)?;
    let ram = system::budget(options.ram, &system::memory(), program)?;
    let held = Held::predict(program, &gguf, &blueprint, draft.as_ref(), ctx_tokens)?;
    let resident = Held::resident(&gguf)?;
    let budget = Budget::new(ram, held.total(), resident, &blueprint, ctx_tokens)?;
    let speed = disk::measure(&options.oracle)
        .with_context(|| format!("cannot read {}", options.oracle.display()))?;

    let n_shards = session::shards(&blueprint).len();
    let (stay, streamed) = budget.form.plan().map_or((n_shards, 0), |plan| {
        let stay = plan.pinned.iter().filter(|p| **p).count();
        (stay, plan.streamed_bytes as u64)
    });
    let disk_s = (streamed > 0 && speed.bytes.0 > 0).then(|| streamed as f64 / speed.gb_s() / 1e9);
    Ok(Report {
        model: model(&gguf, &blueprint),
        draft: draft.map(|gguf| gguf.path().to_owned()),
        draft_left_out: left_out,
        form: budget.form.name(),
        ctx_tokens,
        ram_bytes: ram,
        ram_is_default: options.ram.is_none(),
        budget: owners(&budget, held),
        shards_stay: stay,
        shards_stream: n_shards - stay,
        predicted_bytes_a_pass: Bytes(streamed),
        measured_disk: Disk::from(speed),
        predicted_disk_s_a_pass: disk_s,
        compute_s_a_pass: None,
        predicted_most_passes_per_s: disk_s.map(f64::recip),
    })
}

impl From<ReadSpeed> for Disk {
    fn from(speed: ReadSpeed) -> Self {
        Self {
            gb_s: speed.gb_s(),
            bytes: speed.bytes,
            seconds: speed.time.as_secs_f64(),
            reader: speed.reader,
            direct: speed.direct,
        }
    }
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
        path: gguf.path().to_owned(),
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

fn print(report: &Report, out: &mut impl Write) -> std::io::Result<()> {
    let m = &report.model;
    let types: Vec<_> = m.types.iter().map(|(t, n)| format!("{t} {n}")).collect();
    writeln!(
        out,
        "{}: {}, {} layers, {}",
        m.name, m.arch, m.layers, m.bytes
    )?;
    writeln!(out, "  {}", m.path.display())?;
    let types = types.join(", ");
    writeln!(out, "  {:.2} bits a weight: {types}", m.bits_per_weight)?;
    match &report.draft {
        Some(path) => writeln!(out, "draft: {}", path.display())?,
        None => writeln!(out, "draft: none")?,
    }
    if let Some(why) = &report.draft_left_out {
        writeln!(out, "  {why}")?;
    }
    let source = if report.ram_is_default {
        "what is available less a margin"
    } else {
        "as set"
    };
    writeln!(out, "\nmemory: {} ({source})", report.ram_bytes)?;
    for o in &report.budget {
        // One unit for all, so that the lines can be added up.
        let mib = o.bytes.0 as f64 / Bytes::MIB as f64;
        writeln!(out, "  {:<18} {mib:>9.1} MiB  {}", o.owner, o.figure)?;
    }
    writeln!(
        out,
        "\nform: {}; of {} shards {} stay, {} stream",
        report.form,
        report.shards_stay + report.shards_stream,
        report.shards_stay,
        report.shards_stream
    )?;
    let d = &report.measured_disk;
    writeln!(
        out,
        "disk: {:.2} GB/s, measured just now: {} in {:.2} s, {}, {}",
        d.gb_s,
        d.bytes,
        d.seconds,
        d.reader,
        if d.direct {
            "O_DIRECT"
        } else {
            "through the page cache, so the disk may be slower"
        }
    )?;
    match (
        report.predicted_disk_s_a_pass,
        report.predicted_most_passes_per_s,
    ) {
        (Some(seconds), Some(passes)) => writeln!(
            out,
            "a pass: reads {} (predicted); at least {seconds:.2} s for that (predicted)\n\
             compute: not known before the model runs; a pass takes the longer of the two\n\
             answers: at one token a pass at most {passes:.2} tokens/s by the disk (predicted);\n\
             \x20 computing can make that less, and accepted guesses make a pass yield more",
            report.predicted_bytes_a_pass
        ),
        _ => writeln!(
            out,
            "a pass: reads nothing (predicted), since all weights stay\n\
             compute: not known before the model runs; it alone sets the speed"
        ),
    }
}
