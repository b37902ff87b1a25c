//! Text to tokens and back, by the model's own vocabulary.

use crate::ggml::llama::{self, LlamaError, Load};
use crate::units::TokenId;
use llama_cpp_2::model::{LlamaChatMessage, LlamaChatTemplate, LlamaModel};
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token_type::LlamaTokenAttr;
use llama_cpp_2::vocab::LlamaVocab;
use std::path::Path;
use std::sync::Arc;

/// A model's vocabulary.
#[derive(Clone)]
pub struct Tokenizer {
    model: Arc<LlamaModel>,
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

impl Tokenizer {
    /// Loads the vocabulary of a model, not its weights.
    ///
    /// # Errors
    /// Names the file and llama.cpp's reason.
    pub fn open(path: &Path) -> Result<Self, LlamaError> {
        Ok(Self::of(llama::load(path, Load::Vocabulary)?))
    }

    /// The vocabulary of a model that is loaded already.
    pub fn of(model: Arc<LlamaModel>) -> Self {
        Self { model }
    }

    pub fn n_vocab(&self) -> usize {
        usize::try_from(self.model.n_vocab()).unwrap_or(0)
    }

    /// Tokens of what somebody typed: `<|im_start|>` in it is text, never a control token.
    pub fn text(&self, text: &str) -> Vec<TokenId> {
        self.tokens(text)
    }

    /// Tokens of text that goes on after other text: a vocabulary that begins a text with a space
    /// begins this one without.
    pub(super) fn text_within(&self, text: &str) -> Vec<TokenId> {
        // What comes out as it is before this text, whatever that is, can be cut off again.
        const BEFORE: [&str; 3] = ["\n", "\u{1}", "|"];
        if !self.begins_with_space() {
            return self.text(text);
        }
        for before in BEFORE {
            let alone = self.text(before);
            let together = self.text(&format!("{before}{text}"));
            if !alone.is_empty() && together.starts_with(&alone) {
                return together[alone.len()..].to_vec();
            }
        }
        self.text(text)
    }

    /// Whether text gets a space before it, as SentencePiece's does.
    fn begins_with_space(&self) -> bool {
        let tokens = self.text("|");
        tokens
            .first()
            .is_some_and(|&t| self.bytes(t).starts_with(b" "))
    }

    fn tokens(&self, text: &str) -> Vec<TokenId> {
        let tokens = self.model.vocab().tokenize(text.as_bytes(), false, false);
        tokens.into_iter().map(|t| TokenId(t.0)).collect()
    }

    /// The names of all control tokens.
    pub(super) fn control_tokens(&self) -> Vec<(String, TokenId)> {
        let ids = (0..self.model.vocab().n_tokens()).map(TokenId);
        ids.filter(|&token| self.is_control(token))
            .filter_map(|token| Some((self.written(token)?, token)))
            .collect()
    }

    /// Whether the token is one that text cannot be cut into.
    pub(super) fn is_control(&self, token: TokenId) -> bool {
        self.has(token, LlamaTokenAttr::Control) || self.has(token, LlamaTokenAttr::Unknown)
    }

    /// The white space around a control token's name that belongs to it.
    pub(super) fn strip_of(&self, token: TokenId) -> Strip {
        Strip {
            before: self.has(token, LlamaTokenAttr::LStrip),
            after: self.has(token, LlamaTokenAttr::RStrip),
        }
    }

    fn has(&self, token: TokenId, attribute: LlamaTokenAttr) -> bool {
        self.model
            .vocab()
            .attr(LlamaToken(token.0))
            .contains(attribute)
    }

    /// A token as the file writes it.
    fn written(&self, token: TokenId) -> Option<String> {
        let vocab = self.model.vocab();
        let text = vocab.text(LlamaToken(token.0))?;
        text.to_str().ok().map(str::to_owned)
    }

    /// The names of the tokens that begin and end a text; empty where there are none.
    pub(super) fn begin_and_end_names(&self) -> (String, String) {
        let vocab = self.model.vocab();
        let name = |token: LlamaToken| {
            let token = Some(TokenId(token.0)).filter(|token| token.0 >= 0);
            token
                .and_then(|token| self.written(token))
                .unwrap_or_default()
        };
        (name(vocab.bos()), name(vocab.eos()))
    }

    /// Applies one of llama.cpp's own forms of prompts to messages (role, content). `None` where
    /// it does not know the form.
    pub(super) fn apply_built_in<'a>(
        &self,
        form: &LlamaChatTemplate,
        messages: impl Iterator<Item = (&'a str, &'a str)>,
        ask: bool,
    ) -> Option<String> {
        let messages = messages
            .map(|(role, content)| LlamaChatMessage::new(role.to_owned(), content.to_owned()))
            .collect::<Result<Vec<_>, _>>()
            .ok()?;
        self.model.apply_chat_template(form, &messages, ask).ok()
    }

    /// The token that every prompt begins with, if the model has one.
    pub fn begin(&self) -> Option<TokenId> {
        let vocab = self.model.vocab();
        vocab.should_add_bos().then(|| TokenId(vocab.bos().0))
    }

    /// Whether the token ends an answer.
    pub fn is_end(&self, token: TokenId) -> bool {
        self.model.vocab().is_eog(LlamaToken(token.0))
    }

    /// The bytes that a token stands for; none for a control token.
    pub fn bytes(&self, token: TokenId) -> Vec<u8> {
        self.model
            .vocab()
            .token_to_piece(LlamaToken(token.0), false, None)
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
        let piece = self
            .model
            .vocab()
            .token_to_piece(LlamaToken(token), true, None);
        format!("{:?}", String::from_utf8_lossy(&piece))
    }

    /// A special token as it is told, which a vocabulary may lack.
    fn id_and_name(&self, token: LlamaToken) -> String {
        if token.0 < 0 {
            "no token".to_owned()
        } else {
            format!("token {} ({})", token.0, self.name(token.0))
        }
    }

    /// Checks that `draft` has the same tokens for the same purposes, but for padding behind the shorter of the two.
    ///
    /// # Errors
    /// The first token that differs, or the first purpose that another token serves.
    pub fn check_draft(&self, draft: &Self) -> Result<(), VocabularyMismatch> {
        let (mine, theirs) = (self.model.vocab(), draft.model.vocab());
        let mismatch = |id: i32| {
            Err(VocabularyMismatch::Token {
                id,
                oracle: self.name(id),
                draft: draft.name(id),
            })
        };
        let common = mine.n_tokens().min(theirs.n_tokens());
        for id in 0..common {
            let token = LlamaToken(id);
            if mine.text(token) != theirs.text(token) || mine.attr(token) != theirs.attr(token) {
                return mismatch(id);
            }
        }
        // A token that begins no prompt may be any.
        let begin = |vocab: &LlamaVocab<'_>| match vocab.should_add_bos() {
            true => vocab.bos(),
            false => LlamaToken(-1),
        };
        for (what, ours, other) in [
            ("what begins a text", begin(&mine), begin(&theirs)),
            ("what ends a text", mine.eos(), theirs.eos()),
            ("what ends a turn", mine.eot(), theirs.eot()),
        ] {
            if ours != other {
                return Err(VocabularyMismatch::Special {
                    what,
                    oracle: self.id_and_name(ours),
                    draft: draft.id_and_name(other),
                });
            }
        }
        // Padding is a few hundred unused tokens behind the last real one.
        let longer = if mine.n_tokens() > common {
            self
        } else {
            draft
        };
        let end = longer.model.vocab().n_tokens();
        (common..end)
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
#[derive(Debug, Default)]
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
