//! The bandwidth of a kernel density estimate, chosen on held-out data.

use ndarray::Array2;
use ode_solvers::{Samples, in_chunks};
use sde_core::error::{check, check_size};
use sde_core::{GaussianMixture, Result, VpLinear};

/// The interval that is searched, in model coordinates [−1, 1).
const SEARCH: (f64, f64) = (0.01, 1.0);
/// Golden-section steps: the bandwidth is known to 0.618²⁴ of the interval's logarithm, 5e-5 of its value.
const STEPS: u32 = 24;

/// The density estimate with one Gaussian per row of `train` whose bandwidth maximises the mean log-density of
/// `held_out`; returns it with the bandwidth.
///
/// A golden-section search over bandwidths from 0.01 to 1: exact where the mean log-density rises and then falls, as it
/// does for data whose neighbours are about equally far; a local maximum otherwise.
///
/// # Errors
/// When either set is empty, the dimensions differ, or the best bandwidth is at an end of the search.
pub fn kernel_density(
    train: &Array2<f64>,
    held_out: &Array2<f64>,
) -> Result<(GaussianMixture, f64)> {
    check_size("held-out points", held_out.nrows().min(1), 1)?;
    let data = VpLinear::default(); // at t = 0 the mixture itself, as under every process with σ(0) = 0
    let fit = |log_h: f64| GaussianMixture::kernel_density(train.clone(), log_h.exp());
    let quality = |log_h: f64| -> Result<f64> {
        let mixture = fit(log_h)?;
        let sum = |rows: Samples<_>| -> Result<f64> {
            Ok(mixture.log_densities(&data, &rows.x, 0.0)?.iter().sum())
        };
        Ok(in_chunks(held_out, 0, 32, sum)?.iter().sum())
    };
    let ratio = 0.5 * (5_f64.sqrt() - 1.0);
    let (mut low, mut high) = (SEARCH.0.ln(), SEARCH.1.ln());
    let mut inner = [high - ratio * (high - low), low + ratio * (high - low)];
    let mut value = [quality(inner[0])?, quality(inner[1])?];
    for _ in 0..STEPS {
        if value[0] > value[1] {
            high = inner[1];
            inner = [high - ratio * (high - low), inner[0]];
            value = [quality(inner[0])?, value[0]];
        } else {
            low = inner[0];
            inner = [inner[1], low + ratio * (high - low)];
            value = [value[1], quality(inner[1])?];
        }
    }
    let log_h = 0.5 * (low + high);
    let inside = (low > SEARCH.0.ln()) && (high < SEARCH.1.ln());
    let bandwidth = check("bandwidth", log_h.exp(), inside, "its best value inside 0.01 to 1")?;
    Ok((fit(log_h)?, bandwidth))
}
