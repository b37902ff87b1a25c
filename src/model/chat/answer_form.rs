//! What answers of a model look like: what ends them, and how thoughts in them are marked.

use super::ends::Ends;
use super::marks::ControlNames;
use super::symbols::{Marker, Pattern, Pieces, Symbol, pattern, symbols_of, tokens_of};
use super::thinking::Markers;
use crate::units::TokenId;
use std::sync::Arc;

/// See the module's text.
#[derive(Clone)]
pub struct AnswerForm {
    pub(super) pieces: Arc<dyn Pieces>,
    /// Tokens that end an answer.
    ends: Vec<TokenId>,
    /// What else ends it, wherever in its text it is.
    pub(super) stops: Vec<Pattern>,
    pub(super) thoughts: Option<Thoughts>,
}

/// How thoughts are marked.
#[derive(Clone)]
pub(super) struct Thoughts {
    /// Each begins a thought.
    pub opens: Vec<Marker>,
    pub close: Pattern,
    /// What may come before the answer's own text.
    pub headers: Vec<Marker>,
    /// What ends a text that such a header began.
    pub stops: Vec<Pattern>,
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
        let marker = |text: &&str| Marker::new(names, text, markers.after_parameters);
        Self {
            opens: markers.opens.iter().map(marker).collect(),
            close,
            headers: markers.headers.iter().map(marker).collect(),
            stops: markers.stops.iter().map(|s| pattern(names, s)).collect(),
            closing,
        }
    }

    /// Whether what closes a thought is a header of the answer's text as well.
    pub(super) fn closes_with_header(&self) -> bool {
        self.headers
            .iter()
            .any(|header| header.is_only(&self.close))
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
        let mut tokens = ends.tokens;
        tokens.sort_unstable();
        tokens.dedup();
        let (closing, ends): (Vec<_>, Vec<_>) = tokens.into_iter().partition(closes);
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

    /// Tokens that end an answer.
    pub fn ends(&self) -> &[TokenId] {
        &self.ends
    }

    /// Whether anything ends an answer but its length.
    pub fn has_end(&self) -> bool {
        !self.ends.is_empty() || !self.stops.is_empty()
    }

    /// All texts that may end one, also those that need a header.
    pub(super) fn all_stops(&self) -> impl Iterator<Item = &Pattern> {
        let of_headers = self.thoughts.iter().flat_map(|thoughts| &thoughts.stops);
        self.stops.iter().chain(of_headers)
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
        Self::of_markers(pieces, Markers::common(), stops, closing)
    }

    /// The same where thoughts have these marks.
    pub(super) fn of_markers(
        pieces: Arc<dyn Pieces>,
        markers: &Markers,
        stops: &[&str],
        closing: &str,
    ) -> Self {
        let names = ControlNames::new(Vec::new());
        let thoughts = Thoughts::new(&*pieces, &names, markers, closing);
        let ends = Ends {
            tokens: Vec::new(),
            stops: stops.iter().map(|stop| (*stop).to_owned()).collect(),
        };
        Self::new(pieces, &names, ends, Some(thoughts))
    }
}
