//! Small SentencePiece vocabularies that tests write, and prompts in them.

use crate::gguf_builder::Builder;
use chrono::{NaiveDate, NaiveDateTime};
use nmos::model::{ChatTemplate, Conversation, Tokenizer};
use nmos::units::TokenId;
use std::path::PathBuf;
use tempfile::TempDir;

/// A SentencePiece vocabulary of characters, control tokens and `more`.
pub struct Vocabulary {
    pub space_prefix: bool,
    pub adds_bos: bool,
    pub more: Vec<&'static str>,
    /// Control tokens besides `<s>`, `</s>` and those of ChatML.
    pub controls: Vec<String>,
}

impl Default for Vocabulary {
    fn default() -> Self {
        Self {
            space_prefix: true,
            adds_bos: true,
            more: Vec::new(),
            controls: Vec::new(),
        }
    }
}

pub struct Model {
    _folder: TempDir,
    pub path: PathBuf,
    pub tokenizer: Tokenizer,
    pub names: Vec<String>,
}

impl Model {
    pub fn new(vocabulary: &Vocabulary) -> Self {
        let mut names: Vec<(String, i32)> = Vec::new();
        names.push(("<unk>".into(), 2));
        names.extend(["<s>", "</s>"].map(|name| (name.into(), 3)));
        names.extend((0..=255).map(|byte| (format!("<0x{byte:02X}>"), 6)));
        names.push(("▁".into(), 1));
        names.extend(('!'..='~').map(|c| (c.to_string(), 1)));
        names.extend(["<|im_start|>", "<|im_end|>"].map(|name| (name.into(), 3)));
        names.extend(vocabulary.controls.iter().map(|name| (name.clone(), 3)));
        names.extend(vocabulary.more.iter().map(|name| ((*name).to_owned(), 1)));
        let array = |ty: u32, values: Vec<[u8; 4]>| {
            let mut body = ty.to_le_bytes().to_vec();
            body.extend((values.len() as u64).to_le_bytes());
            body.extend(values.concat());
            body
        };
        let scores = (0..names.len()).map(|i| (-(i as f32)).to_le_bytes());
        let types = names.iter().map(|(_, ty)| ty.to_le_bytes());
        let texts: Vec<_> = names.iter().map(|(name, _)| name.as_str()).collect();
        let file = Builder::default()
            .text("general.architecture", "llama")
            .text("tokenizer.ggml.model", "llama")
            .texts("tokenizer.ggml.tokens", &texts)
            .raw("tokenizer.ggml.scores", 9, &array(6, scores.collect()))
            .raw("tokenizer.ggml.token_type", 9, &array(5, types.collect()))
            .u32("tokenizer.ggml.bos_token_id", 1)
            .u32("tokenizer.ggml.eos_token_id", 2)
            .u32("tokenizer.ggml.unknown_token_id", 0)
            .raw(
                "tokenizer.ggml.add_bos_token",
                7,
                &[vocabulary.adds_bos.into()],
            )
            .raw(
                "tokenizer.ggml.add_space_prefix",
                7,
                &[vocabulary.space_prefix.into()],
            )
            .build();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("vocabulary.gguf");
        std::fs::write(&path, file).expect("written");
        Self {
            tokenizer: Tokenizer::open(&path).expect("a vocabulary"),
            path,
            _folder: folder,
            names: names.into_iter().map(|(name, _)| name).collect(),
        }
    }

    pub fn template(&self, own: Option<&str>) -> ChatTemplate {
        ChatTemplate::new(&self.tokenizer, own, None, time()).expect("a template")
    }

    /// Tokens of what a model says, letter by letter, in which names of control tokens are those.
    /// Of a vocabulary that puts no space before texts.
    pub fn said(&self, text: &str) -> Vec<TokenId> {
        let control = |text: &str| {
            let named = |(_, name): &(usize, &String)| {
                name.starts_with("<|") && text.starts_with(name.as_str())
            };
            let found = self.names.iter().enumerate().find(named);
            found.map(|(id, name)| (TokenId(id as i32), name.len()))
        };
        let (mut tokens, mut rest) = (Vec::new(), text);
        while let Some(c) = rest.chars().next() {
            let (token, len) = control(rest).unwrap_or_else(|| {
                let cut = self.tokenizer.text(&rest[..c.len_utf8()]);
                (cut.expect("a token")[0], c.len_utf8())
            });
            tokens.push(token);
            rest = &rest[len..];
        }
        tokens
    }

    /// Tokens by name, joined; those of bytes as the byte.
    pub fn show(&self, tokens: &[TokenId]) -> String {
        let name = |token: &TokenId| match self.names[token.0 as usize].as_str() {
            "<0x0A>" => "\n".to_owned(),
            name if name.chars().count() > 1 => format!("[{name}]"),
            name => name.to_owned(),
        };
        tokens.iter().map(name).collect()
    }

    /// The prompt of a first turn.
    pub fn first(&self, own: &str, system: &str, text: &str) -> String {
        let mut conversation = Conversation::new(self.template(Some(own)), system);
        self.show(&conversation.tokens(text).expect("tokens"))
    }
}

pub fn time() -> NaiveDateTime {
    let day = NaiveDate::from_ymd_opt(2026, 11, 30).expect("a day");
    day.and_hms_opt(12, 0, 0).expect("a time")
}
