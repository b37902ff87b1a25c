//! How far guesses go, by what the prompt asks for: learnt over a session's answers, to choose
//! between ways to answer before the answer begins.
//!
//! One figure describes it: the share of tokens after which the oracle's choice was among the
//! guesses. It gives an ideal tree of guesses, whose yield can be summed before any is drafted.

use crate::vocabulary::Label;
use std::collections::BinaryHeap;

/// What is assumed before anything was judged counts as much as this many judged tokens.
const PRIOR: f64 = 20.0;

/// Judged tokens that are remembered, roughly.
const MEMORY: f64 = 400.0;

/// Of the probability that any guess of a token is right, the shares of the best one, the second
/// and the third: typical of a draft a third of the oracle's size.
const SHARES: [f64; 3] = [0.86, 0.1, 0.04];

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// By [`Label::ALL`] in order, and without a label.
    rates: [Rate; Label::ALL.len() + 1],
}

#[derive(Clone, Copy, Debug)]
struct Rate {
    prior: f64,
    judged: f64,
    right: f64,
}

impl Acceptance {
    /// Before anything was judged. Code is easier to guess than the rest; without a model only
    /// what repeats is guessed at all.
    pub fn new(has_model: bool) -> Self {
        let rate = |label| Rate {
            prior: match (has_model, label) {
                (true, Some(Label::Code)) => 0.6,
                (true, _) => 0.5,
                (false, _) => 0.2,
            },
            judged: 0.0,
            right: 0.0,
        };
        let [a, b, c] = Label::ALL.map(|label| rate(Some(label)));
        Self {
            rates: [a, b, c, rate(None)],
        }
    }

    fn place(label: Option<Label>) -> usize {
        let found = Label::ALL.iter().position(|&l| Some(l) == label);
        found.unwrap_or(Label::ALL.len())
    }

    /// The probability that the next token is among its guesses.
    pub fn rate(&self, label: Option<Label>) -> f64 {
        let Rate {
            prior,
            judged,
            right,
        } = self.rates[Self::place(label)];
        (right + PRIOR * prior) / (judged + PRIOR)
    }

    /// Learns that the guesses after `judged` tokens were judged, and that after `right` of these
    /// one of them was right.
    pub fn observe(&mut self, label: Option<Label>, judged: usize, right: usize) {
        let rate = &mut self.rates[Self::place(label)];
        rate.judged += judged as f64;
        rate.right += right as f64;
        if rate.judged > MEMORY {
            rate.fade(MEMORY / rate.judged);
        }
    }

    /// No guess of an answer was judged: what is known counts for less, so that guessing gets
    /// another chance some day.
    pub fn fade(&mut self, label: Option<Label>) {
        self.rates[Self::place(label)].fade(0.9);
    }

    /// The probabilities that the best `n` guesses of the ideal tree are accepted, best first.
    pub fn path_probabilities(&self, label: Option<Label>, n: usize) -> Vec<f64> {
        let rate = self.rate(label);
        let mut open = BinaryHeap::from([Probability(1.0)]);
        let mut probabilities = Vec::with_capacity(n);
        while let Some(Probability(p)) = open.pop()
            && probabilities.len() <= n
        {
            probabilities.push(p);
            open.extend(SHARES.map(|share| Probability(p * rate * share)));
        }
        probabilities.remove(0);
        probabilities
    }
}

impl Rate {
    fn fade(&mut self, factor: f64) {
        self.judged *= factor;
        self.right *= factor;
    }
}

/// A probability, which is never NaN.
#[derive(PartialEq)]
struct Probability(f64);

impl Eq for Probability {}

impl PartialOrd for Probability {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Probability {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_learnt_apart() {
        let mut acceptance = Acceptance::new(true);
        let (code, chat) = (Some(Label::Code), Some(Label::Chat));
        assert!(acceptance.rate(code) > acceptance.rate(chat));
        assert!(acceptance.rate(chat) > Acceptance::new(false).rate(chat));
        acceptance.observe(chat, 200, 190);
        assert!((acceptance.rate(chat) - 0.91).abs() < 0.01);
        assert!((acceptance.rate(code) - 0.6).abs() < 1e-9);
        assert!((acceptance.rate(None) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn what_was_bad_once_gets_another_chance() {
        let mut acceptance = Acceptance::new(true);
        acceptance.observe(None, 100, 0);
        assert!(acceptance.rate(None) < 0.1);
        for _ in 0..40 {
            acceptance.fade(None);
        }
        assert!(acceptance.rate(None) > 0.45);
    }

    #[test]
    fn where_half_of_all_tokens_are_guessed_a_tree_yields_less_than_one_token() {
        let acceptance = Acceptance::new(true);
        let probabilities = acceptance.path_probabilities(None, 100);
        assert_eq!(probabilities.len(), 100);
        assert!(probabilities.is_sorted_by(|a, b| a >= b));
        assert!((probabilities[0] - 0.43).abs() < 1e-9);
        // 0.5 + 0.25 + 0.125 + ...
        assert!(probabilities.iter().sum::<f64>() < 1.0);
    }
}
