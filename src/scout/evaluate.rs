//! How good a scout is: accuracy by how much has been typed, and whether its probabilities
//! mean what they say.

use super::heuristic::HeuristicScout;
use super::model::{Model, softmax};
use super::prompts::Prompt;
use crate::vocabulary::Label;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A prediction together with the truth.
#[derive(Clone, Copy, Debug)]
pub struct Prediction {
    pub label: Label,
    /// Scores before the temperature.
    pub(super) scores: [f32; 3],
    pub(super) words: u16,
    /// Of the likeliest label.
    pub confidence: f32,
    pub right: bool,
}

/// The fold of `folds` that a prompt belongs to: by its text, so that copies stay together.
pub fn fold_of(prompt: &Prompt, folds: u64) -> u64 {
    let digest = Sha256::digest(prompt.text.as_bytes());
    let head = digest
        .iter()
        .take(8)
        .fold(0u64, |n, &b| n << 8 | u64::from(b));
    head % folds.max(1)
}

/// What `model` says of each text, whose prompt is at its side.
pub fn predictions<'a>(
    model: &Arc<Model>,
    texts: impl Iterator<Item = (String, &'a Prompt)>,
) -> Vec<Prediction> {
    let mut scout = HeuristicScout::with_model(Arc::clone(model));
    texts
        .filter_map(|(text, prompt)| {
            let (best, confidence) = scout.look(&text).best()?;
            Some(Prediction {
                label: prompt.label,
                scores: scout.scores(),
                words: scout.words(),
                confidence,
                right: best == prompt.label,
            })
        })
        .collect()
}

/// What `model` says after `chars` typed characters of each prompt.
pub fn after<'a>(
    model: &Arc<Model>,
    prompts: impl Iterator<Item = &'a Prompt>,
    chars: usize,
) -> Vec<Prediction> {
    predictions(model, prompts.map(|p| (p.typed_until(chars), p)))
}

/// Share of right ones; `None` for none.
pub fn accuracy(predictions: &[Prediction]) -> Option<f64> {
    let right = predictions.iter().filter(|p| p.right).count();
    (!predictions.is_empty()).then(|| right as f64 / predictions.len() as f64)
}

/// Expected calibration error over ten bins of confidence: how far, on average, the stated
/// probability of the likeliest label is from the share of times that it was right.
pub fn calibration_error(predictions: &[Prediction]) -> Option<f64> {
    if predictions.is_empty() {
        return None;
    }
    let mut bins = [(0.0, 0.0); 10];
    for p in predictions {
        let bin = ((p.confidence * 10.0) as usize).min(9);
        bins[bin].0 += f64::from(p.confidence);
        bins[bin].1 += f64::from(u8::from(p.right));
    }
    let off: f64 = bins.iter().map(|(said, was)| (said - was).abs()).sum();
    Some(off / predictions.len() as f64)
}

/// Mean log-loss in nats at the temperatures of `model`.
pub fn log_loss(model: &Model, predictions: &[Prediction]) -> Option<f64> {
    let loss = |p: &Prediction| {
        let t = model.temperature(p.words);
        -f64::from(softmax(p.scores, t)[p.label as usize].max(1e-6).ln())
    };
    let sum: f64 = predictions.iter().map(loss).sum();
    (!predictions.is_empty()).then(|| sum / predictions.len() as f64)
}
