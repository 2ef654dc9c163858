//! Distances between the laws of two samples in a space of features.
//!
//! ```text
//! F(a, b) = |μ_a − μ_b|² + tr(Σ_a + Σ_b − 2 (Σ_a^{1/2} Σ_b Σ_a^{1/2})^{1/2})                        (Y6)
//! ```
//!
//! is the squared Wasserstein-2 distance of the Gaussians with their moments (Fréchet 1957, Dowson and Landau 1982). Of
//! Inception's features it is the FID (Heusel et al. 2017); of any others it is not, and is named after its features.
//!
//! ```text
//! M²(a, b) = mean_{i≠j} k(a_i, a_j) + mean_{i≠j} k(b_i, b_j) − 2 mean_{ij} k(a_i, b_j)              (Y7)
//! k(x, y) = exp(−|x − y|²/(2 h²)),     h² the median of |x − y|²/2
//! ```
//!
//! is the maximum mean discrepancy (Gretton et al. 2012) without bias: 0 in the mean where both samples have one law, and
//! then as often below 0 as above.

use nalgebra::{DMatrix, SymmetricEigen};
use ndarray::{Array1, Array2, ArrayView2, Axis};
use sde_core::error::check_size;
use sde_core::{Noise, Purpose, Result};

/// What a sample is looked at through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Features {
    /// The numbers themselves.
    Pixels,
    /// The principal components of the first sample, so many of them.
    Principal(usize),
    /// `max(0, W x)` with so many rows of random numbers, of variance 2/d: what a layer of a network before training
    /// sees.
    Random(usize),
}

impl Features {
    /// The features of the rows of two samples; principal components are those of `a`.
    ///
    /// # Errors
    /// For rows of different lengths, samples of fewer than two rows, and more components than there are numbers in a row.
    pub fn of(
        self,
        a: ArrayView2<'_, f64>,
        b: ArrayView2<'_, f64>,
        seed: u64,
    ) -> Result<(Array2<f64>, Array2<f64>)> {
        check_size("coordinates of a sample", b.ncols(), a.ncols())?;
        check_size("points of a sample", a.nrows().min(b.nrows()).min(2), 2)?;
        let d = a.ncols();
        let matrix = match self {
            Self::Pixels => return Ok((a.to_owned(), b.to_owned())),
            Self::Principal(n) => {
                check_size("principal components", n.clamp(1, d), n)?;
                principal(a, n)
            }
            Self::Random(n) => {
                let mut w = Array2::zeros((d, n));
                let noise = Noise::new(seed, Purpose::Diagnostics);
                for (i, mut row) in (0..).zip(w.axis_iter_mut(Axis(0))) {
                    if let Some(row) = row.as_slice_mut() {
                        noise.normal(i, 0, row);
                    }
                }
                w * (2.0 / d as f64).sqrt()
            }
        };
        let seen = |x: ArrayView2<'_, f64>| match self {
            Self::Random(_) => x.dot(&matrix).mapv_into(|y| y.max(0.0)),
            _ => x.dot(&matrix),
        };
        Ok((seen(a), seen(b)))
    }
}

/// (Y6) between the rows of `a` and of `b`.
///
/// # Errors
/// For rows of different lengths and samples of fewer than two rows.
pub fn frechet_distance(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Result<f64> {
    check_size("features of a sample", b.ncols(), a.ncols())?;
    check_size("points of a sample", a.nrows().min(b.nrows()).min(2), 2)?;
    let ((mean_a, cov_a), (mean_b, cov_b)) = (moments(a), moments(b));
    let mean = (&mean_a - &mean_b).mapv(|x| x * x).sum();
    let root = square_root(cov_a.clone());
    // the trace of a root is the sum of the roots of the eigenvalues
    let inner = &root * &cov_b * &root;
    let values = SymmetricEigen::new(0.5 * (&inner + inner.transpose())).eigenvalues;
    let cross: f64 = values.iter().map(|v| v.max(0.0).sqrt()).sum();
    Ok((mean + cov_a.trace() + cov_b.trace() - 2.0 * cross).max(0.0))
}

/// (Y7) between the rows of `a` and of `b`.
///
/// # Errors
/// For rows of different lengths and samples of fewer than two rows.
pub fn mmd2(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Result<f64> {
    check_size("coordinates of a sample", b.ncols(), a.ncols())?;
    check_size("points of a sample", a.nrows().min(b.nrows()).min(2), 2)?;
    let (aa, bb, ab) = (squares(a, a), squares(b, b), squares(a, b));
    let mut all: Vec<f64> = ab.iter().copied().collect();
    let middle = all.len() / 2;
    let (_, median, _) = all.select_nth_unstable_by(middle, f64::total_cmp);
    let scale = if *median > 0.0 { median.recip() } else { 1.0 };
    let mean = |d: &Array2<f64>, apart: bool| {
        let sum: f64 = d.iter().map(|d| (-d * scale).exp()).sum();
        let n = d.nrows() as f64;
        if apart { (sum - n) / (n * (n - 1.0)) } else { sum / d.len() as f64 }
    };
    Ok(mean(&aa, true) + mean(&bb, true) - 2.0 * mean(&ab, false))
}

/// Squared distances between the rows of `a` and of `b`.
fn squares(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Array2<f64> {
    let between = |i: usize, j: usize| {
        a.row(i).iter().zip(b.row(j)).map(|(x, y)| (x - y).powi(2)).sum::<f64>()
    };
    Array2::from_shape_fn((a.nrows(), b.nrows()), |(i, j)| between(i, j))
}

/// The mean and the covariance of rows.
fn moments(x: ArrayView2<'_, f64>) -> (Array1<f64>, DMatrix<f64>) {
    let n = x.nrows() as f64;
    let mean = x.sum_axis(Axis(0)) / n;
    let centred = &x - &mean;
    let covariance = centred.t().dot(&centred) / (n - 1.0);
    let d = x.ncols();
    (mean, DMatrix::from_fn(d, d, |i, j| covariance[(i, j)]))
}

/// The root of a matrix without negative eigenvalues but for rounding.
fn square_root(matrix: DMatrix<f64>) -> DMatrix<f64> {
    let eigen = SymmetricEigen::new(matrix);
    let roots = eigen.eigenvalues.map(|v| v.max(0.0).sqrt());
    &eigen.eigenvectors * DMatrix::from_diagonal(&roots) * eigen.eigenvectors.transpose()
}

/// The directions of the n largest variances, as columns.
fn principal(x: ArrayView2<'_, f64>, n: usize) -> Array2<f64> {
    let eigen = SymmetricEigen::new(moments(x).1);
    let mut order: Vec<usize> = (0..x.ncols()).collect();
    order.sort_by(|&i, &j| eigen.eigenvalues[j].total_cmp(&eigen.eigenvalues[i]));
    Array2::from_shape_fn((x.ncols(), n), |(i, j)| eigen.eigenvectors[(i, order[j])])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn normal(first: u64, n: usize, d: usize) -> Array2<f64> {
        let numbers: Vec<u64> = (first..first + n as u64).collect();
        let mut x = Array2::zeros((n, d));
        Noise::new(1, Purpose::Prior).fill(&numbers, 0, &mut x).unwrap();
        x
    }

    /// Samples whose moments are known exactly: ± along the axes.
    #[test]
    fn y6_the_distance_of_two_gaussians_is_the_closed_form() {
        let cross = |s: [f64; 2], m: [f64; 2]| {
            let points = array![[s[0], 0.0], [-s[0], 0.0], [0.0, s[1]], [0.0, -s[1]]];
            points + &array![[m[0], m[1]]]
        };
        let (a, b) = (cross([1.0, 2.0], [0.0, 0.0]), cross([3.0, 0.5], [1.0, -2.0]));
        // along an axis the variance of ±s, two of four points, is 2 s²/3
        let want = 5.0 + 2.0 / 3.0 * ((1.0_f64 - 3.0).powi(2) + (2.0_f64 - 0.5).powi(2));
        let found = frechet_distance(a.view(), b.view()).unwrap();
        assert!((found - want).abs() < 1e-10, "{found} {want}");
        let turn = array![[0.6, -0.8], [0.8, 0.6]]; // nothing depends on the axes
        let turned = frechet_distance(a.dot(&turn).view(), b.dot(&turn).view()).unwrap();
        assert!((turned - want).abs() < 1e-10, "{turned}");
        assert!(frechet_distance(a.view(), a.view()).unwrap() < 1e-10);
        assert!(frechet_distance(a.view(), array![[1.0], [2.0]].view()).is_err());
    }

    /// Covariances that do not commute: E|x − y|² of the best linear map, found by hand for one example.
    #[test]
    fn covariances_that_do_not_commute() {
        let (x, y) = (normal(0, 4000, 2), normal(9000, 4000, 2));
        let map = array![[1.0, 0.7], [0.0, 0.5]];
        let (a, b) = (x, y.dot(&map));
        let [cov_a, cov_b] = [&a, &b].map(|x| moments(x.view()).1);
        // for 2 × 2 matrices tr √M = √(tr M + 2 √det M), M = Σ_a Σ_b
        let m = &cov_a * &cov_b;
        let root = (m.trace() + 2.0 * m.determinant().sqrt()).sqrt();
        let mean = (moments(a.view()).0 - moments(b.view()).0).mapv(|x| x * x).sum();
        let want = mean + cov_a.trace() + cov_b.trace() - 2.0 * root;
        let found = frechet_distance(a.view(), b.view()).unwrap();
        assert!((found - want).abs() < 1e-10, "{found} {want}");
    }

    #[test]
    fn y7_the_discrepancy_is_nothing_for_one_law() {
        let (a, b) = (normal(0, 300, 3), normal(300, 300, 3));
        let found = mmd2(a.view(), b.view()).unwrap();
        // under one law its standard deviation is about √2/n times a number below 1
        assert!(found.abs() < 4.0 * 2.0_f64.sqrt() / 300.0, "{found}");
        let shifted = mmd2(a.view(), (&b + 0.5).view()).unwrap();
        assert!(shifted > 0.03, "{shifted}");
        let pair = array![[0.0], [1.0]]; // k = 1 at the same point and e^{−1} at distance 1, the median
        let want = 2.0 * (-1.0_f64).exp() - (1.0 + (-1.0_f64).exp());
        assert!((mmd2(pair.view(), pair.view()).unwrap() - want).abs() < 1e-12);
    }

    #[test]
    fn features_are_what_they_are_called() {
        let spread = normal(0, 500, 3) * &array![[0.1, 3.0, 1.0]];
        let other = &spread + 1.0;
        let (a, b) = Features::Principal(2).of(spread.view(), other.view(), 0).unwrap();
        assert_eq!((a.dim(), b.dim()), ((500, 2), (500, 2)));
        let variances = a.var_axis(Axis(0), 1.0);
        assert!(
            (variances[0] - 9.0).abs() < 2.0 && (variances[1] - 1.0).abs() < 0.3,
            "{variances}"
        );
        let (a, _) = Features::Random(40).of(spread.view(), other.view(), 7).unwrap();
        let (again, _) = Features::Random(40).of(spread.view(), other.view(), 7).unwrap();
        assert!(a == again && a.iter().all(|&y| y >= 0.0) && a.dim() == (500, 40));
        assert!(Features::Principal(4).of(spread.view(), other.view(), 0).is_err());
    }
}
