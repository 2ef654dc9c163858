//! The gradient of a log-likelihood with respect to the samples.
//!
//! A Runge–Kutta method on a grid makes of (L1) a number,
//!
//! ```text
//! L = log π(x_N) + Σ_n h_n Σ_s b_s div v(X_s, t_s),     X_s = x_n + h_n Σ_{j<s} a_sj v(X_j, t_j),          (L6)
//! ```
//!
//! and reverse differentiation of that number, step by step from `λ_N = ∇ log π(x_N)`, is
//!
//! ```text
//! g_s = ∂/∂X_s [⟨w_s, v(X_s, t_s)⟩ + h b_s div v(X_s, t_s)],   w_s = h (b_s λ_{n+1} + Σ_{j>s} a_js g_j),
//! λ_n = λ_{n+1} + Σ_s g_s,    ∂L/∂x_0 = λ_0,    ∂L/∂θ = Σ_n Σ_s ∂/∂θ [⟨w_s, v⟩ + h b_s div v].            (L7)
//! ```
//!
//! In the limit of small steps λ solves `dλ/dt = −Jᵀλ − ∇ div v`, and is the score `∇ log p_t(x_t)` of the model. (L7) is exact for
//! L itself, whatever the grid and the probes: gradient and value belong together, as optimisation needs. Every step is made
//! again on the way back, so that the states at the grid's times and one evaluation of the model are all that is held.

use super::trace::{Estimator, Trace};
use super::{check_flow, log_normal};
use crate::error::{Error, Result};
use crate::fixed::{check_grid, stage_time};
use crate::problem::Samples;
use crate::tableau::Tableau;
use sde_core::{Lanes, Reverse, Score, State};

/// Log-likelihoods on a grid, and their gradients.
#[derive(Clone, Debug)]
pub struct LikelihoodGradient<X> {
    /// L of (L6) of each sample, in nats.
    pub log_density: Vec<f64>,
    /// `∂L/∂x` of each sample.
    pub gradient: X,
    /// The latent `x_N`.
    pub latent: X,
}

/// (L6) and (L7): carries the samples along `grid`, from t₀ to T, and their gradients back. `log_prior(x_N, out, gradient)` writes
/// `log π` and `∇ log π`: [`log_normal_gradient`] for a normal prior. Random probes are new at each stage; gradients are then
/// unbiased, as values are. A score model that collects the gradients of its weights has those of the sum over the samples.
///
/// ```
/// use ndarray::array;
/// use ode_solvers::{RK4, Trace, log_likelihood_gradient, log_normal_gradient, uniform_grid};
/// use sde_core::{GaussianMixture, Reverse, Sde, VpLinear};
/// let sde = VpLinear::default();
/// let data = GaussianMixture::isotropic(&[0.5, 0.5], array![[-1.0], [1.0]], &[0.04, 0.04])?;
/// let mut flow = Reverse::probability_flow(&sde, data.score(&sde));
/// let grid = uniform_grid(0.1, 1.0, 100);
/// let prior = |x: &_, out: &mut [f64], to: &mut _| log_normal_gradient(x, sde.sigma(1.0), out, to);
/// let found = log_likelihood_gradient(&RK4, array![[0.9]], &grid, Trace::Exact, &mut flow, prior)?;
/// let (mut score, mut denoised) = ([0.0], [0.0]);
/// data.score(&sde).point(&[0.9], 0.1, &mut score, &mut denoised)?;
/// assert!((found.gradient[[0, 0]] - score[0]).abs() < 1e-3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`solve_fixed`](crate::solve_fixed); a model without second derivatives; a `log_prior` that fails; probes that do not fit.
pub fn log_likelihood_gradient<X, M>(
    method: &'static Tableau,
    start: impl Into<Samples<X>>,
    grid: &[f64],
    trace: Trace<'_, X>,
    flow: &mut Reverse<'_, X, M>,
    log_prior: impl FnOnce(&X, &mut [f64], &mut X) -> sde_core::Result<()>,
) -> Result<LikelihoodGradient<X>>
where
    X: State,
    M: Score<X>,
{
    method.check()?;
    check_grid(grid)?;
    let Samples { x, numbers } = start.into();
    Samples::check(&Samples { x: x.zeros_like(), numbers: numbers.clone() })?;
    trace.check(&x)?;
    check_flow(flow, (grid[0], grid[grid.len() - 1]))?;
    let (n, stages) = (numbers.len(), method.stages());
    let mut states = vec![x];
    let mut sweep = Sweep::new(method, &states[0], &numbers);
    for step in grid.windows(2) {
        let mut next = states[0].zeros_like();
        let from = &states[states.len() - 1];
        sweep.stages(flow, from, (step[0], step[1]), stages)?;
        next.stage(from, &sweep.h, method.b, |s| &sweep.k[s]);
        states.push(next);
    }
    let latent = states.pop().ok_or(Error::Grid { found: "none".into() })?; // a grid has two times or more
    let mut gradient = latent.zeros_like();
    let mut log_density = vec![0.0; n];
    log_prior(&latent, &mut log_density, &mut gradient)?;
    let mut estimator = Estimator::new(trace, false);
    for (i, (step, from)) in grid.windows(2).zip(&states).enumerate().rev() {
        sweep.stages(flow, from, (step[0], step[1]), stages - 1)?;
        sweep.back(flow, (i, from), &mut estimator, &mut gradient, &mut log_density)?;
    }
    Ok(LikelihoodGradient { log_density, gradient, latent })
}

/// One step, there and back.
struct Sweep<'a, X> {
    method: &'static Tableau,
    numbers: &'a [u64],
    /// For each sample the step, 1, and the time of a stage.
    h: Vec<f64>,
    one: Vec<f64>,
    t: Vec<f64>,
    span: (f64, f64),
    /// Velocities, gradients g and states of the stages.
    k: Vec<X>,
    g: Vec<X>,
    x: X,
    /// Zero, w of a stage, λ.
    zero: X,
    w: X,
    lambda: X,
}

impl<'a, X: State> Sweep<'a, X> {
    fn new(method: &'static Tableau, like: &X, numbers: &'a [u64]) -> Self {
        let (n, zeros) = (numbers.len(), || like.zeros_like());
        let many = || (0..method.stages()).map(|_| zeros()).collect();
        Self {
            method,
            numbers,
            h: vec![0.0; n],
            one: vec![1.0; n],
            t: vec![0.0; n],
            span: (0.0, 0.0),
            k: many(),
            g: many(),
            x: zeros(),
            zero: zeros(),
            w: zeros(),
            lambda: zeros(),
        }
    }

    /// Goes to stage s of the step: its state in `x`, its time in `t`.
    fn go_to(&mut self, s: usize, from: &X) -> f64 {
        let node = if s == 0 { 0.0 } else { self.method.c[s - 1] };
        let time = stage_time(self.span, node);
        self.t.fill(time);
        match s {
            0 => self.x.assign(from),
            _ => self.x.stage(from, &self.h, self.method.a[s - 1], |j| &self.k[j]),
        }
        time
    }

    /// The velocities of the first stages.
    fn stages<M: Score<X>>(
        &mut self,
        flow: &mut Reverse<'_, X, M>,
        from: &X,
        span: (f64, f64),
        stages: usize,
    ) -> Result<()> {
        self.span = span;
        self.h.fill(span.1 - span.0);
        for s in 0..stages {
            let t = self.go_to(s, from);
            let at = Lanes { t: &self.t, sample: self.numbers };
            flow.drift(&self.x, at, &mut self.k[s])
                .map_err(|source| Error::Dynamics { t, source })?;
        }
        Ok(())
    }

    /// (L7) for step number `i`, whose velocities are there: λ of its end becomes that of its start; its part of the integral is
    /// added to the values.
    fn back<M: Score<X>>(
        &mut self,
        flow: &mut Reverse<'_, X, M>,
        (i, from): (usize, &X),
        estimator: &mut Estimator<'_, X>,
        lambda: &mut X,
        values: &mut [f64],
    ) -> Result<()> {
        let Tableau { a, b, .. } = self.method;
        let (last, mut divergence) = (b.len() - 1, vec![0.0; values.len()]);
        self.lambda.assign(lambda);
        for s in (0..=last).rev() {
            let t = self.go_to(s, from);
            let mut weights = vec![b[s]]; // of λ, and of g from the next stage on
            weights.extend((s..last).map(|j| a[j][s]));
            let of = |j| if j == 0 { &self.lambda } else { &self.g[s + j] };
            self.w.stage(&self.zero, &self.h, &weights, of);
            let at = Lanes { t: &self.t, sample: self.numbers };
            let weight: Vec<f64> = self.h.iter().map(|h| h * b[s]).collect();
            let number = (i * b.len() + s) as u32;
            let pulled = estimator.probes(&self.x, at, &|_| number).and_then(|probes| {
                let of = (&self.w, &weight[..]);
                flow.pull_back(&self.x, at, of, probes, &mut divergence, &mut self.g[s])
            });
            pulled.map_err(|source| Error::Dynamics { t, source })?;
            values.iter_mut().zip(&divergence).zip(&weight).for_each(|((v, d), w)| *v += w * d);
        }
        lambda.stage(&self.lambda, &self.one, &vec![1.0; last + 1], |s| &self.g[s]);
        Ok(())
    }
}

/// `log N(x; 0, std² I)` of each row as [`log_normal`] has it, and its gradient `−x/std²`.
///
/// # Errors
/// As [`log_normal`].
pub fn log_normal_gradient<X: State>(
    x: &X,
    std: f64,
    out: &mut [f64],
    gradient: &mut X,
) -> sde_core::Result<()> {
    log_normal(x, std, out)?;
    gradient.combine(&[(&vec![-1.0 / (std * std); x.samples()], x)]);
    Ok(())
}
