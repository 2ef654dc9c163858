//! Data of a command line as points of a density model.

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use ndarray::{ArrayD, IxDyn};
use ode_solvers::LogLikelihood;
use pipeline::cli::Usage;
use pipeline::data::{self, Data, Images, digits_named};
use pipeline::dequantise::{self, Law, draw_points, importance};
use sde_core::levels::Levels;

/// Data before they are points.
pub(crate) struct Source {
    data: Data,
    /// The position of each sample in its data file: the key of its dequantisation.
    numbers: Vec<usize>,
    /// Whether the number of levels is known, rather than that of a byte.
    exact: bool,
}

/// Points `[N, …]` in model coordinates.
#[derive(Debug)]
pub(crate) struct Points {
    pub(crate) x: ArrayD<f64>,
    /// L, for bits per dimension.
    pub(crate) levels: Option<Levels>,
    /// Whether the points are integer data with noise.
    pub(crate) dequantised: bool,
    /// Rows of `x` for each sample, one after the other.
    pub(crate) draws: usize,
    /// The logarithm of the density of the noise of each row, in units of bins; empty for floats.
    pub(crate) log_r: Vec<f64>,
}

impl Points {
    /// The likelihoods of samples from those of some rows: what the draws of each say together.
    pub(crate) fn of_samples(
        &self,
        found: Vec<LogLikelihood>,
        rows: Range<usize>,
    ) -> Vec<LogLikelihood> {
        if !self.dequantised {
            return found;
        }
        let log_r = self.log_r[rows].chunks(self.draws);
        found.chunks(self.draws).zip(log_r).map(|(found, log_r)| importance(found, log_r)).collect()
    }
}

/// The noise that `--dequantise` asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Dequantise {
    None,
    Uniform,
    TruncatedNormal,
    /// Uniform, so many times.
    Importance(u32),
}

impl std::str::FromStr for Dequantise {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            "expected none, uniform, truncated-normal, or importance:K with K from 2 to 65536";
        match text {
            "none" => Ok(Self::None),
            "uniform" => Ok(Self::Uniform),
            "truncated-normal" => Ok(Self::TruncatedNormal),
            _ => match text.strip_prefix("importance:").map(str::parse) {
                Some(Ok(k)) if (2..=65_536).contains(&k) => Ok(Self::Importance(k)),
                _ => Err(expected.into()),
            },
        }
    }
}

impl Source {
    /// Reads what `--data` names: a file, a directory of images, or a part of the compiled-in digits.
    ///
    /// # Errors
    /// Data that cannot be read.
    pub(crate) fn read(name: &str) -> Result<Self, Box<dyn Error>> {
        if let Some(part) = digits_named(name) {
            return Ok(Self {
                data: Data::Levels(part.images),
                numbers: part.indices,
                exact: true,
            });
        }
        if name.starts_with("digits:") {
            let expected = "digits:train, digits:validation or digits:test";
            return Err(Usage(format!("found --data {name}, expected {expected}")).into());
        }
        let data = data::load(Path::new(name))?;
        let numbers = match &data {
            Data::Levels(images) => (0..images.pixels().dim().0).collect(),
            _ => Vec::new(),
        };
        Ok(Self { data, numbers, exact: false })
    }

    /// Shape of a sample.
    pub(crate) fn sample_shape(&self) -> Vec<usize> {
        match &self.data {
            Data::Levels(images) => images.pixels().shape()[1..].to_vec(),
            Data::Float(x) => x.shape()[1..].to_vec(),
            _ => Vec::new(),
        }
    }

    /// The points: integer data with noise, uniform unless the command line says otherwise, and floats as they are. `levels` is
    /// that of the command line, `known` the model's; `ratio` is σ/α where the model's density is taken.
    ///
    /// # Errors
    /// A dequantisation that does not suit the data; levels that are too few, or other than the model's.
    pub(crate) fn points(
        self,
        (dequantise, ratio): (Option<Dequantise>, f64),
        (levels, known): (Option<u32>, Option<u32>),
        seed: u64,
    ) -> Result<Points, Box<dyn Error>> {
        let images = match (self.data, dequantise) {
            (Data::Float(x), None | Some(Dequantise::None)) => {
                let levels = levels.or(known).map(Levels::new).transpose()?;
                return Ok(Points { x, levels, dequantised: false, draws: 1, log_r: Vec::new() });
            }
            (Data::Float(_), Some(_)) => {
                let text = "found --dequantise with noise, expected none: the data are floats";
                return Err(Usage(text.into()).into());
            }
            (Data::Levels(_), Some(Dequantise::None)) => {
                let text = "found --dequantise none, expected uniform: the data are integers";
                return Err(Usage(text.into()).into());
            }
            (Data::Levels(images), _) => images,
            _ => return Err("the data are of a kind that has no likelihood here".into()),
        };
        let own = self.exact.then_some(images.levels());
        let images = with_levels(images, levels, known, own)?;
        let noise = match dequantise {
            Some(Dequantise::TruncatedNormal) => (Law::of_noise(ratio, images.levels())?, 1),
            Some(Dequantise::Importance(draws)) => (Law::Uniform, draws),
            _ => (Law::Uniform, 1),
        };
        let dequantise::Points { x, log_r } = draw_points(&images, &self.numbers, seed, noise);
        let shape: Vec<usize> = [&[x.nrows()][..], &images.pixels().shape()[1..]].concat();
        let x = x.into_shape_with_order(IxDyn(&shape))?;
        let levels = Some(Levels::new(images.levels())?);
        Ok(Points { x, levels, dequantised: true, draws: noise.1 as usize, log_r })
    }
}

impl Source {
    /// The data as states of the flow: integer data at the middles of their levels, floats as they are. `known` is the
    /// number of levels of the model.
    ///
    /// # Errors
    /// Levels that are too few, or other than the model's.
    pub(crate) fn states(self, known: Option<u32>) -> Result<ArrayD<f64>, Box<dyn Error>> {
        match self.data {
            Data::Float(x) => Ok(x),
            Data::Levels(images) => {
                let own = self.exact.then_some(images.levels());
                Ok(with_levels(images, None, known, own)?.midpoints().into_dyn())
            }
            _ => Err("the data are of a kind that the flow does not carry".into()),
        }
    }
}

/// The images with the levels of the command line, or the model's, or their own. A file of bytes cannot say how many
/// levels it uses; where that is known, the model must agree.
fn with_levels(
    images: Images,
    given: Option<u32>,
    known: Option<u32>,
    own: Option<u32>,
) -> Result<Images, Box<dyn Error>> {
    if let (None, Some(known), Some(own)) = (given, known, own)
        && known != own
    {
        return Err(format!("the data have {own} levels, expected {known} as the model has").into());
    }
    match given.or(known) {
        Some(levels) => Ok(images.with_levels(levels)?),
        None => Ok(images),
    }
}
