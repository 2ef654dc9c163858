//! What step k of a run sees: which images, dequantised how, at which times, under which noise.
//!
//! All of it is a function of (seed, k). Epoch e shows every image once, in an order of its own; step k takes the next B.
//! The draws of row i of step k are keyed by the number `(k − 1) B + i`.

use models::{Batch, Description};
use score_match::times::strata;
use sde_core::{Noise, Purpose};

use super::config::TrainConfig;
use super::error::Result;
use super::examples::Examples;

/// Steps of the keyed noise: what a draw is for. `examples` has the others.
const TIMES: u32 = 2;
const ORDER: u32 = 3;
const DROPOUT: u32 = 4;

/// The seed of the dropout of step k.
pub fn dropout_seed(seed: u64, k: u64) -> u32 {
    let mut u = [0.0];
    Noise::new(seed, Purpose::Training).uniform(k, DROPOUT, &mut u);
    #[expect(clippy::cast_sign_loss, reason = "from 0 to below 2³²")]
    let seed = (u[0] * (f64::from(u32::MAX) + 1.0)) as u32; // truncation keeps it below 2³²
    seed
}

/// A batch as the loss takes it.
#[derive(Debug)]
pub struct Noised {
    /// Rows of the data set.
    pub rows: Vec<usize>,
    /// Keys of the draws.
    pub samples: Vec<u64>,
    /// The images in model coordinates.
    pub x0: Batch,
    /// ε.
    pub noise: Batch,
    /// Times.
    pub t: Vec<f64>,
    /// `w(t)/(2 q(t))`.
    pub weights: Vec<f64>,
}

impl Examples {
    /// What step k sees.
    ///
    /// # Errors
    /// A law of times that the process does not have; no memory.
    pub fn batch(&self, config: &TrainConfig, description: &Description, k: u64) -> Result<Noised> {
        let n = config.training.batch;
        let noise = Noise::new(config.seed, Purpose::Training);
        let first = (k - 1) * n as u64;
        let samples: Vec<u64> = (first..first + n as u64).collect();
        let rows = self.rows(&noise, &samples);
        let mut u = [0.0];
        noise.uniform(k, TIMES, &mut u);
        let span = (description.t_min, description.process.end());
        let law =
            config.training.times.on(&*description.process, config.training.weighting, span)?;
        let (t, weights) = strata(n, u[0]).map(|u| law.at(u)).map(|x| (x.t, x.weight)).unzip();
        let (x0, eps) = (self.points(&noise, &rows, &samples)?, self.noise(&noise, &samples)?);
        Ok(Noised { rows, samples, x0, noise: eps, t, weights })
    }

    /// The rows with these numbers in the endless sequence of epochs.
    fn rows(&self, noise: &Noise, numbers: &[u64]) -> Vec<usize> {
        let len = self.len() as u64;
        let mut epoch: Option<(u64, Vec<usize>)> = None;
        let row = |&number: &u64| {
            let (e, place) = (number / len, (number % len) as usize);
            let known = epoch.take().filter(|(known, _)| *known == e);
            let (_, order) = epoch.insert(known.unwrap_or_else(|| (e, self.order(noise, e))));
            order[place]
        };
        numbers.iter().map(row).collect()
    }

    /// The order of epoch e: by random keys.
    fn order(&self, noise: &Noise, e: u64) -> Vec<usize> {
        let mut keys = vec![0.0; self.len()];
        noise.uniform(e, ORDER, &mut keys);
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_by(|&a, &b| keys[a].total_cmp(&keys[b]).then(a.cmp(&b)));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Equal seeds would drop the same units at every step, and train a part of the network only.
    #[test]
    fn every_step_drops_other_units() {
        let seeds = |seed| (1..=2000).map(move |k| dropout_seed(seed, k));
        let distinct: std::collections::HashSet<u32> = seeds(0).chain(seeds(1)).collect();
        assert!(distinct.len() > 3990, "{}", distinct.len());
        assert_eq!(dropout_seed(7, 9), dropout_seed(7, 9));
    }
}
