//! An answer as it is read, token by token: its thoughts, its text, and where a marker ends it.
//!
//! ```text
//!  tokens --> symbols --> pending --> thought | text
//!                            '-- what may be the start of a marker waits for what follows
//!
//!               open                 close                header or text
//!  Between ------------> Thought -------------> Between ----------------> Text
//!     '--------------------- anything else ------------------------------^
//! ```
//!
//! Markers are shown in neither. An opening counts only where an answer or its next part begins:
//! who writes about `<think>` does not think. Where the prompt itself ends with an opening, the
//! answer begins within the thought.
//!
//! A thought of as many tokens as are allowed is closed by force: [`Reply::forced`] then says what
//! has to come next, and goes on saying so until the closing is complete.

use super::answer_form::{AnswerForm, Thoughts};
use super::symbols::{Pattern, Symbol, find, held_back, leading_space, symbols_of, trimmed_end};
use crate::model::TextStream;
use crate::units::TokenId;
use std::sync::Arc;

/// Tokens at a prompt's end in which an opening is looked for: none is longer in any vocabulary.
const OPENING_TOKENS: usize = 64;

/// Most tokens that a character is divided among.
const CHARACTER_TOKENS: usize = 5;

/// What the symbols now are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Neither is known yet: the answer begins, or a thought has ended.
    Between,
    Thought,
    Text,
}

/// See the module's text.
#[derive(Clone)]
pub(crate) struct Reply {
    form: Arc<AnswerForm>,
    /// Most tokens of a thought.
    budget: Option<usize>,
    /// No marker ends it.
    endless: bool,
    part: Part,
    /// Symbols that have been read and not shown.
    pending: Vec<Symbol>,
    /// Symbols before those.
    passed: usize,
    /// Symbols up to the end of each token.
    token_ends: Vec<usize>,
    chars: TextStream,
    thought: String,
    text: String,
    /// Symbols before the thought that is open.
    thought_at: usize,
    /// Tokens of the thoughts that have ended, if any has.
    thought_tokens: Option<usize>,
    /// Symbols before the answer's own text.
    text_at: Option<usize>,
    /// Symbols before the stop that has come.
    stopped_at: Option<usize>,
    /// Tokens of the closing that have been forced, and of the thought before it.
    forcing: Option<(usize, usize)>,
    cut_at: Option<usize>,
}

impl Reply {
    /// One that begins after `prompt`.
    pub(crate) fn after(form: &Arc<AnswerForm>, prompt: &[TokenId], budget: Option<usize>) -> Self {
        let (part, thought_tokens) = part_after(form, prompt);
        Self {
            form: Arc::clone(form),
            budget: budget.filter(|_| form.can_cut_thoughts()),
            endless: false,
            part,
            pending: Vec::new(),
            passed: 0,
            token_ends: Vec::new(),
            chars: TextStream::default(),
            thought: String::new(),
            text: String::new(),
            thought_at: 0,
            thought_tokens,
            text_at: None,
            stopped_at: None,
            forcing: None,
            cut_at: None,
        }
    }

    /// Reads the next token.
    pub(crate) fn push(&mut self, token: TokenId) {
        if self.forced().is_some() {
            let before = self.thinking_tokens();
            let (forced, thought) = self.forcing.unwrap_or((0, before));
            self.forcing = Some((forced + 1, thought));
            self.cut_at = Some(thought);
        }
        let symbols = symbols_of(&*self.form.pieces, &[token]);
        let before = self.token_ends.last().copied().unwrap_or(0);
        self.token_ends.push(before + symbols.len());
        self.pending.extend(symbols);
        while self.stopped_at.is_none() && self.advance() {}
        let all = self.form.thoughts.as_ref().map_or(0, |t| t.closing.len());
        self.forcing = self.forcing.filter(|(forced, _)| *forced < all);
    }

    /// What has to come next, whatever the model would say.
    pub(crate) fn forced(&self) -> Option<TokenId> {
        let closing = &self.form.thoughts.as_ref()?.closing;
        let next = match self.forcing {
            Some((forced, _)) => forced,
            None if self.is_too_long() => 0,
            None => return None,
        };
        closing.get(next).copied()
    }

    fn is_too_long(&self) -> bool {
        let budget = self.budget.unwrap_or(usize::MAX);
        self.part == Part::Thought && self.thinking_tokens() >= budget
    }

    /// The same where only its length ends the answer.
    #[must_use]
    pub(crate) fn without_stops(self) -> Self {
        Self {
            endless: true,
            ..self
        }
    }

    /// Whether tokens may ever be forced.
    pub(crate) fn may_force(&self) -> bool {
        self.budget.is_some()
    }

    /// The answer ends here: what was held back is shown.
    pub(crate) fn finish(&mut self) {
        if self.stopped_at.is_none() {
            if self.part == Part::Between && leading_space(&self.pending) < self.pending.len() {
                self.begin_text();
            }
            self.release(self.pending.len());
        }
        self.pending.clear();
        self.end_chars();
    }

    /// The thought so far, without markers and the space before it.
    pub(crate) fn thought(&self) -> &str {
        &self.thought
    }

    /// The answer's text so far.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether a thought is open.
    pub(crate) fn is_thinking(&self) -> bool {
        self.part == Part::Thought
    }

    /// Tokens of thoughts, without what opens and closes them.
    pub(crate) fn thinking_tokens(&self) -> usize {
        let open = match (self.part, self.forcing) {
            (Part::Thought, Some((_, thought))) => return thought,
            (Part::Thought, None) => self.tokens_between(self.thought_at, usize::MAX),
            _ => 0,
        };
        self.thought_tokens.unwrap_or(0) + open
    }

    /// Tokens of thoughts after which one was closed by force.
    pub(crate) fn cut_at(&self) -> Option<usize> {
        self.cut_at
    }

    /// Whether a stop that is no token of its own has ended the answer.
    pub(crate) fn has_stopped(&self) -> bool {
        self.stopped_at.is_some()
    }

    /// `tokens`, all that were read, without the stop and what came after it.
    pub(crate) fn kept(&self, tokens: &[TokenId]) -> Vec<TokenId> {
        match self.stopped_at {
            None => tokens.to_vec(),
            Some(stop) => self.slice(tokens, 0, stop),
        }
    }

    /// Of `tokens`, all that were read, those of the answer's own text.
    pub(super) fn text_tokens(&self, tokens: &[TokenId]) -> Vec<TokenId> {
        match self.text_at {
            None => Vec::new(),
            Some(from) => self.slice(tokens, from, self.stopped_at.unwrap_or(usize::MAX)),
        }
    }

    /// Takes what is pending as far as it is clear. False: no more of it is.
    fn advance(&mut self) -> bool {
        let form = Arc::clone(&self.form);
        let stops = form.stops.iter().filter(|_| !self.endless);
        match (self.part, &form.thoughts) {
            (Part::Between, Some(thoughts)) => self.pass_marker(thoughts),
            (Part::Between, None) => {
                self.begin_text();
                true
            }
            (Part::Thought, Some(Thoughts { close, .. })) => {
                // What closes a thought may be what ends an answer elsewhere.
                let ends = |stop: &&Pattern| !close.starts_with(stop) && !stop.starts_with(close);
                let patterns: Vec<_> = std::iter::once(close).chain(stops.filter(ends)).collect();
                match self.release_up_to(&patterns) {
                    Some((at, 0)) => {
                        self.end_thought(at);
                        self.take(close.len());
                        true
                    }
                    Some((at, _)) => self.stop(at),
                    None => false,
                }
            }
            (Part::Thought, None) | (Part::Text, _) => {
                let patterns: Vec<_> = stops.collect();
                match self.release_up_to(&patterns) {
                    Some((at, _)) => self.stop(at),
                    None => false,
                }
            }
        }
    }

    /// Goes over a marker that begins a part, or finds that there is none.
    fn pass_marker(&mut self, thoughts: &Thoughts) -> bool {
        let space = leading_space(&self.pending);
        let rest = &self.pending[space..];
        let opens = thoughts.opens.iter().map(|open| (open, Part::Thought));
        let headers = thoughts.headers.iter().map(|header| (header, Part::Text));
        let markers: Vec<_> = opens.chain(headers).collect();
        let longer =
            |(marker, _): &&(&Pattern, Part)| marker.len() > rest.len() && marker.starts_with(rest);
        if markers.iter().any(|marker| longer(&marker)) {
            return false;
        }
        let here = markers.iter().filter(|(m, _)| rest.starts_with(m));
        match here.max_by_key(|(m, _)| m.len()) {
            Some(&(marker, Part::Thought)) => {
                self.take(space + marker.len());
                self.part = Part::Thought;
                self.thought_at = self.passed;
                if !self.thought.is_empty() {
                    self.thought.push_str("\n\n");
                }
            }
            Some((marker, _)) => {
                self.take(space + marker.len());
                self.begin_text();
            }
            None => {
                // Space at the start of an answer is its own, that after a thought is a marker's.
                if self.thought_tokens.is_some() {
                    self.take(space);
                }
                self.begin_text();
            }
        }
        true
    }

    fn begin_text(&mut self) {
        self.part = Part::Text;
        self.text_at.get_or_insert(self.passed);
    }

    /// The thought ends before symbol `at` of all.
    fn end_thought(&mut self, at: usize) {
        let before = self.thought_tokens.unwrap_or(0);
        self.thought_tokens = Some(match self.forcing {
            Some((_, thought)) => thought,
            None => before + self.tokens_between(self.thought_at, at),
        });
        self.end_chars();
        self.part = Part::Between;
    }

    fn stop(&mut self, at: usize) -> bool {
        self.stopped_at = Some(at);
        self.pending.clear();
        false
    }

    /// Shows what is pending up to the first of the patterns, and says where that is, in symbols of
    /// all; or up to what may be the start of one.
    fn release_up_to(&mut self, patterns: &[&Pattern]) -> Option<(usize, usize)> {
        match find(&self.pending, patterns) {
            Some((at, number)) => {
                self.release(at);
                Some((self.passed, number))
            }
            None => {
                let held = held_back(&self.pending, patterns);
                self.release(self.pending.len() - held);
                None
            }
        }
    }

    /// Shows so many symbols.
    fn release(&mut self, n: usize) {
        let bytes = self.pending[..n].iter().filter_map(|symbol| match symbol {
            Symbol::Byte(byte) => Some(*byte),
            Symbol::Control(_) => None,
        });
        let fresh = self.chars.push(&bytes.collect::<Vec<_>>());
        self.take(n);
        self.show(&fresh);
    }

    fn end_chars(&mut self) {
        let last = self.chars.finish();
        self.show(&last);
    }

    fn show(&mut self, fresh: &str) {
        match self.part {
            Part::Thought if self.thought.is_empty() => self.thought.push_str(fresh.trim_start()),
            Part::Thought => self.thought.push_str(fresh),
            Part::Text => self.text.push_str(fresh),
            Part::Between => {}
        }
    }

    /// Passes over so many symbols.
    fn take(&mut self, n: usize) {
        self.pending.drain(..n);
        self.passed += n;
    }

    /// Tokens that have symbols from `from` to `to` of all.
    fn tokens_between(&self, from: usize, to: usize) -> usize {
        let first = self.token_ends.partition_point(|&end| end <= from);
        let whole = self.token_ends.partition_point(|&end| end <= to);
        let begun = self.token_ends.get(whole).is_some_and(|_| {
            let begins = whole.checked_sub(1).map_or(0, |last| self.token_ends[last]);
            begins < to
        });
        (whole + usize::from(begun)).saturating_sub(first)
    }

    /// Of `tokens`, those of the symbols from `from` to `to`: what is left of a token at either
    /// end, in whole characters, is cut into tokens again.
    fn slice(&self, tokens: &[TokenId], from: usize, to: usize) -> Vec<TokenId> {
        let begins = |token: usize| token.checked_sub(1).map_or(0, |last| self.token_ends[last]);
        let total = self.token_ends.last().copied().unwrap_or(0);
        let to = to.min(total);
        let all = symbols_of(&*self.form.pieces, tokens);
        let bytes = |from: usize, to: usize| -> Vec<u8> {
            let bytes = all[from..to].iter().filter_map(|symbol| match symbol {
                Symbol::Byte(byte) => Some(*byte),
                Symbol::Control(_) => None,
            });
            bytes.collect()
        };
        let text = |from, to| String::from_utf8(bytes(from, to)).ok();
        let lossy = |from, to| String::from_utf8_lossy(&bytes(from, to)).into_owned();
        // The first token that is whole, and the first after those that are.
        let first = self.token_ends.partition_point(|&end| end < from);
        let first = if begins(first) < from {
            first + 1
        } else {
            first
        };
        let last = self.token_ends.partition_point(|&end| end <= to);
        if first > last {
            return self.form.pieces.cut(&lossy(from, to));
        }
        // A character that goes over a border belongs to what is cut again.
        let (first, head) = (first..=last)
            .take(CHARACTER_TOKENS)
            .find_map(|first| Some((first, text(from, begins(first))?)))
            .unwrap_or_else(|| (first, lossy(from, begins(first))));
        let (last, tail) = (first..=last)
            .rev()
            .take(CHARACTER_TOKENS)
            .find_map(|last| Some((last, text(begins(last), to)?)))
            .unwrap_or_else(|| (last, lossy(begins(last), to)));
        let cut = |text: &str| match text {
            "" => Vec::new(),
            text => self.form.pieces.cut(text),
        };
        [cut(&head), tokens[first..last].to_vec(), cut(&tail)].concat()
    }
}

/// What an answer to `prompt` begins with, and the tokens of the thought that the prompt ends with.
fn part_after(form: &AnswerForm, prompt: &[TokenId]) -> (Part, Option<usize>) {
    let Some(thoughts) = &form.thoughts else {
        return (Part::Text, None);
    };
    let tail = &prompt[prompt.len().saturating_sub(OPENING_TOKENS)..];
    let symbols = symbols_of(&*form.pieces, tail);
    let ends_with = |patterns: &[Pattern]| {
        let end = trimmed_end(&symbols);
        patterns.iter().any(|p| end.ends_with(trimmed_end(p)))
    };
    if ends_with(&thoughts.opens) {
        (Part::Thought, None)
    } else if ends_with(&thoughts.headers) {
        (Part::Text, None)
    } else if ends_with(std::slice::from_ref(&thoughts.close)) {
        (Part::Between, Some(0))
    } else {
        (Part::Between, None)
    }
}
