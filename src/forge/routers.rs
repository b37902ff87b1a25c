//! Routers for a model that has none: what they tell apart is what its layers are given.
//!
//! ```text
//!  sample: code, chat, docs -> source -> by layer: norm(x) of each token, the feed-forward's input
//!                                          -> cluster centres, one for each expert
//! ```
//!
//! As all experts are copies of one feed-forward, the routers decide what is computed with, and
//! not what is computed.

use super::centres::Centres;
use super::running::{Means, RunError, Runner};
use super::source::Source;
use super::{ForgeError, IoStep, Watch};
use crate::ggml::llama::LlamaError;
use crate::model::{Experts, Slot, TextError, Tokenizer, trial};
use crate::oracle::{Oracle, OracleError, WidthClass};
use crate::units::{Bytes, TokenId};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// One text of each kind that the scout knows.
const SAMPLE: [&str; 3] = [
    include_str!("sample/code.txt"),
    include_str!("sample/chat.txt"),
    include_str!("sample/docs.txt"),
];

/// Most tokens of a text.
const TEXT_TOKENS: usize = 512;

/// Why there are no routers.
#[derive(Debug, thiserror::Error)]
pub enum RoutersError {
    #[error("no routers can be made: {0}")]
    Trial(#[from] trial::TrialError),
    #[error("no routers can be made: {0}")]
    Vocabulary(#[from] LlamaError),
    #[error("no routers can be made: {0}")]
    Text(#[from] TextError),
    #[error("no routers can be made: {0}")]
    Run(#[from] RunError),
    #[error("no routers can be made: {0}")]
    Pass(#[from] OracleError),
}

/// How evenly the routers of a model use its experts on the sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    pub tokens: usize,
    /// Of the least and the most used expert of any layer: the part of what it would have if all
    /// were used alike.
    pub least: f64,
    pub most: f64,
}

/// The routers of all layers.
#[derive(Debug, Default)]
pub struct Routers {
    layers: Vec<Centres>,
    tokens: usize,
}

impl Routers {
    /// Finds routers for the layers of `source`.
    ///
    /// # Errors
    /// A model that cannot be run, and a stop.
    pub fn find(
        source: &Source,
        experts: Experts,
        means: Means,
        watch: &Watch<'_>,
    ) -> Result<Self, ForgeError> {
        watch
            .progress
            .note("routing: the source reads a sample of code, chat and docs");
        let texts = sample(source, means)?;
        let tokens = texts.iter().map(Vec::len).sum::<usize>();
        let inputs = inputs(source, &texts, means, watch)?;
        watch
            .progress
            .note("routing: looking for what tells its tokens apart");
        let width = source.shape().n_embd;
        let find = |states| Centres::find(states, width, experts.count, experts.used);
        let mut layers = Vec::with_capacity(inputs.len());
        let mut inputs = inputs.into_iter();
        loop {
            watch.check()?;
            // As many layers at a time as there are threads: each has its own result.
            let some: Vec<_> = inputs.by_ref().take(means.threads.max(1)).collect();
            if some.is_empty() {
                return Ok(Self { layers, tokens });
            }
            layers.extend(std::thread::scope(|scope| {
                let running = some
                    .into_iter()
                    .map(|states| scope.spawn(move || find(states)));
                let running: Vec<_> = running.collect();
                running
                    .into_iter()
                    .map(|one| {
                        one.join()
                            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                    })
                    .collect::<Vec<_>>()
            }));
        }
    }

    /// `[experts, width]` of the source's layer `layer`.
    pub fn rows(&self, layer: usize) -> Option<&[f32]> {
        self.layers.get(layer).map(|centres| &*centres.rows)
    }

    /// `None` where there are no routers.
    pub fn shares(&self) -> Option<Shares> {
        let shares = self.layers.iter().flat_map(|centres| {
            let all: u32 = centres.uses.iter().sum();
            let fair = f64::from(all.max(1)) / centres.uses.len() as f64;
            centres.uses.iter().map(move |&n| f64::from(n) / fair)
        });
        let (least, most) = shares.fold(None, |found, share| {
            let (least, most) = found.unwrap_or((share, share));
            Some((share.min(least), share.max(most)))
        })?;
        Some(Shares {
            tokens: self.tokens,
            least,
            most,
        })
    }
}

/// The texts of the sample in tokens.
fn sample(source: &Source, means: Means) -> Result<Vec<Vec<TokenId>>, RoutersError> {
    trial::admit(source.gguf(), Some(means.ram))?;
    let tokenizer = Tokenizer::open(source.gguf())?;
    let most = TEXT_TOKENS.min(source.shape().ctx_train);
    let tokens = |text: &&str| {
        let mut tokens: Vec<_> = tokenizer.begin().into_iter().collect();
        tokens.extend(tokenizer.text(text)?);
        tokens.truncate(most);
        Ok(tokens)
    };
    SAMPLE.iter().map(tokens).collect()
}

/// By layer, what its feed-forward multiplies by: `[n_embd, tokens]` of all texts.
fn inputs(
    source: &Source,
    texts: &[Vec<TokenId>],
    means: Means,
    watch: &Watch<'_>,
) -> Result<Vec<Vec<f32>>, ForgeError> {
    let (shape, tokens) = (source.shape(), texts.iter().map(Vec::len).sum::<usize>());
    let kept = (tokens * shape.n_embd * shape.n_layer * size_of::<f32>()) as u64;
    let runner = Runner {
        path: source.gguf().path(),
        means,
        held: Bytes(kept),
        ctx_tokens: TEXT_TOKENS,
        max_nodes: 1,
    };
    let mut oracle = runner.open_layers().map_err(RoutersError::from)?;
    let mut layers: Vec<Vec<f32>> = (0..shape.n_layer)
        .map(|_| Vec::with_capacity(tokens * shape.n_embd))
        .collect();
    for text in texts {
        oracle.truncate(0);
        for some in text.chunks(WidthClass::BATCH.max) {
            watch.check()?;
            let inputs = oracle.feed_forward_inputs(some);
            for (layer, x) in layers.iter_mut().zip(inputs.map_err(RoutersError::from)?) {
                layer.extend(x);
            }
        }
    }
    for (layer, states) in layers.iter_mut().enumerate() {
        normalise(states, &norm(source, layer)?, shape.rms_eps);
    }
    Ok(layers)
}

/// The weights of the norm before the feed-forward of `layer`.
fn norm(source: &Source, layer: usize) -> Result<Vec<f32>, ForgeError> {
    let mut tensors = source.layer(layer).map(|(known, _)| known);
    let Some(known) = tensors.find(|known| known.spec.slot == Slot::FeedForwardNorm) else {
        return Ok(vec![1.0; source.shape().n_embd]);
    };
    let path = &source.gguf().files[known.tensor.file].path;
    let mut bytes = vec![0; usize::try_from(known.tensor.bytes).unwrap_or(usize::MAX)];
    File::open(path)
        .and_then(|file| file.read_exact_at(&mut bytes, known.tensor.offset))
        .map_err(|source| ForgeError::Io {
            step: IoStep::Read,
            path: path.clone(),
            source,
        })?;
    let (floats, _) = bytes.as_chunks::<4>();
    Ok(floats
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect())
}

/// The RMS norm with `weights` of each row.
fn normalise(rows: &mut [f32], weights: &[f32], eps: f32) {
    for row in rows.chunks_exact_mut(weights.len()) {
        let square: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let factor = 1.0 / (square / weights.len() as f64 + f64::from(eps)).sqrt();
        for (x, weight) in row.iter_mut().zip(weights) {
            *x = (f64::from(*x) * factor) as f32 * weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn centres(uses: &[u32]) -> Centres {
        Centres {
            rows: Vec::new(),
            uses: uses.to_vec(),
        }
    }

    #[test]
    fn shares_are_of_what_would_be_even() {
        assert_eq!(Routers::default().shares(), None);
        let routers = Routers {
            layers: vec![centres(&[10, 10, 20, 0]), centres(&[5, 15, 10, 10])],
            tokens: 20,
        };
        let shares = routers.shares().unwrap();
        assert_eq!((shares.tokens, shares.least, shares.most), (20, 0.0, 2.0));
    }

    #[test]
    fn rows_are_normalised_as_a_layer_does() {
        let mut rows = [3.0, -3.0, 0.0, 0.0];
        normalise(&mut rows, &[1.0, 2.0], 0.0);
        assert_eq!(rows[..2], [1.0, -2.0]);
        assert!(rows[2..].iter().all(|x| x.is_nan()));
        normalise(&mut rows[..2], &[1.0, 1.0], 1e-5);
        assert!(rows[0] > 0.6 && rows[0] < 0.64, "{rows:?}");
    }
}
