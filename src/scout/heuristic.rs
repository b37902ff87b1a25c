//! The scout without a network: named features, weights, and reasons in words.

use super::features::{Reader, Sink};
use super::model::{Model, softmax};
use crate::telemetry::ScoutView;
use crate::typing::Clock;
use crate::vocabulary::Label;
use std::sync::Arc;

/// Most reasons that are given.
const MAX_REASONS: usize = 3;
/// A reason counts from this much of the score, against the mean of the other labels.
const LEAST_REASON: f64 = 0.1;

/// Reads a prompt as it is typed and says what it probably asks for.
#[derive(Debug)]
pub struct HeuristicScout {
    reader: Reader,
    tally: Tally,
}

/// The features of the text, added up.
#[derive(Debug)]
struct Tally {
    model: Arc<Model>,
    /// Tokens with each word feature.
    counts: Vec<u32>,
    present: usize,
    sums: [i64; 3],
}

impl Sink for Tally {
    fn number_of(&mut self, name: &str) -> Option<u32> {
        self.model.number_of(name)
    }

    fn add(&mut self, feature: u32) {
        let count = &mut self.counts[feature as usize];
        *count += 1;
        if *count == 1 {
            self.present += 1;
            self.weigh(feature, 1);
        }
    }

    fn remove(&mut self, feature: u32) {
        let count = &mut self.counts[feature as usize];
        *count -= 1;
        if *count == 0 {
            self.present -= 1;
            self.weigh(feature, -1);
        }
    }
}

impl Tally {
    fn weigh(&mut self, feature: u32, sign: i64) {
        let (_, weights) = self.model.word(feature);
        for (sum, weight) in self.sums.iter_mut().zip(weights) {
            *sum += sign * i64::from(*weight);
        }
    }
}

impl HeuristicScout {
    /// With the weights that NMOS ships.
    pub fn new() -> Self {
        Self::with_model(Model::shipped())
    }

    /// With other weights.
    pub fn with_model(model: Arc<Model>) -> Self {
        Self {
            reader: Reader::new(),
            tally: Tally {
                counts: vec![0; model.words.len()],
                model,
                present: 0,
                sums: [0; 3],
            },
        }
    }

    /// Looks at the text, whatever it was before; what did not change costs next to nothing.
    /// `last_us` is zero; [`HeuristicScout::look_timed`] measures it.
    pub fn look(&mut self, text: &str) -> ScoutView {
        self.reader.update(text, &mut self.tally);
        if text.trim().is_empty() {
            return ScoutView::default();
        }
        let scores = self.scores();
        let temperature = self.tally.model.temperature(self.reader.facts().words);
        let mut view = ScoutView {
            predicted: Some(softmax(scores, temperature)),
            ..ScoutView::default()
        };
        if let Some((label, _)) = view.best() {
            view.reasons = self.reasons(label);
        }
        view
    }

    /// [`HeuristicScout::look`], and how long it took by `clock`.
    pub fn look_timed(&mut self, text: &str, clock: &dyn Clock) -> ScoutView {
        let began_us = clock.now_us();
        let mut view = self.look(text);
        view.last_us = clock.now_us().saturating_sub(began_us);
        view
    }

    /// Scores before the temperature, for calibration.
    pub(super) fn scores(&self) -> [f32; 3] {
        let flags = self.reader.facts().flags();
        self.tally
            .model
            .scores(self.tally.sums, self.tally.present, flags)
    }

    /// Words in the text, as far as it is read.
    pub(super) fn words(&self) -> u16 {
        self.reader.facts().words
    }

    /// What spoke most for `label`: flags first among equals, then words as they were typed.
    fn reasons(&self, label: Label) -> Vec<String> {
        let model = &self.tally.model;
        let at = label as usize;
        let margin = |w: &[i32; 3]| {
            let others: i32 = w.iter().sum::<i32>() - w[at];
            (f64::from(w[at]) - f64::from(others) / 2.0) * 1e-3
        };
        let scale = 1.0 / (self.tally.present.max(1) as f64).sqrt();
        let flags = self.reader.facts().flags().filter_map(|flag| {
            let reason = flag.reason()?;
            Some((margin(model.flag(flag)), reason.to_owned()))
        });
        let words = self.reader.log().iter().filter_map(|&feature| {
            let (name, weights) = model.word(feature);
            // Whole words only: a prefix or a place would have to be explained in turn.
            let word = name.strip_prefix("w ").or(name.strip_prefix("b "))?;
            let weight = margin(weights) * scale;
            let plain = !word.starts_with('^') && word.len() > 2;
            (plain && weight >= LEAST_REASON).then(|| (weight, format!("\"{word}\"")))
        });
        let mut all: Vec<(f64, String)> = flags.chain(words).collect();
        all.retain(|(weight, _)| *weight >= LEAST_REASON);
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut reasons: Vec<String> = Vec::with_capacity(MAX_REASONS);
        for (_, reason) in all {
            if reasons.len() == MAX_REASONS {
                break;
            }
            // A flag that holds more than once, or a word within a phrase, is named once.
            let bare = reason.trim_matches('"');
            if !reasons
                .iter()
                .any(|r| r.contains(bare) || bare.contains(r.trim_matches('"')))
            {
                reasons.push(reason);
            }
        }
        reasons
    }
}

impl Default for HeuristicScout {
    fn default() -> Self {
        Self::new()
    }
}
