//! What a network's own arithmetic leaves in a likelihood: the same solve with the network in f64.

use std::ops::Range;

use models::Network;
use ndarray::ArrayViewD;
use ode_solvers::LogLikelihood;

use super::{LikelihoodSettings, NetworkRun, Result};

impl NetworkRun<'_> {
    /// Solves the rows again with `twin`, the same network in f64, and tells the first of `found` the difference as their
    /// error of rounding. Probes are those of the first solve; where rounding tips the decision about a step, the steps after
    /// it have others, and the difference contains their noise.
    ///
    /// # Errors
    /// As [`likelihood`](Self::likelihood).
    pub fn measure_rounding(
        &self,
        twin: &dyn Network,
        x: &ArrayViewD<f64>,
        rows: Range<usize>,
        settings: &LikelihoodSettings<'_>,
        found: &mut [LogLikelihood],
    ) -> Result<()> {
        let run = NetworkRun { network: twin, on_progress: &|_| (), ..*self };
        if rows.is_empty() {
            return Ok(());
        }
        let exact = run.likelihood_of_some(x, rows, settings)?;
        for (found, exact) in found.iter_mut().zip(exact) {
            let off = (found.value() - exact.value()).abs();
            found.errors.float = off.is_finite().then_some(off);
        }
        Ok(())
    }
}
