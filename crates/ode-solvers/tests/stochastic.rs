//! Euler–Maruyama against the exact moments of its own recursion, and against the marginals it aims at.

#![allow(clippy::unwrap_used)]

use ndarray::{Array2, array};
use ode_solvers::{Samples, euler_maruyama, in_chunks, uniform_grid};
use sde_core::reverse::noise_scale;
use sde_core::{
    Divergence, Field, GaussianMixture, Lanes, Noise, Purpose, Reverse, Score, Sde, VpLinear,
};

const DATA: (f64, f64) = (0.7, 0.25); // mean and variance

fn gaussian() -> GaussianMixture {
    GaussianMixture::isotropic(&[1.0], array![[DATA.0]], &[DATA.1]).unwrap()
}

/// Mean and variance after Euler–Maruyama steps of the reverse SDE: the score is linear, so both obey a recursion.
fn exact_moments(
    sde: &dyn Sde,
    grid: &[f64],
    (mut mean, mut var): (f64, f64),
    eta: f64,
) -> (f64, f64) {
    for step in grid.windows(2) {
        let (t, h) = (step[0], step[0] - step[1]);
        let k = sde.coefficients(t);
        let v = k.alpha.powi(2) * DATA.1 + k.sigma.powi(2);
        let g2 = sde.g2(t);
        let c = 0.5 * (1.0 + eta * eta) * g2; // dx = [f x − c s] dt, s = −(x − αm)/v
        let growth = 1.0 - h * (sde.f(t) + c / v);
        mean = growth * mean + h * c / v * k.alpha * DATA.0;
        var = growth * growth * var + eta * eta * g2 * h;
    }
    (mean, var)
}

/// Mean and variance of `p_T`, where the reverse SDE starts.
fn terminal() -> (f64, f64) {
    let k = VpLinear::default().coefficients(1.0);
    (k.alpha * DATA.0, k.alpha.powi(2) * DATA.1 + k.sigma.powi(2))
}

/// Mean and variance with their standard errors.
fn moments(x: &[f64]) -> [(f64, f64); 2] {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    [(mean, (var / n).sqrt()), (var, var * (2.0 / n).sqrt())]
}

fn draw(n: usize, grid: &[f64], eta: f64, seed: u64) -> Vec<f64> {
    let (sde, data) = (VpLinear::default(), gaussian());
    let noise = Noise::new(seed, Purpose::Increment);
    let numbers: Vec<u64> = (0..n as u64).collect();
    let mut prior = Array2::zeros((n, 1));
    Noise::new(seed, Purpose::Prior).fill(&numbers, 0, &mut prior).unwrap();
    let (mean, var) = terminal();
    let prior = prior.mapv(|z: f64| mean + var.sqrt() * z);
    let parts = in_chunks(&prior, 0, 1000, |chunk| {
        let mut reverse = Reverse::new(&sde, data.score(&sde), eta).unwrap();
        let drift = |x: &_, at: Lanes<'_>, dx: &mut _| reverse.drift(x, at, dx);
        euler_maruyama(chunk, grid, drift, |t| noise_scale(&sde, eta, t), &noise).map(|s| s.y)
    });
    parts.unwrap().iter().flatten().copied().collect()
}

/// Mean and variance of the reverse VP SDE with 100 steps from `p_T`, as tabulated for this problem.
#[test]
fn r44_reverse_steps_have_the_moments_of_the_recursion() {
    let sde = VpLinear::default();
    let grid = uniform_grid(1.0, 1e-3, 100);
    let want = exact_moments(&sde, &grid, terminal(), 1.0);
    assert!((want.0 - 0.704_103_242_413_791_4).abs() < 1e-10, "{want:?}");
    assert!((want.1 - 0.253_904_191_805_507_8).abs() < 1e-10, "{want:?}");
    let [mean, var] = moments(&draw(100_000, &grid, 1.0, 11));
    assert!((mean.0 - want.0).abs() < 4.0 * mean.1, "{mean:?} {want:?}");
    assert!((var.0 - want.1).abs() < 4.0 * var.1, "{var:?} {want:?}");
}

/// (R5) Forward, from data: the drift is linear, so the integrator run without noise carries the mean exactly. Its error
/// at T halves with the step.
#[test]
fn r05_weak_order_is_one() {
    let sde = VpLinear::default();
    let mean = |steps| {
        let drift = |x: &Array2<f64>, at: Lanes<'_>, dx: &mut Array2<f64>| {
            dx.zip_mut_with(x, |dx, x| *dx = sde.f(at.t[0]) * x);
            Ok(())
        };
        let grid = uniform_grid(0.0, 0.5, steps);
        let noise = Noise::new(0, Purpose::Increment);
        euler_maruyama(array![[DATA.0]], &grid, drift, |_| 0.0, &noise).unwrap().y[[0, 0]]
    };
    let exact = sde.alpha(0.5) * DATA.0;
    for n in [100, 200, 400] {
        let ratio = (mean(n) - exact) / (mean(2 * n) - exact);
        assert!((1.8..2.2).contains(&ratio), "{n}: {ratio}");
    }
}

/// (R5) Forward, with noise: mean and variance at T are those of `p_T`.
#[test]
fn r05_forward_paths_reach_the_marginal() {
    let (sde, n) = (VpLinear::default(), 40_000);
    let numbers: Vec<u64> = (0..n as u64).collect();
    let mut x0 = Array2::zeros((n, 1));
    Noise::new(9, Purpose::Training).fill(&numbers, 0, &mut x0).unwrap();
    x0.mapv_inplace(|z: f64| DATA.0 + DATA.1.sqrt() * z);
    let drift = |x: &Array2<f64>, at: Lanes<'_>, dx: &mut Array2<f64>| {
        dx.zip_mut_with(x, |dx, x| *dx = sde.f(at.t[0]) * x);
        Ok(())
    };
    let (grid, noise) = (uniform_grid(0.0, 1.0, 200), Noise::new(9, Purpose::Increment));
    let x = euler_maruyama(x0, &grid, drift, |t| sde.g2(t).sqrt(), &noise).unwrap().y;
    // The recursion of the integrator's moments; its distance from p_T is the step's, not the sampling's.
    let want = grid.windows(2).fold(DATA, |(mean, var), step| {
        let (h, growth) = (step[1] - step[0], 1.0 + sde.f(step[0]) * (step[1] - step[0]));
        (growth * mean, growth * growth * var + sde.g2(step[0]) * h)
    });
    assert!(
        (want.0 - terminal().0).abs() < 2e-3 && (want.1 - terminal().1).abs() < 0.06,
        "{want:?}"
    );
    let [mean, var] = moments(x.as_slice().unwrap());
    assert!((mean.0 - want.0).abs() < 4.0 * mean.1, "{mean:?} {want:?}");
    assert!((var.0 - want.1).abs() < 4.0 * var.1, "{var:?} {want:?}");
}

/// Three correlated clusters in the plane.
fn clusters() -> (GaussianMixture, [[f64; 3]; 3]) {
    // c11, c12, c22 of each covariance.
    let covs = [[0.3, 0.1, 0.2], [0.15, -0.08, 0.25], [0.05, 0.0, 0.4]];
    let full = covs.iter().flat_map(|c| [c[0], c[1], c[1], c[2]]).collect();
    let full = ndarray::Array3::from_shape_vec((3, 2, 2), full).unwrap();
    let means = array![[-1.0, 0.5], [1.2, 1.0], [0.3, -1.4]];
    (GaussianMixture::full(&[0.5, 0.3, 0.2], means, &full).unwrap(), covs)
}

/// Draws of the noised clusters at time t.
fn noised_clusters(n: usize, t: f64, seed: u64) -> Array2<f64> {
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
fn sliced_distance(x: &Array2<f64>, y: &Array2<f64>) -> f64 {
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

/// (R41) From `p_T` every member of the family arrives at the data's law; with a score that is 10 % too large none does.
#[test]
fn r41_every_eta_arrives_at_the_same_law() {
    let (n, t0, sde) = (20_000, 1e-3, VpLinear::default());
    let (data, _) = clusters();
    let (start, want) = (noised_clusters(n, 1.0, 21), noised_clusters(n, t0, 22));
    let grid = uniform_grid(1.0, t0, 500);
    let noise = Noise::new(23, Purpose::Increment);
    let distance = |eta: f64, factor: f64| {
        let parts = in_chunks(&start, 0, 500, |chunk| {
            let mut reverse = Reverse::new(&sde, Scaled(data.score(&sde), factor), eta).unwrap();
            let drift = |x: &_, at: Lanes<'_>, dx: &mut _| reverse.drift(x, at, dx);
            euler_maruyama(chunk, &grid, drift, |t| noise_scale(&sde, eta, t), &noise).map(|s| s.y)
        });
        let rows: Vec<f64> = parts.unwrap().iter().flatten().copied().collect();
        sliced_distance(&Array2::from_shape_vec((n, 2), rows).unwrap(), &want)
    };
    for eta in [0.0, 0.5, 1.0, 1.5] {
        let got = distance(eta, 1.0);
        assert!(got <= 0.02, "η = {eta}: {got}");
    }
    for eta in [0.0, 1.0] {
        let got = distance(eta, 1.1);
        assert!(got > 0.03, "η = {eta}, wrong score: {got}");
    }
}

/// A score multiplied by a constant.
struct Scaled<M>(M, f64);

impl<M: Score<Array2<f64>>> Score<Array2<f64>> for Scaled<M> {
    fn evaluate(
        &mut self,
        x: &Array2<f64>,
        at: Lanes<'_>,
        out: &mut Field<Array2<f64>>,
    ) -> sde_core::Result<()> {
        self.0.evaluate(x, at, out)?;
        // A wrong score and the posterior mean that Tweedie's formula makes of it.
        for (i, t) in at.t.iter().enumerate() {
            let k = sde_core::VpLinear::default().coefficients(*t);
            for j in 0..2 {
                out.score[[i, j]] *= self.1;
                out.denoised[[i, j]] =
                    (x[[i, j]] + k.sigma * k.sigma * out.score[[i, j]]) / k.alpha;
            }
        }
        Ok(())
    }
    fn evaluate_with_divergence(
        &mut self,
        x: &Array2<f64>,
        at: Lanes<'_>,
        out: &mut Field<Array2<f64>>,
        divergence: &mut Divergence,
    ) -> sde_core::Result<()> {
        self.0.evaluate_with_divergence(x, at, out, divergence)
    }
}

#[test]
fn a_sample_is_the_same_in_every_batch() {
    let (sde, data) = (VpLinear::default(), gaussian());
    let grid = uniform_grid(1.0, 1e-3, 20);
    let noise = Noise::new(2, Purpose::Increment);
    let run = |start: Samples<Array2<f64>>| {
        let mut reverse = Reverse::new(&sde, data.score(&sde), 1.0).unwrap();
        let drift = |x: &_, at: Lanes<'_>, dx: &mut _| reverse.drift(x, at, dx);
        euler_maruyama(start, &grid, drift, |t| noise_scale(&sde, 1.0, t), &noise).unwrap().y
    };
    let all = run(array![[0.3], [-0.2], [1.0]].into());
    let one = run(Samples::numbered(array![[-0.2]], 1));
    assert_eq!(all[[1, 0]].to_bits(), one[[0, 0]].to_bits());
}
