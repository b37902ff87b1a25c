//! Answers over an oracle without a model, with drafters that are right, wrong, or fail.

mod during_a_pass;
mod thinking;

use super::answer::{Answer, Rules};
use super::decoder::{Decoder, StepError};
use super::request::Params;
use crate::ggml::llama::LlamaError;
use crate::model::AnswerForm;
use crate::oracle::{Oracle, ToyOracle, Trees, WidthClass, argmax};
use crate::plan::{DecodeTimes, TreeSize};
use crate::speculate::{
    Cost, DraftError, DraftIdx, DraftTree, Drafter, DrafterOptions, Guess, ModelDrafter,
    RecyclingDrafter, Sampler, Sampling, Sizing, Speculator, at_start,
};
use crate::telemetry::AnswerEnd;
use crate::typing::MonotonicClock;
use crate::units::TokenId;
use crate::vocabulary::DrafterId;
use crossbeam_channel::{Receiver, Sender, unbounded};
use proptest::prelude::*;
use std::sync::Arc;
use std::thread::ThreadId;

/// Guesses by the oracle's own logits, of which a share is shifted to other tokens.
struct Draft {
    text: Vec<TokenId>,
    /// One guess in so many is wrong; zero: none.
    wrong_every: usize,
    asked: usize,
    /// Fails when it has been asked so often.
    fails_at: Option<usize>,
    ahead: Option<Ahead>,
}

/// How a draft behaves while a pass runs: on any thread but the one that made it, its home. It
/// tells of each decode there.
struct Ahead {
    home: ThreadId,
    told: Sender<()>,
    conduct: Conduct,
}

#[derive(Clone, Copy, PartialEq)]
enum Conduct {
    Fails,
    /// Its guesses are right; at home only those after the first node are.
    KnowsMore,
}

impl Ahead {
    fn new(conduct: Conduct) -> (Self, Receiver<()>) {
        let (told, hears) = unbounded();
        let ahead = Self {
            home: std::thread::current().id(),
            told,
            conduct,
        };
        (ahead, hears)
    }

    fn is_home(&self) -> bool {
        std::thread::current().id() == self.home
    }
}

impl Draft {
    fn new(wrong_every: usize) -> Self {
        Self {
            text: Vec::new(),
            wrong_every,
            asked: 0,
            fails_at: None,
            ahead: None,
        }
    }
}

fn out_of_luck() -> DraftError {
    LlamaError::Decode("out of luck".to_owned()).into()
}

/// Of so many nodes at a time.
fn decodes(batch: usize) -> Cost {
    Cost::Decodes {
        batch,
        times: DecodeTimes::new(1, 1.0),
    }
}

impl Drafter for Draft {
    fn id(&self) -> DrafterId {
        ModelDrafter::ID
    }

    fn cost(&self) -> Cost {
        decodes(8)
    }

    fn follow(&mut self, text: &[TokenId]) -> Result<(), DraftError> {
        self.text = text.to_vec();
        Ok(())
    }

    fn expand(
        &mut self,
        tree: &DraftTree,
        nodes: &[DraftIdx],
    ) -> Result<Vec<Vec<Guess>>, DraftError> {
        let guess = |token, p| Guess { token, p, class: 0 };
        let mut knows_less = false;
        if let Some(ahead) = &self.ahead {
            if ahead.is_home() {
                knows_less = ahead.conduct == Conduct::KnowsMore;
            } else {
                let _ = ahead.told.send(());
                if ahead.conduct == Conduct::Fails {
                    return Err(out_of_luck());
                }
            }
        }
        nodes
            .iter()
            .map(|&node| {
                self.asked += 1;
                if self.fails_at.is_some_and(|at| self.asked >= at) {
                    return Err(out_of_luck());
                }
                let text = [self.text.as_slice(), &tree.path(node)].concat();
                let best = argmax(&ToyOracle::logits_after(&text));
                let other = TokenId((best.0 + 1) % ToyOracle::N_VOCAB as i32);
                let wrong = self.wrong_every > 0 && self.asked.is_multiple_of(self.wrong_every)
                    || knows_less && self.asked > 1;
                let (first, second) = if wrong { (other, best) } else { (best, other) };
                Ok(vec![guess(first, 0.7), guess(second, 0.2)])
            })
            .collect()
    }
}

fn speculator(size: usize, draft: Option<Draft>) -> Speculator {
    speculator_of(Trees::Exact, size, draft, false)
}

fn speculator_of(trees: Trees, size: usize, draft: Option<Draft>, recycle: bool) -> Speculator {
    let sizing = Sizing::new(TreeSize::Fixed(size), size).of(trees);
    let mut speculator = Speculator::new(at_start(DrafterOptions { recycle }), sizing);
    if let Some(draft) = draft {
        speculator.add(Box::new(draft));
    }
    speculator
}

fn rules(sampling: Sampling, max_tokens: usize) -> Arc<Rules> {
    let params = Params {
        sampling,
        max_tokens,
        fixed_length: false,
        think_budget: None,
    };
    Arc::new(Rules::new(&params, &Arc::new(AnswerForm::of_ends(&[]))))
}

fn decoder(oracle: impl Oracle + 'static, speculator: Speculator) -> Decoder {
    let clock = Arc::new(MonotonicClock::new());
    Decoder::new(Box::new(oracle), speculator, clock)
}

fn prompt(n: i32) -> Vec<TokenId> {
    (0..n).map(|i| TokenId(i * i % 19)).collect()
}

struct Ended {
    answer: Answer,
    draft_failures: usize,
    decoder: Decoder,
}

fn answer_in(decoder: Decoder, prompt: &[TokenId], rules: &Arc<Rules>) -> Ended {
    let mut ended = Ended {
        answer: Answer::new(prompt.to_vec(), None, Arc::clone(rules)),
        draft_failures: 0,
        decoder,
    };
    while ended.answer.end().is_none() {
        match ended.answer.step(&mut ended.decoder) {
            Ok(_) => {}
            Err(StepError::Draft(_)) => {
                ended.draft_failures += 1;
            }
            Err(StepError::Oracle(error)) => panic!("{error}"),
        }
    }
    ended
}

fn answer(prompt: &[TokenId], speculator: Speculator, rules: &Arc<Rules>) -> Ended {
    answer_in(decoder(ToyOracle::new(400), speculator), prompt, rules)
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
    let ended = answer(&prompt, speculator(16, Some(Draft::new(0))), &rules);
    assert_eq!(ended.answer.tokens(), by_hand(&prompt, &rules));
    assert_eq!(ended.answer.passes, ended.answer.trees);
    let shown = &ended.answer.speculation;
    assert_eq!(shown.tokens_a_pass[0], 0, "a pass gave a single token");
    assert_eq!(ended.answer.accepted, shown.tally(ModelDrafter::ID).kept);
    // Not in an answer of another class: those bits are not its own.
    let ended = answer(&prompt, speculator(4, Some(Draft::new(0))), &rules);
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
        let ended = answer(&prompt, speculator(8, Some(draft)), &rules);
        assert_eq!(ended.draft_failures, 1);
        assert!(!ended.decoder.speculator.computes());
        assert_eq!(ended.answer.tokens(), by_hand(&prompt, &rules));
    }
}

#[test]
fn on_a_device_a_pass_is_as_wide_as_its_tree_and_the_prompt_fills_it() {
    let rules = rules(Sampling::default(), 30);
    let prompt = prompt(150);
    for size in [4, 100] {
        let mut oracle = ToyOracle::new(400);
        (oracle.trees, oracle.max_nodes) = (Trees::Rounded, size);
        let speculator = speculator_of(Trees::Rounded, size, Some(Draft::new(3)), false);
        let ended = answer_in(decoder(oracle, speculator), &prompt, &rules);
        assert_eq!(ended.answer.tokens(), by_hand(&prompt, &rules));
        assert_eq!(ended.answer.width(), Some(WidthClass::DEVICE));
        // The pass that ended the prompt verified guesses, however few these may be.
        assert_eq!(ended.answer.passes, ended.answer.trees);
        assert!(ended.answer.speculation.by_depth.len() > 2);
        // What came before it was as wide as memory allows.
        let read = if size == 4 { 2 } else { 1 };
        assert_eq!(ended.decoder.cache.passes(), ended.answer.passes + read);
    }
}

/// Guesses what the sampler that it was told of chooses from the oracle's own logits.
#[derive(Default)]
struct Mirror {
    text: Vec<TokenId>,
    sampler: Option<Sampler>,
}

impl Drafter for Mirror {
    fn id(&self) -> DrafterId {
        ModelDrafter::ID
    }

    fn cost(&self) -> Cost {
        Cost::Decodes {
            batch: 8,
            times: DecodeTimes::new(1, 1.0),
        }
    }

    fn choose_by(&mut self, sampler: &Sampler) {
        self.sampler = Some(sampler.clone());
    }

    fn follow(&mut self, text: &[TokenId]) -> Result<(), DraftError> {
        self.text = text.to_vec();
        Ok(())
    }

    fn expand(
        &mut self,
        tree: &DraftTree,
        nodes: &[DraftIdx],
    ) -> Result<Vec<Vec<Guess>>, DraftError> {
        let sampler = self.sampler.as_ref().expect("told before it is asked");
        let guess = |&node: &DraftIdx| {
            let text = [self.text.as_slice(), &tree.path(node)].concat();
            let logits = ToyOracle::logits_after(&text);
            vec![Guess {
                token: sampler.choose(&logits, &text, text.len()),
                p: 0.9,
                class: 0,
            }]
        };
        Ok(nodes.iter().map(guess).collect())
    }
}

#[test]
fn answers_that_take_turns_keep_their_own_text_and_sampling() {
    let sampled = |seed| Sampling {
        temperature: 1.2,
        seed,
        ..Sampling::default()
    };
    let wanted = [
        (prompt(20), rules(Sampling::default(), 40)),
        (prompt(30), rules(sampled(1), 40)),
        (prompt(30), rules(sampled(2), 40)),
    ];
    let sizing = Sizing::new(TreeSize::Fixed(8), 8);
    let speculator = Speculator::new(vec![Box::new(Mirror::default())], sizing);
    let mut decoder = decoder(ToyOracle::new(400), speculator);
    let mut answers: Vec<_> = wanted
        .iter()
        .map(|(prompt, rules)| Answer::new(prompt.clone(), None, Arc::clone(rules)))
        .collect();
    while answers.iter().any(|answer| answer.end().is_none()) {
        for answer in &mut answers {
            // Reads again what the others have displaced, and goes on by a pass.
            let before = answer.tokens().len();
            while answer.end().is_none() && answer.tokens().len() == before {
                answer.step(&mut decoder).unwrap();
            }
        }
    }
    for (answer, (prompt, rules)) in answers.iter().zip(&wanted) {
        assert_eq!(answer.tokens(), by_hand(prompt, rules));
        let by_model = answer.speculation.tally(ModelDrafter::ID);
        assert!(by_model.judged > 0);
        assert_eq!(by_model.kept, by_model.judged, "of another's sampling");
    }
    assert_ne!(answers[1].tokens(), answers[2].tokens());
}

#[test]
fn an_end_token_ends_an_answer_or_never_comes() {
    let prompt = prompt(20);
    let params = |fixed_length| Params {
        sampling: Sampling::default(),
        max_tokens: 30,
        fixed_length,
        think_budget: None,
    };
    let free = by_hand(&prompt, &rules(Sampling::default(), 30));
    let end = free[7];
    let form = Arc::new(AnswerForm::of_ends(&[end]));
    let first = free.iter().position(|&token| token == end).unwrap();
    for fixed_length in [false, true] {
        let rules = Arc::new(Rules::new(&params(fixed_length), &form));
        let ended = answer(&prompt, speculator(8, Some(Draft::new(3))), &rules);
        let tokens = ended.answer.tokens();
        assert!(!tokens.contains(&end));
        if fixed_length {
            assert_eq!(tokens.len(), 30);
            assert_eq!(ended.answer.end(), Some(AnswerEnd::Length));
        } else {
            assert_eq!(tokens, &free[..first]);
            assert_eq!(ended.answer.end(), Some(AnswerEnd::EndOfText));
        }
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
        let decoder = decoder(ToyOracle::new(64), speculator(size, draft));
        let ended = answer_in(decoder, &prompt, &rules);
        assert_eq!(ended.answer.end(), Some(AnswerEnd::ContextFull));
        // The last token was chosen by the pass that filled the context.
        assert_eq!(ended.decoder.cache.tokens().len(), 64);
        assert_eq!(ended.answer.tokens().len(), 64 - 30 + 1);
    }
}

#[test]
fn text_that_the_cache_lost_is_read_again_and_the_tree_goes_on() {
    let rules = rules(Sampling::default(), 40);
    let prompt = prompt(20);
    let speculator = speculator(8, Some(Draft::new(4)));
    let mut decoder = decoder(ToyOracle::new(400), speculator);
    let mut answer = Answer::new(prompt.clone(), None, Arc::clone(&rules));
    let mut steps = 0;
    while answer.end().is_none() {
        answer.step(&mut decoder).unwrap();
        steps += 1;
        if steps % 3 == 0 {
            decoder.cache.truncate([25, 10, 3][steps / 3 % 3]);
        }
    }
    assert_eq!(answer.tokens(), by_hand(&prompt, &rules));
}

#[test]
fn what_the_oracle_said_in_one_answer_is_guessed_in_the_next() {
    let rules = rules(Sampling::default(), 60);
    let prompt = prompt(20);
    let passes = |speculator| {
        let ended = answer(&prompt, speculator, &rules);
        assert_eq!(ended.answer.tokens(), by_hand(&prompt, &rules));
        let recycled = ended.answer.speculation.tally(RecyclingDrafter::ID);
        let figures = (ended.answer.passes, recycled.kept);
        (figures, ended.decoder.speculator)
    };
    let (first, speculator) = passes(speculator_of(Trees::Exact, 8, None, true));
    let (second, _) = passes(speculator);
    assert!(second.0 < first.0, "{first:?} {second:?}");
    assert!(second.1 > 0, "{second:?}");
}

proptest! {
    #[test]
    fn no_guess_changes_a_token(
        n in 1i32..90,
        size in prop_oneof![1usize..20, Just(63), Just(200)],
        wrong_every in 0usize..5,
        has_draft in any::<bool>(),
        trees in prop_oneof![Just(Trees::Exact), Just(Trees::Rounded), Just(Trees::Chains), Just(Trees::RoundedChains)],
        ahead in any::<bool>(),
        warm in any::<bool>(),
        recycle in any::<bool>(),
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
        let mut speculator = speculator_of(trees, size, draft, recycle);
        speculator.set_ahead(ahead);
        let ended = answer_in(decoder(oracle, speculator), &prompt, &rules);
        prop_assert_eq!(ended.answer.tokens(), by_hand(&prompt, &rules));
        prop_assert!(size > 1 || ended.answer.drafted == 0);
        prop_assert!(ended.answer.nodes <= ended.answer.trees * size as u64);
    }
}
