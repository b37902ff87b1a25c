//! A model file that breaks under a running session: said, and nothing lost.

use crate::common::{self, SMOL, Session, least_ram, model, options};
use nmos::session::{EngineOptions, Intent};
use nmos::units::Bytes;
use nmos::vocabulary::OracleForm;
use std::fs::{self, File};
use std::path::Path;

const PROMPT: &str = "Name three colours.";

/// A session over the model at `path`, most of which streams.
fn session(path: &Path) -> Session {
    let base = EngineOptions {
        max_tokens: 12,
        oracle: path.to_owned(),
        ..options(SMOL, Bytes(0))
    };
    let ram = Bytes(least_ram(&base).0 + Bytes::mib(8).0);
    let session = Session::new(EngineOptions {
        ram: Some(ram),
        ..base
    });
    session.ready().unwrap();
    assert_eq!(
        session.hub().snapshot().engine.form,
        Some(OracleForm::Streamed)
    );
    session
}

/// The error that the next prompt ends with.
fn failure(session: &Session, prompt: &str) -> String {
    session.send_prompt(prompt);
    match session.outcome() {
        Err(why) => why,
        Ok((_, stats)) => panic!("an answer: {}", stats.text),
    }
}

#[test]
fn a_file_cut_short_ends_the_answer_and_the_next_one_works_when_it_is_back() {
    let _turn = common::turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    fs::copy(model(SMOL), &path).unwrap();
    let engine = session(&path);
    let (_, before) = engine.ask_typed(PROMPT);

    let whole = fs::read(&path).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    let mtime = file.metadata().unwrap().modified().unwrap();
    file.set_len(whole.len() as u64 / 2).unwrap();
    let why = failure(&engine, "And three more.");
    assert!(why.contains("model.gguf"), "{why}");
    assert!(why.contains("bytes long"), "{why}");

    // The file is restored; the conversation goes on where it was.
    fs::write(&path, &whole).unwrap();
    file.set_modified(mtime).unwrap();
    let (_, second) = engine.ask_typed("And three more.");
    assert!(second.tokens > 0);
    engine.tell(Intent::NewConversation);
    let (_, after) = engine.ask_typed(PROMPT);
    assert_eq!(before.text, after.text);
    engine.shutdown();
}

#[test]
fn a_file_that_was_replaced_is_not_computed_with() {
    let _turn = common::turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    fs::copy(model(SMOL), &path).unwrap();
    let engine = session(&path);
    let other = dir.path().join("other");
    fs::copy(&path, &other).unwrap();
    fs::rename(&other, &path).unwrap();
    let why = failure(&engine, PROMPT);
    assert!(why.contains("replaced"), "{why}");
    // A new session takes what is there.
    engine.shutdown();
    let engine = session(&path);
    assert!(engine.ask_typed(PROMPT).1.tokens > 0);
    engine.shutdown();
}
