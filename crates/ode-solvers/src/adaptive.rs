//! The adaptive driver: any tableau with an error estimate, one step size per sample.
//!
//! All samples that are still running are evaluated together, each at its own time and with its own step; a
//! sample that is done or has failed leaves the batch at once, so no evaluation is spent on it and it cannot
//! disturb the others. On host states the result of a sample is the same bits in any batch. After the first step
//! nothing is allocated.

mod inside;
mod lanes;
mod observed;
mod saved;
mod trial;

pub use observed::solve_observed;
pub use saved::solve_at_each;

use crate::control::Lane;
use crate::dense::Saving;
use crate::error::{Error, Result};
use crate::events::{Event, Found, Watch};
use crate::problem::{Adaptive, Samples, check_finite};
use crate::progress::unobserved;
use crate::solution::Solution;
use crate::tableau::Tableau;
use sde_core::{Lanes, State};

/// Solves `dy/dt = f` from `t0` to `t1`, in either direction. `f(y, at, dy)` writes the derivative of every row.
///
/// ```
/// use ndarray::array;
/// use ode_solvers::{Adaptive, RK45, solve};
/// use sde_core::Tolerance;
/// let options = Adaptive::new(Tolerance::both(1e-8));
/// let solution = solve(&RK45, array![[1.0, 0.0]], (0.0, 10.0), &options, |y, _, dy| {
///     dy[[0, 0]] = y[[0, 1]];
///     dy[[0, 1]] = -y[[0, 0]];
///     Ok(())
/// })?;
/// assert!((solution.y[[0, 0]] - 10_f64.cos()).abs() < 1e-6);
/// # Ok::<(), ode_solvers::Error>(())
/// ```
///
/// # Errors
/// [`Error`] for options that cannot be used and for an `f` that fails; a sample that cannot go on is no error
/// but has a [`LaneStatus`](crate::LaneStatus).
pub fn solve<X, F>(
    method: &'static Tableau,
    start: impl Into<Samples<X>>,
    span: (f64, f64),
    options: &Adaptive<X::Tolerance>,
    f: F,
) -> Result<Solution<X>>
where
    X: State,
    F: FnMut(&X, Lanes<'_>, &mut X) -> sde_core::Result<()>,
{
    solve_observed(method, start, span, options, f, unobserved)
}

/// As [`solve`], and the states at `times`, which lie in the interval in its direction; row i of each is sample i.
///
/// They come from the steps' interpolants (O4). Most methods evaluate nothing for them; DOP853 and Vern7 evaluate their
/// extra stages, three and five, in each step of a sample that holds such a time. A sample that fails keeps zeros at
/// the times it did not reach.
///
/// # Errors
/// As [`solve`]; for a time outside the interval or out of order.
pub fn solve_at<X, F>(
    method: &'static Tableau,
    start: impl Into<Samples<X>>,
    span: (f64, f64),
    times: &[f64],
    options: &Adaptive<X::Tolerance>,
    f: F,
) -> Result<(Solution<X>, Vec<X>)>
where
    X: State,
    F: FnMut(&X, Lanes<'_>, &mut X) -> sde_core::Result<()>,
{
    saved::solve_saving(method, start.into(), span, vec![times.to_vec()], options, f)
}

/// As [`solve`], and the events on the way, in the order in which the steps found them.
///
/// A sample stops at an event that is terminal, with the status [`LaneStatus::Event`](crate::LaneStatus::Event).
///
/// ```
/// use ndarray::{Array2, array};
/// use ode_solvers::{Adaptive, Crossing, DOP853, Event, solve_events};
/// use sde_core::Tolerance;
/// let options = Adaptive::new(Tolerance::both(1e-10));
/// let ground = Event::new(|y: &Array2<f64>, _, g: &mut [f64]| {
///     g.copy_from_slice(&y.column(0).to_vec());
///     Ok(())
/// });
/// let events = vec![ground.crossing(Crossing::Down).terminal()];
/// let fall = |y: &Array2<f64>, _: sde_core::Lanes<'_>, dy: &mut Array2<f64>| {
///     dy[[0, 0]] = y[[0, 1]];
///     dy[[0, 1]] = -10.0;
///     Ok(())
/// };
/// let (end, _) = solve_events(&DOP853, array![[5.0, 0.0]], (0.0, 9.0), events, &options, fall)?;
/// assert!((end.t[0] - 1.0).abs() < 1e-12 && (end.y[[0, 1]] + 10.0).abs() < 1e-9);
/// # Ok::<(), ode_solvers::Error>(())
/// ```
///
/// # Errors
/// As [`solve`]; for a method without dense output and an event that cannot be evaluated.
pub fn solve_events<X, F>(
    method: &'static Tableau,
    start: impl Into<Samples<X>>,
    span: (f64, f64),
    events: Vec<Event<'_, X>>,
    options: &Adaptive<X::Tolerance>,
    f: F,
) -> Result<(Solution<X>, Vec<Found<X>>)>
where
    X: State,
    F: FnMut(&X, Lanes<'_>, &mut X) -> sde_core::Result<()>,
{
    let mut solver = Solver::new(method, start, span, options, f)?;
    solver.watch(events)?;
    solver.run(unobserved)?;
    let found = solver.watch.take().map_or_else(Vec::new, |watch| watch.found);
    Ok((solver.finish(), found))
}

/// A solve in progress, for callers who drive the loop themselves.
#[derive(Debug)]
pub struct Solver<'o, X: State, F> {
    method: &'static Tableau,
    options: &'o Adaptive<X::Tolerance>,
    f: F,
    t0: f64,
    t1: f64,
    direction: f64,
    /// Steps that the batch has tried.
    attempts: usize,
    /// State at the lanes' times, trial state, stages `k_0 … k_S`, scratch space of the error norm.
    y: X,
    z: X,
    k: Vec<X>,
    scratch: X,
    lanes: Vec<Lane>,
    /// One entry per running lane: its sample's number, stage time, step, error norm, verdict.
    samples: Vec<u64>,
    times: Vec<f64>,
    /// The ends of the trial step: columns, since every stage reads them.
    starts: Vec<f64>,
    ends: Vec<f64>,
    h: Vec<f64>,
    norm: Vec<f64>,
    /// Scratch space of (O5).
    spare: [Vec<f64>; 2],
    accepted: Vec<bool>,
    keep: Vec<usize>,
    /// What to save between the ends of the steps, if anything.
    saving: Option<Saving<X>>,
    watch: Option<Watch<'o, X>>,
    out: Solution<X>,
}

impl<'o, X, F> Solver<'o, X, F>
where
    X: State,
    F: FnMut(&X, Lanes<'_>, &mut X) -> sde_core::Result<()>,
{
    /// Evaluates `f` at the start and chooses the first steps.
    ///
    /// # Errors
    /// As [`solve`].
    pub fn new(
        method: &'static Tableau,
        start: impl Into<Samples<X>>,
        (t0, t1): (f64, f64),
        options: &'o Adaptive<X::Tolerance>,
        f: F,
    ) -> Result<Self> {
        let start = start.into();
        check_input(method, &start, (t0, t1), options)?;
        let Samples { x: y0, numbers: samples } = start;
        let n = samples.len();
        let like = || y0.zeros_like();
        let mut solver = Self {
            method,
            options,
            f,
            t0,
            t1,
            direction: (t1 - t0).signum(),
            attempts: 0,
            z: like(),
            k: (0..=method.stages()).map(|_| like()).collect(),
            scratch: like(),
            lanes: (0..n).map(|index| Lane::new(index, t0)).collect(),
            samples,
            times: vec![t0; n],
            starts: vec![t0; n],
            ends: vec![t0; n],
            h: vec![0.0; n],
            norm: vec![0.0; n],
            spare: [vec![0.0; n], vec![0.0; n]],
            accepted: vec![false; n],
            keep: Vec::with_capacity(n),
            saving: None,
            watch: None,
            out: Solution::at(like(), t0),
            y: y0,
        };
        solver.start()?;
        Ok(solver)
    }

    /// Tries one step of every running lane; returns how many lanes are still running after it.
    ///
    /// # Errors
    /// When `f` fails.
    pub fn step(&mut self) -> Result<usize> {
        if self.try_step()? > 0 && (self.saving.is_some() || self.watch.is_some()) {
            self.look_inside()?;
        }
        Ok(self.advance())
    }

    /// Tries one step of every running lane and judges it; returns how many there are. The step's stages can be looked
    /// into until [`advance`](Self::advance).
    pub(crate) fn try_step(&mut self) -> Result<usize> {
        let options = self.options;
        let ends = self.starts.iter_mut().zip(&mut self.ends);
        for ((lane, h), (start, end)) in self.lanes.iter_mut().zip(&mut self.h).zip(ends) {
            *h = lane.plan(self.t1, options.max_step, options.max_steps);
            (*start, *end) = (lane.t, lane.t_new);
        }
        self.retire();
        if self.lanes.is_empty() {
            return Ok(0);
        }
        self.attempts += 1;
        self.attempt()?;
        let rule = (options.control, f64::from(self.method.error_order + 1));
        let stages = self.method.stages() as u32;
        for ((lane, norm), accepted) in
            self.lanes.iter_mut().zip(&self.norm).zip(&mut self.accepted)
        {
            lane.stats.nfe += stages;
            *accepted = lane.judge(*norm, rule, self.t1);
        }
        Ok(self.lanes.len())
    }

    /// Moves the lanes whose step was accepted to its end; returns how many lanes are still running.
    pub(crate) fn advance(&mut self) -> usize {
        if self.accepted.iter().all(|a| *a) {
            std::mem::swap(&mut self.y, &mut self.z);
            self.k.swap(0, self.method.stages());
        } else if let [first, .., last] = &mut self.k[..] {
            self.y.take_where(&self.z, &self.accepted);
            first.take_where(last, &self.accepted);
        }
        self.retire();
        self.lanes.len()
    }

    /// What was reached, for lanes still running too.
    pub fn finish(mut self) -> Solution<X> {
        self.record();
        self.out
    }
}

/// What no solve can use.
fn check_input<X: State>(
    method: &Tableau,
    start: &Samples<X>,
    (t0, t1): (f64, f64),
    options: &Adaptive<X::Tolerance>,
) -> Result<()> {
    method.check()?;
    if method.e.is_empty() {
        return Err(Error::NoErrorEstimate { method: method.name });
    }
    start.check()?;
    check_finite("t0", t0)?;
    check_finite("t1", t1)?;
    options.check()?;
    Ok(X::check_tolerance(&options.tolerance)?)
}
