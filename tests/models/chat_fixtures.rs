//! The templates of `tests/data/templates` in whole prompts: tokens as the reference texts have
//! them, and typed text that is never a control token.

use crate::chat_vocabulary::{Model, Vocabulary};
use crate::common;
use chrono::{NaiveDate, NaiveDateTime};
use nmos::ggml::llama::{self, Load};
use nmos::model::{ChatTemplate, Conversation, Tokenizer, Turn};
use nmos::units::TokenId;
use proptest::prelude::*;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/templates")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(folder().join(file)).expect(file)
}

fn json(file: &str) -> Value {
    serde_json::from_str(&read(file)).expect(file)
}

/// Names of control tokens that the templates write.
fn controls() -> Vec<String> {
    let names = read("control-tokens.txt");
    let names = names.lines().filter(|name| !name.starts_with("<|im_"));
    names
        .map(str::to_owned)
        .chain(["<|im_sep|>".into()])
        .collect()
}

/// Names and sources.
fn templates() -> Vec<(String, String)> {
    let files = std::fs::read_dir(folder()).expect("templates");
    let mut names: Vec<_> = files
        .filter_map(|file| {
            let name = file.expect("a file").file_name().into_string().ok()?;
            name.strip_suffix(".jinja").map(str::to_owned)
        })
        .collect();
    names.sort();
    let source = |name: String| {
        let source = read(&format!("{name}.jinja"));
        (name, source)
    };
    names.into_iter().map(source).collect()
}

/// What `scripts/chat-references` takes for the time.
fn now() -> NaiveDateTime {
    let day = NaiveDate::from_ymd_opt(2026, 11, 30).expect("a day");
    day.and_hms_opt(13, 5, 9).expect("a time")
}

/// A conversation that people have: a system text, if any, and turns, the last without an answer.
struct Said {
    system: String,
    turns: Vec<(String, String)>,
    last: String,
}

impl Said {
    /// `None` for those that only tests have.
    fn new(conversation: &Value) -> Option<Self> {
        let messages = conversation["messages"].as_array()?;
        let text = |message: &Value| message["content"].as_str().map(str::to_owned);
        let mut messages = messages.as_slice();
        let mut system = String::new();
        if messages[0]["role"] == "system" {
            system = text(&messages[0]).filter(|text| !text.is_empty())?;
            messages = &messages[1..];
        }
        let (last, before) = messages.split_last()?;
        let mut turns = Vec::new();
        for turn in before.chunks(2) {
            let [user, answer] = turn else {
                return None;
            };
            if user["role"] != "user" || answer["role"] != "assistant" {
                return None;
            }
            turns.push((text(user)?, text(answer)?));
        }
        let last = (last["role"] == "user").then(|| text(last))??;
        Some(Self {
            system,
            turns,
            last,
        })
    }

    /// Whether somebody types the name of a control token.
    fn types_any(&self, controls: &[String]) -> bool {
        let typed = self.turns.iter().map(|turn| &turn.0);
        let mut typed = typed.chain([&self.system, &self.last]);
        typed.any(|text| controls.iter().any(|name| text.contains(name.as_str())))
    }
}

/// A vocabulary, with which whole texts can be cut into tokens as well.
struct Vocabularies {
    tokenizer: Tokenizer,
    whole: Arc<nmos::ggml::model::Model>,
}

impl Vocabularies {
    fn open(path: &Path) -> Self {
        let whole = llama::load(path, Load::Vocabulary).expect("a vocabulary");
        Self {
            tokenizer: Tokenizer::of(Arc::clone(&whole)),
            whole,
        }
    }

    /// Tokens of a text in which names of control tokens are those.
    fn cut(&self, text: &str) -> Vec<TokenId> {
        let tokens = self.whole.tokenize(text, true).expect("tokens");
        tokens.into_iter().map(TokenId).collect()
    }

    fn prompt(&self, source: &str, said: &Said) -> Vec<TokenId> {
        let template = ChatTemplate::new(&self.tokenizer, Some(source), None, now());
        let mut conversation = Conversation::new(template.expect("a template"), &said.system);
        for (user, answer) in &said.turns {
            conversation.push(&Turn {
                user: user.clone(),
                answer: self.cut(answer),
            });
        }
        let tokens = conversation.tokens(&said.last).expect("tokens");
        assert_eq!(conversation.take_notice(), None);
        tokens
    }

    /// Compares prompts with their reference texts cut as a whole. How many were compared.
    fn compare(&self, names: &[&str], usable: impl Fn(&Said) -> bool) -> usize {
        let conversations = json("conversations.json");
        let mut compared = 0;
        for name in names {
            let source = read(&format!("{name}.jinja"));
            let references = json(&format!("references/{name}.json"));
            for (about, conversation) in conversations.as_object().expect("conversations") {
                let Some(said) = Said::new(conversation).filter(&usable) else {
                    continue;
                };
                let Some(text) = references[about]["text"].as_str() else {
                    continue;
                };
                // After a prompt that opens a thought, what does not close it is all thought. It
                // gets a closing, of which the template keeps the line ends or trims them.
                let closed = references["thoughts without a beginning"]["text"].as_str();
                let keeps = closed.is_some_and(|text| text.contains("\n\nYes."));
                let kept = if keeps { "\n\n" } else { "" };
                let mut text = text.to_owned();
                if text.trim_end().ends_with("<think>") {
                    let answers = said.turns.iter().map(|turn| turn.1.as_str());
                    let thoughts = answers.filter(|text| !text.contains("</think>"));
                    for answer in thoughts.filter(|text| !text.is_empty()) {
                        let answer = if keeps { answer } else { answer.trim() };
                        assert_eq!(text.matches(answer).count(), 1, "{name}, {about}");
                        text = text.replace(answer, kept);
                    }
                }
                let mut right = self.cut(&text);
                let begin = self.whole.tokenize("<s>", true).expect("tokens");
                if let ([begin], true) = (begin.as_slice(), !text.starts_with("<s>")) {
                    right.insert(0, TokenId(*begin));
                }
                let got = self.prompt(&source, &said);
                let shown = |tokens: &[TokenId]| {
                    let bytes = tokens.iter().map(|&token| self.tokenizer.bytes(token));
                    let bytes: Vec<_> = bytes.collect();
                    String::from_utf8_lossy(&bytes.join(&b"|"[..])).into_owned()
                };
                assert_eq!(shown(&got), shown(&right), "{name}, {about}");
                assert_eq!(got, right, "{name}, {about}");
                compared += 1;
            }
        }
        compared
    }
}

fn small() -> Model {
    Model::new(&Vocabulary {
        space_prefix: false,
        controls: controls(),
        ..Vocabulary::default()
    })
}

#[test]
fn prompts_have_the_tokens_of_their_reference_texts() {
    let model = small();
    let vocabulary = Vocabularies::open(&model.path);
    let controls = controls();
    let templates = templates();
    let names: Vec<_> = templates.iter().map(|(name, _)| name.as_str()).collect();
    // An answer that begins with a line's end may bring the one that a template writes before it.
    let usable = |said: &Said| {
        !said.types_any(&controls) && !said.turns.iter().any(|turn| turn.1.starts_with('\n'))
    };
    let compared = vocabulary.compare(&names, usable);
    assert!(compared > 400, "{compared}");
}

#[test]
fn prompts_of_real_vocabularies_have_the_tokens_of_their_reference_texts() {
    // Where an answer begins or ends with white space, its tokens are not those of the text around.
    let usable = |said: &Said| {
        said.turns.iter().all(|(_, answer)| answer.trim() == answer)
            && !said.types_any(&["<|im_start|>".into()])
    };
    for (file, names) in [
        (common::ORACLE, ["chatml", "qwen2.5", "qwen3"]),
        (common::SMOL, ["chatml", "smollm2", "qwen2.5"]),
    ] {
        let vocabulary = Vocabularies::open(&common::model(file));
        let compared = vocabulary.compare(&names, usable);
        assert!(compared > 20, "{compared}");
    }
}

/// All control tokens of the small vocabulary.
fn every() -> Vec<String> {
    let mut names = controls();
    names.extend(["<|im_start|>", "<|im_end|>", "</s>", "<s>"].map(str::to_owned));
    names
}

/// Parts of texts that somebody types who wants more than to be answered.
fn hostile() -> impl Strategy<Value = String> {
    let names = every();
    let whole = proptest::sample::select(names.clone());
    let cut = (proptest::sample::select(names), 1..20usize, any::<bool>()).prop_map(
        |(name, at, head)| {
            let cut = name.char_indices().nth(at).map_or(name.len(), |(at, _)| at);
            let (start, end) = name.split_at(cut);
            if head { start } else { end }.to_owned()
        },
    );
    let other = proptest::sample::select(vec![
        "a",
        "Z",
        " ",
        "\n",
        "\"",
        "'",
        "\\",
        "{{",
        "%s",
        "é",
        "ſ",
        "\u{212a}",
        "\u{10f000}",
        "\0",
        "▁",
        "|",
        "<",
        ">",
    ]);
    let piece = prop_oneof![whole, cut, other.prop_map(str::to_owned)];
    proptest::collection::vec(piece, 1..6).prop_map(|pieces| format!("x{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn typed_text_is_no_control_token_in_any_template(
        system in hostile(),
        user in hostile(),
        answer in hostile(),
        last in hostile(),
    ) {
        thread_local! {
            static MODEL: (Model, Vec<(String, String)>) = (small(), templates());
        }
        let every = every();
        MODEL.with(|(model, templates)| {
            for (name, source) in templates {
                let controls = |texts: [&str; 4]| {
                    let [system, user, answer, last] = texts;
                    let template = ChatTemplate::new(&model.tokenizer, Some(source), None, now());
                    let mut conversation = Conversation::new(template.unwrap(), system);
                    // Said by the model, but letter by letter.
                    let answer = answer.chars().flat_map(|c| {
                        model.tokenizer.text(c.encode_utf8(&mut [0; 4])).unwrap()
                    });
                    let answer = answer.collect();
                    conversation.push(&Turn { user: user.to_owned(), answer });
                    let tokens = conversation.tokens(last).unwrap();
                    assert_eq!(conversation.take_notice(), None, "{name}");
                    let names = tokens.iter().map(|token| &model.names[token.0 as usize]);
                    names.filter(|name| every.contains(name)).count()
                };
                let hostile = controls([&system, &user, &answer, &last]);
                prop_assert_eq!(hostile, controls(["x"; 4]), "{}", name);
            }
            Ok(())
        })?;
    }
}
