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
//! answer begins within the thought. In a thought only what closes it counts, and what ends a
//! format's answers (`</answer>`) only in a text that its header (`<answer>`) began: others may
//! write about it.
//!
//! Thoughts that have taken as many tokens as are allowed, all together, are closed by force:
//! [`Reply::forced`] then says what has to come next, and goes on saying so until the closing is
//! complete. After that no other thought begins: a model that opens one writes text.

use super::answer_form::{AnswerForm, Thoughts};
use super::symbols::{
    Found, Pattern, Symbol, find, held_back, leading_space, symbols_of, trimmed_end,
};
use crate::model::TextStream;
use crate::units::TokenId;
use std::sync::Arc;

/// Tokens at a prompt's end in which an opening is looked for: none is longer in any vocabulary.
const OPENING_TOKENS: usize = 64;

/// Most tokens that a character is divided among.
const CHARACTER_TOKENS: usize = 5;

/// Most tokens by which a cut is put off, since the thought is being closed or a character is not
/// complete: no marker has more.
const PUT_OFF_TOKENS: usize = 32;

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
    /// Most tokens of thoughts.
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
    /// The text has begun with a header.
    has_header: bool,
    /// Symbols before the stop that has come.
    stopped_at: Option<usize>,
    /// Tokens of the closing that have been forced, and of the thought before it.
    forcing: Option<(usize, usize)>,
    cut_at: Option<usize>,
}

impl Reply {
    /// One that begins after `prompt`.
    pub(crate) fn after(form: &Arc<AnswerForm>, prompt: &[TokenId], budget: Option<usize>) -> Self {
        let Begun {
            part,
            thought_tokens,
            has_header,
        } = Begun::after(form, prompt);
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
            has_header,
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
        let Some(budget) = self.budget.filter(|_| self.part == Part::Thought) else {
            return false;
        };
        // What is pending may be the start of a closing.
        let first = self
            .token_ends
            .partition_point(|&end| end <= self.thought_at);
        let whole = self.token_ends.partition_point(|&end| end <= self.passed);
        let tokens = self.thought_tokens.unwrap_or(0) + whole.saturating_sub(first);
        let is_clear = self.pending.is_empty() && !self.chars.is_within_character();
        let most = if is_clear {
            budget
        } else {
            budget.saturating_add(PUT_OFF_TOKENS)
        };
        tokens >= most
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
            // A header's control tokens are no text, nor is what follows them.
            let begun = &self.pending[leading_space(&self.pending)..];
            if self.part == Part::Between && matches!(begun, [Symbol::Byte(_), ..]) {
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

    /// Whether a header began the answer's own text.
    pub(super) fn has_header(&self) -> bool {
        self.has_header
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
        match (self.part, &form.thoughts) {
            (Part::Between, Some(thoughts)) => self.pass_marker(thoughts),
            (Part::Between, None) => {
                self.begin_text();
                true
            }
            (Part::Thought, Some(Thoughts { close, .. })) => match self.release_up_to(&[close]) {
                Some(at) => {
                    self.end_thought(at);
                    self.take(close.len());
                    true
                }
                None => false,
            },
            (Part::Thought, None) | (Part::Text, _) => {
                let of_header = form.thoughts.iter().filter(|_| self.has_header);
                let of_header = of_header.flat_map(|thoughts| &thoughts.stops);
                let stops = form.stops.iter().chain(of_header);
                let stops: Vec<_> = stops.filter(|_| !self.endless).collect();
                match self.release_up_to(&stops) {
                    Some(at) => self.stop(at),
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
        let found: Vec<_> = opens
            .chain(headers)
            .map(|(marker, begins)| (marker.find(rest), begins))
            .collect();
        if found.iter().any(|&(found, _)| found == Found::Open) {
            return false;
        }
        let here = found.iter().filter_map(|&(found, begins)| match found {
            Found::Whole(len) => Some((len, begins)),
            Found::No | Found::Open => None,
        });
        match here.max_by_key(|&(len, _)| len) {
            Some((len, Part::Thought)) => {
                self.take(space + len);
                if self.cut_at.is_some() {
                    return true;
                }
                self.part = Part::Thought;
                self.thought_at = self.passed;
                if !self.thought.is_empty() {
                    self.thought.push_str("\n\n");
                }
            }
            Some((len, _)) => {
                self.take(space + len);
                self.has_header = true;
                self.begin_text();
            }
            None => {
                // Space at the start of an answer is its own, that after a thought is a marker's.
                if self.thought_tokens.is_some() {
                    self.take(space);
                    self.has_header = thoughts.closes_with_header();
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
    fn release_up_to(&mut self, patterns: &[&Pattern]) -> Option<usize> {
        match find(&self.pending, patterns) {
            Some(at) => {
                self.release(at);
                Some(self.passed)
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

/// What an answer begins with.
struct Begun {
    part: Part,
    /// Of the thought that the prompt ends with.
    thought_tokens: Option<usize>,
    has_header: bool,
}

impl Begun {
    fn after(form: &AnswerForm, prompt: &[TokenId]) -> Self {
        let begun = |part| Self {
            part,
            thought_tokens: None,
            has_header: false,
        };
        let Some(thoughts) = &form.thoughts else {
            return begun(Part::Text);
        };
        let tail = &prompt[prompt.len().saturating_sub(OPENING_TOKENS)..];
        let symbols = symbols_of(&*form.pieces, tail);
        let end = trimmed_end(&symbols);
        if thoughts.opens.iter().any(|open| open.ends(end)) {
            begun(Part::Thought)
        } else if end.ends_with(&thoughts.close) {
            Self {
                thought_tokens: Some(0),
                ..begun(Part::Between)
            }
        } else if thoughts.headers.iter().any(|header| header.ends(end)) {
            Self {
                has_header: true,
                ..begun(Part::Text)
            }
        } else {
            begun(Part::Between)
        }
    }
}
