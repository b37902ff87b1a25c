//! A state that every token has gone into, and earlier ones to go back to.
//!
//! Layers that recur (state spaces, linear attention) hold one state for all tokens that were read,
//! which gives none of them back. So copies of earlier states are kept, as llama.cpp's sequences
//! that share what was read so far, and what is committed beyond one is read again:
//!
//! ```text
//!  committed      t0 t1 t2 t3 t4 t5 t6 t7
//!  sequence 0     ---------------------->
//!  sequence 1     ------->                   a copy after 3 tokens
//!  sequence 2     ---------------->          a copy after 6
//!
//!  truncate(5):   sequence 0 is made the copy after 3; t3 and t4 are owed, and are read with
//!                 the next pass
//! ```
//!
//! Invariants: a copy is of committed tokens alone, and so is sequence 0 when a pass begins. Copies
//! are the further apart the further back they are.

use super::fed_run::FedRun;
use super::hooked::Bits;
use super::{OracleError, TokenTree, WidthClass};
use crate::ggml::llama::BatchToken;

/// Copies that are kept.
const COPIES: usize = 3;

/// Sequences of a context: the one that grows, and the copies.
pub(super) const SEQUENCES: usize = 1 + COPIES;

/// Most owed tokens that are read together with a pass. More are read before it and copied, so
/// that a pass whose guesses are wrong owes no more than these again.
const MOST_OWED: usize = 8;

/// Most tokens that are read at once.
const WIDEST: usize = WidthClass::BATCH.max;

/// What holds the states.
pub(super) trait Sequences {
    type Error;

    /// Forgets all of a sequence.
    fn clear(&mut self, sequence: i32);

    /// Makes an empty sequence a copy of another, which has read `len` tokens.
    fn copy(&mut self, source: i32, target: i32, len: usize) -> Result<(), Self::Error>;

    /// Has sequence 0, which has read `from` tokens, read these.
    fn read(&mut self, tokens: &[i32], from: usize) -> Result<(), Self::Error>;
}

impl Sequences for FedRun {
    type Error = OracleError;

    fn clear(&mut self, sequence: i32) {
        self.run.forget(sequence, 0);
    }

    fn copy(&mut self, source: i32, target: i32, len: usize) -> Result<(), OracleError> {
        Ok(self.run.share(source, target, 0, len)?)
    }

    fn read(&mut self, tokens: &[i32], from: usize) -> Result<(), OracleError> {
        let tokens = tokens.iter().map(|&token| (token, false));
        let batch = in_sequence(tokens, from);
        let mut pieces = batch.chunks(self.widest());
        pieces.try_for_each(|piece| self.decode(piece, piece.len(), Bits::Rounded))
    }
}

/// A batch of sequence 0: tokens, and whether their logits are wanted.
fn in_sequence(tokens: impl Iterator<Item = (i32, bool)>, from: usize) -> Vec<BatchToken> {
    let token = |(position, (token, logits))| BatchToken {
        token,
        position,
        sequences: vec![0],
        logits,
    };
    (from..).zip(tokens).map(token).collect()
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The committed tokens.
    tokens: Vec<i32>,
    /// Those of the last pass, which may be committed.
    passed: Vec<i32>,
    /// Tokens that sequence 0 has read; unknown after a pass that failed.
    read: Option<usize>,
    /// How many tokens each copy has read; sequence `i + 1` is copy `i`.
    copies: [Option<usize>; COPIES],
    /// Whether the last pass was of more than one token.
    was_wide: bool,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            read: Some(0),
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// How many tokens are not read again where the first `len` are kept.
    pub(super) fn ready(&self, len: usize) -> usize {
        let kept = self
            .read
            .into_iter()
            .chain(self.copies.into_iter().flatten());
        kept.filter(|&read| read <= len).max().unwrap_or(0)
    }

    /// The batch that computes `tree`, a chain, which begins with what is owed: so many tokens.
    pub(super) fn batch(
        &mut self,
        tree: &TokenTree,
        on: &mut FedRun,
    ) -> Result<(Vec<BatchToken>, usize), OracleError> {
        let nodes = tree.nodes();
        let from = self.prepare(nodes.len(), on)?;
        let owed = &self.tokens[from..];
        let n = owed.len();
        let owed = owed.iter().map(|&token| (token, false));
        let fresh = nodes.iter().map(|node| (node.token.0, node.logits));
        let batch = in_sequence(owed.chain(fresh), from);
        self.passed = nodes.iter().map(|node| node.token.0).collect();
        self.read = Some(self.tokens.len() + nodes.len());
        Ok((batch, n))
    }

    /// Makes sequence 0 ready for a pass of `n` tokens, and says how many it has read: what is
    /// committed beyond that is to be read with these.
    fn prepare<S: Sequences>(&mut self, n: usize, on: &mut S) -> Result<usize, S::Error> {
        let mut read = self.settle(on)?;
        let owed = self.tokens.len() - read;
        let late = owed > MOST_OWED || owed + n > WIDEST;
        if late {
            while read < self.tokens.len() {
                // Copied between, so that what fails or is given up on the way is not all lost.
                self.keep(read, on)?;
                let to = (read + WIDEST).min(self.tokens.len());
                // Unknown for as long as it reads.
                self.read = None;
                on.read(&self.tokens[read..to], read)?;
                read = to;
                self.read = Some(read);
            }
        }
        // A pass of one token is kept as a rule, and many follow: the first is where the prompt
        // ends, which is gone back to when the next turn begins.
        let may_go_back = late || n > 1 || self.was_wide;
        if read == self.tokens.len() && may_go_back {
            self.keep(read, on)?;
        }
        self.was_wide = n > 1;
        Ok(read)
    }

    /// Sees to it that sequence 0 has read nothing but committed tokens; returns how many.
    fn settle<S: Sequences>(&mut self, on: &mut S) -> Result<usize, S::Error> {
        self.passed.clear();
        if let Some(read) = self.read.filter(|&read| read <= self.tokens.len()) {
            return Ok(read);
        }
        on.clear(0);
        let copies = (1..).zip(self.copies);
        let best = copies.filter_map(|(sequence, len)| Some((len?, sequence)));
        let read = match best.max() {
            Some((len, sequence)) => {
                on.copy(sequence, 0, len)?;
                len
            }
            None => 0,
        };
        self.read = Some(read);
        Ok(read)
    }

    /// Copies sequence 0, which has read so many tokens, so that it can be gone back to.
    fn keep<S: Sequences>(&mut self, read: usize, on: &mut S) -> Result<(), S::Error> {
        if read == 0 || self.copies.contains(&Some(read)) {
            return Ok(());
        }
        let place = self.place_for(read);
        let sequence = 1 + place as i32;
        on.clear(sequence);
        self.copies[place] = None;
        on.copy(0, sequence, read)?;
        self.copies[place] = Some(read);
        Ok(())
    }

    /// The place of the copy that a new one after `read` tokens is kept for: one that is free, or
    /// the one that is missed least.
    fn place_for(&self, read: usize) -> usize {
        if let Some(free) = self.copies.iter().position(Option::is_none) {
            return free;
        }
        let missed = |&place: &usize| {
            let at = self.copies[place].unwrap_or(0);
            let others = self.copies.iter().flatten().copied();
            let before = others.clone().filter(|&len| len < at).max().unwrap_or(0);
            let after = others.filter(|&len| len > at).min().unwrap_or(read);
            // What would be read again, by how far back it is.
            (after - before) as f64 / read.saturating_sub(at).max(1) as f64
        };
        let places = 0..COPIES;
        let least = places.min_by(|a, b| missed(a).total_cmp(&missed(b)));
        least.unwrap_or(0)
    }

    /// A pass failed: nobody knows what sequence 0 has read.
    pub(super) fn has_failed(&mut self) {
        self.read = None;
        self.passed.clear();
    }

    /// Commits the first `n` tokens of the last pass.
    pub(super) fn commit(&mut self, n: usize) {
        let n = n.min(self.passed.len());
        self.tokens.extend(&self.passed[..n]);
        self.passed.clear();
    }

    /// Forgets committed tokens from `len` on.
    pub(super) fn truncate(&mut self, len: usize, on: &mut impl Sequences) {
        self.passed.clear();
        if len >= self.tokens.len() {
            return;
        }
        if self.read.is_some_and(|read| read > len) {
            // What it has read is not what will be committed.
            self.read = None;
        }
        self.tokens.truncate(len);
        for (sequence, copy) in (1..).zip(&mut self.copies) {
            if copy.is_some_and(|copy| copy > len) {
                on.clear(sequence);
                *copy = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sequences as a recurrent model has them: the tokens that went into each.
    #[derive(Default)]
    struct Recurrent {
        held: [Vec<i32>; SEQUENCES],
        /// Tokens that were read by themselves.
        late: usize,
    }

    impl Sequences for Recurrent {
        type Error = std::convert::Infallible;

        fn clear(&mut self, sequence: i32) {
            self.held[sequence as usize].clear();
        }

        fn copy(&mut self, source: i32, target: i32, len: usize) -> Result<(), Self::Error> {
            let source = self.held[source as usize].clone();
            assert_eq!(source.len(), len, "a state has no part");
            let target = &mut self.held[target as usize];
            assert!(target.is_empty());
            *target = source;
            Ok(())
        }

        fn read(&mut self, tokens: &[i32], from: usize) -> Result<(), Self::Error> {
            assert_eq!(self.held[0].len(), from);
            assert!(tokens.len() <= WIDEST);
            self.held[0].extend(tokens);
            self.late += tokens.len();
            Ok(())
        }
    }

    /// What an oracle does with it.
    fn pass(state: &mut State, on: &mut Recurrent, tokens: &[i32]) {
        let Ok(read) = state.prepare(tokens.len(), on);
        let owed = &state.tokens[read..];
        assert!(owed.len() <= MOST_OWED && owed.len() + tokens.len() <= WIDEST);
        on.held[0].extend(owed);
        on.held[0].extend(tokens);
        state.read = Some(state.tokens.len() + tokens.len());
        state.passed = tokens.to_vec();
    }

    #[derive(Clone, Debug)]
    enum Event {
        Pass { width: usize, kept: usize },
        Fail { width: usize },
        Truncate { len: usize },
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (1..12_usize, 0..12_usize).prop_map(|(width, kept)| Event::Pass {
                width,
                kept: kept.min(width),
            }),
            1 => (1..12_usize).prop_map(|width| Event::Fail { width }),
            2 => (0..80_usize).prop_map(|len| Event::Truncate { len }),
        ]
    }

    proptest! {
        #[test]
        fn what_a_state_has_read_is_what_was_committed(events in prop::collection::vec(event(), 1..60)) {
            let (mut state, mut on) = (State::new(), Recurrent::default());
            let (mut committed, mut next) = (Vec::new(), 0);
            for event in events {
                match event {
                    Event::Pass { width, kept } => {
                        let tokens: Vec<i32> = (next..next + width as i32).collect();
                        next += width as i32;
                        pass(&mut state, &mut on, &tokens);
                        prop_assert_eq!(&on.held[0], &[&committed[..], &tokens].concat());
                        state.commit(kept);
                        committed.extend(&tokens[..kept]);
                    }
                    Event::Fail { width } => {
                        pass(&mut state, &mut on, &vec![-1; width]);
                        on.held[0].push(-2);
                        state.has_failed();
                    }
                    Event::Truncate { len } => {
                        state.truncate(len, &mut on);
                        committed.truncate(len);
                    }
                }
                prop_assert_eq!(&state.tokens, &committed);
                for (copy, held) in state.copies.iter().zip(&on.held[1..]) {
                    prop_assert_eq!(held.as_slice(), &committed[..copy.unwrap_or(0)]);
                }
            }
        }
    }

    #[test]
    fn a_next_turn_without_the_thought_reads_no_prompt_again() {
        let (mut state, mut on) = (State::new(), Recurrent::default());
        for width in [60, 60, 50] {
            pass(&mut state, &mut on, &vec![1; width]);
            state.commit(width);
        }
        for _ in 0..600 {
            pass(&mut state, &mut on, &[2]);
            state.commit(1);
        }
        assert_eq!(
            (state.ready(771), state.ready(770), state.ready(169)),
            (770, 770, 120)
        );
        state.truncate(170, &mut on);
        pass(&mut state, &mut on, &[3; 20]);
        assert_eq!(on.late, 0);
        assert_eq!(on.held[0].len(), 190);
    }

    #[test]
    fn an_edit_near_the_end_reads_little_again() {
        let (mut state, mut on) = (State::new(), Recurrent::default());
        for _ in 0..40 {
            pass(&mut state, &mut on, &[1; 60]);
            state.commit(60);
        }
        assert_eq!(on.late, 0);
        state.truncate(2390, &mut on);
        pass(&mut state, &mut on, &[2, 3]);
        assert!(on.late <= 60, "{}", on.late);
    }
}
