//! The losses of discrete chains, DDPM's and those of score matching with Langevin dynamics among them.
//!
//! ```text
//! r = c_t s_θ(x_t, t) + ε,   x_t = A_t x_0 + c_t ε                          for any chain (C1)
//! ½ Σ_{t=2…T} w_t |r_t|²,    w_t = SNR_{t−1}/SNR_t − 1 = expm1(λ_{t−1} − λ_t)                    (M8)
//! ```
//!
//! With weight 1 the first is `L_simple` of Ho et al. (2020) for a DDPM chain, and for a chain with A = 1 the loss
//! `σ² |s + ε/σ|²` of Song and Ermon (2019). (M8) is `Likelihood`, the discrete form of `−λ' dt`: for a DDPM chain
//! `w_t/2` is `w_eps` of (C11), and the sum is that of (E2) with the variance β̃.
//!
//! A step is a whole number from 1 to T and has exactly the noise level of its step: nothing is rounded. What a model calls
//! that step is another matter, so its times are given apart from the steps.

use crate::residual::{residual_at, weighted};
use crate::weighting::Weighting;
use sde_core::chain::Weights;
use sde_core::error::{check, check_size};
use sde_core::sde::Coefficients;
use sde_core::{Lanes, Result, Score, State, Summary};

/// `A_t, c_t` of each of the steps, without derivatives: a velocity is not determined by them.
///
/// # Errors
/// For a step that is not in 1…T.
pub fn levels(chain: &Weights, steps: &[usize]) -> Result<Vec<Coefficients>> {
    let of = |&t: &usize| {
        check("step t", t as f64, (1..=chain.steps()).contains(&t), "1 to the chain's steps")?;
        let (alpha, sigma) = (chain.log_signal()[t].exp(), chain.noise()[t]);
        Ok(Coefficients { alpha, sigma, d_alpha: f64::NAN, d_sigma2: f64::NAN, d_sigma: f64::NAN })
    };
    steps.iter().map(of).collect()
}

/// The weight of the squared residual at step t; (M8) for [`Weighting::Likelihood`].
///
/// # Errors
/// For a step that is not in 1…T, and with `Likelihood` at t = 1, where (M8) is infinite: the first step is not in its sum.
pub fn weight(chain: &Weights, weighting: Weighting, t: usize) -> Result<f64> {
    weighting.check()?;
    let level = levels(chain, &[t])?[0];
    let log_snr = |t: usize| 2.0 * (chain.log_signal()[t] - chain.noise()[t].ln());
    if weighting == Weighting::Likelihood {
        check("step t", t as f64, t > 1, "2 to the chain's steps")?;
    }
    Ok(weighting.at(level, (log_snr(t - 1) - log_snr(t)).exp_m1()))
}

/// The loss of a batch whose sample i stands at `steps[i]`, divided by the dimension: mean and standard error.
///
/// `at` has the time that the model gives to that step, and the sample's number. For [`DdpmChain`] the chain is
/// `chain.weights()`.
///
/// # Errors
/// As [`weight`], when sizes disagree, for an empty batch, and those of the model.
///
/// [`DdpmChain`]: sde_core::DdpmChain
pub fn loss<X: State, M: Score<X>>(
    chain: &Weights,
    model: &mut M,
    weighting: Weighting,
    (x0, noise): (&X, &X),
    (steps, at): (&[usize], Lanes<'_>),
) -> Result<Summary> {
    check_size("steps of the batch", steps.len(), x0.samples())?;
    let weights: Vec<f64> =
        steps.iter().map(|&t| weight(chain, weighting, t)).collect::<Result<_>>()?;
    let mut r = x0.zeros_like();
    residual_at(&levels(chain, steps)?, model, x0, noise, at, &mut r)?;
    weighted(&r, &weights)
}
