//! The probability-flow map: data to latents and back, one ODE in two directions.
//!
//! `encode` follows `dx/dt = v` from t₀ to T, `decode` from T to t₀. With the exact score both carry `p_{t₀}` to
//! `p_T`; a round trip returns the data within the solver's tolerance. [`flow_in`] integrates in another variable.

use crate::adaptive::solve;
use crate::error::{Error, Result};
use crate::problem::{Adaptive, Samples, check_finite};
use crate::solution::{LaneStatus, Solution};
use crate::tableau::Tableau;
use crate::variable::{Clock, Variable};
use sde_core::{Lanes, Reverse, Score, State};

/// Follows the flow from time `from` to time `to`, in either direction.
///
/// # Errors
/// As [`solve`].
pub fn flow<X, M>(
    method: &'static Tableau,
    start: impl Into<Samples<X>>,
    (from, to): (f64, f64),
    options: &Adaptive<X::Tolerance>,
    field: &mut Reverse<'_, X, M>,
) -> Result<Solution<X>>
where
    X: State,
    M: Score<X>,
{
    solve(method, start, (from, to), options, |x, at, dx| field.drift(x, at, dx))
}

/// As [`flow`], with steps in another variable than t, (O8).
///
/// `span` and the times of the solution are times t, its ends bit for bit; `first_step`, `max_step` and a step that was
/// too small are in the variable. Chapter *Solvers* of the book says which variable costs what.
///
/// ```
/// use ndarray::array;
/// use ode_solvers::{Adaptive, RK45, Variable, flow_in};
/// use sde_core::sde::Edm;
/// use sde_core::{GaussianMixture, Reverse, Tolerance};
/// let sde = Edm::new(80.0)?;
/// let data = GaussianMixture::isotropic(&[0.5, 0.5], array![[-1.0], [1.0]], &[0.01, 0.01])?;
/// let mut field = Reverse::probability_flow(&sde, data.score(&sde));
/// let options = Adaptive::new(Tolerance::both(1e-5));
/// let latents = array![[40.0], [-90.0]];
/// let solution =
///     flow_in(Variable::LogSnr, &RK45, latents, (80.0, 0.002), &options, &mut field)?;
/// assert_eq!(solution.t, [0.002, 0.002]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`solve`]; [`Error::NotFinite`] where the variable has no value at an end.
pub fn flow_in<X, M>(
    variable: Variable,
    method: &'static Tableau,
    start: impl Into<Samples<X>>,
    span: (f64, f64),
    options: &Adaptive<X::Tolerance>,
    field: &mut Reverse<'_, X, M>,
) -> Result<Solution<X>>
where
    X: State,
    M: Score<X>,
{
    check_finite("t0", span.0)?;
    check_finite("t1", span.1)?;
    let clock = Clock::new(variable, field.sde(), span);
    check_finite("the integration variable at t0", clock.u.0)?;
    check_finite("the integration variable at t1", clock.u.1)?;
    let start = start.into();
    let mut v = start.x.zeros_like();
    let (mut times, mut rates) = (Vec::new(), Vec::new());
    let in_u = |x: &X, at: Lanes<'_>, dx: &mut X| {
        times.clear();
        times.extend(at.t.iter().map(|&u| clock.time(u)));
        rates.clear();
        rates.extend(times.iter().map(|&t| variable.rate(clock.sde, t)));
        v.fit(x);
        field.drift(x, Lanes { t: &times, sample: at.sample }, &mut v)?;
        dx.combine(&[(&rates, &v)]);
        Ok(())
    };
    match solve(method, start, clock.u, options, in_u) {
        Ok(solution) => Ok(in_time(solution, &clock)),
        Err(Error::Dynamics { t, source }) => Err(Error::Dynamics { t: clock.time(t), source }),
        Err(error) => Err(error),
    }
}

/// A solution in u with its times in t.
fn in_time<X>(mut solution: Solution<X>, clock: &Clock<'_>) -> Solution<X> {
    solution.t.iter_mut().for_each(|t| *t = clock.time(*t));
    for status in &mut solution.status {
        if let LaneStatus::StepSizeTooSmall { t, .. }
        | LaneStatus::MaxSteps { t }
        | LaneStatus::NonFinite { t } = status
        {
            *t = clock.time(*t);
        }
    }
    solution
}

/// Data at `t0` to latents at the process's end.
///
/// # Errors
/// As [`solve`].
pub fn encode<X, M>(
    method: &'static Tableau,
    data: impl Into<Samples<X>>,
    t0: f64,
    options: &Adaptive<X::Tolerance>,
    field: &mut Reverse<'_, X, M>,
) -> Result<Solution<X>>
where
    X: State,
    M: Score<X>,
{
    let end = field.sde().end();
    flow(method, data, (t0, end), options, field)
}

/// Latents at the process's end to data at `t0`.
///
/// # Errors
/// As [`solve`].
pub fn decode<X, M>(
    method: &'static Tableau,
    latents: impl Into<Samples<X>>,
    t0: f64,
    options: &Adaptive<X::Tolerance>,
    field: &mut Reverse<'_, X, M>,
) -> Result<Solution<X>>
where
    X: State,
    M: Score<X>,
{
    let end = field.sde().end();
    flow(method, latents, (end, t0), options, field)
}
