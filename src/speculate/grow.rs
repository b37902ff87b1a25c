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

mod seats;
#[cfg(test)]
mod tests;

use super::asked::Place;
use super::drafter::DraftError;
use super::drafter_set::Decodes;
use super::guess::Guess;
use super::limits::DraftLimits;
use super::speculator::Speculator;
use super::tree::{DraftIdx, DraftTree};
use crate::units::TokenId;
use seats::{LogP, Seats};
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
