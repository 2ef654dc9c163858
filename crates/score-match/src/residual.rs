//! The denoising score-matching residual.
//!
//! ```text
//! r = σ(t) s_θ(x_t, t) + ε,        x_t = α(t) x_0 + σ(t) ε                             (M1)
//! L(θ) = E_{t, x_0, ε} w(t) |r|²                                                       (M2)
//! ŷ − y = a (D_θ − x_0) − b (σ s_θ + ε)      for the prediction  y = a x_0 + b ε       (M5)
//! ```
//!
//! `−ε/σ` is the **conditional** score `∇ log q(x_t | x_0)`. The minimiser of (M2) is nevertheless the marginal
//! score `∇ log p_t` (Vincent 2011), because the conditional score averages to it over `x_0` given `x_t`; the loss
//! of the minimiser is not zero but `E w (|ε|² − σ² |∇ log p_t|²)`.
//!
//! (M5) is the same error in any prediction, (V1), and regular at both ends of time because a model reports s and D. With
//! the weights of [`weighting`](crate::weighting) all of them are one loss. A network without the trait `Score` is
//! trained towards [`target`]. A process enters by its noise levels alone, so that the chains of
//! [`steps`](crate::steps) have the same losses.

use crate::perturb::{levels, perturb_at};
use crate::weighting::Weighting;
use sde_core::error::check_size;
use sde_core::sde::Coefficients;
use sde_core::state::check_alike;
use sde_core::{Field, Lanes, Prediction, Result, Score, Sde, State, Summary};

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
    residual_at(&levels(sde, at.t), model, x0, noise, at, out)
}

/// As [`residual`], at the noise level `levels[i]` for sample i, which the model knows as the time `at.t[i]`.
///
/// # Errors
/// As [`residual`].
pub fn residual_at<X: State, M: Score<X>>(
    levels: &[Coefficients],
    model: &mut M,
    x0: &X,
    noise: &X,
    at: Lanes<'_>,
    out: &mut X,
) -> Result<()> {
    check_alike("the residual", out, x0)?;
    let field = evaluate(levels, model, x0, noise, at)?;
    let sigma: Vec<f64> = levels.iter().map(|k| k.sigma).collect();
    let ones = vec![1.0; levels.len()];
    out.combine(&[(&sigma, &field.score), (&ones, noise)]);
    Ok(())
}

/// Writes the error (M5) of `prediction` to `out`: what the model says less what it should.
///
/// # Errors
/// As [`residual`], and [`Error::Undetermined`](sde_core::Error::Undetermined) where the prediction is infinite.
pub fn error<X: State, M: Score<X>>(
    prediction: Prediction,
    sde: &dyn Sde,
    model: &mut M,
    (x0, noise): (&X, &X),
    at: Lanes<'_>,
    out: &mut X,
) -> Result<()> {
    at.check(x0.samples())?;
    check_alike("the error", out, x0)?;
    let levels = levels(sde, at.t);
    let factors: Vec<[f64; 2]> =
        levels.iter().map(|k| prediction.factors(*k)).collect::<Result<_>>()?;
    let field = evaluate(&levels, model, x0, noise, at)?;
    let of = |f: &dyn Fn([f64; 2], &Coefficients) -> f64| -> Vec<f64> {
        factors.iter().zip(&levels).map(|(p, k)| f(*p, k)).collect()
    };
    let terms: [(&[f64], &X); 4] = [
        (&of(&|[a, _], _| a), &field.denoised),
        (&of(&|[a, _], _| -a), x0),
        (&of(&|[_, b], k| -b * k.sigma), &field.score),
        (&of(&|[_, b], _| -b), noise),
    ];
    out.combine(&terms);
    Ok(())
}

/// Writes `y = a x_0 + b ε` to `out`: what a network that predicts `prediction` is trained to say.
///
/// # Errors
/// As [`error`].
pub fn target<X: State>(
    prediction: Prediction,
    sde: &dyn Sde,
    (x0, noise): (&X, &X),
    t: &[f64],
    out: &mut X,
) -> Result<()> {
    check_size("times of the batch", t.len(), x0.samples())?;
    check_alike("the noise", noise, x0)?;
    check_alike("the target", out, x0)?;
    let factors = t.iter().map(|&t| prediction.factors(sde.coefficients(t)));
    let factors: Vec<[f64; 2]> = factors.collect::<Result<_>>()?;
    let (a, b): (Vec<f64>, Vec<f64>) = factors.iter().map(|p| (p[0], p[1])).unzip();
    out.combine(&[(&a, x0), (&b, noise)]);
    Ok(())
}

/// The loss (M2) of a batch, divided by the dimension d: mean and standard error over the samples.
///
/// # Errors
/// As [`residual`], for a weighting out of range and for an empty batch.
pub fn loss<X: State, M: Score<X>>(
    sde: &dyn Sde,
    model: &mut M,
    weighting: Weighting,
    (x0, noise): (&X, &X),
    at: Lanes<'_>,
) -> Result<Summary> {
    weighting.check()?;
    let mut r = x0.zeros_like();
    residual(sde, model, x0, noise, at, &mut r)?;
    let weights: Vec<f64> = at.t.iter().map(|&t| weighting.weight(sde, t)).collect();
    weighted(&r, &weights)
}

/// Mean and standard error of `w_i |r_i|²/d`.
pub(crate) fn weighted<X: State>(r: &X, weights: &[f64]) -> Result<Summary> {
    if r.samples() == 0 {
        check_size("samples of the batch", 0, 1)?;
    }
    let mut squares = vec![0.0; r.samples()];
    r.add_squared_norm(&mut squares);
    let d = r.sample_len() as f64;
    squares.iter_mut().zip(weights).for_each(|(square, w)| *square *= w / d);
    Ok(Summary::of(&squares))
}

/// What the model says of the noised batch.
pub(crate) fn evaluate<X: State, M: Score<X>>(
    levels: &[Coefficients],
    model: &mut M,
    x0: &X,
    noise: &X,
    at: Lanes<'_>,
) -> Result<Field<X>> {
    at.check(x0.samples())?;
    let mut x_t = x0.zeros_like();
    perturb_at(levels, x0, noise, &mut x_t)?;
    let mut field = Field::like(x0);
    model.evaluate(&x_t, at, &mut field)?;
    Ok(field)
}
