//! Every member of the reverse family carries `p_T` back to `p_t`: the statement (R2) about continuous time, for
//! Gaussian data and the exact score, and the Euler–Maruyama step (O3) that puts it on a grid.
//!
//! For Gaussian data the drift is affine in x, so the mean and the variance of the steps obey a recursion without any
//! random number. Its error falls like 1/N; extrapolated to no error it must give the moments of `p_t`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ndarray::{Array2, array};
use ode_solvers::{euler_maruyama, uniform_grid};
use sde_core::reverse::noise_scale;
use sde_core::{GaussianMixture, Lanes, Noise, Purpose, Reverse, Sde, VpLinear};

/// Mean and variance of the data.
const DATA: (f64, f64) = (0.7, 0.36);
/// Where the family is followed to.
const T_MIN: f64 = 1e-3;

fn data() -> GaussianMixture {
    GaussianMixture::isotropic(&[1.0], array![[DATA.0]], &[DATA.1]).unwrap()
}

/// Mean and variance of `p_t`.
fn marginal(sde: &dyn Sde, t: f64) -> (f64, f64) {
    let k = sde.coefficients(t);
    (k.alpha * DATA.0, k.alpha.powi(2) * DATA.1 + k.sigma.powi(2))
}

/// Mean and variance after N Euler–Maruyama steps from `p_T`: drift of the member `eta`, noise of the member `noise`.
fn moments(sde: &dyn Sde, (eta, noise): (f64, f64), steps: u32) -> (f64, f64) {
    let data = data();
    let mut reverse = Reverse::new(sde, data.score(sde), eta).unwrap();
    let mut drift = array![[0.0], [0.0]];
    let (mut mean, mut variance) = marginal(sde, sde.end());
    for step in uniform_grid(sde.end(), T_MIN, steps).windows(2) {
        let (t, h) = (step[0], step[1] - step[0]);
        let at = Lanes { t: &[t, t], sample: &[0, 1] };
        reverse.drift(&array![[0.0], [1.0]], at, &mut drift).unwrap();
        let (constant, slope) = (drift[[0, 0]], drift[[1, 0]] - drift[[0, 0]]);
        mean += h * (constant + slope * mean);
        variance =
            (1.0 + h * slope).powi(2) * variance + h.abs() * noise_scale(sde, noise, t).powi(2);
    }
    (mean, variance)
}

/// Largest error of the two moments at the end, and the same without the part that falls like 1/N.
fn errors(sde: &dyn Sde, member: (f64, f64)) -> [f64; 3] {
    let want = marginal(sde, T_MIN);
    let (coarse, fine) = (moments(sde, member, 2000), moments(sde, member, 4000));
    let error = |m: (f64, f64)| (m.0 - want.0).abs().max((m.1 - want.1).abs());
    let limit = (2.0 * fine.0 - coarse.0, 2.0 * fine.1 - coarse.1);
    [error(coarse), error(fine), error(limit)]
}

#[test]
fn every_member_keeps_the_marginals() {
    let sde = VpLinear::default();
    for eta in [0.0, 0.5, 1.0, 1.5] {
        let [coarse, fine, limit] = errors(&sde, (eta, eta));
        assert!((1.8..2.2).contains(&(coarse / fine)), "eta = {eta}: {coarse:e}, {fine:e}");
        assert!(limit < 1e-5, "eta = {eta}: {limit:e}");
    }
}

#[test]
fn noise_without_its_drift_does_not() {
    let sde = VpLinear::default();
    for member in [(0.0, 1.0), (1.0, 0.0), (1.0, 0.5)] {
        let [.., limit] = errors(&sde, member);
        assert!(limit > 1e-2, "drift and noise of {member:?}: {limit:e}");
    }
}

#[test]
fn steps_have_the_moments_of_their_recursion() {
    const N: usize = 20_000;
    let (sde, data) = (VpLinear::default(), data());
    let grid = uniform_grid(sde.end(), T_MIN, 100);
    let numbers: Vec<u64> = (0..N as u64).collect();
    let (mean, variance) = marginal(&sde, sde.end());
    let mut start = Array2::zeros((N, 1));
    Noise::new(3, Purpose::Prior).fill(&numbers, 0, &mut start).unwrap();
    start.mapv_inplace(|z| mean + variance.sqrt() * z);
    for eta in [0.5, 1.0, 1.5] {
        let mut reverse = Reverse::new(&sde, data.score(&sde), eta).unwrap();
        let drift = |x: &_, at: Lanes<'_>, dx: &mut _| reverse.drift(x, at, dx);
        let noise = Noise::new(3, Purpose::Increment);
        let scale = |t| noise_scale(&sde, eta, t);
        let x = euler_maruyama(start.clone(), &grid, drift, scale, &noise).unwrap().y;
        let (mean, variance) = moments(&sde, (eta, eta), 100);
        let found = (x.mean().unwrap(), x.var(1.0));
        let n = N as f64;
        assert!((found.0 - mean).abs() < 4.0 * (variance / n).sqrt(), "eta = {eta}: {found:?}");
        assert!(
            (found.1 - variance).abs() < 4.0 * variance * (2.0 / n).sqrt(),
            "eta = {eta}: {found:?}"
        );
    }
}
