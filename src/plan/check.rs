//! Passes that are really run, to compare a prediction with.

use super::{Forecast, OracleFile, Placement};
use crate::oracle::{Oracle, OracleError, PassShape};
use crate::telemetry::Hub;
use serde::Serialize;
use std::num::NonZeroUsize;
use std::time::Instant;

/// A prediction and what came of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Checked {
    pub nodes: usize,
    pub predicted_pass_s: f64,
    /// The median of the passes.
    pub measured_pass_s: f64,
    /// Predicted over measured.
    pub ratio: f64,
    /// Waiting for weights, in the median of the passes.
    pub measured_stall_s: f64,
}

/// Loads the oracle as a session would, and runs `passes` passes of the shape of each forecast.
///
/// # Errors
/// An oracle that cannot be loaded, or a pass that fails.
pub fn check(
    oracle: &OracleFile,
    placement: &Placement,
    forecasts: &[Forecast],
    passes: NonZeroUsize,
) -> anyhow::Result<Vec<Checked>> {
    let (index, blueprint) = (&oracle.index, &oracle.blueprint);
    // Only models that we have graphs for are predicted.
    let mut oracle = placement.open_oracle(index, blueprint, None, None, &Hub::new())?;
    let shapes = placement.shapes();
    let mut checked = Vec::with_capacity(forecasts.len());
    for (forecast, shape) in forecasts.iter().zip(shapes) {
        // What stays arrives in the first pass, and the ring settles into this shape's pace.
        pass(&mut *oracle, shape)?;
        let mut times = (0..passes.get())
            .map(|_| pass(&mut *oracle, shape))
            .collect::<Result<Vec<_>, _>>()?;
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (measured_pass_s, measured_stall_s) = times[times.len() / 2];
        checked.push(Checked {
            nodes: forecast.nodes,
            predicted_pass_s: forecast.predicted_pass_s,
            measured_pass_s,
            ratio: forecast.predicted_pass_s / measured_pass_s,
            measured_stall_s,
        });
    }
    Ok(checked)
}

/// One pass over a chain that is not kept: its seconds, and those of them that were stalls.
fn pass(oracle: &mut dyn Oracle, shape: PassShape) -> Result<(f64, f64), OracleError> {
    let tree = shape.tree(oracle.n_vocab());
    let began = Instant::now();
    let output = oracle.pass(&tree, shape.class)?;
    Ok((
        began.elapsed().as_secs_f64(),
        output.cost.stall_us as f64 / 1e6,
    ))
}
