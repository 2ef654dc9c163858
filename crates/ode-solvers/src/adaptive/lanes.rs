//! How lanes come into the batch and leave it.

use super::Solver;
use crate::control::{Lane, first_guess, first_step, share};
use crate::error::Result;
use crate::solution::LaneStatus;
use sde_core::{Lanes, State};

impl<X, F> Solver<'_, X, F>
where
    X: State,
    F: FnMut(&X, Lanes<'_>, &mut X) -> sde_core::Result<()>,
{
    /// `k_0` and the first step of each lane, by Hairer's rule unless the options give one.
    pub(super) fn start(&mut self) -> Result<()> {
        let interval = (self.t1 - self.lanes.first().map_or(self.t1, |l| l.t)).abs();
        if interval == 0.0 {
            self.lanes.iter_mut().for_each(|l| l.status = LaneStatus::Done);
            self.retire();
            return Ok(());
        }
        self.evaluate(0, false)?;
        let d0 = self.norm_of(&[1.0], std::slice::from_ref(&self.y));
        let d1 = self.norm_of(&[1.0], &self.k[..1]);
        for (lane, d) in self.lanes.iter_mut().zip(d0.iter().zip(&d1)) {
            if !(d.0 + d.1).is_finite() {
                lane.status = LaneStatus::NonFinite { t: lane.t };
            }
        }
        if let Some(h) = self.options.first_step {
            self.lanes.iter_mut().for_each(|l| l.h_abs = h);
        } else {
            self.guess_first_steps(&d0, &d1, interval)?;
        }
        self.retire();
        Ok(())
    }

    fn guess_first_steps(&mut self, d0: &[f64], d1: &[f64], interval: f64) -> Result<()> {
        let guess: Vec<f64> =
            d0.iter().zip(d1).map(|(d0, d1)| first_guess(*d0, *d1, interval)).collect();
        for ((lane, h), h0) in self.lanes.iter_mut().zip(&mut self.h).zip(&guess) {
            *h = lane.reach(*h0, self.t1);
        }
        let k = &self.k;
        self.z.stage(&self.y, &self.h, &[1.0], |j| &k[j]);
        self.evaluate(1, true)?;
        let d2 = self.norm_of(&[-1.0, 1.0], &self.k[..2]);
        let max_step = self.options.max_step;
        for (i, lane) in self.lanes.iter_mut().enumerate() {
            let d = (guess[i], d1[i], d2[i] / guess[i]);
            lane.h_abs = first_step(d, self.method.error_order, interval, max_step);
        }
        Ok(())
    }

    /// Norm over each row of `Σ e_j k_j` in units of the tolerance at y.
    fn norm_of(&self, e: &[f64], k: &[X]) -> Vec<f64> {
        let mut norm = vec![0.0; self.lanes.len()];
        let ones = vec![1.0; self.lanes.len()];
        let mut scratch = self.scratch.zeros_like();
        let ends = (&self.y, &self.y);
        scratch.raise_error_norm(&ones, e, |j| &k[j], ends, &self.options.tolerance, &mut norm);
        if self.options.joint {
            share(&mut norm);
        }
        norm
    }

    /// Writes every lane's state and record to the output.
    pub(super) fn record(&mut self) {
        self.keep.clear();
        self.keep.extend(self.lanes.iter().map(|l| l.index));
        self.out.y.scatter(&self.keep, &self.y);
        for lane in &self.lanes {
            self.out.t[lane.index] = lane.t;
            self.out.status[lane.index] = lane.status;
            self.out.stats[lane.index] = lane.stats;
        }
    }

    /// Takes the lanes that no longer run out of the batch.
    pub(super) fn retire(&mut self) {
        if self.lanes.iter().all(|l| l.status == LaneStatus::Running) {
            return;
        }
        self.record();
        self.keep.clear();
        let running = |lane: &Lane| lane.status == LaneStatus::Running;
        self.keep.extend((0..self.lanes.len()).filter(|&i| running(&self.lanes[i])));
        for (to, &from) in self.keep.iter().enumerate() {
            self.samples[to] = self.samples[from];
            self.h[to] = self.h[from];
            self.starts[to] = self.starts[from];
            self.ends[to] = self.ends[from];
        }
        self.y.compact(&self.keep);
        self.k[0].compact(&self.keep);
        self.lanes.retain(running);
        let n = self.lanes.len();
        self.samples.truncate(n);
        let own = [&mut self.times, &mut self.starts, &mut self.ends, &mut self.h, &mut self.norm];
        own.into_iter().chain(&mut self.spare).for_each(|column| column.truncate(n));
        self.accepted.truncate(n);
        for x in self.k[1..].iter_mut().chain([&mut self.z, &mut self.scratch]) {
            x.fit(&self.y);
        }
    }
}
