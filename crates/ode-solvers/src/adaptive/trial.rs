//! One trial step: its stages, its result and its error.

use super::Solver;
use crate::control::share;
use crate::error::{Error, Result};
use sde_core::{Lanes, State};

impl<X, F> Solver<'_, X, F>
where
    X: State,
    F: FnMut(&X, Lanes<'_>, &mut X) -> sde_core::Result<()>,
{
    /// The stages of one trial step, its result `z`, `k_S` and the error norms: equation (O1).
    pub(super) fn attempt(&mut self) -> Result<()> {
        let method = self.method;
        for (s, (row, c)) in (1..).zip(method.a.iter().zip(method.c)) {
            let k = &self.k;
            self.z.stage(&self.y, &self.h, row, |j| &k[j]);
            self.evaluate_at(s, *c)?;
        }
        let k = &self.k;
        self.z.stage(&self.y, &self.h, method.b, |j| &k[j]);
        self.evaluate_at(method.stages(), 1.0)?;
        self.measure();
        Ok(())
    }

    /// The error norms of the trial step.
    fn measure(&mut self) {
        self.norm.fill(0.0);
        let (method, k, ends) = (self.method, &self.k, (&self.y, &self.z));
        let tol = &self.options.tolerance;
        let (h, norm) = (&self.h, &mut self.norm[..]);
        if method.e3.is_empty() {
            self.scratch.raise_error_norm(h, method.e, |j| &k[j], ends, tol, norm);
        } else {
            let ([n, m], e) = (&mut self.spare, [method.e, method.e3]);
            self.scratch.raise_error_norm_of_two(h, e, |j| &k[j], ends, tol, [norm, n, m]);
        }
        if self.options.joint {
            share(&mut self.norm);
        }
    }

    /// `k_s = f(z)` at `t + c h`; c = 1 is the stored end of the step, so `f` is never called outside the interval.
    #[expect(clippy::float_cmp, reason = "a node of the tableau is exactly 1 or is not")]
    fn evaluate_at(&mut self, s: usize, c: f64) -> Result<()> {
        if c == 1.0 {
            self.times.copy_from_slice(&self.ends);
        } else {
            let steps = self.starts.iter().zip(&self.h);
            self.times.iter_mut().zip(steps).for_each(|(t, (start, h))| *t = start + c * h);
        }
        self.call(s, true)
    }

    /// `k_s` at the start of the step, or at its end: an evaluation beside those of trial steps.
    pub(super) fn evaluate(&mut self, s: usize, trial: bool) -> Result<()> {
        for (t, lane) in self.times.iter_mut().zip(&mut self.lanes) {
            *t = if trial { lane.t_new } else { lane.t };
            lane.stats.nfe += 1;
        }
        self.call(s, trial)
    }

    /// Calls `f` on the trial state or on y, and counts for the batch.
    fn call(&mut self, s: usize, trial: bool) -> Result<()> {
        let y = if trial { &self.z } else { &self.y };
        let at = Lanes { t: &self.times, sample: &self.samples };
        let t = self.times.first().copied().unwrap_or(self.t1);
        (self.f)(y, at, &mut self.k[s]).map_err(|source| Error::Dynamics { t, source })?;
        self.out.batch_evals += 1;
        self.out.row_evals += self.lanes.len() as u64;
        Ok(())
    }
}
