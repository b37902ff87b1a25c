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

fn push_all(reply: &mut Reply, tokens: &[TokenId]) {
    for &token in tokens {
        reply.push(token);
    }
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
fn what_ends_an_answer_in_a_tag_ends_no_other() {
    let markers = Markers::with_answer_tags();
    let form = AnswerForm::of_markers(
        Arc::new(Bytes),
        markers,
        &["<end>"],
        markers.written_closing(),
    );
    let form = Arc::new(form);
    for (prompt, said, thought, text, stops) in [
        // A header began the text, in the answer or in the prompt.
        ("A:", "<answer>It.</answer>x", "", "It.", true),
        (
            "A:",
            "<think>hm</think><answer>It.</answer>x",
            "hm",
            "It.",
            true,
        ),
        ("A:<answer>", "It.</answer>x", "", "It.", true),
        // None did: these are what somebody asked for.
        ("A:", "<a>x</answer>y", "", "<a>x</answer>y", false),
        (
            "A:",
            "<think>hm</think><a>x</answer>y",
            "hm",
            "<a>x</answer>y",
            false,
        ),
        // A thought may be about them, and about what ends any answer.
        (
            "A:",
            "<think>h</answer>i<end>j</think><answer>Y</answer>",
            "h</answer>i<end>j",
            "Y",
            true,
        ),
        ("A:", "<think>hm</think>Y<end>x", "hm", "Y", true),
    ] {
        let mut reply = Reply::after(&form, &Bytes.cut(prompt), None);
        push_all(&mut reply, &Bytes.cut(said));
        let has_stopped = reply.has_stopped();
        reply.finish();
        assert_eq!(
            (reply.thought(), reply.text(), has_stopped),
            (thought, text, stops),
            "{said}"
        );
    }
}

#[test]
fn a_closing_that_is_a_header_as_well_is_one() {
    let markers = Markers::of_final_responses();
    let form = AnswerForm::of_markers(Arc::new(Bytes), markers, &[], markers.written_closing());
    let form = Arc::new(form);
    let opening = markers.open();
    for (prompt, said, text) in [
        (
            "A:".to_owned(),
            format!("{opening}\nhm\n[BEGIN FINAL RESPONSE]\nY\n[END FINAL RESPONSE]x"),
            "Y\n",
        ),
        (
            format!("A:{opening}\n"),
            "hm\n[BEGIN FINAL RESPONSE]Y[END FINAL RESPONSE]x".to_owned(),
            "Y",
        ),
        (
            "A:[BEGIN FINAL RESPONSE]\n".to_owned(),
            "Y[END FINAL RESPONSE]x".to_owned(),
            "Y",
        ),
        (
            "A:".to_owned(),
            "Y[END FINAL RESPONSE]x".to_owned(),
            "Y[END FINAL RESPONSE]x",
        ),
    ] {
        let mut reply = Reply::after(&form, &Bytes.cut(&prompt), None);
        push_all(&mut reply, &Bytes.cut(&said));
        reply.finish();
        assert_eq!(reply.text(), text, "{said}");
    }
}

/// The harmony format, in which control tokens have numbers from 1000 on.
fn channels() -> (ControlNames, Arc<AnswerForm>) {
    let controls = [
        "<|start|>",
        "<|channel|>",
        "<|message|>",
        "<|end|>",
        "<|constrain|>",
    ];
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
        tokens: vec![TokenId(1003), TokenId(1003)],
        stops: Vec::new(),
    };
    let form = AnswerForm::new(Arc::new(Bytes), &names, ends, Some(thoughts));
    (names, Arc::new(form))
}

#[test]
fn headers_may_have_parameters() {
    let (names, form) = channels();
    for (said, thought, text) in [
        ("<|channel|>final <|constrain|>json<|message|>{}", "", "{}"),
        (
            "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|end|>\
             <|start|>assistant<|channel|>final<|message|>It.",
            "{}",
            "It.",
        ),
        // A limit came within the header.
        ("<|channel|>final <|constrain|>js", "", ""),
        ("<|channel|>fin", "", ""),
    ] {
        let mut reply = Reply::after(&form, &Bytes.cut("A:"), None);
        push_all(&mut reply, &tokens_of(&Bytes, &names, said));
        reply.finish();
        assert_eq!((reply.thought(), reply.text()), (thought, text), "{said}");
    }
    let endless = format!("<|channel|>final {}", "x".repeat(400));
    let mut reply = Reply::after(&form, &[], None);
    push_all(&mut reply, &tokens_of(&Bytes, &names, &endless));
    assert!(reply.text().ends_with("xxx"), "no header goes on for ever");
}

#[test]
fn channels_are_told_by_control_tokens_alone() {
    let (names, form) = channels();
    assert_eq!(form.ends(), [], "it closes thoughts as well");
    let reads = |said: &[TokenId]| {
        let mut reply = Reply::after(&form, &Bytes.cut("A:"), None);
        push_all(&mut reply, said);
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

/// What is said by somebody who says `said`, and is interrupted by what is forced.
fn said_under(budget: usize, said: &[u8]) -> (String, Reply) {
    let mut reply = Reply::after(&form(&[]), &[], Some(budget));
    let mut all = Vec::new();
    for &byte in said {
        while let Some(forced) = reply.forced() {
            reply.push(forced);
            all.push(forced.0 as u8);
        }
        reply.push(TokenId(byte.into()));
        all.push(byte);
    }
    reply.finish();
    (String::from_utf8_lossy(&all).into_owned(), reply)
}

#[test]
fn a_cut_waits_for_a_closing_and_for_a_character() {
    let closing = "\n</think>\n\n";
    for (budget, said, all, text, cut) in [
        // It is being closed when its tokens are used up.
        (4, "<think>abc</think>Y".to_owned(), None, "Y", None),
        (4, "<think>abc</thx".to_owned(), None, "", None),
        (
            4,
            "<think>abc</txY".to_owned(),
            Some(format!("<think>abc</tx{closing}Y")),
            "Y",
            Some(7),
        ),
        // Not within a character.
        (
            1,
            "<think>\u{e9}Y".to_owned(),
            Some(format!("<think>\u{e9}{closing}Y")),
            "Y",
            Some(2),
        ),
        // Nobody puts it off for ever.
        (
            1,
            format!("<think>{}Y", "<".repeat(40)),
            Some(format!(
                "<think>{}{closing}{}Y",
                "<".repeat(34),
                "<".repeat(6)
            )),
            "<<<<<<Y",
            Some(34),
        ),
    ] {
        let (whole, reply) = said_under(budget, said.as_bytes());
        assert_eq!(whole, all.unwrap_or_else(|| said.clone()));
        assert_eq!((reply.text(), reply.cut_at()), (text, cut), "{said}");
    }
}

#[test]
fn no_thought_begins_after_one_that_was_cut() {
    let (whole, reply) = said_under(1, b"<think>ab<think><think>c");
    assert!(whole.starts_with("<think>a\n</think>\n\nb"), "{whole}");
    assert_eq!(reply.text(), "b<think><think>c");
    let (whole, reply) = said_under(1, b"<think>a<think><think>c");
    assert_eq!(whole.matches("</think>").count(), 1, "{whole}");
    assert_eq!((reply.text(), reply.thinking_tokens()), ("c", 1));
    // The budget is for all thoughts together.
    let (whole, reply) = said_under(3, b"<think>ab</think><think>cdY");
    assert!(whole.ends_with("<think>c\n</think>\n\ndY"), "{whole}");
    assert_eq!((reply.text(), reply.cut_at()), ("dY", Some(3)));
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
