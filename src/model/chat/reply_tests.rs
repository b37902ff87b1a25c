//! Answers in pieces of every cut: what is thought, what is said, and where it ends.

use super::answer_form::{AnswerForm, Thoughts};
use super::ends::Ends;
use super::marks::ControlNames;
use super::reply::Reply;
use super::symbols::{Pieces, tokens_of};
use super::thinking::Markers;
use crate::units::TokenId;
use proptest::prelude::*;
use std::sync::Arc;

/// A token a byte.
struct Bytes;

impl Pieces for Bytes {
    fn bytes(&self, token: TokenId) -> Option<Vec<u8>> {
        u8::try_from(token.0).ok().map(|byte| vec![byte])
    }

    fn cut(&self, text: &str) -> Vec<TokenId> {
        text.bytes().map(|byte| TokenId(byte.into())).collect()
    }
}

/// A token a piece of the list.
struct Texts(Vec<Vec<u8>>);

impl Pieces for Texts {
    fn bytes(&self, token: TokenId) -> Option<Vec<u8>> {
        self.0.get(usize::try_from(token.0).ok()?).cloned()
    }

    fn cut(&self, text: &str) -> Vec<TokenId> {
        // Numbers after those of the list, for what is cut again.
        vec![TokenId((self.0.len() + text.len()) as i32)]
    }
}

fn form(stops: &[&str]) -> Arc<AnswerForm> {
    let closing = "\n</think>\n\n";
    Arc::new(AnswerForm::of_texts(Arc::new(Bytes), stops, closing))
}

/// What becomes of an answer whose text comes byte by byte.
fn read(prompt: &str, said: &str, stops: &[&str]) -> Reply {
    let mut reply = Reply::after(&form(stops), &Bytes.cut(prompt), None);
    for token in Bytes.cut(said) {
        reply.push(token);
    }
    reply.finish();
    reply
}

#[test]
fn thoughts_are_told_from_what_is_said() {
    for (prompt, said, thought, text) in [
        ("A:", "<think>\nhm\n</think>\n\nIt is.", "hm\n", "It is."),
        ("A:", "\n<think>hm</think>It is.", "hm", "It is."),
        ("A: <think>\n", "hm</think>\n\nIt is.", "hm", "It is."),
        ("A:", "<think>\n\n</think>\n\nIt is.", "", "It is."),
        ("A:", "It is.", "", "It is."),
        (
            "A:",
            "  It <think> is.</think>",
            "",
            "  It <think> is.</think>",
        ),
        ("A:", "<think>hm", "hm", ""),
        ("A:", "<thin", "", "<thin"),
        ("A:", "<think>hm</thi", "hm</thi", ""),
        ("A:", "<think>a</think> <think>b</think>c", "a\n\nb", "c"),
        ("A: <think>\n\n</think>\n\n", "It is.", "", "It is."),
    ] {
        let reply = read(prompt, said, &[]);
        assert_eq!((reply.thought(), reply.text()), (thought, text), "{said:?}");
    }
}

#[test]
fn channels_are_told_by_control_tokens_alone() {
    let controls = ["<|start|>", "<|channel|>", "<|message|>", "<|end|>"];
    let names = ControlNames::new(
        controls
            .map(str::to_owned)
            .into_iter()
            .zip(1000..)
            .map(|(name, id)| (name, TokenId(id)))
            .collect(),
    );
    let markers = Markers::of_channels();
    let thoughts = Thoughts::new(&Bytes, &names, markers, markers.written_closing());
    let ends = Ends {
        tokens: vec![TokenId(1003)],
        stops: Vec::new(),
    };
    let form = Arc::new(AnswerForm::new(
        Arc::new(Bytes),
        &names,
        ends,
        Some(thoughts),
    ));
    let reads = |said: &[TokenId]| {
        let mut reply = Reply::after(&form, &Bytes.cut("A:"), None);
        for &token in said {
            reply.push(token);
        }
        reply.finish();
        (
            reply.thought().to_owned(),
            reply.text().to_owned(),
            reply.has_stopped(),
        )
    };
    let said = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>It is.<|end|>";
    let told = reads(&tokens_of(&Bytes, &names, said));
    assert_eq!(told, ("hm".to_owned(), "It is.".to_owned(), true));
    // The same in letters is what was said.
    let told = reads(&Bytes.cut(said));
    assert_eq!(told, (String::new(), said.to_owned(), false));
}

#[test]
fn tokens_of_thoughts_are_counted_without_their_marks() {
    for (said, tokens) in [
        ("<think>12345</think>It is.", 5),
        ("<think>12345", 5),
        ("<think>12</think><think>34</think>", 4),
        ("It is.", 0),
    ] {
        assert_eq!(read("A:", said, &[]).thinking_tokens(), tokens, "{said}");
    }
}

#[test]
fn what_may_be_a_marker_is_never_shown() {
    let mut reply = Reply::after(&form(&["<end>"]), &[], None);
    let mut shown = String::new();
    for token in Bytes.cut("a <en b <end> c") {
        reply.push(token);
        assert!(reply.text().starts_with(&shown), "what was shown stays");
        reply.text().clone_into(&mut shown);
        assert!(!shown.ends_with('<'), "{shown}");
    }
    assert!(reply.has_stopped());
    reply.finish();
    assert_eq!(reply.text(), "a <en b ");
}

#[test]
fn a_stop_is_cut_out_of_tokens_in_whole_characters() {
    let stop = ["<end>"];
    for (pieces, kept, cut) in [
        // The stop begins with a token.
        (vec!["a", "b", "<e", "nd>"], vec![0, 1], ""),
        // Within one.
        (vec!["a", "b<", "end", ">x"], vec![0], "b"),
        // All of it in one.
        (vec!["a<end>b"], vec![], "a"),
    ] {
        let texts: Vec<_> = pieces.iter().map(|p| p.as_bytes().to_vec()).collect();
        check_kept(texts, &stop, &kept, cut);
    }
    // A character that goes over two tokens.
    let texts = vec![b"a\xc3".to_vec(), b"\xa9<".to_vec(), b"end>".to_vec()];
    check_kept(texts, &stop, &[], "a\u{e9}");
}

fn check_kept(texts: Vec<Vec<u8>>, stops: &[&str], kept: &[i32], cut: &str) {
    let n = texts.len();
    let pieces = Arc::new(Texts(texts));
    let form = Arc::new(AnswerForm::of_texts(pieces, stops, ""));
    let tokens: Vec<_> = (0..n as i32).map(TokenId).collect();
    let mut reply = Reply::after(&form, &[], None);
    for &token in &tokens {
        reply.push(token);
    }
    assert!(reply.has_stopped());
    let mut right: Vec<_> = kept.iter().copied().map(TokenId).collect();
    if !cut.is_empty() {
        right.push(TokenId((n + cut.len()) as i32));
    }
    assert_eq!(reply.kept(&tokens), right);
}

#[test]
fn a_thought_of_all_its_tokens_is_closed() {
    let mut reply = Reply::after(&form(&[]), &[], Some(3));
    let mut tokens = Vec::new();
    for said in Bytes.cut("<think>abcdef") {
        while let Some(forced) = reply.forced() {
            reply.push(forced);
            tokens.push(forced);
        }
        reply.push(said);
        tokens.push(said);
    }
    reply.finish();
    let text: Vec<u8> = tokens.iter().map(|t| t.0 as u8).collect();
    let right = "<think>abc\n</think>\n\ndef";
    assert_eq!(String::from_utf8(text).unwrap(), right);
    assert_eq!((reply.thought().trim_end(), reply.text()), ("abc", "def"));
    assert_eq!((reply.thinking_tokens(), reply.cut_at()), (3, Some(3)));
}

proptest! {
    #[test]
    fn every_cut_of_an_answer_reads_the_same(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("<think>"), Just("</think>"), Just("<end>"), Just("<e"), Just("é"), Just("</"),
                Just(" "), Just("\n"), Just("ab"), Just(">"),
            ],
            0..12,
        ),
        cuts in proptest::collection::vec(1usize..6, 0..40),
    ) {
        let said = parts.concat();
        let by_byte = read("", &said, &["<end>"]);
        let (mut texts, mut rest) = (Vec::new(), said.as_bytes());
        for cut in cuts {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            texts.push(now.to_vec());
            rest = later;
        }
        texts.push(rest.to_vec());
        let n = texts.len() as i32;
        let pieces = Arc::new(Texts(texts));
        let form = Arc::new(AnswerForm::of_texts(pieces, &["<end>"], ""));
        let mut reply = Reply::after(&form, &[], None);
        for token in (0..n).map(TokenId) {
            reply.push(token);
            if reply.has_stopped() {
                break;
            }
        }
        reply.finish();
        prop_assert_eq!(reply.thought(), by_byte.thought());
        prop_assert_eq!(reply.text(), by_byte.text());
        prop_assert_eq!(reply.has_stopped(), by_byte.has_stopped());
    }
}
