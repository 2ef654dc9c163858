//! The augmented ODE: state and integral of the divergence solved together, as the pair `(x, ∫ div v)`.
//!
//! The method of FFJORD and `score_sde`. A solver needs a smooth right-hand side, so probes stay the same along a path: their
//! noise does not average out on the way, and one solve does not tell how large it is.

use super::interval::{ErrorBar, TraceError};
use super::trace::{Estimator, Trace};
use super::{Found, Likelihood, check_flow};
use crate::adaptive::solve;
use crate::error::Result;
use crate::problem::{Adaptive, Samples};
use crate::tableau::Tableau;
use ndarray::Array1;
use sde_core::{Reverse, Score, State, Tolerance};

/// Options of [`log_likelihood_augmented`]: a tolerance for the state and one, in nats, for the integral of (L1).
pub type AugmentedOptions<T> = Adaptive<(T, Tolerance)>;

/// Carries the samples from `t0` to `t1` with the integral of the divergence beside them, and evaluates
/// `log_prior(x_T, out)` there. A lane's error is the larger of state and integral.
///
/// # Errors
/// As [`solve`]; a `log_prior` that fails; probes that do not fit the samples.
pub fn log_likelihood_augmented<X, M>(
    method: &'static Tableau,
    start: impl Into<Samples<X>>,
    (t0, t1): (f64, f64),
    options: &AugmentedOptions<X::Tolerance>,
    (flow, trace): (&mut Reverse<'_, X, M>, Trace<'_, X>),
    log_prior: impl FnOnce(&X, &mut [f64]) -> sde_core::Result<()>,
) -> Result<Likelihood<X>>
where
    X: State,
    M: Score<X>,
{
    let Samples { x, numbers } = start.into();
    trace.check(&x)?;
    check_flow(flow, (t0, t1))?;
    let products = trace.products(x.sample_len());
    let start = Samples { x: (x, Array1::<f64>::zeros(numbers.len())), numbers };
    let mut estimator = Estimator::new(trace, false);
    let solution = solve(method, start, (t0, t1), options, |(x, _), at, (dx, dl)| {
        estimator.evaluate(flow, x, at, &|_| 0, dx)?;
        dl.fill_rows(|i, row| row.fill(estimator.mean(i).0));
        Ok(())
    })?;
    let mut int_div = Array1::zeros(0);
    let latent = solution.map(|(x, integral)| {
        int_div = integral;
        x
    });
    // An exact trace has no error of its own; that of probes which never change is unknown.
    let trace = matches!(trace, Trace::Exact).then_some(TraceError::NONE);
    let errors = ErrorBar { trace, ..ErrorBar::default() };
    let work: Vec<u32> = latent.stats.iter().map(|s| s.nfe).collect();
    let found = int_div.iter().zip(work).map(|(int_div, nfe)| {
        let products = u64::from(nfe) * products;
        Found { int_div: *int_div, correction: 0.0, errors, nfe, products }
    });
    Ok(Likelihood::new(t0, latent, found, log_prior)?)
}
