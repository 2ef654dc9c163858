//! The variational bound (M4) on held-out data, with the same times and noise at every look, so that two looks differ
//! by the network alone. Each time of a sample has a noise of its own: with one for all, the fluctuation of |ε|² would not
//! average out and shift every look by some hundredths of a bit.

use std::collections::BTreeMap;

use models::tch::Device;
use models::{Batch, Description, Network, NetworkScore};
use ndarray::Array2;
use score_match::{TimeLaw, Weighting, bound, residual};
use sde_core::levels::Levels;
use sde_core::{Lanes, Noise, Purpose, State};

use super::config::TrainConfig;
use super::error::Result;
use super::examples::Examples;

/// Times at which each sample is seen.
const TIMES: usize = 32;
/// Samples of one evaluation.
const CHUNK: usize = 128;

/// Held-out samples, dequantised.
#[derive(Debug)]
pub struct Validation {
    chunks: Vec<Chunk>,
    examples: Examples,
    source: Noise,
    constant: f64,
}

/// Samples of one class that the network sees together.
#[derive(Debug)]
struct Chunk {
    class: Option<i64>,
    rows: Vec<usize>,
    x0: Batch,
}

impl Validation {
    /// Dequantises the data.
    ///
    /// # Errors
    /// Data that cannot be read; no memory.
    pub fn new(
        config: &TrainConfig,
        description: &Description,
        examples: Examples,
    ) -> Result<Self> {
        let source = Noise::new(config.seed, Purpose::Dequantisation);
        let mut classes: BTreeMap<Option<i64>, Vec<usize>> = BTreeMap::new();
        for row in 0..examples.len() {
            let class = config.classes().and_then(|_| examples.class(row));
            classes.entry(class).or_default().push(row);
        }
        let (mut chunks, mut square) = (Vec::new(), 0.0);
        for (class, rows) in classes {
            for rows in rows.chunks(CHUNK) {
                let samples: Vec<u64> = rows.iter().map(|&i| i as u64).collect();
                let points = examples.points(&source, rows, &samples)?;
                square += points.iter().map(|x| x * x).sum::<f64>();
                let x0 = batch(&points, examples.shape())?;
                chunks.push(Chunk { class, rows: rows.to_vec(), x0 });
            }
        }
        let span = (description.t_min, description.process.end());
        let square = square / examples.len() as f64;
        let constant = bound::constant(&*description.process, span, square, examples.dim());
        Ok(Self { chunks, examples, source, constant })
    }

    /// The bound in bits/dim, or in nats/dim for data without levels.
    ///
    /// # Errors
    /// Those of the network.
    pub fn bound(&self, network: &dyn Network, description: &Description) -> Result<f64> {
        let mut sum = 0.0;
        for chunk in &self.chunks {
            let mut score = NetworkScore::new(network, description).of_class(chunk.class);
            sum += self.sum(chunk, &mut score, description)?;
        }
        self.per_dim(sum / (self.examples.len() * TIMES) as f64 + self.constant)
    }

    /// The terms of a chunk at all times.
    fn sum(
        &self,
        chunk: &Chunk,
        score: &mut NetworkScore<'_>,
        description: &Description,
    ) -> Result<f64> {
        let process = &*description.process;
        let span = (description.t_min, process.end());
        let law = TimeLaw::LogSnr.on(process, Weighting::Likelihood, span)?;
        let n = self.examples.len();
        let mut r = chunk.x0.zeros_like();
        let numbers: Vec<u64> = chunk.rows.iter().map(|&i| i as u64).collect();
        let mut sum = 0.0;
        for j in 0..TIMES {
            // Sample i is seen at strata with an offset of its own: all together they are n·TIMES strata.
            let of = |&i: &u64| law.at((j as f64 + (i as f64 + 0.5) / n as f64) / TIMES as f64);
            let (t, weights): (Vec<f64>, Vec<f64>) =
                numbers.iter().map(of).map(|x| (x.t, x.weight)).unzip();
            let keys: Vec<u64> = numbers.iter().map(|i| i + (n * (j + 1)) as u64).collect();
            let noise = batch(&self.examples.noise(&self.source, &keys), self.examples.shape())?;
            let at = Lanes { t: &t, sample: &numbers };
            residual(process, score, &chunk.x0, &noise, at, &mut r)?;
            let mut squares = vec![0.0; t.len()];
            r.add_squared_norm(&mut squares);
            sum += squares.iter().zip(&weights).map(|(s, w)| s * w).sum::<f64>();
        }
        Ok(sum)
    }

    fn per_dim(&self, nats: f64) -> Result<f64> {
        let d = self.examples.dim();
        let levels = self.examples.levels().map(Levels::new).transpose()?;
        Ok(levels.map_or(nats / d as f64, |levels| levels.bits_per_dim(-nats, d)))
    }
}

/// Rows of numbers as samples of a shape.
///
/// # Errors
/// No memory.
pub fn batch(rows: &Array2<f64>, shape: &[i64]) -> Result<Batch> {
    let size: Vec<i64> =
        std::iter::once(rows.nrows() as i64).chain(shape.iter().copied()).collect();
    let values = rows.as_standard_layout();
    Ok(Batch::from_host(values.as_slice().unwrap_or_default(), &size, Device::Cpu)?)
}
