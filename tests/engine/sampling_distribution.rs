//! Tokens chosen along a tree follow the oracle's own distribution, on real logits: a G-test over
//! many seeds against probabilities that are computed here, independently.

use crate::common::{SMOL, layer_oracle, rows, tokens};
use nmos::oracle::{Logits, Oracle, TokenTree, TreeNode, WidthClass, argmax};
use nmos::speculate::{Sampler, Sampling, verify};
use nmos::units::{Bytes, TokenId};
use std::collections::HashMap;

const SEEDS: u64 = 3000;

/// Logits of a root and two branches, six likely and six less likely tokens long.
fn bush() -> (Vec<TokenId>, TokenTree, Logits) {
    let prompt = tokens(
        &(0..24)
            .map(|i| 300 + (i * 7919) % 20_000)
            .collect::<Vec<_>>(),
    );
    let mut oracle = layer_oracle(SMOL, Bytes::mib(128));
    rows(&mut oracle, &prompt[..23], 23);
    let first = tokens(&[prompt[23].0]);
    let mut branches = Vec::new();
    for rank in [0, 1] {
        let (mut next, mut branch) = (first.clone(), Vec::new());
        oracle.truncate(23);
        while branch.len() < 6 {
            let mut row = rows(&mut oracle, &next, 1).remove(0);
            if rank == 1 && branch.is_empty() {
                let best = argmax(&row).0 as usize;
                row[best] = f32::NEG_INFINITY;
            }
            next = vec![argmax(&row)];
            branch.extend(&next);
        }
        branches.push(branch);
    }
    let mut tree = TokenTree::new();
    let node = |token, parent| TreeNode {
        token,
        parent,
        logits: true,
    };
    let root = tree.push(node(prompt[23], None));
    for branch in branches {
        branch
            .iter()
            .fold(root, |parent, &t| tree.push(node(t, Some(parent))));
    }
    assert_eq!(tree.len(), 13);
    oracle.truncate(23);
    let output = oracle.pass(&tree, WidthClass::BATCH).expect("a pass");
    (prompt, tree, output.logits)
}

/// Probabilities by token: penalty, top-k, top-p, min-p, temperature.
fn probabilities(logits: &[f32], history: &[TokenId], s: &Sampling) -> Vec<(i32, f64)> {
    let recent = &history[history.len().saturating_sub(64)..];
    let mut all: Vec<(i32, f64)> = (0..).zip(logits.iter().map(|&l| f64::from(l))).collect();
    for (token, l) in &mut all {
        if recent.contains(&TokenId(*token)) {
            let penalty = f64::from(s.repeat_penalty);
            *l = if *l > 0.0 { *l / penalty } else { *l * penalty };
        }
    }
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    if s.top_k > 0 {
        all.truncate(s.top_k);
    }
    let top = all[0].1;
    let total: f64 = all.iter().map(|(_, l)| (l - top).exp()).sum();
    let (mut before, mut kept) = (0.0, Vec::new());
    for (token, l) in all {
        let weight = (l - top).exp();
        if kept.is_empty() || (before < f64::from(s.top_p) && weight >= f64::from(s.min_p)) {
            kept.push((token, ((l - top) / f64::from(s.temperature)).exp()));
        }
        before += weight / total;
    }
    let total: f64 = kept.iter().map(|(_, w)| w).sum();
    kept.iter().map(|(t, w)| (*t, w / total)).collect()
}

/// The G statistic over its critical value at 1e-4 (Wilson and Hilferty's approximation), with
/// tokens that are expected fewer than ten times pooled.
fn g_over_critical(counts: &HashMap<i32, u64>, expected: &[(i32, f64)]) -> f64 {
    let n = counts.values().sum::<u64>() as f64;
    let (mut bins, mut rest) = (Vec::new(), (n, 1.0));
    for (token, p) in expected.iter().filter(|(_, p)| p * n >= 10.0) {
        let seen = counts.get(token).copied().unwrap_or(0) as f64;
        bins.push((seen, p * n));
        rest = (rest.0 - seen, rest.1 - p);
    }
    if rest.1 * n >= 1.0 || rest.0 > 0.0 {
        bins.push((rest.0, (rest.1 * n).max(1e-9)));
    }
    assert!(bins.len() > 2, "nothing to test: {bins:?}");
    let terms = bins.iter().filter(|(seen, _)| *seen > 0.0);
    let g: f64 = terms
        .map(|(seen, wanted)| 2.0 * seen * (seen / wanted).ln())
        .sum();
    let df = (bins.len() - 1) as f64;
    let z = 3.719;
    let a = 2.0 / (9.0 * df);
    g / (df * (1.0 - a + z * a.sqrt()).powi(3))
}

/// The worst statistic of first tokens, and of second ones after the first branch's first.
fn worst(
    (prompt, tree, logits): &(Vec<TokenId>, TokenTree, Logits),
    sampling: Sampling,
    biased: bool,
) -> f64 {
    let (mut first, mut second) = (HashMap::new(), HashMap::new());
    let child = tree.nodes()[1].token;
    for seed in 0..SEEDS {
        let sampler = Sampler::new(Sampling { seed, ..sampling }, Vec::new());
        let mut history = prompt.clone();
        let accepted = verify(tree, 0, logits, |row| {
            let mut token = sampler.choose(row, &history, history.len());
            // Prefers what was drafted in one case of eight.
            if biased && history.len() == prompt.len() && seed % 8 == 0 {
                token = child;
            }
            history.push(token);
            token
        });
        *first.entry(accepted.chosen[0].0).or_insert(0) += 1;
        if accepted.chosen[0] == child {
            *second.entry(accepted.chosen[1].0).or_insert(0) += 1;
        }
    }
    let of = |node| logits.of(node).expect("a row");
    let context = [prompt.as_slice(), &[child]].concat();
    let of_first = g_over_critical(&first, &probabilities(of(0), prompt, &sampling));
    let of_second = g_over_critical(&second, &probabilities(of(1), &context, &sampling));
    of_first.max(of_second)
}

#[test]
fn chosen_tokens_follow_the_oracles_distribution() {
    let bush = bush();
    let base = Sampling {
        temperature: 0.8,
        ..Sampling::default()
    };
    let settings = [
        base,
        Sampling { top_k: 20, ..base },
        Sampling { top_p: 0.9, ..base },
        Sampling {
            min_p: 0.02,
            ..base
        },
        Sampling {
            repeat_penalty: 1.3,
            top_k: 50,
            temperature: 1.2,
            ..base
        },
    ];
    for sampling in settings {
        let (fair, biased) = (worst(&bush, sampling, false), worst(&bush, sampling, true));
        println!("{sampling:?}: {fair:.2} of the critical value; biased {biased:.2}");
        assert!(fair < 1.0, "{sampling:?}: {fair}");
        assert!(biased > 1.0, "{sampling:?}: the bias is not seen: {biased}");
    }
}
