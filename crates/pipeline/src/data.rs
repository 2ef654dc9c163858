//! Data sets come in two kinds, and the difference matters for likelihoods.
//!
//! *Levels* are integers k = 0…L−1, one per pixel and channel: a picture file, MNIST, the digits. A density model needs
//! real numbers, so a level stands for an interval of model coordinates,
//!
//! ```text
//! y = 2 (k + u) / L − 1,   0 ≤ u < 1
//! ```
//!
//! where u is dequantisation noise and y fills `[−1, 1)`. *Floats* are model coordinates already.
//!
//! [`load`] reads either kind from disk; [`digits`] is compiled in; a [`stream::Stream`] leaves rows where they are until
//! they are wanted; [`toy`] has laws in the plane. All images are NCHW: sample, channel, row, column.
//! A reader allocates what the file really holds, never what a header promises.

pub mod cifar;
mod digits;
mod error;
pub mod folder;
pub mod idx;
pub mod npy;
pub mod pictures;
pub mod records;
pub mod safetensors;
pub mod stream;
pub mod toy;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use ndarray::{Array4, ArrayD, ArrayView4};
use sde_core::levels::dequantise;

pub use digits::{Digits, Labelled, digits, digits_named};
pub use error::DataError;

/// The levels of a byte, which is what a picture has unless its source says otherwise.
pub const BYTE_LEVELS: u32 = 256;

/// What a file or a directory held.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Data {
    /// Integer levels, `[N, C, H, W]`.
    Levels(Images),
    /// Model coordinates, `[N, D]` or `[N, C, H, W]`, every number finite.
    Float(ArrayD<f64>),
}

/// Images of integer levels 0…L−1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    pixels: Array4<u8>,
    levels: u32,
}

impl Images {
    /// Images `[N, C, H, W]` whose pixels take `levels` values, 2 to 256.
    ///
    /// # Errors
    /// [`DataError::Levels`] for another number of levels, [`DataError::Level`] for a pixel at or above it.
    pub fn new(pixels: Array4<u8>, levels: u32) -> Result<Self, DataError> {
        if !(2..=BYTE_LEVELS).contains(&levels) {
            return Err(DataError::Levels { found: levels });
        }
        let above = pixels.indexed_iter().find(|&(_, &k)| u32::from(k) >= levels);
        match above {
            Some(((index, ..), &found)) => Err(DataError::Level { index, found, levels }),
            None => Ok(Self { pixels, levels }),
        }
    }

    /// The same images, counted as having `levels` levels: a file of bytes cannot say that it uses fewer than 256.
    ///
    /// # Errors
    /// As [`Images::new`].
    pub fn with_levels(self, levels: u32) -> Result<Self, DataError> {
        Self::new(self.pixels, levels)
    }

    /// The levels of all pixels, `[N, C, H, W]`.
    pub fn pixels(&self) -> ArrayView4<'_, u8> {
        self.pixels.view()
    }

    /// L: pixels are 0…L−1.
    pub fn levels(&self) -> u32 {
        self.levels
    }

    /// The middle of each pixel's interval in model coordinates, `y = (2k + 1)/L − 1`; for pictures and for models that
    /// do not dequantise.
    pub fn midpoints(&self) -> Array4<f64> {
        self.pixels.mapv(|k| dequantise(self.levels, k.into(), 0.5))
    }
}

/// Reads a data set from `path`: a directory of images, `.npy`, `.safetensors` (its tensor `data` or `samples`), `.idx`,
/// `.gz` (an IDX file), or a file without such an extension that starts like an IDX file, as MNIST's
/// `train-images-idx3-ubyte` does.
///
/// # Errors
/// One [`DataError`] per way in which the input can be wrong.
pub fn load(path: impl AsRef<Path>) -> Result<Data, DataError> {
    let path = path.as_ref();
    let metadata = fs::metadata(path).map_err(|cause| DataError::io(path, cause))?;
    if metadata.is_dir() {
        return folder::images(path).map(Data::Levels);
    }
    let extension = path.extension().map(OsStr::to_ascii_lowercase);
    match extension.as_ref().and_then(|e| e.to_str()) {
        Some("npy") => npy::data(path),
        Some("safetensors") => safetensors::data(path),
        Some("idx" | "gz") => idx::images(path).map(Data::Levels),
        _ if idx::recognises(&first_bytes(path)?) => idx::images(path).map(Data::Levels),
        _ => Err(DataError::UnknownFormat { path: path.into() }),
    }
}

/// Reads an array of numbers of any shape, every one finite: `.safetensors` (its tensor `key`) or `.npy`.
///
/// # Errors
/// As [`load`]; integers where numbers are wanted.
pub fn array(path: impl AsRef<Path>, key: &str) -> Result<ArrayD<f64>, DataError> {
    let path = path.as_ref();
    let is = |wanted| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(wanted));
    let stored = if is("safetensors") {
        safetensors::read(path, &[key])?
    } else if is("npy") {
        npy::read(path)?
    } else {
        return Err(DataError::ArrayFormat { path: path.into() });
    };
    match stored {
        npy::Npy::F64(array) => npy::finite(path, array),
        npy::Npy::U8(_) => Err(DataError::Integers { path: path.into() }),
    }
}

/// Reads the class of each sample, one byte for each: IDX labels, or `.npy` of unsigned bytes `[N]`.
///
/// # Errors
/// As [`load`]; another shape.
pub fn labels(path: impl AsRef<Path>) -> Result<Vec<u8>, DataError> {
    let path = path.as_ref();
    if path.extension().is_none_or(|e| !e.eq_ignore_ascii_case("npy")) {
        return idx::labels(path);
    }
    match npy::read(path)? {
        npy::Npy::U8(array) if array.ndim() == 1 => Ok(array.into_iter().collect()),
        npy::Npy::U8(array) => {
            let found = array.shape().to_vec();
            Err(DataError::Shape { path: path.into(), found, expected: "[N]" })
        }
        npy::Npy::F64(_) => {
            let (found, expected) = ("floats".into(), "unsigned bytes");
            Err(DataError::Kind { path: path.into(), found, expected })
        }
    }
}

/// Up to four bytes from the start of a file.
fn first_bytes(path: &Path) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|cause| DataError::io(path, cause))
}

/// `[N, C, H, W]` for the shape of a file, `[N, H, W]` being one channel.
fn nchw(path: &Path, shape: &[usize]) -> Result<[usize; 4], DataError> {
    let (n, c, h, w) = match *shape {
        [n, h, w] => (n, 1, h, w),
        [n, c, h, w] => (n, c, h, w),
        _ => {
            let expected = "[N, H, W] or [N, C, H, W]";
            return Err(DataError::Shape { path: path.into(), found: shape.into(), expected });
        }
    };
    if shape.contains(&0) {
        return Err(DataError::Empty { path: path.into(), shape: shape.into() });
    }
    Ok([n, c, h, w])
}

/// The number of elements of `size` bytes in an array of `shape`, in bytes.
fn byte_count(path: &Path, shape: &[usize], size: u64) -> Result<u64, DataError> {
    let product = shape.iter().try_fold(size, |bytes, &n| bytes.checked_mul(n as u64));
    product.ok_or_else(|| DataError::TooLarge { path: path.into(), shape: shape.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn midpoints_are_the_middle_of_each_interval() {
        let pixels = Array4::from_shape_vec((1, 1, 1, 3), vec![0, 8, 16]).unwrap();
        let y = Images::new(pixels, 17).unwrap().midpoints();
        for (found, expected) in y.iter().zip([-16.0 / 17.0, 0.0, 16.0 / 17.0]) {
            assert!((*found - expected).abs() <= 1e-15);
        }
    }

    #[test]
    fn a_level_out_of_range_is_refused_with_its_image() {
        let pixels = Array4::from_shape_fn((3, 1, 2, 2), |(n, ..)| 8 * n as u8);
        let images = Images::new(pixels, 17).unwrap();
        assert_eq!(
            images.clone().with_levels(16).unwrap_err().to_string(),
            "image 2 holds the level 16, expected levels below 16"
        );
        for levels in [0, 1, 257] {
            let message = images.clone().with_levels(levels).unwrap_err().to_string();
            assert_eq!(message, format!("the number of levels is {levels}, expected 2 to 256"));
        }
    }
}
