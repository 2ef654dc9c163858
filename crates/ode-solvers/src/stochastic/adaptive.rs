//! Steps that each sample chooses for itself, along a Brownian path that is there before the steps.
//!
//! A trial step is Heun's (O8) with `ΔW = W(t + h) − W(t)` of the sample's [`BrownianPath`]. Its error is estimated by
//! its distance from the Euler–Maruyama step that is its stage,
//!
//! ```text
//! e = h (a₁ − a₀)/2 + (b₁ − b₀)/2 ΔW,                                                                (O13)
//! ```
//!
//! of size `h^{3/2}`. (O2) would take the exponent −2/3; here it takes 0.3 of it, −1/5, since the numbers of one step say
//! little of the next: with all of it every second step is too long. A rejected step is tried again on the same path:
//! numbers drawn anew after a rejection would favour those that are small, and the law would be another. As the noise is
//! additive, the steps may depend on the path (Gaines and Lyons 1997 show what else is needed where it is not).
//!
//! Steps end on nodes of the path's tree, for which they are shortened by an eighth at most. A query then walks down few
//! levels, and rounding in the drift does not move the times at which a path without smoothness is looked at.

use crate::control::{Lane, share};
use crate::error::{Error, Result};
use crate::problem::{Adaptive, Samples, check_finite};
use crate::solution::{LaneStatus, Solution};
use sde_core::error::check;
use sde_core::{BrownianPath, Lanes, State};

/// The first step in units of the interval, where the options give none.
const FIRST_STEP: f64 = 0.01;
/// A step ends on a node that is this many halvings finer than itself.
const NODES: u32 = 4;
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

/// A solve in progress. Every vector has one entry for each running sample.
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
    samples: Vec<u64>,
    times: Vec<f64>,
    ones: Vec<f64>,
    h: Vec<f64>,
    half: Vec<f64>,
    less: Vec<f64>,
    b0: Vec<f64>,
    b: Vec<f64>,
    norm: Vec<f64>,
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
        start.check()?;
        check_finite("t0", t0)?;
        check_finite("t1", t1)?;
        options.check()?;
        X::check_tolerance(&options.tolerance)?;
        let (first, last) = path.span();
        for (name, t) in [("t0", t0), ("t1", t1)] {
            check(name, t, t >= first && t <= last, "a time on the Brownian path")?;
        }
        let Samples { x: y, numbers: samples } = start;
        let n = samples.len();
        let like = || y.zeros_like();
        let row = || vec![0.0; n];
        let mut w0 = like();
        let mut scratch = Vec::new();
        path.fill(Lanes { t: &vec![t0; n], sample: &samples }, &mut scratch, &mut w0)?;
        let mut lanes: Vec<Lane> = (0..n).map(|index| Lane::new(index, t0)).collect();
        let first = options.first_step.unwrap_or(FIRST_STEP * (t1 - t0).abs());
        for lane in &mut lanes {
            lane.h_abs = first;
            if t0.to_bits() == t1.to_bits() {
                lane.status = LaneStatus::Done;
            }
        }
        Ok(Self {
            options,
            drift,
            scale,
            path,
            t1,
            z: like(),
            a0: like(),
            a1: like(),
            w0,
            w1: like(),
            dw: like(),
            error: like(),
            out: Solution::at(like(), t0),
            y,
            lanes,
            samples,
            times: vec![t0; n],
            ones: vec![1.0; n],
            h: row(),
            half: row(),
            less: row(),
            b0: row(),
            b: row(),
            norm: row(),
            accepted: vec![false; n],
            keep: Vec::with_capacity(n),
            scratch,
        })
    }

    /// Tries one step of every running sample; returns how many are still running after it.
    fn step(&mut self) -> Result<usize> {
        for (lane, h) in self.lanes.iter_mut().zip(&mut self.h) {
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
        for ((lane, norm), accepted) in
            self.lanes.iter_mut().zip(&self.norm).zip(&mut self.accepted)
        {
            *accepted = lane.judge(*norm, (self.options.control, ERROR_POWER), self.t1);
        }
        self.y.take_where(&self.z, &self.accepted);
        self.w0.take_where(&self.w1, &self.accepted);
        self.retire();
        Ok(self.lanes.len())
    }

    /// The trial step and the norm of its error.
    fn attempt(&mut self) -> Result<()> {
        for (i, lane) in self.lanes.iter().enumerate() {
            let (b0, b1) = ((self.scale)(lane.t), (self.scale)(lane.t_new));
            (self.b0[i], self.b[i]) = (b0, 0.5 * (b0 + b1));
            (self.half[i], self.less[i]) = (0.5 * self.h[i], -0.5 * self.h[i]);
            self.times[i] = lane.t;
        }
        self.evaluate(false)?;
        self.times.iter_mut().zip(&self.lanes).for_each(|(t, lane)| *t = lane.t_new);
        let at = Lanes { t: &self.times, sample: &self.samples };
        self.path.fill(at, &mut self.scratch, &mut self.w1)?;
        self.norm.fill(-1.0);
        self.dw.combine(&[(&self.ones, &self.w1), (&self.norm, &self.w0)]);
        self.z.combine(&[(&self.ones, &self.y), (&self.h, &self.a0), (&self.b0, &self.dw)]);
        self.evaluate(true)?;
        let drift = (&self.half[..], &self.a1);
        let terms = [(&self.ones[..], &self.y), (&self.half, &self.a0), drift, (&self.b, &self.dw)];
        self.z.combine(&terms);
        // (b₁ − b₀)/2 = (b₀ + b₁)/2 − b₀
        self.b.iter_mut().zip(&self.b0).for_each(|(b, b0)| *b -= b0);
        self.error.combine(&[drift, (&self.less, &self.a0), (&self.b, &self.dw)]);
        self.measure();
        Ok(())
    }

    fn measure(&mut self) {
        self.norm.fill(0.0);
        let (error, ends, tol) = (&self.error, (&self.y, &self.z), &self.options.tolerance);
        let of_error = |_| error;
        self.dw.raise_error_norm(&self.ones, &[1.0], of_error, ends, tol, &mut self.norm);
        if self.options.joint {
            share(&mut self.norm);
        }
    }

    /// The drift of y or of the trial state at the times.
    fn evaluate(&mut self, trial: bool) -> Result<()> {
        let (x, out) = if trial { (&self.z, &mut self.a1) } else { (&self.y, &mut self.a0) };
        let at = Lanes { t: &self.times, sample: &self.samples };
        let t = self.times.first().copied().unwrap_or(self.t1);
        (self.drift)(x, at, out).map_err(|source| Error::Dynamics { t, source })?;
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
        for (to, &from) in self.keep.iter().enumerate() {
            self.samples[to] = self.samples[from];
            self.h[to] = self.h[from];
        }
        self.y.compact(&self.keep);
        self.w0.compact(&self.keep);
        self.lanes.retain(running);
        let n = self.lanes.len();
        self.samples.truncate(n);
        self.accepted.truncate(n);
        for row in [
            &mut self.times,
            &mut self.ones,
            &mut self.h,
            &mut self.half,
            &mut self.less,
            &mut self.b0,
            &mut self.b,
            &mut self.norm,
        ] {
            row.truncate(n);
        }
        for x in
            [&mut self.z, &mut self.a0, &mut self.a1, &mut self.w1, &mut self.dw, &mut self.error]
        {
            x.fit(&self.y);
        }
    }
}

/// Shortens a step so that it ends on a node of the path, unless it ends on t1, and returns it; refuses one that the path
/// has no nodes for.
fn to_node(lane: &mut Lane, path: &BrownianPath, h: f64, t1: f64) -> f64 {
    if lane.status != LaneStatus::Running || lane.t_new.to_bits() == t1.to_bits() {
        return h;
    }
    if h.abs() < path.resolution() {
        lane.status = LaneStatus::StepSizeTooSmall { t: lane.t, h: h.abs() };
        return h;
    }
    let (first, last) = path.span();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 30")]
    let halvings = ((last - first) / h.abs()).log2().max(0.0) as u32 + NODES;
    let (before, after) = path.interval(lane.t_new, halvings);
    let node = if h > 0.0 { before } else { after };
    if (node - lane.t) * h > 0.0 {
        lane.t_new = node;
        lane.h_abs = (node - lane.t).abs();
    }
    lane.t_new - lane.t
}
