//! Runs of a network: noise → solver → drift → score → network, and data → likelihood.
//!
//! A [`NetworkRun`] holds what the runs share; each of its methods is one chain from end to end. Samples are cut into
//! batches, which changes a sample by rounding and nothing else: its number, not its row, keys its noise and its probes. (Where
//! rounding tips the decision about a step, the steps after it have other probes: a likelihood moves within its error bar.)
//! States are f64 on the device; the network computes in f32 as a rule.

mod batches;
mod edit;
mod flow;
mod gradient;
mod rounding;
mod verify;

use std::ops::Range;

use models::tch::Device;
use models::{Batch, Description, Network, NetworkScore};
use ndarray::{ArrayD, ArrayViewD, Axis};
use ode_solvers::{
    Adaptive, AugmentedOptions, LikelihoodOptions, LogLikelihood, Samples, Solution, Stochastic,
    Tableau, Trace, adaptive_sde, log_likelihood, log_likelihood_augmented, log_normal,
    sample_reverse, samplers, solve, solve_fixed,
};
use sde_core::error::{check, check_size};
use sde_core::reverse::noise_scale;
use sde_core::{BrownianPath, Lanes, Noise, Purpose, Reverse, Score, Tolerance};

pub use verify::Loops;

use batches::{Watched, join, on_host};
pub use edit::Completion;
pub use flow::{Interpolation, Joined, Ode, between_pairs};
pub use gradient::{Gradient, GradientSettings};

/// What stops a run. What stops one sample is its status.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The solver, or the network inside it.
    #[error(transparent)]
    Solver(#[from] ode_solvers::Error),
    /// A batch on its way to the device or from it.
    #[error(transparent)]
    Model(#[from] models::Error),
    /// A constant out of range.
    #[error(transparent)]
    Core(#[from] sde_core::Error),
    /// An array that does not fit the network.
    #[error("{what} has the shape {found:?}, expected {expected}")]
    Shape {
        /// Which array.
        what: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The shapes that fit.
        expected: String,
    },
}

/// Result with this module's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// A network, the device that it is on, and the seed of all noise.
#[derive(Clone, Copy)]
pub struct NetworkRun<'a> {
    /// The network.
    pub network: &'a dyn Network,
    /// What it was trained to say, and about which process.
    pub description: &'a Description,
    /// The class of every sample, for networks with classes.
    pub class: Option<i64>,
    /// The weight of classifier-free guidance, where there is one; its ∅ is the last class.
    pub guidance: Option<f64>,
    /// Where the network is.
    pub device: Device,
    /// Key of the noise and of random probes.
    pub seed: u64,
    /// Samples that are on the device together.
    pub batch: usize,
    /// Where the flow ends on the side of the data.
    pub t_min: f64,
    /// Where it ends on the side of the noise.
    pub t_max: f64,
    /// Called at every evaluation with the number of samples done, those under way counted by the part of their path
    /// that lies behind them.
    pub on_progress: &'a dyn Fn(f64),
}

impl std::fmt::Debug for NetworkRun<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { description, device, seed, batch, t_min, t_max, .. } = self;
        let fields = format_args!(
            "description: {description:?}, device: {device:?}, seed: {seed}, batch: {batch}, t_min: {t_min}, t_max: {t_max}"
        );
        write!(f, "NetworkRun {{ {fields} }}")
    }
}

/// Halvings of the Brownian path that adaptive steps follow: steps of `10⁻⁶` of the interval are whole.
const PATH_LEVELS: u32 = 20;

/// How samples are drawn.
#[derive(Clone, Copy, Debug)]
pub enum Sampler<'a> {
    /// The probability-flow ODE, each sample with its own steps.
    Adaptive(&'static Tableau, Tolerance),
    /// The probability-flow ODE on a grid of times from `t_max` to `t_min`.
    Grid(&'static Tableau, &'a [f64]),
    /// The reverse SDE with noise `eta g`, on a grid of times from `t_max` to `t_min`.
    ReverseSde {
        /// The method.
        method: Stochastic,
        /// The times.
        grid: &'a [f64],
        /// The noise in units of g.
        eta: f64,
    },
    /// The reverse SDE with noise `eta g`, each sample with its own steps along its own Brownian path.
    AdaptiveSde {
        /// For the error of a step.
        tolerance: Tolerance,
        /// The noise in units of g.
        eta: f64,
    },
    /// A sampler of diffusion models on a grid of times from `t_max` on, with a last step to σ = 0.
    Diffusion(samplers::Sampler, &'a [f64]),
}

/// What samples are drawn from.
#[derive(Clone, Debug)]
pub enum Start<'a> {
    /// `x_T = σ_T ε` of samples 0…n.
    Prior(usize),
    /// `x_T` itself, `[n, …]`.
    Given(ArrayViewD<'a, f64>),
}

/// The sizes of an array as libtorch counts them.
pub fn sizes(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&n| i64::try_from(n).unwrap_or(i64::MAX)).collect()
}

/// What a panel of a likelihood's quadrature may leave in nats, in units of atol. The estimate is cautious by about as much.
const QUADRATURE: f64 = 100.0;

/// How likelihoods are found.
#[derive(Clone, Copy, Debug)]
pub struct LikelihoodSettings<'a> {
    /// The adaptive method that solves the ODE, and its tolerance. The augmented ODE takes the same, in nats, for the integral.
    pub solver: (&'static Tableau, Tolerance),
    /// How the divergence is found. Given probes belong to samples by number.
    pub trace: Trace<'a, Batch>,
    /// The integral of the divergence beside the state, as `score_sde` has it, and not after it. It tells no error.
    pub augmented: bool,
}

impl NetworkRun<'_> {
    /// The network as a score.
    fn score(&self) -> NetworkScore<'_> {
        NetworkScore::new(self.network, self.description).of_class(self.class).guided(self.guidance)
    }

    /// Draws samples by reversing the process; row i of the result is sample i.
    ///
    /// # Errors
    /// A network, grid or interval that cannot be used, a start of another shape, or no memory.
    pub fn draw(&self, start: &Start, sampler: Sampler) -> Result<Solution<ArrayD<f64>>> {
        self.draw_some(start, 0..self.count(start)?, sampler)
    }

    /// As [`draw`](Self::draw), some of the samples.
    ///
    /// # Errors
    /// As [`draw`](Self::draw); samples beyond the last.
    pub fn draw_some(
        &self,
        start: &Start,
        samples: Range<usize>,
        sampler: Sampler,
    ) -> Result<Solution<ArrayD<f64>>> {
        self.process()?;
        check_size(
            "samples to start from",
            samples.end.max(self.count(start)?),
            self.count(start)?,
        )?;
        let span = (self.t_max, self.t_min);
        let mut parts = Vec::new();
        for rows in self.batches_of(samples) {
            let score = Watched::new(self.score(), self.on_progress, span, &rows);
            let x = self.noise(start, rows)?;
            parts.push(on_host(self.sample(x, score, sampler)?)?);
        }
        join(parts, &self.description.shape)
    }

    /// One batch.
    fn sample(
        &self,
        x: Samples<Batch>,
        mut score: impl Score<Batch>,
        sampler: Sampler,
    ) -> Result<Solution<Batch>> {
        let (sde, span) = (self.process()?, (self.t_max, self.t_min));
        let noise = Noise::new(self.seed, Purpose::Increment);
        Ok(match sampler {
            Sampler::Adaptive(method, tolerance) => {
                let mut flow = Reverse::probability_flow(sde, score);
                let drift = |x: &Batch, at: Lanes<'_>, dx: &mut Batch| flow.drift(x, at, dx);
                solve(method, x, span, &Adaptive::new(tolerance), drift)
            }
            Sampler::Grid(method, grid) => {
                let mut flow = Reverse::probability_flow(sde, score);
                let drift = |x: &Batch, at: Lanes<'_>, dx: &mut Batch| flow.drift(x, at, dx);
                solve_fixed(method, x, grid, drift)
            }
            Sampler::Diffusion(method, grid) => {
                let grid = samplers::Grid::new(sde, grid)?.to_data();
                samplers::sample(&method, x, &grid, &mut score, &noise)
            }
            Sampler::ReverseSde { method, grid, eta } => {
                sample_reverse(method, x, grid, &mut Reverse::new(sde, score, eta)?, &noise)
            }
            Sampler::AdaptiveSde { tolerance, eta } => {
                let mut reverse = Reverse::new(sde, score, eta)?;
                let drift = |x: &Batch, at: Lanes<'_>, dx: &mut Batch| reverse.drift(x, at, dx);
                let scale = |t| noise_scale(sde, eta, t);
                let path = BrownianPath::new(noise, (self.t_min, self.t_max), PATH_LEVELS)?;
                adaptive_sde(x, span, &Adaptive::new(tolerance), (drift, scale), &path)
            }
        }?)
    }

    /// The likelihood at `t_min` of the rows of `x`, each with its own steps.
    ///
    /// # Errors
    /// As [`draw`](Self::draw).
    pub fn likelihood(
        &self,
        x: &ArrayViewD<f64>,
        settings: &LikelihoodSettings<'_>,
    ) -> Result<Vec<LogLikelihood>> {
        self.likelihood_of_some(x, 0..x.len_of(Axis(0)), settings)
    }

    /// As [`likelihood`](Self::likelihood), of some of the rows of `x`, each with the number that it has there.
    ///
    /// # Errors
    /// As [`draw`](Self::draw); rows beyond the last.
    pub fn likelihood_of_some(
        &self,
        x: &ArrayViewD<f64>,
        rows: Range<usize>,
        settings: &LikelihoodSettings<'_>,
    ) -> Result<Vec<LogLikelihood>> {
        let (sde, span) = (self.process()?, (self.t_min, self.t_max));
        let LikelihoodSettings { solver: (method, tolerance), trace, augmented } = *settings;
        self.check_shape("the data", x.shape())?;
        check_size("rows of the data", rows.end.max(x.len_of(Axis(0))), x.len_of(Axis(0)))?;
        let expected = "none: a guided network is the score of no density";
        self.guidance.map_or(Ok(0.0), |w| check("guidance", w, false, expected))?;
        let mut points = Vec::new();
        for rows in self.batches_of(rows) {
            let score = Watched::new(self.score(), self.on_progress, span, &rows);
            let mut flow = Reverse::probability_flow(sde, score);
            let data = self.upload(x, rows)?;
            let prior = |x: &Batch, out: &mut [f64]| log_normal(x, sde.sigma(self.t_max), out);
            let solved = if augmented {
                let options: AugmentedOptions<_> = Adaptive::new((tolerance, tolerance));
                log_likelihood_augmented(method, data, span, &options, (&mut flow, trace), prior)
            } else {
                let quadrature = QUADRATURE * tolerance.atol;
                let options =
                    LikelihoodOptions { quadrature, ..LikelihoodOptions::new(tolerance, trace) };
                log_likelihood(method, data, span, &options, &mut flow, prior)
            }?;
            solved.latent.y.check()?;
            points.extend(solved.samples);
        }
        Ok(points)
    }
}
