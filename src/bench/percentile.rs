//! Percentiles by nearest rank: each is a value that was measured.

use serde::Serialize;

/// Of one figure over all rows that have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p95: Option<f64>,
    pub max: Option<f64>,
    /// How many rows have the figure.
    pub n: usize,
}

impl Percentiles {
    /// Null where there are no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let rank = |percent: usize| {
            let rank = (percent * n).div_ceil(100).max(1);
            sorted.get(rank - 1).copied()
        };
        Self {
            p50: rank(50),
            p90: rank(90),
            p95: rank(95),
            max: sorted.last().copied(),
            n,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_values_that_were_measured() {
        let all = Percentiles::of((1..=20).rev().map(f64::from));
        let expected = [Some(10.0), Some(18.0), Some(19.0), Some(20.0)];
        assert_eq!([all.p50, all.p90, all.p95, all.max], expected);
        let two = Percentiles::of([3.0, 1.0]);
        assert_eq!((two.p50, two.p90, two.n), (Some(1.0), Some(3.0), 2));
        assert_eq!(Percentiles::of([]), Percentiles::default());
    }
}
