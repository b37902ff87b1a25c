//! The shipped weights on prompts that they were not fitted to, and the trainer itself.

use nmos::scout::train::{Settings, fit, train};
use nmos::scout::{Model, Prompt, accuracy, after, calibration_error, fold_of};
use nmos::vocabulary::Label;
use std::path::Path;
use std::sync::Arc;

fn held_out() -> Vec<Prompt> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/scout/held_out.jsonl");
    Prompt::load(&path).unwrap()
}

#[test]
fn accuracy_is_above_naive_bayes_at_every_length() {
    let prompts = held_out();
    assert!(prompts.len() >= 150);
    for label in Label::ALL {
        assert!(prompts.iter().filter(|p| p.label == label).count() >= 30);
    }
    let model = Model::shipped();
    // The floor is what naive Bayes reaches on its own held-out prompts of the same sources.
    for (chars, floor) in [(8, 0.75), (32, 0.80), (usize::MAX, 0.85)] {
        let predictions = after(&model, prompts.iter(), chars);
        let reached = accuracy(&predictions).unwrap();
        assert!(reached > floor, "{reached:.3} after {chars} characters");
        let error = calibration_error(&predictions).unwrap();
        assert!(
            error < 0.10,
            "calibration {error:.3} after {chars} characters"
        );
    }
    let others: Vec<&Prompt> = prompts
        .iter()
        .filter(|p| !p.source.contains("MBPP") && !p.source.contains("HumanEval"))
        .collect();
    for (chars, floor) in [(8, 0.67), (32, 0.73), (usize::MAX, 0.80)] {
        let reached = accuracy(&after(&model, others.iter().copied(), chars)).unwrap();
        assert!(
            reached > floor,
            "{reached:.3} after {chars}, benchmarks apart"
        );
    }
}

#[test]
fn the_same_prompts_give_the_same_weights_and_the_file_keeps_them() {
    let prompts = held_out();
    let settings = Settings {
        epochs: 4,
        folds: 2,
        ..Settings::default()
    };
    let model = train(&prompts, &settings);
    assert_eq!(model, train(&prompts, &settings));
    let text = model.to_text("two lines\nof comment");
    assert!(text.starts_with("# two lines\n# of comment\n"));
    assert_eq!(Model::parse(&text).unwrap(), model);
}

#[test]
fn training_learns_what_labels_say() {
    // The same texts under labels turned round: a fit that ignored its data would not follow.
    let turned: Vec<Prompt> = held_out()
        .into_iter()
        .map(|p| Prompt {
            label: match p.label {
                Label::Code => Label::Chat,
                Label::Chat => Label::Docs,
                Label::Docs => Label::Code,
            },
            ..p
        })
        .collect();
    let (test, rest): (Vec<Prompt>, Vec<Prompt>) =
        turned.iter().cloned().partition(|p| fold_of(p, 3) == 1);
    let reached = |model: &Arc<Model>| accuracy(&after(model, test.iter(), usize::MAX)).unwrap();
    assert!(reached(&Arc::new(fit(&rest, &Settings::default()))) > 0.6);
    assert!(reached(&Model::shipped()) < 0.2);
}

#[test]
fn broken_weights_name_their_line() {
    let good = Model::shipped().to_text("");
    for (find, replace, words) in [
        ("temperature\t0\t", "temperature\t1\t", "from 0 words"),
        (
            "temperature\t0\t",
            "temperature\t0\t-",
            "between 0.01 and 100",
        ),
        ("flag\tfence\t", "# flag\tfence\t", "a flag has no weights"),
        ("flag\tfence\t", "flag\tfence\tx", "line"),
        ("word\tw ", "word\tw\tw ", "with its fields"),
    ] {
        let bad = good.replacen(find, replace, 1);
        assert_ne!(bad, good, "{find:?}");
        let said = Model::parse(&bad).unwrap_err().to_string();
        assert!(said.contains(words), "{said:?} lacks {words:?}");
    }
}

#[test]
fn a_broken_prompt_names_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("prompts.jsonl");
    let good = r#"{"source":"s","label":"CHAT","text":"Hi","mood":1}"#;
    std::fs::write(&path, format!("{good}\n\n{{\"label\":\"SONG\"}}\n")).unwrap();
    let said = Prompt::load(&path).unwrap_err().to_string();
    assert!(said.contains("prompts.jsonl, line 3"), "{said}");
    std::fs::write(&path, format!("{good}\n")).unwrap();
    assert_eq!(Prompt::load(&path).unwrap().len(), 1);
}
