//! Milstein's method for noise that acts on each number of a host batch by itself.
//!
//! `dx = a(x, t) dt + b(x, t) dW` in Itô's sense, with `b' = ∂b/∂x` of that number and `ΔW = √h z`:
//!
//! ```text
//! x_{i+1} = x + a h + b ΔW + ½ b b' (ΔW² − h),   h > 0                                                (O11)
//! ```
//!
//! (Kloeden and Platen 1992, section 10.3), of strong order 1; without its last term, Euler–Maruyama, of order ½ where b
//! depends on x. Diffusion models have no such noise: this is for forward processes of your own, and for tests.

use super::Normals;
use super::walk::Walk;
use crate::error::Result;
use crate::problem::Samples;
use crate::solution::Solution;
use ndarray::{Array, RemoveAxis, Zip};
use sde_core::Lanes;

/// `a`, `b` and `∂b/∂x` at every number of a batch; set `slope` to zero for Euler–Maruyama.
#[derive(Clone, Debug)]
pub struct Diagonal<D: RemoveAxis> {
    /// The drift a.
    pub drift: Array<f64, D>,
    /// The scale b of the noise.
    pub scale: Array<f64, D>,
    /// Its derivative in the number that it acts on.
    pub slope: Array<f64, D>,
}

/// Integrates (O11) over the intervals of `grid`, which rise. The numbers of step i have the key i.
///
/// ```
/// use ndarray::Array1;
/// use ode_solvers::stochastic::milstein;
/// use ode_solvers::uniform_grid;
/// use sde_core::{Noise, Purpose};
/// let (noise, grid) = (Noise::new(1, Purpose::Increment), uniform_grid(0.0, 1.0, 64));
/// let price = milstein(Array1::ones(3), &grid, |x, _, out| {
///     out.drift.assign(&(x * 0.1)); // dx = 0.1 x dt + 0.8 x dW
///     out.scale.assign(&(x * 0.8));
///     out.slope.fill(0.8);
///     Ok(())
/// }, &noise)?.y;
/// assert!(price.iter().all(|x| *x > 0.0));
/// # Ok::<(), ode_solvers::Error>(())
/// ```
///
/// # Errors
/// For a grid that is none, and for an `f` that fails.
pub fn milstein<D: RemoveAxis>(
    start: impl Into<Samples<Array<f64, D>>>,
    grid: &[f64],
    mut f: impl FnMut(&Array<f64, D>, Lanes<'_>, &mut Diagonal<D>) -> sde_core::Result<()>,
    noise: impl Normals<Array<f64, D>>,
) -> Result<Solution<Array<f64, D>>> {
    let mut walk = Walk::new(start.into(), grid, noise)?;
    let zeros = || Array::zeros(walk.x.raw_dim());
    let mut at = Diagonal { drift: zeros(), scale: zeros(), slope: zeros() };
    for (i, step) in (0..).zip(grid.windows(2)) {
        let h = step[1] - step[0];
        walk.evaluate(&mut f, step[0], &mut at)?;
        walk.draw(i)?;
        Zip::from(&mut walk.x).and(&walk.z).and(&at.drift).and(&at.scale).and(&at.slope).for_each(
            |x, z, a, b, slope| {
                let dw = h.sqrt() * z;
                *x += a * h + b * (dw + 0.5 * slope * (dw * dw - h));
            },
        );
    }
    Ok(walk.finish(grid))
}
