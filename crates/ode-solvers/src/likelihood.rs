//! Exact log-likelihood by the probability-flow ODE.
//!
//! Along a solution of `dx/dt = v(x, t)` the density obeys `d/dt log p_t(x_t) = −div v`, hence
//!
//! ```text
//! log p_{t₀}(x) = log π(x_T) + ∫_{t₀}^T div v(x_t, t) dt,        x_{t₀} = x            (L1)
//! ```
//!
//! where π is the density that the flow is started from at T (Chen et al. 2018; Song et al. 2021, appendix D.2).
//! The value is exact for the model (flow and π). With the exact score and `π = p_T` it is the data's own
//! `log p_{t₀}`; with `π = N(0, σ_T² I)` it differs by the **prior mismatch** `log p_T(x_T) − log π(x_T)`.

use crate::adaptive::solve;
use crate::error::Result;
use crate::problem::{Adaptive, Samples};
use crate::solution::Solution;
use crate::tableau::Tableau;
use ndarray::Array1;
use sde_core::error::{check, check_size};
use sde_core::{Reverse, Score, State, Tolerance};

/// The two parts of (L1) for each sample, and the latent it was carried to.
#[derive(Clone, Debug)]
pub struct Likelihood<X> {
    /// The latent `x_T`, with time reached, status and work of each sample.
    pub latent: Solution<X>,
    /// `∫ div v dt` in nats.
    pub int_div: Vec<f64>,
    /// `log π(x_T)` in nats.
    pub log_prior: Vec<f64>,
}

impl<X> Likelihood<X> {
    /// `log p_{t₀}(x)` of each sample in nats, (L1). NaN where the solve did not reach T.
    pub fn log_density(&self) -> Vec<f64> {
        let done = |s: &crate::LaneStatus| *s == crate::LaneStatus::Done;
        let parts = self.int_div.iter().zip(&self.log_prior).zip(&self.latent.status);
        parts.map(|((i, p), s)| if done(s) { i + p } else { f64::NAN }).collect()
    }
}

/// Options of [`log_likelihood`]: a tolerance for the state and one, in nats, for the integral of (L1).
pub type LikelihoodOptions<T> = Adaptive<(T, Tolerance)>;

/// Carries the samples from `t0` to `t1` with the integral of the exact divergence beside them (the augmented
/// ODE), and evaluates `log_prior(x_T, out)` there. A lane's error is the larger of state and integral.
///
/// # Errors
/// As [`solve`]; a `log_prior` that fails.
pub fn log_likelihood<X, M>(
    method: &'static Tableau,
    start: impl Into<Samples<X>>,
    (t0, t1): (f64, f64),
    options: &LikelihoodOptions<X::Tolerance>,
    flow: &mut Reverse<'_, X, M>,
    log_prior: impl FnOnce(&X, &mut [f64]) -> sde_core::Result<()>,
) -> Result<Likelihood<X>>
where
    X: State,
    M: Score<X>,
{
    let Samples { x, numbers } = start.into();
    let n = x.samples();
    let start = Samples { x: (x, Array1::<f64>::zeros(n)), numbers };
    let mut divergence = Vec::new();
    let solution = solve(method, start, (t0, t1), options, |(x, _), at, (dx, dl)| {
        divergence.resize(at.t.len(), 0.0);
        flow.drift_and_divergence(x, at, dx, &mut divergence)?;
        dl.fill_rows(|i, row| row.fill(divergence[i]));
        Ok(())
    })?;
    let mut int_div = Array1::zeros(0);
    let latent = solution.map(|(x, integral)| {
        int_div = integral;
        x
    });
    let mut prior = vec![0.0; n];
    log_prior(&latent.y, &mut prior)?;
    Ok(Likelihood { latent, int_div: int_div.to_vec(), log_prior: prior })
}

/// `log N(x; 0, std² I)` of each row: the terminal density of a process whose data have been forgotten.
///
/// # Errors
/// Unless `0 < std < ∞` and `out` has one entry for each row.
pub fn log_normal<X: State>(x: &X, std: f64, out: &mut [f64]) -> sde_core::Result<()> {
    check_size("log-densities of the batch", out.len(), x.samples())?;
    check("std", std, std > 0.0, "a positive number")?;
    out.fill(0.0);
    x.add_squared_norm(out);
    let (d, var) = (x.sample_len() as f64, std * std);
    let constant = -0.5 * d * (std::f64::consts::TAU * var).ln();
    out.iter_mut().for_each(|r| *r = constant - 0.5 * *r / var);
    Ok(())
}
