//! Score-based generative modelling as mathematics you can call; this crate is its foundation.
//!
//! In reading order:
//!
//! * [`sde`]: the forward process `x_t = α(t) x_0 + σ(t) ε` and its coefficients;
//! * [`score`]: what a model of `∇ log p_t` reports;
//! * [`reverse`]: the reverse family and the probability-flow ODE that the Fokker–Planck equation allows;
//! * [`exact`]: scores known in closed form, the ground truth of every test;
//! * [`state`]: the batch, and why a result never depends on what else is in it;
//! * [`noise`]: random numbers keyed by (seed, sample, step);
//! * [`levels`]: integer data, dequantisation and bits per dimension.

pub mod error;
pub mod exact;
pub mod grid;
pub mod levels;
pub mod noise;
pub mod parametrisation;
pub mod reverse;
pub mod score;
pub mod sde;
pub mod state;
pub mod summary;

pub use error::{Error, Result};
pub use exact::GaussianMixture;
pub use noise::{Noise, Purpose};
pub use parametrisation::Prediction;
pub use reverse::Reverse;
pub use score::{Divergence, Field, Score};
pub use sde::{Process, Sde, VpLinear};
pub use state::{Lanes, State, Tolerance};
pub use summary::Summary;
