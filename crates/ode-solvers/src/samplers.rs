//! Samplers of diffusion models on a grid of noise levels.
//!
//! The probability-flow ODE is linear but for the model, and these methods leave its linear part to an exponential
//! instead of approximating it. One engine makes all their steps,
//!
//! ```text
//! x_to = A x + Σ_j B_j P_j,   A = σ_to/σ,   B_j = α_to w_j           for P = D,
//!                             A = α_to/α,   B_j = −σ_to w_j          for P = ε = −σ_j s_j;           (X3)
//! ```
//!
//! the weights are those of (X1) and (X2). [`Sampler`] says where the values `P_j` come from: from earlier steps
//! ([`Multistep`]), from inside the step ([`SingleStep`]). With one value both rows are the same step, DDIM; with noise,
//!
//! ```text
//! x_to = α_to D + √(σ_to² − s²) ε + s z,   s = η σ_to √(−expm1(−2h)),   z ~ N(0, I),                 (X4)
//! ```
//!
//! where h is the rise of `ℓ = ln(α/σ)` (Song, Meng and Ermon 2020, eq. 12 and 16). η = 1 is DDPM with the variance β̃.
//!
//! [`Multistep`] and [`SingleStep`] go along any member η of the [reverse family](sde_core::reverse) too. In ℓ it is
//! `d(x/σ) = [−η² x/σ + m e^ℓ D] dℓ + √2 η dw` with `m = 1 + η²`, so that
//!
//! ```text
//! x_to = (σ_to/σ) e^{−η²h} x + α_to ∫₀^{mh} e^{−(mh−θ)} D(ℓ+θ/m) dθ + σ_to √(1 − e^{−2η²h}) z
//!      = (α_to/α) x − m σ_to ∫₀ʰ e^{h−τ} ε(ℓ+τ) dτ + η σ_to √(e^{2h} − 1) z                         (X5)
//! ```
//!
//! in law: the weights of (X2) for a step that is m times as long, or m times the weights (Gonzalez et al. 2023,
//! arXiv 2305.14267, for η = 1). A stage inside the step stands on the same path of the noise as its end: with A and c
//! the factors of x and of z in (X5) from one level to the next, the noise is carried along by
//!
//! ```text
//! n_to = A n + c z,   n = 0 at the start of a step,                                                 (X6)
//! ```
//!
//! with new numbers z for each part. η = 0 is the sampler without noise, bit for bit.
//!
//! Two steps have no finite h. To σ = 0, `x_to = α_to D`: the denoised sample, exactly. From α = 0,
//! `x_to = (σ_to/σ) x + α_to D`, and with η > 0 `x_to = σ_to z + α_to D`. Higher methods start behind the second and stop before the first.
//!
//! All coefficients are `f64` numbers of the host. A step allocates nothing, and costs one combination of states for
//! each evaluation of the model. Noise is keyed by (seed, sample, step and part), so that no sample depends on its batch.

mod combine;
mod grid;
mod grids;
mod method;
mod model;
mod named;
mod noise;
mod scheme;
mod walk;
mod weights;

pub(crate) use combine::combine;
pub use grid::{Grid, Level};
pub use grids::{Spacing, quadratic_grid};
pub use method::{Ancestral, Churn, Multistep, Sampler, SingleStep, StepVariance};
pub use scheme::{Scheme, Stage};
pub use weights::{MOST, Predicts, Rule};

use crate::error::{Error, Result};
use crate::problem::Samples;
use crate::progress::{Progress, unobserved};
use crate::solution::Solution;
use sde_core::{Noise, Score, State};
use std::ops::ControlFlow;

/// Takes a batch along the grid: down, from noise to data, or up ([`Grid::upward`]).
///
/// ```
/// use ndarray::array;
/// use ode_solvers::samplers::{Grid, Sampler, sample};
/// use sde_core::{GaussianMixture, Noise, Purpose, VpLinear, grid};
/// let sde = VpLinear::default();
/// let data = GaussianMixture::isotropic(&[0.5, 0.5], array![[-1.0], [1.0]], &[0.01, 0.01])?;
/// let times = grid::log_snr(&sde, 20, 1.0, 1e-3)?;
/// let grid = Grid::new(&sde, &times)?.to_data();
/// let noise = Noise::new(7, Purpose::Increment); // dpm++2m draws none
/// let sampler = Sampler::named("dpm++2m").ok_or("no such sampler")?;
/// let solution = sample(&sampler, array![[0.3], [-2.0]], &grid, &mut data.score(&sde), &noise)?;
/// assert!((solution.y[[1, 0]] + 1.0).abs() < 0.5);
/// assert_eq!(solution.batch_evals, 21);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// For a sampler whose numbers do not fit together, one that draws noise on an upward grid, an η so large that (X4) has no
/// root, and a model that fails.
pub fn sample<X, M>(
    sampler: &Sampler,
    start: impl Into<Samples<X>>,
    grid: &Grid<'_>,
    score: &mut M,
    noise: &Noise,
) -> Result<Solution<X>>
where
    X: State,
    M: Score<X>,
{
    sample_observed(sampler, start, grid, score, noise, unobserved)
}

/// As [`sample`], watched: `observe` is called after each step, and stops the sampling by
/// [`Break`](ControlFlow::Break).
///
/// # Errors
/// As [`sample`].
pub fn sample_observed<X, M>(
    sampler: &Sampler,
    start: impl Into<Samples<X>>,
    grid: &Grid<'_>,
    score: &mut M,
    noise: &Noise,
    observe: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Solution<X>>
where
    X: State,
    M: Score<X>,
{
    let draw = |numbers: &[u64], step, z: &mut X| noise.fill(numbers, step, z);
    walk(sampler, start.into(), grid, score, draw, observe)
}

/// As [`sample`], with noise from `draw(samples, step, out)`.
///
/// # Errors
/// As [`sample`], and those of `draw`.
pub fn sample_with<X, M>(
    sampler: &Sampler,
    start: impl Into<Samples<X>>,
    grid: &Grid<'_>,
    score: &mut M,
    draw: impl FnMut(&[u64], u32, &mut X) -> sde_core::Result<()>,
) -> Result<Solution<X>>
where
    X: State,
    M: Score<X>,
{
    walk(sampler, start.into(), grid, score, draw, unobserved)
}

fn walk<X, M>(
    sampler: &Sampler,
    start: Samples<X>,
    grid: &Grid<'_>,
    score: &mut M,
    draw: impl FnMut(&[u64], u32, &mut X) -> sde_core::Result<()>,
    observe: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Solution<X>>
where
    X: State,
    M: Score<X>,
{
    sampler.check()?;
    start.check()?;
    if grid.is_upward() && sampler.is_random() {
        return Err(Error::Upward { sampler: sampler.name() });
    }
    walk::Walk::new(sampler, start, grid, score, (draw, observe)).run(sampler)
}
