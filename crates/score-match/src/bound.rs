//! The variational bound in continuous time: what the likelihood-weighted loss is a part of.
//!
//! ```text
//! −log p(x_0) ≤ KL(q(x_T|x_0) ‖ π) + ½ ∫ |r_t|² dλ + (d/2) (1 + ln 2πσ²/α²)|_{t_min}           (M4)
//! ```
//!
//! for the model that starts from `π = N(0, σ_T² I)`, follows the reverse SDE to `t_min` and ends with the decoder
//! `x_0 ~ N(x/α, (σ/α)² I)` there (Kingma et al. 2021, with a Gaussian decoder). It bounds the law of the SDE, not that of
//! the probability-flow ODE.

use sde_core::Sde;

/// The terms of (M4) without the network in nats: `α_T² |x_0|²/(2σ_T²) + (d/2)(1 + ln 2πσ²/α²)`.
pub fn constant(sde: &dyn Sde, (t_min, end): (f64, f64), square: f64, d: usize) -> f64 {
    let (first, last) = (sde.coefficients(t_min), sde.coefficients(end));
    let prior = 0.5 * (last.alpha / last.sigma).powi(2) * square;
    let variance = (first.sigma / first.alpha).powi(2);
    prior + 0.5 * d as f64 * (1.0 + (std::f64::consts::TAU * variance).ln())
}
