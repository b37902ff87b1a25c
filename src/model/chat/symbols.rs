//! What answers and markers are compared by: bytes of text, and control tokens.
//!
//! A marker such as `<think>` is one control token in one vocabulary, an ordinary token in a second
//! and a few pieces of text in a third. As symbols all of them are found in one way, and text that
//! merely reads like a control token's name is not taken for it.

use super::marks::ControlNames;
use crate::model::Tokenizer;
use crate::units::TokenId;

/// One byte of text, or a control token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symbol {
    Byte(u8),
    Control(TokenId),
}

/// A marker.
pub(super) type Pattern = Vec<Symbol>;

/// Most symbols of a header's parameters: more than any published one has.
const PARAMETER_SYMBOLS: usize = 256;

/// A marker that begins a part of an answer. Before its tail there may be parameters, as in
/// `<|channel|>final <|constrain|>json<|message|>`.
#[derive(Clone)]
pub(super) struct Marker {
    head: Pattern,
    /// Without symbols where the marker takes no parameters.
    tail: Pattern,
}

/// Whether a marker is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    No,
    /// It depends on what follows.
    Open,
    /// It is, in so many symbols.
    Whole(usize),
}

impl Marker {
    /// `text` as a marker, which takes parameters before `tail` if it ends with that.
    pub(super) fn new(names: &ControlNames, text: &str, tail: Option<&str>) -> Self {
        let (head, tail) = tail
            .and_then(|tail| Some((text.strip_suffix(tail)?, tail)))
            .unwrap_or((text, ""));
        Self {
            head: pattern(names, head),
            tail: pattern(names, tail),
        }
    }

    /// Whether it is at the start.
    pub(super) fn find(&self, symbols: &[Symbol]) -> Found {
        let Some(rest) = symbols.strip_prefix(self.head.as_slice()) else {
            return match self.head.starts_with(symbols) {
                true => Found::Open,
                false => Found::No,
            };
        };
        if self.tail.is_empty() {
            return Found::Whole(self.head.len());
        }
        match find(rest, &[&self.tail]) {
            Some(at) => Found::Whole(self.head.len() + at + self.tail.len()),
            None if rest.len() < PARAMETER_SYMBOLS => Found::Open,
            None => Found::No,
        }
    }

    /// Whether symbols without white space at the end end with it.
    pub(super) fn ends(&self, symbols: &[Symbol]) -> bool {
        let whole = [self.head.as_slice(), &self.tail].concat();
        symbols.ends_with(trimmed_end(&whole))
    }

    /// Whether it is this pattern, without parameters.
    pub(super) fn is_only(&self, pattern: &[Symbol]) -> bool {
        self.head == pattern && self.tail.is_empty()
    }
}

/// What of a vocabulary answers are read by.
pub(crate) trait Pieces: Send + Sync {
    /// The bytes of a token's text; `None` for a control token.
    fn bytes(&self, token: TokenId) -> Option<Vec<u8>>;

    /// Tokens of text that goes on after other text.
    fn cut(&self, text: &str) -> Vec<TokenId>;
}

impl Pieces for Tokenizer {
    fn bytes(&self, token: TokenId) -> Option<Vec<u8>> {
        (!self.is_control(token)).then(|| Tokenizer::bytes(self, token))
    }

    fn cut(&self, text: &str) -> Vec<TokenId> {
        // What is cut again came out of tokens, so the vocabulary has some for it.
        self.text_within(text).unwrap_or_default()
    }
}

/// The symbols of tokens.
pub(super) fn symbols_of(pieces: &dyn Pieces, tokens: &[TokenId]) -> Vec<Symbol> {
    let mut symbols = Vec::new();
    for &token in tokens {
        match pieces.bytes(token) {
            Some(bytes) => symbols.extend(bytes.into_iter().map(Symbol::Byte)),
            None => symbols.push(Symbol::Control(token)),
        }
    }
    symbols
}

/// The symbols of a marker, in which the names of control tokens are these.
pub(super) fn pattern(names: &ControlNames, marker: &str) -> Pattern {
    let mut symbols = Vec::new();
    let mut at = 0;
    let text = |text: &str, symbols: &mut Pattern| {
        symbols.extend(text.bytes().map(Symbol::Byte));
    };
    for (place, token) in names.find(marker) {
        text(&marker[at..place.start], &mut symbols);
        symbols.push(Symbol::Control(token));
        at = place.end;
    }
    text(&marker[at..], &mut symbols);
    symbols
}

/// A marker as it is read.
pub(super) fn text_of(names: &ControlNames, pattern: &[Symbol]) -> String {
    let mut bytes = Vec::new();
    for &symbol in pattern {
        match symbol {
            Symbol::Byte(byte) => bytes.push(byte),
            Symbol::Control(token) => {
                bytes.extend(names.name_of(token).unwrap_or_default().bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// White space at the start.
pub(super) fn leading_space(symbols: &[Symbol]) -> usize {
    symbols.iter().take_while(|s| is_space(**s)).count()
}

/// The symbols without white space at their end.
pub(super) fn trimmed_end(symbols: &[Symbol]) -> &[Symbol] {
    let space = symbols.iter().rev().take_while(|s| is_space(**s)).count();
    &symbols[..symbols.len() - space]
}

fn is_space(symbol: Symbol) -> bool {
    matches!(symbol, Symbol::Byte(byte) if byte.is_ascii_whitespace())
}

/// The first place at which one of the patterns is.
pub(super) fn find(symbols: &[Symbol], patterns: &[&Pattern]) -> Option<usize> {
    let here = |at: &usize| patterns.iter().any(|p| symbols[*at..].starts_with(p));
    (0..symbols.len()).find(here)
}

/// How many symbols at the end may be the start of a pattern.
pub(super) fn held_back(symbols: &[Symbol], patterns: &[&Pattern]) -> usize {
    let longest = patterns.iter().map(|p| p.len()).max().unwrap_or(0);
    let most = symbols.len().min(longest.saturating_sub(1));
    (1..=most)
        .rev()
        .find(|&n| {
            let end = &symbols[symbols.len() - n..];
            patterns.iter().any(|p| p.len() > n && p.starts_with(end))
        })
        .unwrap_or(0)
}

/// The tokens of a marker that is written, not read.
pub(super) fn tokens_of(pieces: &dyn Pieces, names: &ControlNames, marker: &str) -> Vec<TokenId> {
    let cut = |text: &str| match text {
        "" => Vec::new(),
        text => pieces.cut(text),
    };
    let (mut tokens, mut at) = (Vec::new(), 0);
    for (place, token) in names.find(marker) {
        tokens.extend(cut(&marker[at..place.start]));
        tokens.push(token);
        at = place.end;
    }
    tokens.extend(cut(&marker[at..]));
    tokens
}
