//! What a pass costs against the longer of reading and computing.

use crate::disk::Disk;
use crate::stats::median;
use nmos::model::{Gguf, ModelLayout};
use nmos::oracle::{LayerOracle, LayerOracleOptions, Oracle, TokenTree, WidthClass};
use nmos::river::{Pinning, Plan, catalogue, total_bytes};
use nmos::telemetry::Hub;
use nmos::units::{Bytes, TokenId};
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// Nodes of a pass.
const NODES: [usize; 4] = [1, 8, 16, 32];

/// Resident shares of the oracle's weights, in percent.
pub const SHARES: [u64; 3] = [25, 50, 75];

/// Context of these passes.
const CTX: usize = 1024;

/// What answers with a draft are computed in.
const CLASS: WidthClass = WidthClass::BATCH;

/// Tokens that are in the context.
const PREFIX: usize = 32;

#[derive(Debug, Serialize)]
pub struct Row {
    pub model: String,
    pub model_bytes: u64,
    pub nodes: usize,
    pub resident_bytes: u64,
    pub streamed_bytes: u64,
    /// Medians, in seconds.
    pub pass_s: f64,
    pub stall_s: f64,
    /// `streamed_bytes` at the disk's own speed.
    pub disk_s: f64,
    /// The same pass with all weights in memory.
    pub compute_s: f64,
    /// `pass_s` over the longer of the two.
    pub ratio: f64,
    /// What the ratio should not pass.
    pub limit: f64,
}

/// All shares and widths, a round of each in turn.
pub fn measure(
    model: &Path,
    disk: &Disk,
    rounds: usize,
    threads: usize,
) -> anyhow::Result<Vec<Row>> {
    let gguf = Gguf::open(model)?;
    let layout = ModelLayout::from_gguf(&gguf)?;
    let all = total_bytes(&catalogue(&layout));
    let open = |weights| Bench::open(&gguf, &layout, weights, Pinning::Even, threads, CLASS);
    let mut resident = open(all)?;
    let mut rows = Vec::new();
    for share in SHARES {
        let weights = Bytes(all.0 * share / 100);
        let mut streamed = open(weights)?;
        for nodes in NODES {
            let mut times = Vec::new();
            for _ in 0..rounds {
                times.push((resident.pass(nodes, CLASS)?.0, streamed.pass(nodes, CLASS)?));
            }
            let compute_s = median(times.iter().map(|t| t.0));
            let pass_s = median(times.iter().map(|t| t.1.0));
            let stall_s = median(times.iter().map(|t| t.1.1));
            rows.push(streamed.row(&gguf, nodes, disk, (pass_s, stall_s, compute_s)));
        }
    }
    Ok(rows)
}

/// Even spread against the first layers, with half of the weights resident.
#[derive(Debug, Serialize)]
pub struct Placements {
    pub nodes: usize,
    /// Medians of passes one after another, in seconds: even, first.
    pub pass_s: [f64; 2],
    /// The same of passes that find the ring full, as the first one after Enter does.
    pub first_s: [f64; 2],
    /// The first placement over the even one, median of pairs.
    pub pass_ratio: f64,
    pub first_ratio: f64,
}

/// Long enough for the ring to be full.
const PAUSE: Duration = Duration::from_millis(300);

/// Both placements, a pass of each in turn.
pub fn placements(model: &Path, rounds: usize, threads: usize) -> anyhow::Result<Vec<Placements>> {
    let gguf = Gguf::open(model)?;
    let layout = ModelLayout::from_gguf(&gguf)?;
    let half = Bytes(total_bytes(&catalogue(&layout)).0 / 2);
    let open = |pinning| Bench::open(&gguf, &layout, half, pinning, threads, CLASS);
    let mut both = [open(Pinning::Even)?, open(Pinning::First)?];
    let mut rows = Vec::new();
    for nodes in NODES {
        let (mut passes, mut firsts) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let [even, first] = &mut both;
            passes.push([even.pass(nodes, CLASS)?.0, first.pass(nodes, CLASS)?.0]);
            std::thread::sleep(PAUSE);
            firsts.push([even.once(nodes, CLASS)?.0, first.once(nodes, CLASS)?.0]);
        }
        let medians = |times: &[[f64; 2]]| [0, 1].map(|i| median(times.iter().map(|t| t[i])));
        let ratio = |times: &[[f64; 2]]| median(times.iter().map(|t| t[1] / t[0]));
        rows.push(Placements {
            nodes,
            pass_s: medians(&passes),
            first_s: medians(&firsts),
            pass_ratio: ratio(&passes),
            first_ratio: ratio(&firsts),
        });
    }
    Ok(rows)
}

pub fn print_placements(rows: &[Placements]) {
    println!("\nhalf of the weights resident: evenly spread, or the first ones");
    for row in rows {
        println!(
            "  {:>3} nodes  pass {:>4.0} or {:>4.0} ms ({:.3})   with the ring full {:>4.0} or \
             {:>4.0} ms ({:.3})",
            row.nodes,
            row.pass_s[0] * 1e3,
            row.pass_s[1] * 1e3,
            row.pass_ratio,
            row.first_s[0] * 1e3,
            row.first_s[1] * 1e3,
            row.first_ratio
        );
    }
}

/// An oracle with a prefix in its context and its first laps done.
pub struct Bench {
    oracle: LayerOracle,
}

impl Bench {
    /// For passes of `class` and of narrower ones.
    pub fn open(
        gguf: &Gguf,
        layout: &ModelLayout,
        weight_bytes: Bytes,
        pinning: Pinning,
        threads: usize,
        class: WidthClass,
    ) -> anyhow::Result<Self> {
        let options = LayerOracleOptions {
            ctx_tokens: CTX,
            threads,
            max_nodes: class.max,
            plan: Plan::pinned_by(&catalogue(layout), weight_bytes, pinning)?,
            read_sizes: nmos::plan::read_sizes(gguf.path()),
            device: None,
        };
        let mut oracle = LayerOracle::open(gguf, layout, options, &Hub::new())?;
        oracle.pass(&chain(PREFIX), class)?;
        let path: Vec<_> = (0..PREFIX).collect();
        oracle.commit(&path);
        oracle.pass(&chain(1), class)?;
        Ok(Self { oracle })
    }

    /// Seconds of a pass, and of those that waited for weights.
    pub fn pass(&mut self, nodes: usize, class: WidthClass) -> anyhow::Result<(f64, f64)> {
        // The pass before this one left the ring full, as a session's pauses do not: two in a
        // row, of which the second counts, are what an answer is made of.
        self.oracle.pass(&chain(nodes), class)?;
        self.once(nodes, class)
    }

    fn once(&mut self, nodes: usize, class: WidthClass) -> anyhow::Result<(f64, f64)> {
        let cost = self.oracle.pass(&chain(nodes), class)?.cost;
        Ok((cost.wall_us as f64 / 1e6, cost.stall_us as f64 / 1e6))
    }

    fn row(
        &self,
        gguf: &Gguf,
        nodes: usize,
        disk: &Disk,
        (pass_s, stall_s, compute_s): (f64, f64, f64),
    ) -> Row {
        let plan = self.oracle.plan();
        let disk_s = plan.streamed_bytes as f64 / disk.bytes_per_s();
        let apart = disk_s >= 2.0 * compute_s || compute_s >= 2.0 * disk_s;
        Row {
            model: gguf.name(),
            model_bytes: gguf.file_bytes(),
            nodes,
            resident_bytes: plan.pinned_bytes as u64,
            streamed_bytes: plan.streamed_bytes as u64,
            pass_s,
            stall_s,
            disk_s,
            compute_s,
            ratio: pass_s / disk_s.max(compute_s),
            limit: if apart { 1.05 } else { 1.15 },
        }
    }
}

/// A chain of `nodes` tokens, all of which want logits.
fn chain(nodes: usize) -> TokenTree {
    let tokens: Vec<_> = (0..nodes)
        .map(|i| TokenId(100 + i32::try_from(i).unwrap_or(0) * 7))
        .collect();
    TokenTree::chain(&tokens, 0)
}

pub fn print(rows: &[Row]) {
    println!("\npasses of the oracle");
    println!(
        "  {:>7} {:>9} {:>9} {:>5} {:>8} {:>8} {:>8} {:>8} {:>6} {:>6}",
        "file",
        "resident",
        "streamed",
        "nodes",
        "pass",
        "stall",
        "disk",
        "compute",
        "ratio",
        "limit"
    );
    for row in rows {
        println!(
            "  {:>4.1} GB {:>6.0} MB {:>6.0} MB {:>5} {:>6.0} ms {:>5.0} ms {:>5.0} ms {:>5.0} ms \
             {:>6.3} {:>6}",
            row.model_bytes as f64 / 1e9,
            row.resident_bytes as f64 / 1e6,
            row.streamed_bytes as f64 / 1e6,
            row.nodes,
            row.pass_s * 1e3,
            row.stall_s * 1e3,
            row.disk_s * 1e3,
            row.compute_s * 1e3,
            row.ratio,
            row.limit
        );
    }
}
