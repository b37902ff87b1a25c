//! What a pass takes at several widths, against what bounds it.
//!
//! ```text
//!  link alone:     as many bytes as a pass sends, from pinned memory, nothing computed
//!  disk alone:     as many bytes as a pass reads (where memory holds not all), nothing sent
//!  compute alone:  the same passes with all weights on the device (where they fit)
//!  pass:           the window, reads and copies during computing
//! ```

use super::timeline::Timeline;
use super::{Bench, Model, PREFIX, chain, class, disk};
use nmos::ggml::link_gb_s;
use nmos::oracle::{LayerOracle, Oracle, WidthClass};
use nmos::plan::DevicePlacement;
use nmos::river::ReadSizes;
use nmos::units::Bytes;
use serde::Serialize;
use std::time::Instant;

#[derive(Debug, Serialize)]
pub struct Passes {
    window: String,
    /// Of the host, for weights; `None`: all of them are there.
    weights: Option<u64>,
    link_gb_s: f64,
    sent_a_pass: u64,
    link_s: f64,
    disk: Option<Disk>,
    rows: Vec<Row>,
    timelines: Vec<Timeline>,
    rss: Vec<(String, u64)>,
}

#[derive(Debug, Serialize)]
struct Disk {
    gb_s: f64,
    read_a_pass: u64,
    seconds: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Row {
    nodes: usize,
    /// Median, least and most.
    pass_s: [f64; 3],
    /// Bytes from the disk in a pass, in the mean.
    read_bytes: u64,
    compute_s: Option<f64>,
    /// `pass_s` over the longest of what bounds it.
    of_floor: f64,
}

impl Bench {
    pub(super) fn passes(&mut self, model: &Model) -> anyhow::Result<()> {
        let (vram, ctx, most) = (self.args.vram, self.args.ctx, self.max_nodes());
        let device = (self.device, vram);
        let placed = DevicePlacement::new(device, &model.layout, &model.shards, (ctx, most), None)?;
        for entry in placed.ledger.entries() {
            println!("  {}: {}", entry.owner.name(), entry.bytes);
        }
        let window = &placed.window;
        let staying = window.stays.iter().filter(|s| **s).count();
        let text = format!(
            "{} slots of {}, {staying} of {} shards stay ({})",
            window.slots,
            Bytes(window.slot_bytes as u64),
            model.shards.len(),
            Bytes(window.staying_bytes as u64)
        );
        println!("window: {text}");
        let passing = model.shards.iter().zip(&window.stays);
        let tensors = passing
            .filter(|(_, stays)| !**stays)
            .flat_map(|(shard, _)| &shard.tensors);
        let sent_a_pass: u64 = tensors.map(|t| t.bytes as u64).sum();
        let link_gb_s = link_gb_s(self.device, window.slot_bytes.max(1 << 20))?;
        let link_s = sent_a_pass as f64 / link_gb_s / 1e9;
        println!(
            "link alone: {link_gb_s:.2} GB/s; {} a pass: {link_s:.4} s",
            Bytes(sent_a_pass)
        );
        let mut found = Passes {
            window: text,
            weights: self.args.weights.map(|w| w.0),
            link_gb_s,
            sent_a_pass,
            link_s,
            disk: None,
            rows: Vec::new(),
            timelines: Vec::new(),
            rss: Vec::new(),
        };
        let began = Instant::now();
        let mut oracle = self.open(model, Some(placed.weights))?;
        println!("opened in {:.1} s", began.elapsed().as_secs_f64());
        let plan = oracle.plan().clone();
        found.rows = self.times(model, &mut oracle, "pass")?;
        println!("scratch: {}", Bytes(oracle.scratch_bytes() as u64));
        self.used("after the passes");
        if self.args.timeline {
            found.timelines = self.timelines(model, &mut oracle)?;
        }
        if self.args.endurance > 0 {
            found.rss = self.endure(model, &mut oracle)?;
        }
        drop(oracle);
        if plan.streamed_bytes > 0 {
            let gb_s = disk::gb_s(model, self.device, &plan, ReadSizes::default())?;
            let read_a_pass = plan.streamed_bytes as u64;
            let seconds = read_a_pass as f64 / gb_s / 1e9;
            println!(
                "disk alone: {gb_s:.2} GB/s; {} a pass: {seconds:.4} s",
                Bytes(read_a_pass)
            );
            found.disk = Some(Disk {
                gb_s,
                read_a_pass,
                seconds,
            });
        }
        if self.args.compute_alone {
            let mut oracle = self.open(model, Some(model.whole()))?;
            let alone = self.times(model, &mut oracle, "compute alone")?;
            for (row, alone) in found.rows.iter_mut().zip(alone) {
                row.compute_s = Some(alone.pass_s[0]);
            }
        }
        let disk_s = found.disk.as_ref().map_or(0.0, |d| d.seconds);
        for row in &mut found.rows {
            let bounds = [
                ("link", link_s),
                ("disk", disk_s),
                ("computing", row.compute_s.unwrap_or(0.0)),
            ];
            let (name, floor) = bounds
                .into_iter()
                .max_by(|a, b| a.1.total_cmp(&b.1))
                .unwrap_or_default();
            row.of_floor = row.pass_s[0] / floor;
            println!(
                "{} nodes: {:.4} s, {:.3} of {name} alone ({floor:.4} s)",
                row.nodes, row.pass_s[0], row.of_floor
            );
        }
        self.report.passes = Some(found);
        Ok(())
    }

    /// What the process holds before and after many passes of one node.
    fn endure(
        &mut self,
        model: &Model,
        oracle: &mut LayerOracle,
    ) -> anyhow::Result<Vec<(String, u64)>> {
        let mut held = Vec::new();
        let mut note = |when: &str| {
            let rss = nmos::system::rss().unwrap_or_default();
            println!("held by the process {when}: {rss}");
            held.push((when.to_owned(), rss.0));
        };
        note("before the endurance passes");
        let tree = chain(1, model.n_vocab());
        for _ in 0..self.args.endurance {
            oracle.pass(&tree, WidthClass::WIDE)?;
        }
        note("after the endurance passes");
        self.used("after the endurance passes");
        Ok(held)
    }

    /// The times of passes of every width, after a few tokens.
    fn times(
        &self,
        model: &Model,
        oracle: &mut LayerOracle,
        what: &str,
    ) -> anyhow::Result<Vec<Row>> {
        oracle.pass(&chain(PREFIX, model.n_vocab()), WidthClass::BATCH)?;
        oracle.commit(&(0..PREFIX).collect::<Vec<_>>());
        let mut rows = Vec::new();
        for &nodes in &self.args.nodes {
            let tree = chain(nodes, model.n_vocab());
            let width = class(nodes);
            // The first brings slots, scratch memory and kernels to this width.
            oracle.pass(&tree, width)?;
            let before = oracle.bytes_read();
            let mut times = Vec::new();
            for _ in 0..self.args.rounds {
                let began = Instant::now();
                oracle.pass(&tree, width)?;
                times.push(began.elapsed().as_secs_f64());
            }
            let read = oracle.bytes_read() - before;
            times.sort_by(f64::total_cmp);
            let pass_s = [times[times.len() / 2], times[0], times[times.len() - 1]];
            let [median, least, most] = pass_s;
            println!("{what}, {nodes} nodes: {median:.4} s ({least:.4} to {most:.4})");
            rows.push(Row {
                nodes,
                pass_s,
                read_bytes: read / self.args.rounds.max(1) as u64,
                compute_s: None,
                of_floor: 0.0,
            });
        }
        Ok(rows)
    }
}
