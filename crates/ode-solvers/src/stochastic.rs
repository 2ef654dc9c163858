//! Euler–Maruyama for SDEs with additive noise, in either direction of time.
//!
//! ```text
//! x_{i+1} = x_i + drift(x_i, t_i) (t_{i+1} − t_i) + scale(t_i) √|t_{i+1} − t_i| z_i,   z_i ~ N(0, I)    (O3)
//! ```
//!
//! Backward in time the noise is that of a reverse-time Wiener process: the same formula. The scale depends on t
//! alone, so Itô and Stratonovich agree. `z_i` is keyed by (seed, sample, i).

use crate::error::{Error, Result};
use crate::fixed::{check_grid, finish};
use crate::problem::Samples;
use crate::solution::Solution;
use sde_core::{Lanes, Noise, State};

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
    noise: &Noise,
) -> Result<Solution<X>>
where
    X: State,
    F: FnMut(&X, Lanes<'_>, &mut X) -> sde_core::Result<()>,
{
    check_grid(grid)?;
    let start = start.into();
    start.check()?;
    let Samples { mut x, numbers } = start;
    let (mut next, mut d, mut z) = (x.zeros_like(), x.zeros_like(), x.zeros_like());
    let n = numbers.len();
    let (mut t, mut h, mut size) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    let ones = vec![1.0; n];
    for (i, step) in (0..).zip(grid.windows(2)) {
        let (from, dt) = (step[0], step[1] - step[0]);
        t.fill(from);
        h.fill(dt);
        size.fill(scale(from) * dt.abs().sqrt());
        let at = Lanes { t: &t, sample: &numbers };
        drift(&x, at, &mut d).map_err(|source| Error::Dynamics { t: from, source })?;
        noise.fill(&numbers, i, &mut z)?;
        next.combine(&[(&ones, &x), (&h, &d), (&size, &z)]);
        std::mem::swap(&mut x, &mut next);
    }
    Ok(finish(x, grid, grid.len() - 1))
}
