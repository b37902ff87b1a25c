//! Text to tokens and back, by the model's own vocabulary.

use crate::ggml::ModelFiles;
use crate::ggml::llama::{self, LlamaError, Load};
use crate::ggml::model::{Model, TokenEntry};
use crate::units::TokenId;
use std::sync::Arc;

/// Control tokens that llama.cpp takes for text, whatever the file says (harmony's).
const HARMONY: [&[u8]; 5] = [
    b"<|start|>",
    b"<|message|>",
    b"<|channel|>",
    b"<|constrain|>",
    b"<|end|>",
];

/// A model's vocabulary.
#[derive(Clone)]
pub struct Tokenizer {
    model: Arc<Model>,
}

/// A text that has no tokens in a model's vocabulary.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    #[error("the model has no token for {0:?}: write the prompt, or the system text, without it")]
    NoToken(char),
    #[error(transparent)]
    Llama(#[from] LlamaError),
}

/// Which white space around its name a control token takes with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strip {
    pub before: bool,
    pub after: bool,
}

/// Two models do not speak of the same tokens.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VocabularyMismatch {
    #[error(
        "the draft's vocabulary is not the oracle's: token {id} is {draft} there and {oracle} \
         here; choose a draft of the oracle's family, or --draft none"
    )]
    Token {
        id: i32,
        oracle: String,
        draft: String,
    },
    /// The tokens are the same, but not what they are for.
    #[error(
        "the draft's vocabulary is not the oracle's: {what} is {draft} there and {oracle} \
         here; choose a draft of the oracle's family, or --draft none"
    )]
    Special {
        what: &'static str,
        oracle: String,
        draft: String,
    },
}

/// Whether it is one that text cannot be cut into.
fn is_control(entry: &TokenEntry) -> bool {
    entry.is_control() || HARMONY.contains(&entry.text.as_slice())
}

impl Tokenizer {
    /// Loads the vocabulary of a model, not its weights.
    ///
    /// # Errors
    /// Names the file and llama.cpp's reason.
    pub fn open(files: impl Into<ModelFiles>) -> Result<Self, LlamaError> {
        Ok(Self::of(llama::load(files, Load::Vocabulary)?))
    }

    /// The vocabulary of a model that is loaded already.
    pub fn of(model: Arc<Model>) -> Self {
        Self { model }
    }

    pub fn n_vocab(&self) -> usize {
        self.model.n_tokens()
    }

    /// Tokens of what somebody typed: `<|im_start|>` in it is text, never a control token.
    ///
    /// # Errors
    /// Names the first character that the vocabulary has no token for.
    pub fn text(&self, text: &str) -> Result<Vec<TokenId>, TextError> {
        match self.model.tokenize(text, false) {
            Ok(tokens) => Ok(tokens.into_iter().map(TokenId).collect()),
            Err(error) => Err(self.no_token(text).map_or(error.into(), TextError::NoToken)),
        }
    }

    /// Tokens of text that goes on after other text: a vocabulary that begins a text with a space
    /// begins this one without.
    ///
    /// # Errors
    /// As [`Tokenizer::text`].
    pub(super) fn text_within(&self, text: &str) -> Result<Vec<TokenId>, TextError> {
        // One of these put before the text can be cut off again where its tokens are the same with
        // the text and without.
        const BEFORE: [&str; 3] = ["\n", "\u{1}", "|"];
        if !self.begins_with_space() {
            return self.text(text);
        }
        for before in BEFORE {
            let (Ok(alone), Ok(together)) =
                (self.text(before), self.text(&format!("{before}{text}")))
            else {
                continue;
            };
            if !alone.is_empty() && together.starts_with(&alone) {
                return Ok(together[alone.len()..].to_vec());
            }
        }
        self.text(text)
    }

    /// Whether text gets a space before it, as SentencePiece's does.
    fn begins_with_space(&self) -> bool {
        // A vocabulary may lack any of these.
        let tokens = ["|", "a", "1"].iter().find_map(|text| self.text(text).ok());
        let first = tokens.and_then(|tokens| tokens.first().copied());
        first.is_some_and(|token| self.bytes(token).starts_with(b" "))
    }

    /// The first character of `text` that has no token by itself.
    fn no_token(&self, text: &str) -> Option<char> {
        let mut bytes = [0; 4];
        text.chars().find(|c| {
            self.model
                .tokenize(c.encode_utf8(&mut bytes), false)
                .is_err()
        })
    }

    /// The names of all control tokens.
    pub(super) fn control_tokens(&self) -> Vec<(String, TokenId)> {
        let count = i32::try_from(self.n_vocab()).unwrap_or(i32::MAX);
        let entries = (0..count).filter_map(|id| Some((id, self.model.entry(id)?)));
        entries
            .filter(|(_, entry)| is_control(entry))
            .filter_map(|(id, entry)| Some((String::from_utf8(entry.text).ok()?, TokenId(id))))
            .collect()
    }

    /// Whether the token is one that text cannot be cut into.
    pub(super) fn is_control(&self, token: TokenId) -> bool {
        let entry = self.model.entry(token.0);
        entry.is_some_and(|entry| is_control(&entry))
    }

    /// The white space around a control token's name that belongs to it.
    pub(super) fn strip_of(&self, token: TokenId) -> Strip {
        let entry = self.model.entry(token.0);
        Strip {
            before: entry.as_ref().is_some_and(TokenEntry::strips_before),
            after: entry.as_ref().is_some_and(TokenEntry::strips_after),
        }
    }

    /// A token as the file writes it.
    pub(super) fn written(&self, token: TokenId) -> Option<String> {
        String::from_utf8(self.model.entry(token.0)?.text).ok()
    }

    /// The names of the tokens that begin and end a text; empty where there are none.
    pub(super) fn begin_and_end_names(&self) -> (String, String) {
        let name = |token: Option<i32>| {
            let name = token.and_then(|token| self.written(TokenId(token)));
            name.unwrap_or_default()
        };
        (name(self.model.begin()), name(self.model.end_of_text()))
    }

    /// The token that every prompt begins with, if the model has one.
    pub fn begin(&self) -> Option<TokenId> {
        let begin = self.model.begin().filter(|_| self.model.adds_begin());
        begin.map(TokenId)
    }

    /// Whether the token ends an answer.
    pub fn is_end(&self, token: TokenId) -> bool {
        self.model.is_end(token.0)
    }

    /// Tokens that end an answer. llama.cpp takes a token of a fixed number for one of them where
    /// the file names none; that counts only where it can be no text.
    pub(super) fn ends(&self) -> Vec<TokenId> {
        const KEYS: [&str; 3] = ["eos", "eot", "eom"];
        let named = KEYS.map(|key| {
            let key = format!("tokenizer.ggml.{key}_token_id");
            self.model.metadata(&key)?.parse::<i32>().ok()
        });
        let count = i32::try_from(self.n_vocab()).unwrap_or(i32::MAX);
        let ends = (0..count).map(TokenId).filter(|&t| self.is_end(t));
        ends.filter(|t| self.is_control(*t) || named.contains(&Some(t.0)))
            .collect()
    }

    /// The bytes of a token's text; none for a control token.
    pub fn bytes(&self, token: TokenId) -> Vec<u8> {
        self.model.piece(token.0, false)
    }

    /// The same, and the name of a control token.
    pub(super) fn bytes_or_name(&self, token: TokenId) -> Vec<u8> {
        if self.is_control(token) {
            self.written(token).unwrap_or_default().into_bytes()
        } else {
            self.bytes(token)
        }
    }

    /// A token as it is written in the vocabulary, control tokens too.
    fn name(&self, token: i32) -> String {
        match self.model.entry(token) {
            None => "no token".to_owned(),
            Some(_) => {
                let piece = self.model.piece(token, true);
                format!("{:?}", String::from_utf8_lossy(&piece))
            }
        }
    }

    /// A special token as it is told, which a vocabulary may lack.
    fn id_and_name(&self, token: Option<TokenId>) -> String {
        token.map_or_else(
            || "no token".to_owned(),
            |token| format!("token {} ({})", token.0, self.name(token.0)),
        )
    }

    /// Checks that `draft` has the same tokens for the same purposes. One may have padding that
    /// the other has not.
    ///
    /// # Errors
    /// The first token that differs, or the first purpose that another token serves.
    pub fn check_draft(&self, draft: &Self) -> Result<(), VocabularyMismatch> {
        let mismatch = |id: i32| {
            Err(VocabularyMismatch::Token {
                id,
                oracle: self.name(id),
                draft: draft.name(id),
            })
        };
        let count = |of: &Self| i32::try_from(of.n_vocab()).unwrap_or(i32::MAX);
        let common = count(self).min(count(draft));
        for id in 0..common {
            if self.model.entry(id) != draft.model.entry(id) {
                return mismatch(id);
            }
        }
        // A token that begins no prompt may be any.
        let (mine, theirs) = (&self.model, &draft.model);
        let token = |id: Option<i32>| id.map(TokenId);
        for (what, ours, other) in [
            ("what begins a text", self.begin(), draft.begin()),
            (
                "what ends a text",
                token(mine.end_of_text()),
                token(theirs.end_of_text()),
            ),
            (
                "what ends a turn",
                token(mine.end_of_turn()),
                token(theirs.end_of_turn()),
            ),
        ] {
            if ours != other {
                return Err(VocabularyMismatch::Special {
                    what,
                    oracle: self.id_and_name(ours),
                    draft: draft.id_and_name(other),
                });
            }
        }
        // Padding is a few hundred unused tokens after the last real one.
        let longer = if count(self) > common { self } else { draft };
        (common..count(longer))
            .find(|&id| !is_padding(&longer.bytes(TokenId(id))))
            .map_or(Ok(()), mismatch)
    }
}

/// Padding tokens have no text, or a placeholder's such as `[PAD151936]`.
fn is_padding(piece: &[u8]) -> bool {
    piece.is_empty() || piece.starts_with(b"[PAD") || piece.starts_with(b"<|")
}

/// Turns tokens into text in whole characters: bytes of a character that is not complete yet
/// wait for the next token.
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    pending: Vec<u8>,
}

impl TextStream {
    /// Adds bytes; returns what is complete.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut out = String::new();
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(text) => {
                    out.push_str(text);
                    self.pending.clear();
                    return out;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    out.push_str(&String::from_utf8_lossy(&self.pending[..valid]));
                    match error.error_len() {
                        // The end of the input cuts a character: wait for its rest.
                        None => {
                            self.pending.drain(..valid);
                            return out;
                        }
                        Some(bad) => {
                            out.push(char::REPLACEMENT_CHARACTER);
                            self.pending.drain(..valid + bad);
                        }
                    }
                }
            }
        }
    }

    /// Whether the bytes so far end within a character.
    pub fn is_within_character(&self) -> bool {
        !self.pending.is_empty()
    }

    /// What is left at the end: a replacement character for a cut one.
    pub fn finish(&mut self) -> String {
        if std::mem::take(&mut self.pending).is_empty() {
            String::new()
        } else {
            char::REPLACEMENT_CHARACTER.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_arrives_whole_however_it_is_cut(text in "\\PC{0,40}", cuts in prop::collection::vec(1usize..5, 0..80)) {
            let mut stream = TextStream::default();
            let (mut out, mut rest) = (String::new(), text.as_bytes());
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                out += &stream.push(now);
                rest = later;
            }
            out += &stream.push(rest);
            out += &stream.finish();
            prop_assert_eq!(out, text);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let mut stream = TextStream::default();
        assert_eq!(stream.push(b"a\xffb\xe2\x82"), "a\u{fffd}b");
        assert_eq!(stream.finish(), "\u{fffd}");
        assert_eq!(stream.finish(), "");
    }
}
