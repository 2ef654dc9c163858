//! The variational bound (M4) on held-out images, with the same times and noise at every look, so that two looks differ
//! by the network alone.

use models::{Batch, Description, NetworkScore, Trace, UNet};
use score_match::times::strata;
use score_match::{TimeLaw, Weighting, bound, residual};
use sde_core::levels::Levels;
use sde_core::{Lanes, Noise, Purpose, State};

use super::batches::Examples;
use super::config::TrainConfig;
use super::error::Result;

/// Times at which each image is seen.
const TIMES: usize = 32;
/// Images of one evaluation.
const CHUNK: usize = 128;

/// Held-out images with their noise.
#[derive(Debug)]
pub struct Validation {
    x0: Vec<Batch>,
    noise: Vec<Batch>,
    constant: f64,
    d: usize,
    n: usize,
    levels: Option<Levels>,
}

impl Validation {
    /// Dequantises the images and draws their noise.
    ///
    /// # Errors
    /// No memory.
    pub fn new(
        config: &TrainConfig,
        description: &Description,
        examples: Examples,
    ) -> Result<Self> {
        let source = Noise::new(config.seed, Purpose::Dequantisation);
        let rows: Vec<usize> = (0..examples.len()).collect();
        let (mut x0, mut noise, mut square) = (Vec::new(), Vec::new(), 0.0);
        for chunk in rows.chunks(CHUNK) {
            let samples: Vec<u64> = chunk.iter().map(|&i| i as u64).collect();
            let points = examples.points(&source, chunk, &samples)?;
            let mut squares = vec![0.0; chunk.len()];
            points.add_squared_norm(&mut squares);
            square += squares.iter().sum::<f64>();
            x0.push(points);
            noise.push(examples.noise(&source, &samples)?);
        }
        let (n, d) = (rows.len(), examples.dim());
        let span = (description.t_min, description.process.end());
        let constant = bound::constant(&*description.process, span, square / n as f64, d);
        let levels = examples.levels().map(Levels::new).transpose()?;
        Ok(Self { x0, noise, constant, d, n, levels })
    }

    /// The bound in bits/dim, or in nats/dim for data without levels.
    ///
    /// # Errors
    /// Those of the network.
    pub fn bound(&self, unet: &UNet, description: &Description) -> Result<f64> {
        let process = &*description.process;
        let span = (description.t_min, process.end());
        let law = TimeLaw::LogSnr.on(process, Weighting::Likelihood, span)?;
        let mut score = NetworkScore::new(unet, description, Trace::Exact);
        let mut sum = 0.0;
        for (c, (x0, noise)) in self.x0.iter().zip(&self.noise).enumerate() {
            let numbers: Vec<u64> = (0..x0.samples()).map(|i| (c * CHUNK + i) as u64).collect();
            let mut r = x0.zeros_like();
            for j in 0..TIMES {
                // Image i is seen at the strata of its own offset: all together they are n·TIMES strata.
                let of = |&i: &u64| {
                    let offset = (i as f64 + 0.5) / self.n as f64;
                    law.at(strata(TIMES, offset).nth(j).unwrap_or(offset))
                };
                let (t, weights): (Vec<f64>, Vec<f64>) =
                    numbers.iter().map(of).map(|x| (x.t, x.weight)).unzip();
                let at = Lanes { t: &t, sample: &numbers };
                residual(process, &mut score, x0, noise, at, &mut r)?;
                let mut squares = vec![0.0; t.len()];
                r.add_squared_norm(&mut squares);
                sum += squares.iter().zip(&weights).map(|(s, w)| s * w).sum::<f64>();
            }
        }
        let nats = sum / (self.n * TIMES) as f64 + self.constant;
        Ok(self.levels.map_or(nats / self.d as f64, |levels| levels.bits_per_dim(-nats, self.d)))
    }
}
