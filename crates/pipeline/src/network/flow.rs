//! Along the flow and back: data to latents, latents to data, and data between data.

use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn};
use ode_solvers::{Adaptive, Path, Solution, Tableau, solve, solve_fixed, uniform_grid};
use sde_core::{Lanes, Reverse, Tolerance};

use models::Batch;

use super::batches::{Watched, join, on_host};
use super::{Error, NetworkRun, Result};

/// How the probability-flow ODE is solved.
#[derive(Clone, Copy, Debug)]
pub enum Ode {
    /// Each sample with its own steps.
    Adaptive(&'static Tableau, Tolerance),
    /// So many equal steps between `t_min` and `t_max`.
    Fixed(&'static Tableau, u32),
}

/// How data are joined.
#[derive(Clone, Copy, Debug)]
pub struct Interpolation {
    /// Frames from one end to the other, both among them.
    pub frames: usize,
    /// The way between latents.
    pub path: Path,
    /// Both ways of the flow.
    pub ode: Ode,
}

/// Samples joined through their latents.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The frames, decoded.
    pub frames: Solution<ArrayD<f64>>,
    /// The latents of the samples.
    pub latents: Solution<ArrayD<f64>>,
}

impl NetworkRun<'_> {
    /// Data at `t_min` to their latents at `t_max`; row i of the result is the latent of row i.
    ///
    /// # Errors
    /// As [`draw`](Self::draw).
    pub fn encode(&self, data: &ArrayViewD<f64>, ode: Ode) -> Result<Solution<ArrayD<f64>>> {
        self.check_shape("the data", data.shape())?;
        self.follow(data, (self.t_min, self.t_max), ode)
    }

    /// Latents at `t_max` to data at `t_min`.
    ///
    /// # Errors
    /// As [`draw`](Self::draw).
    pub fn decode(&self, latents: &ArrayViewD<f64>, ode: Ode) -> Result<Solution<ArrayD<f64>>> {
        self.check_shape("the latents", latents.shape())?;
        self.follow(latents, (self.t_max, self.t_min), ode)
    }

    /// The frames between rows 0 and 1 of the data, 2 and 3 and so on: pair after pair, each from its first row to its
    /// second.
    ///
    /// # Errors
    /// As [`draw`](Self::draw); data that are no pairs, fewer than two frames, latents without an arc.
    pub fn interpolate(&self, pairs: &ArrayViewD<f64>, how: Interpolation) -> Result<Joined> {
        let latents = self.encode(pairs, how.ode)?;
        let frames = between_pairs(&latents.y, how.frames, how.path)?;
        Ok(Joined { frames: self.decode(&frames.view(), how.ode)?, latents })
    }

    /// The flow over a span of time, in either direction.
    fn follow(
        &self,
        x: &ArrayViewD<f64>,
        span: (f64, f64),
        ode: Ode,
    ) -> Result<Solution<ArrayD<f64>>> {
        let sde = self.process()?;
        let mut parts = Vec::new();
        for rows in self.batches(x.len_of(Axis(0))) {
            let score = Watched::new(self.score(), self.on_progress, span, &rows);
            let mut flow = Reverse::probability_flow(sde, score);
            let drift = |x: &Batch, at: Lanes<'_>, dx: &mut Batch| flow.drift(x, at, dx);
            let x = self.upload(x, rows)?;
            let solution = match ode {
                Ode::Adaptive(method, tolerance) => {
                    solve(method, x, span, &Adaptive::new(tolerance), drift)
                }
                Ode::Fixed(method, steps) => {
                    solve_fixed(method, x, &uniform_grid(span.0, span.1, steps), drift)
                }
            }?;
            parts.push(on_host(solution)?);
        }
        join(parts, &self.description.shape)
    }
}

/// `frames` points between rows 0 and 1, 2 and 3 and so on, both ends among them: `[pairs · frames, …]`.
///
/// # Errors
/// Rows that are no pairs, fewer than two frames, latents without an arc.
pub fn between_pairs(latents: &ArrayD<f64>, frames: usize, path: Path) -> Result<ArrayD<f64>> {
    let n = latents.shape().first().copied().unwrap_or(0);
    if n == 0 || n % 2 != 0 || frames < 2 {
        let found = latents.shape().to_vec();
        let expected = format!("pairs of samples, and 2 frames or more for {frames}");
        return Err(Error::Shape { what: "the data to join", found, expected });
    }
    let member = |k: usize| latents.select(Axis(0), &(k..n).step_by(2).collect::<Vec<_>>());
    let (a, b) = (member(0), member(1));
    let mut shape = latents.shape().to_vec();
    shape[0] = n / 2 * frames;
    let (mut all, mut between) = (ArrayD::zeros(IxDyn(&shape)), ArrayD::zeros(a.raw_dim()));
    for frame in 0..frames {
        path.between(&a, &b, frame as f64 / (frames - 1) as f64, &mut between)?;
        for (pair, row) in between.outer_iter().enumerate() {
            all.index_axis_mut(Axis(0), pair * frames + frame).assign(&row);
        }
    }
    Ok(all)
}
