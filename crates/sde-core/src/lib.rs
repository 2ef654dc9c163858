//! Score-based generative modelling as mathematics you can call; this crate is its foundation, and this page its first
//! chapter.
//!
//! # Forward
//!
//! Data are drowned in noise, `x_t = α(t) x_0 + σ(t) ε`, by the SDE `dx = f x dt + g dw`. A process is a type that implements
//! [`Sde`] and answers with [`coefficients`](Sde::coefficients): [`VpLinear`] and the others of [`sde`], one of your own
//! ([`sde::Custom`]), or a chain of discrete steps with any weighting ([`chain`]). What is left of the data at the end, and
//! what the prior makes of it, is in [`prior`].
//!
//! # Fokker–Planck
//!
//! The density of `x_t` obeys `∂p/∂t = −∇·(f x p) + (g²/2) Δp`. [`fokker_planck`] has the equation as code: its terms at
//! points, the equation of the score, and a grid that carries p forward for any drift.
//!
//! # The reverse family
//!
//! Since `Δp = ∇·(p ∇ log p)`, diffusion can be traded for drift. For every η ≥ 0 the SDE
//! `dx = [f x − (1+η²)/2 g² ∇ log p_t] dt + η g dw̄` runs through the same densities backwards: [`Reverse::drift`] and
//! [`reverse::noise_scale`]. Linear-Gaussian cases of it are solved in closed form in [`moments`].
//!
//! # The ODE
//!
//! η = 0 is the probability-flow ODE, [`Reverse::probability_flow`]: data to noise and back along the same path, with the
//! change of density given by [`Reverse::drift_and_divergence`]. The crate `ode-solvers` integrates it.
//!
//! # The score
//!
//! All this asks for one unknown, `∇ log p_t`, in whatever form a model gives it: a [`Score`] reports it with the posterior
//! mean as a [`Field`]; [`Prediction`] converts between the forms. For a [`GaussianMixture`] it is known exactly:
//!
//! ```
//! use ndarray::array;
//! use sde_core::{GaussianMixture, Lanes, Reverse, VpLinear};
//! let sde = VpLinear::default();
//! let data = GaussianMixture::isotropic(&[1.0], array![[0.7]], &[0.36])?;
//! let mut flow = Reverse::probability_flow(&sde, data.score(&sde));
//! let (x, mut v) = (array![[0.0], [1.0]], array![[0.0], [0.0]]);
//! flow.drift(&x, Lanes { t: &[0.5, 0.5], sample: &[0, 1] }, &mut v)?;
//! assert!(v[[0, 0]] < v[[1, 0]]); // the flow spreads what the noise has gathered
//! # Ok::<(), sde_core::Error>(())
//! ```
//!
//! # The rest
//!
//! [`state`] is the batch, and why a result never depends on what else is in it; [`noise`] draws numbers keyed by seed, sample
//! and step; [`levels`] ties integer data to densities; [`grid`] spaces noise levels and times; [`quadrature`] integrates smooth
//! functions; [`guidance`] tells a score more than the noisy sample; [`summary`] is a mean with its standard error;
//! [`diagnostics`] asks a score whether it belongs to its process.

pub mod chain;
pub mod diagnostics;
pub mod error;
pub mod exact;
mod exponential;
pub mod fokker_planck;
pub mod grid;
pub mod guidance;
pub mod levels;
pub mod moments;
pub mod noise;
pub mod parametrisation;
pub mod prior;
pub mod quadrature;
pub mod reverse;
pub mod score;
pub mod sde;
pub mod state;
pub mod summary;
mod wide;

pub use chain::{BetaSchedule, DdpmChain};
pub use error::{Error, Result};
pub use exact::GaussianMixture;
pub use noise::{BrownianPath, Noise, Purpose};
pub use parametrisation::Prediction;
pub use reverse::Reverse;
pub use score::{Along, Divergence, Field, Pull, Score};
pub use sde::{Process, Sde, VpLinear};
pub use state::{Lanes, State, Tolerance};
pub use summary::Summary;
