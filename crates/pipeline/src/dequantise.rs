//! From integer images to points of a density model: `y = 2(k + u)/L − 1`, one row per image.

use crate::data::{DataError, Images};
use ndarray::Array2;
use sde_core::levels::Levels;
use sde_core::{Noise, Purpose, State};

/// Uniformly dequantised images as the rows of an (N, C·H·W) matrix; `u` of image i is keyed by (seed, i).
///
/// # Errors
/// [`DataError::Levels`] for images of fewer than 2 levels.
pub fn dequantise(images: &Images, seed: u64) -> Result<Array2<f64>, DataError> {
    let found = images.levels();
    let levels = Levels::new(found).map_err(|_| DataError::Levels { found })?;
    let pixels = images.pixels();
    let (n, d) = (pixels.dim().0, pixels.len() / pixels.dim().0.max(1));
    let noise = Noise::new(seed, Purpose::Dequantisation);
    let mut points = Array2::<f64>::zeros((n, d));
    points.fill_rows(|i, row| noise.uniform(i as u64, 0, row));
    for (y, &k) in points.iter_mut().zip(pixels) {
        *y = levels.dequantise(u32::from(k), *y);
    }
    Ok(points)
}
