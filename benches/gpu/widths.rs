//! At which widths a token keeps its bits.
//!
//! A token after the same tokens is computed in passes of several widths, and in each
//!
//! ```text
//!  as before   [ 0 1 2 3 . . ]      against the same tokens in the width before
//!  moved         [ 1 2 3 . . . ]    the first one committed: each is one place further up
//!  padded      [ 0 1 2 _ _ _ ]      half of them, padded to the same width
//!  in a tree   [ 0 1 2 3 . . ]      nodes of a bush, against their branch alone, padded as well
//! ```
//!
//! A width class is a run of widths in which all four keep the bits; where only the last three
//! do, passes of that one width do.

use super::{Bench, Model, noise, same_bits};
use nmos::oracle::{LayerOracle, Oracle, TokenTree, TreeNode, Trees, WidthClass};
use nmos::units::TokenId;
use serde::Serialize;

const WIDTHS: [usize; 14] = [1, 2, 4, 7, 8, 9, 16, 32, 63, 64, 65, 128, 256, 512];
pub const WIDEST: usize = 512;

/// Tokens before those of the passes: few, and so many that attention has other kernels.
const PREFIXES: [usize; 2] = [20, 700];

/// How many tokens' logits differ in their bits, of how many, and the largest difference.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Differ {
    tokens: usize,
    of: usize,
    worst: f32,
}

impl Differ {
    fn add(&mut self, a: &[f32], b: &[f32]) {
        self.of += 1;
        if !same_bits(a, b) {
            self.tokens += 1;
            let by = |(x, y): (&f32, &f32)| (x - y).abs();
            self.worst = a.iter().zip(b).map(by).fold(self.worst, f32::max);
        }
    }

    fn between(a: &[Vec<f32>], b: &[Vec<f32>]) -> Self {
        let mut found = Self::default();
        a.iter().zip(b).for_each(|(a, b)| found.add(a, b));
        found
    }

    fn none(self) -> bool {
        self.tokens == 0
    }

    fn text(self) -> String {
        match (self.of, self.tokens) {
            (0, _) => "-".to_owned(),
            (_, 0) => "same".to_owned(),
            (of, n) => format!("{n} of {of}, {:.2}", self.worst),
        }
    }
}

/// One width, see the module's text.
#[derive(Debug, Serialize)]
pub struct Row {
    prefix: usize,
    width: usize,
    as_before: Differ,
    moved: Differ,
    padded: Differ,
    in_a_tree: Differ,
}

impl Bench {
    pub(super) fn widths(&mut self, model: &Model) -> anyhow::Result<()> {
        let mut oracle = self.open(model, Some(model.whole()))?;
        println!("\ntokens whose logits are other bits, and by how much at most");
        println!(
            "   after  width  {:18}  {:18}  {:18}  {:18}",
            "as before", "moved", "padded", "in a tree"
        );
        for prefix in PREFIXES {
            if prefix + WIDEST > oracle.capacity() {
                println!("  {prefix:6}  left out: --ctx is too small");
                continue;
            }
            let text = noise(prefix + WIDEST + 1, 0, model.n_vocab());
            oracle.truncate(0);
            for chunk in text[..prefix].chunks(WidthClass::BATCH.max) {
                rows(&mut oracle, chunk, 1)?;
                oracle.commit(&(0..chunk.len()).collect::<Vec<_>>());
            }
            let mut before: Vec<Vec<f32>> = Vec::new();
            for width in WIDTHS {
                let (row, chain) = one(&mut oracle, &text[prefix..], (prefix, width), &before)?;
                println!(
                    "  {prefix:6}  {width:5}  {:18}  {:18}  {:18}  {:18}",
                    row.as_before.text(),
                    row.moved.text(),
                    row.padded.text(),
                    row.in_a_tree.text()
                );
                self.check(&oracle, &row);
                self.report.widths.push(row);
                before = chain;
            }
        }
        Ok(())
    }

    /// What the oracle says of itself must hold.
    fn check(&mut self, oracle: &LayerOracle, row: &Row) {
        let wide = WidthClass::WIDE.min..=WidthClass::WIDE.max;
        if oracle.trees() != Trees::Exact || !wide.contains(&row.width) {
            return;
        }
        let all = [row.moved, row.padded, row.in_a_tree];
        let before = row.width == WidthClass::WIDE.min || row.as_before.none();
        if !before || !all.into_iter().all(Differ::none) {
            let what = format!("bits at width {} after {} tokens", row.width, row.prefix);
            self.report.failed.push(what);
        }
    }
}

/// The logits of a chain of `tokens`, padded to `width`.
fn rows(
    oracle: &mut LayerOracle,
    tokens: &[TokenId],
    width: usize,
) -> anyhow::Result<Vec<Vec<f32>>> {
    let class = WidthClass {
        min: width,
        max: WIDEST,
    };
    let output = oracle.pass(&TokenTree::chain(tokens, 0), class)?;
    let row = |i| output.logits.of(i).map(<[f32]>::to_vec);
    Ok((0..tokens.len()).filter_map(row).collect())
}

/// One width after `prefix` committed tokens, and the logits of the chain.
fn one(
    oracle: &mut LayerOracle,
    text: &[TokenId],
    (prefix, width): (usize, usize),
    before: &[Vec<f32>],
) -> anyhow::Result<(Row, Vec<Vec<f32>>)> {
    oracle.truncate(prefix);
    let chain = rows(oracle, &text[..width], width)?;
    oracle.commit(&[0]);
    let moved = rows(oracle, &text[1..=width], width)?;
    oracle.truncate(prefix);
    let half = rows(oracle, &text[..width.div_ceil(2)], width)?;
    let row = Row {
        prefix,
        width,
        as_before: Differ::between(before, &chain),
        moved: Differ::between(&moved, &chain[1..]),
        padded: Differ::between(&half, &chain),
        in_a_tree: in_a_tree(oracle, text, (prefix, width))?,
    };
    oracle.truncate(prefix);
    Ok((row, chain))
}

/// A bush in which every node but the first follows one of the three before it, against the
/// branches of its last three nodes.
fn in_a_tree(
    oracle: &mut LayerOracle,
    text: &[TokenId],
    (prefix, width): (usize, usize),
) -> anyhow::Result<Differ> {
    oracle.truncate(prefix);
    let mut tree = TokenTree::new();
    for (i, &token) in text[..width].iter().enumerate() {
        tree.push(TreeNode {
            token,
            parent: i.checked_sub(1 + i % 3),
            logits: true,
        });
    }
    let class = WidthClass {
        min: width,
        max: WIDEST,
    };
    let whole = oracle.pass(&tree, class)?.logits;
    let mut found = Differ::default();
    for leaf in width.saturating_sub(3)..width {
        let mut path: Vec<_> = tree.ancestry(leaf).collect();
        path.reverse();
        let branch: Vec<_> = path.iter().map(|&n| tree.nodes()[n].token).collect();
        oracle.truncate(prefix);
        let alone = rows(oracle, &branch, width)?;
        for (&node, alone) in path.iter().zip(&alone) {
            found.add(whole.of(node).unwrap_or_default(), alone);
        }
    }
    Ok(found)
}
