//! What one text for all widths costs: passes by ggml's plain kernels, which compute each token
//! alone, against its fastest ones, which want at least 8 tokens and are padded to them.

use crate::passes::{Bench, SHARES};
use crate::stats::median;
use nmos::model::{Gguf, ModelLayout};
use nmos::oracle::WidthClass;
use nmos::river::{Pinning, catalogue, total_bytes};
use nmos::units::Bytes;
use serde::Serialize;
use std::path::Path;

/// Nodes of a pass.
const NODES: [usize; 7] = [1, 2, 8, 16, 32, 63, WidthClass::WIDE.max];

#[derive(Debug, Serialize)]
pub struct Row {
    /// Of the oracle's weights.
    pub resident_percent: u64,
    pub nodes: usize,
    /// Medians, in seconds.
    pub fastest_s: f64,
    pub plain_s: f64,
    /// Plain over fastest, median of pairs.
    pub ratio: f64,
}

/// All shares and widths, a pass by each in turn; a row is printed when it is measured.
pub fn measure(model: &Path, rounds: usize, threads: usize) -> anyhow::Result<Vec<Row>> {
    let gguf = Gguf::open(model)?;
    let layout = ModelLayout::from_gguf(&gguf)?;
    let all = total_bytes(&catalogue(&layout));
    println!("one text for all widths: plain kernels against the fastest");
    let mut rows = Vec::new();
    for resident_percent in [100].into_iter().chain(SHARES) {
        let weights = Bytes(all.0 * resident_percent / 100);
        let classes = [WidthClass::WIDE, WidthClass::PLAIN];
        let mut bench = Bench::open(&gguf, &layout, weights, Pinning::Even, threads, classes[0])?;
        for nodes in NODES {
            let mut pairs = Vec::new();
            for _ in 0..rounds {
                let [fastest, plain] = classes.map(|class| bench.pass(nodes, class));
                pairs.push([fastest?.0, plain?.0]);
            }
            let row = Row {
                resident_percent,
                nodes,
                fastest_s: median(pairs.iter().map(|p| p[0])),
                plain_s: median(pairs.iter().map(|p| p[1])),
                ratio: median(pairs.iter().map(|p| p[1] / p[0])),
            };
            row.print();
            rows.push(row);
        }
    }
    Ok(rows)
}

impl Row {
    fn print(&self) {
        println!(
            "  {:>3}% resident  {:>3} nodes  {:>6.0} against {:>6.0} ms ({:.2})",
            self.resident_percent,
            self.nodes,
            self.plain_s * 1e3,
            self.fastest_s * 1e3,
            self.ratio
        );
    }
}
