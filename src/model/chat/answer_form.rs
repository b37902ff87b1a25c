//! What answers of a model look like: what ends them, and how thoughts in them are marked.

use super::ends::Ends;
use super::marks::ControlNames;
use super::symbols::{Pattern, Pieces, Symbol, pattern, symbols_of, tokens_of};
use super::thinking::Markers;
use crate::units::TokenId;
use std::sync::Arc;

/// See the module's text.
#[derive(Clone)]
pub struct AnswerForm {
    pub(super) pieces: Arc<dyn Pieces>,
    /// Tokens that end an answer.
    ends: Vec<TokenId>,
    /// What else ends it, wherever it is.
    pub(super) stops: Vec<Pattern>,
    pub(super) thoughts: Option<Thoughts>,
}

/// How thoughts are marked.
#[derive(Clone)]
pub(super) struct Thoughts {
    /// Each begins a thought.
    pub opens: Vec<Pattern>,
    pub close: Pattern,
    /// What may come before the answer's own text.
    pub headers: Vec<Pattern>,
    /// What closes a thought that has become too long; none where the vocabulary cannot say it.
    pub closing: Vec<TokenId>,
}

impl Thoughts {
    /// `closing` is what the template writes between a thought and the answer.
    pub(super) fn new(
        pieces: &dyn Pieces,
        names: &ControlNames,
        markers: &Markers,
        closing: &str,
    ) -> Self {
        let close = pattern(names, markers.close);
        let mut closing = tokens_of(pieces, names, closing);
        let said = symbols_of(pieces, &closing);
        if !said.windows(close.len()).any(|part| part == close) {
            closing.clear();
        }
        let patterns = |texts: &[&str]| texts.iter().map(|text| pattern(names, text)).collect();
        Self {
            opens: patterns(markers.opens),
            close,
            headers: patterns(markers.headers),
            closing,
        }
    }
}

impl AnswerForm {
    pub(super) fn new(
        pieces: Arc<dyn Pieces>,
        names: &ControlNames,
        ends: Ends,
        thoughts: Option<Thoughts>,
    ) -> Self {
        let mut stops: Vec<_> = ends.stops.iter().map(|stop| pattern(names, stop)).collect();
        // A token that is a part of how thoughts are closed ends nothing within a thought.
        let closes = |token: &TokenId| {
            let first = thoughts.as_ref().and_then(|t| t.close.first());
            first == Some(&Symbol::Control(*token))
        };
        let (closing, ends): (Vec<_>, Vec<_>) = ends.tokens.into_iter().partition(closes);
        stops.extend(
            closing
                .into_iter()
                .map(|token| vec![Symbol::Control(token)]),
        );
        stops.retain(|stop| !stop.is_empty());
        Self {
            pieces,
            ends,
            stops,
            thoughts,
        }
    }

    /// The same with tokens that end an answer besides.
    #[must_use]
    pub(super) fn with_ends(mut self, more: impl IntoIterator<Item = TokenId>) -> Self {
        self.ends.extend(more);
        self.ends.sort_unstable();
        self.ends.dedup();
        self
    }

    /// Tokens that end an answer.
    pub fn ends(&self) -> &[TokenId] {
        &self.ends
    }

    /// Whether anything ends an answer but its length.
    pub fn has_end(&self) -> bool {
        !self.ends.is_empty() || !self.stops.is_empty()
    }

    /// Whether thoughts are recognised.
    pub fn has_thoughts(&self) -> bool {
        self.thoughts.is_some()
    }

    /// Whether a thought can be closed by force.
    pub fn can_cut_thoughts(&self) -> bool {
        let thoughts = self.thoughts.as_ref();
        thoughts.is_some_and(|thoughts| !thoughts.closing.is_empty())
    }
}

#[cfg(test)]
impl AnswerForm {
    /// Of a vocabulary whose tokens have no texts.
    pub(crate) fn of_ends(ends: &[TokenId]) -> Self {
        struct NoText;
        impl Pieces for NoText {
            fn bytes(&self, _: TokenId) -> Option<Vec<u8>> {
                Some(Vec::new())
            }
            fn cut(&self, _: &str) -> Vec<TokenId> {
                Vec::new()
            }
        }
        Self {
            pieces: Arc::new(NoText),
            ends: ends.to_vec(),
            stops: Vec::new(),
            thoughts: None,
        }
    }

    /// Of a vocabulary without control tokens, in which `<think>` and `</think>` mark thoughts.
    pub(crate) fn of_texts(pieces: Arc<dyn Pieces>, stops: &[&str], closing: &str) -> Self {
        let names = ControlNames::new(Vec::new());
        let thoughts = Thoughts::new(&*pieces, &names, Markers::common(), closing);
        let ends = Ends {
            tokens: Vec::new(),
            stops: stops.iter().map(|stop| (*stop).to_owned()).collect(),
        };
        Self::new(pieces, &names, ends, Some(thoughts))
    }
}
