//! The variational bound (M4) on held-out images, with the same times and noise at every look, so that two looks differ
//! by the network alone. Each time of an image has a noise of its own: with one for all, the fluctuation of |ε|² would not
//! average out and shift every look by some hundredths of a bit.

use models::{Batch, Description, Network, NetworkScore};
use score_match::{TimeLaw, Weighting, bound, residual};
use sde_core::levels::Levels;
use sde_core::{Lanes, Noise, Purpose, State};

use super::config::TrainConfig;
use super::error::Result;
use super::examples::Examples;

/// Times at which each image is seen.
const TIMES: usize = 32;
/// Images of one evaluation.
const CHUNK: usize = 128;

/// Held-out images, dequantised.
#[derive(Debug)]
pub struct Validation {
    x0: Vec<Batch>,
    examples: Examples,
    source: Noise,
    constant: f64,
}

impl Validation {
    /// Dequantises the images.
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
        let (mut x0, mut square) = (Vec::new(), 0.0);
        for chunk in rows.chunks(CHUNK) {
            let samples: Vec<u64> = chunk.iter().map(|&i| i as u64).collect();
            let points = examples.points(&source, chunk, &samples)?;
            let mut squares = vec![0.0; chunk.len()];
            points.add_squared_norm(&mut squares);
            square += squares.iter().sum::<f64>();
            x0.push(points);
        }
        let span = (description.t_min, description.process.end());
        let square = square / rows.len() as f64;
        let constant = bound::constant(&*description.process, span, square, examples.dim());
        Ok(Self { x0, examples, source, constant })
    }

    /// The bound in bits/dim, or in nats/dim for data without levels.
    ///
    /// # Errors
    /// Those of the network.
    pub fn bound(&self, network: &dyn Network, description: &Description) -> Result<f64> {
        let process = &*description.process;
        let span = (description.t_min, process.end());
        let law = TimeLaw::LogSnr.on(process, Weighting::Likelihood, span)?;
        let mut score = NetworkScore::new(network, description);
        let n = self.examples.len();
        let mut sum = 0.0;
        for (c, x0) in self.x0.iter().enumerate() {
            let numbers: Vec<u64> = (0..x0.samples()).map(|i| (c * CHUNK + i) as u64).collect();
            let mut r = x0.zeros_like();
            for j in 0..TIMES {
                // Image i is seen at strata with an offset of its own: all together they are n·TIMES strata.
                let of = |&i: &u64| law.at((j as f64 + (i as f64 + 0.5) / n as f64) / TIMES as f64);
                let (t, weights): (Vec<f64>, Vec<f64>) =
                    numbers.iter().map(of).map(|x| (x.t, x.weight)).unzip();
                let keys: Vec<u64> = numbers.iter().map(|i| i + (n * (j + 1)) as u64).collect();
                let noise = self.examples.noise(&self.source, &keys)?;
                let at = Lanes { t: &t, sample: &numbers };
                residual(process, &mut score, x0, &noise, at, &mut r)?;
                let mut squares = vec![0.0; t.len()];
                r.add_squared_norm(&mut squares);
                sum += squares.iter().zip(&weights).map(|(s, w)| s * w).sum::<f64>();
            }
        }
        self.per_dim(sum / (n * TIMES) as f64 + self.constant)
    }

    fn per_dim(&self, nats: f64) -> Result<f64> {
        let d = self.examples.dim();
        let levels = self.examples.levels().map(Levels::new).transpose()?;
        Ok(levels.map_or(nats / d as f64, |levels| levels.bits_per_dim(-nats, d)))
    }
}
