//! SDEs with additive noise, in either direction of time, and the reverse family's own methods.
//!
//! ```text
//! x_{i+1} = x_i + drift(x_i, t_i) (t_{i+1} − t_i) + scale(t_i) √|t_{i+1} − t_i| z_i,   z_i ~ N(0, I)    (O3)
//! ```
//!
//! Backward in time the noise is that of a reverse-time Wiener process: the same formula. The scale depends on t
//! alone, so Itô and Stratonovich agree. `z_i` is keyed by (seed, sample, i).
//!
//! | function | grid | noise | strong, weak order |
//! |---|---|---|---|
//! | [`euler_maruyama`] | given | additive | 1, 1 |
//! | [`stochastic_heun`] | given | additive | 1, 2 |
//! | [`sra1`] | given | additive | 1.5, 2 |
//! | [`milstein`] | given | diagonal, of x | 1, 1 |
//! | [`reverse_diffusion`], [`predictor_corrector`] | given | of the reverse family | weak 1 |
//! | [`adaptive_sde`] | chosen for each sample | additive | |
//!
//! Exponential methods for the reverse family are [samplers](crate::samplers) on noise levels.

mod adaptive;
mod additive;
mod corrector;
mod diagonal;
mod method;
mod walk;

pub use adaptive::adaptive_sde;
pub use additive::{sra1, stochastic_heun};
pub use corrector::{Langevin, LangevinStep, Predictor, predictor_corrector, reverse_diffusion};
pub use diagonal::{Diagonal, milstein};
pub use method::{Stochastic, sample_reverse};

use crate::error::Result;
use crate::problem::Samples;
use crate::solution::Solution;
use sde_core::{Lanes, Noise, State};
use walk::Walk;

/// Where the N(0, 1) numbers of a step come from: `&Noise`, or a closure of that signature.
pub trait Normals<X> {
    /// Writes the numbers of (`samples[i]`, step) to row i.
    ///
    /// # Errors
    /// The source's own.
    fn draw(&mut self, samples: &[u64], step: u32, out: &mut X) -> sde_core::Result<()>;
}

impl<X: State> Normals<X> for &Noise {
    fn draw(&mut self, samples: &[u64], step: u32, out: &mut X) -> sde_core::Result<()> {
        self.fill(samples, step, out)
    }
}

impl<X, F: FnMut(&[u64], u32, &mut X) -> sde_core::Result<()>> Normals<X> for F {
    fn draw(&mut self, samples: &[u64], step: u32, out: &mut X) -> sde_core::Result<()> {
        self(samples, step, out)
    }
}

/// Integrates (O3) over the intervals of `grid`. `drift(x, at, out)` writes the drift of every row, `scale(t)` is
/// the noise scale (`η g(t)` for the reverse family).
///
/// # Errors
/// For a grid that is none, and for a `drift` that fails.
pub fn euler_maruyama<X, F>(
    start: impl Into<Samples<X>>,
    grid: &[f64],
    mut drift: F,
    scale: impl Fn(f64) -> f64,
    noise: impl Normals<X>,
) -> Result<Solution<X>>
where
    X: State,
    F: FnMut(&X, Lanes<'_>, &mut X) -> sde_core::Result<()>,
{
    let mut walk = Walk::new(start.into(), grid, noise)?;
    let mut d = walk.x.zeros_like();
    for (i, step) in (0..).zip(grid.windows(2)) {
        let (from, dt) = (step[0], step[1] - step[0]);
        walk.evaluate(&mut drift, from, &mut d)?;
        walk.draw(i)?;
        walk.combine(1.0, &[(dt, &d)], scale(from) * dt.abs().sqrt());
        walk.accept();
    }
    Ok(walk.finish(grid))
}
