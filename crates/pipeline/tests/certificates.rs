//! Two numbers for one score: the likelihood (L1) of the ODE and the bound (M4) of the SDE, which bounds another model.

#![allow(clippy::unwrap_used)]

#[path = "../../../fixtures/wrong.rs"]
mod wrong;

use ndarray::{Array2, array};
use ode_solvers::{LikelihoodOptions, RK45, Trace, log_likelihood, log_normal};
use score_match::{SdeBound, SdeElbo, TimeLaw};
use sde_core::{GaussianMixture, Noise, Purpose, Reverse, Sde, Summary, Tolerance, VpLinear};
use wrong::Wrong;

const SPAN: (f64, f64) = (1e-3, 1.0);

/// For each of 400 draws of N(0.7, 0.36), the ODE's log-likelihood and the SDE's bound under `factor · s`.
fn certificates(factor: f64) -> [Vec<f64>; 2] {
    let sde = VpLinear::default();
    let data = GaussianMixture::isotropic(&[1.0], array![[0.7]], &[0.36]).unwrap();
    let numbers: Vec<u64> = (0..400).collect();
    let mut x = Array2::zeros((400, 1));
    let noise = Noise::new(1, Purpose::Training);
    noise.fill(&numbers, 0, &mut x).unwrap();
    x.mapv_inplace(|z| 0.7 + 0.6 * z);
    let model = || Wrong { score: data.score(&sde), sde: &sde, factor };
    let mut flow = Reverse::probability_flow(&sde, model());
    let options = LikelihoodOptions::new(Tolerance::both(1e-7), Trace::Exact);
    let prior = |z: &_, out: &mut [f64]| log_normal(z, sde.sigma(1.0), out);
    let solved = log_likelihood(&RK45, x.clone(), SPAN, &options, &mut flow, prior);
    let (law, noise) = (&TimeLaw::LogSnr, Noise::new(2, Purpose::Training));
    let bound = SdeBound { sde: &sde, eta: 1.0, span: SPAN, law, strata: 100, noise };
    let elbos = bound.estimate(&mut model(), &x, &numbers).unwrap();
    [solved.unwrap().log_density(), elbos.iter().map(SdeElbo::lower_bound).collect()]
}

/// Mean and standard error of the differences.
fn difference(a: &[f64], b: &[f64]) -> Summary {
    Summary::of(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>())
}

/// With the exact score both models are the data's, and the bound is just below the likelihood: by the decoder at `t_min`.
#[test]
fn the_bound_is_below_the_likelihood_of_the_exact_score() {
    let [ode, sde] = certificates(1.0);
    let gap = difference(&ode, &sde);
    let within = 4.0 * gap.standard_error;
    assert!(gap.mean > -within && gap.mean < within + 1e-3, "{gap}");
    assert!(within < 0.2);
}

/// With a wrong score the bound of the SDE is far **above** the likelihood of the ODE (R34): it is no bound on it. Each is
/// lower than with the exact score by what theory says.
#[test]
fn r34_the_bound_of_the_sde_is_above_the_likelihood_of_the_ode() {
    let ([ode, sde], [best_ode, best_sde]) = (certificates(1.1), certificates(1.0));
    let above = difference(&sde, &ode);
    assert!(above.mean > 4.0 * above.standard_error && above.mean > 0.3, "{above}");
    for (lost, want) in
        [(difference(&best_ode, &ode), 0.4593), (difference(&best_sde, &sde), 0.0554)]
    {
        assert!((lost.mean - want).abs() < 4.0 * lost.standard_error, "{lost} {want}");
        assert!(4.0 * lost.standard_error < want, "{lost}");
    }
}
