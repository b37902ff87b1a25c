//! Whatever is guessed, and however much, an answer's tokens are those of the oracle alone.

use crate::common::{self, SMOL, layer_oracle, llama_oracle, model};
use nmos::model::Gguf;
use nmos::oracle::{Oracle, TokenTree, WidthClass};
use nmos::plan::{DecodeTimes, DraftCapacity, TreeSize};
use nmos::speculate::{
    Cost, DraftError, DraftIdx, DraftLimits, DraftTree, Drafter, DrafterOptions, Guess,
    ModelDrafter, Sampler, Sampling, Sizing, Speculator, VerifiedPass, at_start, verify,
};
use nmos::units::{Bytes, TokenId};
use nmos::vocabulary::DrafterId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::ThreadId;

/// Repeats itself, so that lookups have something to find.
const PROMPT: &str = "fn add(a: i32, b: i32) -> i32 {\n    a + b\n}\n\nfn sub(a: i32, b: i32) -> \
                      i32 {\n    a - b\n}\n\nfn mul(a: i32, b: i32) -> i32 {\n";

const TOKENS: usize = 40;

/// What an answer took.
#[derive(Debug)]
struct Told {
    tokens: Vec<TokenId>,
    passes: usize,
    accepted: usize,
}

/// Reads the prompt.
fn read(oracle: &mut dyn Oracle, prompt: &[TokenId]) {
    oracle.truncate(0);
    common::rows(oracle, prompt, WidthClass::BATCH.max);
}

/// Decodes after `prompt`, one token a pass of `class`.
fn alone(
    oracle: &mut dyn Oracle,
    prompt: &[TokenId],
    class: WidthClass,
    sampler: &Sampler,
) -> Told {
    read(oracle, &prompt[..prompt.len() - 1]);
    let mut text = prompt.to_vec();
    for _ in 0..TOKENS {
        let tree = TokenTree::chain(&text[text.len() - 1..], 0);
        let output = oracle.pass(&tree, class).unwrap();
        text.push(sampler.choose(output.logits.of(0).unwrap(), &text, text.len()));
        oracle.commit(&[0]);
    }
    Told {
        tokens: text.split_off(prompt.len()),
        passes: TOKENS,
        accepted: 0,
    }
}

/// The same with guesses.
fn guessed(
    oracle: &mut dyn Oracle,
    prompt: &[TokenId],
    speculator: &mut Speculator,
    sampler: &Sampler,
) -> Told {
    let class = speculator.class(None);
    read(oracle, &prompt[..prompt.len() - 1]);
    let mut text = prompt.to_vec();
    let mut tree = DraftTree::certain([text[text.len() - 1]]);
    let (mut passes, mut accepted) = (0, 0);
    while text.len() < prompt.len() + TOKENS {
        let limits = DraftLimits {
            class,
            label: None,
            capacity: oracle.capacity() - oracle.len(),
            depth: TOKENS,
            chain: !oracle.trees().branch(),
            at_once: false,
        };
        speculator.grow(&mut tree, &text, &limits).unwrap();
        let cut = speculator.cut(&tree, &limits);
        assert!(cut.nodes.len() <= class.max);
        if speculator.works_ahead() {
            // On another thread, but not at the same time: cores are the oracle's as well.
            let never = AtomicBool::new(false);
            let work = || speculator.grow_ahead(&mut tree, &text, &limits, &never);
            let grown = std::thread::scope(|scope| scope.spawn(work).join().unwrap());
            grown.unwrap();
        }
        let output = oracle.pass(&cut.tree, class).unwrap();
        let before = text.clone();
        let found = verify(&cut.tree, tree.n_certain() - 1, &output.logits, |row| {
            let token = sampler.choose(row, &text, text.len());
            text.push(token);
            token
        });
        oracle.commit(&found.path);
        let path: Vec<_> = found.path.iter().map(|&node| cut.origin(node)).collect();
        speculator.observe_pass(cut.nodes.len(), class, output.cost);
        speculator.learn_output(&VerifiedPass {
            text: &before,
            tree: &cut.tree,
            output: &output,
            path: &found.path,
        });
        speculator.learn(&mut tree, &cut, None, &path, &found.chosen);
        passes += 1;
        accepted += path.len() - 1;
    }
    text.truncate(prompt.len() + TOKENS);
    Told {
        tokens: text.split_off(prompt.len()),
        passes,
        accepted,
    }
}

fn draft(sampler: &Sampler) -> ModelDrafter {
    let mut draft = ModelDrafter::open(&Gguf::open(&model(SMOL)).unwrap(), 2048, 2).unwrap();
    draft.choose_by(sampler);
    draft
}

fn samplings() -> [Sampling; 2] {
    let warm = Sampling {
        temperature: 0.8,
        seed: 5,
        ..Sampling::default()
    };
    [Sampling::default(), warm]
}

fn prompt() -> Vec<TokenId> {
    let tokenizer = nmos::model::Tokenizer::open(&model(SMOL)).unwrap();
    tokenizer.text(PROMPT).unwrap()
}

/// Compares answers with guesses of every kind to those without, for each of `sizes`.
fn compare(oracle: &mut dyn Oracle, sizes: &[usize]) {
    let prompt = prompt();
    for sampling in samplings() {
        let sampler = Sampler::new(sampling, Vec::new());
        for &size in sizes {
            let class = WidthClass::of(size);
            let plain = alone(oracle, &prompt, class, &sampler);
            for (with_draft, recycle) in [(false, false), (false, true), (true, true)] {
                let draft = with_draft.then(|| draft(&sampler));
                let sizing = Sizing::new(TreeSize::Fixed(size), size);
                let mut speculator = Speculator::new(at_start(DrafterOptions { recycle }), sizing);
                if let Some(draft) = draft {
                    speculator.add(Box::new(draft));
                }
                let told = guessed(oracle, &prompt, &mut speculator, &sampler);
                let t = sampling.temperature;
                println!(
                    "size {size}, temperature {t}, draft {with_draft}, recycle {recycle}: {} passes, \
                     {} accepted",
                    told.passes, told.accepted
                );
                assert_eq!(told.tokens, plain.tokens, "size {size}, {sampling:?}");
                if size == 1 {
                    assert_eq!((told.passes, told.accepted), (plain.passes, 0));
                } else if with_draft {
                    // A model that drafts for itself is mostly right.
                    assert!(told.passes * 2 < plain.passes, "size {size}: {told:?}");
                }
            }
        }
    }
}

#[test]
fn trees_of_any_size_change_no_token() {
    let _turn = common::turn();
    compare(&mut layer_oracle(SMOL, Bytes::mib(200)), &[1, 4, 8, 16, 63]);
}

#[test]
fn what_is_guessed_ahead_changes_no_token_and_is_kept() {
    let _turn = common::turn();
    let mut oracle = layer_oracle(SMOL, Bytes::mib(200));
    let prompt = prompt();
    let sampler = Sampler::new(Sampling::default(), Vec::new());
    let mut told = |ahead| {
        let decodes = Arc::default();
        let draft = Counted {
            draft: draft(&sampler),
            home: std::thread::current().id(),
            decodes: Arc::clone(&decodes),
        };
        let mut speculator = Speculator::new(
            at_start(DrafterOptions::default()),
            Sizing::new(TreeSize::Fixed(16), 16),
        );
        speculator.add(Box::new(draft));
        speculator.set_ahead(ahead);
        let told = guessed(&mut oracle, &prompt, &mut speculator, &sampler);
        (told.tokens, decodes.load(Ordering::Relaxed))
    };
    let (plain, between) = told(false);
    let (tokens, left) = told(true);
    assert_eq!(tokens, plain);
    // What was guessed during a pass need not be guessed after it.
    assert!(left * 2 < between, "{left} of {between} decodes are left");
}

/// A draft, and its decodes on the thread of the test.
struct Counted {
    draft: ModelDrafter,
    home: ThreadId,
    decodes: Arc<AtomicUsize>,
}

impl Drafter for Counted {
    fn id(&self) -> DrafterId {
        self.draft.id()
    }

    fn cost(&self) -> Cost {
        Cost::Decodes {
            batch: DraftCapacity::HOST.batch,
            times: DecodeTimes::new(1, 1.0),
        }
    }

    fn unread(&self, text: &[TokenId]) -> usize {
        self.draft.unread(text)
    }

    fn follow(&mut self, text: &[TokenId]) -> Result<(), DraftError> {
        self.draft.follow(text)
    }

    fn expand(
        &mut self,
        tree: &DraftTree,
        nodes: &[DraftIdx],
    ) -> Result<Vec<Vec<Guess>>, DraftError> {
        if std::thread::current().id() == self.home {
            self.decodes.fetch_add(1, Ordering::Relaxed);
        }
        self.draft.expand(tree, nodes)
    }
}

#[test]
fn chains_change_no_token_of_llama_cpps_graph() {
    let _turn = common::turn();
    compare(&mut llama_oracle(SMOL, true), &[1, 5, 16]);
}

/// Always sure, always wrong.
struct Wrong;

impl Drafter for Wrong {
    fn id(&self) -> DrafterId {
        ModelDrafter::ID
    }

    fn cost(&self) -> Cost {
        Cost::Decodes {
            batch: 4,
            times: DecodeTimes::new(1, 1.0),
        }
    }

    fn follow(&mut self, _: &[TokenId]) -> Result<(), DraftError> {
        Ok(())
    }

    fn expand(&mut self, _: &DraftTree, nodes: &[DraftIdx]) -> Result<Vec<Vec<Guess>>, DraftError> {
        let guess = |i| Guess {
            token: TokenId(4000 + i),
            p: 0.9,
            class: 0,
        };
        Ok(nodes.iter().map(|_| vec![guess(0)]).collect())
    }
}

#[test]
fn a_draft_that_is_always_wrong_costs_no_token_and_is_soon_not_believed() {
    let _turn = common::turn();
    let mut oracle = layer_oracle(SMOL, Bytes::mib(200));
    let prompt = prompt();
    let sampler = Sampler::new(Sampling::default(), Vec::new());
    let plain = alone(&mut oracle, &prompt, WidthClass::BATCH, &sampler);
    let mut speculator = Speculator::new(
        at_start(DrafterOptions::default()),
        Sizing::new(TreeSize::Fixed(8), 8),
    );
    speculator.add(Box::new(Wrong));
    let told = guessed(&mut oracle, &prompt, &mut speculator, &sampler);
    assert_eq!(told.tokens, plain.tokens);
    let calibration = speculator.calibration(ModelDrafter::ID).unwrap();
    assert!(calibration.of(0, 0.9) < 0.75);
}
