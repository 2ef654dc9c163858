//! Images to learn from, in memory: levels as bytes, or numbers.

use models::Batch;
use models::tch::Device;
use sde_core::Noise;
use sde_core::levels::Levels;

use super::config::{DataConfig, TrainConfig};
use super::error::{Result, TrainError};
use crate::data::{self, Data, Images};

/// Steps of the keyed noise: what a draw is for. `batches` has the others.
const DEQUANTISE: u32 = 0;
const NOISE: u32 = 1;

/// Images of one shape.
#[derive(Clone, Debug)]
pub struct Examples {
    shape: [i64; 3],
    values: Values,
}

/// Image after image.
#[derive(Clone, Debug)]
enum Values {
    Integers(Vec<u8>, Levels),
    /// In model coordinates.
    Floats(Vec<f64>),
}

impl Examples {
    /// The training and the validation images.
    ///
    /// # Errors
    /// Data that cannot be read, or images of two shapes.
    pub fn load(config: &TrainConfig) -> Result<(Self, Self)> {
        let train = Self::read(&config.data.train, &config.data)?;
        let validation = Self::read(&config.data.validation, &config.data)?;
        if validation.shape != train.shape || validation.levels() != train.levels() {
            let what = |e: &Self| match e.levels() {
                Some(levels) => format!("images {:?} of {levels} levels", e.shape),
                None => format!("numbers {:?}", e.shape),
            };
            let (found, expected) = (what(&validation), what(&train));
            return Err(TrainError::Entry { key: "data.validation".into(), found, expected });
        }
        Ok((train, validation))
    }

    fn read(source: &str, config: &DataConfig) -> Result<Self> {
        let data = match data::digits_named(source) {
            Some(part) => Data::Levels(part.images),
            None => data::load(source)?,
        };
        match data {
            Data::Levels(images) => match config.levels {
                Some(levels) => Self::of_levels(&images.with_levels(levels)?),
                None => Self::of_levels(&images),
            },
            Data::Float(array) => match *array.shape() {
                [_, c, h, w] => Ok(Self {
                    shape: [c as i64, h as i64, w as i64],
                    values: Values::Floats(array.iter().copied().collect()),
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
        let values = images.pixels().iter().copied().collect();
        Ok(Self {
            shape: [c as i64, h as i64, w as i64],
            values: Values::Integers(values, Levels::new(images.levels())?),
        })
    }

    /// Channels, height, width.
    pub fn shape(&self) -> [i64; 3] {
        self.shape
    }

    /// Numbers of one image.
    pub fn dim(&self) -> usize {
        self.shape.iter().map(|&n| usize::try_from(n).unwrap_or(0)).product()
    }

    /// How many images.
    pub fn len(&self) -> usize {
        let values = match &self.values {
            Values::Integers(values, _) => values.len(),
            Values::Floats(values) => values.len(),
        };
        values / self.dim().max(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Levels of the data, if they are integers.
    pub fn levels(&self) -> Option<u32> {
        match self.values {
            Values::Integers(_, levels) => Some(levels.count()),
            Values::Floats(_) => None,
        }
    }

    /// These images in model coordinates, dequantised with the noise of `samples`.
    ///
    /// # Errors
    /// No memory.
    pub fn points(&self, noise: &Noise, rows: &[usize], samples: &[u64]) -> Result<Batch> {
        let d = self.dim();
        let mut points = Vec::with_capacity(rows.len() * d);
        let mut u = vec![0.0; d];
        for (&row, &sample) in rows.iter().zip(samples) {
            let image = row * d..(row + 1) * d;
            match &self.values {
                Values::Integers(values, levels) => {
                    noise.uniform(sample, DEQUANTISE, &mut u);
                    let pixels = values[image].iter().zip(&u);
                    points.extend(pixels.map(|(&k, u)| levels.dequantise(k.into(), *u)));
                }
                Values::Floats(values) => points.extend(&values[image]),
            }
        }
        self.batch_of(&points, rows.len())
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
}
