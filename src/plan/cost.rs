//! What passes and decodes cost, learnt as they run.
//!
//! A pass reads and computes at the same time: `T(width) = max(stream, compute(width))`. Where
//! `compute` has not been measured yet, it is taken from the curve of a typical processor, with its
//! steps (kernels take rows in groups), scaled by what has been measured:
//!
//! ```text
//!  ms |                              . ´ measured widths count for themselves,
//!     |                  ______. ´ ´     others by the scale of all
//!     |        ____. - ´
//!     |   . - ´   ^ up to here a node more is free
//!     +---+----+----+-----------+--- width
//! ```
//!
//! A device waits for weights on its own, so a pass that takes no longer than the link says nothing
//! about computing. Until a pass has taken longer, the link is taken to hide all computing: trees
//! are then wide, and the first pass over one tells.
//!
//! Times are in milliseconds.

use crate::ggml::Kernels;
use crate::oracle::WidthClass;

/// Relative times of a pass by width with the fastest kernels, on a processor of
/// [`PassTimes::CORES`]; one is the time of a single token.
const PASS: [(usize, f64); 10] = [
    (1, 3.9),
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

/// The same with kernels that compute every token by itself (88 to 1650 ms on 2 cores of a Xeon
/// with AVX-512 for 1 to 63 tokens of the default oracle).
const PLAIN_PASS: [(usize, f64); 9] = [
    (1, 1.0),
    (2, 1.4),
    (3, 1.7),
    (4, 2.0),
    (7, 2.8),
    (8, 3.1),
    (16, 4.9),
    (63, 18.8),
    (512, 153.0),
];

/// The same on a GPU, without the link. From an H100 over 35 GB of weights: 42, 99, 292 and 549
/// ms at 1, 64, 256 and 512 tokens; evenly between.
const PASS_ON_DEVICE: [(usize, f64); 8] = [
    (1, 1.0),
    (8, 1.15),
    (16, 1.32),
    (32, 1.67),
    (64, 2.36),
    (128, 3.89),
    (256, 6.95),
    (512, 13.07),
];

/// Where a pass of at most this width on a device takes longer than was expected of the link, the
/// link is slower than expected.
const NARROW: usize = 64;

/// Relative times of a draft's decode by its tokens.
const DECODE: [(usize, f64); 5] = [(1, 1.0), (2, 2.4), (4, 3.2), (8, 4.2), (16, 5.5)];

/// The same on a GPU, where a few hundred kernels have to be started for any number of tokens: a
/// first estimate, which measurements replace.
const DECODE_ON_DEVICE: [(usize, f64); 4] = [(1, 1.0), (8, 1.1), (16, 1.3), (32, 1.7)];

/// The weight of a new measurement in a moving average.
const FRESH: f64 = 0.2;

/// A pass that stalls for more than this share of its time takes as long as reading does.
const STALLED: f64 = 0.05;

/// A pass on a device measures computing only if it takes longer than reading by more than this
/// share.
const HIDDEN: f64 = 0.05;

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

    /// The entry of `nominal` that a width belongs to: the first at or above it.
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
        Some(self.scaled(width, self.scale?))
    }

    /// The same, with `scale` for widths that were not measured.
    fn scaled(&self, width: usize, scale: f64) -> f64 {
        let (ratio, known) = self.ratios[self.place(width)];
        let ratio = (ratio * known + scale) / (known + 1.0);
        self.nominal(width) * ratio
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
    /// With [`Kernels::Plain`] on the CPU.
    plain: Curve,
    stream_ms: Option<f64>,
    on_device: bool,
    /// A pass has been measured.
    are_known: bool,
}

impl Default for PassTimes {
    fn default() -> Self {
        Self {
            compute: Curve::new(&PASS),
            plain: Curve::new(&PLAIN_PASS),
            stream_ms: None,
            on_device: false,
            are_known: false,
        }
    }
}

impl PassTimes {
    /// Cores of the processor whose times are taken as typical.
    pub const CORES: f64 = 2.0;

    /// For an oracle on a device, whether weights stay on it or are sent to it.
    pub fn on_device() -> Self {
        Self {
            compute: Curve::new(&PASS_ON_DEVICE),
            on_device: true,
            ..Self::default()
        }
    }

    /// The curve of passes with these kernels, and that of passes with the others.
    fn curves(&self, kernels: Kernels) -> (&Curve, &Curve) {
        if kernels == Kernels::Plain && !self.on_device {
            (&self.plain, &self.compute)
        } else {
            (&self.compute, &self.plain)
        }
    }

    /// Time of a pass in `class` that is `width` tokens wide, padding included. Before anything was
    /// measured it is in an unknown unit, which is enough to compare widths.
    pub fn ms(&self, width: usize, class: WidthClass) -> f64 {
        let hides = self.on_device && self.stream_ms.is_some();
        let (curve, other) = self.curves(class.kernels());
        // Measurements with the other kernels also tell how fast the processor is.
        let scale = curve.scale.or(other.scale);
        let compute = match scale {
            Some(scale) => curve.scaled(width, scale),
            None if hides => 0.0,
            None => curve.nominal(width),
        };
        compute.max(self.stream_ms.unwrap_or(0.0))
    }

    /// Learns from a pass that took so long, and waited for weights for a part of it.
    pub fn observe(&mut self, width: usize, class: WidthClass, wall_ms: f64, stall_ms: f64) {
        if wall_ms <= 0.0 {
            return;
        }
        let first = !std::mem::replace(&mut self.are_known, true);
        if self.on_device {
            if !first {
                self.observe_on_device(width, wall_ms, stall_ms);
            }
            return;
        }
        if first {
            // The first pass waits for the weights that stay, too; no later one does.
        } else if stall_ms > STALLED * wall_ms {
            let stream = self.stream_ms.get_or_insert(wall_ms);
            *stream += FRESH * (wall_ms - *stream);
        } else if let Some(stream) = &mut self.stream_ms {
            // Reading takes no longer than a pass that did not wait for it.
            *stream = stream.min(wall_ms);
        }
        let curve = match class.kernels() {
            Kernels::Plain => &mut self.plain,
            Kernels::Fastest => &mut self.compute,
        };
        curve.observe(width, wall_ms - stall_ms);
    }

    fn observe_on_device(&mut self, width: usize, wall_ms: f64, stall_ms: f64) {
        match &mut self.stream_ms {
            Some(stream)
                if width <= NARROW
                    || wall_ms <= *stream * (1.0 + HIDDEN)
                    || stall_ms > STALLED * wall_ms =>
            {
                *stream += FRESH * (wall_ms - *stream);
            }
            _ => self.compute.observe(width, wall_ms),
        }
    }

    /// Takes this as the time of reading until a pass has measured it.
    pub fn expect_stream(&mut self, ms: f64) {
        if self.stream_ms.is_none() && ms > 0.0 {
            self.stream_ms = Some(ms);
        }
    }

    /// Whether any pass has been measured.
    pub fn are_known(&self) -> bool {
        self.are_known
    }
}

/// What asking a draft costs.
#[derive(Clone, Debug)]
pub struct DecodeTimes(Curve);

impl DecodeTimes {
    /// From one measurement on the CPU.
    pub fn new(tokens: usize, ms: f64) -> Self {
        Self::along(&DECODE, tokens, ms)
    }

    /// The same on a device with its own memory.
    pub fn on_device(tokens: usize, ms: f64) -> Self {
        Self::along(&DECODE_ON_DEVICE, tokens, ms)
    }

    fn along(nominal: &'static [(usize, f64)], tokens: usize, ms: f64) -> Self {
        let mut curve = Curve::new(nominal);
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

    const BATCH: WidthClass = WidthClass::BATCH;
    const PLAIN: WidthClass = WidthClass::PLAIN;

    #[test]
    fn one_measurement_scales_all_widths() {
        let mut times = PassTimes::default();
        assert!(times.ms(16, BATCH) < times.ms(63, BATCH));
        for _ in 0..20 {
            times.observe(16, BATCH, 440.0, 0.0);
        }
        assert!((times.ms(16, BATCH) - 440.0).abs() < 1.0);
        // Of the other kernels the same is expected, until a pass tells.
        assert!((times.ms(1, PLAIN) - 100.0).abs() < 1.0);
        assert!((times.ms(63, BATCH) - 1070.0).abs() < 1.0);
        // A width that was measured counts for itself.
        for _ in 0..20 {
            times.observe(63, BATCH, 700.0, 0.0);
        }
        assert!(
            (times.ms(63, BATCH) - 700.0).abs() < 60.0,
            "{}",
            times.ms(63, BATCH)
        );
        assert!(
            (times.ms(16, BATCH) - 440.0).abs() < 40.0,
            "{}",
            times.ms(16, BATCH)
        );
    }

    #[test]
    fn narrow_passes_take_as_long_as_reading() {
        let mut times = PassTimes::default();
        for _ in 0..20 {
            times.observe(16, BATCH, 180.0, 100.0);
        }
        for width in [1, 8, 16] {
            assert!((times.ms(width, BATCH) - 180.0).abs() < 1.0);
        }
        // Computing takes 80 ms for 16 tokens, and more than reading for very many.
        assert!(times.ms(256, BATCH) > 500.0);
        // The disk became faster than was thought.
        times.observe(16, BATCH, 120.0, 0.0);
        assert!(times.ms(8, BATCH) <= 120.0);
    }

    #[test]
    fn a_first_pass_says_nothing_of_reading() {
        let mut times = PassTimes::default();
        times.observe(16, BATCH, 2000.0, 1900.0);
        assert!((times.ms(16, BATCH) - 100.0).abs() < 1.0);
        times.expect_stream(150.0);
        assert!((times.ms(16, BATCH) - 150.0).abs() < 1.0);
        for _ in 0..20 {
            times.observe(16, BATCH, 180.0, 80.0);
        }
        assert!((times.ms(16, BATCH) - 180.0).abs() < 1.0);
    }

    /// An H100 over 35 GB through a window, in the median: the link takes 607 ms.
    const H100: [(usize, f64); 4] = [(1, 611.0), (64, 619.0), (256, 635.0), (512, 666.0)];

    #[test]
    fn on_a_device_what_the_link_hides_is_free() {
        let mut times = PassTimes::on_device();
        // The first pass sends what stays, too.
        times.observe(40, BATCH, 9000.0, 0.0);
        times.expect_stream(607.0);
        assert!(times.are_known());
        // Nothing is known of computing, so that wide passes seem free and will be tried.
        assert!((times.ms(512, BATCH) - 607.0).abs() < 1.0);
        for _ in 0..4 {
            for (width, ms) in H100 {
                times.observe(width, BATCH, ms, 0.0);
            }
        }
        for (width, ms) in H100 {
            let found = times.ms(width, BATCH);
            assert!(
                (found / ms - 1.0).abs() < 0.05,
                "{found} for {width}, not {ms}"
            );
        }
    }

    #[test]
    fn on_a_device_a_wide_pass_that_takes_too_long_is_noticed() {
        // Computing alone, since all weights stay: the first figures of H100 twice as long.
        let mut times = PassTimes::on_device();
        times.observe(40, BATCH, 9000.0, 0.0);
        times.observe(1, BATCH, 84.0, 0.0);
        assert!((times.ms(64, BATCH) - 198.0).abs() < 2.0);
        assert!((times.ms(512, BATCH) - 1098.0).abs() < 2.0);
        // Few weights pass through: the link's 50 ms hide less than was expected.
        let mut times = PassTimes::on_device();
        times.observe(40, BATCH, 9000.0, 0.0);
        times.expect_stream(50.0);
        times.observe(512, BATCH, 549.0, 0.0);
        assert!((times.ms(512, BATCH) - 549.0).abs() < 1.0);
        assert!((times.ms(64, BATCH) - 99.0).abs() < 1.0);
        assert!((times.ms(1, BATCH) - 50.0).abs() < 1.0);
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
        let mut times = DecodeTimes::on_device(32, 8.5);
        assert!((times.ms(1) - 5.0).abs() < 0.1);
        for _ in 0..10 {
            times.observe(32, 6.0);
            times.observe(16, 5.0);
        }
        assert!((times.ms(32) - 6.0).abs() < 0.5 && (times.ms(16) - 5.0).abs() < 0.5);
    }
}
