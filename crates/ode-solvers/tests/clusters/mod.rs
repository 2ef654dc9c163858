//! Three correlated clusters in the plane under VP, draws of their marginals, and a distance of laws.

use ndarray::{Array2, array};
use sde_core::{GaussianMixture, Noise, Purpose, Sde, VpLinear};

/// Three correlated clusters in the plane.
pub(crate) fn clusters() -> (GaussianMixture, [[f64; 3]; 3]) {
    // c11, c12, c22 of each covariance.
    let covs = [[0.3, 0.1, 0.2], [0.15, -0.08, 0.25], [0.05, 0.0, 0.4]];
    let full = covs.iter().flat_map(|c| [c[0], c[1], c[1], c[2]]).collect();
    let full = ndarray::Array3::from_shape_vec((3, 2, 2), full).unwrap();
    let means = array![[-1.0, 0.5], [1.2, 1.0], [0.3, -1.4]];
    (GaussianMixture::full(&[0.5, 0.3, 0.2], means, &full).unwrap(), covs)
}

/// Draws of the noised clusters at time t.
pub(crate) fn noised_clusters(n: usize, t: f64, seed: u64) -> Array2<f64> {
    let ((data, covs), k) = (clusters(), VpLinear::default().coefficients(t));
    let mut x = Array2::zeros((n, 2));
    for (i, mut row) in x.outer_iter_mut().enumerate() {
        let (mut u, mut z) = ([0.0], [0.0; 4]);
        Noise::new(seed, Purpose::Training).uniform(i as u64, 0, &mut u);
        Noise::new(seed, Purpose::Training).normal(i as u64, 1, &mut z);
        let c = if u[0] < 0.5 { 0 } else { usize::from(u[0] >= 0.8) + 1 };
        let [a, b, d] = covs[c];
        let x0 = [a.sqrt() * z[0], b / a.sqrt() * z[0] + (d - b * b / a).sqrt() * z[1]];
        for j in 0..2 {
            row[j] = k.alpha * (data.means()[[c, j]] + x0[j]) + k.sigma * z[2 + j];
        }
    }
    x
}

/// Mean over 16 directions of the Wasserstein-1 distance of the projections.
pub(crate) fn sliced_distance(x: &Array2<f64>, y: &Array2<f64>) -> f64 {
    let project = |x: &Array2<f64>, angle: f64| {
        let mut p: Vec<f64> =
            x.outer_iter().map(|r| r[0] * angle.cos() + r[1] * angle.sin()).collect();
        p.sort_by(f64::total_cmp);
        p
    };
    let direction = |i: i32| {
        let angle = std::f64::consts::PI * f64::from(i) / 16.0;
        let (p, q) = (project(x, angle), project(y, angle));
        p.iter().zip(&q).map(|(a, b)| (a - b).abs()).sum::<f64>() / p.len() as f64
    };
    (0..16).map(direction).sum::<f64>() / 16.0
}
