//! What the scout sees in a text: words and signs, and a handful of structural facts.
//!
//! A [`Reader`] goes through the text token by token and keeps, after each token, what it
//! knew there. When the text changes it falls back to the last token that is wholly before
//! the change and reads on, so that a keystroke at the end costs a word, not the text. No
//! token looks ahead, which is what makes this exact: reading in any number of steps ends in
//! the same state as reading at once.
//!
//! ```text
//!  text   write a def(x)\n    return
//!  token  |---| | |-|||||--------|---|      a word, a run of signs, or a line break
//!  marks  0     1 2  345         6    <- back to here when the last word grows
//! ```
//! Only the first [`MAX_TOKENS`] tokens are read: more than a label needs, and a bound on
//! what a pasted book can cost.
//!
//! Word features are named in plain text (`w python`, `b a function`, `p0 write`), so that
//! the shipped weights can be read by a person: see [`Reader::update`].

use super::facts::{Facts, Line};
use crate::prefix::common_prefix;

/// Tokens that are read from the start of a text.
pub const MAX_TOKENS: usize = 600;
/// Words longer than this are not looked up (base64, or scripts without spaces).
const MAX_WORD_BYTES: usize = 32;
/// Words whose position is a feature.
const POSITIONS: usize = 4;
/// Longest run of signs that is told apart.
const MAX_SIGN_BYTES: usize = 3;

/// Who wants to know which features a text has.
pub trait Sink {
    /// The number of the feature of this name; `None` where it is of no interest.
    fn number_of(&mut self, name: &str) -> Option<u32>;
    /// A token with this feature came.
    fn add(&mut self, feature: u32);
    /// One went again.
    fn remove(&mut self, feature: u32);
}

/// Reads a growing and changing text.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    text: String,
    marks: Vec<Mark>,
    /// Features in the order in which they came.
    log: Vec<u32>,
    name: String,
}

/// What is known after a token.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// Where the token ends, in bytes.
    end: usize,
    log_len: usize,
    /// The last word of the present line, in bytes; empty where there is none.
    last_word: (usize, usize),
    facts: Facts,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Sign,
    Break,
}

impl Reader {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The structural facts of the text as last read.
    pub fn facts(&self) -> &Facts {
        static NONE: Facts = Facts::NONE;
        self.marks.last().map_or(&NONE, |m| &m.facts)
    }

    /// The features of the text as last read, in order, some of them several times.
    pub fn log(&self) -> &[u32] {
        &self.log
    }

    /// Reads `text`, of which only what differs from the last one costs anything.
    ///
    /// Feature names: `w WORD`; `b WORD WORD` (neighbours in a line, `^` at its start);
    /// `p0 WORD` to `p3 WORD` (first words of the text); `s PREF` (first four characters of a
    /// longer word); `x SIGNS`; `n` and `n+` (line break, the latter with indentation).
    pub fn update(&mut self, text: &str, sink: &mut impl Sink) {
        let same = common_bytes(self.text.as_bytes(), text.as_bytes());
        if same == text.len() && same == self.text.len() {
            return;
        }
        // A token that ends where the change begins may be about to grow.
        while self.marks.last().is_some_and(|m| m.end >= same) {
            self.marks.pop();
        }
        let mut mark = self.marks.last().copied().unwrap_or_default();
        for feature in self.log.drain(mark.log_len..) {
            sink.remove(feature);
        }
        self.text.truncate(mark.end);
        self.text.push_str(&text[mark.end..]);
        while self.marks.len() < MAX_TOKENS
            && let Some((kind, start, end)) = next_token(text, mark.end)
        {
            self.token(kind, &text[start..end], text, &mut mark, sink);
            if kind == Kind::Word {
                mark.last_word = (start, end);
            }
            mark.end = end;
            mark.log_len = self.log.len();
            self.marks.push(mark);
        }
    }

    fn token(
        &mut self,
        kind: Kind,
        token: &str,
        text: &str,
        mark: &mut Mark,
        sink: &mut impl Sink,
    ) {
        match kind {
            Kind::Word => {
                let (from, to) = mark.last_word;
                let before = if from == to { "^" } else { &text[from..to] };
                if token.len() <= MAX_WORD_BYTES {
                    self.feature(&["w ", token], sink);
                    if before.len() <= MAX_WORD_BYTES {
                        self.feature(&["b ", before, " ", token], sink);
                    }
                    let position = usize::from(mark.facts.words);
                    if position < POSITIONS {
                        let p = ["p0 ", "p1 ", "p2 ", "p3 "][position];
                        self.feature(&[p, token], sink);
                    }
                    if let Some((at, _)) = token.char_indices().nth(4) {
                        self.feature(&["s ", &token[..at]], sink);
                    }
                }
                mark.facts.word(token, before);
            }
            Kind::Sign => {
                let short = token
                    .char_indices()
                    .map(|(at, c)| at + c.len_utf8())
                    .take_while(|&end| end <= MAX_SIGN_BYTES)
                    .last()
                    .unwrap_or(0);
                if short > 0 {
                    self.feature(&["x ", &token[..short]], sink);
                }
                let (_, word_end) = mark.last_word;
                let word = &text[mark.last_word.0..word_end];
                mark.facts.sign(token, word, word_end == mark.end);
            }
            Kind::Break => {
                let indented = token.ends_with([' ', '\t']);
                self.feature(&[if indented { "n+" } else { "n" }], sink);
                let last = text[..mark.end].chars().next_back();
                let blank = token.bytes().filter(|&b| b == b'\n').count() > 1;
                mark.facts.line_break(Line {
                    indented,
                    blank,
                    last,
                });
                mark.last_word = (mark.end, mark.end);
            }
        }
    }

    fn feature(&mut self, parts: &[&str], sink: &mut impl Sink) {
        self.name.clear();
        for part in parts {
            self.name.push_str(part);
        }
        self.name.make_ascii_lowercase();
        if let Some(feature) = sink.number_of(&self.name) {
            self.log.push(feature);
            sink.add(feature);
        }
    }
}

/// The next token from `from`, which is a token's end: its kind, start and end.
fn next_token(text: &str, from: usize) -> Option<(Kind, usize, usize)> {
    let rest = &text[from..];
    let start = from + rest.find(|c: char| c == '\n' || !c.is_whitespace())?;
    let rest = &text[start..];
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let first = rest.chars().next()?;
    let (kind, len) = if first == '\n' {
        (Kind::Break, rest.find(|c: char| !c.is_whitespace()))
    } else if is_word(first) {
        (Kind::Word, rest.find(|c: char| !is_word(c)))
    } else {
        (
            Kind::Sign,
            rest.find(|c: char| is_word(c) || c.is_whitespace()),
        )
    };
    Some((kind, start, len.map_or(text.len(), |len| start + len)))
}

/// How many bytes two texts have in common at their start, compared by blocks.
fn common_bytes(a: &[u8], b: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let at = BLOCK * common_prefix(a.chunks_exact(BLOCK), b.chunks_exact(BLOCK));
    at + common_prefix(&a[at..], &b[at..])
}
