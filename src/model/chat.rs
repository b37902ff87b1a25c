//! The prompt of a conversation, by the model's own chat template.
//!
//! The template is applied to placeholders and cut at them, so that its own text may hold
//! control tokens and what people typed never does:
//!
//! ```text
//!   <|im_start|>user\n [[1]] <|im_end|>\n<|im_start|>assistant\n
//!   ^ template text    ^ typed text, tokenised apart   ^ template text
//! ```

use super::tokenizer::{TextError, Tokenizer};
use crate::ggml::model::apply_template;
use crate::units::TokenId;

/// One exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub user: String,
    /// The answer's tokens as they were decoded (tokenising its text again could differ).
    pub answer: Vec<TokenId>,
}

/// A conversation cannot be turned into a prompt.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    #[error("the model's chat template is of a kind that llama.cpp does not know")]
    Unsupported,
    #[error(transparent)]
    Text(#[from] TextError),
}

/// Control tokens that only one of llama.cpp's own templates uses, and its name.
const BY_TOKEN: [(&str, &str); 3] = [
    ("<|im_start|>", "chatml"),
    ("<start_of_turn>", "gemma"),
    ("<|start_header_id|>", "llama3"),
];

/// A model's chat template.
pub struct ChatTemplate {
    tokenizer: Tokenizer,
    template: String,
}

impl ChatTemplate {
    /// The template that a model's file holds; where it has none, the one that the vocabulary
    /// has control tokens for, else ChatML.
    ///
    /// # Errors
    /// When llama.cpp cannot apply it.
    pub fn new(tokenizer: &Tokenizer, template: Option<&str>) -> Result<Self, ChatError> {
        let by_vocabulary = || {
            let known = BY_TOKEN.iter();
            let is_one = |text: &str| tokenizer.template(text).is_ok_and(|t| t.len() == 1);
            let mut known = known.filter(|(token, _)| is_one(token));
            known.next().map_or("chatml", |(_, name)| *name)
        };
        let template = template.unwrap_or_else(by_vocabulary).to_owned();
        let chat = Self {
            tokenizer: tokenizer.clone(),
            template,
        };
        chat.pieces(true, 1)?;
        Ok(chat)
    }

    /// Tokens of everything before the present prompt's text.
    ///
    /// # Errors
    /// When the template cannot be applied, or a text has no tokens.
    pub fn before(&self, system: &str, turns: &[Turn]) -> Result<Vec<TokenId>, ChatError> {
        let pieces = self.pieces(!system.is_empty(), turns.len() + 1)?;
        let mut contents = Vec::with_capacity(pieces.len());
        if !system.is_empty() {
            contents.push(self.tokenizer.text(system)?);
        }
        for turn in turns {
            contents.push(self.tokenizer.text(&turn.user)?);
            contents.push(turn.answer.clone());
        }
        let mut out: Vec<TokenId> = self.tokenizer.begin().into_iter().collect();
        // The last piece stands behind the present prompt.
        let leading = &pieces[..pieces.len() - 1];
        for (i, piece) in leading.iter().enumerate() {
            let tokens = self.tokenizer.template(piece)?;
            // Templates that write the begin token themselves must not get two.
            let skip = usize::from(i == 0 && !out.is_empty() && tokens.first() == out.first());
            out.extend_from_slice(&tokens[skip..]);
            if let Some(content) = contents.get(i) {
                out.extend_from_slice(content);
            }
        }
        Ok(out)
    }

    /// Tokens between the prompt's text and the answer.
    ///
    /// # Errors
    /// When the template cannot be applied.
    pub fn after(&self, system: &str) -> Result<Vec<TokenId>, ChatError> {
        let pieces = self.pieces(!system.is_empty(), 1)?;
        let last = pieces.last().map_or("", String::as_str);
        Ok(self.tokenizer.template(last)?)
    }

    /// The template's own text around the contents of `users` prompts and the answers between.
    fn pieces(&self, system: bool, users: usize) -> Result<Vec<String>, ChatError> {
        let mut roles = Vec::with_capacity(users * 2);
        if system {
            roles.push("system");
        }
        for user in 0..users {
            roles.push("user");
            if user + 1 < users {
                roles.push("assistant");
            }
        }
        let slot = |i: usize| format!("[[content {i}]]");
        let contents: Vec<_> = (0..roles.len()).map(slot).collect();
        let contents = contents.iter().map(String::as_str);
        let messages: Vec<_> = roles.iter().copied().zip(contents).collect();
        let text = apply_template(&self.template, &messages, true).ok_or(ChatError::Unsupported)?;
        let mut pieces = Vec::with_capacity(roles.len() + 1);
        let mut rest = text.as_str();
        for i in 0..roles.len() {
            let (piece, later) = rest
                .split_once(slot(i).as_str())
                .ok_or(ChatError::Unsupported)?;
            pieces.push(piece.to_owned());
            rest = later;
        }
        pieces.push(rest.to_owned());
        Ok(pieces)
    }
}
