//! What the draft does while a pass runs.
//!
//! ```text
//!  the pass    cut -> [ pass over the cut ......................... ] -> learn -> cut -> [ pass
//!  the draft          [ read the text, expand, expand, ... ] stop
//!
//!  tree   tip --+-- a -- b      in the cut: a b c
//!               |        '-- d -- e        beside the pass: d e f
//!               '-- c -- f      the oracle says a, b, d: e is there for the next cut
//! ```
//!
//! A cut is a copy, so that its tree is free while the oracle computes. The most worthy nodes
//! are expanded first, in the cut and below; of what is guessed, [`DraftTree::advance`] keeps
//! what is below the path that stands. Time that passes meanwhile is no price of any guess.

use super::guess::Drafter;
use super::speculator::{Growth, Speculator, open};
use super::tree::{DraftIdx, DraftTree};
use crate::ggml::llama::LlamaError;
use crate::units::TokenId;
use std::sync::atomic::{AtomicBool, Ordering};

impl Speculator {
    /// Lets the model read `text` up to what fits its next decode, until `stop` is set: that is
    /// looked at between decodes.
    ///
    /// # Errors
    /// The model's, which must be dropped then.
    pub fn read_ahead(&mut self, text: &[TokenId], stop: &AtomicBool) -> Result<(), LlamaError> {
        let Some(model) = &mut self.model else {
            return Ok(());
        };
        let batch = model.batch().unwrap_or(1);
        let mut unread = model.unread(text);
        while unread > batch && !stop.load(Ordering::Relaxed) {
            // Following, it leaves as much unread as it can decode with its first question.
            let part = text.len() - unread + 2 * batch;
            model.follow(&text[..part.min(text.len())])?;
            let left = model.unread(text);
            if left >= unread {
                break;
            }
            unread = left;
        }
        Ok(())
    }

    /// Adds guesses to `tree`, whose tip is the end of `text`, until `stop` is set or none of
    /// the open nodes is worth asking about.
    ///
    /// # Errors
    /// As [`Speculator::grow`].
    pub fn grow_ahead(
        &mut self,
        tree: &mut DraftTree,
        text: &[TokenId],
        growth: &Growth,
        stop: &AtomicBool,
    ) -> Result<(), LlamaError> {
        if self.sizing.cap() == 1 || growth.room <= tree.n_certain() {
            return Ok(());
        }
        self.read_ahead(text, stop)?;
        self.lookup.follow(text)?;
        let mut followed = false;
        while !stop.load(Ordering::Relaxed) {
            self.look_up(tree, growth)?;
            let Some(model) = &mut self.model else {
                return Ok(());
            };
            let batch = model.batch().unwrap_or(1);
            let most = if growth.chain { 1 } else { batch };
            let open = open(tree, growth).into_iter().take(most);
            let nodes: Vec<DraftIdx> = open.map(|(node, ..)| node).collect();
            if nodes.is_empty() {
                return Ok(());
            }
            if !followed {
                model.follow(text)?;
                followed = true;
            }
            self.expand(tree, &nodes, growth)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::WidthClass;
    use crate::plan::{DecodeTimes, TreeSize};
    use crate::speculate::{Guess, NodeKind, Sizing, Source};
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

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
        fn batch(&self) -> Option<usize> {
            Some(2)
        }

        fn unread(&self, text: &[TokenId]) -> usize {
            text.len() - self.read
        }

        fn follow(&mut self, text: &[TokenId]) -> Result<(), LlamaError> {
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
        ) -> Result<Vec<Vec<Guess>>, LlamaError> {
            self.decode();
            let guess = |id, p| Guess {
                token: TokenId(id),
                p,
                source: Source::Model,
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

    fn growth(chain: bool) -> Growth {
        Growth {
            class: WidthClass::BATCH,
            label: None,
            room: 100,
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
        let sizing = Sizing::new(TreeSize::Fixed(4), 4, Some(DecodeTimes::new(1, 1.0)));
        let mut speculator = Speculator::with(Some(Box::new(draft)), sizing);
        let mut tree = DraftTree::certain([(TokenId(18), NodeKind::Answer)]);
        let growth = growth(chain);
        speculator
            .grow_ahead(&mut tree, &text(), &growth, &stop)
            .unwrap();
        Grown {
            tree,
            speculator,
            decodes,
        }
    }

    #[test]
    fn growth_ends_where_nothing_is_worth_asking_about() {
        // Of nine tokens eight are read before the first question. A node of worth 0.3^5
        // is worth asking about, and one of 0.3^6 is not.
        let found = grown(true, 0);
        assert_eq!(found.tree.len(), 1 + 6);
        assert_eq!(found.decodes.load(Ordering::Relaxed), 4 + 6);
        let found = grown(false, 0);
        assert!(super::open(&found.tree, &growth(false)).is_empty());
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
        let cut = speculator.cut(&tree, &growth(false));
        assert_eq!(cut.nodes.len(), 4);
        // The oracle said what was likeliest.
        let (tip, first) = (DraftIdx(0), TokenId(1));
        let child = tree.child(tip, first).unwrap();
        speculator.learn(&mut tree, &cut, None, &[tip, child], &[first, first]);
        let asked = decodes.load(Ordering::Relaxed);
        let text = [text(), vec![first, first]].concat();
        speculator.grow(&mut tree, &text, &growth(false)).unwrap();
        assert_eq!(decodes.load(Ordering::Relaxed), asked, "nothing is missing");
        assert_eq!(speculator.cut(&tree, &growth(false)).nodes.len(), 4);
    }
}
