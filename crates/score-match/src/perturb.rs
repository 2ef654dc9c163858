//! Data seen through the noise: `x_t = α(t) x_0 + σ(t) ε` with a time for each sample.

use sde_core::error::check_size;
use sde_core::state::check_alike;
use sde_core::{Result, Sde, State};

/// Writes `α(t_i) x_0,i + σ(t_i) ε_i` to `out`.
///
/// # Errors
/// When there is not one time for each sample, or `noise` and `out` have other samples than `x0`.
pub fn perturb<X: State>(sde: &dyn Sde, x0: &X, noise: &X, t: &[f64], out: &mut X) -> Result<()> {
    check_size("times of the batch", t.len(), x0.samples())?;
    check_alike("the noise", noise, x0)?;
    check_alike("the noised batch", out, x0)?;
    let (alpha, sigma): (Vec<f64>, Vec<f64>) =
        t.iter().map(|&t| sde.coefficients(t)).map(|k| (k.alpha, k.sigma)).unzip();
    out.combine(&[(&alpha, x0), (&sigma, noise)]);
    Ok(())
}
