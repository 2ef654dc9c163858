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
//! * [`solution`]: what a solve returns;
//! * [`flow`](mod@flow): encode and decode, with a [`latent`] path between; [`likelihood`]: `log p` along the way;
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
pub mod samplers;
pub mod solution;
pub mod stochastic;
pub mod tableau;

pub use sde_core; // whose types stand in this crate's signatures

pub use adaptive::{Solver, solve, solve_at, solve_events};
pub use error::{Error, Result};
pub use events::{Crossing, Event, Found};
pub use fixed::{solve_fixed, uniform_grid};
pub use flow::{decode, encode, flow};
pub use inpaint::Inpainting;
pub use latent::Path;
pub use likelihood::{
    AugmentedOptions, ErrorBar, Likelihood, LikelihoodOptions, LogLikelihood, Probes,
    SetLikelihood, Trace, TraceError, log_likelihood, log_likelihood_augmented, log_normal,
    t_quantile,
};
pub use parallel::{in_chunks, solve_in_chunks};
pub use problem::{Adaptive, Control, Samples};
pub use solution::{LaneStats, LaneStatus, Solution};
pub use stochastic::euler_maruyama;
pub use tableau::{
    DOP853, DOPRI5, EULER, HEUN, MIDPOINT, RALSTON, RK4, RK23, RK45, TSIT5, Tableau, VERN7,
};
