//! Growth with drafters that say what they are told to.

use super::*;
use crate::oracle::WidthClass;
use crate::plan::{DecodeTimes, TreeSize};
use crate::speculate::drafters::{lookup::LookupDrafter, model::ModelDrafter};
use crate::speculate::{Cost, Drafter, Sizing};
use crate::vocabulary::DrafterId;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// The draft model's place.
const MODEL: Place = 0;

/// Says of every node that the same two tokens follow; of the text it reads two tokens at
/// a time. Sets `stop` at one of its decodes.
struct Draft {
    read: usize,
    decodes: Arc<AtomicUsize>,
    stops_at: usize,
    stop: Arc<AtomicBool>,
}

impl Draft {
    fn decode(&self) {
        if self.decodes.fetch_add(1, Ordering::Relaxed) + 1 == self.stops_at {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

impl Drafter for Draft {
    fn id(&self) -> DrafterId {
        ModelDrafter::ID
    }

    fn cost(&self) -> Cost {
        Cost::Decodes {
            batch: 2,
            times: DecodeTimes::new(1, 1.0),
        }
    }

    fn unread(&self, text: &[TokenId]) -> usize {
        text.len() - self.read
    }

    fn follow(&mut self, text: &[TokenId]) -> Result<(), DraftError> {
        while text.len() - self.read > 2 {
            self.decode();
            self.read += 2;
        }
        Ok(())
    }

    fn expand(&mut self, _: &DraftTree, nodes: &[DraftIdx]) -> Result<Vec<Vec<Guess>>, DraftError> {
        self.decode();
        let guess = |id, p| Guess {
            token: TokenId(id),
            p,
            class: 0,
        };
        Ok(vec![vec![guess(1, 0.3), guess(2, 0.1)]; nodes.len()])
    }
}

struct Grown {
    tree: DraftTree,
    speculator: Speculator,
    decodes: Arc<AtomicUsize>,
}

fn text() -> Vec<TokenId> {
    (10..19).map(TokenId).collect()
}

fn limits(chain: bool) -> DraftLimits {
    DraftLimits {
        class: WidthClass::BATCH,
        label: None,
        capacity: 100,
        depth: 50,
        chain,
        at_once: false,
    }
}

fn grown(chain: bool, stops_at: usize) -> Grown {
    let (decodes, stop) = (Arc::default(), Arc::default());
    let draft = Draft {
        read: 0,
        decodes: Arc::clone(&decodes),
        stops_at,
        stop: Arc::clone(&stop),
    };
    let sizing = Sizing::new(TreeSize::Fixed(4), 4);
    let mut speculator = Speculator::new(vec![Box::new(draft)], sizing);
    let mut tree = DraftTree::certain([TokenId(18)]);
    speculator
        .grow_ahead(&mut tree, &text(), &limits(chain), &stop)
        .unwrap();
    Grown {
        tree,
        speculator,
        decodes,
    }
}

#[test]
fn growth_ends_where_nothing_is_worth_asking_about() {
    // Of nine tokens eight are read before the first question. A node of probability 0.3^5
    // is asked about, and one of 0.3^6 is not.
    let found = grown(true, 0);
    assert_eq!(found.tree.len(), 1 + 6);
    assert_eq!(found.decodes.load(Ordering::Relaxed), 4 + 6);
    let found = grown(false, 0);
    assert!(super::open(&found.tree, &limits(false), MODEL).is_empty());
    assert!(found.tree.guesses().count() > 20);
}

#[test]
fn a_stop_is_heard_between_decodes() {
    for stops_at in 1..8 {
        let found = grown(true, stops_at);
        assert_eq!(found.decodes.load(Ordering::Relaxed), stops_at);
    }
    assert_eq!(grown(true, 3).tree.len(), 1, "the text is not read yet");
    assert_eq!(grown(true, 6).tree.len(), 3, "two were asked about");
}

#[test]
fn what_was_guessed_ahead_is_there_for_the_next_pass() {
    let Grown {
        mut tree,
        mut speculator,
        decodes,
    } = grown(false, 0);
    let cut = speculator.cut(&tree, &limits(false));
    assert_eq!(cut.nodes.len(), 4);
    // The oracle said what was likeliest.
    let (tip, first) = (DraftIdx(0), TokenId(1));
    let child = tree.child(tip, first).unwrap();
    speculator.learn(&mut tree, &cut, None, &[tip, child], &[first, first]);
    let asked = decodes.load(Ordering::Relaxed);
    let text = [text(), vec![first, first]].concat();
    speculator.grow(&mut tree, &text, &limits(false)).unwrap();
    assert_eq!(decodes.load(Ordering::Relaxed), asked, "nothing is missing");
    assert_eq!(speculator.cut(&tree, &limits(false)).nodes.len(), 4);
}

/// What follows a path.
type Says = fn(&[TokenId]) -> Vec<Guess>;

/// Guesses what it is told of a path, and costs nothing.
struct Free {
    id: DrafterId,
    says: Says,
    asked: Arc<AtomicUsize>,
}

impl Drafter for Free {
    fn id(&self) -> DrafterId {
        self.id
    }

    fn follow(&mut self, _: &[TokenId]) -> Result<(), DraftError> {
        Ok(())
    }

    fn expand(
        &mut self,
        tree: &DraftTree,
        nodes: &[DraftIdx],
    ) -> Result<Vec<Vec<Guess>>, DraftError> {
        self.asked.fetch_add(nodes.len(), Ordering::Relaxed);
        let says = nodes.iter().map(|&node| (self.says)(&tree.path(node)));
        Ok(says.collect())
    }
}

fn guess(id: i32, p: f32) -> Guess {
    Guess {
        token: TokenId(id),
        p,
        class: 0,
    }
}

/// A tree that the two have grown, and how often each was asked about a node.
fn grown_freely(nodes: usize, chain: bool, says: [Says; 2]) -> (DraftTree, [usize; 2]) {
    let asked = [Arc::default(), Arc::default()];
    let ids = [LookupDrafter::ID, ModelDrafter::ID];
    let drafter = |i: usize| -> Box<dyn Drafter> {
        Box::new(Free {
            id: ids[i],
            says: says[i],
            asked: Arc::clone(&asked[i]),
        })
    };
    let sizing = Sizing::new(TreeSize::Fixed(nodes), nodes);
    let mut speculator = Speculator::new(vec![drafter(0), drafter(1)], sizing);
    let mut tree = DraftTree::certain([TokenId(18)]);
    let limits = limits(chain);
    speculator.grow(&mut tree, &text(), &limits).unwrap();
    (tree, asked.map(|asked| asked.load(Ordering::Relaxed)))
}

#[test]
fn free_drafters_are_asked_about_what_could_have_a_seat_and_no_more() {
    let bush = |_: &[TokenId]| vec![guess(1, 0.5), guess(2, 0.3), guess(3, 0.1)];
    let silent = |_: &[TokenId]| Vec::new();
    let (tree, asked) = grown_freely(8, false, [bush, silent]);
    // The tip and at most the seven best guesses: none of the others has a better child.
    assert!((4..=8).contains(&asked[0]), "{asked:?}");
    assert_eq!(asked[0], asked[1]);
    let (whole, _) = grown_freely(400, false, [bush, silent]);
    let best = |tree: &DraftTree| tree.path_probabilities()[..7].to_vec();
    assert_eq!(best(&tree), best(&whole));
}

#[test]
fn guesses_of_several_drafters_share_a_tree_and_the_surer_one_counts() {
    let first = |path: &[TokenId]| match path {
        [] => vec![guess(1, 0.6), guess(2, 0.2)],
        _ => Vec::new(),
    };
    let second = |path: &[TokenId]| match path {
        [] => vec![guess(2, 0.3), guess(3, 0.1)],
        _ => vec![guess(4, 0.9)],
    };
    let (tree, _) = grown_freely(8, false, [first, second]);
    let of = |token| {
        let child = tree.child(DraftIdx(0), TokenId(token)).unwrap();
        tree.node(child).source.unwrap()
    };
    assert_eq!(of(1).drafter, LookupDrafter::ID);
    assert_eq!((of(2).drafter, of(2).stated), (ModelDrafter::ID, 0.3));
    assert_eq!(of(3).drafter, ModelDrafter::ID);
    // One goes on where the other guessed.
    let child = tree.child(DraftIdx(0), TokenId(1)).unwrap();
    assert!(tree.child(child, TokenId(4)).is_some());
    // A chain takes the surer of the two, at each node.
    let (chain, _) = grown_freely(8, true, [second, first]);
    let tokens: Vec<_> = chain.nodes()[1..3].iter().map(|n| n.token.0).collect();
    assert_eq!(tokens, [1, 4]);
}

#[test]
fn of_guesses_that_are_unlikely_now_the_best_are_kept() {
    let speculator = Speculator::new(Vec::new(), Sizing::new(TreeSize::Auto, 63));
    let limits = limits(false);
    let guesses = |p, n| -> Vec<_> { (0..n).map(|id| (guess(id, p), p)).collect() };
    let mut tree = DraftTree::certain([TokenId(100)]);
    let tip = DraftIdx(0);
    speculator.put(&mut tree, tip, MODEL, &guesses(0.03, 32), &limits);
    assert_eq!(tree.children(tip).count(), 32);
    // Once it is the tip these have a probability of 0.01 each.
    let child = tree.child(tip, TokenId(31)).expect("just added");
    speculator.put(&mut tree, child, MODEL, &guesses(0.01, 32), &limits);
    assert_eq!(tree.children(child).count(), BEST_KEPT);
}
