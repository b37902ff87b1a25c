//! What a session does with intents that come at awkward moments.

use crate::common::{self, SMOL, Session, options};
use nmos::session::{EngineOptions, Event, Intent, Notice};
use nmos::telemetry::AnswerEnd;
use nmos::typing::VirtualClock;
use nmos::units::Bytes;
use std::sync::Arc;

const PROMPT: &str = "Name three colours.";

fn small() -> EngineOptions {
    EngineOptions {
        max_tokens: 8,
        ..options(SMOL, Bytes::mib(700))
    }
}

#[test]
fn a_stop_while_models_load_stops_the_prompt_that_waits() {
    let _turn = common::turn();
    let engine = Session::new(small());
    engine.send_prompt("Write a long story.");
    engine.tell(Intent::Stop);
    let (pieces, stopped) = engine.answer();
    assert_eq!(stopped.end, AnswerEnd::Stopped);
    assert_eq!((pieces.len(), stopped.tokens), (0, 0));

    // What was not answered is no part of the conversation.
    let (_, next) = engine.ask_typed(PROMPT);
    engine.tell(Intent::NewConversation);
    let (_, alone) = engine.ask_typed(PROMPT);
    assert_eq!(next.prompt_tokens, alone.prompt_tokens);
    assert_eq!(next.text, alone.text);
    engine.shutdown();
}

#[test]
fn an_answer_to_a_prompt_sent_while_models_load_counts_the_wait() {
    let _turn = common::turn();
    let clock = Arc::new(VirtualClock::new());
    let engine = Session::with_clock(small(), Arc::clone(&clock) as Arc<_>);
    engine.send_prompt(PROMPT);
    clock.advance(30_000_000);
    let (_, stats) = engine.answer();
    assert!(stats.ttft_ms.unwrap() >= 30_000.0, "{:?}", stats.ttft_ms);
    engine.shutdown();
}

#[test]
fn an_empty_prompt_is_declined_and_the_next_one_answered() {
    let _turn = common::turn();
    let engine = Session::new(small());
    engine.send_prompt("  \n");
    loop {
        match engine.next_event() {
            Event::Notice(Notice::EmptyPrompt) => break,
            Event::Ready => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(engine.ask_typed(PROMPT).1.tokens > 0);
    engine.shutdown();
}
