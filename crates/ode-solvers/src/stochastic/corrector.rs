//! Reverse diffusion, and predictor–corrector sampling.
//!
//! A forward chain `x_t = a x_s + √var z` (the exact transition between two times of the grid, s < t) is reversed by
//! taking away what it added (Song et al. 2021, arXiv 2011.13456, appendix E), here for any member η of the family:
//!
//! ```text
//! x_s = (2 − a) x_t + (1+η²)/2 var s(x_t, t) + η √var z.                                              (O12)
//! ```
//!
//! After a step to t, n corrector steps along Langevin dynamics, whose stationary law is `p_t`:
//!
//! ```text
//! x ← x + ε s(x, t) + √(2ε) z,    ε = 2 a² (r |z|/|s|)²   or   ε = 2 a² (r σ_t)².                     (O13)
//! ```
//!
//! The first size is that of the paper's algorithms 4 and 5, with the norms of this sample alone: averages over the
//! batch, as published code has them, tie each sample to its neighbours. r is a signal-to-noise ratio. In few
//! dimensions `|s|` comes near 0 and the size has no mean; the second, of annealed Langevin dynamics, depends on t only.
//! a is the factor of the last step's transition, 1 for VE and `√(1−β)` for DDPM's chain.

use super::Normals;
use super::walk::Walk;
use crate::error::Result;
use crate::problem::Samples;
use crate::solution::Solution;
use sde_core::error::check;
use sde_core::reverse::noise_scale;
use sde_core::{Field, Reverse, Score, State};

/// The step before the corrector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predictor {
    /// (O3).
    EulerMaruyama,
    /// (O12).
    ReverseDiffusion,
}

/// The size of a corrector step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LangevinStep {
    /// By the norms of the sample's noise and score.
    Norms,
    /// By the noise level: annealed Langevin dynamics.
    Level,
}

/// Corrector steps (O13).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Langevin {
    /// r.
    pub snr: f64,
    /// Corrector steps after each predictor step.
    pub steps: u32,
    /// How large they are.
    pub size: LangevinStep,
}

/// Steps (O12) over the intervals of `grid`, from noise to data. The numbers of step i have the key i.
///
/// # Errors
/// For a grid that does not fall, and for a score that fails.
pub fn reverse_diffusion<X: State, M: Score<X>>(
    start: impl Into<Samples<X>>,
    grid: &[f64],
    reverse: &mut Reverse<'_, X, M>,
    noise: impl Normals<X>,
) -> Result<Solution<X>> {
    let none = Langevin { snr: 0.0, steps: 0, size: LangevinStep::Level };
    predictor_corrector(start, grid, reverse, (Predictor::ReverseDiffusion, none), noise)
}

/// Predictor steps over the intervals of `grid`, from noise to data, each followed by the corrector at the time that it
/// has reached: `1 + steps` evaluations. The numbers of step i have the keys `(1 + steps) i` and those after it.
///
/// # Errors
/// For a grid that does not fall, a ratio that is negative, and a score that fails.
pub fn predictor_corrector<X: State, M: Score<X>>(
    start: impl Into<Samples<X>>,
    grid: &[f64],
    reverse: &mut Reverse<'_, X, M>,
    (predictor, corrector): (Predictor, Langevin),
    noise: impl Normals<X>,
) -> Result<Solution<X>> {
    check("snr", corrector.snr, corrector.snr >= 0.0, "a number not below 0")?;
    let mut walk = Walk::new(start.into(), grid, noise)?;
    check("second time", grid[1], grid[1] < grid[0], "one below the first, towards the data")?;
    let keys = (1.0 + f64::from(corrector.steps)) * grid.len() as f64;
    check("numbers of all steps", keys, keys < f64::from(u32::MAX), "fewer than 2³²")?;
    let mut field = Field::like(&walk.x);
    let mut size = [vec![0.0; walk.numbers.len()], vec![0.0; walk.numbers.len()]];
    let mut key = 0;
    for step in grid.windows(2) {
        let (t, s) = (step[0], step[1]);
        walk.draw(key)?;
        predict(predictor, &mut walk, (t, s), reverse, &mut field)?;
        let a = reverse.sde().kernel(s, t).a;
        let level = a * corrector.snr * reverse.sde().sigma(s);
        for j in 1..=corrector.steps {
            walk.draw(key + j)?;
            walk.evaluate(|x, at, out| reverse.evaluate(x, at, out), s, &mut field)?;
            set_sizes(&mut size, corrector, (a, level), (&walk.z, &field.score));
            walk.combine_rows(&field.score, &size);
            walk.accept();
        }
        key += 1 + corrector.steps;
    }
    Ok(walk.finish(grid))
}

/// A step from t to s with the numbers that are drawn.
fn predict<X: State, M: Score<X>, Z: Normals<X>>(
    predictor: Predictor,
    walk: &mut Walk<X, Z>,
    (t, s): (f64, f64),
    reverse: &mut Reverse<'_, X, M>,
    field: &mut Field<X>,
) -> Result<()> {
    let (sde, eta) = (reverse.sde(), reverse.eta().at(t));
    match predictor {
        Predictor::EulerMaruyama => {
            walk.evaluate(|x, at, out| reverse.drift(x, at, out), t, &mut field.score)?;
            let std = noise_scale(sde, eta, t) * (t - s).sqrt();
            walk.combine(1.0, &[(s - t, &field.score)], std);
        }
        Predictor::ReverseDiffusion => {
            let kernel = sde.kernel(s, t);
            walk.evaluate(|x, at, out| reverse.evaluate(x, at, out), t, field)?;
            let pull = 0.5 * (1.0 + eta * eta) * kernel.var;
            walk.combine(2.0 - kernel.a, &[(pull, &field.score)], eta * kernel.var.sqrt());
        }
    }
    walk.accept();
    Ok(())
}

/// ε and √(2ε) of each sample. Where the score is 0 there is no size, and no step.
fn set_sizes<X: State>(
    [size, root]: &mut [Vec<f64>; 2],
    corrector: Langevin,
    (a, level): (f64, f64),
    (z, score): (&X, &X),
) {
    size.fill(0.0);
    root.fill(0.0);
    match corrector.size {
        LangevinStep::Level => size.fill(2.0 * level * level),
        LangevinStep::Norms => {
            z.add_squared_norm(size);
            score.add_squared_norm(root);
            let ratio = 2.0 * (a * corrector.snr).powi(2);
            for (size, score) in size.iter_mut().zip(&*root) {
                *size = if *score > 0.0 { ratio * *size / score } else { 0.0 };
            }
        }
    }
    root.iter_mut().zip(&*size).for_each(|(root, size)| *root = (2.0 * size).sqrt());
}
