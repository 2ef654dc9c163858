//! Samples that agree with what is known of them.
//!
//! A sampler without memory goes down the grid from t to s, and after each step the known elements, m = 1, are put where the
//! forward process would have them at that level,
//!
//! ```text
//! x_s = m (α_s x_0 + σ_s ε) + (1 − m) step(x_t),     ε ~ N(0, I);                                   (H4)
//! ```
//!
//! the unknown ones follow through the score (Song et al. 2021, appendix I.2). They hear of the known ones one step late, so
//! that the parts may not match. To let them agree, go back up and down again (Lugmayr et al. 2022, `RePaint`):
//!
//! ```text
//! x_t = (α_t/α_s) x_s + √(σ_t² − (α_t/α_s)² σ_s²) z,     z ~ N(0, I).                               (H5)
//! ```
//!
//! At σ = 0 the known elements are the data themselves and the unknown ones a denoised sample: no noise is left in either.
//! All noise is keyed by (seed, sample, move and part of it), a move being a step down or up; a sample does not depend on
//! its batch.

use crate::error::{Error, Result};
use crate::fixed::finish;
use crate::problem::Samples;
use crate::samplers::{Grid, Level, Sampler, sample_with};
use crate::solution::Solution;
use sde_core::error::check;
use sde_core::guidance::Known;
use sde_core::state::check_alike;
use sde_core::{Noise, Purpose, Score, State};

/// How the unknown part is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Inpainting {
    /// How a step is made: one with stages or noise, but without memory of earlier steps.
    pub sampler: Sampler,
    /// How often each step but the last is made, 1 or more: with (H5) in between.
    pub resample: u32,
    /// Key of all noise.
    pub seed: u64,
}

/// Keys of noise for one move: more than a step has parts.
const PARTS: u32 = 16;

/// A batch on its way, and how many moves it has made.
struct Walk<'a, X> {
    of: &'a Inpainting,
    known: &'a Known<X>,
    grid: &'a Grid<'a>,
    x: X,
    noise: X,
    noised: X,
    moves: u32,
    nfe: u64,
}

impl Inpainting {
    /// Draws samples whose known elements are those of `known`, from `x_T` of the sampler's own start at the grid's first
    /// level. Row i of the start belongs to `known.numbers()[i]`.
    ///
    /// ```
    /// use ndarray::array;
    /// use ode_solvers::Inpainting;
    /// use ode_solvers::samplers::{Grid, Sampler};
    /// use sde_core::guidance::Known;
    /// use sde_core::{GaussianMixture, VpLinear, grid};
    /// let sde = VpLinear::default();
    /// let data = GaussianMixture::isotropic(&[0.5, 0.5], array![[-1.0, -1.0], [1.0, 1.0]], &[0.01, 0.01])?;
    /// let grid = Grid::new(&sde, &grid::log_snr(&sde, 40, 1.0, 1e-3)?)?.to_data();
    /// let known = Known::new(array![[1.1, 0.0]], array![[1.0, 0.0]], vec![0])?; // the first coordinate
    /// let how = Inpainting { sampler: Sampler::ddim(1.0), resample: 5, seed: 7 };
    /// let found = how.run(array![[0.2, -0.4]], &grid, &known, &mut data.score(&sde))?.y;
    /// assert!(found[[0, 0]] == 1.1 && (found[[0, 1]] - 1.0).abs() < 0.5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Memory`] for a multistep sampler, whose earlier values belong to states that (H4) has changed; no resampling
    /// at all; a start of another size; as [`sample_with`].
    pub fn run<X: State, M: Score<X>>(
        &self,
        start: X,
        grid: &Grid<'_>,
        known: &Known<X>,
        score: &mut M,
    ) -> Result<Solution<X>> {
        if let Sampler::Multistep(m) = &self.sampler {
            return Err(Error::Memory { sampler: m.name });
        }
        let (times, resample) = (f64::from(self.resample), self.resample);
        check("resample", times, resample > 0, "1 or more")?;
        let moves = 2.0 * times * grid.steps() as f64;
        let most = f64::from(u32::MAX / PARTS);
        check("moves of all steps", moves, moves < most, "below 2.6e8, for which noise has keys")?;
        check_alike("the start", &start, known.data())?;
        let levels = grid.levels();
        let (noise, noised) = (start.zeros_like(), start.zeros_like());
        let mut walk = Walk { of: self, known, grid, x: start, noise, noised, moves: 0, nfe: 0 };
        walk.put_known(levels[0])?;
        for (i, step) in levels.windows(2).enumerate() {
            let last = i + 2 == levels.len();
            for again in (0..if last { 1 } else { resample }).rev() {
                walk.down(step[0], step[1], score)?;
                if again > 0 {
                    walk.up(step[1], step[0])?;
                }
            }
        }
        Ok(walk.finish())
    }
}

impl<X: State> Walk<'_, X> {
    /// A step of the sampler, and (H4).
    fn down<M: Score<X>>(&mut self, from: Level, to: Level, score: &mut M) -> Result<()> {
        let sde = self.grid.sde();
        let grid = if to.sigma > 0.0 {
            Grid::new(sde, &[from.t, to.t])?
        } else {
            Grid::new(sde, &[from.t])?.to_data()
        };
        self.moves += 1;
        let (steps, first) = (Noise::new(self.of.seed, Purpose::Increment), PARTS * self.moves);
        let draw = |numbers: &[u64], part: u32, z: &mut X| steps.fill(numbers, first + part, z);
        let x = std::mem::replace(&mut self.x, self.noise.zeros_like());
        let start = Samples { x, numbers: self.known.numbers().to_vec() };
        let solution = sample_with(&self.of.sampler, start, &grid, score, draw)?;
        self.nfe += solution.batch_evals;
        self.x = solution.y;
        self.put_known(to)
    }

    /// (H5).
    fn up(&mut self, from: Level, to: Level) -> Result<()> {
        let kernel = self.grid.sde().kernel(from.t, to.t);
        self.moves += 1;
        let noise = Noise::new(self.of.seed, Purpose::Increment);
        noise.fill(self.known.numbers(), PARTS * self.moves, &mut self.noise)?;
        let n = self.x.samples();
        let (keep, size) = (vec![kernel.a; n], vec![kernel.var.sqrt(); n]);
        self.noised.combine(&[(&keep, &self.x), (&size, &self.noise)]);
        std::mem::swap(&mut self.x, &mut self.noised);
        self.put_known(to)
    }

    /// The known elements at a level; at σ = 0 the data, bit for bit.
    fn put_known(&mut self, level: Level) -> Result<()> {
        if level.sigma == 0.0 {
            self.known.put(self.known.data(), &mut self.x);
            return Ok(());
        }
        let noise = Noise::new(self.of.seed, Purpose::Prior);
        noise.fill(self.known.numbers(), self.moves, &mut self.noise)?;
        let n = self.x.samples();
        let (alpha, sigma) = (vec![level.alpha; n], vec![level.sigma; n]);
        self.noised.combine(&[(&alpha, self.known.data()), (&sigma, &self.noise)]);
        self.known.put(&self.noised, &mut self.x);
        Ok(())
    }

    fn finish(self) -> Solution<X> {
        let times: Vec<f64> = self.grid.levels().iter().map(|level| level.t).collect();
        let mut solution = finish(self.x, &times, usize::try_from(self.nfe).unwrap_or(usize::MAX));
        solution.stats.iter_mut().for_each(|stats| stats.accepted = self.moves);
        solution
    }
}
