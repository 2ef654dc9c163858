//! A solve that saves states on the way, at the same times for all samples or at times of each sample's own.

use super::Solver;
use crate::dense::Saving;
use crate::error::{Error, Result};
use crate::problem::{Adaptive, Samples};
use crate::progress::unobserved;
use crate::solution::Solution;
use crate::tableau::Tableau;
use sde_core::error::check_size;
use sde_core::{Lanes, State};

/// As [`solve_at`](crate::solve_at), with times of its own for each sample: row i of state j is sample i at its time `times[i][j]`.
///
/// Samples may want different numbers of states: there are as many as the longest list, with zeros behind the end of a
/// shorter one.
///
/// # Errors
/// As [`solve_at`](crate::solve_at); unless there is one list of times for each sample.
pub fn solve_at_each<X, F>(
    method: &'static Tableau,
    start: impl Into<Samples<X>>,
    span: (f64, f64),
    times: &[Vec<f64>],
    options: &Adaptive<X::Tolerance>,
    f: F,
) -> Result<(Solution<X>, Vec<X>)>
where
    X: State,
    F: FnMut(&X, Lanes<'_>, &mut X) -> sde_core::Result<()>,
{
    let start = start.into();
    check_size("lists of times", times.len(), start.x.samples())?;
    solve_saving(method, start, span, times.to_vec(), options, f)
}

/// [`solve_at`](crate::solve_at) with one list of times for all samples or one for each.
pub(super) fn solve_saving<X, F>(
    method: &'static Tableau,
    start: Samples<X>,
    span: (f64, f64),
    times: Vec<Vec<f64>>,
    options: &Adaptive<X::Tolerance>,
    f: F,
) -> Result<(Solution<X>, Vec<X>)>
where
    X: State,
    F: FnMut(&X, Lanes<'_>, &mut X) -> sde_core::Result<()>,
{
    if method.dense.is_empty() {
        return Err(Error::NoDenseOutput { method: method.name });
    }
    let saving = Saving::new(&start, span, times)?;
    let mut solver = Solver::new(method, start, span, options, f)?;
    solver.saving = Some(saving);
    solver.run(unobserved)?;
    let saved = solver.saving.take().map_or_else(Vec::new, |saving| saving.states);
    Ok((solver.finish(), saved))
}
