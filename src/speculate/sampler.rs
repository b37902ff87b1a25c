//! How the next token is chosen from logits.
//!
//! A draw is the greatest of the tempered logits with Gumbel noise added, which follows the
//! softmax of the tempered logits exactly (Gumbel-max: Gumbel, 1954; Maddison et al., 2014). The
//! noise of a token is a function of seed, position and token alone:
//!
//! - a seed gives the same text whatever was drafted;
//! - a draft that adds the same noise to its own logits mostly has the same favourite, so that
//!   guesses are accepted about as often as when nothing is random.

use super::noise::Noise;
use crate::oracle::argmax;
use crate::units::TokenId;

/// For guesses, a token whose score is this far below the best one is left out: a whole vocabulary
/// of such tokens would have a hundredth of the best one's probability.
const NEGLIGIBLE: f32 = 16.0;

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

/// A guess of a draft's logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    pub token: TokenId,
    /// Softmax of the scores by which tokens are chosen.
    pub p: f32,
}

/// Chooses tokens; has no state of its own.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    /// Tokens that are never chosen.
    banned: Vec<TokenId>,
}

impl Sampler {
    /// How many of the last tokens the repetition penalty covers, as in llama.cpp: no more of a
    /// history is needed.
    pub const WINDOW: usize = 64;

    pub fn new(sampling: Sampling, banned: Vec<TokenId>) -> Self {
        Self { sampling, banned }
    }

    /// The token at `position` (counted from the prompt's start) after `history`.
    pub fn choose(&self, logits: &[f32], history: &[TokenId], position: usize) -> TokenId {
        if self.is_plain() {
            return argmax(logits);
        }
        let logits = self.allowed(logits, history);
        if self.is_greedy() {
            return argmax(&logits);
        }
        let noise = Noise::new(self.sampling.seed, position);
        match self.cut(&logits) {
            Some(likely) => self.draw(&logits, likely.into_iter(), noise),
            None => self.draw(&logits, 0..logits.len(), noise),
        }
    }

    /// The `n` tokens that a draft with these logits takes for the likeliest choices, best
    /// first. What [`Sampler::choose`] would choose from them comes first.
    pub fn rank(
        &self,
        logits: &[f32],
        history: &[TokenId],
        position: usize,
        n: usize,
    ) -> Vec<Ranked> {
        if self.is_plain() {
            return best_of(logits.iter().copied().enumerate(), n);
        }
        let logits = self.allowed(logits, history);
        if self.is_greedy() {
            return best_of(logits.iter().copied().enumerate(), n);
        }
        let noise = Noise::new(self.sampling.seed, position);
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // Tokens far below the top are hardly ever drawn, and a guess may ignore them.
        let least = top - NEGLIGIBLE * self.sampling.temperature;
        let score = |i: usize| (i, self.score(logits[i], i, noise) as f32);
        match self.cut(&logits) {
            Some(likely) => best_of(likely.into_iter().map(score), n),
            None => best_of(
                (0..logits.len()).filter(|&i| logits[i] >= least).map(score),
                n,
            ),
        }
    }

    fn is_greedy(&self) -> bool {
        self.sampling.temperature <= 0.0
    }

    /// Whether the logits alone decide.
    fn is_plain(&self) -> bool {
        self.banned.is_empty() && self.is_greedy() && self.sampling.repeat_penalty == 1.0
    }

    /// The logits, with banned tokens and NaN at minus infinity and repeated tokens penalised.
    fn allowed(&self, logits: &[f32], history: &[TokenId]) -> Vec<f32> {
        let known = |&x: &f32| if x.is_nan() { f32::NEG_INFINITY } else { x };
        let mut logits: Vec<_> = logits.iter().map(known).collect();
        for token in &self.banned {
            if let Some(logit) = logits.get_mut(index(*token)) {
                *logit = f32::NEG_INFINITY;
            }
        }
        self.penalise(&mut logits, history);
        logits
    }

    fn penalise(&self, logits: &mut [f32], history: &[TokenId]) {
        let penalty = self.sampling.repeat_penalty;
        if penalty == 1.0 {
            return;
        }
        let mut recent: Vec<_> = history[history.len().saturating_sub(Self::WINDOW)..].to_vec();
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

    /// What top-k, then top-p, then min-p leave of the untempered distribution, the order of
    /// llama.cpp's default chain. `None`: all.
    fn cut(&self, logits: &[f32]) -> Option<Vec<usize>> {
        let s = &self.sampling;
        if s.top_k == 0 && s.top_p >= 1.0 && s.min_p <= 0.0 {
            return None;
        }
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
        Some(likely)
    }

    /// The token with the greatest score is chosen.
    fn score(&self, logit: f32, token: usize, noise: Noise) -> f64 {
        self.tempered(logit) + noise.gumbel(token)
    }

    fn tempered(&self, logit: f32) -> f64 {
        f64::from(logit) / f64::from(self.sampling.temperature)
    }

    /// The token of the greatest score among `tokens`; the first of equals.
    fn draw(
        &self,
        logits: &[f32],
        tokens: impl Iterator<Item = usize> + Clone,
        noise: Noise,
    ) -> TokenId {
        let better = |a: (usize, f64), b: (usize, f64)| {
            if b.1 > a.1 || (b.1 == a.1 && b.0 < a.0) {
                b
            } else {
                a
            }
        };
        let likeliest = tokens
            .clone()
            .fold(None, |best: Option<usize>, i| match best {
                Some(best) if logits[best] >= logits[i] => Some(best),
                _ => Some(i),
            });
        let Some(first) = likeliest else {
            return argmax(logits);
        };
        // The likeliest first, so that most others can be ruled out without the logarithms that
        // their noise takes.
        let mut best = (first, self.score(logits[first], first, noise));
        for i in tokens {
            let tempered = self.tempered(logits[i]);
            if noise.may_exceed(i, best.1 - tempered) {
                best = better(best, (i, tempered + noise.gumbel(i)));
            }
        }
        token_id(best.0)
    }
}

/// The `n` greatest scores with their softmax over all.
fn best_of(scores: impl Iterator<Item = (usize, f32)> + Clone, n: usize) -> Vec<Ranked> {
    let scores = scores.filter(|(_, score)| !score.is_nan());
    let top = scores
        .clone()
        .fold(f32::NEG_INFINITY, |top, (_, score)| top.max(score));
    if n == 0 || top == f32::NEG_INFINITY {
        return Vec::new();
    }
    let mut total = 0.0;
    let mut best: Vec<(usize, f32)> = Vec::with_capacity(n + 1);
    for (i, score) in scores {
        if score > top - NEGLIGIBLE {
            total += (score - top).exp();
        }
        if best.len() < n || score > best[n - 1].1 {
            let at = best.partition_point(|&(_, other)| other >= score);
            best.insert(at, (i, score));
            best.truncate(n);
        }
    }
    best.into_iter()
        .map(|(i, score)| Ranked {
            token: token_id(i),
            p: (score - top).exp() / total,
        })
        .collect()
}

fn token_id(index: usize) -> TokenId {
    TokenId(i32::try_from(index).unwrap_or(i32::MAX))
}

fn index(token: TokenId) -> usize {
    usize::try_from(token.0).unwrap_or(usize::MAX)
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

    /// The plain definition: every token's noise, and the greatest sum.
    fn drawn_at_length(sampling: Sampling, logits: &[f32], position: usize) -> usize {
        let noise = Noise::new(sampling.seed, position);
        let score =
            |i: usize| f64::from(logits[i]) / f64::from(sampling.temperature) + noise.gumbel(i);
        (0..logits.len())
            .max_by(|&a, &b| score(a).total_cmp(&score(b)))
            .unwrap()
    }

    #[test]
    fn tokens_passed_over_are_never_the_greatest() {
        // From flat to steep: few and many tokens are passed over without a logarithm.
        for (seed, slope) in [(1, 0.0), (2, 0.02), (3, 0.2), (4, 3.0)] {
            let logits: Vec<f32> = (0..400).map(|i| (i * 37 % 400) as f32 * slope).collect();
            let sampling = Sampling {
                temperature: 0.8,
                seed,
                ..Sampling::default()
            };
            for (position, token) in chosen(sampling, &logits, 200).into_iter().enumerate() {
                assert_eq!(token, drawn_at_length(sampling, &logits, position));
            }
        }
    }

    #[test]
    fn a_draft_with_the_oracles_logits_has_the_oracles_choice_first() {
        let logits: Vec<f32> = (0..300).map(|i| ((i * 53) % 97) as f32 * 0.08).collect();
        let warm = Sampling {
            temperature: 0.9,
            repeat_penalty: 1.3,
            seed: 11,
            ..Sampling::default()
        };
        let history: Vec<_> = (40..90).map(TokenId).collect();
        for sampling in [
            Sampling::default(),
            warm,
            Sampling { top_p: 0.8, ..warm },
            Sampling { top_k: 20, ..warm },
        ] {
            let sampler = Sampler::new(sampling, vec![TokenId(5)]);
            for position in 0..100 {
                let ranked = sampler.rank(&logits, &history, position, 6);
                let choice = sampler.choose(&logits, &history, position);
                assert_eq!(ranked[0].token, choice);
                assert!(ranked.is_sorted_by(|a, b| a.p >= b.p));
                assert!(ranked.iter().map(|r| r.p).sum::<f32>() <= 1.0 + 1e-5);
            }
        }
    }
}
