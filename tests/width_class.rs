//! Within a width class a token's logits are the same bits, whatever else is in the pass.

mod common;

use common::{DRAFT, ORACLE, SMOL, layer_oracle, llama_oracle, rows, same_bits, tokens};
use nmos::oracle::{Oracle, TokenTree, WidthClass};
use nmos::units::{Bytes, TokenId};

/// Any tokens do; these are in all three vocabularies.
fn text() -> Vec<TokenId> {
    let ids: Vec<i32> = (0..63).map(|i| 300 + (i * 7919) % 20_000).collect();
    tokens(&ids)
}

/// Where a pass of some width gives other bits than one of the class's greatest width.
fn faults(oracle: &mut dyn Oracle) -> Vec<String> {
    let text = text();
    let (max, prefix) = (WidthClass::BATCH.max, 20);
    rows(oracle, &text[..prefix], prefix);
    let reference = rows(oracle, &text, max);
    let mut faults = Vec::new();
    for width in [8, 9, 12, 16, 17, 24, 31, 32, 33, 48, 62] {
        oracle.truncate(prefix);
        let found = rows(oracle, &text[..width], max);
        let differ: Vec<_> = (0..width)
            .filter(|&i| !same_bits(&found[i], &reference[i]))
            .collect();
        if !differ.is_empty() {
            faults.push(format!("width {width}: rows {differ:?}"));
        }
    }
    // Every token at another place of its batch: passes of nine, the last one padded.
    oracle.truncate(prefix);
    let found = rows(oracle, &text, 9);
    let differ: Vec<_> = (0..max)
        .filter(|&i| !same_bits(&found[i], &reference[i]))
        .collect();
    if !differ.is_empty() {
        faults.push(format!("passes of 9: rows {differ:?}"));
    }
    // Only the last token's logits wanted, as when a prompt is read.
    oracle.truncate(prefix);
    let tree = TokenTree::chain(&text, max - 1);
    let output = oracle.pass(&tree, WidthClass::BATCH).expect("a pass");
    let row = output.logits.of(max - 1).expect("a row");
    if !same_bits(row, &reference[max - 1]) {
        faults.push("logits of the last token alone".to_owned());
    }
    faults
}

fn check(name: &str, oracle: &mut dyn Oracle) {
    let faults = faults(oracle);
    assert!(faults.is_empty(), "{name}: {faults:#?}");
}

#[test]
fn the_streamed_oracle_keeps_its_bits() {
    for file in [ORACLE, SMOL] {
        check(file, &mut layer_oracle(file, Bytes::mib(512)));
    }
}

#[test]
fn the_resident_oracle_keeps_its_bits() {
    for file in [DRAFT, SMOL] {
        check(file, &mut llama_oracle(file, true));
    }
}
