//! From integer images to points of a density model: `y = 2(k + u)/L − 1`, one row per image.

use crate::data::{Images, Labelled};
use ndarray::Array2;
use sde_core::{Noise, Purpose, levels};

/// Uniformly dequantised images as the rows of an (N, C·H·W) matrix.
///
/// `u` of an image is keyed by the seed and its position in the data file, so that no two parts of a data set share it.
pub fn dequantise(part: &Labelled, seed: u64) -> Array2<f64> {
    dequantise_images(&part.images, &part.indices, seed)
}

/// As [`dequantise`], for images whose positions in their data file are `numbers`, one for each.
pub fn dequantise_images(images: &Images, numbers: &[usize], seed: u64) -> Array2<f64> {
    let noise = Noise::new(seed, Purpose::Dequantisation);
    let mut points = midpoints(images);
    let mut u = vec![0.0; points.ncols()];
    for ((mut row, &number), pixels) in
        points.outer_iter_mut().zip(numbers).zip(images.pixels().outer_iter())
    {
        noise.uniform(number as u64, 0, &mut u);
        for ((y, &k), u) in row.iter_mut().zip(pixels).zip(&u) {
            *y = levels::dequantise(images.levels(), k.into(), *u);
        }
    }
    points
}

/// Images at the middle of every pixel's bin, as the rows of an (N, C·H·W) matrix.
pub fn midpoints(images: &Images) -> Array2<f64> {
    let (n, c, h, w) = images.pixels().dim();
    let middle = images.midpoints();
    Array2::from_shape_fn((n, c * h * w), |(i, j)| middle[[i, j / (h * w), j / w % h, j % w]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::digits;

    #[test]
    fn points_lie_in_the_bins_of_their_pixels() {
        let part = digits().test;
        let levels = levels::Levels::new(17).unwrap();
        let points = dequantise(&part, 3);
        assert_eq!(points.dim(), (270, 64));
        for (y, &k) in points.iter().zip(part.images.pixels()) {
            assert_eq!(levels.quantise(*y), u32::from(k));
        }
    }

    #[test]
    fn parts_do_not_share_their_noise() {
        let digits = digits();
        let fraction = |part| {
            let x: Array2<f64> = dequantise(part, 0);
            (x[[0, 0]] + 1.0) * 8.5 % 1.0
        };
        let (a, b) = (fraction(&digits.test), fraction(&digits.validation));
        assert!((a - b).abs() > 1e-9);
    }
}
