//! The small model that guesses, several branches a decode.
//!
//! llama.cpp keeps one pool of cells. A branch is one of its sequences, and a cell belongs to
//! every sequence that runs through it, so that what branches share is held and computed once:
//!
//! ```text
//!  text ... t --+-- a -- b      sequence 0: text, a, b
//!               |   '--- c      sequence 1: text, a, c
//!               '-- d           sequence 2: text, d
//!
//!  the oracle says a, c: sequence 1 is the text's from now on, the others end
//! ```
//!
//! Only nodes that are asked about are decoded: a guess that nobody asks about costs nothing.
//! A decoded node stays in the cache as long as it is a part of the text or follows its end, so
//! that nothing is decoded twice.

use crate::ggml::Device;
use crate::ggml::llama::{self, BatchToken, Layout, LlamaError, LlamaRun, RunOptions};
use crate::model::{Gguf, GgufError};
use crate::plan::{DecodeTimes, DraftCapacity};
use crate::prefix::common_prefix;
use crate::speculate::drafter::{Cost, DraftError, Drafter};
use crate::speculate::guess::Guess;
use crate::speculate::ranking::{Asked, rank};
use crate::speculate::sampler::{Sampler, Sampling};
use crate::speculate::tree::{DraftIdx, DraftTree};
use crate::units::TokenId;
use crate::vocabulary::{DrafterId, Marks};
use std::path::PathBuf;
use std::time::Instant;

/// Why a model that recurs does not draft: its branches would need a state each.
const RECURS: &str = "its state cannot go back to an earlier token";

/// See the module's text.
pub struct ModelDrafter {
    run: LlamaRun,
    sampler: Sampler,
    n_vocab: usize,
    text: Vec<TokenId>,
    /// How much of the text is in the cache, all of it in sequence `trunk`.
    read: usize,
    trunk: Sequence,
    /// Decoded guesses after the text, parents first. None where the text's end is not decoded.
    nodes: Vec<Decoded>,
    /// The position after the last token of each sequence; `None` for one that is not in use.
    ends: Vec<Option<usize>>,
    capacity: DraftCapacity,
    rankers: usize,
    decoded: u64,
    warm_ms: f64,
}

type Sequence = usize;

/// A guess whose keys and values are in the cache.
#[derive(Clone, Copy, Debug)]
struct Decoded {
    token: TokenId,
    /// `None`: the text's end.
    parent: Option<usize>,
    sequence: Sequence,
    position: usize,
}

/// Tokens that wait for a decode, and whose questions it answers.
#[derive(Default)]
struct Pending {
    batch: Vec<BatchToken>,
    /// A place in the batch, the question that its logits answer, and the path that the question
    /// is about.
    questions: Vec<(usize, usize, Vec<TokenId>)>,
}

/// A draft that cannot be had; names the file.
#[derive(Debug, thiserror::Error)]
pub enum DraftOpenError {
    #[error(transparent)]
    File(#[from] GgufError),
    #[error(transparent)]
    Llama(#[from] LlamaError),
    #[error("{}: it cannot draft: {why}", path.display())]
    Kind { path: PathBuf, why: &'static str },
}

impl ModelDrafter {
    pub const ID: DrafterId = DrafterId::new(&Marks {
        name: "model",
        unicode: ["●", "○"],
        ascii: ["M", "m"],
    });

    /// Loads the model for the CPU: not its vocabulary, since its tokens are the oracle's.
    ///
    /// # Errors
    /// A header that lacks what every model has, or llama.cpp's.
    pub fn open(gguf: &Gguf, ctx_tokens: usize, threads: usize) -> Result<Self, DraftOpenError> {
        let layout = Layout::Fastest;
        Self::with_capacity(gguf, ctx_tokens, threads, layout, DraftCapacity::HOST)
    }

    /// The same onto a device, all but its embedding. `threads` rank its logits.
    ///
    /// # Errors
    /// As [`ModelDrafter::open`]; the device's memory may be too small.
    pub fn open_on(
        device: Device,
        gguf: &Gguf,
        ctx_tokens: usize,
        threads: usize,
    ) -> Result<Self, DraftOpenError> {
        let layout = Layout::OnDevice(device);
        Self::with_capacity(gguf, ctx_tokens, threads, layout, DraftCapacity::DEVICE)
    }

    fn with_capacity(
        gguf: &Gguf,
        ctx_tokens: usize,
        threads: usize,
        layout: Layout,
        capacity: DraftCapacity,
    ) -> Result<Self, DraftOpenError> {
        let (arch, n_vocab) = (gguf.architecture()?, gguf.n_tokens()?);
        let model = llama::load_without_vocabulary(gguf, arch, n_vocab, layout)?;
        let recurs = model.recurs().then_some(RECURS);
        if let Some(why) = model.obstacle().or(recurs) {
            let path = gguf.path().to_owned();
            return Err(DraftOpenError::Kind { path, why });
        }
        let options = RunOptions {
            ctx_tokens: ctx_tokens + capacity.nodes,
            batch: capacity.batch,
            sequences: capacity.sequences,
            threads: match layout {
                Layout::OnDevice(_) => 1,
                _ => threads,
            },
        };
        let mut drafter = Self {
            run: LlamaRun::new(model, options)?,
            sampler: Sampler::new(Sampling::default(), Vec::new()),
            n_vocab,
            text: Vec::new(),
            read: 0,
            trunk: 0,
            nodes: Vec::new(),
            ends: vec![None; capacity.sequences],
            capacity,
            rankers: threads,
            decoded: 0,
            warm_ms: 0.0,
        };
        drafter.ends[0] = Some(0);
        // A first decode makes llama.cpp take the memory that it will ever need, so that what
        // is measured after this stays true; the second tells how fast it is.
        for _ in 0..2 {
            let began = Instant::now();
            let warm: Vec<_> = (0..capacity.batch)
                .map(|i| token_at(TokenId(0), i, 0, true))
                .collect();
            drafter.run.decode(&warm)?;
            drafter.run.logits(capacity.batch - 1)?;
            drafter.warm_ms = began.elapsed().as_secs_f64() * 1e3;
            drafter.run.forget(0, 0);
        }
        Ok(drafter)
    }

    /// Never guesses tokens from `n_vocab` on: they are padding, and the oracle may have fewer.
    pub fn limit_vocabulary(&mut self, n_vocab: usize) {
        self.n_vocab = self.n_vocab.min(n_vocab);
    }

    /// Tokens decoded so far.
    pub fn decoded(&self) -> u64 {
        self.decoded
    }

    /// What decodes take, estimated from one full batch that was timed when it was opened.
    fn times(&self) -> DecodeTimes {
        match self.capacity {
            DraftCapacity::DEVICE => DecodeTimes::on_device(self.capacity.batch, self.warm_ms),
            _ => DecodeTimes::new(self.capacity.batch, self.warm_ms),
        }
    }

    /// The decoded guess that `path` leads to from the text's end; `Some(None)` for the end.
    fn find(&self, path: &[TokenId]) -> Option<Option<usize>> {
        let mut at = None;
        for &token in path {
            at = Some(self.child(at, token)?);
        }
        Some(at)
    }

    fn child(&self, parent: Option<usize>, token: TokenId) -> Option<usize> {
        self.nodes
            .iter()
            .position(|n| n.parent == parent && n.token == token)
    }

    /// Keeps the decoded guesses below `top`, which becomes a part of the text, or none of them;
    /// ends the sequences of which nothing is left.
    fn keep_below(&mut self, top: Option<usize>, keeps: bool) {
        let mut place: Vec<Option<usize>> = vec![None; self.nodes.len()];
        let mut kept: Vec<Decoded> = Vec::new();
        if let Some(top) = top {
            self.trunk = self.nodes[top].sequence;
        }
        for (i, node) in self.nodes.iter().enumerate() {
            let parent = match node.parent {
                parent if parent == top => Some(None),
                None => None,
                Some(parent) => place[parent].map(Some),
            };
            if let Some(parent) = parent.filter(|_| keeps) {
                place[i] = Some(kept.len());
                kept.push(Decoded { parent, ..*node });
            }
        }
        self.nodes = kept;
        let mut ends = vec![None; self.capacity.sequences];
        ends[self.trunk] = Some(self.read);
        for node in &self.nodes {
            let end: &mut Option<usize> = &mut ends[node.sequence];
            *end = (*end).max(Some(node.position + 1));
        }
        for (sequence, end) in ends.iter().enumerate() {
            if self.ends[sequence] != *end {
                self.run.forget(id(sequence), end.unwrap_or(0));
            }
        }
        self.ends = ends;
    }

    /// Reads text, without asking about it, until what is left of it fits one decode.
    fn read_ahead(&mut self) -> Result<(), LlamaError> {
        let most = self.capacity.batch;
        while self.text.len() - self.read > most {
            let part = &self.text[self.read..self.read + most];
            let batch: Vec<_> = (self.read..)
                .zip(part)
                .map(|(position, &t)| token_at(t, position, self.trunk, false))
                .collect();
            self.decode(&batch)?;
            self.read += most;
            self.ends[self.trunk] = Some(self.read);
        }
        Ok(())
    }

    fn decode(&mut self, batch: &[BatchToken]) -> Result<(), LlamaError> {
        self.run.decode(batch)?;
        self.decoded += batch.len() as u64;
        Ok(())
    }

    /// Puts what is unread of the text into the batch, and asks about its end.
    fn ask_end(&mut self, question: usize, pending: &mut Pending) {
        if self.read == self.text.len() {
            // Its logits were not kept. What was decoded after it belongs to an earlier tree.
            self.read -= 1;
            self.keep_below(None, false);
        }
        for (position, &token) in (self.read..).zip(&self.text[self.read..]) {
            let wanted = position + 1 == self.text.len();
            let token = token_at(token, position, self.trunk, wanted);
            pending.batch.push(token);
        }
        self.read = self.text.len();
        self.ends[self.trunk] = Some(self.read);
        let place = pending.batch.len() - 1;
        pending.questions.push((place, question, Vec::new()));
    }

    /// Puts a guess into the batch after its parent, and asks about it. Where the parent was never
    /// decoded, or cells or sequences are used up, nothing is asked and nothing is guessed.
    fn ask(
        &mut self,
        question: usize,
        path: Vec<TokenId>,
        pending: &mut Pending,
        answers: &mut [Vec<Guess>],
    ) -> Result<(), LlamaError> {
        let Some((&token, above)) = path.split_last() else {
            return Ok(());
        };
        let Some(parent) = self.find(above).filter(|_| self.read == self.text.len()) else {
            return Ok(());
        };
        if self.nodes.len() >= self.capacity.nodes || self.child(parent, token).is_some() {
            return Ok(());
        }
        let (of_parent, position) = match parent {
            Some(parent) => (self.nodes[parent].sequence, self.nodes[parent].position + 1),
            None => (self.trunk, self.read),
        };
        let continues = self.ends[of_parent] == Some(position);
        // Cells can be shared once they are computed.
        let in_batch = pending
            .batch
            .iter()
            .any(|t| t.position + 1 == position && t.sequences == [id(of_parent)]);
        if pending.batch.len() >= self.capacity.batch || (!continues && in_batch) {
            self.flush(pending, answers)?;
        }
        let sequence = if continues {
            of_parent
        } else {
            let Some(free) = self.ends.iter().position(Option::is_none) else {
                return Ok(());
            };
            self.run.share(id(of_parent), id(free), 0, position)?;
            free
        };
        self.ends[sequence] = Some(position + 1);
        self.nodes.push(Decoded {
            token,
            parent,
            sequence,
            position,
        });
        let place = pending.batch.len();
        pending
            .batch
            .push(token_at(token, position, sequence, true));
        pending.questions.push((place, question, path));
        Ok(())
    }

    /// Decodes what waits, and answers its questions.
    fn flush(
        &mut self,
        pending: &mut Pending,
        answers: &mut [Vec<Guess>],
    ) -> Result<(), LlamaError> {
        let Pending { batch, questions } = std::mem::take(pending);
        if batch.is_empty() {
            return Ok(());
        }
        self.decode(&batch)?;
        let last = &self.text[self.text.len().saturating_sub(Sampler::WINDOW)..];
        let asked = questions
            .into_iter()
            .map(|(place, question, path)| {
                Ok(Asked {
                    question,
                    history: [last, &path].concat(),
                    position: self.text.len() + path.len(),
                    logits: &self.run.logits(place)?[..self.n_vocab],
                })
            })
            .collect::<Result<Vec<_>, LlamaError>>()?;
        let most = self.capacity.guesses;
        for (question, guesses) in rank(&asked, &self.sampler, most, self.rankers) {
            answers[question] = guesses;
        }
        Ok(())
    }
}

impl Drafter for ModelDrafter {
    fn id(&self) -> DrafterId {
        Self::ID
    }

    fn cost(&self) -> Cost {
        Cost::Decodes {
            batch: self.capacity.batch,
            times: self.times(),
        }
    }

    /// Chooses from its own logits as the oracle's tokens are chosen from theirs. Greedy at first.
    fn choose_by(&mut self, sampler: &Sampler) {
        self.sampler.clone_from(sampler);
    }

    fn unread(&self, text: &[TokenId]) -> usize {
        text.len() - common_prefix(&self.text[..self.read], text)
    }

    fn follow(&mut self, text: &[TokenId]) -> Result<(), DraftError> {
        let common = text.len() - self.unread(text);
        let continues = common == self.read;
        let mut at = None;
        if continues {
            // The text went on: along guesses, for as long as they were right.
            while let Some(next) = text.get(self.read).and_then(|&t| self.child(at, t)) {
                at = Some(next);
                self.read += 1;
            }
        } else {
            self.read = common;
        }
        // What was decoded after a text's end says nothing about another end.
        let keeps = continues && self.read == text.len();
        self.text = text.to_vec();
        self.keep_below(at, keeps);
        Ok(self.read_ahead()?)
    }

    fn expand(
        &mut self,
        tree: &DraftTree,
        nodes: &[DraftIdx],
    ) -> Result<Vec<Vec<Guess>>, DraftError> {
        let mut answers = vec![Vec::new(); nodes.len()];
        let mut pending = Pending::default();
        for (question, &node) in nodes.iter().enumerate() {
            let path = tree.path(node);
            if !path.is_empty() {
                self.ask(question, path, &mut pending, &mut answers)?;
            } else if !self.text.is_empty() {
                self.ask_end(question, &mut pending);
            }
        }
        self.flush(&mut pending, &mut answers)?;
        Ok(answers)
    }
}

fn token_at(token: TokenId, position: usize, sequence: Sequence, logits: bool) -> BatchToken {
    BatchToken {
        token: token.0,
        position,
        sequences: vec![id(sequence)],
        logits,
    }
}

/// A sequence as llama.cpp names it.
fn id(sequence: Sequence) -> i32 {
    i32::try_from(sequence).unwrap_or(i32::MAX)
}
