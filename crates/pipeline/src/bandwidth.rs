//! The bandwidth of a kernel density estimate, chosen on held-out data.

use ndarray::{Array2, Axis};
use rayon::prelude::*;
use sde_core::{GaussianMixture, Result, Sde};

/// The interval that is searched, in model coordinates [−1, 1).
const SEARCH: (f64, f64) = (0.01, 1.0);
/// Golden-section steps: the bandwidth is known to 0.618²⁴ of the interval's logarithm, 5e-5 of its value.
const STEPS: u32 = 24;

/// The density estimate with one Gaussian per row of `train` whose bandwidth maximises the mean log-density of
/// `held_out`; returns it with the bandwidth.
///
/// The mean log-density rises and then falls in the bandwidth, so a golden-section search finds its maximum.
///
/// # Errors
/// When `train` is empty or the dimensions differ.
pub fn kernel_density(
    sde: &dyn Sde,
    train: &Array2<f64>,
    held_out: &Array2<f64>,
) -> Result<(GaussianMixture, f64)> {
    let fit = |log_h: f64| GaussianMixture::kernel_density(train.clone(), log_h.exp());
    let quality = |log_h: f64| -> Result<f64> {
        let density = log_densities(&fit(log_h)?, sde, held_out, 0.0)?;
        Ok(density.iter().sum())
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
    Ok((fit(log_h)?, log_h.exp()))
}

/// `log p_t(x)` in nats of each row of `x` under a mixture noised by `sde`.
///
/// # Errors
/// When the dimensions differ.
pub fn log_densities(
    mixture: &GaussianMixture,
    sde: &dyn Sde,
    x: &Array2<f64>,
    t: f64,
) -> Result<Vec<f64>> {
    let rows: Vec<_> = x.axis_iter(Axis(0)).map(|row| row.to_vec()).collect();
    let density = |row: &Vec<f64>| mixture.score(sde).log_density(row, t);
    rows.par_iter().map(density).collect()
}
