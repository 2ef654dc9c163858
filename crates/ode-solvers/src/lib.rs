//! Runge–Kutta and stochastic solvers with one step size per sample, and exact likelihood by the
//! probability-flow ODE.
//!
//! In reading order:
//!
//! * [`tableau`]: methods as data;
//! * [`adaptive`]: RK23 and RK45 with SciPy's step control, for each sample by itself;
//! * [`fixed`] and [`stochastic`]: a given grid of times, without noise and with it;
//! * [`solution`]: what a solve returns;
//! * [`flow`](mod@flow): encode and decode; [`likelihood`]: `log p` along the way;
//! * [`parallel`]: every core, the same bits.

pub mod adaptive;
mod control;
mod dense;
pub mod error;
pub mod fixed;
pub mod flow;
pub mod likelihood;
pub mod parallel;
pub mod problem;
pub mod solution;
pub mod stochastic;
pub mod tableau;

pub use sde_core; // whose types stand in this crate's signatures

pub use adaptive::{Solver, solve, solve_at};
pub use error::{Error, Result};
pub use fixed::{solve_fixed, uniform_grid};
pub use flow::{decode, encode, flow};
pub use likelihood::{Likelihood, LikelihoodOptions, log_likelihood, log_normal};
pub use parallel::{in_chunks, solve_in_chunks};
pub use problem::{Adaptive, Samples};
pub use solution::{LaneStats, LaneStatus, Solution};
pub use stochastic::euler_maruyama;
pub use tableau::{EULER, HEUN, MIDPOINT, RK4, RK23, RK45, Tableau};
