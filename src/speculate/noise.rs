//! Gumbel noise that is a function of seed, position and token.

/// The hash's golden-ratio step: SplitMix64 (Steele, Lea, Flood, 2014).
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// From this gap on the quick test of [`Noise::may_exceed`] rules out nearly all tokens.
const QUICK_GAP: f64 = 5.0;

/// The noise of one position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noise {
    state: u64,
}

impl Noise {
    pub(super) fn new(seed: u64, position: usize) -> Self {
        let state = seed
            .wrapping_mul(0xD134_2543_DE82_EF95)
            .wrapping_add((position as u64 + 1).wrapping_mul(STEP));
        Self { state: mix(state) }
    }

    /// A draw from the standard Gumbel distribution.
    pub(super) fn gumbel(self, token: usize) -> f64 {
        -(-self.uniform(token).ln()).ln()
    }

    /// Whether the noise of `token` may be greater than `gap`. False is never wrong, and is the
    /// usual answer for large gaps: far cheaper than the noise itself.
    ///
    /// The noise is greater if `-ln u < exp(-gap)`; since `-ln u >= 1 - u`, only if
    /// `1 - u < exp(-gap)`.
    pub(super) fn may_exceed(self, token: usize, gap: f64) -> bool {
        // The greatest uniform number is 2^-53 below one.
        const GREATEST: f64 = 37.0;
        if gap > GREATEST {
            return false;
        }
        // A little more than exp(-5).
        gap < QUICK_GAP || 1.0 - self.uniform(token) < 0.006_738
    }

    /// Strictly between 0 and 1.
    fn uniform(self, token: usize) -> f64 {
        let bits = mix(self
            .state
            .wrapping_add((token as u64 + 1).wrapping_mul(STEP)));
        ((bits >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_noise_is_gumbels() {
        // P(g <= x) = exp(-exp(-x)), at a few points, within 4 standard errors.
        let n = 40_000;
        let draws: Vec<f64> = (0..n)
            .map(|i| Noise::new(5, i / 200).gumbel(i % 200))
            .collect();
        for x in [-1.0, 0.0, 1.0, 2.5_f64] {
            let expected = (-(-x).exp()).exp();
            let found = draws.iter().filter(|&&g| g <= x).count() as f64 / n as f64;
            let error = (expected * (1.0 - expected) / n as f64).sqrt();
            assert!(
                (found - expected).abs() < 4.0 * error,
                "{x}: {found}, {expected}"
            );
        }
    }

    #[test]
    fn what_is_ruled_out_is_smaller() {
        for position in 0..200 {
            let noise = Noise::new(9, position);
            for token in 0..500 {
                let g = noise.gumbel(token);
                for gap in [-1.0, 3.0, 5.0, 7.0, 12.0, 40.0] {
                    assert!(noise.may_exceed(token, gap) || g <= gap, "{g} > {gap}");
                }
            }
        }
    }
}
