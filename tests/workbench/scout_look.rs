//! The scout on growing and changing texts.

use nmos::scout::HeuristicScout;
use nmos::telemetry::ScoutView;
use nmos::typing::{Composer, Edit, Trace, VirtualClock};
use nmos::vocabulary::Label;
use proptest::prelude::*;
use std::path::Path;

fn same(a: &ScoutView, b: &ScoutView) -> bool {
    a.predicted == b.predicted && a.reasons == b.reasons
}

fn edit() -> impl Strategy<Value = Edit> {
    let piece = prop_oneof![
        "[a-cA-C_ ]{1,8}",
        "[ \\n\\t=(){};:?#+é日]{1,3}",
        Just("write a python function ".to_owned()),
        Just("def f(x):\n    return x\n".to_owned()),
        Just("According to the passage, what ".to_owned()),
        Just("Professor C: we said so .\n\n".to_owned()),
    ];
    prop_oneof![
        5 => piece.prop_map(|text| Edit::Insert { text, paste: false }),
        3 => Just(Edit::Backspace),
        1 => (0usize..60).prop_map(|pos| Edit::Cursor { pos }),
        1 => (0usize..60, 0usize..60).prop_map(|(start, end)| Edit::Delete { start, end }),
    ]
}

proptest! {
    /// To the last bit: how a text came to be must not matter.
    #[test]
    fn looking_again_finds_what_a_first_look_finds(edits in prop::collection::vec(edit(), 1..40)) {
        let mut composer = Composer::new();
        let mut scout = HeuristicScout::new();
        for edit in &edits {
            let _ = composer.apply(edit);
            let grown = scout.look(composer.text());
            let fresh = HeuristicScout::new().look(composer.text());
            prop_assert!(same(&grown, &fresh), "{:?}: {grown:?} {fresh:?}", composer.text());
        }
    }
}

#[test]
fn real_typing_ends_where_a_fresh_look_does() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/traces");
    for name in [
        "ca-w29-641b8258-8",
        "ca-w58-c4e852c4-0",
        "syn-dolly-15k-728c80081d",
        "syn-qmsum-2cc01076a3",
    ] {
        let trace = Trace::load(&dir.join(format!("{name}.jsonl"))).unwrap();
        let mut composer = Composer::new();
        let mut scout = HeuristicScout::new();
        let mut view = ScoutView::default();
        for event in trace.events() {
            composer.apply(&event.edit).unwrap();
            view = scout.look(composer.text());
            let sum: f32 = view.predicted.map_or(1.0, |p| p.iter().sum());
            assert!((sum - 1.0).abs() < 1e-5);
            assert!(view.reasons.len() <= 3);
        }
        assert!(same(&view, &HeuristicScout::new().look(composer.text())));
    }
}

#[test]
fn nothing_is_said_of_nothing() {
    let mut scout = HeuristicScout::new();
    for blank in ["", "   ", "\n\n"] {
        let view = scout.look(blank);
        assert!(view.predicted.is_none() && view.reasons.is_empty());
    }
    assert!(scout.look("a").predicted.is_some());
    assert!(scout.look("").predicted.is_none());
}

#[test]
fn plain_cases_are_plain_and_come_with_reasons() {
    let passage = "The committee met on Tuesday and went through the report on river levels, \
        which had been delayed twice since the spring because the gauges upstream were being \
        replaced; members asked whether the older figures could still be trusted, and the \
        engineer said that they could, within limits that she would set out in writing.";
    let asked = format!("What did the engineer promise?\n\n{passage}");
    let summary = format!("{passage}\n\nSummarise the passage above in two sentences.");
    for (text, label) in [
        (
            "def area(w, h):\n    return w * h\n\nwhy does this fail?",
            Label::Code,
        ),
        (
            "fix this SQL query: SELECT * FROM users WHERE id = 3;",
            Label::Code,
        ),
        (
            "Write a Rust function that parses a JSON array",
            Label::Code,
        ),
        ("I want you to act as a travel guide for Rome", Label::Chat),
        ("Give me ideas for a birthday party", Label::Chat),
        (asked.as_str(), Label::Docs),
        (summary.as_str(), Label::Docs),
    ] {
        let view = HeuristicScout::new().look(text);
        let (best, probability) = view.best().unwrap();
        assert_eq!(best, label, "{text:?}: {view:?}");
        assert!(probability > 0.5);
        assert!((1..=3).contains(&view.reasons.len()), "{text:?}: {view:?}");
    }
}

#[test]
fn a_pasted_book_is_bounded_and_still_read_exactly() {
    let book = "Chapter one, in which nothing happens at all.\n".repeat(3_000);
    let mut scout = HeuristicScout::new();
    let whole = scout.look(&book);
    // Far beyond what is read: nothing changes.
    assert!(same(&whole, &scout.look(&format!("{book}def f(x): pass"))));
    let shorter = scout.look("Chapter one");
    assert!(same(&shorter, &HeuristicScout::new().look("Chapter one")));
}

#[test]
fn a_look_is_timed_by_the_clock_it_is_given() {
    let clock = VirtualClock::new();
    let mut scout = HeuristicScout::new();
    let view = scout.look_timed("Hello there", &clock);
    assert_eq!(view.last_us, 0, "a virtual clock does not move");
    assert!(same(&view, &HeuristicScout::new().look("Hello there")));
}
