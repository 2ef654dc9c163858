//! What is learnt from: images or points of one shape, each known by its row, from memory, from files or without end.
//!
//! A row becomes a point in model coordinates by noise that is keyed by the sample's number: dequantisation of integers,
//! and the side from which an image is seen.

use std::path::Path;

use ndarray::Array2;
use sde_core::Noise;
use sde_core::levels::Levels;

use super::config::{DataConfig, TrainConfig};
use super::error::{Result, TrainError};
use crate::data::stream::Stream;
use crate::data::toy::Toy;
use crate::data::{self, Data, Images};

/// Steps of the keyed noise: what a draw is for. `batches` has the others.
const DEQUANTISE: u32 = 0;
const NOISE: u32 = 1;
const FLIP: u32 = 5;
/// Points of a law, to learn from and to choose by; each takes two steps.
const TOY: [u32; 2] = [8, 10];

/// Points of a law that choose between checkpoints.
const HELD_OUT: usize = 2000;

/// Samples of one shape.
#[derive(Debug)]
pub struct Examples {
    shape: Vec<i64>,
    values: Values,
    levels: Option<Levels>,
    /// The class of each row.
    labels: Option<Vec<u8>>,
    flip: bool,
}

/// Row after row.
#[derive(Debug)]
enum Values {
    Bytes(Vec<u8>),
    /// In model coordinates.
    Floats(Vec<f64>),
    Stream(Stream),
    /// A law, the step of its noise, and how many rows there are; without, a row is never seen again.
    Toy(Toy, u32, Option<usize>),
}

impl Examples {
    /// The training and the validation data; what was left out of them is said to `note`.
    ///
    /// # Errors
    /// Data that cannot be read, or of two shapes.
    pub fn load(config: &TrainConfig, note: &mut dyn FnMut(String)) -> Result<(Self, Self)> {
        let data = &config.data;
        let mut train = Self::read(&data.train, data, data.train_labels.as_deref(), note)?;
        let mut validation =
            Self::read(&data.validation, data, data.validation_labels.as_deref(), note)?;
        if let Values::Toy(_, draw, len) = &mut validation.values {
            (*draw, *len) = (TOY[1], Some(HELD_OUT));
        }
        if validation.shape != train.shape || validation.levels() != train.levels() {
            let what = |e: &Self| match e.levels() {
                Some(levels) => format!("images {:?} of {levels} levels", e.shape),
                None => format!("numbers {:?}", e.shape),
            };
            let (found, expected) = (what(&validation), what(&train));
            return Err(TrainError::Entry { key: "data.validation".into(), found, expected });
        }
        train.flip = data.flip;
        if data.flip && train.shape.len() != 3 {
            let found = format!("true for samples of the shape {:?}", train.shape);
            let expected = "images [C, H, W]".into();
            return Err(TrainError::Entry { key: "data.flip".into(), found, expected });
        }
        train.check_classes("data.train_labels", config.classes())?;
        validation.check_classes("data.validation_labels", config.classes())?;
        Ok((train, validation))
    }

    fn read(
        source: &str,
        config: &DataConfig,
        labels: Option<&Path>,
        note: &mut dyn FnMut(String),
    ) -> Result<Self> {
        let mut read = Self::values(source, config, note)?;
        if let Some(path) = labels {
            read.labels = Some(data::labels(path)?);
        }
        if let (Some(labels), len) = (&read.labels, read.len())
            && labels.len() != len
        {
            let (found, expected) = (format!("{} labels", labels.len()), format!("{len}"));
            return Err(TrainError::Entry { key: source.into(), found, expected });
        }
        Ok(read)
    }

    fn values(source: &str, config: &DataConfig, note: &mut dyn FnMut(String)) -> Result<Self> {
        if let Some(name) = source.strip_prefix("toy:") {
            let key = || source.to_owned();
            let toy = name.parse().map_err(|what: String| TrainError::Law { key: key(), what })?;
            return Ok(Self::new(vec![2], Values::Toy(toy, TOY[0], None), None));
        }
        if let Some(part) = data::digits_named(source) {
            let labels = Some(part.labels);
            return Ok(Self { labels, ..Self::of_levels(&part.images, config.levels)? });
        }
        if config.stream || config.pictures.is_some() || data::cifar::names(source) {
            let options = config.pictures.map(Into::into);
            let stream = Stream::open(source, options, note)?;
            return Self::of_stream(stream, config);
        }
        match data::load(source)? {
            Data::Levels(images) => Self::of_levels(&images, config.levels),
            Data::Float(array) => {
                let shape = array.shape()[1..].iter().map(|&n| n as i64).collect();
                Ok(Self::new(shape, Values::Floats(array.iter().copied().collect()), None))
            }
        }
    }

    fn new(shape: Vec<i64>, values: Values, levels: Option<Levels>) -> Self {
        Self { shape, values, levels, labels: None, flip: false }
    }

    fn of_levels(images: &Images, levels: Option<u32>) -> Result<Self> {
        let images = match levels {
            Some(levels) => &images.clone().with_levels(levels)?,
            None => images,
        };
        let (_, c, h, w) = images.pixels().dim();
        let values = Values::Bytes(images.pixels().iter().copied().collect());
        let levels = Levels::new(images.levels())?;
        Ok(Self::new([c, h, w].map(|n| n as i64).into(), values, Some(levels)))
    }

    /// Images that stay where they are, or, where they are to be in memory, are read at once.
    fn of_stream(stream: Stream, config: &DataConfig) -> Result<Self> {
        let shape = stream.shape().iter().map(|&n| n as i64).collect();
        let levels = config.levels.unwrap_or(data::BYTE_LEVELS);
        let levels = stream.has_levels().then(|| Levels::new(levels)).transpose()?;
        let labels = stream.labels()?;
        let values = match levels {
            Some(_) if !config.stream => Values::Bytes(stream.read_all()?),
            _ => Values::Stream(stream),
        };
        Ok(Self { labels, ..Self::new(shape, values, levels) })
    }

    /// Refuses classes that a network of `n` cannot be told, and data without classes where it must be told.
    fn check_classes(&self, key: &str, n: Option<i64>) -> Result<()> {
        let Some(n) = n else { return Ok(()) };
        let refuse = |found: String, expected: String| {
            Err(TrainError::Entry { key: key.into(), found, expected })
        };
        match &self.labels {
            None => refuse("no labels".into(), format!("classes from 0 to {}", n - 1)),
            Some(labels) => match labels.iter().find(|&&label| i64::from(label) >= n) {
                Some(label) => refuse(label.to_string(), format!("classes from 0 to {}", n - 1)),
                None => Ok(()),
            },
        }
    }

    /// The shape of a sample: `[C, H, W]` or `[D]`.
    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// Numbers of one sample.
    pub fn dim(&self) -> usize {
        self.shape.iter().map(|&n| usize::try_from(n).unwrap_or(0)).product()
    }

    /// How many samples there are before one is seen again.
    pub fn len(&self) -> usize {
        let d = self.dim().max(1);
        match &self.values {
            Values::Bytes(values) => values.len() / d,
            Values::Floats(values) => values.len() / d,
            Values::Stream(stream) => stream.len(),
            Values::Toy(.., len) => len.unwrap_or(usize::MAX),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no sample is seen twice.
    pub fn is_endless(&self) -> bool {
        matches!(self.values, Values::Toy(.., None))
    }

    /// Levels of the data, if they are integers.
    pub fn levels(&self) -> Option<u32> {
        self.levels.map(Levels::count)
    }

    /// The class of a row, where the data have classes.
    pub fn class(&self, row: usize) -> Option<i64> {
        self.labels.as_ref().and_then(|labels| labels.get(row)).map(|&label| label.into())
    }

    /// The law, for data that are points of one.
    pub fn toy(&self) -> Option<Toy> {
        match self.values {
            Values::Toy(toy, ..) => Some(toy),
            _ => None,
        }
    }

    /// These rows in model coordinates, dequantised and turned with the noise of `samples`; `[rows, d]`.
    ///
    /// # Errors
    /// A file that can no longer be read.
    pub fn points(&self, noise: &Noise, rows: &[usize], samples: &[u64]) -> Result<Array2<f64>> {
        let mut points = Array2::zeros((rows.len(), self.dim()));
        let mut u = vec![0.0; self.dim()];
        for ((&row, &sample), mut point) in rows.iter().zip(samples).zip(points.outer_iter_mut()) {
            let Some(point) = point.as_slice_mut() else { continue }; // never: rows are whole
            self.raw(noise, row, point)?;
            if let Some(levels) = &self.levels {
                noise.uniform(sample, DEQUANTISE, &mut u);
                let pixels = point.iter_mut().zip(&u);
                pixels.for_each(|(k, u)| *k = levels.dequantise(level(*k), *u));
            }
            if self.flip {
                self.turn(noise, sample, point);
            }
        }
        Ok(points)
    }

    /// Levels, or model coordinates, of a row.
    fn raw(&self, noise: &Noise, row: usize, out: &mut [f64]) -> Result<()> {
        let range = row * out.len()..(row + 1) * out.len();
        match &self.values {
            Values::Bytes(values) => {
                out.iter_mut().zip(&values[range]).for_each(|(x, &k)| *x = k.into());
            }
            Values::Floats(values) => out.copy_from_slice(&values[range]),
            Values::Stream(stream) => stream.read(row, out)?,
            Values::Toy(toy, draw, _) => out.copy_from_slice(&toy.point(noise, row as u64, *draw)),
        }
        Ok(())
    }

    /// Mirrors every other image, left to right.
    fn turn(&self, noise: &Noise, sample: u64, image: &mut [f64]) {
        let mut u = [0.0];
        noise.uniform(sample, FLIP, &mut u);
        let width = self.shape.last().and_then(|&w| usize::try_from(w).ok()).unwrap_or(1);
        if u[0] < 0.5 {
            image.chunks_exact_mut(width).for_each(<[f64]>::reverse);
        }
    }

    /// ε of `samples`, `[samples, d]`.
    pub fn noise(&self, noise: &Noise, samples: &[u64]) -> Array2<f64> {
        let mut values = Array2::zeros((samples.len(), self.dim()));
        for (mut row, &sample) in values.outer_iter_mut().zip(samples) {
            if let Some(row) = row.as_slice_mut() {
                noise.normal(sample, NOISE, row);
            }
        }
        values
    }
}

/// A whole number from 0 to 255 that is kept as f64.
#[expect(clippy::cast_sign_loss, reason = "levels are not negative")]
fn level(k: f64) -> u32 {
    k as u32 // exact
}
