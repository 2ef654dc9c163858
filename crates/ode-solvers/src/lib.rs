//! Runge–Kutta and stochastic solvers with one step size per sample, and exact likelihood by the
//! probability-flow ODE.
//!
//! In reading order:
//!
//! * [`tableau`]: methods as data;
//! * [`adaptive`]: methods with an error estimate, for each sample by itself, with SciPy's step control or another;
//! * [`events`]: where a function of time and state changes its sign;
//! * [`fixed`] and [`stochastic`]: a given grid of times, without noise and with it;
//! * [`samplers`]: diffusion samplers on a grid of noise levels;
//! * [`solution`]: what a solve returns; [`progress`]: watching one, and stopping it;
//! * [`flow`](mod@flow): encode and decode, in the [`variable`] of one's choice, with a [`latent`] path between;
//!   [`likelihood`]: `log p` along the way;
//! * [`inpaint`]: samples that agree with what is known of them;
//! * [`parallel`]: every core, the same bits.

pub mod adaptive;
mod control;
mod dense;
pub mod error;
pub mod events;
pub mod fixed;
pub mod flow;
pub mod inpaint;
pub mod latent;
pub mod likelihood;
pub mod parallel;
pub mod problem;
pub mod progress;
pub mod samplers;
pub mod solution;
pub mod stochastic;
pub mod tableau;
pub mod variable;

pub use sde_core; // whose types stand in this crate's signatures

pub use adaptive::{Solver, solve, solve_at, solve_at_each, solve_events, solve_observed};
pub use error::{Error, Result};
pub use events::{Crossing, Event, Found};
pub use fixed::{solve_fixed, solve_fixed_observed, uniform_grid};
pub use flow::{decode, encode, flow, flow_in};
pub use inpaint::Inpainting;
pub use latent::Path;
pub use likelihood::{
    AugmentedOptions, ErrorBar, Likelihood, LikelihoodGradient, LikelihoodOptions, LogLikelihood,
    ProbeLaw, Probes, SetLikelihood, Trace, TraceError, log_likelihood, log_likelihood_augmented,
    log_likelihood_gradient, log_normal, log_normal_gradient, t_quantile,
};
pub use parallel::{in_chunks, solve_in_chunks};
pub use problem::{Adaptive, Control, Samples};
pub use progress::Progress;
pub use solution::{LaneStats, LaneStatus, Solution};
pub use stochastic::{
    Normals, Stochastic, adaptive_sde, euler_maruyama, predictor_corrector, reverse_diffusion,
    sample_reverse, sra1, stochastic_heun,
};
pub use tableau::{
    DOP853, DOPRI5, EULER, HEUN, MIDPOINT, RALSTON, RK4, RK23, RK45, TSIT5, Tableau, VERN7,
};
pub use variable::Variable;
