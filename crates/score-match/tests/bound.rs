//! The variational bound is the entropy where everything is known: Gaussian data, exact score, `t_min` → 0.

#![allow(clippy::unwrap_used)]

use ndarray::{Array2, array};
use score_match::times::strata;
use score_match::{TimeLaw, Weighting, bound, loss};
use sde_core::{GaussianMixture, Lanes, Noise, Purpose, VpLinear};

/// On data N(m, v) the bound (M4) with the exact score is E[−log p] + the prior mismatch + `O(t_min)`.
#[test]
fn the_bound_of_the_exact_score_is_the_entropy() {
    let (sde, span, v) = (VpLinear::default(), (1e-5, 1.0), 0.36_f64);
    let data = GaussianMixture::diagonal(&[1.0], array![[0.7]], &array![[v]]).unwrap();
    let n = 200_000;
    let numbers: Vec<u64> = (0..n as u64).collect();
    let (mut x0, mut eps) = (Array2::zeros((n, 1)), Array2::zeros((n, 1)));
    Noise::new(5, Purpose::Training).fill(&numbers, 0, &mut x0).unwrap();
    Noise::new(5, Purpose::Training).fill(&numbers, 1, &mut eps).unwrap();
    x0.mapv_inplace(|z| 0.7 + v.sqrt() * z);
    let times = TimeLaw::LogSnr.on(&sde, Weighting::Likelihood, span).unwrap();
    let drawn: Vec<_> = strata(n, 0.5).map(|u| times.at(u)).collect();
    let t: Vec<f64> = drawn.iter().map(|x| x.t).collect();
    let at = Lanes { t: &t, sample: &numbers };
    // The weight is the same for every t here, so it can stand before the mean.
    let r = loss(&sde, &mut data.score(&sde), Weighting::Noise, (&x0, &eps), at).unwrap();
    let square = x0.iter().map(|x| x * x).sum::<f64>() / n as f64;
    let bound = drawn[0].weight * r.mean + bound::constant(&sde, span, square, 1);
    let entropy = 0.5 * (std::f64::consts::TAU * std::f64::consts::E * v).ln();
    let error = 4.0 * drawn[0].weight * r.standard_error + 1e-4;
    assert!((bound - entropy).abs() < error, "{bound} {entropy} ± {error}");
    assert!(error < 0.2, "the test must be able to fail");
}
