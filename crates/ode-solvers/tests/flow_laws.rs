//! What the probability-flow map and its likelihood must obey, whatever the solver.

#![allow(clippy::unwrap_used)]

#[path = "../../../fixtures/wrong.rs"]
mod wrong;

use ndarray::{Array2, array};
use ode_solvers::{
    Adaptive, LikelihoodOptions, RK45, Trace, decode, encode, log_likelihood,
    log_likelihood_augmented, log_normal, solve,
};
use sde_core::{
    Divergence, Field, GaussianMixture, Lanes, Noise, Purpose, Result, Reverse, Score, Sde, State,
    Tolerance, VpLinear,
};
use wrong::Wrong;

fn mixture_1d() -> GaussianMixture {
    let means = array![[-1.5], [0.4], [2.0]];
    GaussianMixture::isotropic(&[0.3, 0.5, 0.2], means, &[0.09, 0.25, 0.0625]).unwrap()
}

fn mixture_2d() -> GaussianMixture {
    let means = array![[-1.5, 0.5], [1.0, -1.0], [0.5, 1.8]];
    GaussianMixture::isotropic(&[0.5, 0.3, 0.2], means, &[0.09, 0.04, 0.16]).unwrap()
}

/// `P(x_t ≤ x)` of the 1-D mixture: Φ by the trapezium rule on its own density, exact to 1e-13 here.
fn distribution(mixture: &GaussianMixture, sde: &dyn Sde, x: f64, t: f64) -> f64 {
    let (low, n) = (-15.0, 400_000);
    let h = (x - low) / f64::from(n);
    let mut score = mixture.score(sde);
    let mut density = |i: i32| score.log_density(&[low + h * f64::from(i)], t).unwrap().exp();
    let ends = 0.5 * (density(0) + density(n)); // the derivative at x is corrected below
    let inner: f64 = (1..n).map(&mut density).sum();
    let slope = (density(n) - density(n - 1)) / h;
    h * (inner + ends) - h * h / 12.0 * slope
}

/// (R46) In one dimension the flow is the monotone map that keeps `F_t(x_t)`.
#[test]
fn r46_the_flow_conserves_the_distribution_function() {
    let (sde, mixture) = (VpLinear::default(), mixture_1d());
    let x0 = array![[-2.0], [-0.4], [1.1], [2.3]];
    let mut flow = Reverse::probability_flow(&sde, mixture.score(&sde));
    let options = Adaptive::new(Tolerance::both(1e-10));
    let latent = encode(&RK45, x0.clone(), 1e-3, &options, &mut flow).unwrap().y;
    for (x, z) in x0.iter().zip(&latent) {
        let (before, after) =
            (distribution(&mixture, &sde, *x, 1e-3), distribution(&mixture, &sde, *z, 1.0));
        assert!((before - after).abs() < 1e-8, "{x} → {z}: {before} {after}");
    }
}

/// (R48) There and back again.
#[test]
fn r48_round_trip_is_within_the_tolerance() {
    let (sde, mixture) = (VpLinear::default(), mixture_2d());
    let x0 = array![[-1.3, 0.8], [0.9, -1.2], [0.4, 1.5], [-1.7, 0.3]];
    for (tol, bound) in [(1e-5, 1e-3), (1e-10, 1e-8)] {
        let mut flow = Reverse::probability_flow(&sde, mixture.score(&sde));
        let options = Adaptive::new(Tolerance::both(tol));
        let latent = encode(&RK45, x0.clone(), 0.0, &options, &mut flow).unwrap();
        let back = decode(&RK45, latent.y, 0.0, &options, &mut flow).unwrap();
        let error = (&back.y - &x0).iter().fold(0.0_f64, |m, e| m.max(e.abs()));
        assert!(back.is_done() && error < bound, "tolerance {tol}: {error:e}");
    }
}

/// (R49) `d(x/α)/d(σ/α) = ε*`: DDIM's ODE in ρ = σ/α is the same flow.
#[test]
fn r49_the_flow_in_rho_is_the_flow_in_t() {
    let (sde, mixture) = (VpLinear::default(), mixture_2d());
    let (t0, t1) = (0.01, 1.0);
    let rho = |t: f64| sde.sigma(t) / sde.alpha(t);
    let x = array![[-1.3, 0.8], [0.9, -1.2]];
    let options = Adaptive::new(Tolerance::both(1e-11));
    let mut flow = Reverse::probability_flow(&sde, mixture.score(&sde));
    let in_t = ode_solvers::flow(&RK45, x.clone(), (t0, t1), &options, &mut flow).unwrap();
    let mut model = mixture.score(&sde);
    let mut field = Field::like(&x);
    let in_rho = solve(&RK45, &x / sde.alpha(t0), (rho(t0), rho(t1)), &options, |z, at, dz| {
        let t: Vec<f64> = at.t.iter().map(|r| sde.time_of_log_snr(-2.0 * r.ln())).collect();
        let k: Vec<_> = t.iter().map(|t| sde.coefficients(*t)).collect();
        let (alpha, noise): (Vec<f64>, Vec<f64>) = k.iter().map(|k| (k.alpha, -k.sigma)).unzip();
        let mut x = z.zeros_like();
        x.combine(&[(&alpha, z)]);
        model.evaluate(&x, Lanes { t: &t, sample: at.sample }, &mut field)?;
        dz.combine(&[(&noise, &field.score)]);
        Ok(())
    })
    .unwrap();
    let error = (&in_rho.y * sde.alpha(t1) - &in_t.y).iter().fold(0.0_f64, |m, e| m.max(e.abs()));
    assert!(in_rho.is_done() && error < 1e-8, "{error:e}");
}

/// (R62) `∫ exp(log p) dx = 1`, also for a wrong score: the cheapest test of every sign and factor.
#[test]
fn r62_the_likelihood_is_normalised() {
    let (sde, mixture) = (VpLinear::default(), mixture_1d());
    let (low, h, n) = (-8.0, 0.01, 1600);
    let x = Array2::from_shape_fn((n, 1), |(i, _)| low + h * i as f64);
    for factor in [1.0, 1.1, 0.8] {
        let mut flow = Reverse::probability_flow(
            &sde,
            Wrong { score: mixture.score(&sde), sde: &sde, factor },
        );
        let options = Adaptive::new((Tolerance::both(1e-9), Tolerance::both(1e-9)));
        let prior = |x: &Array2<f64>, out: &mut [f64]| log_normal(x, sde.sigma(1.0), out);
        let (span, how) = ((1e-3, 1.0), (&mut flow, Trace::Exact));
        let solved =
            log_likelihood_augmented(&RK45, x.clone(), span, &options, how, prior).unwrap();
        let total: f64 = solved.log_density().iter().map(|l| h * l.exp()).sum();
        assert!((total - 1.0).abs() < 1e-6, "score × {factor}: ∫ p = {total}");
    }
}

/// (R58, R59) With the exact score and the mixture's own `p_T` the flow's value is `log p_{t₀}`, at t₀ = 0 too;
/// with the Gaussian prior it is off by exactly the prior mismatch.
#[test]
fn r58_likelihood_is_the_closed_form() {
    let (sde, mixture) = (VpLinear::default(), mixture_2d());
    let numbers: Vec<u64> = (0..50).collect();
    let mut x = Array2::zeros((50, 2));
    Noise::new(5, Purpose::Prior).fill(&numbers, 0, &mut x).unwrap();
    let log_p = |x: &Array2<f64>, t: f64| -> Vec<f64> {
        x.outer_iter().map(|x| mixture.score(&sde).log_density(&x.to_vec(), t).unwrap()).collect()
    };
    let tol = Tolerance::both(1e-9);
    let mut flow = Reverse::probability_flow(&sde, mixture.score(&sde));
    let own = |x: &Array2<f64>, out: &mut [f64]| {
        out.copy_from_slice(&log_p(x, 1.0));
        Ok(())
    };
    let options = LikelihoodOptions::new(tol, Trace::Exact);
    let solved = log_likelihood(&RK45, x.clone(), (0.0, 1.0), &options, &mut flow, own).unwrap();
    let prior = |x: &_, out: &mut [f64]| log_normal(x, sde.sigma(1.0), out);
    let again = log_likelihood(&RK45, x.clone(), (0.0, 1.0), &options, &mut flow, prior).unwrap();
    let mut gaussian = vec![0.0; 50];
    log_normal(&solved.latent.y, sde.sigma(1.0), &mut gaussian).unwrap();
    for (i, (value, want)) in solved.log_density().iter().zip(log_p(&x, 0.0)).enumerate() {
        assert!((value - want).abs() < 1e-7, "{i}: {value} instead of {want}");
        // What the model's value lacks is the prior mismatch at the latent, nothing else.
        let mismatch = solved.samples[i].log_prior - gaussian[i];
        assert!((want - again.log_density()[i] - mismatch).abs() < 1e-7, "{i}");
    }
}

/// A sample that does not arrive has no likelihood.
#[test]
fn an_unfinished_solve_has_no_likelihood() {
    let (sde, mixture) = (VpLinear::default(), mixture_2d());
    let mut flow = Reverse::probability_flow(&sde, mixture.score(&sde));
    let tol = Tolerance::both(1e-9);
    let mut options = LikelihoodOptions::new(tol, Trace::Exact);
    options.ode.max_steps = 3;
    let x = array![[0.1, 0.2]];
    let solved =
        log_likelihood(&RK45, x, (0.0, 1.0), &options, &mut flow, |x, out| log_normal(x, 1.0, out))
            .unwrap();
    assert!(solved.log_density()[0].is_nan() && solved.samples[0].half_width().is_none());
}

/// A rotation added to the score, `s + c (−x_2, x_1)`: no gradient, and no harm.
struct Turning<M>(M, f64);

impl<M: Score<Array2<f64>>> Score<Array2<f64>> for Turning<M> {
    fn evaluate(
        &mut self,
        x: &Array2<f64>,
        at: Lanes<'_>,
        out: &mut Field<Array2<f64>>,
    ) -> Result<()> {
        self.0.evaluate(x, at, out)?;
        for (mut s, x) in out.score.outer_iter_mut().zip(x.outer_iter()) {
            s[0] -= self.1 * x[1];
            s[1] += self.1 * x[0];
        }
        Ok(())
    }
    fn evaluate_with_divergence(
        &mut self,
        x: &Array2<f64>,
        at: Lanes<'_>,
        out: &mut Field<Array2<f64>>,
        divergence: &mut Divergence,
    ) -> Result<()> {
        self.0.evaluate_with_divergence(x, at, out, divergence)?; // a rotation has none
        self.evaluate(x, at, out)
    }
}

/// (R63) `div(p · rotation) = 0` for an isotropic Gaussian p: the flow has the same density, though its field is no gradient.
#[test]
fn r63_a_rotation_leaves_the_likelihood_of_a_gaussian_as_it_was() {
    let sde = VpLinear::default();
    let data = GaussianMixture::isotropic(&[1.0], array![[0.0, 0.0]], &[0.5]).unwrap();
    let x = array![[0.6, -0.9], [0.1, 1.2]];
    let closed = data.log_densities(&sde, &x, 1e-3).unwrap();
    for c in [0.7, -2.0] {
        let mut flow = Reverse::probability_flow(&sde, Turning(data.score(&sde), c));
        let prior = |z: &Array2<f64>, out: &mut [f64]| {
            out.copy_from_slice(&data.log_densities(&sde, z, 1.0)?);
            Ok(())
        };
        let options = LikelihoodOptions::new(Tolerance::both(1e-9), Trace::Exact);
        let found = log_likelihood(&RK45, x.clone(), (1e-3, 1.0), &options, &mut flow, prior);
        for (found, want) in found.unwrap().log_density().iter().zip(&closed) {
            assert!((found - want).abs() < 1e-7, "{c}: {found} instead of {want}");
        }
    }
}
