//! Trees of random guesses keep their invariants, whatever is cut from them and accepted.

use super::drafters::lookup::LookupDrafter;
use super::drafters::model::ModelDrafter;
use super::guess::Guess;
use super::tree::{DraftIdx, DraftTree};
use crate::units::TokenId;
use proptest::prelude::*;

fn guess(token: i32, p: f32) -> Guess {
    Guess {
        token: TokenId(token),
        p,
        class: 0,
    }
}

fn add(tree: &mut DraftTree, parent: usize, token: i32, p: f32) -> DraftIdx {
    tree.add(DraftIdx(parent), guess(token, p), ModelDrafter::ID, p);
    tree.child(DraftIdx(parent), TokenId(token)).unwrap()
}

/// The tree of the module's picture: `p0 p1 a0`, then b, c, d, e, f.
fn picture() -> DraftTree {
    let mut tree = DraftTree::certain([TokenId(100), TokenId(101), TokenId(102)]);
    let b = add(&mut tree, 2, 1, 0.7);
    let c = add(&mut tree, 2, 2, 0.2);
    add(&mut tree, b.0, 3, 0.8);
    add(&mut tree, b.0, 4, 0.1);
    add(&mut tree, c.0, 5, 0.9);
    tree
}

fn tokens_of(tree: &DraftTree) -> Vec<i32> {
    tree.nodes().iter().map(|n| n.token.0).collect()
}

#[test]
fn a_cut_takes_the_likeliest_and_wants_logits_where_they_matter() {
    let tree = picture();
    let cut = tree.cut(6);
    let nodes = cut.tree.nodes();
    let tokens: Vec<_> = nodes.iter().map(|n| n.token.0).collect();
    assert_eq!(tokens, [100, 101, 102, 1, 2, 3]);
    let wanted: Vec<_> = nodes.iter().map(|n| n.logits).collect();
    assert_eq!(wanted, [false, false, true, true, true, true]);
    assert_eq!(cut.n_guesses(&tree), 3);
    assert_eq!(cut.tree.child(Some(3), TokenId(3)), Some(5));
    // What is certain is never left out, and the choice at its end is always wanted.
    let cut = tree.cut(1);
    let wanted: Vec<_> = cut.tree.nodes().iter().map(|n| n.logits).collect();
    assert_eq!(wanted, [false, false, true]);
}

#[test]
fn what_was_guessed_below_the_choice_stays() {
    let mut tree = picture();
    // b is accepted, and after it e, which was not even verified.
    tree.advance(DraftIdx(3), TokenId(4));
    assert_eq!((tokens_of(&tree), tree.n_certain()), (vec![4], 1));

    let mut tree = picture();
    tree.advance(DraftIdx(2), TokenId(1));
    assert_eq!(tokens_of(&tree), [1, 3, 4]);
    let root = tree.node(DraftIdx(0));
    assert_eq!((root.log_p, root.source, root.depth), (0.0, None, 0));
    assert!((tree.node(DraftIdx(1)).path_p() - 0.8).abs() < 1e-6);
    assert_eq!(tree.path(DraftIdx(1)), [TokenId(3)]);

    // Something else than was guessed.
    tree.advance(DraftIdx(1), TokenId(77));
    assert_eq!(tokens_of(&tree), [77]);
    assert_eq!(tree.node(DraftIdx(0)).source, None);
}

#[test]
fn the_more_confident_guess_of_a_token_counts() {
    let mut tree = picture();
    let sure = Guess {
        class: 3,
        ..guess(1, 0.95)
    };
    tree.add(DraftIdx(2), sure, LookupDrafter::ID, 0.95);
    add(&mut tree, 2, 1, 0.5);
    assert_eq!(tree.len(), 8);
    let source = tree.node(DraftIdx(3)).source.unwrap();
    assert_eq!(source.drafter, LookupDrafter::ID);
    assert_eq!((source.class, source.stated), (3, 0.95));
    // What follows it is likelier by the same factor.
    assert!((tree.node(DraftIdx(5)).path_p() - 0.95 * 0.8).abs() < 1e-6);
    assert!((tree.node(DraftIdx(7)).path_p() - 0.2 * 0.9).abs() < 1e-6);
}

#[derive(Clone, Debug)]
enum Step {
    Add(usize, i32, f32),
    Advance(usize, i32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let add = (any::<prop::sample::Index>(), 0i32..4, 0.0..=1.0_f32)
        .prop_map(|(at, token, p)| Step::Add(at.index(1 << 16), token, p));
    let advance = (any::<prop::sample::Index>(), 0i32..4)
        .prop_map(|(at, token)| Step::Advance(at.index(1 << 16), token));
    prop::collection::vec(prop_oneof![12 => add, 1 => advance], 1..120)
}

fn check(tree: &DraftTree) -> Result<(), TestCaseError> {
    for (i, node) in tree.nodes().iter().enumerate() {
        prop_assert!(node.log_p <= 1e-6);
        let Some(parent) = node.parent else {
            prop_assert_eq!(i, 0);
            continue;
        };
        prop_assert!(parent.0 < i);
        let above = tree.node(parent);
        prop_assert_eq!(node.depth, above.depth + 1);
        prop_assert!(node.log_p <= above.log_p);
        prop_assert!((node.log_p - above.log_p - node.p.ln()).abs() < 1e-3);
        let twins = tree
            .children(parent)
            .filter(|c| tree.node(*c).token == node.token);
        prop_assert_eq!(twins.count(), 1);
        prop_assert_eq!(node.source.is_none(), i < tree.n_certain());
    }
    Ok(())
}

proptest! {
    #[test]
    fn invariants_hold(n_certain in 1usize..5, steps in steps(), k in 0usize..40) {
        let prompt = (0..n_certain).map(|i| TokenId(100 + i as i32));
        let mut tree = DraftTree::certain(prompt);
        for step in steps {
            match step {
                Step::Add(at, token, p) => {
                    let tip = tree.tip().unwrap().0;
                    let parent = tip + at % (tree.len() - tip);
                    tree.add(DraftIdx(parent), guess(token, p), ModelDrafter::ID, p);
                }
                Step::Advance(at, token) => {
                    let tip = tree.tip().unwrap().0;
                    let last = DraftIdx(tip + at % (tree.len() - tip));
                    let below: Vec<_> = match tree.child(last, TokenId(token)) {
                        Some(root) => tree
                            .guesses()
                            .map(|n| tree.path(n))
                            .filter(|path| path.starts_with(&tree.path(root)))
                            .map(|path| path[tree.path(root).len()..].to_vec())
                            .collect(),
                        None => vec![Vec::new()],
                    };
                    tree.advance(last, TokenId(token));
                    let kept: Vec<_> = (0..tree.len()).map(|i| tree.path(DraftIdx(i))).collect();
                    prop_assert_eq!(kept, below);
                }
            }
            check(&tree)?;
        }
        let cut = tree.cut(k);
        prop_assert_eq!(cut.nodes.len(), k.clamp(tree.n_certain(), tree.len().max(k.min(tree.len()))));
        let least = cut.nodes.iter().map(|n| tree.node(*n).log_p).fold(0.0, f32::min);
        for guess in tree.guesses() {
            // No guess that was left out is likelier, and whoever is in has its parent there.
            let node = tree.node(guess);
            match cut.nodes.iter().position(|n| *n == guess) {
                None => prop_assert!(node.log_p <= least),
                Some(at) => {
                    let parent = cut.tree.nodes()[at].parent.unwrap();
                    prop_assert_eq!(Some(cut.origin(parent)), node.parent);
                }
            }
        }
    }
}
