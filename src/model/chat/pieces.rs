//! From a rendered prompt to tokens, as if it were tokenised whole.
//!
//! ```text
//!  <|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\nIt is#.<|im_end|>
//!  '- control -' '- run -' ' control '...            '- run -' '- answer's tokens
//! ```
//!
//! Control tokens are those whose names the template wrote. What is between two of them is one
//! run, the template's words and the typed ones together, cut into tokens in one go: a tokenizer
//! that begins a text with a space does so once in it, at its start. An answer stays the tokens
//! that it was decoded as.

use super::marks::{ControlNames, MarkedAnswer, unbroken, unmark};
use crate::model::{TextError, Tokenizer};
use crate::units::TokenId;
use std::collections::HashMap;

/// Tokens of the runs of the last prompt, most of which are in the next one too.
#[derive(Default)]
pub(super) struct Memo {
    known: HashMap<(Follows, String), Vec<TokenId>>,
}

/// What a run comes after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Follows {
    /// Nothing, or a control token.
    Control,
    /// An answer's text.
    Text,
}

/// An answer's marks and its tokens.
pub(super) struct Answer {
    pub marked: MarkedAnswer,
    pub tokens: Vec<TokenId>,
}

/// What a vocabulary's tokens are assembled by.
pub(super) struct Assembler<'a> {
    pub tokenizer: &'a Tokenizer,
    pub names: &'a ControlNames,
    /// What the template writes between its call for an answer and an answer that is there.
    pub lead: &'a str,
}

impl Assembler<'_> {
    /// Tokens of `rendered`, in which `answers` are. The token that begins every prompt is there
    /// once.
    ///
    /// # Errors
    /// A character that the vocabulary has no token for.
    pub(super) fn tokens<'a>(
        &self,
        rendered: &str,
        answers: impl Iterator<Item = &'a Answer>,
        memo: &mut Memo,
    ) -> Result<Vec<TokenId>, TextError> {
        let mut out = Out {
            tokens: Vec::new(),
            run: String::new(),
            follows: Follows::Control,
            strips: false,
            old: std::mem::take(&mut memo.known),
            new: HashMap::new(),
        };
        let mut at = 0;
        for answer in answers {
            let Some(found) = answer.marked.find(self.names, rendered, at) else {
                continue;
            };
            let mut before = &rendered[at..found.place.start];
            let whole = found.tokens.start == 0 && found.head.is_empty();
            if whole && !self.lead.is_empty() && answer.marked.text.starts_with(self.lead) {
                // The answer brings what the template writes before it.
                before = before.strip_suffix(self.lead).unwrap_or(before);
            }
            self.text(before, &mut out)?;
            out.run.push_str(found.head);
            self.end_run(&mut out)?;
            let tokens = &answer.tokens[found.tokens];
            if let Some(&last) = tokens.last() {
                out.tokens.extend_from_slice(tokens);
                out.strips = false;
                out.follows = match self.names.has_id(last) {
                    true => Follows::Control,
                    false => Follows::Text,
                };
            }
            out.run.push_str(found.tail);
            at = found.place.end;
        }
        self.text(&rendered[at..], &mut out)?;
        self.end_run(&mut out)?;
        memo.known = out.new;
        let Some(begin) = self.tokenizer.begin() else {
            return Ok(out.tokens);
        };
        // Templates that write it themselves must not get two.
        let written = out.tokens.iter().take_while(|&&token| token == begin);
        let extra = written.count();
        let mut tokens = vec![begin];
        tokens.extend_from_slice(&out.tokens[extra..]);
        Ok(tokens)
    }

    /// Adds rendered text in which there is no answer.
    fn text(&self, text: &str, out: &mut Out) -> Result<(), TextError> {
        let mut at = 0;
        for (place, token) in self.names.find(text) {
            out.run.push_str(&text[at..place.start]);
            let strip = self.tokenizer.strip_of(token);
            if strip.before {
                let kept = out.run.trim_end_matches(is_space).len();
                out.run.truncate(kept);
            }
            self.end_run(out)?;
            out.tokens.push(token);
            out.follows = Follows::Control;
            out.strips = strip.after;
            at = place.end;
        }
        out.run.push_str(&text[at..]);
        Ok(())
    }

    fn end_run(&self, out: &mut Out) -> Result<(), TextError> {
        let run = std::mem::take(&mut out.run);
        let run = if out.strips {
            run.trim_start_matches(is_space)
        } else {
            &run
        };
        out.strips = false;
        if run.is_empty() {
            return Ok(());
        }
        let key = (out.follows, run.to_owned());
        let known = out.new.get(&key).cloned().or_else(|| out.old.remove(&key));
        let tokens = match (known, out.follows) {
            (Some(tokens), _) => tokens,
            (None, follows) => self.cut(run, follows)?,
        };
        out.tokens.extend_from_slice(&tokens);
        out.follows = Follows::Text;
        out.new.insert(key, tokens);
        Ok(())
    }
}

impl Assembler<'_> {
    /// Tokens of a run of text.
    fn cut(&self, run: &str, follows: Follows) -> Result<Vec<TokenId>, TextError> {
        let cut = |text: &str, follows| match follows {
            Follows::Control => self.tokenizer.text(&unmark(text)),
            Follows::Text => self.tokenizer.text_within(&unmark(text)),
        };
        let tokens = cut(run, follows)?;
        // Some vocabularies cut text into a control token, where somebody typed its name.
        if !tokens.iter().any(|&token| self.names.has_id(token)) {
            return Ok(tokens);
        }
        let (mut tokens, mut follows) = (Vec::new(), follows);
        for part in unbroken(run).filter(|part| !part.is_empty()) {
            tokens.extend(cut(part, follows)?);
            follows = Follows::Text;
        }
        Ok(tokens)
    }
}

/// What C takes for space, as llama.cpp does around control tokens.
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}

/// A prompt under construction.
struct Out {
    tokens: Vec<TokenId>,
    run: String,
    follows: Follows,
    /// The control token before the run takes the space after it away.
    strips: bool,
    old: HashMap<(Follows, String), Vec<TokenId>>,
    new: HashMap<(Follows, String), Vec<TokenId>>,
}
