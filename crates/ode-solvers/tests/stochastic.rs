//! Euler–Maruyama against the exact moments of its own recursion, and against the marginals it aims at.

#![allow(clippy::unwrap_used)]

use ndarray::{Array2, array};
use ode_solvers::{Samples, euler_maruyama, in_chunks, uniform_grid};
use sde_core::reverse::noise_scale;
use sde_core::{GaussianMixture, Lanes, Noise, Purpose, Reverse, Sde, VpLinear};

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

/// Every η aims at the same law.
#[test]
fn r41_every_eta_has_the_data_moments() {
    let grid = uniform_grid(1.0, 1e-3, 400);
    for eta in [0.0, 0.5, 1.0, 1.5] {
        let want = exact_moments(&VpLinear::default(), &grid, terminal(), eta);
        assert!(
            (want.0 - DATA.0).abs() < 0.01 && (want.1 - DATA.1).abs() < 0.01,
            "{eta}: {want:?}"
        );
        let [mean, var] = moments(&draw(20_000, &grid, eta, 5));
        assert!((mean.0 - want.0).abs() < 4.0 * mean.1, "η = {eta}: {mean:?} {want:?}");
        assert!((var.0 - want.1).abs() < 4.0 * var.1, "η = {eta}: {var:?} {want:?}");
    }
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
