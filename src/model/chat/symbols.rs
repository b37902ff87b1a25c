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

/// The first place at which one of the patterns is, the longest of those there, and its number.
pub(super) fn find(symbols: &[Symbol], patterns: &[&Pattern]) -> Option<(usize, usize)> {
    (0..symbols.len()).find_map(|at| {
        let here = patterns.iter().enumerate();
        here.filter(|(_, p)| symbols[at..].starts_with(p))
            .max_by_key(|(_, p)| p.len())
            .map(|(number, _)| (at, number))
    })
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
