//! How the next token is chosen from logits.
//!
//! The random number of a choice is a function of the seed and the token's position alone, so
//! that a seed gives the same text whatever was drafted.

use crate::oracle::argmax;
use crate::units::TokenId;

/// Tokens that the repetition penalty looks back on, as llama.cpp has it.
const PENALTY_WINDOW: usize = 64;

/// How the next token is chosen. Temperature 0 is greedy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    pub temperature: f32,
    /// Zero: all.
    pub top_k: usize,
    pub top_p: f32,
    pub min_p: f32,
    /// One: none.
    pub repeat_penalty: f32,
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            seed: 0,
        }
    }
}

/// Chooses tokens; has no state of its own.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    /// Tokens that are never chosen.
    banned: Vec<TokenId>,
}

impl Sampler {
    pub fn new(sampling: Sampling, banned: Vec<TokenId>) -> Self {
        Self { sampling, banned }
    }

    /// The token at `position` (counted from the prompt's start) after `history`.
    pub fn choose(&self, logits: &[f32], history: &[TokenId], position: usize) -> TokenId {
        let s = &self.sampling;
        if self.banned.is_empty() && s.temperature <= 0.0 && s.repeat_penalty == 1.0 {
            return argmax(logits);
        }
        let mut logits = logits.to_vec();
        for token in &self.banned {
            if let Some(logit) = logits.get_mut(index(*token)) {
                *logit = f32::NEG_INFINITY;
            }
        }
        self.penalise(&mut logits, history);
        if s.temperature <= 0.0 {
            return argmax(&logits);
        }
        self.draw(&logits, position)
    }

    fn penalise(&self, logits: &mut [f32], history: &[TokenId]) {
        let penalty = self.sampling.repeat_penalty;
        if penalty == 1.0 {
            return;
        }
        let mut recent: Vec<_> = history[history.len().saturating_sub(PENALTY_WINDOW)..].to_vec();
        recent.sort_unstable();
        recent.dedup();
        for token in recent {
            if let Some(logit) = logits.get_mut(index(token)) {
                *logit = if *logit > 0.0 {
                    *logit / penalty
                } else {
                    *logit * penalty
                };
            }
        }
    }

    /// Top-k, then top-p, then min-p on the untempered distribution, then the temperature: the
    /// order of llama.cpp's default chain.
    fn draw(&self, logits: &[f32], position: usize) -> TokenId {
        let s = &self.sampling;
        let mut likely: Vec<usize> = (0..logits.len()).collect();
        let by_logit = |&a: &usize, &b: &usize| logits[b].total_cmp(&logits[a]).then(a.cmp(&b));
        if s.top_k > 0 && s.top_k < likely.len() {
            likely.select_nth_unstable_by(s.top_k - 1, by_logit);
            likely.truncate(s.top_k);
        }
        likely.sort_unstable_by(by_logit);
        let top = logits[likely[0]];
        let weight = |i: usize| f64::from(logits[i] - top).exp();
        if s.top_p < 1.0 {
            let total: f64 = likely.iter().map(|&i| weight(i)).sum();
            let mut sum = 0.0;
            let kept = likely
                .iter()
                .take_while(|&&i| {
                    let before = sum;
                    sum += weight(i) / total;
                    before < f64::from(s.top_p)
                })
                .count();
            likely.truncate(kept.max(1));
        }
        if s.min_p > 0.0 {
            let kept = likely
                .iter()
                .take_while(|&&i| weight(i) >= f64::from(s.min_p))
                .count();
            likely.truncate(kept.max(1));
        }
        let temperature = f64::from(s.temperature);
        let tempered = |i: usize| (f64::from(logits[i] - top) / temperature).exp();
        let total: f64 = likely.iter().map(|&i| tempered(i)).sum();
        let mut left = uniform(s.seed, position) * total;
        let found = likely.iter().copied().find(|&i| {
            left -= tempered(i);
            left < 0.0
        });
        let chosen = found.unwrap_or(likely[likely.len() - 1]);
        TokenId(i32::try_from(chosen).unwrap_or(i32::MAX))
    }
}

fn index(token: TokenId) -> usize {
    usize::try_from(token.0).unwrap_or(usize::MAX)
}

/// A number in [0, 1) from seed and position: SplitMix64 (Steele, Lea, Flood, 2014).
fn uniform(seed: u64, position: usize) -> f64 {
    let mut z = seed
        .wrapping_mul(0xD134_2543_DE82_EF95)
        .wrapping_add((position as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(sampling: Sampling, logits: &[f32], n: usize) -> Vec<usize> {
        let sampler = Sampler::new(sampling, Vec::new());
        (0..n)
            .map(|p| index(sampler.choose(logits, &[], p)))
            .collect()
    }

    #[test]
    fn sampling_follows_the_distribution() {
        // Chi-square with 3 degrees of freedom; 16.3 is exceeded once in a thousand.
        let probabilities = [0.5_f64, 0.25, 0.15, 0.1];
        let logits: Vec<f32> = probabilities.iter().map(|p| p.ln() as f32).collect();
        let n = 20_000;
        let sampling = Sampling {
            temperature: 1.0,
            seed: 7,
            ..Sampling::default()
        };
        let mut counts = [0_usize; 4];
        for token in chosen(sampling, &logits, n) {
            counts[token] += 1;
        }
        let chi2: f64 = counts
            .iter()
            .zip(probabilities)
            .map(|(&c, p)| (c as f64 - p * n as f64).powi(2) / (p * n as f64))
            .sum();
        assert!(chi2 < 16.3, "{counts:?}: {chi2}");
    }

    #[test]
    fn cuts_leave_only_likely_tokens() {
        let logits: Vec<f32> = [0.5_f64, 0.25, 0.15, 0.1]
            .iter()
            .map(|p| p.ln() as f32)
            .collect();
        let base = Sampling {
            temperature: 1.0,
            ..Sampling::default()
        };
        let most = |s| chosen(s, &logits, 500).into_iter().max();
        assert_eq!(most(Sampling { top_k: 2, ..base }), Some(1));
        assert_eq!(most(Sampling { top_p: 0.7, ..base }), Some(1));
        assert_eq!(
            most(Sampling {
                min_p: 0.25,
                ..base
            }),
            Some(2)
        );
        assert_eq!(most(base), Some(3));
        assert_eq!(
            most(Sampling {
                temperature: 0.0,
                ..base
            }),
            Some(0)
        );
    }

    #[test]
    fn a_seed_fixes_the_choice_at_a_position() {
        let logits = vec![0.0; 50];
        let sampling = Sampling {
            temperature: 1.0,
            seed: 3,
            ..Sampling::default()
        };
        assert_eq!(chosen(sampling, &logits, 40), chosen(sampling, &logits, 40));
        let other = Sampling {
            seed: 4,
            ..sampling
        };
        assert_ne!(chosen(sampling, &logits, 40), chosen(other, &logits, 40));
    }

    #[test]
    fn repetition_is_penalised_and_banned_tokens_never_come() {
        let sampling = Sampling {
            repeat_penalty: 2.0,
            ..Sampling::default()
        };
        let sampler = Sampler::new(sampling, vec![TokenId(2)]);
        let logits = [1.0, 1.5, 9.0];
        assert_eq!(sampler.choose(&logits, &[], 0), TokenId(1));
        assert_eq!(sampler.choose(&logits, &[TokenId(1)], 0), TokenId(0));
    }
}
