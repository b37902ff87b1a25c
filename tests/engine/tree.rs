//! A tree of tokens computes what each of its branches would compute alone.

use crate::common::{
    DRAFT, ORACLE, SMOL, layer_oracle, layer_oracle_with_context, llama_oracle, max_diff, model,
    rows, same_bits, tokens,
};
use crate::two_branches::two_branches;
use nmos::model::Gguf;
use nmos::oracle::{NodeIdx, Oracle, TokenTree, WidthClass, argmax};
use nmos::units::{Bytes, TokenId};
use std::fs::File;
use std::os::unix::fs::FileExt;

const PREFIX: usize = 20;

fn prefix() -> Vec<TokenId> {
    tokens(&(0..20).map(|i| 400 + i * 31).collect::<Vec<_>>())
}

/// Branches of four tokens each.
fn fork() -> (TokenTree, [Vec<NodeIdx>; 2]) {
    two_branches(&tokens(&[500, 611, 722, 833, 944, 1055, 1166, 1277, 1388]))
}

/// Computes `tree` after the prefix and every path of it alone; the largest difference.
fn tree_against_paths(oracle: &mut dyn Oracle, tree: &TokenTree, paths: &[Vec<NodeIdx>]) -> f32 {
    oracle.truncate(PREFIX);
    let output = oracle.pass(tree, WidthClass::BATCH).expect("a pass");
    let mut worst: f32 = 0.0;
    for path in paths {
        let branch: Vec<_> = path.iter().map(|&n| tree.nodes()[n].token).collect();
        oracle.truncate(PREFIX);
        let alone = rows(oracle, &branch, WidthClass::BATCH.max);
        for (&node, alone) in path.iter().zip(&alone) {
            worst = worst.max(max_diff(output.logits.of(node).expect("a row"), alone));
        }
    }
    worst
}

fn check(name: &str, oracle: &mut dyn Oracle) {
    let (tree, paths) = fork();
    rows(oracle, &prefix(), WidthClass::BATCH.max);
    let apart = tree_against_paths(oracle, &tree, &paths);
    assert!(
        apart == 0.0,
        "{name}: a branch differs by {apart} from itself alone"
    );

    // The same tokens with each attending to all before it: the check must see that.
    let ids: Vec<_> = tree.nodes().iter().map(|n| n.token).collect();
    let causal = TokenTree::chain(&ids, 0);
    let mixed = tree_against_paths(oracle, &causal, &paths);
    assert!(mixed > 0.1, "{name}: a wrong mask differs by {mixed} only");
    println!("{name}: right mask {apart}, causal mask {mixed}");
}

/// The second branch is kept; what follows is as if it had been all there was, bit by bit.
fn check_commit(name: &str, oracle: &mut dyn Oracle) {
    let (tree, paths) = fork();
    let rest = tokens(&[700, 800, 900, 1000]);
    oracle.truncate(0);
    rows(oracle, &prefix(), WidthClass::BATCH.max);
    let branch: Vec<_> = paths[1].iter().map(|&n| tree.nodes()[n].token).collect();
    rows(oracle, &branch, WidthClass::BATCH.max);
    let linear = rows(oracle, &rest, WidthClass::BATCH.max);
    oracle.truncate(PREFIX);
    oracle.pass(&tree, WidthClass::BATCH).expect("a pass");
    oracle.commit(&paths[1]);
    assert_eq!(oracle.len(), PREFIX + 5);
    let pruned = rows(oracle, &rest, WidthClass::BATCH.max);
    for (a, b) in linear.iter().zip(&pruned) {
        assert!(same_bits(a, b), "{name}: differs by {}", max_diff(a, b));
    }
}

#[test]
fn the_streamed_oracle_computes_branches_apart() {
    // Each with less memory for weights than they take: 948, 385 and 92 MiB.
    for (file, mib) in [(ORACLE, 300), (DRAFT, 200), (SMOL, 48)] {
        let mut oracle = layer_oracle(file, Bytes::mib(mib));
        assert!(oracle.streams(), "{file}");
        check(file, &mut oracle);
        check_commit(file, &mut oracle);
    }
}

#[test]
fn the_resident_oracle_computes_branches_apart() {
    for file in [DRAFT, SMOL] {
        // llama.cpp puts later tokens into the cells of pruned ones, so that sums run in
        // another order: committing one of several branches is exact to rounding only.
        check(file, &mut llama_oracle(file, true));
    }
}

/// With just enough cells, the holes that pruned branches leave are closed on the way.
#[test]
fn a_context_full_of_holes_closes_them() {
    let oracle = |ctx_tokens| layer_oracle_with_context(SMOL, Bytes::mib(512), ctx_tokens);
    let (tree, [_, second]) = fork();
    let branch: Vec<_> = second.iter().map(|&n| tree.nodes()[n].token).collect();
    let (mut tight, mut roomy) = (oracle(64), oracle(1024));
    rows(&mut tight, &prefix(), WidthClass::BATCH.max);
    rows(&mut roomy, &prefix(), WidthClass::BATCH.max);
    // Each round takes nine cells and keeps five: after five rounds, 65 would be in use.
    for _ in 0..6 {
        tight.pass(&tree, WidthClass::BATCH).expect("a pass");
        tight.commit(&second);
        rows(&mut roomy, &branch, WidthClass::BATCH.max);
    }
    assert_eq!((tight.len(), roomy.len()), (50, 50));
    let rest = tokens(&[700, 800, 900]);
    let (a, b) = (rows(&mut tight, &rest, 8), rows(&mut roomy, &rest, 8));
    for (a, b) in a.iter().zip(&b) {
        assert!(same_bits(a, b), "differs by {}", max_diff(a, b));
    }
}

/// What the output norm and the row of the output matrix for `token` make of a hidden state.
fn logit(gguf: &Gguf, hidden: &[f32], token: TokenId) -> f32 {
    let read = |name: &str, row: usize| {
        let tensor = gguf.tensors().find(|t| t.name == name).expect("a tensor");
        let bytes = nmos::ggml::row_bytes(tensor.ty, hidden.len());
        let mut packed = vec![0; bytes];
        let file = File::open(&gguf.files[tensor.file].path).expect("a file");
        file.read_exact_at(&mut packed, tensor.offset + (row * bytes) as u64)
            .expect("a row");
        let mut values = vec![0.0; hidden.len()];
        nmos::ggml::dequantize_row(tensor.ty, &packed, &mut values);
        values
    };
    let squares: f32 = hidden.iter().map(|x| x * x).sum();
    let scale = (squares / hidden.len() as f32 + 1e-5).sqrt().recip();
    let norm = read("output_norm.weight", 0);
    // The output matrix is the embedding.
    let row = read(
        "token_embd.weight",
        usize::try_from(token.0).expect("an index"),
    );
    let normed = hidden.iter().zip(&norm).map(|(x, w)| x * scale * w);
    normed.zip(&row).map(|(x, w)| x * w).sum()
}

#[test]
fn hidden_states_come_when_asked_for_and_are_what_logits_are_made_of() {
    let gguf = Gguf::open(&model(SMOL)).expect("a model");
    let (tree, paths) = fork();
    let mut oracle = layer_oracle(SMOL, Bytes::mib(48));
    rows(&mut oracle, &prefix(), WidthClass::BATCH.max);
    let plain = oracle.pass(&tree, WidthClass::BATCH).expect("a pass");
    assert_eq!(plain.hidden, None);
    oracle.keep_hidden(true);
    let output = oracle.pass(&tree, WidthClass::BATCH).expect("a pass");
    let hidden = output.hidden.expect("asked for");
    assert_eq!(hidden.nodes(), output.logits.nodes());
    for node in 0..tree.len() {
        let row = output.logits.of(node).expect("a row");
        assert!(same_bits(row, plain.logits.of(node).expect("a row")));
        let state = hidden.of(node).expect("a state");
        for token in [argmax(row), TokenId(500)] {
            let found = row[usize::try_from(token.0).expect("an index")];
            let made = logit(&gguf, state, token);
            // The kernel rounds the state to eight bits.
            assert!((found - made).abs() < 0.3, "node {node}: {found}, {made}");
        }
    }
    // Of the nodes whose logits are wanted alone, and in a branch as in the tree.
    let branch: Vec<_> = paths[1].iter().map(|&n| tree.nodes()[n].token).collect();
    let chain = TokenTree::chain(&branch, 3);
    let output = oracle.pass(&chain, WidthClass::BATCH).expect("a pass");
    let alone = output.hidden.expect("asked for");
    assert_eq!(alone.nodes(), [3, 4]);
    assert_eq!(alone.of(2), None);
    let (in_tree, in_branch) = (hidden.of(paths[1][4]), alone.of(4));
    assert!(same_bits(
        in_tree.expect("a state"),
        in_branch.expect("a state")
    ));
}
