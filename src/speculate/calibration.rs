//! How far a drafter's probabilities can be trusted, learnt from what became of its guesses.
//!
//! A guess is *judged* when its parent is accepted: the oracle then chose a token in its place. Of
//! judged guesses of stated probability p a certain share was right; the curve from p to that
//! share is learnt as a shift of the log-odds, in bins along them:
//!
//! ```text
//!  log-odds of the share that was right
//!        |            . ´
//!        |        . ´  | shift of a bin     linear between the bins' centres;
//!        |    . ´  x   v                    no shift before anything was judged
//!        | . ´ x
//!        +--------------- log-odds of the stated probability
//! ```

/// Log-odds of the first bin's centre (0.7%), and from a bin to the next.
const FIRST: f64 = -5.0;
const STEP: f64 = 1.25;
/// The last one's centre is 99.3%.
const BINS: usize = 9;

/// The stated probability counts as much as this many judged guesses.
const PRIOR: f64 = 12.0;

/// Guesses that a bin remembers, roughly: older ones fade.
const MEMORY: f64 = 600.0;

/// Of one drafter: a curve for each class of its guesses.
#[derive(Clone, Debug)]
pub struct Calibration(Vec<Curve>);

impl Calibration {
    /// Before anything was judged.
    pub fn new(classes: usize) -> Self {
        Self(vec![Curve::default(); classes.max(1)])
    }

    /// The probability that a guess of stated probability `p` is right where its parent is.
    pub fn of(&self, class: usize, p: f32) -> f32 {
        self.0[self.known(class)].of(f64::from(p)) as f32
    }

    /// Learns whether a judged guess of stated probability `p` was right.
    pub fn observe(&mut self, class: usize, p: f32, right: bool) {
        let class = self.known(class);
        self.0[class].observe(f64::from(p), right);
    }

    /// A class beyond the last counts to the last.
    fn known(&self, class: usize) -> usize {
        class.min(self.0.len() - 1)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    judged: f64,
    right: f64,
    /// Sum of the stated probabilities.
    stated: f64,
}

#[derive(Clone, Debug, Default)]
struct Curve {
    bins: [Bin; BINS],
}

impl Curve {
    fn of(&self, p: f64) -> f64 {
        let odds = log_odds(p);
        let at = ((odds - FIRST) / STEP).clamp(0.0, (BINS - 1) as f64);
        let low = (at.floor() as usize).min(BINS - 2);
        let part = at - low as f64;
        let shift = (1.0 - part) * self.shift(low) + part * self.shift(low + 1);
        probability(odds + shift)
    }

    /// How much the log-odds of a bin's guesses are off.
    fn shift(&self, bin: usize) -> f64 {
        let centre = PRIOR * probability(FIRST + STEP * bin as f64);
        let Bin {
            judged,
            right,
            stated,
        } = self.bins[bin];
        let share = |sum: f64| (sum + centre) / (judged + PRIOR);
        log_odds(share(right)) - log_odds(share(stated))
    }

    fn observe(&mut self, p: f64, right: bool) {
        let at = ((log_odds(p) - FIRST) / STEP).round();
        let bin = &mut self.bins[at.clamp(0.0, (BINS - 1) as f64) as usize];
        bin.judged += 1.0;
        bin.right += f64::from(u8::from(right));
        bin.stated += p;
        if bin.judged > MEMORY {
            bin.judged /= 2.0;
            bin.right /= 2.0;
            bin.stated /= 2.0;
        }
    }
}

fn log_odds(p: f64) -> f64 {
    // Beyond this nobody can tell a guess from a certainty.
    let p = p.clamp(1e-5, 1.0 - 1e-5);
    (p / (1.0 - p)).ln()
}

fn probability(log_odds: f64) -> f64 {
    1.0 / (1.0 + (-log_odds).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in [0, 1) without a pattern (a linear congruential generator's upper bits).
    fn numbers() -> impl Iterator<Item = f32> {
        let step = |x: &u64| Some(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        std::iter::successors(Some(7), step).map(|x| (x >> 40) as f32 / (1 << 24) as f32)
    }

    #[test]
    fn at_first_what_is_stated_is_believed() {
        let calibration = Calibration::new(1);
        for p in [0.001, 0.02, 0.3, 0.5, 0.9, 0.999] {
            let found = calibration.of(0, p);
            assert!((found - p).abs() < 1e-4, "{found}, not {p}");
        }
    }

    #[test]
    fn a_known_bias_is_found() {
        // Overconfident: of guesses stated with p, p squared are right.
        let mut calibration = Calibration::new(1);
        let mut numbers = numbers();
        for _ in 0..6000 {
            let (Some(p), Some(other)) = (numbers.next(), numbers.next()) else {
                unreachable!("they never end")
            };
            calibration.observe(0, p, other < p * p);
        }
        for p in [0.1, 0.25, 0.5, 0.7, 0.9_f32] {
            let found = calibration.of(0, p);
            assert!((found - p * p).abs() < 0.06, "{found} for {p}");
        }
    }

    #[test]
    fn classes_are_told_apart() {
        let mut calibration = Calibration::new(3);
        for i in 0..400 {
            calibration.observe(0, 0.5, i % 10 == 0);
            calibration.observe(2, 0.5, i % 10 != 0);
        }
        let of = |class| calibration.of(class, 0.5);
        assert!(of(0) < 0.15, "{}", of(0));
        assert!(of(2) > 0.85, "{}", of(2));
        assert!((of(1) - 0.5).abs() < 1e-6);
        assert!((of(3) - of(2)).abs() < 1e-6);
    }

    #[test]
    fn what_changes_is_learnt_again() {
        let mut calibration = Calibration::new(1);
        for i in 0..4000 {
            calibration.observe(0, 0.5, i < 2000);
        }
        assert!(calibration.of(0, 0.5) < 0.2);
    }
}
