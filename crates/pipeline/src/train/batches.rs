//! What step k of a run sees: which images, dequantised how, at which times, under which noise.
//!
//! All of it is a function of (seed, k). Epoch e shows every image once, in an order of its own; step k takes the next B.
//! The draws of row i of step k are keyed by the number `k B + i`.

use models::Batch;
use models::tch::Device;
use score_match::times::strata;
use sde_core::levels::Levels;
use sde_core::{Noise, Purpose};

use super::config::{DataConfig, TrainConfig};
use super::error::{Result, TrainError};
use crate::data::{self, Data, Images};

/// Steps of the keyed noise: what a draw is for.
const DEQUANTISE: u32 = 0;
const NOISE: u32 = 1;
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

/// The data of a name: a part of the compiled-in digits, or a path.
fn named(source: &str) -> Result<Data> {
    let digits = data::digits();
    Ok(match source {
        "digits:train" => Data::Levels(digits.train.images),
        "digits:validation" => Data::Levels(digits.validation.images),
        "digits:test" => Data::Levels(digits.test.images),
        path => data::load(path)?,
    })
}

/// Images in memory: levels, or numbers.
#[derive(Clone, Debug)]
pub struct Examples {
    /// Levels as numbers, or model coordinates; image after image.
    values: Vec<f64>,
    shape: [i64; 3],
    levels: Option<Levels>,
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
    /// The training and the validation images.
    ///
    /// # Errors
    /// Data that cannot be read, or images of two shapes.
    pub fn load(config: &TrainConfig) -> Result<(Self, Self)> {
        let train = Self::read(&config.data.train, &config.data)?;
        let validation = Self::read(&config.data.validation, &config.data)?;
        if validation.shape != train.shape || validation.levels != train.levels {
            let what = |e: &Self| format!("{:?} with {:?}", e.shape, e.levels);
            let (found, expected) = (what(&validation), what(&train));
            return Err(TrainError::Entry { key: "data.validation".into(), found, expected });
        }
        Ok((train, validation))
    }

    fn read(source: &str, config: &DataConfig) -> Result<Self> {
        match named(source)? {
            Data::Levels(images) => match config.levels {
                Some(levels) => Self::of_levels(&images.with_levels(levels)?),
                None => Self::of_levels(&images),
            },
            Data::Float(array) => match *array.shape() {
                [_, c, h, w] => Ok(Self {
                    shape: [c as i64, h as i64, w as i64],
                    values: array.iter().copied().collect(),
                    levels: None,
                }),
                ref other => Err(TrainError::Entry {
                    key: source.into(),
                    found: format!("an array of the shape {other:?}"),
                    expected: "[N, C, H, W]".into(),
                }),
            },
        }
    }

    fn of_levels(images: &Images) -> Result<Self> {
        let (_, c, h, w) = images.pixels().dim();
        Ok(Self {
            values: images.pixels().iter().map(|&k| f64::from(k)).collect(),
            shape: [c as i64, h as i64, w as i64],
            levels: Some(Levels::new(images.levels())?),
        })
    }

    /// Channels, height, width.
    pub fn shape(&self) -> [i64; 3] {
        self.shape
    }

    /// Numbers of one image.
    pub fn dim(&self) -> usize {
        self.shape.iter().map(|&n| n as usize).product()
    }

    /// How many images.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim().max(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Levels of the data, if they are integers.
    pub fn levels(&self) -> Option<u32> {
        self.levels.map(Levels::count)
    }

    /// These images in model coordinates, dequantised with the noise of `samples`.
    ///
    /// # Errors
    /// No memory.
    pub fn points(&self, noise: &Noise, rows: &[usize], samples: &[u64]) -> Result<Batch> {
        let d = self.dim();
        let mut values = Vec::with_capacity(rows.len() * d);
        let mut u = vec![0.0; d];
        for (&row, &sample) in rows.iter().zip(samples) {
            let image = &self.values[row * d..(row + 1) * d];
            match self.levels {
                Some(levels) => {
                    noise.uniform(sample, DEQUANTISE, &mut u);
                    values.extend(
                        image.iter().zip(&u).map(|(k, u)| levels.dequantise(*k as u32, *u)),
                    );
                }
                None => values.extend(image),
            }
        }
        self.batch_of(&values, rows.len())
    }

    /// ε of `samples`.
    ///
    /// # Errors
    /// No memory.
    pub fn noise(&self, noise: &Noise, samples: &[u64]) -> Result<Batch> {
        let d = self.dim();
        let mut values = vec![0.0; samples.len() * d];
        for (row, &sample) in values.chunks_exact_mut(d.max(1)).zip(samples) {
            noise.normal(sample, NOISE, row);
        }
        self.batch_of(&values, samples.len())
    }

    fn batch_of(&self, values: &[f64], n: usize) -> Result<Batch> {
        let [c, h, w] = self.shape;
        Ok(Batch::from_host(values, &[n as i64, c, h, w], Device::Cpu)?)
    }

    /// What step k sees.
    ///
    /// # Errors
    /// A law of times that the process does not have; no memory.
    pub fn batch(
        &self,
        config: &TrainConfig,
        description: &models::Description,
        k: u64,
    ) -> Result<Noised> {
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
