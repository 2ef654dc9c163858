//! A solve that is watched.

use super::Solver;
use crate::error::Result;
use crate::problem::{Adaptive, Samples};
use crate::progress::Progress;
use crate::solution::Solution;
use crate::tableau::Tableau;
use sde_core::{Lanes, State};
use std::ops::ControlFlow;

/// As [`solve`](crate::solve), watched: `observe` is called after each step of the batch, and stops the solve by
/// [`Break`](ControlFlow::Break).
///
/// ```
/// use ndarray::array;
/// use ode_solvers::{Adaptive, LaneStatus, RK45, solve_observed};
/// use sde_core::Tolerance;
/// use std::ops::ControlFlow::{Break, Continue};
/// let options = Adaptive::new(Tolerance::both(1e-8));
/// let grow = |y: &ndarray::Array2<f64>, _: sde_core::Lanes<'_>, dy: &mut ndarray::Array2<f64>| {
///     dy.assign(y);
///     Ok(())
/// };
/// let half = solve_observed(&RK45, array![[1.0]], (0.0, 8.0), &options, grow, |progress| {
///     if progress.fraction < 0.5 { Continue(()) } else { Break(()) }
/// })?;
/// assert_eq!(half.status, [LaneStatus::Running]);
/// assert!(half.t[0] >= 4.0 && half.t[0] < 8.0);
/// assert!((half.y[[0, 0]] / half.t[0].exp() - 1.0).abs() < 1e-6);
/// # Ok::<(), ode_solvers::Error>(())
/// ```
///
/// # Errors
/// As [`solve`](crate::solve).
pub fn solve_observed<X, F>(
    method: &'static Tableau,
    start: impl Into<Samples<X>>,
    span: (f64, f64),
    options: &Adaptive<X::Tolerance>,
    f: F,
    observe: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Solution<X>>
where
    X: State,
    F: FnMut(&X, Lanes<'_>, &mut X) -> sde_core::Result<()>,
{
    let mut solver = Solver::new(method, start, span, options, f)?;
    solver.run(observe)?;
    Ok(solver.finish())
}

impl<X, F> Solver<'_, X, F>
where
    X: State,
    F: FnMut(&X, Lanes<'_>, &mut X) -> sde_core::Result<()>,
{
    /// Steps until no lane runs any more or `observe` breaks off, which it is asked after each step.
    ///
    /// # Errors
    /// As [`solve`](crate::solve).
    pub fn run(&mut self, mut observe: impl FnMut(Progress) -> ControlFlow<()>) -> Result<()> {
        while self.step()? > 0 {
            if observe(self.progress()).is_break() {
                return Ok(());
            }
        }
        let _ = observe(self.progress()); // there is nothing left to break off
        Ok(())
    }

    /// How far the solve is.
    pub fn progress(&self) -> Progress {
        let left = |t: f64| (self.t1 - t) * self.direction;
        let behind =
            self.lanes.iter().map(|lane| lane.t).max_by(|a, b| left(*a).total_cmp(&left(*b)));
        let t = behind.unwrap_or(self.t1);
        let fraction = 1.0 - left(t) / left(self.t0).max(f64::MIN_POSITIVE);
        Progress { steps: self.attempts, running: self.lanes.len(), t, fraction }
    }
}
