//! Data seen through the noise: `x_t = α(t) x_0 + σ(t) ε` with a time for each sample.

use sde_core::error::check_size;
use sde_core::sde::Coefficients;
use sde_core::state::check_alike;
use sde_core::{Result, Sde, State};

/// Writes `α(t_i) x_0,i + σ(t_i) ε_i` to `out`.
///
/// # Errors
/// When there is not one time for each sample, or `noise` and `out` have other samples than `x0`.
pub fn perturb<X: State>(sde: &dyn Sde, x0: &X, noise: &X, t: &[f64], out: &mut X) -> Result<()> {
    check_size("times of the batch", t.len(), x0.samples())?;
    perturb_at(&levels(sde, t), x0, noise, out)
}

/// As [`perturb`], at the noise level `levels[i]` for sample i.
///
/// # Errors
/// As [`perturb`].
pub fn perturb_at<X: State>(levels: &[Coefficients], x0: &X, noise: &X, out: &mut X) -> Result<()> {
    check_size("noise levels of the batch", levels.len(), x0.samples())?;
    check_alike("the noise", noise, x0)?;
    check_alike("the noised batch", out, x0)?;
    let (alpha, sigma): (Vec<f64>, Vec<f64>) = levels.iter().map(|k| (k.alpha, k.sigma)).unzip();
    out.combine(&[(&alpha, x0), (&sigma, noise)]);
    Ok(())
}

/// The noise levels at the times `t`.
pub(crate) fn levels(sde: &dyn Sde, t: &[f64]) -> Vec<Coefficients> {
    t.iter().map(|&t| sde.coefficients(t)).collect()
}
