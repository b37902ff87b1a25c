//! Which label the text at hand has, for eviction: what the scout says, and what routing says.
//!
//! Experts that the label's profile uses often are evidence for the label. Layers and
//! neighbouring tokens say much the same thing, so that a token counts once, however many experts
//! it uses, and what was said some dozen tokens ago counts less:
//!
//! ```text
//!  log odds of a label = the scout's + sum over tokens (mean of ln rate of the experts used)
//! ```
//!
//! Units: natural logarithms. A use takes constant time.

use super::eviction::Use;
use super::profile::Profile;
use crate::vocabulary::Label;

const LABELS: usize = Label::ALL.len();
/// After so many tokens half of the evidence is of older ones.
const HALF_LIFE_TOKENS: f32 = 32.0;
/// What a token's routing counts.
const EVIDENCE: f32 = 2.0;
/// A label that the scout rules out may be right yet.
const LEAST_PROBABILITY: f32 = 0.01;
/// One use of an expert that a profile knows none of is no proof.
const LEAST_RATE: f32 = 1e-3;
/// Less of a change is not seen in eviction.
const CHANGE: f32 = 0.02;

/// See the module's text.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    /// Of each expert by number, what its use says for each label.
    evidence: Vec<[f32; LABELS]>,
    scout: [f32; LABELS],
    routing: [f32; LABELS],
    /// The probabilities that were made a prior last.
    said: Option<[f32; LABELS]>,
}

impl Labels {
    /// Of so many experts, which say nothing yet.
    pub fn new(experts: usize) -> Self {
        Self {
            evidence: vec![[0.0; LABELS]; experts],
            scout: [0.0; LABELS],
            routing: [0.0; LABELS],
            said: None,
        }
    }

    /// Takes what `profile` knows now, of as many experts.
    pub fn learn(&mut self, profile: &Profile) {
        for (number, evidence) in self.evidence.iter_mut().enumerate() {
            let logs = Label::ALL.map(|label| profile.rate(label, number).max(LEAST_RATE).ln());
            // Against the other labels.
            let mean = logs.iter().sum::<f32>() / LABELS as f32;
            *evidence = logs.map(|log| log - mean);
        }
        self.said = None;
    }

    /// The scout's probabilities, in the order of [`Label::ALL`].
    pub fn set_scout(&mut self, probabilities: [f32; LABELS]) {
        self.scout = probabilities.map(|p| match p.is_finite() {
            true => p.clamp(LEAST_PROBABILITY, 1.0).ln(),
            false => LEAST_PROBABILITY.ln(),
        });
    }

    /// `tokens` tokens have been computed in one of so many `layers`, whose first expert has the
    /// number `start`, with these.
    pub fn used(&mut self, start: usize, uses: &[Use], tokens: f32, layers: usize) {
        let all: u32 = uses.iter().map(|of| of.its).sum();
        let each = EVIDENCE * tokens / (all.max(1) as f32 * layers as f32);
        for of in uses {
            let evidence = self.evidence[start + of.id.expert];
            for (log, evidence) in self.routing.iter_mut().zip(evidence) {
                *log += each * of.its as f32 * evidence;
            }
        }
    }

    /// So many tokens have been computed.
    pub fn forget(&mut self, tokens: f32) {
        let keep = (-tokens / HALF_LIFE_TOKENS).exp2();
        self.routing.iter_mut().for_each(|log| *log *= keep);
    }

    /// The probabilities, where they have changed since this was last asked.
    pub fn changed(&mut self) -> Option<[f32; LABELS]> {
        let now = self.probabilities();
        let moved = |said: [f32; LABELS]| said.iter().zip(now).any(|(a, b)| (a - b).abs() > CHANGE);
        if self.said.is_none_or(moved) {
            self.said = Some(now);
            return self.said;
        }
        None
    }

    #[cfg(test)]
    pub fn said(&self) -> Option<[f32; LABELS]> {
        self.said
    }

    fn probabilities(&self) -> [f32; LABELS] {
        let mut logs = self.scout;
        logs.iter_mut()
            .zip(self.routing)
            .for_each(|(log, routing)| *log += routing);
        let most = logs.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let parts = logs.map(|log| (log - most).exp());
        let sum: f32 = parts.iter().sum();
        parts.map(|part| part / sum)
    }
}
