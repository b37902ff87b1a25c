//! Guesses from what the oracle itself once said: of every token that a pass verified, right
//! or wrong, the likeliest successors. No model, no reading, a few megabytes.
//!
//! ```text
//!  a pass      z a --+-- b      logits after `z a`: b .6  c .2  d .1 ...   rows (z a) and (a)
//!                    '-- c      logits after `z a c`: ...                  rows (a c) and (c)
//!
//!  later   ... z a   -> the row of (z a): b, c, d
//!          ... y a   -> none of (y a) yet; so that of (a), whatever came before it then
//! ```
//!
//! Token recycling (Luo et al., 2024, arXiv 2408.08696) keeps a row for each token of the
//! vocabulary, the latest, and verifies a tree of one fixed shape made of them. Here a pair of
//! tokens has a row as well, and there is no fixed shape: calibration learns how far rows of either
//! kind can be trusted, and the tree takes what is likeliest among all drafters' guesses.
//!
//! Rows outlive answers. They are in a table of fixed size, taken when the drafter is made, and a
//! key's hash is its only place there: of two keys with one place the later row stays. To learn
//! from a row of 152,000 logits takes some 0.1 ms (only a few of its blocks have a value great
//! enough to be looked at), and a pass has a row for each node that it verifies.
//!
//! It is off unless asked for: over the default oracle at 960 MiB without a draft, on 2 cores, where
//! a second node makes a pass 1.4 times as long, answers came 0.87 to 1.12 times as fast with it
//! (12 alternating pairs, median 1.01; 1.08 tokens a pass, not 1.07).

use crate::oracle::NodeIdx;
use crate::speculate::drafter::{DraftError, Drafter, VerifiedPass};
use crate::speculate::guess::Guess;
use crate::speculate::tree::{DraftIdx, DraftTree};
use crate::units::{Bytes, TokenId};
use crate::vocabulary::{DrafterId, Marks};

/// Successors of a row.
const SUCCESSORS: usize = 8;

/// Rows of the table, a power of two.
const ROWS: usize = 1 << 15;

/// A successor that was less likely is not guessed.
const LEAST_P: f32 = 0.01;

/// Calibration classes: rows of a pair, and of a token alone.
const OF_PAIR: usize = 0;
const OF_TOKEN: usize = 1;

/// The factor by which a row's probabilities are lowered for another text, by class, until
/// calibration knows better. (Of some 300 judged guesses in four answers, those stated above 0.85
/// were right in half of all cases, those above 0.4 in a third.)
const TRUST: [f32; 2] = [0.6, 0.3];

/// See the module's text.
pub struct RecyclingDrafter {
    table: Vec<Row>,
    /// The text's last token but one, which the tip of a tree may follow.
    before_tip: Option<TokenId>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    key: Key,
    successors: [Successor; SUCCESSORS],
}

/// Best first. Unused ones have a probability of zero.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Successor {
    token: TokenId,
    p: f32,
}

/// A token, and the one before it where that is known.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Key {
    before: Option<TokenId>,
    token: TokenId,
}

impl Key {
    /// Its place in a table.
    fn place(self) -> usize {
        let before = self.before.map_or(0, |token| i64::from(token.0) + 1) as u64;
        let both = before << 32 | u64::from(self.token.0 as u32);
        // Multiplication carries every bit into the highest ones (Fibonacci hashing).
        let hash = both.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (hash >> (u64::BITS - ROWS.trailing_zeros())) as usize
    }
}

impl Row {
    const EMPTY: Self = Self {
        key: Key {
            before: None,
            // No token.
            token: TokenId(-1),
        },
        successors: [Successor {
            token: TokenId(-1),
            p: 0.0,
        }; SUCCESSORS],
    };
}

impl RecyclingDrafter {
    pub const ID: DrafterId = DrafterId::new(&Marks {
        name: "recycled",
        unicode: ["■", "□"],
        ascii: ["R", "r"],
    });

    /// What it holds from the start.
    pub const BYTES: Bytes = Bytes((ROWS * size_of::<Row>()) as u64);

    pub fn new() -> Self {
        Self {
            table: vec![Row::EMPTY; ROWS],
            before_tip: None,
        }
    }

    fn keep(&mut self, key: Key, successors: [Successor; SUCCESSORS]) {
        self.table[key.place()] = Row { key, successors };
    }

    fn find(&self, key: Key) -> Option<&[Successor; SUCCESSORS]> {
        let row = &self.table[key.place()];
        (row.key == key).then_some(&row.successors)
    }

    /// Guesses for what follows `token`, which comes after `before`.
    fn guesses(&self, before: Option<TokenId>, token: TokenId) -> Vec<Guess> {
        let alone = Key {
            before: None,
            token,
        };
        let of_pair = before.and_then(|_| self.find(Key { before, token }));
        let (class, row) = match of_pair {
            Some(row) => (OF_PAIR, Some(row)),
            None => (OF_TOKEN, self.find(alone)),
        };
        let likely = row.into_iter().flatten().filter(|s| s.p >= LEAST_P);
        likely
            .map(|s| Guess {
                token: s.token,
                p: s.p * TRUST[class],
                class,
            })
            .collect()
    }
}

impl Default for RecyclingDrafter {
    fn default() -> Self {
        Self::new()
    }
}

impl Drafter for RecyclingDrafter {
    fn id(&self) -> DrafterId {
        Self::ID
    }

    fn classes(&self) -> usize {
        2
    }

    fn follow(&mut self, text: &[TokenId]) -> Result<(), DraftError> {
        self.before_tip = last_but_one(text);
        Ok(())
    }

    fn expand(
        &mut self,
        tree: &DraftTree,
        nodes: &[DraftIdx],
    ) -> Result<Vec<Vec<Guess>>, DraftError> {
        let about = |&node: &DraftIdx| {
            let node = tree.node(node);
            let before = match node.parent {
                Some(parent) => Some(tree.node(parent).token),
                None => self.before_tip,
            };
            self.guesses(before, node.token)
        };
        Ok(nodes.iter().map(about).collect())
    }

    fn learn(&mut self, pass: &VerifiedPass<'_>) {
        let logits = &pass.output.logits;
        let is_kept = |node: &&NodeIdx| pass.path.contains(node);
        // What the oracle kept says more of this text than what it rejected: it is written last,
        // so that it stays.
        let (kept, rejected): (Vec<_>, Vec<_>) = logits.nodes().iter().partition(is_kept);
        for &node in rejected.into_iter().chain(kept) {
            let Some(row) = logits.of(node) else {
                continue;
            };
            let successors = successors(row);
            let nodes = pass.tree.nodes();
            let token = nodes[node].token;
            let before = match nodes[node].parent {
                Some(parent) => Some(nodes[parent].token),
                None => last_but_one(pass.text),
            };
            self.keep(
                Key {
                    before: None,
                    token,
                },
                successors,
            );
            if before.is_some() {
                self.keep(Key { before, token }, successors);
            }
        }
    }
}

fn last_but_one(text: &[TokenId]) -> Option<TokenId> {
    text.len().checked_sub(2).map(|at| text[at])
}

/// The likeliest tokens of a row of logits, with their softmax among each other: the rest of the
/// vocabulary has little of the probability, and calibration corrects for it.
fn successors(logits: &[f32]) -> [Successor; SUCCESSORS] {
    let mut best = [(f32::NEG_INFINITY, 0); SUCCESSORS];
    for (block, values) in logits.chunks(BLOCK).enumerate() {
        let mut least = best[SUCCESSORS - 1].0;
        if greatest(values) <= least {
            continue;
        }
        for (i, &value) in values.iter().enumerate() {
            if value > least {
                // Of equals the first comes first.
                let at = best.partition_point(|&(other, _)| other >= value);
                best[at..].rotate_right(1);
                best[at] = (value, block * BLOCK + i);
                least = best[SUCCESSORS - 1].0;
            }
        }
    }
    let weight = |logit: f32| (logit - best[0].0).exp();
    let known = best.iter().filter(|(logit, _)| *logit > f32::NEG_INFINITY);
    let total: f32 = known.map(|&(logit, _)| weight(logit)).sum();
    best.map(|(logit, token)| Successor {
        token: TokenId(i32::try_from(token).unwrap_or(i32::MAX)),
        p: if logit > f32::NEG_INFINITY {
            weight(logit) / total
        } else {
            0.0
        },
    })
}

/// Logits that are compared as one block.
const BLOCK: usize = 256;

/// The greatest of some values; NaN is passed over.
fn greatest(values: &[f32]) -> f32 {
    // In independent lanes, so that the compiler can use vector instructions.
    let mut lanes = [f32::NEG_INFINITY; 32];
    let (runs, rest) = values.as_chunks::<32>();
    let max = |a: f32, b: f32| if b > a { b } else { a };
    for run in runs {
        for (lane, &value) in lanes.iter_mut().zip(run) {
            *lane = max(*lane, value);
        }
    }
    lanes
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Oracle, PassOutput, TokenTree, ToyOracle, TreeNode, WidthClass};
    use proptest::prelude::*;

    fn tokens(ids: &[i32]) -> Vec<TokenId> {
        ids.iter().copied().map(TokenId).collect()
    }

    fn said(guesses: &[Guess]) -> Vec<i32> {
        guesses.iter().map(|guess| guess.token.0).collect()
    }

    /// What the toy oracle takes for likeliest after a text.
    fn likeliest(text: &[i32]) -> Vec<i32> {
        let row = successors(&ToyOracle::logits_after(&tokens(text)));
        let likely = row.iter().filter(|s| s.p >= LEAST_P);
        likely.map(|s| s.token.0).collect()
    }

    /// A pass after `text`, whose last token is the tip, over branches from there.
    fn pass(text: &[TokenId], branches: &[&[i32]]) -> (TokenTree, PassOutput) {
        let node = |token, parent| TreeNode {
            token,
            parent,
            logits: true,
        };
        let mut oracle = ToyOracle::new(100);
        let (tip, before) = text.split_last().unwrap();
        if !before.is_empty() {
            oracle
                .pass(&TokenTree::chain(before, before.len()), WidthClass::BATCH)
                .unwrap();
            oracle.commit(&(0..before.len()).collect::<Vec<_>>());
        }
        let mut tree = TokenTree::new();
        let root = tree.push(node(*tip, None));
        for branch in branches {
            tokens(branch)
                .into_iter()
                .fold(root, |parent, token| tree.push(node(token, Some(parent))));
        }
        let output = oracle.pass(&tree, WidthClass::BATCH).unwrap();
        (tree, output)
    }

    #[test]
    fn rows_of_every_verified_node_are_kept_right_or_wrong() {
        let mut drafter = RecyclingDrafter::new();
        let text = tokens(&[9, 3, 4]);
        let (tree, output) = pass(&text, &[&[7, 2], &[8]]);
        drafter.learn(&VerifiedPass {
            text: &text,
            tree: &tree,
            output: &output,
            path: &[0, 3],
        });
        let guesses = |before, token| drafter.guesses(Some(TokenId(before)), TokenId(token));
        for [before, token] in [[3, 4], [4, 7], [7, 2], [4, 8]] {
            let found = guesses(before, token);
            assert_eq!(said(&found), likeliest(&[before, token]));
            assert!(found.iter().all(|guess| guess.class == OF_PAIR));
        }
        // After another token the row of the token alone serves.
        let found = guesses(5, 2);
        assert_eq!(said(&found), likeliest(&[7, 2]));
        assert!(found.iter().all(|guess| guess.class == OF_TOKEN));
        assert!(guesses(3, 9).is_empty());
    }

    #[test]
    fn what_was_kept_outweighs_what_was_rejected() {
        let mut drafter = RecyclingDrafter::new();
        let text = tokens(&[1]);
        let (tree, output) = pass(&text, &[&[5, 6], &[7, 6]]);
        for (path, before) in [([0, 1, 2], 5), ([0, 3, 4], 7)] {
            drafter.learn(&VerifiedPass {
                text: &text,
                tree: &tree,
                output: &output,
                path: &path,
            });
            let found = drafter.guesses(None, TokenId(6));
            assert_eq!(said(&found), likeliest(&[before, 6]));
        }
    }

    #[test]
    fn guesses_go_on_along_a_tree_and_outlive_a_text() {
        let mut drafter = RecyclingDrafter::new();
        let text = tokens(&[3, 4]);
        let (tree, output) = pass(&text, &[&[7, 2]]);
        drafter.learn(&VerifiedPass {
            text: &text,
            tree: &tree,
            output: &output,
            path: &[0],
        });
        drafter.follow(&tokens(&[11, 12, 3, 4])).unwrap();
        let mut tree = DraftTree::certain([TokenId(4)]);
        let tip = tree.tip().unwrap();
        let ask = |drafter: &mut RecyclingDrafter, tree: &DraftTree, node| {
            said(&drafter.expand(tree, &[node]).unwrap()[0])
        };
        assert_eq!(ask(&mut drafter, &tree, tip), likeliest(&[3, 4]));
        let guess = Guess {
            token: TokenId(7),
            p: 0.5,
            class: OF_PAIR,
        };
        tree.add(tip, guess, RecyclingDrafter::ID, 0.5);
        assert_eq!(ask(&mut drafter, &tree, DraftIdx(1)), likeliest(&[4, 7]));
    }

    #[test]
    fn it_takes_what_it_says_and_no_more() {
        let drafter = RecyclingDrafter::new();
        let bytes = drafter.table.capacity() * size_of::<Row>();
        assert_eq!(bytes as u64, RecyclingDrafter::BYTES.0);
        assert!(RecyclingDrafter::BYTES <= Bytes::mib(4));
        for key in [(None, i32::MAX), (Some(0), 0), (Some(i32::MAX), i32::MAX)] {
            let key = Key {
                before: key.0.map(TokenId),
                token: TokenId(key.1),
            };
            assert!(key.place() < ROWS);
            assert_eq!(drafter.find(key), None);
        }
    }

    #[test]
    fn rows_with_few_numbers_have_few_successors() {
        let none = f32::NEG_INFINITY;
        let row = successors(&[f32::NAN, 2.0, none, 2.0, f32::NAN, 1.0]);
        let found: Vec<_> = row.iter().filter(|s| s.p > 0.0).collect();
        assert_eq!(
            found.iter().map(|s| s.token.0).collect::<Vec<_>>(),
            [1, 3, 5]
        );
        assert!((found.iter().map(|s| s.p).sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(successors(&[]).iter().all(|s| s.p == 0.0));
    }

    proptest! {
        #[test]
        fn the_likeliest_are_found(row in prop::collection::vec(-9.0..9.0_f32, 8..1500)) {
            let mut by_hand: Vec<_> = row.iter().copied().enumerate().collect();
            by_hand.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let found = successors(&row).map(|s| s.token.0 as usize);
            let expected: Vec<_> = by_hand[..SUCCESSORS].iter().map(|(i, _)| *i).collect();
            prop_assert_eq!(found.to_vec(), expected);
        }
    }
}
