//! Measures passes on a device whose memory is smaller than the model: what a pass takes at
//! several widths, against the link alone and against computing alone.
//!
//! ```text
//!  link alone:     as many bytes as a pass sends, from pinned memory, nothing computed
//!  compute alone:  the same passes with all weights on the device (where they fit)
//!  pass:           the window, copies beside computing
//! ```
//!
//! `--compare` first holds the device's logits against the CPU's. Without a GPU it fails, unless
//! `--device cpu` asks for the stand-in.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark may panic where it cannot go on"
)]

use anyhow::{Context, ensure};
use clap::Parser;
use nmos::ggml::{Device, link_gb_s};
use nmos::model::{Gguf, ModelLayout, catalog};
use nmos::oracle::{
    DeviceOptions, LayerOracle, LayerOracleOptions, Oracle, TokenTree, WidthClass, argmax,
};
use nmos::river::{Placement, ReadSizes, WindowPlan, catalogue};
use nmos::session::VramBudget;
use nmos::telemetry::Hub;
use nmos::units::{Bytes, TokenId};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

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
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Passes of one node in a row at the end, to see whether memory grows.
    #[arg(long, default_value_t = 0)]
    endurance: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Compare with the CPU's logits first.
    #[arg(long)]
    compare: bool,
    /// Measure computing alone: all weights on the device.
    #[arg(long)]
    compute_alone: bool,
    #[arg(long)]
    json: Option<PathBuf>,
    /// Given by cargo to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    device: String,
    model: String,
    model_bytes: u64,
    vram: u64,
    window: String,
    link_gb_s: f64,
    bytes_a_pass: u64,
    link_s: f64,
    /// Nodes, seconds.
    pass_s: Vec<(usize, f64)>,
    compute_s: Vec<(usize, f64)>,
    /// In use on the device by the driver's figure, all processes.
    vram_used: Vec<(String, u64)>,
    compared: Option<Compared>,
}

#[derive(Debug, Serialize)]
struct Compared {
    tokens: usize,
    worst: f32,
    mean: f32,
    largest_logit: f32,
    same_first: usize,
}

struct Bench {
    args: Args,
    gguf: Gguf,
    layout: ModelLayout,
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
    let gguf = Gguf::open(&catalog::resolve(&args.model)?)?;
    let layout = ModelLayout::from_gguf(&gguf)?;
    let mut bench = Bench {
        args,
        gguf,
        layout,
        device,
        report: Report::default(),
    };
    bench.measure()?;
    if let Some(path) = &bench.args.json {
        let json = serde_json::to_string_pretty(&bench.report)?;
        std::fs::write(path, json + "\n")?;
    }
    Ok(())
}

impl Bench {
    fn open(&self, window: Option<Bytes>) -> anyhow::Result<LayerOracle> {
        let all: u64 = catalogue(&self.layout).iter().map(|s| s.bytes as u64).sum();
        let options = LayerOracleOptions {
            ctx_tokens: self.args.ctx,
            threads: self.args.threads,
            max_nodes: self.args.nodes.iter().copied().max().unwrap_or(1),
            weight_bytes: self.args.weights.unwrap_or(Bytes(2 * all)),
            placement: Placement::Even,
            read_sizes: ReadSizes::default(),
            device: window.map(|weight_bytes| DeviceOptions {
                device: self.device,
                weight_bytes,
            }),
        };
        LayerOracle::open(&self.gguf, &self.layout, options, &Hub::new())
    }

    /// What is in use on the device, by the driver's figure.
    fn used(&mut self, when: &str) {
        let (free, total) = self.device.memory();
        let used = total.0 - free.0;
        println!("in use on the device {when}: {}", Bytes(used));
        self.report.vram_used.push((when.to_owned(), used));
    }

    fn measure(&mut self) -> anyhow::Result<()> {
        let shards = catalogue(&self.layout);
        let (free, total) = self.device.memory();
        self.report.device = self.device.description();
        println!(
            "{} ({}), {free} of {total} free, {:?}",
            self.device.name(),
            self.device.description(),
            self.device.caps()
        );
        self.used("at the start");
        if self.args.compare {
            self.compare()?;
        }
        let most = self.args.nodes.iter().copied().max().unwrap_or(1);
        let budget = VramBudget::new(self.args.vram, &self.layout, &shards, self.args.ctx, most)?;
        for (owner, bytes) in &budget.owners {
            println!("  {owner}: {bytes}");
        }
        let plan = &budget.window;
        let staying = plan.stays.iter().filter(|s| **s).count();
        let window = format!(
            "{} slots of {}, {staying} of {} shards stay ({})",
            plan.slots,
            Bytes(plan.slot_bytes as u64),
            shards.len(),
            Bytes(plan.staying_bytes as u64)
        );
        println!("window: {window}");
        let passing = shards.iter().zip(&plan.stays).filter(|(_, stays)| !**stays);
        let tensors = passing.flat_map(|(s, _)| &s.tensors);
        let a_pass: u64 = tensors.map(|t| t.bytes as u64).sum();
        self.report.model = self.gguf.name();
        self.report.model_bytes = shards.iter().map(|s| s.bytes as u64).sum();
        self.report.vram = self.args.vram.0;
        self.report.window = window;
        let gb_s = link_gb_s(self.device, plan.slot_bytes.max(1 << 20))?;
        let link_s = a_pass as f64 / gb_s / 1e9;
        println!(
            "link alone: {gb_s:.2} GB/s; {} a pass: {link_s:.4} s",
            Bytes(a_pass)
        );
        (self.report.link_gb_s, self.report.bytes_a_pass) = (gb_s, a_pass);
        self.report.link_s = link_s;
        let began = Instant::now();
        let mut oracle = self.open(Some(budget.weights))?;
        println!("opened in {:.1} s", began.elapsed().as_secs_f64());
        self.report.pass_s = self.passes(&mut oracle, "pass")?;
        println!("scratch: {}", Bytes(oracle.scratch_bytes() as u64));
        self.used("after the passes");
        let rss = || nmos::system::rss().unwrap_or_default();
        if self.args.endurance > 0 {
            println!("held by the process before: {}", rss());
            for _ in 0..self.args.endurance {
                let tree = chain(1, self.layout.shape.n_vocab);
                oracle.pass(&tree, WidthClass::WIDE)?;
            }
            println!(
                "held by the process after {}: {}",
                self.args.endurance,
                rss()
            );
            self.used("after the endurance passes");
        }
        drop(oracle);
        if self.args.compute_alone {
            let all: usize = shards.iter().map(WindowPlan::bytes_of).sum();
            let mut oracle = self.open(Some(Bytes(all as u64)))?;
            self.report.compute_s = self.passes(&mut oracle, "compute alone")?;
        }
        let alone = self.report.compute_s.iter().map(|(_, s)| *s);
        for ((nodes, pass), compute) in self.report.pass_s.iter().zip(alone) {
            let floor = link_s.max(compute);
            println!("{nodes} nodes: {:.3} of max(link, compute)", pass / floor);
        }
        Ok(())
    }

    /// The median time of passes of every width, behind a few tokens.
    fn passes(&self, oracle: &mut LayerOracle, what: &str) -> anyhow::Result<Vec<(usize, f64)>> {
        let n_vocab = self.layout.shape.n_vocab;
        oracle.pass(&chain(PREFIX, n_vocab), WidthClass::BATCH)?;
        oracle.commit(&(0..PREFIX).collect::<Vec<_>>());
        let mut rows = Vec::new();
        for &nodes in &self.args.nodes {
            let tree = chain(nodes, n_vocab);
            let width = if nodes < WidthClass::WIDE.min {
                WidthClass::NARROW
            } else {
                WidthClass::WIDE
            };
            let mut times = Vec::new();
            // The first brings slots, scratch memory and kernels to this width.
            for _ in 0..=self.args.rounds {
                let began = Instant::now();
                oracle.pass(&tree, width)?;
                times.push(began.elapsed().as_secs_f64());
            }
            times.remove(0);
            times.sort_by(f64::total_cmp);
            let median = times[times.len() / 2];
            println!(
                "{what}, {nodes} nodes: {median:.4} s ({:.4} to {:.4})",
                times[0],
                times[times.len() - 1]
            );
            rows.push((nodes, median));
        }
        Ok(rows)
    }

    /// Holds the device's logits against the CPU's, on a chain with a prefix.
    fn compare(&mut self) -> anyhow::Result<()> {
        let tokens = 48;
        let logits = |oracle: &mut LayerOracle| -> anyhow::Result<Vec<Vec<f32>>> {
            let mut rows = Vec::new();
            for part in 0..2 {
                let tree = text(tokens, part * tokens, self.layout.shape.n_vocab);
                let output = oracle.pass(&tree, WidthClass::BATCH)?;
                let row = |i| output.logits.of(i).map(<[f32]>::to_vec);
                rows.extend((0..tokens).filter_map(row));
                oracle.commit(&(0..tokens).collect::<Vec<_>>());
            }
            Ok(rows)
        };
        let expected = logits(&mut self.open(None)?)?;
        let shards = catalogue(&self.layout);
        let all: u64 = shards.iter().map(|s| WindowPlan::bytes_of(s) as u64).sum();
        let window = WindowPlan::least(&shards).0.max(all / 2);
        let seen = logits(&mut self.open(Some(Bytes(window)))?)?;
        ensure!(seen.len() == expected.len(), "rows are missing");
        let (mut worst, mut sum, mut count, mut largest) = (0_f32, 0.0, 0, 0_f32);
        let mut same_first = 0;
        for (a, b) in seen.iter().zip(&expected) {
            for (x, y) in a.iter().zip(b) {
                ensure!(x.is_finite(), "a logit is no number");
                worst = worst.max((x - y).abs());
                largest = largest.max(y.abs());
                sum += (x - y).abs();
                count += 1;
            }
            same_first += usize::from(argmax(a) == argmax(b));
        }
        let compared = Compared {
            tokens: seen.len(),
            worst,
            mean: sum / count as f32,
            largest_logit: largest,
            same_first,
        };
        println!("against the CPU: {compared:?}");
        self.report.compared = Some(compared);
        Ok(())
    }
}

fn chain(nodes: usize, n_vocab: usize) -> TokenTree {
    text(nodes, 0, n_vocab)
}

fn text(nodes: usize, from: usize, n_vocab: usize) -> TokenTree {
    let token = |i: usize| TokenId(i32::try_from((i * 97 + 300) % n_vocab.min(40_000)).unwrap());
    let tokens: Vec<_> = (from..from + nodes).map(token).collect();
    TokenTree::chain(&tokens, 0)
}
