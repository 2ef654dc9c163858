//! From integer images to points of a density model: `y = 2(k + u)/L − 1`, one row per image.

use crate::data::Images;
use ndarray::Array2;
use sde_core::{Noise, Purpose, State, levels};

/// Uniformly dequantised images as the rows of an (N, C·H·W) matrix; `u` of image i is keyed by (seed, i).
pub fn dequantise(images: &Images, seed: u64) -> Array2<f64> {
    let noise = Noise::new(seed, Purpose::Dequantisation);
    let mut points = as_rows(images, 0.0);
    let mut u = points.zeros_like();
    u.fill_rows(|i, row| noise.uniform(i as u64, 0, row));
    for ((y, u), &k) in points.iter_mut().zip(&u).zip(images.pixels()) {
        *y = levels::dequantise(images.levels(), k.into(), *u);
    }
    points
}

/// Images at the fraction `u` of every pixel's bin, as the rows of an (N, C·H·W) matrix; ½ is the middle.
pub fn as_rows(images: &Images, u: f64) -> Array2<f64> {
    let pixels = images.pixels();
    let (n, c, h, w) = pixels.dim();
    let at = |(i, j): (usize, usize)| pixels[[i, j / (h * w), j / w % h, j % w]];
    Array2::from_shape_fn((n, c * h * w), |ij| {
        levels::dequantise(images.levels(), at(ij).into(), u)
    })
}
