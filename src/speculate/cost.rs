//! What passes and decodes cost, learnt as they run.
//!
//! A pass reads and computes at the same time: `T(width) = max(stream, compute(width))`. What is
//! not known of `compute` yet has the shape that it has on a typical processor, with its steps
//! (kernels take rows in groups), scaled by what has been measured:
//!
//! ```text
//!  ms |                              . ´ measured widths count for themselves,
//!     |                  ______. ´ ´     others by the scale of all
//!     |        ____. - ´
//!     |   . - ´   ^ up to here a node more is free
//!     +---+----+----+-----------+--- width
//! ```
//!
//! Times are in milliseconds.

/// Relative times of a pass by width, on a processor of [`PassTimes::CORES`].
const PASS: [(usize, f64); 14] = [
    (1, 1.0),
    (2, 2.2),
    (3, 2.7),
    (4, 3.1),
    (7, 4.5),
    (8, 4.2),
    (16, 4.4),
    (24, 6.3),
    (32, 6.7),
    (48, 9.0),
    (63, 10.7),
    (128, 18.3),
    (256, 34.5),
    (512, 70.0),
];

/// Relative times of a draft's decode by its tokens.
const DECODE: [(usize, f64); 5] = [(1, 1.0), (2, 2.4), (4, 3.2), (8, 4.2), (16, 5.5)];

/// How much a new measurement counts against those before.
const FRESH: f64 = 0.2;

/// A pass that waits for weights for more than this share of its time is as long as reading.
const STALLED: f64 = 0.05;

/// Times by width.
#[derive(Clone, Debug)]
struct Curve {
    nominal: &'static [(usize, f64)],
    /// Measured over nominal, of all measurements.
    scale: Option<f64>,
    /// The same for widths up to each of `nominal`, and how much was measured there.
    ratios: Vec<(f64, f64)>,
}

impl Curve {
    fn new(nominal: &'static [(usize, f64)]) -> Self {
        Self {
            nominal,
            scale: None,
            ratios: vec![(1.0, 0.0); nominal.len()],
        }
    }

    /// The place in `nominal` that a width counts to, the next at or above it.
    fn place(&self, width: usize) -> usize {
        let found = self.nominal.partition_point(|&(w, _)| w < width);
        found.min(self.nominal.len() - 1)
    }

    fn nominal(&self, width: usize) -> f64 {
        let place = self.place(width);
        let (w1, t1) = self.nominal[place];
        if place == 0 || width >= w1 {
            // Beyond the last one in proportion.
            return t1 * (width.max(1) as f64 / w1 as f64).max(1.0);
        }
        let (w0, t0) = self.nominal[place - 1];
        t0 + (t1 - t0) * (width - w0) as f64 / (w1 - w0) as f64
    }

    /// `None` before anything was measured.
    fn ms(&self, width: usize) -> Option<f64> {
        let scale = self.scale?;
        let (ratio, known) = self.ratios[self.place(width)];
        let ratio = (ratio * known + scale) / (known + 1.0);
        Some(self.nominal(width) * ratio)
    }

    fn observe(&mut self, width: usize, ms: f64) {
        let found = ms / self.nominal(width);
        let scale = self.scale.get_or_insert(found);
        *scale += FRESH * (found - *scale);
        let place = self.place(width);
        let (ratio, known) = &mut self.ratios[place];
        *known = (*known + 1.0).min(8.0);
        *ratio += (found - *ratio) * (1.0 / *known).max(FRESH);
    }
}

/// What a pass of the oracle costs.
#[derive(Clone, Debug)]
pub struct PassTimes {
    compute: Curve,
    stream_ms: Option<f64>,
}

impl Default for PassTimes {
    fn default() -> Self {
        Self {
            compute: Curve::new(&PASS),
            stream_ms: None,
        }
    }
}

impl PassTimes {
    /// The processor whose times are taken as typical has so many.
    pub const CORES: f64 = 2.0;

    /// Time of a pass that is `width` tokens wide, padding counted in. Before anything was
    /// measured, in an unknown unit: as good for comparing widths.
    pub fn ms(&self, width: usize) -> f64 {
        let compute = self
            .compute
            .ms(width)
            .unwrap_or_else(|| self.compute.nominal(width));
        compute.max(self.stream_ms.unwrap_or(0.0))
    }

    /// Learns from a pass that took so long, and waited for weights for a part of it.
    pub fn observe(&mut self, width: usize, wall_ms: f64, stall_ms: f64) {
        if wall_ms <= 0.0 {
            return;
        }
        if !self.are_known() {
            // The first one waits for the weights that stay, too: no later pass does.
        } else if stall_ms > STALLED * wall_ms {
            let stream = self.stream_ms.get_or_insert(wall_ms);
            *stream += FRESH * (wall_ms - *stream);
        } else if let Some(stream) = &mut self.stream_ms {
            // Reading takes no longer than a pass that did not wait for it.
            *stream = stream.min(wall_ms);
        }
        self.compute.observe(width, wall_ms - stall_ms);
    }

    /// Takes this as the time of reading until a pass has waited for it.
    pub fn expect_stream(&mut self, ms: f64) {
        if self.stream_ms.is_none() && ms > 0.0 {
            self.stream_ms = Some(ms);
        }
    }

    /// Whether any pass has been measured.
    pub fn are_known(&self) -> bool {
        self.compute.scale.is_some()
    }

    /// Whether a pass of this width waits for weights.
    pub fn is_stream_bound(&self, width: usize) -> bool {
        let compute = self.compute.ms(width).unwrap_or(0.0);
        self.stream_ms.is_some_and(|stream| stream > compute)
    }
}

/// What asking a draft costs.
#[derive(Clone, Debug)]
pub struct DecodeTimes(Curve);

impl DecodeTimes {
    /// From one measurement.
    pub fn new(tokens: usize, ms: f64) -> Self {
        let mut curve = Curve::new(&DECODE);
        curve.scale = Some(ms / curve.nominal(tokens));
        Self(curve)
    }

    /// Time of a decode.
    pub fn ms(&self, tokens: usize) -> f64 {
        self.0.ms(tokens).unwrap_or(0.0)
    }

    /// Learns from one.
    pub fn observe(&mut self, tokens: usize, ms: f64) {
        self.0.observe(tokens, ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_measurement_scales_all_widths() {
        let mut times = PassTimes::default();
        assert!(times.ms(16) < times.ms(63));
        for _ in 0..20 {
            times.observe(16, 440.0, 0.0);
        }
        assert!((times.ms(16) - 440.0).abs() < 1.0);
        assert!((times.ms(1) - 100.0).abs() < 1.0);
        assert!((times.ms(63) - 1070.0).abs() < 1.0);
        // A width that was measured counts for itself.
        for _ in 0..20 {
            times.observe(63, 700.0, 0.0);
        }
        assert!((times.ms(63) - 700.0).abs() < 60.0, "{}", times.ms(63));
        assert!((times.ms(16) - 440.0).abs() < 40.0, "{}", times.ms(16));
    }

    #[test]
    fn narrow_passes_take_as_long_as_reading() {
        let mut times = PassTimes::default();
        for _ in 0..20 {
            times.observe(16, 180.0, 100.0);
        }
        for width in [1, 8, 16] {
            assert!((times.ms(width) - 180.0).abs() < 1.0);
        }
        assert!(times.is_stream_bound(16));
        // Computing takes 80 ms for 16 tokens, and more than reading for very many.
        assert!(!times.is_stream_bound(256));
        assert!(times.ms(256) > 500.0);
        // The disk became faster than was thought.
        times.observe(16, 120.0, 0.0);
        assert!(times.ms(8) <= 120.0);
    }

    #[test]
    fn a_first_pass_says_nothing_of_reading() {
        let mut times = PassTimes::default();
        times.observe(16, 2000.0, 1900.0);
        assert!((times.ms(16) - 100.0).abs() < 1.0);
        times.expect_stream(150.0);
        assert!((times.ms(16) - 150.0).abs() < 1.0);
        for _ in 0..20 {
            times.observe(16, 180.0, 80.0);
        }
        assert!((times.ms(16) - 180.0).abs() < 1.0);
    }

    #[test]
    fn decodes_begin_with_what_was_measured_once() {
        let mut times = DecodeTimes::new(16, 55.0);
        assert!((times.ms(1) - 10.0).abs() < 0.1);
        for _ in 0..10 {
            times.observe(1, 14.0);
        }
        assert!((times.ms(1) - 14.0).abs() < 1.0);
        assert!(times.ms(8) > times.ms(1));
    }
}
