//! What a run measures of its own network: loop integrals, the way there and back, the bound of the reverse SDE.

use std::ops::Range;

use models::Batch;
use ndarray::{Array2, ArrayD, ArrayView1, ArrayViewD, Axis, IxDyn, Slice};
use ode_solvers::{Adaptive, LaneStatus, Samples, Tableau, flow};
use score_match::{SdeBound, SdeElbo, TimeLaw};
use sde_core::diagnostics::{Circulation, Corner, in_space, in_time};
use sde_core::state::max_or_nan;
use sde_core::{Lanes, Noise, Purpose, Reverse, State, Tolerance};

use super::batches::{Watched, shape_of};
use super::{NetworkRun, Result};

/// Side of a loop in units of σ, and its duration in log-SNR.
const SIDE: f64 = 0.1;
/// Probes of a divergence, the fewest that tell their own noise; it is exact where that costs no more.
const PROBES: usize = 2;

/// (Y2) and (Y3) of a network at one time, a loop for each sample.
#[derive(Clone, Debug, Default)]
pub struct Loops {
    /// Around rectangles in space and time.
    pub time: Circulation,
    /// Around squares in space; empty for samples of one dimension.
    pub space: Circulation,
}

impl NetworkRun<'_> {
    /// Loop integrals at the rows of `x` noised to the time `t`, in directions that are keyed by the sample. The loops have
    /// sides of σ/10 and last until the log-SNR has fallen by 0.1.
    ///
    /// # Errors
    /// A network or an interval that cannot be used, a time at its end, or no memory.
    pub fn loops(&self, x: &ArrayViewD<'_, f64>, t: f64) -> Result<Loops> {
        let sde = self.process()?;
        self.check_shape("the data", x.shape())?;
        let (k, later) = (sde.coefficients(t), sde.time_of_log_snr(sde.log_snr(t) - SIDE));
        let mut found = Loops::default();
        for rows in self.batches(x.len_of(Axis(0))) {
            let numbers: Vec<u64> = rows.clone().map(|i| i as u64).collect();
            let mut score = Watched::new(self.score(), self.on_progress, (t, later), &rows);
            let part = self.rows_at(x, rows.clone(), t);
            let (u, w) = directions(self.normal(&rows, 1), self.normal(&rows, 2));
            let d = u.ncols();
            let (part, u, w) = (self.put(part)?, self.put(u)?, self.put(w)?);
            let n = numbers.len();
            let (times, lengths) = (vec![t; n], vec![SIDE * k.sigma; n]);
            let at = Lanes { t: &times, sample: &numbers };
            let corner = Corner { x: &part, at, length: &lengths };
            let signs = if d <= PROBES { 0..0 } else { 3..3 + PROBES };
            let probes: Result<Vec<Batch>> = signs
                .map(|step| self.put(self.normal(&rows, step as u32).mapv(f64::signum)))
                .collect();
            let duration = vec![later - t; n];
            found.time.extend(in_time(sde, &mut score, corner, (&u, &duration), &probes?)?);
            if d > 1 {
                found.space.extend(in_space(&mut score, corner, (&u, &w))?);
            }
        }
        Ok(found)
    }

    /// The largest `|x − decode(encode(x))|` of each row, and how its two solves ended.
    ///
    /// # Errors
    /// As [`draw`](Self::draw).
    pub fn round_trip(
        &self,
        x: &ArrayViewD<'_, f64>,
        (method, tolerance): (&'static Tableau, Tolerance),
    ) -> Result<Vec<(f64, LaneStatus)>> {
        let (sde, span) = (self.process()?, (self.t_min, self.t_max));
        self.check_shape("the data", x.shape())?;
        let options = Adaptive::new(tolerance);
        let mut found = Vec::new();
        for rows in self.batches(x.len_of(Axis(0))) {
            let score = Watched::new(self.score(), self.on_progress, span, &rows);
            let mut field = Reverse::probability_flow(sde, score);
            let data = self.upload(x, rows.clone())?;
            let numbers = data.numbers.clone();
            let there = flow(method, data, span, &options, &mut field)?;
            let latents = Samples { x: there.y, numbers };
            let back = flow(method, latents, (span.1, span.0), &options, &mut field)?;
            let d = back.y.sample_len();
            let ends = back.y.to_host()?;
            let starts = flat(x, rows);
            for (i, end) in ends.chunks_exact(d.max(1)).enumerate() {
                let off = ArrayView1::from(end).to_owned() - starts.row(i);
                let status = [there.status[i], back.status[i]];
                let status = status.into_iter().find(|s| *s != LaneStatus::Done);
                let largest = off.iter().fold(0.0, |m, off| max_or_nan(off.abs(), m));
                found.push((largest, status.unwrap_or(LaneStatus::Done)));
            }
        }
        Ok(found)
    }

    /// (M4), the bound of the reverse SDE with η = 1, for each row; `2 strata` evaluations.
    ///
    /// # Errors
    /// As [`draw`](Self::draw); a log-SNR that is not finite at `t_min`.
    pub fn sde_bound(&self, x: &ArrayViewD<'_, f64>, strata: u32) -> Result<Vec<SdeElbo>> {
        let (sde, span) = (self.process()?, (self.t_min, self.t_max));
        self.check_shape("the data", x.shape())?;
        let noise = Noise::new(self.seed, Purpose::Training);
        let bound = SdeBound { sde, eta: 1.0, span, law: &TimeLaw::LogSnr, strata, noise };
        let mut found = Vec::new();
        for rows in self.batches(x.len_of(Axis(0))) {
            let data = self.upload(x, rows.clone())?;
            let mut score = Watched::new(self.score(), self.on_progress, span, &rows);
            found.extend(bound.estimate(&mut score, &data.x, &data.numbers)?);
        }
        Ok(found)
    }

    /// Some rows of `x` noised to the time t, as rows of numbers.
    pub fn rows_at(&self, x: &ArrayViewD<'_, f64>, rows: Range<usize>, t: f64) -> Array2<f64> {
        let k = self.description.process.coefficients(t);
        let noise = self.normal(&rows, 0);
        flat(x, rows) * k.alpha + noise * k.sigma
    }

    /// N(0, 1) numbers of some samples, one row for each, keyed by their numbers and `step`.
    fn normal(&self, rows: &Range<usize>, step: u32) -> Array2<f64> {
        let d = shape_of(1, &self.description.shape).iter().product();
        let noise = Noise::new(self.seed, Purpose::Diagnostics);
        let mut z = Array2::zeros((rows.len(), d));
        z.fill_rows(|i, row| noise.normal((rows.start + i) as u64, step, row));
        z
    }

    /// Rows of numbers as samples on the device.
    fn put(&self, rows: Array2<f64>) -> Result<Batch> {
        let shape = IxDyn(&shape_of(rows.nrows(), &self.description.shape));
        let values: Vec<f64> = rows.into_iter().collect();
        self.upload_all(&ArrayD::from_shape_vec(shape, values).unwrap_or_default())
    }
}

/// Some samples as rows of numbers.
fn flat(x: &ArrayViewD<'_, f64>, rows: Range<usize>) -> Array2<f64> {
    let n = rows.len();
    let values: Vec<f64> = x.slice_axis(Axis(0), Slice::from(rows)).iter().copied().collect();
    Array2::from_shape_vec((n, values.len() / n.max(1)), values).unwrap_or_default()
}

/// Unit vectors at right angles, row by row, from normal numbers. In one dimension the second means nothing.
fn directions(mut u: Array2<f64>, mut w: Array2<f64>) -> (Array2<f64>, Array2<f64>) {
    for (mut u, mut w) in u.outer_iter_mut().zip(w.outer_iter_mut()) {
        u /= u.dot(&u).sqrt();
        let along = u.dot(&w);
        w.scaled_add(-along, &u);
        w /= w.dot(&w).sqrt();
    }
    (u, w)
}
