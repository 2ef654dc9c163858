//! From integer images to points of a density model: `y = 2(k + u)/L − 1`, one row per image.

use crate::data::{Images, Labelled};
use ndarray::Array2;
use ode_solvers::{ErrorBar, LaneStatus, LogLikelihood, TraceError};
use sde_core::levels::{TruncatedNormal, importance_bound};
use sde_core::{Noise, Purpose, levels};

/// The law of u in [0, 1), the place of a point in its bin, for each pixel by itself; its density is r.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Law {
    /// `r(u) = 1`.
    Uniform,
    /// A normal at the middle, cut off at the ends (Zheng et al. 2023).
    TruncatedNormal(TruncatedNormal),
}

impl Law {
    /// The cut-off normal with the standard deviation σ/α of noise in the data that is still there at `t_min`. A model that was
    /// trained on the integers themselves is wide by that much around them, so that nothing has to be learnt.
    ///
    /// # Errors
    /// For a ratio that is not positive.
    pub fn of_noise(noise_to_signal: f64, levels: u32) -> sde_core::Result<Self> {
        TruncatedNormal::new(noise_to_signal * f64::from(levels) / 2.0).map(Self::TruncatedNormal)
    }

    /// Fills u of one image and returns `log r(u)`, summed over the pixels.
    fn fill(self, noise: &Noise, number: u64, draw: u32, u: &mut [f64]) -> f64 {
        match self {
            Self::Uniform => {
                noise.uniform(number, draw, u);
                0.0
            }
            Self::TruncatedNormal(law) => {
                law.fill(noise, number, draw, u);
                u.iter().map(|u| law.log_density(*u)).sum()
            }
        }
    }
}

/// Points of integer images, and how dense the noise was there.
#[derive(Clone, Debug)]
pub struct Points {
    /// The rows of image 0, one for each draw, then those of image 1, and so on: (N·draws, C·H·W).
    pub x: Array2<f64>,
    /// `log r(u)` of each row in nats. `log p(y) − log r(u) + d ln(2/L)` is the term of (D3).
    pub log_r: Vec<f64>,
}

/// Uniformly dequantised images as the rows of an (N, C·H·W) matrix.
///
/// `u` of an image is keyed by the seed and its position in the data file, so that no two parts of a data set share it.
pub fn dequantise(part: &Labelled, seed: u64) -> Array2<f64> {
    dequantise_images(&part.images, &part.indices, seed)
}

/// As [`dequantise`], for images whose positions in their data file are `numbers`, one for each.
pub fn dequantise_images(images: &Images, numbers: &[usize], seed: u64) -> Array2<f64> {
    draw_points(images, numbers, seed, (Law::Uniform, 1)).x
}

/// `draws` points of each image, with noise of some law. Draw 0 is the same for any number of them.
pub fn draw_points(
    images: &Images,
    numbers: &[usize],
    seed: u64,
    (law, draws): (Law, u32),
) -> Points {
    let noise = Noise::new(seed, Purpose::Dequantisation);
    let (n, c, h, w) = images.pixels().dim();
    let (d, draws) = (c * h * w, draws as usize);
    let mut points = Points { x: Array2::zeros((n * draws, d)), log_r: Vec::new() };
    let mut u = vec![0.0; d];
    for (row, mut x) in points.x.outer_iter_mut().enumerate() {
        let (image, draw) = (row / draws, (row % draws) as u32);
        points.log_r.push(law.fill(&noise, numbers[image] as u64, draw, &mut u));
        let pixels = images.pixels();
        let pixels = pixels.index_axis(ndarray::Axis(0), image);
        for ((y, &k), u) in x.iter_mut().zip(pixels).zip(&u) {
            *y = levels::dequantise(images.levels(), k.into(), *u);
        }
    }
    points
}

/// (D4) of one image from the likelihoods of its draws and their `log r`, less the `d ln(2/L)` that [bits per
/// dimension](levels::Levels::bits_per_dim) add: for one uniform draw it is the likelihood itself.
///
/// The errors of solver and quadrature are the means that the ratios weigh. For several draws the statistical error is that of
/// having so many; the trace must be exact, since its noise would raise the mean of the ratios. `log_prior` and `int_div` are
/// means in the same sense, the latter with all that remains.
pub fn importance(draws: &[LogLikelihood], log_r: &[f64]) -> LogLikelihood {
    let log_ratios: Vec<f64> = draws.iter().zip(log_r).map(|(p, r)| p.value() - r).collect();
    let bound = importance_bound(&log_ratios);
    let k = draws.len() as f64;
    let shares: Vec<f64> = log_ratios.iter().map(|l| (l - bound.mean).exp() / k).collect();
    let mean = |part: &dyn Fn(&LogLikelihood) -> Option<f64>| -> Option<f64> {
        draws.iter().zip(&shares).map(|(p, share)| Some(share * part(p)?)).sum()
    };
    let trace = match draws {
        [one] => one.errors.trace,
        _ => Some(TraceError { standard_error: bound.standard_error, dof: k - 1.0 }),
    };
    let log_prior = mean(&|p| Some(p.log_prior)).unwrap_or(f64::NAN);
    let unfinished = draws.iter().map(|p| p.status).find(|s| *s != LaneStatus::Done);
    LogLikelihood {
        log_prior,
        int_div: bound.mean - log_prior,
        correction: mean(&|p| Some(p.correction)).unwrap_or(f64::NAN),
        errors: ErrorBar {
            trace,
            ode: mean(&|p| p.errors.ode),
            quadrature: mean(&|p| p.errors.quadrature),
            float: mean(&|p| p.errors.float),
        },
        nfe: draws.iter().map(|p| p.nfe).sum(),
        products: draws.iter().map(|p| p.products).sum(),
        status: unfinished.unwrap_or(LaneStatus::Done),
    }
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
