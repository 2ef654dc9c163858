//! Events: times at which a function g of time and state changes its sign, found on the interpolant of the step.
//!
//! A step from `t_old` to t holds an event when `g(t_old)` is not zero and `g(t)` is zero or has the other sign, so one
//! zero is never found twice. Its time is the root of `g(t, y(t))`, with `y(t)` by (O4), by Brent's method (R. P. Brent,
//! *Algorithms for minimization without derivatives*, 1973, chapter 4) to four spacings of floating-point numbers, as in
//! SciPy. Two changes of sign inside one step are not seen: `max_step` bounds what can be missed.

mod brent;

use crate::control::Lane;
use crate::dense::Piece;
use crate::error::{Error, Result};
use sde_core::{Lanes, State};
use std::fmt;

type Value<'e, X> = dyn FnMut(&X, Lanes<'_>, &mut [f64]) -> sde_core::Result<()> + 'e;

/// Which changes of sign count, in the direction of the solve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Crossing {
    /// From below zero to zero or above.
    Up,
    /// From above zero to zero or below.
    Down,
    /// Both.
    #[default]
    Any,
}

impl Crossing {
    fn holds(self, last: f64, next: f64) -> bool {
        let (up, down) = (last < 0.0 && next >= 0.0, last > 0.0 && next <= 0.0);
        match self {
            Self::Up => up,
            Self::Down => down,
            Self::Any => up || down,
        }
    }
}

/// What to look for.
pub struct Event<'e, X> {
    value: Box<Value<'e, X>>,
    crossing: Crossing,
    terminal: bool,
}

impl<'e, X> Event<'e, X> {
    /// `value(y, at, g)` writes g of every row. It is also asked about trial states that are then rejected. Every change
    /// of sign counts, and the solve goes on.
    pub fn new(value: impl FnMut(&X, Lanes<'_>, &mut [f64]) -> sde_core::Result<()> + 'e) -> Self {
        Self { value: Box::new(value), crossing: Crossing::Any, terminal: false }
    }

    /// The same with only these changes of sign.
    pub fn crossing(mut self, crossing: Crossing) -> Self {
        self.crossing = crossing;
        self
    }

    /// The same, and the sample stops there.
    pub fn terminal(mut self) -> Self {
        self.terminal = true;
        self
    }
}

impl<X> fmt::Debug for Event<'_, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut event = f.debug_struct("Event");
        event.field("crossing", &self.crossing).field("terminal", &self.terminal);
        event.finish_non_exhaustive()
    }
}

/// An event that happened.
#[derive(Clone, Debug)]
pub struct Found<X> {
    /// Which of the events.
    pub event: usize,
    /// Which row of the initial state.
    pub row: usize,
    /// When.
    pub t: f64,
    /// The state of that sample, a batch of one.
    pub y: X,
}

/// The events of a solve and what was found of them so far.
#[derive(Debug)]
pub(crate) struct Watch<'e, X> {
    events: Vec<Event<'e, X>>,
    /// g of event e and sample i, at `e n + i`: at the last accepted state and at the end of the trial step.
    last: Vec<f64>,
    next: Vec<f64>,
    n: usize,
    values: Vec<f64>,
    pub(crate) found: Vec<Found<X>>,
}

impl<'e, X: State> Watch<'e, X> {
    /// For a solve of n samples; g at the start is still to be looked at.
    pub(crate) fn new(events: Vec<Event<'e, X>>, n: usize) -> Self {
        let all = events.len() * n;
        let (last, next, values) = (vec![0.0; all], vec![0.0; all], vec![0.0; n]);
        Self { events, last, next, n, values, found: Vec::new() }
    }

    /// Evaluates g at the end of the trial step; of no lanes there is nothing to ask.
    pub(crate) fn look(&mut self, y: &X, at: Lanes<'_>, lanes: &[Lane]) -> Result<()> {
        if lanes.is_empty() {
            return Ok(());
        }
        let values = &mut self.values[..lanes.len()];
        for (event, next) in self.events.iter_mut().zip(self.next.chunks_exact_mut(self.n)) {
            let t = at.t.first().copied().unwrap_or(f64::NAN);
            (event.value)(y, at, values).map_err(|source| Error::Dynamics { t, source })?;
            lanes.iter().zip(&*values).for_each(|(lane, g)| next[lane.index] = *g);
        }
        Ok(())
    }

    /// Takes the lane's step as accepted: what was next is last.
    pub(crate) fn accept(&mut self, lane: &Lane) {
        for i in (lane.index..self.last.len()).step_by(self.n) {
            self.last[i] = self.next[i];
        }
    }

    /// g at both ends of the lane's step, for an event that happens in it.
    fn ends(&self, event: usize, lane: &Lane) -> Option<(f64, f64)> {
        let i = event * self.n + lane.index;
        let (last, next) = (self.last[i], self.next[i]);
        self.events[event].crossing.holds(last, next).then_some((last, next))
    }

    /// Whether anything happens in the lane's step.
    pub(crate) fn wants(&self, lane: &Lane) -> bool {
        (0..self.events.len()).any(|event| self.ends(event, lane).is_some())
    }

    /// Finds the events in one lane's step, in their order up to the first that is terminal; returns that one.
    pub(crate) fn find(
        &mut self,
        piece: &Piece<X>,
        lane: &Lane,
        sample: u64,
    ) -> Result<Option<&Found<X>>> {
        let mut roots = Vec::new();
        for event in 0..self.events.len() {
            if let Some(ends) = self.ends(event, lane) {
                roots.push((self.root(event, piece, ends, sample)?, event));
            }
        }
        let direction = piece.h[0].signum();
        roots.sort_by(|a, b| (direction * a.0).total_cmp(&(direction * b.0)));
        for (t, event) in roots {
            self.found.push(Found { event, row: lane.index, t, y: piece.at(&[t]) });
            if self.events[event].terminal {
                return Ok(self.found.last());
            }
        }
        Ok(None)
    }

    /// The root of g on the interpolant of one lane's step.
    fn root(&mut self, event: usize, piece: &Piece<X>, g: (f64, f64), sample: u64) -> Result<f64> {
        let value = &mut self.events[event].value;
        brent::root((piece.start[0], piece.end[0]), g, |t| {
            let (at, mut g) = (Lanes { t: &[t], sample: &[sample] }, [0.0]);
            value(&piece.at(&[t]), at, &mut g).map_err(|source| Error::Dynamics { t, source })?;
            Ok(g[0])
        })
    }
}
