//! Answers over an oracle without a model, with drafters that are right, wrong, or fail.

use super::answer::{Answer, Rules, StepError};
use super::cache::Cache;
use crate::ggml::llama::LlamaError;
use crate::oracle::{
    NodeIdx, Oracle, OracleError, PassOutput, TokenTree, ToyOracle, Trees, WidthClass, argmax,
};
use crate::speculate::{
    DecodeTimes, DraftIdx, DraftTree, Drafter, Guess, Sampler, Sampling, Sizing, Source,
    Speculator, TreeSize,
};
use crate::telemetry::AnswerEnd;
use crate::units::TokenId;
use crossbeam_channel::{Receiver, Sender, unbounded};
use proptest::prelude::*;
use std::thread::ThreadId;

/// Guesses by the oracle's own logits, of which a share is shifted to other tokens.
struct Draft {
    text: Vec<TokenId>,
    /// One guess in so many is wrong; zero: none.
    wrong_every: usize,
    asked: usize,
    /// Fails when it has been asked so often.
    fails_at: Option<usize>,
    /// Fails on any thread but this, and then tells that it did.
    fails_beside: Option<(ThreadId, Sender<()>)>,
}

impl Draft {
    fn new(wrong_every: usize) -> Self {
        Self {
            text: Vec::new(),
            wrong_every,
            asked: 0,
            fails_at: None,
            fails_beside: None,
        }
    }
}

impl Drafter for Draft {
    fn batch(&self) -> Option<usize> {
        Some(8)
    }

    fn follow(&mut self, text: &[TokenId]) -> Result<(), LlamaError> {
        self.text = text.to_vec();
        Ok(())
    }

    fn expand(
        &mut self,
        tree: &DraftTree,
        nodes: &[DraftIdx],
    ) -> Result<Vec<Vec<Guess>>, LlamaError> {
        let guess = |token, p| Guess {
            token,
            p,
            source: Source::Model,
        };
        if let Some((home, failed)) = &self.fails_beside
            && std::thread::current().id() != *home
        {
            let _ = failed.send(());
            return Err(LlamaError::Decode("out of luck beside a pass".to_owned()));
        }
        nodes
            .iter()
            .map(|&node| {
                self.asked += 1;
                if self.fails_at.is_some_and(|at| self.asked >= at) {
                    return Err(LlamaError::Decode("out of luck".to_owned()));
                }
                let text = [self.text.as_slice(), &tree.path(node)].concat();
                let best = argmax(&ToyOracle::logits_after(&text));
                let other = TokenId((best.0 + 1) % ToyOracle::N_VOCAB as i32);
                let wrong = self.wrong_every > 0 && self.asked.is_multiple_of(self.wrong_every);
                let (first, second) = if wrong { (other, best) } else { (best, other) };
                Ok(vec![guess(first, 0.7), guess(second, 0.2)])
            })
            .collect()
    }
}

fn speculator(size: usize, draft: Option<Draft>) -> Speculator {
    speculator_of(Trees::Exact, size, draft)
}

fn speculator_of(trees: Trees, size: usize, draft: Option<Draft>) -> Speculator {
    let decodes = draft.as_ref().map(|_| DecodeTimes::new(1, 1.0));
    let draft = draft.map(|draft| Box::new(draft) as Box<dyn Drafter>);
    let sizing = Sizing::new(TreeSize::Fixed(size), size, decodes).of(trees);
    Speculator::with(draft, sizing)
}

fn rules(sampling: Sampling, max_tokens: usize) -> Rules {
    Rules {
        sampler: Sampler::new(sampling, Vec::new()),
        ends: vec![TokenId(22)],
        max_tokens,
        fixed_length: true,
    }
}

fn prompt(n: i32) -> Vec<TokenId> {
    (0..n).map(|i| TokenId(i * i % 19)).collect()
}

struct Ended {
    answer: Answer,
    draft_failures: usize,
    cache: Cache,
}

fn answer_in(
    cache: Cache,
    prompt: &[TokenId],
    speculator: &mut Speculator,
    rules: &Rules,
) -> Ended {
    let mut ended = Ended {
        answer: Answer::new(prompt.to_vec(), None),
        draft_failures: 0,
        cache,
    };
    while ended.answer.end().is_none() {
        match ended.answer.step(&mut ended.cache, speculator, rules) {
            Ok(_) => {}
            Err(StepError::Draft(_)) => {
                ended.draft_failures += 1;
                speculator.drop_model();
            }
            Err(StepError::Oracle(error)) => panic!("{error}"),
        }
    }
    ended
}

fn answer(prompt: &[TokenId], speculator: &mut Speculator, rules: &Rules) -> Ended {
    let cache = Cache::new(Box::new(ToyOracle::new(400)));
    answer_in(cache, prompt, speculator, rules)
}

/// One by one, by the definition.
fn by_hand(prompt: &[TokenId], rules: &Rules) -> Vec<TokenId> {
    let mut text = prompt.to_vec();
    for _ in 0..rules.max_tokens {
        let logits = ToyOracle::logits_after(&text);
        text.push(rules.sampler.choose(&logits, &text, text.len()));
    }
    text.split_off(prompt.len())
}

#[test]
fn the_pass_that_ends_a_prompt_verifies_guesses_too() {
    let rules = rules(Sampling::default(), 30);
    let prompt = prompt(40);
    let ended = answer(&prompt, &mut speculator(16, Some(Draft::new(0))), &rules);
    assert_eq!(ended.answer.tokens(), by_hand(&prompt, &rules));
    assert_eq!(ended.answer.passes, ended.answer.trees);
    let shown = &ended.answer.speculation;
    assert_eq!(shown.tokens_a_pass[0], 0, "a pass gave a single token");
    assert_eq!(ended.answer.accepted, shown.by_source[0].kept);
    // Not in an answer of another class: those bits are not its own.
    let ended = answer(&prompt, &mut speculator(4, Some(Draft::new(0))), &rules);
    assert_eq!(ended.answer.tokens(), by_hand(&prompt, &rules));
    assert_eq!(ended.answer.passes, ended.answer.trees + 1);
}

#[test]
fn a_draft_that_fails_is_left_out_and_the_answer_goes_on() {
    let rules = rules(Sampling::default(), 40);
    let prompt = prompt(20);
    for fails_at in [1, 7, 25] {
        let draft = Draft {
            fails_at: Some(fails_at),
            ..Draft::new(3)
        };
        let mut speculator = speculator(8, Some(draft));
        let ended = answer(&prompt, &mut speculator, &rules);
        assert_eq!(ended.draft_failures, 1);
        assert!(!speculator.has_model());
        assert_eq!(ended.answer.tokens(), by_hand(&prompt, &rules));
    }
}

/// Ends a pass over guesses when it has been told to, or nobody can tell it any more.
struct Waiting {
    oracle: ToyOracle,
    told: Receiver<()>,
}

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
        if tree.nodes().iter().filter(|node| node.logits).count() > 1 {
            let _ = self.told.recv();
        }
        self.oracle.pass(tree, width)
    }

    fn commit(&mut self, path: &[NodeIdx]) {
        self.oracle.commit(path);
    }

    fn truncate(&mut self, len: usize) {
        self.oracle.truncate(len);
    }
}

#[test]
fn a_draft_that_fails_beside_a_pass_is_left_out_and_the_pass_counts() {
    let rules = rules(Sampling::default(), 40);
    let prompt = prompt(20);
    let (failed, told) = unbounded();
    let draft = Draft {
        fails_beside: Some((std::thread::current().id(), failed)),
        ..Draft::new(3)
    };
    let mut speculator = speculator(8, Some(draft));
    speculator.set_ahead(true);
    let oracle = ToyOracle::new(400);
    let cache = Cache::new(Box::new(Waiting { oracle, told }));
    let ended = answer_in(cache, &prompt, &mut speculator, &rules);
    assert_eq!(ended.draft_failures, 1);
    assert!(!speculator.has_model());
    assert_eq!(ended.answer.tokens(), by_hand(&prompt, &rules));
    assert!(ended.answer.accepted > 0, "the first pass was of use");
}

#[test]
fn on_a_device_a_pass_is_as_wide_as_its_tree_and_the_prompt_fills_it() {
    let rules = rules(Sampling::default(), 30);
    let prompt = prompt(150);
    for size in [4, 100] {
        let mut oracle = ToyOracle::new(400);
        (oracle.trees, oracle.max_nodes) = (Trees::Rounded, size);
        let cache = Cache::new(Box::new(oracle));
        let mut speculator = speculator_of(Trees::Rounded, size, Some(Draft::new(3)));
        let ended = answer_in(cache, &prompt, &mut speculator, &rules);
        assert_eq!(ended.answer.tokens(), by_hand(&prompt, &rules));
        assert_eq!(ended.answer.width(), Some(WidthClass::DEVICE));
        // The pass that ended the prompt verified guesses, however few these may be.
        assert_eq!(ended.answer.passes, ended.answer.trees);
        assert!(ended.answer.speculation.by_depth.len() > 2);
        // What came before it was as wide as memory allows.
        let read = if size == 4 { 2 } else { 1 };
        assert_eq!(ended.cache.passes(), ended.answer.passes + read);
    }
}

#[test]
fn what_the_draft_does_beside_a_pass_is_told_apart() {
    let rules = rules(Sampling::default(), 40);
    for ahead in [false, true] {
        let mut speculator = speculator(8, Some(Draft::new(3)));
        speculator.set_ahead(ahead);
        let ended = answer(&prompt(20), &mut speculator, &rules);
        let shown = &ended.answer.speculation;
        assert!(shown.draft_ms.is_some());
        assert_eq!(shown.draft_hidden_ms.is_some(), ahead);
    }
}

#[test]
fn a_full_context_ends_the_answer_with_every_token_that_fits() {
    let rules = rules(Sampling::default(), 1000);
    for (size, draft) in [
        (1, None),
        (16, Some(Draft::new(0))),
        (16, Some(Draft::new(2))),
    ] {
        let prompt = prompt(30);
        let cache = Cache::new(Box::new(ToyOracle::new(64)));
        let ended = answer_in(cache, &prompt, &mut speculator(size, draft), &rules);
        assert_eq!(ended.answer.end(), Some(AnswerEnd::ContextFull));
        // The last token was chosen by the pass that filled the context.
        assert_eq!(ended.cache.tokens().len(), 64);
        assert_eq!(ended.answer.tokens().len(), 64 - 30 + 1);
    }
}

#[test]
fn text_that_the_cache_lost_is_read_again_and_the_tree_goes_on() {
    let rules = rules(Sampling::default(), 40);
    let prompt = prompt(20);
    let mut speculator = speculator(8, Some(Draft::new(4)));
    let mut cache = Cache::new(Box::new(ToyOracle::new(400)));
    let mut answer = Answer::new(prompt.clone(), None);
    let mut steps = 0;
    while answer.end().is_none() {
        answer.step(&mut cache, &mut speculator, &rules).unwrap();
        steps += 1;
        if steps % 3 == 0 {
            cache.truncate([25, 10, 3][steps / 3 % 3]);
        }
    }
    assert_eq!(answer.tokens(), by_hand(&prompt, &rules));
}

proptest! {
    #[test]
    fn no_guess_changes_a_token(
        n in 1i32..90,
        size in prop_oneof![1usize..20, Just(63), Just(200)],
        wrong_every in 0usize..5,
        has_draft in any::<bool>(),
        trees in prop_oneof![Just(Trees::Exact), Just(Trees::Rounded), Just(Trees::Chains)],
        ahead in any::<bool>(),
        warm in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let sampling = Sampling {
            temperature: if warm { 1.1 } else { 0.0 },
            repeat_penalty: 1.1,
            seed,
            ..Sampling::default()
        };
        let rules = rules(sampling, 48);
        let mut oracle = ToyOracle::new(400);
        (oracle.trees, oracle.max_nodes) = (trees, size);
        let draft = has_draft.then(|| Draft::new(wrong_every));
        let prompt = prompt(n);
        let cache = Cache::new(Box::new(oracle));
        let mut speculator = speculator_of(trees, size, draft);
        speculator.set_ahead(ahead);
        let ended = answer_in(cache, &prompt, &mut speculator, &rules);
        prop_assert_eq!(ended.answer.tokens(), by_hand(&prompt, &rules));
        prop_assert!(size > 1 || ended.answer.drafted == 0);
        prop_assert!(ended.answer.nodes <= ended.answer.trees * size as u64);
    }
}
