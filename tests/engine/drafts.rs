//! The draft model's branches are what it would say to each of them alone, and cost no decode
//! more than they must.

use crate::common::{self, SMOL, model};
use nmos::model::{Gguf, Tokenizer};
use nmos::plan::DraftCapacity;
use nmos::speculate::{
    DraftIdx, DraftTree, Drafter, Guess, LookupDrafter, ModelDrafter, Sampler, Sampling,
};
use nmos::units::TokenId;

const TEXT: &str = "The capital of France is Paris, and the capital of Italy is Rome. The capital";

fn drafter() -> ModelDrafter {
    ModelDrafter::open(&Gguf::open(&model(SMOL)).unwrap(), 512, 2).unwrap()
}

fn text() -> Vec<TokenId> {
    Tokenizer::open(&model(SMOL)).unwrap().text(TEXT).unwrap()
}

fn tree_at(text: &[TokenId]) -> DraftTree {
    DraftTree::certain([*text.last().unwrap()])
}

/// Asks about nodes, adds what is guessed, and says what that was.
fn ask(drafter: &mut ModelDrafter, tree: &mut DraftTree, nodes: &[DraftIdx]) -> Vec<Vec<Guess>> {
    let all = drafter.expand(tree, nodes).unwrap();
    for (&node, guesses) in nodes.iter().zip(&all) {
        for guess in guesses {
            tree.add(node, *guess, ModelDrafter::ID, guess.p);
        }
    }
    all
}

/// A drafter that has read the text and been asked what comes next.
fn asked_once() -> (ModelDrafter, Vec<TokenId>, DraftTree, DraftIdx) {
    let mut drafter = drafter();
    let text = text();
    drafter.follow(&text).unwrap();
    let mut tree = tree_at(&text);
    let tip = tree.tip().unwrap();
    ask(&mut drafter, &mut tree, &[tip]);
    (drafter, text, tree, tip)
}

/// What a drafter says of a text that it reads in one go.
fn alone(text: &[TokenId], sampler: Option<&Sampler>) -> Vec<Guess> {
    let mut fresh = drafter();
    if let Some(sampler) = sampler {
        fresh.choose_by(sampler);
    }
    fresh.follow(text).unwrap();
    let tree = tree_at(text);
    fresh
        .expand(&tree, &[tree.tip().unwrap()])
        .unwrap()
        .remove(0)
}

/// The same but for rounding. Attention sums over cells in another order where branches lie
/// between them, which changes log-probabilities by up to 0.4; a single token in sight that
/// should not be, or one missing, changes them by several times that.
fn assert_same(found: &[Guess], expected: &[Guess], of: &str) {
    assert_eq!(found.len(), expected.len(), "{of}");
    for guess in expected.iter().filter(|guess| guess.p > 0.05) {
        let Some(twin) = found.iter().find(|other| other.token == guess.token) else {
            panic!("{of}: {guess:?} is missing in {found:?}")
        };
        let apart = (twin.p.ln() - guess.p.ln()).abs();
        assert!(apart < 0.6, "{of}: {twin:?}, alone {guess:?}");
    }
}

#[test]
fn branches_say_what_each_would_say_alone() {
    let _turn = common::turn();
    for sampling in [
        Sampling::default(),
        Sampling {
            temperature: 0.8,
            seed: 3,
            ..Sampling::default()
        },
    ] {
        let sampler = Sampler::new(sampling, Vec::new());
        let mut drafter = drafter();
        drafter.choose_by(&sampler);
        let text = text();
        drafter.follow(&text).unwrap();
        let mut tree = tree_at(&text);
        let tip = tree.tip().unwrap();
        ask(&mut drafter, &mut tree, &[tip]);
        // Three children, two of the first one's and one of the second's, and a run of a child
        // and a grandchild in one batch.
        let first: Vec<_> = tree.children(tip).collect();
        let mut asked = first[..3].to_vec();
        let mut answers = ask(&mut drafter, &mut tree, &asked);
        let of = |tree: &DraftTree, node, n: usize| tree.children(node).nth(n).unwrap();
        let deeper = [
            of(&tree, first[0], 0),
            of(&tree, first[0], 1),
            of(&tree, first[1], 0),
        ];
        answers.extend(ask(&mut drafter, &mut tree, &deeper));
        asked.extend(deeper);
        let fourth = first[3];
        let below = TokenId(260);
        let guess = Guess {
            token: below,
            p: 0.5,
            class: 0,
        };
        tree.add(fourth, guess, LookupDrafter::ID, 0.5);
        let run = [fourth, tree.child(fourth, below).unwrap()];
        answers.extend(ask(&mut drafter, &mut tree, &run));
        asked.extend(run);
        for (node, found) in asked.into_iter().zip(answers) {
            let path = tree.path(node);
            let whole = [text.as_slice(), &path].concat();
            let expected = alone(&whole, Some(&sampler));
            assert_same(&found, &expected, &format!("{sampling:?} {path:?}"));
        }
    }
}

#[test]
fn nothing_is_decoded_twice_along_an_answer() {
    let _turn = common::turn();
    let mut drafter = drafter();
    let mut text = text();
    let mut tree = tree_at(&text);
    let (mut asked, mut tips) = (0, text.len() - 1);
    let before = drafter.decoded();
    for round in 0..6 {
        drafter.follow(&text).unwrap();
        let known = tree.len() > 1;
        let mut nodes = Vec::new();
        if !known {
            nodes.push(tree.tip().unwrap());
            ask(&mut drafter, &mut tree, &nodes);
            tips += 1;
        }
        // Two children of the tip, then one of each of theirs.
        let tip = tree.tip().unwrap();
        let unasked = |tree: &DraftTree, of: DraftIdx, n: usize| -> Vec<DraftIdx> {
            let children = tree.children(of).take(n);
            children
                .filter(|c| tree.children(*c).next().is_none())
                .collect()
        };
        let children = unasked(&tree, tip, 2);
        ask(&mut drafter, &mut tree, &children);
        let grand: Vec<_> = tree
            .children(tip)
            .take(2)
            .flat_map(|child| unasked(&tree, child, 1))
            .collect();
        ask(&mut drafter, &mut tree, &grand);
        asked += children.len() + grand.len();
        // The oracle goes along the first or the second child, and every other time on to
        // a token that was guessed but not asked about.
        let last = tree.children(tip).nth(round % 2).unwrap();
        let next = tree.node(tree.children(last).nth(round % 3).unwrap()).token;
        text.extend([tree.node(last).token, next]);
        tree.advance(last, next);
    }
    // The text once, and every guess that was asked about: those that were kept are not read again
    // as text.
    let decoded = drafter.decoded() - before;
    assert!(asked > 12, "{asked}");
    assert_eq!(decoded, (tips + asked) as u64);
    let fresh = alone(&text, None);
    drafter.follow(&text).unwrap();
    let tip = tree.tip().unwrap();
    if tree.len() == 1 {
        assert_same(
            &ask(&mut drafter, &mut tree, &[tip])[0],
            &fresh,
            "at the end",
        );
    }
    let again = drafter.decoded();
    drafter.follow(&text).unwrap();
    assert_eq!(drafter.decoded(), again);
}

#[test]
fn a_text_that_changes_is_followed_from_where_it_does() {
    let _turn = common::turn();
    let (mut drafter, text, mut tree, tip) = asked_once();
    let children: Vec<_> = tree.children(tip).take(3).collect();
    ask(&mut drafter, &mut tree, &children);
    // Back to the middle of the text, and on in another way.
    let half = text.len() / 2;
    let other = [&text[..half], &text[2..6]].concat();
    assert_eq!(drafter.unread(&other), 4);
    let before = drafter.decoded();
    drafter.follow(&other).unwrap();
    let mut tree = tree_at(&other);
    let tip = tree.tip().unwrap();
    let found = ask(&mut drafter, &mut tree, &[tip]).remove(0);
    assert_eq!(drafter.decoded() - before, 4);
    assert_same(&found, &alone(&other, None), "the changed text");
    // Asked again for want of its answer: one token.
    let before = drafter.decoded();
    let again = ask(&mut drafter, &mut tree, &[tip]).remove(0);
    assert_eq!(drafter.decoded() - before, 1);
    assert_same(&again, &found, "asked twice");
}

/// The default draft's file with another token at the end of texts.
fn with_another_end(dir: &std::path::Path) -> std::path::PathBuf {
    const KEY: &[u8] = b"tokenizer.ggml.eos_token_id";
    let mut file = std::fs::read(model(SMOL)).unwrap();
    let at = file.windows(KEY.len()).position(|w| w == KEY).unwrap();
    // After the key: the value's type (a 32-bit number) and the value.
    let value = at + KEY.len() + 4;
    assert_ne!(file[value], 1);
    file[value..value + 4].copy_from_slice(&1_u32.to_le_bytes());
    let path = dir.join("other-end.gguf");
    std::fs::write(&path, file).unwrap();
    path
}

#[test]
fn a_draft_that_ends_texts_with_another_token_is_refused_by_both_ids() {
    let dir = tempfile::tempdir().unwrap();
    let oracle = Tokenizer::open(&model(SMOL)).unwrap();
    let draft = Tokenizer::open(&with_another_end(dir.path())).unwrap();
    assert_eq!(oracle.check_draft(&oracle), Ok(()));
    let why = oracle.check_draft(&draft).unwrap_err().to_string();
    assert!(why.contains("ends a text"), "{why}");
    assert!(
        why.contains("token 1 ") && why.contains("token 2 "),
        "{why}"
    );
    assert!(why.contains("--draft none"), "{why}");
}

#[test]
fn more_branches_than_fit_are_left_alone() {
    let _turn = common::turn();
    let (mut drafter, text, mut tree, tip) = asked_once();
    let mut answered = 0;
    let mut level: Vec<_> = tree.children(tip).collect();
    while answered < DraftCapacity::HOST.sequences + DraftCapacity::HOST.batch && !level.is_empty()
    {
        let said = ask(&mut drafter, &mut tree, &level);
        let some = said.iter().filter(|guesses| !guesses.is_empty()).count();
        if some == 0 {
            break;
        }
        answered += some;
        level = level
            .iter()
            .flat_map(|node| tree.children(*node).take(3).collect::<Vec<_>>())
            .collect();
    }
    assert!(answered >= DraftCapacity::HOST.sequences, "{answered}");
    // It goes on as if nothing had been.
    let next = tree.node(tree.children(tip).next().unwrap()).token;
    let longer = [text.as_slice(), &[next]].concat();
    let expected = alone(&longer, None);
    drafter.follow(&longer).unwrap();
    let mut tree = tree_at(&longer);
    let tip = tree.tip().unwrap();
    assert_same(
        &ask(&mut drafter, &mut tree, &[tip])[0],
        &expected,
        "afterwards",
    );
}
