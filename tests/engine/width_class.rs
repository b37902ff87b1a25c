//! Within a width class a token's logits are the same bits, whatever else is in the pass.

use crate::common::{DRAFT, ORACLE, SMOL, layer_oracle, llama_oracle, rows, same_bits, tokens};
use nmos::ggml::{self, Compute, Context, GgmlType, Kernels};
use nmos::io::Arena;
use nmos::oracle::{Oracle, OracleError, TokenTree, TreeNode, Trees, WidthClass};
use nmos::units::{Bytes, TokenId};
use std::sync::Arc;

/// Any tokens do; these are in all three vocabularies.
fn text(n: usize) -> Vec<TokenId> {
    let ids: Vec<i32> = (0..n as i32).map(|i| 300 + (i * 7919) % 20_000).collect();
    tokens(&ids)
}

/// Where a pass of some width in `class` gives other bits than passes of `reference` tokens, both
/// after `prefix` tokens.
fn faults(
    oracle: &mut dyn Oracle,
    class: WidthClass,
    prefix: usize,
    (reference, widths): (usize, &[usize]),
) -> Vec<String> {
    oracle.truncate(0);
    let most = widths.iter().copied().fold(reference, usize::max);
    let text = text(prefix + most);
    rows(oracle, &text[..prefix], 63);
    let text = &text[prefix..];
    let chains = |oracle: &mut dyn Oracle, width: usize| -> Vec<Vec<f32>> {
        oracle.truncate(prefix);
        let mut rows = Vec::new();
        for chunk in text.chunks(width) {
            let output = oracle
                .pass(&TokenTree::chain(chunk, 0), class)
                .expect("a pass");
            rows.extend((0..chunk.len()).map(|i| output.logits.of(i).expect("a row").to_vec()));
            oracle.commit(&(0..chunk.len()).collect::<Vec<_>>());
        }
        rows
    };
    let expected = chains(oracle, reference);
    let mut faults = Vec::new();
    for &width in widths {
        // The first pass has every token at its place of the widest one; those after it have
        // every token at another place, and the last of them is padded.
        let found = chains(oracle, width);
        let differ = (0..most).filter(|&i| !same_bits(&found[i], &expected[i]));
        let differ: Vec<_> = differ.collect();
        if !differ.is_empty() {
            faults.push(format!(
                "{class:?} after {prefix} tokens, width {width}: rows {differ:?}"
            ));
        }
    }
    // Only the last token's logits wanted, as when a prompt is read.
    oracle.truncate(prefix);
    let width = most.min(class.max);
    let tree = TokenTree::chain(&text[..width], width - 1);
    let output = oracle.pass(&tree, class).expect("a pass");
    let row = output.logits.of(width - 1).expect("a row");
    if !same_bits(row, &expected[width - 1]) {
        faults.push(format!(
            "{class:?} after {prefix} tokens: logits of the last token alone"
        ));
    }
    faults
}

/// After few tokens and, where `long`, after so many that ggml's attention has other kernels.
fn check(name: &str, oracle: &mut dyn Oracle, long: bool) {
    let mut found = Vec::new();
    for prefix in if long { vec![20, 700] } else { vec![20] } {
        found.extend(faults(
            oracle,
            WidthClass::NARROW,
            prefix,
            (7, &[1, 2, 3, 5, 6]),
        ));
        let widths = [8, 9, 16, 17, 31, 32, 33, 62];
        found.extend(faults(oracle, WidthClass::BATCH, prefix, (63, &widths)));
        if oracle.trees() == Trees::Exact {
            // Compared with the bits of `BATCH`.
            let widths = [8, 63, 64, 65, 127, 129, 200, 320];
            found.extend(faults(oracle, WidthClass::WIDE, prefix, (62, &widths)));
            let widths = [1, 7, 8, 9, 63, 65];
            found.extend(faults(oracle, WidthClass::PLAIN, prefix, (5, &widths)));
        }
    }
    assert!(found.is_empty(), "{name}: {found:#?}");
}

/// Types that a matrix is quantised to without an importance matrix.
const TYPES: [GgmlType; 16] = [
    GgmlType::F32,
    GgmlType::F16,
    GgmlType::BF16,
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::Q2_K,
    GgmlType::Q3_K,
    GgmlType::Q4_K,
    GgmlType::Q5_K,
    GgmlType::Q6_K,
    GgmlType::IQ4_NL,
    GgmlType::IQ4_XS,
    GgmlType::IQ3_S,
];

/// A matrix of one type times some of 63 columns, by so many threads: a row a column.
struct Product {
    memory: Arc<Arena>,
    ty: GgmlType,
    columns: Vec<f32>,
}

impl Product {
    const ROWS: usize = 48;
    const LEN: usize = 512;
    const MOST: usize = 63;

    fn new(ty: GgmlType) -> Self {
        let wave = |n: usize, step: f32| -> Vec<f32> {
            (0..n)
                .map(|i| (i as f32 * step).sin() * (1.0 + (i % 7) as f32))
                .collect()
        };
        let row = ggml::row_bytes(ty, Self::LEN);
        let mut weights = vec![0; row * Self::ROWS];
        ggml::quantize_rows(
            ty,
            &wave(Self::LEN * Self::ROWS, 0.37),
            Self::LEN,
            &mut weights,
        );
        let memory = Arena::new((4 << 20) + weights.len()).expect("memory");
        memory.region(4 << 20, weights.len()).write(&weights);
        Self {
            memory,
            ty,
            columns: wave(Self::LEN * Self::MOST, 0.0173),
        }
    }

    fn times(&self, compute: &mut Compute, from: usize, n: usize) -> Vec<Vec<f32>> {
        let ctx = Context::new(8, 4);
        let matrix = ctx.tensor(self.ty, &[Self::LEN, Self::ROWS]);
        matrix.place(&self.memory.region(4 << 20, matrix.bytes()));
        let columns = ctx.tensor(GgmlType::F32, &[Self::LEN, n]);
        let given = &self.columns[from * Self::LEN..][..n * Self::LEN];
        let place = self.memory.region(0, columns.bytes());
        place.write(
            &given
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect::<Vec<_>>(),
        );
        columns.place(&place);
        let graph = ctx.graph(4);
        let product = ctx.mul_mat(&matrix, &columns);
        graph.expand_output(&product);
        compute.run(&graph).expect("a product");
        let mut out = vec![0.0; n * Self::ROWS];
        product.read_f32(&mut out);
        out.chunks(Self::ROWS).map(<[f32]>::to_vec).collect()
    }
}

/// For every type of weights a column has the same bits alone, among any number of others, at any
/// place, and by any number of threads.
#[test]
fn plain_kernels_know_no_width() {
    ggml::init().expect("llama.cpp");
    let mut by_two = Compute::new(2).expect("threads");
    let mut by_one = Compute::new(1).expect("a thread");
    by_two.set_kernels(Kernels::Plain);
    by_one.set_kernels(Kernels::Plain);
    for ty in TYPES {
        let product = Product::new(ty);
        let alone: Vec<_> = (0..Product::MOST)
            .flat_map(|i| product.times(&mut by_one, i, 1))
            .collect();
        assert!(alone.iter().flatten().all(|x| x.is_finite()), "{ty:?}");
        for width in 1..=Product::MOST {
            let from = Product::MOST - width;
            for compute in [&mut by_two, &mut by_one] {
                let found = product.times(compute, from, width);
                for (found, alone) in found.iter().zip(&alone[from..]) {
                    assert!(same_bits(found, alone), "{ty:?} at {width}");
                }
            }
        }
    }
}

#[test]
fn the_streamed_oracle_keeps_its_bits() {
    let mut oracle = layer_oracle(SMOL, Bytes::mib(48));
    assert!(oracle.streams());
    check(SMOL, &mut oracle, true);
}

#[test]
fn the_layered_oracle_keeps_its_bits_in_memory() {
    // The weights of the first are of types that have kernels of their own from 8 tokens on.
    let mut oracle = layer_oracle(DRAFT, Bytes::mib(512));
    assert!(!oracle.streams());
    check(DRAFT, &mut oracle, false);
}

#[test]
fn the_default_oracle_keeps_its_bits_in_the_widest_pass() {
    let mut oracle = layer_oracle(ORACLE, Bytes::mib(400));
    let found = faults(&mut oracle, WidthClass::WIDE, 8, (63, &[8, 512]));
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_resident_oracle_keeps_its_bits() {
    check(DRAFT, &mut llama_oracle(DRAFT, true), false);
    check(SMOL, &mut llama_oracle(SMOL, true), true);
}

/// A bush of 200 nodes in which every node but the first follows one of the three before it:
/// each has the bits that it has alone with those that it follows.
#[test]
fn a_wide_tree_computes_what_its_branches_do() {
    let (mut oracle, prefix) = (layer_oracle(SMOL, Bytes::mib(128)), 600);
    let text = text(prefix + 200);
    rows(&mut oracle, &text[..prefix], 63);
    let mut tree = TokenTree::new();
    for (i, &token) in text[prefix..].iter().enumerate() {
        let parent = i.checked_sub(1 + i % 3);
        tree.push(TreeNode {
            token,
            parent,
            logits: true,
        });
    }
    let whole = oracle.pass(&tree, WidthClass::WIDE).expect("a pass").logits;
    for leaf in [197, 198, 199] {
        let mut path: Vec<_> = tree.ancestry(leaf).collect();
        path.reverse();
        let branch: Vec<_> = path.iter().map(|&n| tree.nodes()[n].token).collect();
        oracle.truncate(prefix);
        let alone = rows(&mut oracle, &branch, 8);
        for (&node, alone) in path.iter().zip(&alone) {
            let found = whole.of(node).expect("a row");
            assert!(same_bits(found, alone), "node {node} above {leaf}");
        }
    }
    // A kept branch leaves holes, and what follows it is as if there were none.
    let mut path: Vec<_> = tree.ancestry(199).collect();
    path.reverse();
    let branch: Vec<_> = path.iter().map(|&n| tree.nodes()[n].token).collect();
    let after = &text[..100];
    oracle.truncate(prefix);
    rows(&mut oracle, &branch, 8);
    let linear = rows(&mut oracle, after, 50);
    oracle.truncate(prefix);
    oracle.pass(&tree, WidthClass::WIDE).expect("a pass");
    oracle.commit(&path);
    let chain = TokenTree::chain(after, 0);
    let pruned = oracle
        .pass(&chain, WidthClass::WIDE)
        .expect("a pass")
        .logits;
    for (i, linear) in linear.iter().enumerate() {
        assert!(same_bits(pruned.of(i).expect("a row"), linear), "token {i}");
    }
}

#[test]
fn what_there_is_no_memory_for_is_refused() {
    let mut oracle = llama_oracle(SMOL, true);
    assert_eq!(oracle.max_nodes(), 63);
    let wide = TokenTree::chain(&text(64), 63);
    let refused = oracle.pass(&wide, WidthClass::WIDE).expect_err("too wide");
    assert!(
        matches!(refused, OracleError::TooWide { nodes: 64, .. }),
        "{refused}"
    );
    let narrow = TokenTree::chain(&text(8), 7);
    let refused = oracle
        .pass(&narrow, WidthClass::NARROW)
        .expect_err("too wide");
    assert!(refused.to_string().contains("8 nodes"), "{refused}");
}
