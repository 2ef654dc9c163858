//! Any tableau on a given grid of times, the same for every sample.

use crate::error::{Error, Result};
use crate::problem::Samples;
use crate::progress::{Progress, unobserved};
use crate::solution::{LaneStats, LaneStatus, Solution};
use crate::tableau::Tableau;
use sde_core::{Lanes, State};
use std::ops::ControlFlow;

/// N + 1 equally spaced times from `t0` to `t1`, both ends exact.
pub fn uniform_grid(t0: f64, t1: f64, steps: u32) -> Vec<f64> {
    let n = f64::from(steps);
    let mut grid: Vec<f64> = (0..=steps).map(|i| t0 + (t1 - t0) * (f64::from(i) / n)).collect();
    if let Some(last) = grid.last_mut().filter(|_| steps > 0) {
        *last = t1;
    }
    grid
}

/// At least two finite times, strictly monotone.
pub(crate) fn check_grid(grid: &[f64]) -> Result<()> {
    let wrong = |found: String| Err(Error::Grid { found });
    if grid.len() < 2 {
        return wrong(format!("{} of them", grid.len()));
    }
    if let Some(t) = grid.iter().find(|t| !t.is_finite()) {
        return wrong(format!("the time {t}"));
    }
    let direction = (grid[1] - grid[0]).signum();
    match grid.windows(2).find(|w| (w[1] - w[0]) * direction <= 0.0) {
        Some(w) => wrong(format!("{} followed by {}", w[0], w[1])),
        None => Ok(()),
    }
}

/// Solves `dy/dt = f` with one step of `method` for each interval of `grid`: `S · (len − 1)` evaluations.
///
/// # Errors
/// For a tableau or a grid that is none, and for an `f` that fails.
pub fn solve_fixed<X, F>(
    method: &'static Tableau,
    start: impl Into<Samples<X>>,
    grid: &[f64],
    f: F,
) -> Result<Solution<X>>
where
    X: State,
    F: FnMut(&X, Lanes<'_>, &mut X) -> sde_core::Result<()>,
{
    solve_fixed_observed(method, start, grid, f, unobserved)
}

/// As [`solve_fixed`], watched: `observe` is called after each step, and stops the solve by
/// [`Break`](ControlFlow::Break).
///
/// # Errors
/// As [`solve_fixed`].
pub fn solve_fixed_observed<X, F>(
    method: &'static Tableau,
    start: impl Into<Samples<X>>,
    grid: &[f64],
    mut f: F,
    mut observe: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Solution<X>>
where
    X: State,
    F: FnMut(&X, Lanes<'_>, &mut X) -> sde_core::Result<()>,
{
    method.check()?;
    check_grid(grid)?;
    let start = start.into();
    start.check()?;
    let Samples { x: mut y, numbers } = start;
    let mut z = y.zeros_like();
    let mut k: Vec<X> = (0..method.stages()).map(|_| y.zeros_like()).collect();
    let (mut t, mut h) = (vec![0.0; numbers.len()], vec![0.0; numbers.len()]);
    let of = grid.len() - 1;
    let mut done = 0;
    for step in grid.windows(2) {
        h.fill(step[1] - step[0]);
        for s in 0..method.stages() {
            let node = if s == 0 { 0.0 } else { method.c[s - 1] };
            let time = stage_time((step[0], step[1]), node);
            t.fill(time);
            if s > 0 {
                z.stage(&y, &h, method.a[s - 1], |j| &k[j]);
            }
            let at = Lanes { t: &t, sample: &numbers };
            f(if s == 0 { &y } else { &z }, at, &mut k[s])
                .map_err(|source| Error::Dynamics { t: time, source })?;
        }
        z.stage(&y, &h, method.b, |j| &k[j]);
        std::mem::swap(&mut y, &mut z);
        done += 1;
        if observe(Progress::on_grid((done - 1, of), numbers.len(), step[1])).is_break() {
            break;
        }
    }
    Ok(finish_at(y, grid, done, method.stages() * done))
}

/// `t + c h`; exactly the end of the step for c = 1.
#[expect(clippy::float_cmp, reason = "a node of the tableau is exactly 1 or is not")]
pub(crate) fn stage_time((from, to): (f64, f64), c: f64) -> f64 {
    if c == 1.0 { to } else { from + c * (to - from) }
}

/// The record of a solve on a grid with `nfe` evaluations of every sample.
pub(crate) fn finish<X: State>(y: X, grid: &[f64], nfe: usize) -> Solution<X> {
    finish_at(y, grid, grid.len() - 1, nfe)
}

/// [`finish`] after `steps` of the grid's steps, perhaps not all.
pub(crate) fn finish_at<X: State>(y: X, grid: &[f64], steps: usize, nfe: usize) -> Solution<X> {
    let (n, t) = (y.samples(), grid[steps]);
    let arrived = if steps + 1 == grid.len() { LaneStatus::Done } else { LaneStatus::Running };
    let mut size = vec![0.0; n];
    y.add_squared_norm(&mut size);
    let status =
        size.iter().map(|s| if s.is_finite() { arrived } else { LaneStatus::NonFinite { t } });
    let stats = LaneStats { accepted: steps as u32, rejected: 0, nfe: nfe as u32 };
    Solution {
        t: vec![t; n],
        status: status.collect(),
        stats: vec![stats; n],
        batch_evals: nfe as u64,
        row_evals: (nfe * n) as u64,
        y,
    }
}
