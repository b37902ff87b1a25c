//! The KV cache's pages: what mapping one costs, that what they hold is right, that all of it is
//! given back, and that an oracle computes the same bits over them as over memory held whole.
//!
//! ```text
//!  pages    72B's shape, no model: reach column by column, write, read, release, again
//!  oracle   the model, over a page's border and back: paged against whole
//! ```

use super::{Bench, Model, noise, same_bits};
use anyhow::{Context, ensure};
use nmos::kv::{GRANULE_BYTES, KvMemory, LAYERS_PER_PAGE, PagedKv};
use nmos::oracle::{
    DeviceOptions, LayerOracle, LayerOracleOptions, Oracle, TokenTree, TreeNode, WidthClass,
};
use nmos::river::{Plan, ReadSizes, WindowPlan, total_bytes};
use nmos::telemetry::Hub;
use nmos::units::Bytes;
use serde::Serialize;
use std::time::Instant;

/// 72B's layers, and bytes of a token's keys and values in one.
const LAYERS: usize = 80;
const ROW_BYTES: usize = 4096;

/// Pages of a group in the first part.
const COLUMNS: usize = 4;

/// How often all pages come and go, to see whether any is lost.
const ROUNDS: usize = 50;

/// Most that the driver's figure may differ from what is expected: others use the device too.
const SLACK: u64 = 64 << 20;

#[derive(Debug, Serialize)]
pub struct Kv {
    /// Median, least and most of a page's, in microseconds: memory mapped and zeroed, and given
    /// back.
    commit_us: [f64; 3],
    release_us: [f64; 3],
    pages: usize,
    same_bits: bool,
    /// Median of a pass of 64 nodes.
    paged_s: f64,
    whole_s: f64,
}

impl Bench {
    pub(super) fn kv(&mut self, model: &Model) -> anyhow::Result<()> {
        let (commit_us, release_us) = self.pages()?;
        let pages = COLUMNS * LAYERS.div_ceil(LAYERS_PER_PAGE);
        println!(
            "KV pages: committing one takes {:.0} us ({:.0} to {:.0}), releasing {:.0} us ({:.0} \
             to {:.0}), of {pages} pages in {ROUNDS} rounds",
            commit_us[0], commit_us[1], commit_us[2], release_us[0], release_us[1], release_us[2]
        );
        let (paged, paged_s) = self.over_a_border(model, KvMemory::Paged)?;
        self.used("with an oracle's KV in pages");
        let (whole, whole_s) = self.over_a_border(model, KvMemory::Whole)?;
        let same_bits = paged.iter().zip(&whole).all(|(a, b)| same_bits(a, b));
        println!(
            "KV in pages against whole: {} in {} passes; a pass of 64 nodes takes {paged_s:.5} s \
             against {whole_s:.5} s",
            if same_bits { "same bits" } else { "other bits" },
            paged.len()
        );
        if !same_bits {
            self.report
                .failed
                .push("KV in pages: other bits".to_owned());
        }
        self.report.kv = Some(Kv {
            commit_us,
            release_us,
            pages,
            same_bits,
            paged_s,
            whole_s,
        });
        Ok(())
    }

    fn in_use(&self) -> u64 {
        let (free, total) = self.device.memory();
        total.0 - free.0
    }

    /// Fails unless the driver's figure has changed by `expected` since `before`.
    fn expect_more(&self, before: u64, expected: u64, when: &str) -> anyhow::Result<()> {
        let now = self.in_use();
        println!(
            "  {when}: {} more in use",
            Bytes(now.saturating_sub(before))
        );
        // The host's memory has other users.
        ensure!(
            self.device.is_cpu() || now.abs_diff(before + expected) <= SLACK,
            "{when}: {} in use instead of {}",
            Bytes(now),
            Bytes(before + expected)
        );
        Ok(())
    }

    /// Microseconds to commit and to release a page.
    fn pages(&self) -> anyhow::Result<([f64; 3], [f64; 3])> {
        let rows = GRANULE_BYTES / ROW_BYTES;
        let cells = COLUMNS * rows;
        let open = || PagedKv::on_device(self.device, KvMemory::Paged, LAYERS, cells, ROW_BYTES);
        // The driver's own structures are there from the first time on.
        open()?.reach(cells)?;
        let before = self.in_use();
        let mut kv = open()?;
        ensure!(
            kv.mapped_bytes() == Bytes(0),
            "this device's memory is not mapped by hand: the cache is held whole"
        );
        self.expect_more(before, 0, "reserved")?;
        let all = PagedKv::max_bytes(LAYERS, cells, ROW_BYTES);
        let groups = LAYERS.div_ceil(LAYERS_PER_PAGE) as f64;
        let (mut commits, mut releases) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            for column in 1..=COLUMNS {
                let began = Instant::now();
                kv.reach(column * rows)?;
                commits.push(began.elapsed().as_secs_f64() * 1e6 / groups);
            }
            if round == 0 {
                self.expect_more(before, all.0, "committed")?;
                contents(&mut kv, rows)?;
            }
            for column in (0..COLUMNS).rev() {
                let began = Instant::now();
                kv.release_after(column * rows);
                releases.push(began.elapsed().as_secs_f64() * 1e6 / groups);
            }
        }
        self.expect_more(before, 0, "released")?;
        kv.reach(cells)?;
        drop(kv);
        self.expect_more(before, 0, "dropped while committed")?;
        Ok((spread(commits), spread(releases)))
    }

    /// The last logits of every pass over a page's border and back, and the median of a pass of 64
    /// nodes after them.
    fn over_a_border(&self, model: &Model, kv: KvMemory) -> anyhow::Result<(Vec<Vec<f32>>, f64)> {
        const NODES: usize = WidthClass::BATCH.max;
        let row_bytes = 4 * model.layout.shape.kv_width();
        let rows = GRANULE_BYTES / row_bytes;
        let window = WindowPlan::new(&model.shards, model.whole())?;
        let weights = Bytes(2 * total_bytes(&model.shards).0);
        let options = LayerOracleOptions {
            ctx_tokens: rows + 1024,
            threads: self.args.threads,
            max_nodes: 64,
            plan: Plan::before_device(&model.shards, &window.stays, weights)?,
            read_sizes: ReadSizes::default(),
            device: Some(DeviceOptions {
                device: self.device,
                window,
                kv,
            }),
        };
        let mut oracle = LayerOracle::open(&model.gguf, &model.layout, options, &Hub::new())?;
        let mut last = Vec::new();
        let mut pass = |oracle: &mut LayerOracle, tree: &TokenTree, path: &[usize]| {
            let output = oracle.pass(tree, WidthClass::of(tree.len()))?;
            let logits = output.logits.of(tree.len() - 1).context("no logits")?;
            last.push(logits.to_vec());
            oracle.commit(path);
            anyhow::Ok(())
        };
        // Of many tokens side by side the last is kept: cells are used fast.
        for i in 0..rows.div_ceil(NODES) - 1 {
            let mut tree = TokenTree::new();
            for (node, token) in noise(NODES, i * NODES, model.n_vocab())
                .into_iter()
                .enumerate()
            {
                tree.push(TreeNode {
                    token,
                    parent: None,
                    logits: node + 1 == NODES,
                });
            }
            pass(&mut oracle, &tree, &[NODES - 1])?;
        }
        let before = oracle.len();
        for from in [0, 1000, 0] {
            oracle.truncate(before);
            for i in 0..5 {
                let tokens = noise(NODES, from + i * NODES, model.n_vocab());
                let path: Vec<_> = (0..NODES).collect();
                pass(&mut oracle, &TokenTree::chain(&tokens, NODES - 1), &path)?;
            }
        }
        let again = last.len() - 5..last.len();
        let first = last.len() - 15..last.len() - 10;
        ensure!(
            first.zip(again).all(|(a, b)| same_bits(&last[a], &last[b])),
            "the same tokens again, over pages that were given back, have other logits"
        );
        let tree = TokenTree::chain(&noise(64, 0, model.n_vocab()), 63);
        let mut times = Vec::new();
        for _ in 0..9 {
            let began = Instant::now();
            oracle.pass(&tree, WidthClass::of(64))?;
            times.push(began.elapsed().as_secs_f64());
        }
        Ok((last, spread(times)[0]))
    }
}

/// Median, least and most.
fn spread(mut times: Vec<f64>) -> [f64; 3] {
    times.sort_by(f64::total_cmp);
    [times[times.len() / 2], times[0], times[times.len() - 1]]
}

/// Checks what committed pages of `rows` rows each hold: zeros at first, then what is written
/// across every border, and zeros again where a page was given back meanwhile.
fn contents(kv: &mut PagedKv, rows: usize) -> anyhow::Result<()> {
    let zeros = |kv: &PagedKv, from: usize| -> anyhow::Result<()> {
        let len = (COLUMNS * rows - from) * ROW_BYTES;
        let mut bytes = vec![1; len];
        for layer in 0..LAYERS {
            kv.layer(layer).part(from * ROW_BYTES, len).read(&mut bytes);
            let clean = bytes.iter().all(|&byte| byte == 0);
            ensure!(clean, "layer {layer}: a new page is not zero");
        }
        Ok(())
    };
    let mark = |layer: usize, border: usize| -> Vec<u8> {
        let byte = |i: usize| (i * 7 + layer * 31 + border * 101) as u8 | 1;
        (0..2 * ROW_BYTES).map(byte).collect()
    };
    let across = |kv: &PagedKv, layer: usize, border: usize| {
        let from = (border * rows - 1) * ROW_BYTES;
        kv.layer(layer).part(from, 2 * ROW_BYTES)
    };
    zeros(kv, 0)?;
    let all = || (0..LAYERS).flat_map(|layer| (1..COLUMNS).map(move |border| (layer, border)));
    for (layer, border) in all() {
        across(kv, layer, border).write(&mark(layer, border));
    }
    let mut back = vec![0; 2 * ROW_BYTES];
    for (layer, border) in all() {
        across(kv, layer, border).read(&mut back);
        let kept = back == mark(layer, border);
        ensure!(
            kept,
            "layer {layer}: lost what was written at border {border}"
        );
    }
    kv.release_after(rows);
    kv.reach(COLUMNS * rows)?;
    zeros(kv, rows)?;
    for layer in 0..LAYERS {
        across(kv, layer, 1).read(&mut back);
        let kept = back[..ROW_BYTES] == mark(layer, 1)[..ROW_BYTES];
        ensure!(kept, "layer {layer}: a page that stayed has changed");
    }
    Ok(())
}
