//! Methods of higher order for noise that does not depend on x.
//!
//! With `h = t_{i+1} − t_i`, `ΔW = √|h| z`, `b₀, b₁` the scale and `a₀, a₁` the drift at the start and at the stage y,
//!
//! ```text
//! y = x + h a₀ + b₀ ΔW,    x_{i+1} = x + h (a₀ + a₁)/2 + (b₀ + b₁)/2 ΔW                                (O9)
//! ```
//!
//! is Heun's method: of strong order 1, as Euler–Maruyama with this noise, and of weak order 2. The path enters more
//! closely by its mean over the step. With `I = ∫ W ds/|h| = √|h| (z + ζ/√3)/2`, ζ ~ N(0, 1),
//!
//! ```text
//! y = x + ¾ h a₀ + (3/2) b₁ I,    x_{i+1} = x + h (a₀ + 2 a₁)/3 + b₁ ΔW + (b₀ − b₁) I,                 (O10)
//! ```
//!
//! y standing at `t + ¾ h`, is SRA1 (Rößler 2010, doi 10.1137/09076636X) of strong order 1.5.

use super::Normals;
use super::walk::Walk;
use crate::error::Result;
use crate::problem::Samples;
use crate::solution::Solution;
use sde_core::{Lanes, State};

/// Heun's method (O9): two evaluations for each interval of `grid`, otherwise as
/// [`euler_maruyama`](super::euler_maruyama). The numbers of step i have the key i.
///
/// # Errors
/// As [`euler_maruyama`](super::euler_maruyama).
pub fn stochastic_heun<X, F>(
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
    let (mut a0, mut a1) = (walk.x.zeros_like(), walk.x.zeros_like());
    for (i, step) in (0..).zip(grid.windows(2)) {
        let (h, [b0, b1]) = (step[1] - step[0], [scale(step[0]), scale(step[1])]);
        let root = h.abs().sqrt();
        walk.evaluate(&mut drift, step[0], &mut a0)?;
        walk.draw(i)?;
        walk.combine(1.0, &[(h, &a0)], b0 * root);
        walk.evaluate_trial(&mut drift, step[1], &mut a1)?;
        walk.combine(1.0, &[(0.5 * h, &a0), (0.5 * h, &a1)], 0.5 * (b0 + b1) * root);
        walk.accept();
    }
    Ok(walk.finish(grid))
}

/// SRA1 (O10): two evaluations for each interval of `grid`, otherwise as [`euler_maruyama`](super::euler_maruyama). The
/// numbers z and ζ of step i have the keys 2i and 2i + 1.
///
/// # Errors
/// As [`euler_maruyama`](super::euler_maruyama).
pub fn sra1<X, F>(
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
    let [mut a0, mut a1, mut zeta] = std::array::from_fn(|_| walk.x.zeros_like());
    for (i, step) in (0..).zip(grid.windows(2)) {
        let (h, [b0, b1]) = (step[1] - step[0], [scale(step[0]), scale(step[1])]);
        let root = h.abs().sqrt();
        let of_i = [0.5 * root, 0.5 * root / 3_f64.sqrt()]; // I in terms of z and ζ
        walk.evaluate(&mut drift, step[0], &mut a0)?;
        walk.draw(2 * i)?;
        walk.noise.draw(&walk.numbers, 2 * i + 1, &mut zeta)?;
        let lift = 1.5 * b1;
        walk.combine(1.0, &[(0.75 * h, &a0), (lift * of_i[1], &zeta)], lift * of_i[0]);
        walk.evaluate_trial(&mut drift, step[0] + 0.75 * h, &mut a1)?;
        let terms = [(h / 3.0, &a0), (2.0 * h / 3.0, &a1), ((b0 - b1) * of_i[1], &zeta)];
        walk.combine(1.0, &terms, b1 * root + (b0 - b1) * of_i[0]);
        walk.accept();
    }
    Ok(walk.finish(grid))
}
