//! Steps that each sample chooses for itself, along a Brownian path that is there before the steps.
//!
//! A trial step is Heun's (O9) with `ΔW = W(t + h) − W(t)` of the sample's [`BrownianPath`]. Its error is estimated by
//! its distance from the Euler–Maruyama step that is its stage,
//!
//! ```text
//! e = h (a₁ − a₀)/2 + (b₁ − b₀)/2 ΔW,                                                                (O14)
//! ```
//!
//! of size `h^{3/2}`. (O2) would take the exponent −2/3; here it takes 0.3 of it, −1/5, since the numbers of one step say
//! little of the next: with all of it every second step is too long. A rejected step is tried again on the same path:
//! numbers drawn anew after a rejection would favour those that are small, and the law would be another. As the noise is
//! additive, the steps may depend on the path (Gaines and Lyons 1997 show what else is needed where it is not).
//!
//! Steps end on nodes of the path's tree, for which they are shortened by an eighth at most. A query then walks down few
//! levels, and rounding in the drift does not move the times at which a path without smoothness is looked at.

mod rows;

use crate::control::{Lane, share};
use crate::error::{Error, Result};
use crate::problem::{Adaptive, Samples, check_finite};
use crate::solution::{LaneStatus, Solution};
use rows::{Rows, to_node};
use sde_core::error::check;
use sde_core::{BrownianPath, Lanes, State};

/// The first step in units of the interval, where the options give none.
const FIRST_STEP: f64 = 0.01;
/// (O2) raises the norm to −1 over this.
const ERROR_POWER: f64 = 5.0;

/// Integrates `dx = drift dt + scale(t) dW` from `t0` to `t1`, in either direction, with one step size per sample. Each
/// attempted step costs two evaluations. W is that of `path`, whose interval must hold `t0` and `t1`; a sample that
/// would need steps below its resolution ends as [`LaneStatus::StepSizeTooSmall`].
///
/// On host states the result of a sample is the same bits in any batch, unless the options couple it to the others
/// ([`Adaptive::joint`]). After the first step nothing is allocated.
///
/// # Errors
/// For options, an interval or a path that cannot be used, and for a `drift` that fails.
pub fn adaptive_sde<X, F, B>(
    start: impl Into<Samples<X>>,
    span: (f64, f64),
    options: &Adaptive<X::Tolerance>,
    (drift, scale): (F, B),
    path: &BrownianPath,
) -> Result<Solution<X>>
where
    X: State,
    F: FnMut(&X, Lanes<'_>, &mut X) -> sde_core::Result<()>,
    B: Fn(f64) -> f64,
{
    let mut solve = Solve::new(start.into(), span, options, (drift, scale), path)?;
    while solve.step()? > 0 {}
    Ok(solve.out)
}

/// A solve in progress.
struct Solve<'o, X: State, F, B> {
    options: &'o Adaptive<X::Tolerance>,
    drift: F,
    scale: B,
    path: &'o BrownianPath,
    t1: f64,
    /// The state, the trial state, the drift at both.
    y: X,
    z: X,
    a0: X,
    a1: X,
    /// W at the start and at the end of the trial step, the difference, the error.
    w0: X,
    w1: X,
    dw: X,
    error: X,
    lanes: Vec<Lane>,
    rows: Rows,
    accepted: Vec<bool>,
    keep: Vec<usize>,
    scratch: Vec<f64>,
    out: Solution<X>,
}

impl<'o, X, F, B> Solve<'o, X, F, B>
where
    X: State,
    F: FnMut(&X, Lanes<'_>, &mut X) -> sde_core::Result<()>,
    B: Fn(f64) -> f64,
{
    fn new(
        start: Samples<X>,
        (t0, t1): (f64, f64),
        options: &'o Adaptive<X::Tolerance>,
        (drift, scale): (F, B),
        path: &'o BrownianPath,
    ) -> Result<Self> {
        check_input(&start, (t0, t1), options, path)?;
        let Samples { x: y, numbers } = start;
        let (n, like) = (numbers.len(), || y.zeros_like());
        let rows = Rows::new(numbers, t0);
        let (mut w0, mut scratch) = (like(), Vec::new());
        path.fill(rows.at(), &mut scratch, &mut w0)?;
        let mut lanes: Vec<Lane> = (0..n).map(|index| Lane::new(index, t0)).collect();
        let first = options.first_step.unwrap_or(FIRST_STEP * (t1 - t0).abs());
        for lane in &mut lanes {
            lane.h_abs = first;
            if t0.to_bits() == t1.to_bits() {
                lane.status = LaneStatus::Done;
            }
        }
        let [z, a0, a1, w1, dw, error, end] = std::array::from_fn(|_| like());
        let (out, accepted, keep) = (Solution::at(end, t0), vec![false; n], Vec::with_capacity(n));
        Ok(Self {
            options,
            drift,
            scale,
            path,
            t1,
            y,
            z,
            a0,
            a1,
            w0,
            w1,
            dw,
            error,
            lanes,
            rows,
            accepted,
            keep,
            scratch,
            out,
        })
    }

    /// Tries one step of every running sample; returns how many are still running after it.
    fn step(&mut self) -> Result<usize> {
        for (lane, h) in self.lanes.iter_mut().zip(&mut self.rows.h) {
            if lane.status == LaneStatus::Running {
                *h = lane.plan(self.t1, self.options.max_step, self.options.max_steps);
                *h = to_node(lane, self.path, *h, self.t1);
            }
        }
        self.retire();
        if self.lanes.is_empty() {
            return Ok(0);
        }
        self.attempt()?;
        let rule = (self.options.control, ERROR_POWER);
        for ((lane, norm), accepted) in
            self.lanes.iter_mut().zip(&self.rows.norm).zip(&mut self.accepted)
        {
            *accepted = lane.judge(*norm, rule, self.t1);
        }
        self.y.take_where(&self.z, &self.accepted);
        self.w0.take_where(&self.w1, &self.accepted);
        self.retire();
        Ok(self.lanes.len())
    }

    /// The trial step and the norm of its error.
    fn attempt(&mut self) -> Result<()> {
        self.rows.plan(&self.lanes, &self.scale);
        self.evaluate(false)?;
        self.rows.times.iter_mut().zip(&self.lanes).for_each(|(t, lane)| *t = lane.t_new);
        self.path.fill(self.rows.at(), &mut self.scratch, &mut self.w1)?;
        let rows = &self.rows;
        self.dw.combine(&[(&rows.ones, &self.w1), (&rows.minus, &self.w0)]);
        self.z.combine(&[(&rows.ones, &self.y), (&rows.h, &self.a0), (&rows.b0, &self.dw)]);
        self.evaluate(true)?;
        let rows = &self.rows;
        let (y, dw) = ((&rows.ones[..], &self.y), &self.dw);
        let a1 = (&rows.half[..], &self.a1);
        self.z.combine(&[y, (&rows.half, &self.a0), a1, (&rows.b, dw)]);
        self.error.combine(&[a1, (&rows.less, &self.a0), (&rows.rise, dw)]);
        self.measure();
        Ok(())
    }

    fn measure(&mut self) {
        let Rows { norm, ones, .. } = &mut self.rows;
        norm.fill(0.0);
        let (error, ends, tol) = (&self.error, (&self.y, &self.z), &self.options.tolerance);
        self.dw.raise_error_norm(ones, &[1.0], |_| error, ends, tol, norm);
        if self.options.joint {
            share(norm);
        }
    }

    /// The drift of y or of the trial state at the times.
    fn evaluate(&mut self, trial: bool) -> Result<()> {
        let (x, out) = if trial { (&self.z, &mut self.a1) } else { (&self.y, &mut self.a0) };
        let t = self.rows.times.first().copied().unwrap_or(self.t1);
        (self.drift)(x, self.rows.at(), out).map_err(|source| Error::Dynamics { t, source })?;
        self.out.batch_evals += 1;
        self.out.row_evals += self.lanes.len() as u64;
        self.lanes.iter_mut().for_each(|lane| lane.stats.nfe += 1);
        Ok(())
    }

    /// Takes the samples that no longer run out of the batch, after their record.
    fn retire(&mut self) {
        let running = |lane: &Lane| lane.status == LaneStatus::Running;
        if self.lanes.iter().all(running) {
            return;
        }
        self.keep.clear();
        self.keep.extend(self.lanes.iter().map(|lane| lane.index));
        self.out.y.scatter(&self.keep, &self.y);
        for lane in &self.lanes {
            self.out.t[lane.index] = lane.t;
            self.out.status[lane.index] = lane.status;
            self.out.stats[lane.index] = lane.stats;
        }
        self.keep.clear();
        self.keep.extend((0..self.lanes.len()).filter(|&i| running(&self.lanes[i])));
        self.rows.compact(&self.keep);
        self.y.compact(&self.keep);
        self.w0.compact(&self.keep);
        self.lanes.retain(running);
        self.accepted.truncate(self.lanes.len());
        let Self { z, a0, a1, w1, dw, error, .. } = self;
        for x in [z, a0, a1, w1, dw, error] {
            x.fit(&self.y);
        }
    }
}

/// What no solve can use.
fn check_input<X: State>(
    start: &Samples<X>,
    (t0, t1): (f64, f64),
    options: &Adaptive<X::Tolerance>,
    path: &BrownianPath,
) -> Result<()> {
    start.check()?;
    check_finite("t0", t0)?;
    check_finite("t1", t1)?;
    options.check()?;
    let (first, last) = path.span();
    for (name, t) in [("t0", t0), ("t1", t1)] {
        check(name, t, t >= first && t <= last, "a time on the Brownian path")?;
    }
    Ok(X::check_tolerance(&options.tolerance)?)
}
