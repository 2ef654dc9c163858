//! Denoising score matching as a residual, generic over where the samples live, and the bounds that it makes.
//!
//! * [`perturb`](mod@perturb): data to `x_t = α x_0 + σ ε`, each sample at its own time;
//! * [`residual`](mod@residual): `σ s(x_t, t) + ε`, whose weighted mean square is the loss, and the same error in every
//!   prediction; [`steps`]: of discrete chains;
//! * [`weighting`]: which mean square; [`times`]: at which times;
//! * [`bound`]: the variational bound that it is part of, of the reverse SDE and never of the ODE; [`path`]: what an
//!   error of the score costs; [`elbo`]: the bound of a discrete chain, term by term;
//! * [`ideal`]: all of it for the best denoiser of known data, exactly.
//!
//! The crate knows no gradient: a residual on a differentiable [`State`](sde_core::State) stays on its graph, and
//! the caller squares and averages it there.

pub mod bound;
pub mod elbo;
pub mod ideal;
pub mod path;
pub mod perturb;
pub mod residual;
pub mod steps;
pub mod times;
pub mod weighting;

pub use sde_core; // whose types stand in this crate's signatures

pub use bound::{SdeBound, SdeElbo};
pub use elbo::{ChainElbo, ReverseVariance};
pub use perturb::perturb;
pub use residual::{loss, residual};
pub use times::TimeLaw;
pub use weighting::Weighting;
