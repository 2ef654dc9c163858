//! Noise keyed by (seed, purpose, sample, step): every draw can be made again, alone and in any order.
//!
//! A `ChaCha8` stream is chosen by the key (seed, purpose) and the stream number (sample); inside it the position
//! `step · 2³⁶` words is where the draws of that step begin. The sample's number, never its row in a batch, is the
//! key: image 17 is the same whether it is drawn alone, among 64, or by another thread or process.

mod brownian;

pub use brownian::BrownianPath;

use crate::error::{Result, check_size};
use crate::state::State;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal, StandardUniform};

/// What a draw is for. Different purposes never share numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// The starting noise `x_T`.
    Prior = 0,
    /// The increments of an SDE.
    Increment = 1,
    /// Dequantisation of integer data.
    Dequantisation = 2,
    /// The noise and times of a training loss.
    Training = 3,
    /// The values of weights before training.
    Weights = 4,
    /// The probes of a trace estimator.
    Probe = 5,
    /// Points, directions and lots of the diagnostics of a model.
    Diagnostics = 6,
}

/// A source of noise for one seed and purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noise {
    seed: u64,
    purpose: Purpose,
}

/// Words of a stream that one step may use.
const STEP_WORDS: u128 = 1 << 36;

impl Noise {
    /// The source for a seed and a purpose.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Self { seed, purpose }
    }

    /// The generator of one sample at one step, for distributions that this type does not offer.
    pub fn rng(&self, sample: u64, step: u32) -> ChaCha8Rng {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8] = self.purpose as u8;
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(sample);
        rng.set_word_pos(u128::from(step) * STEP_WORDS);
        rng
    }

    /// Fills `out` with independent N(0, 1) numbers of (sample, step).
    pub fn normal(&self, sample: u64, step: u32, out: &mut [f64]) {
        let mut rng = self.rng(sample, step);
        out.iter_mut().for_each(|z| *z = StandardNormal.sample(&mut rng));
    }

    /// Fills `out` with independent numbers of (sample, step), uniform on [0, 1).
    pub fn uniform(&self, sample: u64, step: u32, out: &mut [f64]) {
        let mut rng = self.rng(sample, step);
        out.iter_mut().for_each(|u| *u = StandardUniform.sample(&mut rng));
    }

    /// 64 random bits of (sample, step), to key other generators by.
    pub fn word(&self, sample: u64, step: u32) -> u64 {
        self.rng(sample, step).next_u64()
    }

    /// Fills row i of a batch with the N(0, 1) numbers of (`samples[i]`, step).
    ///
    /// # Errors
    /// When there is not one number for each row.
    pub fn fill<X: State>(&self, samples: &[u64], step: u32, out: &mut X) -> Result<()> {
        check_size("sample numbers of the batch", samples.len(), out.samples())?;
        out.fill_rows(|i, row| self.normal(samples[i], step, row));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn a_sample_is_the_same_in_every_batch() {
        let noise = Noise::new(7, Purpose::Prior);
        let (mut all, mut one) = (Array2::zeros((4, 3)), Array2::zeros((1, 3)));
        noise.fill(&[0, 1, 2, 3], 5, &mut all).unwrap();
        noise.fill(&[2], 5, &mut one).unwrap();
        assert_eq!(all.row(2), one.row(0));
    }

    #[test]
    fn keys_do_not_collide() {
        let draw = |seed, purpose, sample, step| {
            let mut z = [0.0; 4];
            Noise::new(seed, purpose).normal(sample, step, &mut z);
            z.map(f64::to_bits)
        };
        let mut seen = std::collections::HashSet::new();
        for seed in 0..3 {
            for purpose in [Purpose::Prior, Purpose::Increment, Purpose::Dequantisation] {
                for sample in 0..5 {
                    for step in 0..5 {
                        assert!(seen.insert(draw(seed, purpose, sample, step)));
                    }
                }
            }
        }
    }

    #[test]
    fn moments_are_standard() {
        let n = 100_000;
        let mut z = vec![0.0; n];
        Noise::new(1, Purpose::Prior).normal(0, 0, &mut z);
        let mean = z.iter().sum::<f64>() / n as f64;
        let var = z.iter().map(|z| z * z).sum::<f64>() / n as f64;
        assert!(mean.abs() < 4.0 / (n as f64).sqrt());
        assert!((var - 1.0).abs() < 4.0 * (2.0 / n as f64).sqrt());
    }

    /// A change here changes every published sample: it needs an entry in the changelog.
    #[test]
    fn value_stability() {
        let mut z = [0.0; 3];
        Noise::new(7, Purpose::Prior).normal(0, 0, &mut z);
        let first = [0.858_153_971_644_838_1, -0.117_478_542_848_299_77, -1.211_161_399_444_553];
        assert_eq!(z.map(f64::to_bits), first.map(f64::to_bits));
    }
}
