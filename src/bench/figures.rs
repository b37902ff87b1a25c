//! Figures over all rows: percentiles, and how often the scout was right.

use super::Row;
use serde::Serialize;

/// A figure that percentiles are taken of.
pub struct Measure {
    /// Its name in the report.
    pub name: &'static str,
    pub of: fn(&Row) -> Option<f64>,
}

/// Every figure that percentiles are taken of.
pub const MEASURES: [Measure; 12] = [
    measure("ttft_ms", |r| r.stats()?.ttft_ms),
    measure("cold_ttft_ms", |r| r.stats()?.cold_ttft_ms),
    measure("hidden_fraction", |r| r.stats()?.hidden_fraction),
    measure("tokens_per_s", |r| r.stats()?.tokens_per_s),
    measure("passes", |r| Some(r.stats()?.passes as f64)),
    measure("accepted_per_pass", |r| r.stats()?.accepted_per_pass),
    measure("accept_rate", |r| r.stats()?.accept_rate),
    measure("bytes_read", |r| Some(r.stats()?.bytes_read as f64)),
    measure("bytes_wasted", |r| Some(r.stats()?.bytes_wasted as f64)),
    measure("read_gb_s", |r| r.stats()?.read_gb_s),
    measure("stall_ms", |r| Some(r.stats()?.stall_ms)),
    measure("prefetch_hit_rate", |r| r.stats()?.prefetch_hit_rate),
];

const fn measure(name: &'static str, of: fn(&Row) -> Option<f64>) -> Measure {
    Measure { name, of }
}

/// How a figure is spread over the rows that have it. Between two rows the value is
/// interpolated, so that `p50` is the usual median.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// Rows that have the figure.
    pub rows: usize,
    pub min: f64,
    pub p10: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub max: f64,
}

impl Percentiles {
    /// `None` where there are no values.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.retain(|v| v.is_finite());
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let at = |share: f64| {
            let place = share * (values.len() - 1) as f64;
            let below = values[place.floor() as usize];
            let above = values[place.ceil() as usize];
            below + (above - below) * place.fract()
        };
        Some(Self {
            rows: values.len(),
            min,
            p10: at(0.10),
            p50: at(0.50),
            p90: at(0.90),
            p95: at(0.95),
            max,
        })
    }
}

/// Each figure's percentiles over the rows without a fault.
pub fn percentiles(rows: &[Row]) -> Vec<(&'static str, Option<Percentiles>)> {
    let sound: Vec<_> = rows.iter().filter(|row| row.faults().is_empty()).collect();
    MEASURES
        .iter()
        .map(|measure| {
            let values = sound.iter().filter_map(|row| (measure.of)(row));
            (measure.name, Percentiles::of(values.collect()))
        })
        .collect()
}

/// The scout against the labels that traces carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ScoutScore {
    /// Traces with a label.
    pub labelled: usize,
    pub right: usize,
    pub wrong: usize,
    /// Those that the scout said nothing on.
    pub silent: usize,
    /// Right ones among those that it said something on.
    pub accuracy: Option<f64>,
}

impl ScoutScore {
    /// Over all rows with an answer.
    pub fn of(rows: &[Row]) -> Self {
        let mut score = Self::default();
        let labelled = rows.iter().filter(|r| r.label.is_some());
        for row in labelled.filter(|r| r.stats().is_some()) {
            score.labelled += 1;
            match row.scout_right() {
                Some(true) => score.right += 1,
                Some(false) => score.wrong += 1,
                None => score.silent += 1,
            }
        }
        let said = score.right + score.wrong;
        score.accuracy = (said > 0).then(|| score.right as f64 / said as f64);
        score
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_interpolate_between_rows() {
        let values: Vec<_> = (0..=100).rev().map(f64::from).collect();
        let p = Percentiles::of(values).unwrap();
        assert_eq!((p.rows, p.min, p.max), (101, 0.0, 100.0));
        assert_eq!((p.p10, p.p50, p.p90, p.p95), (10.0, 50.0, 90.0, 95.0));
        let p = Percentiles::of(vec![4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!(p.p50, 2.5);
        assert!((p.p90 - 3.7).abs() < 1e-12);
    }

    #[test]
    fn one_value_is_all_its_percentiles_and_none_has_none() {
        let p = Percentiles::of(vec![7.0, f64::NAN]).unwrap();
        assert_eq!((p.rows, p.min, p.p50, p.p95, p.max), (1, 7.0, 7.0, 7.0, 7.0));
        assert_eq!(Percentiles::of(Vec::new()), None);
    }
}
