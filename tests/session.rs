//! What a session does with intents that come at awkward moments.
#![allow(clippy::unwrap_used, reason = "a test may panic; its helpers too")]

mod common;

use common::{SMOL, answer, ask, options, type_edit};
use nmos::session::{EngineOptions, Event, Intent, spawn, spawn_with_clock};
use nmos::telemetry::AnswerEnd;
use nmos::typing::{Edit, VirtualClock};
use nmos::units::Bytes;
use std::sync::Arc;

const PROMPT: &str = "Name three colours.";

fn small() -> EngineOptions {
    EngineOptions {
        max_tokens: 8,
        ..options(SMOL, Bytes::mib(700))
    }
}

fn paste(text: &str) -> Edit {
    Edit::Insert {
        text: text.into(),
        paste: true,
    }
}

#[test]
fn a_stop_while_models_load_stops_the_prompt_that_waits() {
    let _turn = common::turn();
    let engine = spawn(small());
    type_edit(&engine, paste("Write a long story."));
    type_edit(&engine, Edit::Enter);
    engine.intents.send(Intent::Stop).unwrap();
    let (pieces, stopped) = answer(&engine);
    assert_eq!(stopped.end, AnswerEnd::Stopped);
    assert_eq!((pieces.len(), stopped.tokens), (0, 0));

    // What was not answered is no part of the conversation.
    let (_, next) = ask(&engine, PROMPT);
    engine.intents.send(Intent::NewConversation).unwrap();
    let (_, alone) = ask(&engine, PROMPT);
    assert_eq!(next.prompt_tokens, alone.prompt_tokens);
    assert_eq!(next.text, alone.text);
    engine.shutdown();
}

#[test]
fn an_answer_to_a_prompt_sent_while_models_load_counts_the_wait() {
    let _turn = common::turn();
    let clock = Arc::new(VirtualClock::new());
    let engine = spawn_with_clock(small(), Arc::clone(&clock) as Arc<_>);
    type_edit(&engine, paste(PROMPT));
    type_edit(&engine, Edit::Enter);
    clock.advance(30_000_000);
    let (_, stats) = answer(&engine);
    assert!(stats.ttft_ms.unwrap() >= 30_000.0, "{:?}", stats.ttft_ms);
    engine.shutdown();
}

#[test]
fn an_empty_prompt_is_declined_and_the_next_one_answered() {
    let _turn = common::turn();
    let engine = spawn(small());
    type_edit(&engine, paste("  \n"));
    type_edit(&engine, Edit::Enter);
    loop {
        match engine.events.recv().unwrap() {
            Event::Notice(why) => break assert!(why.contains("empty prompt"), "{why}"),
            Event::Ready => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(ask(&engine, PROMPT).1.tokens > 0);
    engine.shutdown();
}
