//! Watching a solve, and stopping it.
//!
//! The functions whose names end in `observed` call a closure after each step of the batch. It sees how far the solve is
//! and says whether to go on. A solve that is stopped returns what it has reached: samples that were not at their end are
//! [`Running`](crate::LaneStatus::Running), each at its own time.

use std::ops::ControlFlow;

/// How far a solve is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Steps that the batch has tried.
    pub steps: usize,
    /// Samples that are still on their way.
    pub running: usize,
    /// Time of the sample that is furthest behind; the end of the interval when none is running.
    pub t: f64,
    /// How much is done, from 0 to 1: of the interval, by the sample that is furthest behind, or of a grid's steps.
    pub fraction: f64,
}

impl Progress {
    /// After step `step` of a grid, counted from 0, that has led n samples to t.
    pub(crate) fn on_grid((step, of): (usize, usize), n: usize, t: f64) -> Self {
        let left = of - step - 1;
        let running = if left == 0 { 0 } else { n };
        Self { steps: step + 1, running, t, fraction: 1.0 - left as f64 / of as f64 }
    }
}

/// An observer that lets everything pass.
pub(crate) fn unobserved(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
