//! The probability-flow map: data to latents and back, one ODE in two directions.
//!
//! `encode` follows `dx/dt = v` from t₀ to T, `decode` from T to t₀. With the exact score both carry `p_{t₀}` to
//! `p_T`; a round trip returns the data within the solver's tolerance.

use crate::adaptive::solve;
use crate::error::Result;
use crate::problem::{Adaptive, Samples};
use crate::solution::Solution;
use crate::tableau::Tableau;
use sde_core::{Reverse, Score, State};

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
