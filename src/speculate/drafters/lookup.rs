//! Guesses from what was said before, without a model: strong where an answer quotes or repeats.
//!
//! The longest run of last tokens that also occurs earlier in the prompt or the answer tells what
//! followed it there.
//!
//! ```text
//!  text   ... let x = vec . len ( ) ; ...  let y = vec .
//!                                ends of pairs: every earlier `vec .`, the newest first
//!                     = vec . len                = vec .   3 tokens match -> `len`
//! ```
//!
//! Index: the last place where each pair of tokens ends, and from each place a link to the place
//! before it where the same pair ends. Adding or removing a token is one step.

use crate::prefix::common_prefix;
use crate::speculate::drafter::{DraftError, Drafter};
use crate::speculate::guess::Guess;
use crate::speculate::tree::{DraftIdx, DraftTree};
use crate::units::TokenId;
use crate::vocabulary::{DrafterId, Marks};
use std::collections::HashMap;

/// Most tokens of a match that are looked at.
const LONGEST: usize = 32;

/// Earlier places that are tried for a node.
const PLACES: usize = 32;

/// Most guesses for a node.
const GUESSES: usize = 3;

/// Calibration classes of guesses, by the number of tokens that matched: up to 2, 4, 8, 16, and
/// more.
const CLASSES: [usize; 4] = [2, 4, 8, 16];

/// See the module's text.
#[derive(Debug, Default)]
pub struct LookupDrafter {
    text: Vec<TokenId>,
    /// Where each pair of tokens ended last.
    last: HashMap<[TokenId; 2], usize>,
    /// Where the pair that ends at a place ended before that.
    earlier: Vec<Option<usize>>,
}

impl LookupDrafter {
    pub const ID: DrafterId = DrafterId::new(&Marks {
        name: "lookup",
        unicode: ["◆", "◇"],
        ascii: ["L", "l"],
    });

    pub fn new() -> Self {
        Self::default()
    }

    fn pair(&self, end: usize) -> Option<[TokenId; 2]> {
        Some([self.text[end.checked_sub(1)?], self.text[end]])
    }

    fn push(&mut self, token: TokenId) {
        let end = self.text.len();
        self.text.push(token);
        let earlier = self.pair(end).and_then(|pair| self.last.insert(pair, end));
        self.earlier.push(earlier);
    }

    fn pop(&mut self) {
        let Some(end) = self.text.len().checked_sub(1) else {
            return;
        };
        if let Some(pair) = self.pair(end) {
            match self.earlier[end] {
                Some(before) => self.last.insert(pair, before),
                None => self.last.remove(&pair),
            };
        }
        self.text.pop();
        self.earlier.pop();
    }

    /// The longest matches of the end of the text followed by `path`, best first: how many tokens
    /// matched, and what came next.
    fn matches(&self, path: &[TokenId]) -> Vec<(usize, TokenId)> {
        let n = self.text.len();
        let end = n + path.len();
        let at = |i: usize| if i < n { self.text[i] } else { path[i - n] };
        if end < 2 {
            return Vec::new();
        }
        let newest = self.last.get(&[at(end - 2), at(end - 1)]).copied();
        let places = std::iter::successors(newest, |&i| self.earlier[i])
            .filter(|&i| i + 1 < end)
            .take(PLACES);
        let mut found: Vec<(usize, TokenId)> = Vec::new();
        for place in places {
            let longest = LONGEST.min(place + 1);
            let matched = (0..longest)
                .take_while(|&back| at(place - back) == at(end - 1 - back))
                .count();
            let next = at(place + 1);
            match found.iter_mut().find(|(_, token)| *token == next) {
                Some((best, _)) => *best = matched.max(*best),
                None => found.push((matched, next)),
            }
        }
        // Stable: of equal matches the newer one first.
        found.sort_by_key(|&(matched, _)| std::cmp::Reverse(matched));
        found.truncate(GUESSES);
        found
    }

    /// What follows the text and then `path`.
    fn guesses(&self, path: &[TokenId]) -> Vec<Guess> {
        let mut left = 1.0;
        self.matches(path)
            .into_iter()
            .map(|(matched, token)| {
                let p = left * confidence(matched);
                left -= p;
                Guess {
                    token,
                    p,
                    class: class(matched),
                }
            })
            .collect()
    }
}

fn class(matched: usize) -> usize {
    CLASSES.partition_point(|&longest| longest < matched)
}

/// A first estimate of how likely the token after a match is, until calibration knows better.
fn confidence(matched: usize) -> f32 {
    1.0 - 1.0 / (1.0 + 0.35 * matched as f32)
}

impl Drafter for LookupDrafter {
    fn id(&self) -> DrafterId {
        Self::ID
    }

    fn classes(&self) -> usize {
        CLASSES.len() + 1
    }

    fn follow(&mut self, text: &[TokenId]) -> Result<(), DraftError> {
        let common = common_prefix(&self.text, text);
        while self.text.len() > common {
            self.pop();
        }
        for &token in &text[common..] {
            self.push(token);
        }
        Ok(())
    }

    fn expand(
        &mut self,
        tree: &DraftTree,
        nodes: &[DraftIdx],
    ) -> Result<Vec<Vec<Guess>>, DraftError> {
        let guesses = nodes.iter().map(|&node| self.guesses(&tree.path(node)));
        Ok(guesses.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokens(text: &[i32]) -> Vec<TokenId> {
        text.iter().copied().map(TokenId).collect()
    }

    /// The guesses for what follows, and how many tokens matched.
    fn after(text: &[i32], path: &[i32]) -> Vec<(i32, usize)> {
        let mut lookup = LookupDrafter::new();
        lookup.follow(&tokens(text)).unwrap();
        let matches = lookup.matches(&tokens(path)).into_iter();
        matches.map(|(matched, token)| (token.0, matched)).collect()
    }

    #[test]
    fn the_longest_match_comes_first() {
        let text = [1, 2, 3, 7, 9, 2, 3, 8, 1, 2, 3];
        assert_eq!(after(&text, &[]), [(7, 3), (8, 2)]);
        // Of equal matches, the newer.
        let text = [2, 3, 7, 2, 3, 8, 2, 3];
        assert_eq!(after(&text, &[]), [(8, 2), (7, 2)]);
    }

    #[test]
    fn longer_matches_are_calibrated_apart() {
        assert_eq!(
            [1, 2, 3, 4, 5, 16, 17, 99].map(class),
            [0, 0, 1, 1, 2, 3, 4, 4]
        );
        assert_eq!(LookupDrafter::new().classes(), class(LONGEST) + 1);
    }

    #[test]
    fn a_match_goes_on_along_a_branch() {
        let text = [5, 6, 7, 8, 9, 5, 6];
        assert_eq!(after(&text, &[]), [(7, 2)]);
        assert_eq!(after(&text, &[7]), [(8, 3)]);
        assert_eq!(after(&text, &[7, 8]), [(9, 4)]);
        assert_eq!(after(&text, &[7, 1]), []);
    }

    #[test]
    fn a_repetition_repeats_itself() {
        // What follows the last place is the branch itself.
        assert_eq!(after(&[4, 4, 4], &[]), [(4, 2)]);
        assert_eq!(after(&[1, 4, 4], &[4]), [(4, 2)]);
        assert_eq!(after(&[1, 4], &[4]), []);
    }

    #[test]
    fn nothing_is_known_of_what_is_new_or_short() {
        assert_eq!(after(&[], &[]), []);
        assert_eq!(after(&[1], &[]), []);
        assert_eq!(after(&[1, 2, 3], &[]), []);
    }

    #[test]
    fn it_guesses_for_nodes_of_a_tree() {
        let mut lookup = LookupDrafter::new();
        lookup.follow(&tokens(&[1, 2, 3, 4, 1, 2])).unwrap();
        let mut tree = DraftTree::certain([TokenId(2)]);
        let tip = tree.tip().unwrap();
        let guesses = lookup.expand(&tree, &[tip]).unwrap();
        assert_eq!(guesses[0][0].token, TokenId(3));
        tree.add(tip, guesses[0][0], LookupDrafter::ID, 0.5);
        let below = lookup.expand(&tree, &[DraftIdx(1)]).unwrap();
        assert_eq!(below[0][0].token, TokenId(4));
        // The next token is likelier after a longer match.
        assert!(below[0][0].p > guesses[0][0].p);
    }

    proptest! {
        /// An index that was cut back and grown again is that of the text as it is.
        #[test]
        fn a_changed_text_is_indexed_as_if_new(
            texts in prop::collection::vec(prop::collection::vec(0i32..4, 0..30), 1..6)
        ) {
            let mut grown = LookupDrafter::new();
            for text in &texts {
                let text = tokens(text);
                grown.follow(&text).unwrap();
                let mut fresh = LookupDrafter::new();
                fresh.follow(&text).unwrap();
                prop_assert_eq!(&grown.last, &fresh.last);
                prop_assert_eq!(&grown.earlier, &fresh.earlier);
                prop_assert_eq!(grown.guesses(&[]), fresh.guesses(&[]));
            }
        }
    }
}
