//! Fits the scout's weights and says how good they are on prompts that they have not seen.
//!
//! `cargo run --release --example scout_train -- PROMPTS.jsonl [WEIGHTS.tsv HELD_OUT.jsonl]`
//!
//! Writes `HELD_OUT.jsonl`, the typed parts of every tenth prompt (by hash), and `WEIGHTS.tsv`,
//! fitted to the other nine. Without them only evaluates.

use nmos::scout::train::{Settings, fit, train};
use nmos::scout::{
    HeuristicScout, Model, Prediction, Prompt, accuracy, after, calibration_error, fold_of,
    predictions,
};
use nmos::typing::MonotonicClock;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

const FOLDS: u64 = 5;
const LENGTHS: [(&str, usize); 3] = [("8", 8), ("32", 32), ("all", usize::MAX)];

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let Some(file) = args.next() else {
        anyhow::bail!("usage: scout_train PROMPTS.jsonl [WEIGHTS.tsv]");
    };
    let prompts = Prompt::load(Path::new(&file))?;
    let settings = Settings::default();

    println!("held-out prompts, {FOLDS} folds");
    let mut by_length = [Vec::new(), Vec::new(), Vec::new()];
    let mut others = by_length.clone();
    let mut whole = Vec::new();
    for fold in 0..FOLDS {
        let (test, rest): (Vec<Prompt>, Vec<Prompt>) = prompts
            .iter()
            .cloned()
            .partition(|p| fold_of(p, FOLDS) == fold);
        let model = Arc::new(train(&rest, &settings));
        whole.extend(predictions(
            &model,
            test.iter().map(|p| (p.text.clone(), p)),
        ));
        for (at, (_, chars)) in LENGTHS.iter().enumerate() {
            by_length[at].extend(after(&model, test.iter(), *chars));
            let plain = test
                .iter()
                .filter(|p| !p.source.contains("MBPP") && !p.source.contains("HumanEval"));
            others[at].extend(after(&model, plain, *chars));
        }
    }
    for (at, (name, _)) in LENGTHS.iter().enumerate() {
        print_row(&format!("after {name} characters"), &by_length[at]);
        print_row("  without MBPP, HumanEval", &others[at]);
    }

    print_row("with what was pasted", &whole);

    println!("a source that was left out (accuracy after 8, 32, all characters)");
    let sources: BTreeSet<&str> = prompts.iter().map(|p| p.source.as_str()).collect();
    for source in sources {
        let (test, rest): (Vec<Prompt>, Vec<Prompt>) =
            prompts.iter().cloned().partition(|p| p.source == source);
        let model = Arc::new(fit(&rest, &settings));
        let figures = LENGTHS.map(|(_, chars)| percent(&after(&model, test.iter(), chars)));
        println!("  {source:<28} {:>4}   {}", test.len(), figures.join("  "));
    }

    let (held_out, rest): (Vec<Prompt>, Vec<Prompt>) =
        prompts.iter().cloned().partition(|p| fold_of(p, 10) == 0);
    let model = Arc::new(train(&rest, &settings));
    print_latency(&model, &prompts);
    if let (Some(weights), Some(sample)) = (args.next(), args.next()) {
        std::fs::write(&weights, model.to_text(HEADER))?;
        let mut lines = String::new();
        for prompt in &held_out {
            lines += &serde_json::to_string(&prompt.typed_only())?;
            lines.push('\n');
        }
        std::fs::write(&sample, lines)?;
        println!("wrote {weights} and {sample} ({} prompts)", held_out.len());
    }
    Ok(())
}

/// Types the last 400 characters of texts of 2,000 and says what a look cost.
fn print_latency(model: &Arc<Model>, prompts: &[Prompt]) {
    let mut scout = HeuristicScout::with_model(Arc::clone(model));
    let clock = MonotonicClock::new();
    let mut keys_us = Vec::new();
    let mut pastes_us = Vec::new();
    for prompt in prompts.iter().filter(|p| p.text.chars().count() >= 2_000) {
        let text: String = prompt.text.chars().take(2_000).collect();
        let borders: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        scout.look("");
        pastes_us.push(scout.look_timed(&text[..borders[1_600]], &clock).last_us);
        for &at in &borders[1_601..] {
            keys_us.push(scout.look_timed(&text[..at], &clock).last_us);
        }
    }
    for (what, times) in [
        ("a key", &mut keys_us),
        ("a paste of 1,600", &mut pastes_us),
    ] {
        times.sort_unstable();
        let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or(0);
        println!(
            "{what}, in 2,000 characters: median {} us, p99 {} us",
            at(50),
            at(99)
        );
    }
}

fn percent(predictions: &[Prediction]) -> String {
    accuracy(predictions).map_or("-".into(), |a| format!("{:5.1}%", a * 100.0))
}

fn print_row(name: &str, predictions: &[Prediction]) {
    let error = calibration_error(predictions).unwrap_or(f64::NAN);
    println!(
        "  {name:<28} {:>4}   {}   calibration error {error:.3}",
        predictions.len(),
        percent(predictions)
    );
}

const HEADER: &str = "\
Weights of the heuristic scout, in thousandths: CODE, CHAT, DOCS. See README.md beside this file.
Fitted by examples/scout_train.rs; change them there, not here.
Licence: CC BY-SA 4.0, as an adaptation of the prompts that README.md names.";
