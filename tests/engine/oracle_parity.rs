//! The streamed oracle against llama.cpp's own graph, over the same weights in passes of the
//! same width.

use crate::common::{DRAFT, ORACLE, SMOL, layer_oracle, llama_oracle, max_diff, model, rows};
use nmos::model::Tokenizer;
use nmos::oracle::{Oracle, argmax};
use nmos::typing::Composer;
use nmos::units::{Bytes, TokenId};
use std::path::Path;

/// Sums in another order differ by about 1e-5; an error of the graph by more than 0.1.
const TOLERANCE: f32 = 1e-3;

const PROMPTS: [&str; 16] = [
    "a",
    "Hello",
    "fn main() {",
    "The capital of France is",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "SELECT name, count(*) FROM users WHERE",
    "Once upon a time there was a miller who had three sons,",
    "1 2 3 5 8 13 21 34 55",
    "#include <stdio.h>\n\nint main(void) {\n    printf(\"%d\\n\", 42);\n",
    "Translate to German: The weather is fine today, and we are going to the lake.",
    "{\"name\": \"nmos\", \"version\": \"0.1.0\", \"authors\": [",
    "\u{4f60}\u{597d}\u{ff0c}\u{4e16}\u{754c}",
    "na\u{ef}ve caf\u{e9} \u{1f600} \u{1f680}",
    "A list of three things to bring to the beach:\n1.",
    "Why is the sky blue? Because light of short waves is scattered more than that of long ones,",
    "    \n\n\t\t  ",
];

/// The texts that four recorded typists ended with.
fn typed_texts() -> Vec<String> {
    [
        "ca-w29-641b8258-8",
        "ca-w58-c4e852c4-0",
        "syn-arenahard-v2-17753fdb6f",
        "syn-qmsum-2cc01076a3",
    ]
    .map(|name| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/traces");
        let trace = nmos::typing::Trace::load(&dir.join(format!("{name}.jsonl"))).unwrap();
        let mut composer = Composer::new();
        for event in trace.events() {
            composer.apply(&event.edit).unwrap();
        }
        composer.take()
    })
    .into()
}

fn compare(file: &str, prompts: &[String]) {
    let tokenizer = Tokenizer::open(&model(file)).unwrap();
    let mut ours = layer_oracle(file, Bytes::mib(2048));
    let mut theirs = llama_oracle(file, true);
    let mut worst: f32 = 0.0;
    let mut longest = 0;
    let mut total = 0;
    for (i, prompt) in prompts.iter().enumerate() {
        let mut tokens: Vec<TokenId> = tokenizer.text(prompt).unwrap();
        tokens.truncate(200);
        let width = [8, 13, 32, 63][i % 4];
        let a = rows(&mut ours, &tokens, width);
        let b = rows(&mut theirs, &tokens, width);
        for (at, (a, b)) in a.iter().zip(&b).enumerate() {
            let diff = max_diff(a, b);
            worst = worst.max(diff);
            assert!(
                diff < TOLERANCE,
                "{file}, {prompt:?}, token {at}, width {width}: the logits differ by {diff}"
            );
            assert_eq!(argmax(a), argmax(b), "{file}, {prompt:?}, token {at}");
        }
        longest = longest.max(tokens.len());
        total += tokens.len();
        ours.truncate(0);
        theirs.truncate(0);
    }
    println!(
        "{file}: {} prompts, {total} tokens, the longest {longest}; the logits differ by at most \
         {worst:e}",
        prompts.len()
    );
}

#[test]
fn qwen2_computes_what_llama_cpp_does() {
    let mut prompts: Vec<String> = PROMPTS.map(String::from).into();
    prompts.extend(typed_texts());
    assert_eq!(prompts.len(), 20);
    compare(ORACLE, &prompts);
    compare(DRAFT, &prompts[..4]);
}

#[test]
fn llama_computes_what_llama_cpp_does() {
    compare(
        SMOL,
        &PROMPTS[..8]
            .iter()
            .map(|p| (*p).to_owned())
            .collect::<Vec<_>>(),
    );
}
