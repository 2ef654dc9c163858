//! Runs of a network: noise → solver → drift → score → network, and data → likelihood.
//!
//! A [`NetworkRun`] holds what the runs share; each of its methods is one chain from end to end. Samples are cut into
//! batches, which changes a sample by rounding and nothing else: its number, not its row, keys its noise and its probes.
//! States are f64 on the device; the network computes in f32.

mod batches;

use models::tch::Device;
use models::{Batch, Description, NetworkScore, Trace, UNet};
use ndarray::{ArrayD, ArrayViewD, Axis};
use ode_solvers::{
    Adaptive, LaneStatus, LikelihoodOptions, Samples, Solution, Stochastic, Tableau, adaptive_sde,
    log_likelihood, log_normal, sample_reverse, samplers, solve, solve_fixed,
};
use sde_core::reverse::noise_scale;
use sde_core::{BrownianPath, Lanes, Noise, Purpose, Reverse, Score, Tolerance};

use batches::{Watched, copy, join, on_host};

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
    pub unet: &'a UNet,
    /// What it was trained to say, and about which process.
    pub description: &'a Description,
    /// The class of every sample, for networks with classes.
    pub class: Option<i64>,
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

/// The likelihood of one point and the parts it is made of, in nats.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// `∫ div v dt`.
    pub int_div: f64,
    /// `log N(x_T; 0, σ_T² I)`.
    pub log_prior: f64,
    /// Evaluations of the network.
    pub nfe: u32,
    /// How the solve ended.
    pub status: LaneStatus,
}

impl Point {
    /// `log p_{t_min}(x)` under the model; NaN unless the solve reached `t_max`.
    pub fn log_likelihood(&self) -> f64 {
        if self.status == LaneStatus::Done { self.int_div + self.log_prior } else { f64::NAN }
    }
}

impl NetworkRun<'_> {
    /// The network as a score.
    fn network(&self, trace: Trace) -> NetworkScore<'_> {
        NetworkScore::new(self.unet, self.description, trace).of_class(self.class)
    }

    /// Draws samples by reversing the process; row i of the result is sample i.
    ///
    /// # Errors
    /// A network, grid or interval that cannot be used, a start of another shape, or no memory.
    pub fn draw(&self, start: &Start, sampler: Sampler) -> Result<Solution<ArrayD<f64>>> {
        self.process()?;
        let span = (self.t_max, self.t_min);
        let mut parts = Vec::new();
        for rows in self.batches(self.count(start)?) {
            let network = self.network(Trace::Exact);
            let score = Watched::new(network, self.on_progress, span, &rows);
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

    /// The likelihood at `t_min` of the rows of `x`: the integral of the divergence beside the state, each sample with its
    /// own steps. The tolerance is one of the state and, in nats, of the integral.
    ///
    /// # Errors
    /// As [`draw`](Self::draw).
    pub fn likelihood(
        &self,
        x: &ArrayViewD<f64>,
        (method, tolerance): (&'static Tableau, Tolerance),
        trace: &Trace,
    ) -> Result<Vec<Point>> {
        let (sde, span) = (self.process()?, (self.t_min, self.t_max));
        self.check_shape("the data", x.shape())?;
        let options: LikelihoodOptions<_> = Adaptive::new((tolerance, tolerance));
        let mut points = Vec::new();
        for rows in self.batches(x.len_of(Axis(0))) {
            let network = self.network(copy(trace));
            let score = Watched::new(network, self.on_progress, span, &rows);
            let mut flow = Reverse::probability_flow(sde, score);
            let data = self.upload(x, rows)?;
            let solved = log_likelihood(method, data, span, &options, &mut flow, |x, out| {
                log_normal(x, sde.sigma(self.t_max), out)
            })?;
            solved.latent.y.check()?;
            points.extend((0..solved.int_div.len()).map(|i| Point {
                int_div: solved.int_div[i],
                log_prior: solved.log_prior[i],
                nfe: solved.latent.stats[i].nfe,
                status: solved.latent.status[i],
            }));
        }
        Ok(points)
    }
}
