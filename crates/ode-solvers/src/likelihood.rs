//! Exact log-likelihood by the probability-flow ODE, with an error bar.
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
//!
//! [`log_likelihood`] solves the state first and integrates the divergence along it afterwards, which needs few products
//! with the Jacobian and yields an error bar. [`log_likelihood_augmented`] carries the integral beside the state, as
//! `score_sde` does; it is there for comparison. [`log_likelihood_gradient`] has the derivative with respect to the samples, and to
//! the weights of a network.

mod augmented;
mod gradient;
mod interval;
mod nodes;
mod set;
mod trace;
mod two_phase;

pub use augmented::{AugmentedOptions, log_likelihood_augmented};
pub use gradient::{LikelihoodGradient, log_likelihood_gradient, log_normal_gradient};
pub use interval::{ErrorBar, TraceError, t_quantile};
pub use set::SetLikelihood;
pub use trace::{ProbeLaw, Probes, Trace};
pub use two_phase::{LikelihoodOptions, log_likelihood};

use crate::solution::{LaneStatus, Solution};
use sde_core::error::{check, check_size};
use sde_core::{Reverse, Score, State};

/// (L1) for one sample: its two parts, in nats, and what is known of their errors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogLikelihood {
    /// `log π(x_T)`.
    pub log_prior: f64,
    /// `∫ div v dt`, with the correction of (L2) where there is one.
    pub int_div: f64,
    /// That correction, `−∫ s·d dt`; 0 where there is none.
    pub correction: f64,
    /// What is known of the error.
    pub errors: ErrorBar,
    /// Evaluations of the model.
    pub nfe: u32,
    /// Products with its Jacobian; d of them for an exact divergence.
    pub products: u64,
    /// How the solve of the state ended.
    pub status: LaneStatus,
}

impl LogLikelihood {
    /// `log p_{t₀}(x)` under the model in nats; NaN where the solve did not reach T.
    pub fn value(&self) -> f64 {
        if self.status == LaneStatus::Done { self.int_div + self.log_prior } else { f64::NAN }
    }

    /// Half the width of a 95 % interval around [`value`](Self::value) in nats, (L4); `None` where a part of the error is
    /// unknown.
    pub fn half_width(&self) -> Option<f64> {
        self.errors.half_width().filter(|w| w.is_finite())
    }
}

/// The log-likelihoods of a batch, and the latents it was carried to.
///
/// What the numbers mean: log-densities of the model, which is the flow from π at T, at time `t0` and in model
/// coordinates. They are no probabilities of integer data (`sde_core::levels` has the bound that follows for those), and
/// what bounds the reverse SDE's density is another type in another crate, since it bounds another model.
#[derive(Clone, Debug)]
pub struct Likelihood<X> {
    /// The time at which the densities are taken.
    pub t0: f64,
    /// The latent `x_T`, with time reached, status and work of each sample; the work is that of the state alone.
    pub latent: Solution<X>,
    /// One entry for each sample.
    pub samples: Vec<LogLikelihood>,
}

/// What a method found of one sample, beside its prior.
struct Found {
    int_div: f64,
    correction: f64,
    errors: ErrorBar,
    nfe: u32,
    products: u64,
}

impl<X: State> Likelihood<X> {
    /// Puts together what a method found; `log_prior(x_T, out)` is evaluated here. Of a sample that did not reach T nothing
    /// is known.
    fn new(
        t0: f64,
        latent: Solution<X>,
        found: impl IntoIterator<Item = Found>,
        log_prior: impl FnOnce(&X, &mut [f64]) -> sde_core::Result<()>,
    ) -> sde_core::Result<Self> {
        let mut priors = vec![0.0; latent.status.len()];
        log_prior(&latent.y, &mut priors)?;
        let lanes = priors.into_iter().zip(&latent.status);
        let samples = lanes.zip(found).map(|((log_prior, &status), found)| {
            let Found { int_div, correction, errors, nfe, products } = found;
            let errors = if status == LaneStatus::Done { errors } else { ErrorBar::default() };
            LogLikelihood { log_prior, int_div, correction, errors, nfe, products, status }
        });
        Ok(Self { t0, samples: samples.collect(), latent })
    }
}

impl<X> Likelihood<X> {
    /// `log p_{t₀}(x)` of each sample in nats, (L1). NaN where the solve did not reach T.
    pub fn log_density(&self) -> Vec<f64> {
        self.samples.iter().map(LogLikelihood::value).collect()
    }
}

/// Refuses members of the reverse family that have noise: their drift is not the flow.
fn check_flow<X: State, M: Score<X>>(
    flow: &Reverse<'_, X, M>,
    (t0, t1): (f64, f64),
) -> sde_core::Result<()> {
    [t0, t1].into_iter().try_for_each(|t| {
        let eta = flow.eta().at(t);
        check("eta", eta, eta == 0.0, "0, the probability-flow ODE").map(drop)
    })
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
