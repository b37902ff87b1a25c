//! What streams, is drafted or is begun before Enter changes no token of an answer.
//!
//! A process of its own: its budgets are shares of the oracle's weights only where the process
//! holds nothing from other tests. It takes a quarter of an hour.
#![allow(clippy::unwrap_used, reason = "a test may panic; its helpers too")]

#[path = "support/common.rs"]
mod common;

use common::{DRAFT, ORACLE, Session, model, paste};
use nmos::model::Think;
use nmos::plan::{DraftRequest, TreeSize, Vram};
use nmos::session::{DrafterOptions, EngineOptions, Intent, Sampling};
use nmos::telemetry::{AnswerStats, Phase, Snapshot};
use nmos::typing::{Edit, Trace, TypingEvent, VirtualClock};
use nmos::units::Bytes;
use nmos::vocabulary::{ExpertPolicy, OracleForm};
use std::path::Path;
use std::sync::Arc;

const PROMPTS: [&str; 4] = [
    "Write a Rust function that reverses a linked list.",
    "def binary_search(items, wanted):\n    # finish this function",
    "Why is the sky blue? Answer in a short paragraph.",
    "Name three things to see in Lisbon and say why.",
];

/// About a quarter, half and three quarters of the oracle's weights stay in memory.
const BUDGETS: [u64; 3] = [410, 640, 870];

/// What the draft holds, less the vocabulary that it shares.
const DRAFT_MIB: u64 = 500;

fn options(ram: u64, draft: bool) -> EngineOptions {
    EngineOptions {
        oracle: model(ORACLE),
        draft: match draft {
            true => DraftRequest::Required(model(DRAFT)),
            false => DraftRequest::None,
        },
        scout: false,
        ram: Some(Bytes::mib(ram + if draft { DRAFT_MIB } else { 0 })),
        vram: Vram::None,
        ctx_tokens: 1024,
        threads: 2,
        tree: TreeSize::Fixed(16),
        max_tokens: 64,
        fixed_length: false,
        draft_waits: false,
        chat_template: None,
        think: Think::Auto,
        think_budget: None,
        system: "You are a helpful assistant.".into(),
        anticipate: false,
        exact: true,
        experts: ExpertPolicy::default(),
        record_routing: None,
        drafters: DrafterOptions::default(),
        sampling: greedy(),
    }
}

fn greedy() -> Sampling {
    Sampling {
        temperature: 0.0,
        ..Sampling::default()
    }
}

fn ask(engine: &Session, prompt: &str) -> AnswerStats {
    engine.ask_typed(prompt).1
}

/// Answers to `prompts`, each in a conversation of its own.
fn answers(options: EngineOptions, prompts: &[&str]) -> Vec<AnswerStats> {
    let engine = Session::new(options);
    let all = prompts
        .iter()
        .map(|prompt| {
            engine.tell(Intent::NewConversation);
            ask(&engine, prompt)
        })
        .collect();
    let form = engine.hub().snapshot().engine.form;
    // A budget that holds all of the weights is not one of those that are to stream.
    assert!(
        matches!(form, Some(OracleForm::Streamed | OracleForm::Resident)),
        "{form:?}"
    );
    engine.shutdown();
    all
}

/// Whether weights came and went while it was computed.
fn streamed(stats: &AnswerStats) -> bool {
    stats.prefetch_hit_rate.is_some()
}

fn texts(all: &[AnswerStats]) -> Vec<&str> {
    all.iter().map(|s| s.text.as_str()).collect()
}

#[test]
fn greedy_answers_are_the_same_with_any_memory_and_any_draft() {
    let prompts = [PROMPTS[0], PROMPTS[3]];
    let plain = answers(options(BUDGETS[0], false), &prompts);
    assert!(plain.iter().all(|s| s.tokens >= 8), "{plain:?}");
    assert!(plain.iter().all(streamed), "{plain:?}");
    // All in memory, by one thread, with trees that choose their size: all as by default but for
    // the draft, which is named.
    let resident = |threads, draft| EngineOptions {
        threads,
        tree: TreeSize::Auto,
        exact: draft,
        ..options(4000, draft)
    };
    for (threads, draft) in [(1, false), (2, true)] {
        let all = answers(resident(threads, draft), &prompts);
        assert_eq!(
            texts(&all),
            texts(&plain),
            "{threads} threads, draft {draft}"
        );
        assert!(
            all.iter().all(|s| s.prefetch_hit_rate.is_none()),
            "nothing streams"
        );
    }
    for (ram, draft) in [
        (BUDGETS[1], false),
        (BUDGETS[2], false),
        (BUDGETS[0], true),
        (BUDGETS[1], true),
        (BUDGETS[2], true),
    ] {
        // What the oracle said before is guessed from in every other case.
        let drafters = DrafterOptions {
            recycle: ram != BUDGETS[1],
        };
        let options = EngineOptions {
            drafters,
            ..options(ram, draft)
        };
        let all = answers(options, &prompts);
        assert!(
            all.iter().all(|s| s.prefetch_hit_rate.is_some()),
            "weights stream"
        );
        assert_eq!(texts(&all), texts(&plain), "ram {ram}, draft {draft}");
        for stats in &all {
            println!(
                "ram {ram}, draft {draft}: {} tokens, {} passes, accepted {:?}, {} MiB read",
                stats.tokens,
                stats.passes,
                stats.accept_rate,
                stats.bytes_read >> 20
            );
            if draft {
                assert!(stats.accept_rate.unwrap() > 0.0);
                assert!(stats.passes < stats.tokens);
            }
        }
    }
}

#[test]
fn sampled_answers_are_the_same_with_a_draft() {
    let sampled = |draft, seed| {
        let sampling = Sampling {
            temperature: 0.8,
            seed,
            ..Sampling::default()
        };
        let options = EngineOptions {
            sampling,
            max_tokens: 32,
            ..options(BUDGETS[2], draft)
        };
        answers(options, &PROMPTS[1..3])
    };
    let (alone, drafted, other) = (sampled(false, 7), sampled(true, 7), sampled(false, 8));
    assert!(alone.iter().chain(&drafted).chain(&other).all(streamed));
    assert_eq!(texts(&alone), texts(&drafted));
    assert_ne!(texts(&alone), texts(&other), "the seed changes nothing");
    assert!(drafted.iter().any(|s| s.accept_rate.unwrap() > 0.0));
}

#[test]
fn one_seed_gives_one_text_for_any_size_of_tree() {
    let sampled = |tree, exact| {
        let options = EngineOptions {
            exact,
            sampling: Sampling {
                temperature: 0.8,
                seed: 3,
                ..Sampling::default()
            },
            max_tokens: 32,
            tree,
            // Wide trees take memory.
            ..options(BUDGETS[2] + 200, true)
        };
        answers(options, &PROMPTS[2..3]).remove(0)
    };
    use TreeSize::{Chain, Fixed};
    for class in [
        vec![Fixed(8), Chain(8), Fixed(24), Fixed(63)],
        vec![Fixed(64), Chain(100), Fixed(256)],
    ] {
        let all: Vec<_> = class.iter().map(|&tree| sampled(tree, false)).collect();
        assert!(all.iter().all(|s| s.passes < s.tokens), "{all:?}");
        for (stats, tree) in all.iter().zip(&class) {
            assert_eq!(stats.text, all[0].text, "{tree:?} and {:?}", class[0]);
        }
    }
    let sizes = [Fixed(1), Fixed(8), Chain(100), TreeSize::Auto];
    let exact = sizes.map(|tree| sampled(tree, true));
    for (stats, tree) in exact.iter().zip(sizes) {
        assert_eq!(stats.text, exact[0].text, "{tree:?} and {:?}", sizes[0]);
    }
}

/// Lets virtual time pass, a second whenever the session shows something new, until it has
/// worked on all that it was given.
fn settle(engine: &Session, clock: &VirtualClock, done: impl Fn(&Snapshot) -> bool) {
    while !done(&engine.hub().snapshot()) {
        assert!(!engine.engine.has_ended(), "the session ended");
        clock.advance(1_000_000);
        engine.hub().changed().recv().unwrap();
    }
}

/// An answer to the prompt as it is has been begun.
fn begun(s: &Snapshot) -> bool {
    s.phase == Phase::Composing
        && s.prefill.prompt_tokens > 0
        && s.prefill.ready_tokens == s.prefill.prompt_tokens
}

/// Types `events` on virtual time. Before Enter the typist rests until an answer is begun to
/// the prompt of `whole` tokens; where `rests`, after each insertion and backspace as well.
fn type_out(
    engine: &Session,
    clock: &VirtualClock,
    events: &[TypingEvent],
    whole: u64,
    rests: bool,
) {
    let edits = |s: &Snapshot| s.cadence.keys + s.cadence.pastes + s.cadence.backspaces;
    for event in events {
        clock.advance_to(event.t_us);
        if event.edit == Edit::Enter {
            settle(engine, clock, |s| {
                s.prefill.prompt_tokens as u64 == whole && begun(s)
            });
        }
        let before = edits(&engine.hub().snapshot());
        engine.tell(Intent::Typing(event.clone()));
        if rests && matches!(event.edit, Edit::Insert { .. } | Edit::Backspace) {
            settle(engine, clock, |s| edits(s) != before && begun(s));
        }
    }
}

fn trace(name: &str) -> Trace {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/traces")
        .join(name);
    Trace::load(&path).unwrap()
}

fn final_text(events: &[TypingEvent]) -> String {
    let mut composer = nmos::typing::Composer::new();
    for event in events {
        composer.apply(&event.edit).unwrap();
    }
    composer.take()
}

/// Second thoughts of every kind in one prompt.
fn second_thoughts() -> Vec<TypingEvent> {
    let insert = |text: &str| Edit::Insert {
        text: text.into(),
        paste: false,
    };
    let mut edits = vec![insert("Why is the sea bluw")];
    edits.push(Edit::Backspace);
    edits.push(insert("e? Answer in one sentence."));
    edits.push(Edit::Delete { start: 11, end: 14 });
    edits.push(insert("sky"));
    edits.push(Edit::Cursor { pos: 0 });
    edits.push(insert("Tell me: "));
    edits.push(Edit::Enter);
    (0..)
        .step_by(20_000_000)
        .zip(edits)
        .map(|(t_us, edit)| TypingEvent { t_us, edit })
        .collect()
}

#[test]
fn work_before_enter_changes_no_answer() {
    let options = |anticipate| EngineOptions {
        max_tokens: 16,
        anticipate,
        ..options(BUDGETS[2], true)
    };
    let name = "ca-w13-18d61fce-0.jsonl";
    let scripts = [
        ("second thoughts", second_thoughts(), true),
        (name, trace(name).events().to_vec(), false),
    ];

    let cold = Session::new(options(false));
    cold.tell(Intent::Anticipate(false));
    let clock = Arc::new(VirtualClock::new());
    let warm = Session::with_clock(options(true), Arc::clone(&clock) as Arc<_>);
    for (name, events, rests) in &scripts {
        let expected = {
            cold.tell(Intent::NewConversation);
            ask(&cold, &final_text(events))
        };
        assert_eq!(expected.prompt_tokens_ready, 0, "{name}");
        warm.tell(Intent::NewConversation);
        type_out(&warm, &clock, events, expected.prompt_tokens, *rests);
        let stats = warm.answer().1;
        println!(
            "{name}: {} of {} prompt tokens ready at Enter",
            stats.prompt_tokens_ready, stats.prompt_tokens
        );
        assert_eq!(stats.text, expected.text, "{name}");
        if *rests {
            assert!(stats.bytes_wasted > 0, "{name}: nothing was thrown away");
        }
        assert_eq!(
            stats.prompt_tokens_ready, stats.prompt_tokens,
            "{name}: nothing was begun before Enter"
        );
    }
    cold.shutdown();
    warm.shutdown();
}

#[test]
fn a_second_turn_is_the_same_when_it_was_anticipated() {
    let second = "And in one word?";
    let options = |draft, anticipate| EngineOptions {
        max_tokens: 24,
        anticipate,
        ..options(BUDGETS[2], draft)
    };
    let cold = Session::new(options(false, false));
    let expected = [ask(&cold, PROMPTS[2]), ask(&cold, second)];
    cold.shutdown();
    assert!(expected[1].prompt_tokens_ready > expected[0].prompt_tokens);

    let clock = Arc::new(VirtualClock::new());
    let warm = Session::with_clock(options(true, true), Arc::clone(&clock) as Arc<_>);
    let first = ask(&warm, PROMPTS[2]);
    let events: Vec<_> = [paste(second), Edit::Enter]
        .map(|edit| TypingEvent { t_us: 1, edit })
        .into();
    type_out(&warm, &clock, &events, expected[1].prompt_tokens, false);
    let again = warm.answer().1;
    warm.shutdown();
    assert_eq!(first.text, expected[0].text);
    assert_eq!(again.text, expected[1].text);
    assert_eq!(again.prompt_tokens_ready, again.prompt_tokens);
}

#[test]
fn a_control_token_that_a_user_types_is_text() {
    let options = EngineOptions {
        max_tokens: 1,
        ..options(BUDGETS[2], false)
    };
    let all = answers(options, &["a", "a<|im_end|>", "<|im_start|>"]);
    // As a control token it would be one.
    assert!(all[1].prompt_tokens > all[0].prompt_tokens + 2);
    assert!(all[2].prompt_tokens > all[0].prompt_tokens + 2);
}
