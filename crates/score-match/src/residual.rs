//! The denoising score-matching residual.
//!
//! ```text
//! r = σ(t) s_θ(x_t, t) + ε,        x_t = α(t) x_0 + σ(t) ε                             (M1)
//! L(θ) = E_{t, x_0, ε} w(t) |r|²                                                       (M2)
//! ```
//!
//! `−ε/σ` is the **conditional** score `∇ log q(x_t | x_0)`. The minimiser of (M2) is nevertheless the marginal
//! score `∇ log p_t` (Vincent 2011), because the conditional score averages to it over `x_0` given `x_t`; the loss
//! of the minimiser is not zero but `E w (|ε|² − σ² |∇ log p_t|²)`.

use crate::perturb::perturb;
use crate::weighting::Weighting;
use sde_core::error::check_size;
use sde_core::state::check_alike;
use sde_core::{Field, Lanes, Result, Score, Sde, State, Summary};

/// Writes the residual (M1) of every sample to `out`.
///
/// `at` has the time and number of each sample.
///
/// # Errors
/// When sizes disagree, and those of the model.
pub fn residual<X: State, M: Score<X>>(
    sde: &dyn Sde,
    model: &mut M,
    x0: &X,
    noise: &X,
    at: Lanes<'_>,
    out: &mut X,
) -> Result<()> {
    at.check(x0.samples())?;
    check_alike("the residual", out, x0)?;
    let mut x_t = x0.zeros_like();
    perturb(sde, x0, noise, at.t, &mut x_t)?;
    let mut field = Field::like(x0);
    model.evaluate(&x_t, at, &mut field)?;
    let sigma: Vec<f64> = at.t.iter().map(|&t| sde.sigma(t)).collect();
    let ones = vec![1.0; at.t.len()];
    out.combine(&[(&sigma, &field.score), (&ones, noise)]);
    Ok(())
}

/// The loss (M2) of a batch, divided by the dimension d: mean and standard error over the samples.
///
/// # Errors
/// As [`residual`], and for an empty batch.
pub fn loss<X: State, M: Score<X>>(
    sde: &dyn Sde,
    model: &mut M,
    weighting: Weighting,
    (x0, noise): (&X, &X),
    at: Lanes<'_>,
) -> Result<Summary> {
    let n = x0.samples();
    if n == 0 {
        check_size("samples of the batch", 0, 1)?;
    }
    let mut r = x0.zeros_like();
    residual(sde, model, x0, noise, at, &mut r)?;
    let mut squares = vec![0.0; n];
    r.add_squared_norm(&mut squares);
    let d = x0.sample_len() as f64;
    for (square, &t) in squares.iter_mut().zip(at.t) {
        *square *= weighting.weight(sde, t) / d;
    }
    Ok(Summary::of(&squares))
}
