//! States between the ends of the steps, by the method's own interpolant (O4).
//!
//! Lanes stand at different times, so each has its own θ. (O4) is summed one power of θ at a time,
//! `y ← y + (h θ^{p+1}) Σ_s P_sp k_s`, or the nested factors for the power, which is a stage with one size for each lane. Nothing is evaluated for it but the
//! method's extra stages, for the lanes that are looked into.

use crate::control::Lane;
use crate::error::{Error, Result};
use crate::problem::{Samples, check_finite};
use crate::tableau::Tableau;
use sde_core::State;

/// An accepted step of some lanes: `y`, all stages, and the step from `start` to `end` of each.
pub(crate) struct Piece<X> {
    pub(crate) y: X,
    pub(crate) k: Vec<X>,
    pub(crate) h: Vec<f64>,
    pub(crate) start: Vec<f64>,
    pub(crate) end: Vec<f64>,
    pub(crate) method: &'static Tableau,
}

/// A step of some lanes, and whose it is: sample numbers, and rows in the initial state.
pub(crate) struct Step<X> {
    pub(crate) piece: Piece<X>,
    pub(crate) samples: Vec<u64>,
    pub(crate) index: Vec<usize>,
}

impl<X: State> Step<X> {
    /// That of some of the lanes, ascending.
    pub(crate) fn rows(&self, rows: &[usize]) -> Self {
        Self {
            piece: self.piece.rows(rows),
            samples: rows.iter().map(|i| self.samples[*i]).collect(),
            index: rows.iter().map(|i| self.index[*i]).collect(),
        }
    }
}

/// The rows of `x` with these indices, ascending.
pub(crate) fn gather<X: State>(x: &X, rows: &[usize]) -> X {
    let mut out = x.zeros_like();
    out.assign(x);
    out.compact(rows);
    out
}

impl<X: State> Piece<X> {
    /// The step of some of the lanes, ascending.
    pub(crate) fn rows(&self, rows: &[usize]) -> Self {
        let of = |values: &[f64]| rows.iter().map(|i| values[*i]).collect();
        Self {
            y: gather(&self.y, rows),
            k: self.k.iter().map(|k| gather(k, rows)).collect(),
            h: of(&self.h),
            start: of(&self.start),
            end: of(&self.end),
            method: self.method,
        }
    }

    /// The states of the lanes at the times `t`, one for each.
    pub(crate) fn at(&self, t: &[f64]) -> X {
        let theta: Vec<f64> = (t.iter().zip(&self.end).zip(&self.h))
            .map(|((t, end), h)| 1.0 + (t - end) / h)
            .collect();
        let mut state = self.y.zeros_like();
        self.interpolate(&theta, &mut state);
        state
    }

    /// Writes `y(t_i + θ_i h_i)` of every lane.
    fn interpolate(&self, theta: &[f64], out: &mut X) {
        let mut sum = out.zeros_like();
        out.assign(&self.y);
        let mut size: Vec<f64> = self.h.clone();
        let Tableau { dense, nested, .. } = self.method;
        for p in 0..dense.first().map_or(0, |row| row.len()) {
            let turned = *nested && p % 2 == 1;
            let factor = |theta: f64| if turned { 1.0 - theta } else { theta };
            size.iter_mut().zip(theta).for_each(|(size, theta)| *size *= factor(*theta));
            let weights: Vec<f64> = dense.iter().map(|row| row[p]).collect();
            sum.stage(out, &size, &weights, |s| &self.k[s]);
            std::mem::swap(out, &mut sum);
        }
    }
}

/// The times at which states are wanted, and the states so far.
#[derive(Debug)]
pub(crate) struct Saving<X> {
    /// One list for all samples, or one for each.
    times: Vec<Vec<f64>>,
    /// For each sample the first time that it has not passed.
    next: Vec<usize>,
    pub(crate) states: Vec<X>,
}

impl<X: State> Saving<X> {
    /// Checks the times against the interval. Those equal to its start are saved at once, for samples that do not get
    /// away from it; in the others they belong to the first step, whose extra stages SciPy evaluates for them too.
    pub(crate) fn new(
        start: &Samples<X>,
        (t0, t1): (f64, f64),
        times: Vec<Vec<f64>>,
    ) -> Result<Self> {
        let direction = (t1 - t0).signum();
        for times in &times {
            let mut last = t0;
            for &t in times {
                check_finite("a time to save at", t)?;
                if direction * (t - last) < 0.0 || direction * (t1 - t) < 0.0 {
                    return Err(Error::SaveTime { t, after: last, until: t1 });
                }
                last = t;
            }
        }
        let n = start.numbers.len();
        let most = times.iter().map(Vec::len).max().unwrap_or(0);
        let states = (0..most).map(|_| start.x.zeros_like()).collect();
        let mut saving = Self { times, next: vec![0; n], states };
        for j in 0..most {
            let at_start = |&i: &usize| saving.time(i, j).map(f64::to_bits) == Some(t0.to_bits());
            let rows: Vec<usize> = (0..n).filter(at_start).collect();
            if rows.is_empty() {
                break;
            }
            saving.states[j].scatter(&rows, &gather(&start.x, &rows));
        }
        Ok(saving)
    }

    /// The time of the sample's state j.
    fn time(&self, sample: usize, j: usize) -> Option<f64> {
        let list = if self.times.len() == 1 { 0 } else { sample };
        self.times.get(list).and_then(|times| times.get(j)).copied()
    }

    /// Whether the lane has passed a time that is not saved yet.
    pub(crate) fn wants(&self, lane: &Lane, direction: f64) -> bool {
        let time = self.time(lane.index, self.next[lane.index]);
        time.is_some_and(|time| direction * (lane.t - time) >= 0.0)
    }

    /// Saves what the lanes of a piece, given in its order, have passed.
    pub(crate) fn save(&mut self, piece: &Piece<X>, lanes: &[&Lane], direction: f64) {
        while let Some(j) = self.first_wanted(lanes, direction) {
            let wants = |l: &Lane| self.next[l.index] == j && self.wants(l, direction);
            let rows: Vec<usize> = (0..lanes.len()).filter(|&row| wants(lanes[row])).collect();
            let time = |l: &&Lane| self.time(l.index, j).unwrap_or(l.t);
            let mut state = piece.at(&lanes.iter().map(time).collect::<Vec<_>>());
            state.compact(&rows);
            let samples: Vec<usize> = rows.iter().map(|row| lanes[*row].index).collect();
            samples.iter().for_each(|sample| self.next[*sample] = j + 1);
            self.states[j].scatter(&samples, &state);
        }
    }

    /// The first state that one of the lanes wants.
    fn first_wanted(&self, lanes: &[&Lane], direction: f64) -> Option<usize> {
        let wanting = lanes.iter().filter(|lane| self.wants(lane, direction));
        wanting.map(|lane| self.next[lane.index]).min()
    }
}
