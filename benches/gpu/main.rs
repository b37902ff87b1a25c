//! Measures passes on a device whose memory is smaller than the model, and checks what it
//! computes.
//!
//! ```text
//!  --compare   whose logits differ from whose, and by how much      compare
//!  --widths    at which widths a token keeps its bits               widths
//!  --kv        what the KV cache's pages cost, and that they hold   kv
//!  passes      against the link, the disk and computing alone       passes, disk
//! ```
//!
//! Without a GPU it fails, unless `--device cpu` asks for the stand-in. It fails as well where
//! something that must hold does not; the report is written all the same.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark may panic where it cannot go on"
)]

mod compare;
mod disk;
mod kv;
mod passes;
mod timeline;
mod widths;

use anyhow::{Context, ensure};
use clap::Parser;
use clap::builder::TypedValueParser;
use nmos::forge::{Forge, Growth, Means, Quant, Watch};
use nmos::ggml::Device;
use nmos::kv::KvMemory;
use nmos::model::{Gguf, ModelLayout, locate, progress};
use nmos::oracle::{DeviceOptions, LayerOracle, LayerOracleOptions, TokenTree, WidthClass};
use nmos::river::{Plan, ReadSizes, Shard, WindowPlan, catalogue, total_bytes};
use nmos::telemetry::Hub;
use nmos::units::{Bytes, TokenId};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Tokens before those of the passes that are measured.
const PREFIX: usize = 32;

#[derive(Debug, Parser)]
#[command(name = "gpu", about = "Measures passes on a device")]
struct Args {
    /// The model: a GGUF file or a catalogue name.
    #[arg(default_value = "qwen2.5-coder-1.5b")]
    model: String,
    /// The device: `gpu` or `cpu`.
    #[arg(long, default_value = "gpu")]
    device: String,
    #[arg(long, default_value = "4GiB")]
    vram: Bytes,
    /// Memory of the host for weights; all of them if not said.
    #[arg(long)]
    weights: Option<Bytes>,
    #[arg(long, default_value_t = 2048)]
    ctx: usize,
    #[arg(long, value_delimiter = ',', default_value = "1,64,256,512")]
    nodes: Vec<usize>,
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..).map(usize::from))]
    rounds: usize,
    /// Passes of one node in a row at the end, to see whether memory grows.
    #[arg(long, default_value_t = 0)]
    endurance: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Compare logits: the device's twice, through a window and without, the CPU's, llama.cpp's.
    #[arg(long)]
    compare: bool,
    /// With `--compare`: copies of the model in these mixtures of types as well.
    #[arg(long, value_delimiter = ',', value_parser = quant_parser())]
    also: Vec<Quant>,
    /// Find at which widths a token keeps its bits.
    #[arg(long)]
    widths: bool,
    /// Map and unmap the KV cache's pages; compare them with memory that is held whole.
    #[arg(long)]
    kv: bool,
    /// Do not measure passes.
    #[arg(long)]
    no_passes: bool,
    /// Measure computing alone: all weights on the device.
    #[arg(long)]
    compute_alone: bool,
    /// Show when each shard was copied and computed with, in a pass of every width.
    #[arg(long)]
    timeline: bool,
    #[arg(long)]
    json: Option<PathBuf>,
    /// Given by cargo to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn quant_parser() -> impl TypedValueParser<Value = Quant> {
    clap::builder::PossibleValuesParser::new(Quant::ALL.map(Quant::name))
        .try_map(|name| Quant::from_name(&name).ok_or("no mixture of this name"))
}

#[derive(Debug, Default, Serialize)]
struct Report {
    device: String,
    on_gpu: bool,
    model: String,
    model_bytes: u64,
    vram: u64,
    compared: Vec<compare::Comparison>,
    widths: Vec<widths::Row>,
    kv: Option<kv::Kv>,
    passes: Option<passes::Passes>,
    /// In use on the device by the driver's figure, all processes.
    vram_used: Vec<(String, u64)>,
    /// What should hold and does not.
    failed: Vec<String>,
}

/// A model, cut into shards.
struct Model {
    path: PathBuf,
    gguf: Gguf,
    layout: ModelLayout,
    shards: Vec<Shard>,
}

impl Model {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let gguf = Gguf::open(path)?;
        let layout = ModelLayout::from_gguf(&gguf)?;
        Ok(Self {
            path: path.to_owned(),
            shards: catalogue(&layout),
            gguf,
            layout,
        })
    }

    fn n_vocab(&self) -> usize {
        self.layout.shape.n_vocab
    }

    /// Memory of a device for all of its weights.
    fn whole(&self) -> Bytes {
        Bytes(
            self.shards
                .iter()
                .map(|s| WindowPlan::bytes_of(s) as u64)
                .sum(),
        )
    }
}

struct Bench {
    args: Args,
    device: Device,
    report: Report,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    nmos::ggml::init()?;
    let device = match args.device.as_str() {
        "cpu" => Device::cpu(),
        _ => Device::gpu(),
    };
    let why = nmos::ggml::no_gpu().unwrap_or("no GPU; set NMOS_GGML_CUDA to ggml's library for it");
    let device = device.context(why)?;
    let model = Model::open(&locate::resolve(&args.model)?)?;
    let mut bench = Bench {
        args,
        device,
        report: Report::default(),
    };
    bench.measure(&model)?;
    if let Some(path) = &bench.args.json {
        let json = serde_json::to_string_pretty(&bench.report)?;
        std::fs::write(path, json + "\n")?;
    }
    let failed = &bench.report.failed;
    ensure!(failed.is_empty(), "does not hold: {}", failed.join("; "));
    Ok(())
}

impl Bench {
    fn max_nodes(&self) -> usize {
        let nodes = self.args.nodes.iter().copied().max().unwrap_or(1);
        if self.args.widths {
            nodes.max(widths::WIDEST)
        } else {
            nodes
        }
    }

    /// The model on the CPU, or on the device with this much of its memory for weights.
    fn open(&self, model: &Model, on_device: Option<Bytes>) -> anyhow::Result<LayerOracle> {
        let shards = &model.shards;
        let weights = (self.args.weights).unwrap_or(Bytes(2 * total_bytes(shards).0));
        let window = on_device.map(|bytes| WindowPlan::new(shards, bytes));
        let window = window.transpose()?;
        let plan = match &window {
            Some(window) => Plan::before_device(shards, &window.stays, weights)?,
            None => Plan::new(shards, weights)?,
        };
        let options = LayerOracleOptions {
            ctx_tokens: self.args.ctx,
            threads: self.args.threads,
            max_nodes: self.max_nodes(),
            plan,
            read_sizes: ReadSizes::default(),
            device: window.map(|window| DeviceOptions {
                device: self.device,
                window,
                kv: KvMemory::Paged,
            }),
        };
        let oracle = LayerOracle::open(&model.gguf, &model.layout, options, &Hub::new())?;
        Ok(oracle)
    }

    /// What is in use on the device, by the driver's figure.
    fn used(&mut self, when: &str) {
        let (free, total) = self.device.memory();
        let used = total.0 - free.0;
        println!("in use on the device {when}: {}", Bytes(used));
        self.report.vram_used.push((when.to_owned(), used));
    }

    fn measure(&mut self, model: &Model) -> anyhow::Result<()> {
        let (free, total) = self.device.memory();
        println!(
            "{} ({}), {free} of {total} free, {:?}",
            self.device.name(),
            self.device.description(),
            self.device.caps()
        );
        println!("{}", model.gguf.name());
        self.report.device = self.device.description();
        self.report.on_gpu = !self.device.is_cpu();
        self.report.model = model.gguf.name();
        self.report.model_bytes = total_bytes(&model.shards).0;
        self.report.vram = self.args.vram.0;
        self.used("at the start");
        if self.args.compare {
            self.compare(model)?;
            for quant in self.args.also.clone() {
                self.compare_copy(model, quant)?;
            }
            compare::print(&self.report.compared);
            let failed = self.report.compared.iter().filter_map(|c| c.failure());
            self.report.failed.extend(failed);
        }
        if self.args.widths {
            self.widths(model)?;
        }
        if self.args.kv
            && let Err(error) = self.kv(model)
        {
            println!("KV pages: {error:#}");
            self.report.failed.push(format!("KV pages: {error:#}"));
        }
        if !self.args.no_passes {
            self.passes(model)?;
        }
        Ok(())
    }

    /// Makes the model again in the types of `quant`, compares that, and removes it.
    fn compare_copy(&mut self, model: &Model, quant: Quant) -> anyhow::Result<()> {
        let name = format!("nmos-gpu-{}-{}.gguf", std::process::id(), quant.name());
        let path = std::env::temp_dir().join(name);
        let forge = Forge::new(&model.path, &Growth::default(), Some(quant), 0)?;
        let watch = Watch {
            progress: &*progress::for_stderr(),
            stop: &AtomicBool::new(false),
        };
        let means = Means {
            ram: Bytes::mib(1024),
            threads: 1,
        };
        forge.make(&path, means, false, &watch)?;
        let compared = Model::open(&path).and_then(|copy| self.compare(&copy));
        std::fs::remove_file(&path)?;
        compared
    }
}

/// Tokens that make no sense, from the `from`th on.
fn noise(count: usize, from: usize, n_vocab: usize) -> Vec<TokenId> {
    let token = |i: usize| TokenId(i32::try_from((i * 97 + 300) % n_vocab.min(40_000)).unwrap());
    (from..from + count).map(token).collect()
}

/// A chain of them, all of whose logits are wanted.
fn chain(nodes: usize, n_vocab: usize) -> TokenTree {
    TokenTree::chain(&noise(nodes, 0, n_vocab), 0)
}

/// The width class that a pass of so many nodes is made in.
fn class(nodes: usize) -> WidthClass {
    if nodes < WidthClass::WIDE.min {
        WidthClass::NARROW
    } else {
        WidthClass::WIDE
    }
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
}
