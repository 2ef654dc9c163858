//! What a solve returns: for each sample what was reached, whether that is the end, and what it cost.

use crate::error::{Error, Result};
use ndarray::{Array, Axis, RemoveAxis};
use sde_core::State;

/// How the solve of one sample stands.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum LaneStatus {
    /// Still on its way.
    Running,
    /// At the end of the interval.
    Done,
    /// Stopped by a terminal event inside the interval.
    Event {
        /// Which of the events.
        event: usize,
        /// Where it happened.
        t: f64,
    },
    /// The tolerance asks for a step below ten spacings of floating-point numbers at t.
    StepSizeTooSmall {
        /// Where it happened.
        t: f64,
        /// The step that was refused.
        h: f64,
    },
    /// The limit on attempted steps was reached at t.
    MaxSteps {
        /// Where it happened.
        t: f64,
    },
    /// The right-hand side or the state is not finite at t or right after it, however small the step.
    NonFinite {
        /// Where it happened.
        t: f64,
    },
}

/// The work done for one sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneStats {
    /// Accepted steps.
    pub accepted: u32,
    /// Rejected trial steps.
    pub rejected: u32,
    /// Evaluations of the right-hand side in which this sample took part.
    pub nfe: u32,
}

/// The state reached, and for each sample its time, status and work. Always whole: a sample that failed keeps
/// the last state it accepted.
#[derive(Clone, Debug)]
pub struct Solution<X> {
    /// The state reached, samples in the order of the initial state.
    pub y: X,
    /// Time reached by each sample; equal to the end of the interval bit for bit where `Done`.
    pub t: Vec<f64>,
    /// Status of each sample.
    pub status: Vec<LaneStatus>,
    /// Work of each sample.
    pub stats: Vec<LaneStats>,
    /// Batched evaluations of the right-hand side.
    pub batch_evals: u64,
    /// Rows evaluated over all batched evaluations.
    pub row_evals: u64,
}

impl<X: State> Solution<X> {
    /// A solve that has not begun: `y` for the results, every sample at `t`.
    pub(crate) fn at(y: X, t: f64) -> Self {
        let n = y.samples();
        Self {
            y,
            t: vec![t; n],
            status: vec![LaneStatus::Running; n],
            stats: vec![LaneStats::default(); n],
            batch_evals: 0,
            row_evals: 0,
        }
    }
}

impl<X> Solution<X> {
    /// Whether every sample reached the end.
    pub fn is_done(&self) -> bool {
        self.status.iter().all(|s| *s == LaneStatus::Done)
    }

    /// Mean number of evaluations over the samples; NaN of no samples.
    pub fn mean_nfe(&self) -> f64 {
        self.row_evals as f64 / self.stats.len() as f64
    }

    /// The same solution with another view of the state.
    pub fn map<Y>(self, f: impl FnOnce(X) -> Y) -> Solution<Y> {
        let Self { y, t, status, stats, batch_evals, row_evals } = self;
        Solution { y: f(y), t, status, stats, batch_evals, row_evals }
    }
}

impl<D: RemoveAxis> Solution<Array<f64, D>> {
    /// Appends the solution of further samples.
    ///
    /// # Errors
    /// When their shape is another.
    pub(crate) fn append(&mut self, part: Self) -> Result<()> {
        let shape = |_| Error::Shape { found: part.y.shape().to_vec() };
        self.y.append(Axis(0), part.y.view()).map_err(shape)?;
        self.t.extend(part.t);
        self.status.extend(part.status);
        self.stats.extend(part.stats);
        self.batch_evals += part.batch_evals;
        self.row_evals += part.row_evals;
        Ok(())
    }
}
