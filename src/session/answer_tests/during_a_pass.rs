//! What a draft does while a pass runs.

use super::*;
use crate::oracle::{NodeIdx, OracleError, PassOutput, TokenTree};
use crossbeam_channel::RecvTimeoutError;
use std::time::Duration;

/// Its first pass that wants at least `rows` rows of logits ends when it has been told `times`
/// times, or nobody can tell it any more.
struct Waiting {
    oracle: ToyOracle,
    rows: usize,
    told: Receiver<()>,
    times: usize,
}

/// After this time a test that would hang fails.
const HANGS: Duration = Duration::from_secs(10);

impl Oracle for Waiting {
    fn n_vocab(&self) -> usize {
        self.oracle.n_vocab()
    }

    fn capacity(&self) -> usize {
        self.oracle.capacity()
    }

    fn len(&self) -> usize {
        self.oracle.len()
    }

    fn max_nodes(&self) -> usize {
        self.oracle.max_nodes()
    }

    fn pass(&mut self, tree: &TokenTree, width: WidthClass) -> Result<PassOutput, OracleError> {
        if tree.nodes().iter().filter(|node| node.logits).count() >= self.rows {
            for _ in 0..std::mem::take(&mut self.times) {
                let told = self.told.recv_timeout(HANGS);
                let hangs = told == Err(RecvTimeoutError::Timeout);
                assert!(!hangs, "nobody asks the draft during the pass");
            }
        }
        let mut output = self.oracle.pass(tree, width)?;
        output.cost.wall_us = 1000;
        Ok(output)
    }

    fn commit(&mut self, path: &[NodeIdx]) {
        self.oracle.commit(path);
    }

    fn truncate(&mut self, len: usize) {
        self.oracle.truncate(len);
    }
}

#[test]
fn a_draft_that_fails_during_a_pass_is_left_out_and_the_pass_counts() {
    let rules = rules(Sampling::default(), 40);
    let prompt = prompt(20);
    let (ahead, told) = Ahead::new(Conduct::Fails);
    let draft = Draft {
        ahead: Some(ahead),
        ..Draft::new(3)
    };
    let mut speculator = speculator(8, Some(draft));
    speculator.set_ahead(true);
    let oracle = Waiting {
        oracle: ToyOracle::new(400),
        rows: 2,
        told,
        times: 1,
    };
    let ended = answer_in(decoder(oracle, speculator), &prompt, &rules);
    assert_eq!(ended.draft_failures, 1);
    assert!(!ended.decoder.speculator.computes());
    assert_eq!(ended.answer.tokens(), by_hand(&prompt, &rules));
    assert!(ended.answer.accepted > 0, "the first pass was of use");
}

#[test]
fn what_the_draft_guesses_during_a_pass_is_verified_by_the_next() {
    let rules = rules(Sampling::default(), 40);
    let prompt = prompt(20);
    let kept = |ahead| {
        let (conduct, told) = Ahead::new(Conduct::KnowsMore);
        let draft = Draft {
            ahead: Some(conduct),
            ..Draft::new(0)
        };
        // One guess a pass: before it the draft is asked for no more.
        let mut speculator = speculator(2, Some(draft));
        speculator.set_ahead(ahead);
        // When the third decode begins, the guesses of the second, two tokens on, are in the tree.
        let oracle = Waiting {
            oracle: ToyOracle::new(400),
            rows: 2,
            told,
            times: if ahead { 3 } else { 0 },
        };
        let ended = answer_in(decoder(oracle, speculator), &prompt, &rules);
        assert_eq!(ended.draft_failures, 0);
        assert_eq!(ended.answer.tokens(), by_hand(&prompt, &rules));
        ended.answer.speculation.tally(ModelDrafter::ID).kept
    };
    assert_eq!(kept(false), 1);
    assert!(kept(true) > 1, "only what was guessed beforehand is kept");
}

/// Has read nothing of the text, and fails to.
struct Illiterate(Sender<()>);

impl Drafter for Illiterate {
    fn id(&self) -> DrafterId {
        ModelDrafter::ID
    }

    fn cost(&self) -> Cost {
        decodes(1)
    }

    fn unread(&self, text: &[TokenId]) -> usize {
        text.len()
    }

    fn follow(&mut self, _: &[TokenId]) -> Result<(), DraftError> {
        let _ = self.0.send(());
        Err(out_of_luck())
    }

    fn expand(&mut self, _: &DraftTree, _: &[DraftIdx]) -> Result<Vec<Vec<Guess>>, DraftError> {
        unreachable!("it follows nothing")
    }
}

#[test]
fn a_pass_counts_during_which_the_draft_fails_to_read() {
    let prompt = prompt(20);
    // In the second case the pass fails as well.
    for (capacity, counts) in [(400, true), (4, false)] {
        let (failed, told) = unbounded();
        let sizing = Sizing::new(TreeSize::Auto, 8);
        let mut speculator = Speculator::new(vec![Box::new(Illiterate(failed))], sizing);
        speculator.set_ahead(true);
        let oracle = Waiting {
            oracle: ToyOracle::new(capacity),
            rows: 0,
            told,
            times: 1,
        };
        let mut decoder = decoder(oracle, speculator);
        let read = decoder.read(&prompt, WidthClass::BATCH, &prompt);
        assert!(matches!(read, Err(StepError::Draft(_))), "{read:?}");
        assert_eq!(decoder.cache.tokens().len(), if counts { 20 } else { 0 });
        assert_eq!(decoder.speculator.sizing().passes.are_known(), counts);
        assert!(
            !decoder.speculator.computes(),
            "a draft that failed is asked again"
        );
    }
}

#[test]
fn what_the_draft_does_during_a_pass_is_counted_apart() {
    let rules = rules(Sampling::default(), 40);
    for ahead in [false, true] {
        let mut speculator = speculator(8, Some(Draft::new(3)));
        speculator.set_ahead(ahead);
        let ended = answer(&prompt(20), speculator, &rules);
        let shown = &ended.answer.speculation;
        assert!(shown.draft_ms.is_some());
        assert_eq!(shown.draft_hidden_ms.is_some(), ahead);
    }
}
