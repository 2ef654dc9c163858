//! Data of a command line as points of a density model.

use std::error::Error;
use std::path::Path;

use ndarray::{ArrayD, IxDyn};
use pipeline::cli::Usage;
use pipeline::data::{self, Data, Images, digits_named};
use pipeline::dequantise::dequantise_images;
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

    /// The points: integer data with uniform noise, floats as they are. `levels` is that of the command line, `known` the
    /// model's.
    ///
    /// # Errors
    /// A dequantisation that does not suit the data; levels that are too few, or other than the model's.
    pub(crate) fn points(
        self,
        dequantise: Option<&str>,
        (levels, known): (Option<u32>, Option<u32>),
        seed: u64,
    ) -> Result<Points, Box<dyn Error>> {
        match (self.data, dequantise) {
            (Data::Float(_), Some("uniform")) => {
                let text = "found --dequantise uniform, expected none: the data are floats";
                Err(Usage(text.into()).into())
            }
            (Data::Float(x), _) => {
                let levels = levels.or(known).map(Levels::new).transpose()?;
                Ok(Points { x, levels, dequantised: false })
            }
            (Data::Levels(_), Some("none")) => {
                let text = "found --dequantise none, expected uniform: the data are integers";
                Err(Usage(text.into()).into())
            }
            (Data::Levels(images), _) => {
                let own = self.exact.then_some(images.levels());
                let images = with_levels(images, levels, known, own)?;
                let shape = images.pixels().shape().to_vec();
                let x = dequantise_images(&images, &self.numbers, seed);
                let x = x.into_shape_with_order(IxDyn(&shape))?;
                let levels = Some(Levels::new(images.levels())?);
                Ok(Points { x, levels, dequantised: true })
            }
            _ => Err("the data are of a kind that has no likelihood here".into()),
        }
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
