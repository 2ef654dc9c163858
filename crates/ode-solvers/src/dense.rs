//! States between the ends of the steps, by the method's own interpolant (O4): no evaluation is spent on them.
//!
//! Lanes stand at different times, so each has its own θ. (O4) is summed one power of θ at a time,
//! `y ← y + (h θ^{p+1}) Σ_s P_sp k_s`, which is a stage with one size for each lane.

use crate::control::Lane;
use crate::error::{Error, Result};
use crate::problem::{Samples, check_finite};
use sde_core::State;

/// One accepted step of every lane: `y`, `k_0 … k_S`, h and the method's rows P.
pub(crate) struct Step<'s, X> {
    pub(crate) y: &'s X,
    pub(crate) k: &'s [X],
    pub(crate) h: &'s [f64],
    pub(crate) dense: &'static [&'static [f64]],
}

impl<X: State> Step<'_, X> {
    /// Writes `y(t_i + θ_i h_i)` of every lane.
    fn interpolate(&self, theta: &[f64], out: &mut X) {
        let mut sum = out.zeros_like();
        out.assign(self.y);
        let mut size: Vec<f64> = self.h.to_vec();
        for p in 0..self.dense.first().map_or(0, |row| row.len()) {
            size.iter_mut().zip(theta).for_each(|(size, theta)| *size *= theta);
            let weights: Vec<f64> = self.dense.iter().map(|row| row[p]).collect();
            sum.stage(out, &size, &weights, |s| &self.k[s]);
            std::mem::swap(out, &mut sum);
        }
    }
}

/// The times at which states are wanted, and the states so far.
#[derive(Debug)]
pub(crate) struct Saving<X> {
    times: Vec<f64>,
    /// For each sample the first time that it has not passed.
    next: Vec<usize>,
    pub(crate) states: Vec<X>,
}

impl<X: State> Saving<X> {
    /// Checks the times against the interval; those equal to its start are saved at once.
    pub(crate) fn new(start: &Samples<X>, (t0, t1): (f64, f64), times: &[f64]) -> Result<Self> {
        let direction = (t1 - t0).signum();
        let mut last = t0;
        for &t in times {
            check_finite("a time to save at", t)?;
            if direction * (t - last) < 0.0 || direction * (t1 - t) < 0.0 {
                return Err(Error::SaveTime { t, after: last, until: t1 });
            }
            last = t;
        }
        let at_start = times.iter().take_while(|t| t.to_bits() == t0.to_bits()).count();
        let mut states: Vec<X> = times.iter().map(|_| start.x.zeros_like()).collect();
        states[..at_start].iter_mut().for_each(|state| state.assign(&start.x));
        Ok(Self { times: times.to_vec(), next: vec![at_start; start.numbers.len()], states })
    }

    /// Saves what the accepted lanes (with their rows in the batch) have passed; their `t` is the end of the step.
    pub(crate) fn save<'l>(
        &mut self,
        step: &Step<'_, X>,
        accepted: &(impl Iterator<Item = (usize, &'l Lane)> + Clone),
        direction: f64,
    ) {
        let pending = |next: &[usize]| accepted.clone().map(|(_, l)| next[l.index]).min();
        let from = pending(&self.next).unwrap_or(self.times.len());
        for (i, time) in self.times.iter().enumerate().skip(from) {
            let next = &self.next;
            let passed = |l: &Lane| next[l.index] == i && direction * (l.t - time) >= 0.0;
            let lanes: Vec<_> = accepted.clone().filter(|(_, l)| passed(l)).collect();
            if lanes.is_empty() && accepted.clone().all(|(_, l)| direction * (l.t - time) < 0.0) {
                break;
            }
            let mut theta = vec![0.0; step.h.len()];
            for (row, lane) in &lanes {
                theta[*row] = 1.0 + (time - lane.t) / step.h[*row];
                self.next[lane.index] = i + 1;
            }
            let mut state = step.y.zeros_like();
            step.interpolate(&theta, &mut state);
            state.compact(&lanes.iter().map(|(row, _)| *row).collect::<Vec<_>>());
            let samples: Vec<usize> = lanes.iter().map(|(_, lane)| lane.index).collect();
            self.states[i].scatter(&samples, &state);
        }
    }
}
