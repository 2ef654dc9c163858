//! Runs on the host: noise → solver → drift → score, and data → likelihood, over all cores.
//!
//! A [`HostRun`] holds what the runs share; each of its methods is one chain from end to end. The samples are cut
//! into chunks that are solved one by a thread, which changes no bit of any of them.

use ndarray::Array2;
use ode_solvers::{
    Adaptive, Error, LaneStatus, LikelihoodOptions, RK45, Result, Samples, Solution, Trace, decode,
    euler_maruyama, in_chunks, log_likelihood, log_normal, solve_in_chunks, uniform_grid,
};
use sde_core::error::check;
use sde_core::reverse::noise_scale;
use sde_core::{GaussianMixture, Lanes, Noise, Purpose, Reverse, Sde, Tolerance};

/// Samples that one thread solves together.
const CHUNK: usize = 8;

/// The process, the exact score of a mixture under it, and the seed of all noise.
#[derive(Clone, Copy)]
pub struct HostRun<'a> {
    /// The forward process.
    pub sde: &'a dyn Sde,
    /// Whose score drives the flow.
    pub mixture: &'a GaussianMixture,
    /// Key of the noise.
    pub seed: u64,
    /// Where the flow ends on the side of the data.
    pub t_min: f64,
    /// Called with the number of samples that a thread has finished.
    pub on_done: &'a (dyn Fn(usize) + Sync),
}

impl std::fmt::Debug for HostRun<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sde, seed, t_min, .. } = self;
        let fields = format_args!("sde: {sde:?}, seed: {seed}, t_min: {t_min}");
        write!(f, "HostRun {{ {fields} }}")
    }
}

/// The likelihood of one point and the parts it is made of, in nats.
#[derive(Clone, Copy, Debug)]
pub struct PointLikelihood {
    /// `∫ div v dt`.
    pub int_div: f64,
    /// `log p_T(x_T)`, the mixture's own terminal density.
    pub log_terminal: f64,
    /// `log N(x_T; 0, σ_T² I)`, the prior that sampling starts from.
    pub log_prior: f64,
    /// `log p_{t_min}(x)` in closed form.
    pub closed_form: f64,
    /// Evaluations of the score.
    pub nfe: u32,
    /// How the solve ended.
    pub status: LaneStatus,
}

impl PointLikelihood {
    /// `log p_{t_min}(x)` by the flow from the mixture's own `p_T`: equal to the closed form but for the solver's error.
    /// NaN unless the solve reached T.
    pub fn log_data(&self) -> f64 {
        self.if_done(self.int_div + self.log_terminal)
    }
    /// The log-density of the model that is sampled: the flow from the prior. NaN unless the solve reached T.
    pub fn log_model(&self) -> f64 {
        self.if_done(self.int_div + self.log_prior)
    }
    fn if_done(&self, value: f64) -> f64 {
        if self.status == LaneStatus::Done { value } else { f64::NAN }
    }
}

impl HostRun<'_> {
    /// Draws samples 0…n by the probability-flow ODE from `x_T ~ N(0, σ_T² I)`.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn draw_by_flow(&self, n: usize, tolerance: Tolerance) -> Result<Solution<Array2<f64>>> {
        let options = Adaptive::new(tolerance);
        self.over_chunks(&self.prior(n)?, |chunk| {
            let mut flow = Reverse::probability_flow(self.sde, self.mixture.score(self.sde));
            decode(&RK45, chunk, self.t_min, &options, &mut flow)
        })
    }

    /// Draws samples 0…n by `steps` Euler–Maruyama steps of the reverse SDE with noise `eta g`.
    ///
    /// # Errors
    /// As [`euler_maruyama`]; for a negative `eta`.
    pub fn draw_by_sde(&self, n: usize, steps: u32, eta: f64) -> Result<Solution<Array2<f64>>> {
        let grid = uniform_grid(self.sde.end(), self.t_min, steps);
        let noise = Noise::new(self.seed, Purpose::Increment);
        self.over_chunks(&self.prior(n)?, |chunk| {
            let mut reverse = Reverse::new(self.sde, self.mixture.score(self.sde), eta)?;
            let drift = |x: &_, at: Lanes<'_>, dx: &mut _| reverse.drift(x, at, dx);
            euler_maruyama(chunk, &grid, drift, |t| noise_scale(self.sde, eta, t), &noise)
        })
    }

    /// The likelihood of the rows of `x` at `t_min`, by the flow and in closed form.
    ///
    /// # Errors
    /// As [`log_likelihood`].
    pub fn likelihood(
        &self,
        x: &Array2<f64>,
        tolerance: Tolerance,
    ) -> Result<Vec<PointLikelihood>> {
        self.check()?;
        let options = LikelihoodOptions::new(tolerance, Trace::Exact);
        let span = (self.t_min, self.sde.end());
        let chunks = in_chunks(x, 0, CHUNK, |chunk: Samples<Array2<f64>>| {
            let closed_form = self.mixture.log_densities(self.sde, &chunk.x, span.0)?;
            let mut flow = Reverse::probability_flow(self.sde, self.mixture.score(self.sde));
            let solved = log_likelihood(&RK45, chunk, span, &options, &mut flow, |x, out| {
                log_normal(x, self.sde.sigma(span.1), out)
            })?;
            let log_terminal = self.mixture.log_densities(self.sde, &solved.latent.y, span.1)?;
            (self.on_done)(closed_form.len());
            let point = |i: usize| PointLikelihood {
                int_div: solved.samples[i].int_div,
                log_terminal: log_terminal[i],
                log_prior: solved.samples[i].log_prior,
                closed_form: closed_form[i],
                nfe: solved.samples[i].nfe,
                status: solved.latent.status[i],
            };
            Ok::<Vec<_>, Error>((0..closed_form.len()).map(point).collect())
        })?;
        Ok(chunks.concat())
    }

    /// `x_T = σ_T ε` of samples 0…n.
    fn prior(&self, n: usize) -> Result<Array2<f64>> {
        let numbers: Vec<u64> = (0..n as u64).collect();
        let mut x = Array2::zeros((n, self.mixture.dim()));
        Noise::new(self.seed, Purpose::Prior).fill(&numbers, 0, &mut x)?;
        Ok(x * self.sde.sigma(self.sde.end()))
    }

    /// Whether the flow has an interval to go.
    fn check(&self) -> Result<()> {
        let inside = (0.0..self.sde.end()).contains(&self.t_min);
        check("t_min", self.t_min, inside, "a time from 0 to before the process's end")?;
        Ok(())
    }

    fn over_chunks(
        &self,
        x: &Array2<f64>,
        solve: impl Fn(Samples<Array2<f64>>) -> Result<Solution<Array2<f64>>> + Sync,
    ) -> Result<Solution<Array2<f64>>> {
        self.check()?;
        solve_in_chunks(x, 0, CHUNK, |chunk| {
            let solution = solve(chunk)?;
            (self.on_done)(solution.t.len());
            Ok(solution)
        })
    }
}
