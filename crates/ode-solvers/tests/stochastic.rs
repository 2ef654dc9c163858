//! Euler–Maruyama against the exact moments of its own recursion, and against the marginals it aims at.

#![allow(clippy::unwrap_used)]

mod clusters;
#[path = "../../../fixtures/wrong.rs"]
mod wrong;

use clusters::{clusters, noised_clusters, sliced_distance};
use ndarray::{Array2, array};
use ode_solvers::{Samples, euler_maruyama, in_chunks, uniform_grid};
use sde_core::reverse::noise_scale;
use sde_core::{GaussianMixture, Lanes, Noise, Purpose, Reverse, Sde, VpLinear};
use wrong::Wrong;

const DATA: (f64, f64) = (0.7, 0.25); // mean and variance

fn gaussian() -> GaussianMixture {
    GaussianMixture::isotropic(&[1.0], array![[DATA.0]], &[DATA.1]).unwrap()
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
            let mut reverse =
                Reverse::new(&sde, Wrong { score: data.score(&sde), sde: &sde, factor }, eta)
                    .unwrap();
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
