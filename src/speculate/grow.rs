//! How a tree grows: before a pass, for as long as that pays, and while one runs.
//!
//! ```text
//!  the pass    cut -> [ pass over the cut ......................... ] -> learn -> cut -> [ pass
//!  the draft          [ read the text, expand, expand, ... ] stop
//!
//!  tree   tip --+-- a -- b      in the cut: a b c
//!               |        '-- d -- e        guessed while the pass runs: d e f
//!               '-- c -- f      the oracle says a, b, d: e is there for the next cut
//! ```
//!
//! Drafters that cost nothing are asked first, about the likeliest nodes first, until no
//! guess of theirs could have a seat in a pass. Then those that compute are asked, a few nodes
//! at a time, and after each answer the others again about what is new.
//!
//! A cut is a copy, so that the tree can grow while the oracle computes. What is guessed then is
//! for the next pass: [`DraftTree::advance`] keeps what is below the accepted path. The time that
//! this takes is not counted as a cost of the guesses, since the pass runs meanwhile.

use super::asked::Place;
use super::drafter::DraftError;
use super::drafter_set::Decodes;
use super::guess::Guess;
use super::limits::DraftLimits;
use super::speculator::Speculator;
use super::tree::{DraftIdx, DraftTree};
use crate::units::TokenId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A guess that costs nothing takes the place of a decoded one in a chain where it is at least this
/// likely.
const SURE: f32 = 0.8;

/// The least path probability of a guess that is not among a node's [`BEST_KEPT`]: with less, no
/// pass would have a seat for it. Those are kept in any case, since their path probability grows as
/// the text comes nearer.
const LEAST_SEAT_P: f32 = 5e-4;
const BEST_KEPT: usize = 8;

/// When growing ends.
#[derive(Clone, Copy)]
enum Until<'a> {
    /// Another decode would not pay.
    ItPays,
    /// The flag is set (it is checked between decodes), or no node is worth asking about.
    Stopped(&'a AtomicBool),
}

impl Until<'_> {
    fn is_stopped(self) -> bool {
        matches!(self, Self::Stopped(stop) if stop.load(Ordering::Relaxed))
    }
}

impl Speculator {
    /// Adds guesses to `tree`, whose tip is the end of `text`, for as long as that pays.
    ///
    /// # Errors
    /// A drafter's, which is left out from then on. The tree stays usable.
    pub fn grow(
        &mut self,
        tree: &mut DraftTree,
        text: &[TokenId],
        limits: &DraftLimits,
    ) -> Result<(), DraftError> {
        let grown = self.grow_until(Until::ItPays, tree, text, limits);
        self.settle(grown)
    }

    /// The same until `stop` is set or none of the open nodes is worth asking about.
    ///
    /// # Errors
    /// As [`Speculator::grow`].
    pub fn grow_ahead(
        &mut self,
        tree: &mut DraftTree,
        text: &[TokenId],
        limits: &DraftLimits,
        stop: &AtomicBool,
    ) -> Result<(), DraftError> {
        let grown = self.grow_until(Until::Stopped(stop), tree, text, limits);
        self.settle(grown)
    }

    /// Lets drafters read `text` up to what fits their next decode, until `stop` is set, which is
    /// checked between decodes.
    ///
    /// # Errors
    /// As [`Speculator::grow`].
    pub fn read_ahead(&mut self, text: &[TokenId], stop: &AtomicBool) -> Result<(), DraftError> {
        let computing = self.drafters.computing();
        let mut each = computing.into_iter();
        let read = each.try_for_each(|place| self.read_part_by_part(place, text, stop));
        self.settle(read)
    }

    fn read_part_by_part(
        &mut self,
        place: Place,
        text: &[TokenId],
        stop: &AtomicBool,
    ) -> Result<(), DraftError> {
        let batch = self.drafters.decodes(place).map_or(1, |d| d.batch);
        let mut unread = self.drafters.unread(place, text);
        while unread > batch && !stop.load(Ordering::Relaxed) {
            // `follow` leaves as much unread as can be decoded with the first question.
            let part = text.len() - unread + 2 * batch;
            self.drafters.follow(place, &text[..part.min(text.len())])?;
            let left = self.drafters.unread(place, text);
            if left >= unread {
                break;
            }
            unread = left;
        }
        Ok(())
    }

    fn grow_until(
        &mut self,
        until: Until<'_>,
        tree: &mut DraftTree,
        text: &[TokenId],
        limits: &DraftLimits,
    ) -> Result<(), DraftError> {
        if self.sizing.cap() == 1 || limits.capacity <= tree.n_certain() {
            return Ok(());
        }
        let computing = self.drafters.computing();
        if let Until::Stopped(stop) = until {
            for &place in &computing {
                self.read_part_by_part(place, text, stop)?;
            }
        }
        for place in self.drafters.free() {
            self.drafters.follow(place, text)?;
        }
        self.ask_free(tree, limits)?;
        for place in computing {
            self.ask_decoding(place, until, tree, text, limits)?;
        }
        Ok(())
    }

    /// Asks a drafter that computes, and after each of its answers those that do not.
    fn ask_decoding(
        &mut self,
        place: Place,
        until: Until<'_>,
        tree: &mut DraftTree,
        text: &[TokenId],
        limits: &DraftLimits,
    ) -> Result<(), DraftError> {
        let Some(Decodes { batch, .. }) = self.drafters.decodes(place).cloned() else {
            return Ok(());
        };
        if let Until::ItPays = until
            && limits.at_once
            && self.drafters.unread(place, text) > batch
        {
            return Ok(());
        }
        let at_a_time = if limits.chain { 1 } else { batch };
        let mut followed = false;
        while !until.is_stopped() {
            let mut open = open(tree, limits, place);
            open.truncate(at_a_time);
            let n = match until {
                Until::ItPays => self.how_many(place, tree, &open, limits),
                Until::Stopped(_) => open.len(),
            };
            if n == 0 {
                break;
            }
            if !followed {
                self.drafters.follow(place, text)?;
                followed = true;
            }
            let nodes: Vec<_> = open[..n].iter().map(|open| open.node).collect();
            let began = Instant::now();
            let answers = self.drafters.expand(place, tree, &nodes)?;
            for (node, guesses) in nodes.into_iter().zip(answers) {
                self.put(tree, node, place, &guesses, limits);
            }
            if let Until::ItPays = until {
                let ms = began.elapsed().as_secs_f64() * 1e3;
                self.drafters.observe_decode(place, n, ms);
                self.spent_ms += ms;
            }
            self.ask_free(tree, limits)?;
        }
        Ok(())
    }

    /// How many of the `open` nodes it pays to ask about now.
    fn how_many(
        &self,
        place: Place,
        tree: &DraftTree,
        open: &[Open],
        limits: &DraftLimits,
    ) -> usize {
        let Some(decodes) = self.drafters.decodes(place) else {
            return 0;
        };
        let pairs: Vec<_> = open.iter().map(|o| (o.p, o.unguessed)).collect();
        let pass = limits.of_pass(tree);
        let times = &decodes.times;
        self.sizing.ask(
            &pass,
            &tree.path_probabilities(),
            &pairs,
            self.spent_ms,
            times,
        )
    }

    /// Asks the drafters that cost nothing about nodes that they have not been asked about, the
    /// likeliest first, for as long as a guess after one could have a seat in a pass.
    fn ask_free(&mut self, tree: &mut DraftTree, limits: &DraftLimits) -> Result<(), DraftError> {
        let free = self.drafters.free();
        let mut seats = Seats::new(self.sizing.most(&limits.of_pass(tree)));
        let first = tree.tip().map_or(0, |tip| tip.0);
        let mut waiting = BinaryHeap::new();
        let mut known = first;
        loop {
            for node in (known..tree.len()).map(DraftIdx) {
                let log_p = LogP(tree.node(node).log_p);
                if tree.node(node).source.is_some() {
                    seats.take(log_p);
                }
                // Of equals the earlier one.
                waiting.push((log_p, Reverse(node)));
            }
            known = tree.len();
            let Some((log_p, Reverse(node))) = waiting.pop() else {
                return Ok(());
            };
            if seats.are_better_than(log_p) {
                return Ok(());
            }
            if limits.is_open(tree, node) {
                self.ask_free_about(node, &free, tree, limits)?;
            }
        }
    }

    fn ask_free_about(
        &mut self,
        node: DraftIdx,
        free: &[Place],
        tree: &mut DraftTree,
        limits: &DraftLimits,
    ) -> Result<(), DraftError> {
        let mut best: Option<(Place, (Guess, f32))> = None;
        for &place in free {
            if tree.node(node).asked.has(place) {
                continue;
            }
            let answers = self.drafters.expand(place, tree, &[node])?;
            for guesses in answers {
                if !limits.chain {
                    self.put(tree, node, place, &guesses, limits);
                    continue;
                }
                let likelier = |p| best.is_none_or(|(_, (_, best))| p > best);
                if let Some(&guess) = guesses.first().filter(|(_, p)| likelier(*p)) {
                    best = Some((place, guess));
                }
            }
        }
        // A chain takes one guess a node, and a decoded one is mostly better.
        let least = if self.computes() { SURE } else { 0.0 };
        if let Some((place, guess)) = best.filter(|(_, (_, p))| *p > least) {
            self.put(tree, node, place, &[guess], limits);
        }
        Ok(())
    }

    fn put(
        &self,
        tree: &mut DraftTree,
        parent: DraftIdx,
        place: Place,
        guesses: &[(Guess, f32)],
        limits: &DraftLimits,
    ) {
        let p = tree.node(parent).path_p();
        let drafter = self.drafters.id(place);
        for (rank, &(guess, calibrated)) in guesses.iter().enumerate() {
            if rank >= BEST_KEPT && p * calibrated < LEAST_SEAT_P {
                continue;
            }
            tree.add(parent, guess, drafter, calibrated);
            if limits.chain {
                // The best guess of a node is its first.
                break;
            }
        }
    }
}

/// A node that a drafter has not been asked about.
struct Open {
    node: DraftIdx,
    /// That its path is accepted.
    p: f64,
    /// The part of `p` that falls to tokens that nobody has guessed yet.
    unguessed: f64,
}

/// Nodes that the drafter at `place` has not been asked about, the likeliest first and so parents
/// before their children.
fn open(tree: &DraftTree, limits: &DraftLimits, place: Place) -> Vec<Open> {
    let mut guessed = vec![0.0_f64; tree.len()];
    for guess in tree.guesses() {
        let node = tree.node(guess);
        if let Some(parent) = node.parent {
            guessed[parent.0] += f64::from(node.p);
        }
    }
    tree.tip()
        .into_iter()
        .chain(tree.ranked())
        .filter(|&node| !tree.node(node).asked.has(place) && limits.is_open(tree, node))
        .map(|node| {
            let p = f64::from(tree.node(node).path_p());
            Open {
                node,
                p,
                unguessed: p * (1.0 - guessed[node.0]).max(0.0),
            }
        })
        .collect()
}

/// The path probabilities of a tree's best guesses, as many as a pass has seats for.
struct Seats {
    most: usize,
    taken: BinaryHeap<Reverse<LogP>>,
}

impl Seats {
    fn new(most: usize) -> Self {
        Self {
            most,
            taken: BinaryHeap::with_capacity(most + 1),
        }
    }

    fn take(&mut self, log_p: LogP) {
        self.taken.push(Reverse(log_p));
        if self.taken.len() > self.most {
            self.taken.pop();
        }
    }

    /// Whether all seats have guesses that nothing below a node this likely could replace.
    fn are_better_than(&self, log_p: LogP) -> bool {
        let least = self.taken.peek();
        self.taken.len() == self.most && least.is_none_or(|Reverse(least)| *least > log_p)
    }
}

/// The logarithm of a path probability: never NaN.
#[derive(Clone, Copy, PartialEq)]
struct LogP(f32);

impl Eq for LogP {}

impl PartialOrd for LogP {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LogP {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
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

        fn expand(
            &mut self,
            _: &DraftTree,
            nodes: &[DraftIdx],
        ) -> Result<Vec<Vec<Guess>>, DraftError> {
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
}
