//! Parametrisations, Tweedie, schedule invariance, the prior, user-defined processes.

#![allow(clippy::unwrap_used)]

use ndarray::{Array1, Array2, array};
use proptest::prelude::*;
use sde_core::reverse::{Eta, ddim_sigma, eta_of_ddim_sigma, noise_scale};
use sde_core::sde::{Custom, Edm, RectifiedFlow, SubVp, VarianceExploding, VpCosine};
use sde_core::{
    Field, GaussianMixture, Lanes, Prediction, Process, Reverse, Score, Sde, VpLinear, grid, prior,
};

fn processes() -> Vec<Process> {
    vec![
        Process::VpLinear(VpLinear::default()),
        Process::VpCosine(VpCosine::new(0.008).unwrap()),
        Process::SubVp(SubVp::new(0.1, 20.0).unwrap()),
        Process::VarianceExploding(VarianceExploding::new(0.01, 50.0).unwrap()),
        Process::Edm(Edm::new(80.0).unwrap()),
        Process::RectifiedFlow(RectifiedFlow {}),
    ]
}

const KINDS: [Prediction; 6] = [
    Prediction::X0,
    Prediction::Epsilon,
    Prediction::Score,
    Prediction::V,
    Prediction::Velocity,
    Prediction::Edm { sigma_data: 0.5 },
];

fn mixture_1d() -> GaussianMixture {
    GaussianMixture::isotropic(
        &[0.3, 0.5, 0.2],
        array![[-1.5], [0.4], [2.0]],
        &[0.09, 0.25, 0.0625],
    )
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Any parametrisation into any other and back, for all processes, the ends of time included; never a NaN.
    #[test]
    fn r29_conversions_return(u in prop_oneof![Just(0.0), Just(1.0), 0.001..0.999_f64], x0 in -3.0..3.0_f64, eps in -3.0..3.0_f64) {
        for p in processes() {
            let k = p.coefficients(u * p.end());
            let x = k.alpha * x0 + k.sigma * eps;
            for from in KINDS {
                let Ok(there) = Prediction::X0.into(from, k).or(Prediction::Epsilon.into(from, k)) else { continue };
                let start = if Prediction::X0.into(from, k).is_ok() { x0 } else { eps };
                let value = there.apply(x, start);
                prop_assert!(value.is_finite());
                for to in KINDS {
                    let (Ok(go), Ok(back)) = (from.into(to, k), to.into(from, k)) else { continue };
                    let again = back.apply(x, go.apply(x, value));
                    prop_assert!((again - value).abs() <= 1e-9 * (1.0 + value.abs()), "{p:?} {u} {from:?} {to:?}: {again} {value}");
                }
            }
        }
    }
}

/// v and EDM's F tell everything at both ends; the others say what they cannot tell.
#[test]
fn r29_ends_of_time() {
    let p = RectifiedFlow {};
    let (start, end) = (p.coefficients(0.0), p.coefficients(1.0));
    for from in [Prediction::V, Prediction::Edm { sigma_data: 1.0 }] {
        for to in [Prediction::X0, Prediction::Epsilon, Prediction::V] {
            assert!(from.into(to, start).is_ok() && from.into(to, end).is_ok(), "{from:?} {to:?}");
        }
    }
    let text = Prediction::X0.into(Prediction::Epsilon, start).unwrap_err().to_string();
    assert_eq!(text, "`epsilon` cannot be told from `x0` at α = 1, σ = 0");
    let text = Prediction::Epsilon.into(Prediction::X0, end).unwrap_err().to_string();
    assert_eq!(text, "`x0` cannot be told from `epsilon` at α = 0, σ = 1");
    assert!(Prediction::Edm { sigma_data: 0.0 }.into(Prediction::X0, start).is_err());
}

/// At t = 0 a model's own score, posterior mean and velocity turn into each other where they can: the values are those of a
/// mixture, whose velocity is computed without any conversion.
#[test]
fn r29_score_and_velocity_at_the_clean_end() {
    let data = mixture_1d();
    for p in processes() {
        let k = p.coefficients(0.0);
        let (x, mut v) = (0.3, array![[0.0]]);
        let mut flow = Reverse::probability_flow(&*p, data.score(&*p));
        flow.drift(&array![[x]], Lanes { t: &[0.0], sample: &[0] }, &mut v).unwrap();
        let (mut s, mut d) = ([0.0], [0.0]);
        data.score(&*p).point(&[x], 0.0, &mut s, &mut d).unwrap();
        let velocity = Prediction::Score.into(Prediction::Velocity, k).unwrap().apply(x, s[0]);
        assert!((velocity - v[[0, 0]]).abs() < 1e-12 * (1.0 + velocity.abs()), "{p:?}");
        if k.d_sigma2 > 0.0 {
            let back = Prediction::Velocity.into(Prediction::Score, k).unwrap().apply(x, v[[0, 0]]);
            assert!((back - s[0]).abs() < 1e-10 * (1.0 + s[0].abs()), "{p:?}");
        }
    }
    // Rectified flow at t = 0: x_0 = x and ε = v + x; EDM: ε = v.
    let (ot, edm) = (RectifiedFlow {}.coefficients(0.0), Edm::new(80.0).unwrap().coefficients(0.0));
    let from = |to, k| Prediction::Velocity.into(to, k).unwrap();
    assert!((from(Prediction::X0, ot).apply(0.3, 1.1) - 0.3).abs() < 1e-15);
    assert!((from(Prediction::Epsilon, ot).apply(0.3, 1.1) - 1.4).abs() < 1e-15);
    assert!((from(Prediction::Epsilon, edm).apply(0.3, 1.1) - 1.1).abs() < 1e-15);
    assert!(Prediction::V.into(Prediction::Velocity, ot).is_ok());
}

#[test]
fn a_batch_converts_row_by_row() {
    let p = VpLinear::default();
    let k = [0.1, 0.9].map(|t| p.coefficients(t));
    let (x, eps) = (array![[1.0, 2.0], [3.0, 4.0]], array![[0.5, 0.1], [0.2, -0.3]]);
    let mut out = Array2::zeros((2, 2));
    Prediction::Epsilon.convert(Prediction::X0, &k, &x, &eps, &mut out).unwrap();
    for ((i, j), got) in out.indexed_iter() {
        let want = (x[[i, j]] - k[i].sigma * eps[[i, j]]) / k[i].alpha;
        assert!((got - want).abs() < 1e-12);
    }
    assert!(Prediction::V.convert(Prediction::X0, &k[..1], &x, &eps, &mut out).is_err());
}

/// Tweedie against quadrature over `x_0` in one dimension, first and second moment.
#[test]
fn r28_posterior_moments_by_quadrature() {
    let (sde, data) = (VpLinear::default(), mixture_1d());
    for (t, x) in [(0.05, 0.3), (0.3, -1.0), (0.8, 1.7)] {
        let k = sde.coefficients(t);
        let (h, n) = (1e-3, 12_000);
        let mut sums = [0.0; 3];
        let mut clean = data.score(&sde);
        for i in -n..=n {
            let x0 = h * f64::from(i);
            let log_q = -0.5 * ((x - k.alpha * x0) / k.sigma).powi(2);
            let w = (clean.log_density(&[x0], 0.0).unwrap() + log_q).exp();
            sums = [sums[0] + w, sums[1] + w * x0, sums[2] + w * x0 * x0];
        }
        let (mean, second) = (sums[1] / sums[0], sums[2] / sums[0]);
        let (mut s, mut d) = ([0.0], [0.0]);
        let mut model = data.score(&sde);
        let p = model.point(&[x], t, &mut s, &mut d).unwrap();
        assert!((d[0] - mean).abs() < 1e-10, "t = {t}: {} {mean}", d[0]);
        assert!((p.trace_covariance - (second - mean * mean)).abs() < 1e-10);
        let covariance = model.posterior_covariance(&[x], t).unwrap()[[0, 0]];
        let jacobian = model.score_jacobian(&[x], t).unwrap()[[0, 0]];
        assert!((covariance - p.trace_covariance).abs() < 1e-12);
        assert!((jacobian - p.div_score).abs() < 1e-12 * (1.0 + jacobian.abs()));
    }
}

/// (G8), (G9) of a mixture with full covariances: symmetric, traces as (G4), (G6), derivatives of the score.
#[test]
fn r28_matrices_of_a_full_mixture() {
    let covs = ndarray::Array3::from_shape_vec(
        (2, 2, 2),
        vec![0.3, 0.1, 0.1, 0.2, 0.15, -0.08, -0.08, 0.25],
    );
    let data = GaussianMixture::full(&[0.6, 0.4], array![[-1.0, 0.5], [1.2, 1.0]], &covs.unwrap())
        .unwrap();
    let sde = VpCosine::new(0.008).unwrap();
    let (x, h) = ([0.2, 0.6], 1e-6);
    for t in [0.1, 0.6] {
        let mut model = data.score(&sde);
        let at = |model: &mut sde_core::exact::MixtureScore<'_>, x: [f64; 2]| {
            let (mut s, mut d) = ([0.0; 2], [0.0; 2]);
            let p = model.point(&x, t, &mut s, &mut d).unwrap();
            (p, s)
        };
        let (p, _) = at(&mut model, x);
        let jacobian = model.score_jacobian(&x, t).unwrap();
        let covariance = model.posterior_covariance(&x, t).unwrap();
        assert!((jacobian.diag().sum() - p.div_score).abs() < 1e-11 * (1.0 + p.div_score.abs()));
        assert!((covariance.diag().sum() - p.trace_covariance).abs() < 1e-12);
        assert!(sde_core::exact::asymmetry(&jacobian).relative < 1e-14);
        for j in 0..2 {
            let (mut up, mut down) = (x, x);
            up[j] += h;
            down[j] -= h;
            let (up, down) = (at(&mut model, up).1, at(&mut model, down).1);
            for i in 0..2 {
                let slope = (up[i] - down[i]) / (2.0 * h);
                assert!((slope - jacobian[[i, j]]).abs() < 1e-6 * (1.0 + slope.abs()));
            }
        }
    }
}

/// (R55) In z = x/α and λ the flow is the same for every schedule: dz/dλ = −½ (σ/α) ε*.
#[test]
fn r55_the_flow_in_log_snr_knows_no_schedule() {
    let data = mixture_1d();
    for (lambda, z) in [(3.0, 0.4), (0.0, -1.2), (-2.0, 2.5)] {
        let slopes = processes().into_iter().map(|p| {
            let t = p.time_of_log_snr(lambda);
            let k = p.coefficients(t);
            let mut flow = Reverse::probability_flow(&*p, data.score(&*p));
            let (x, mut v) = (array![[k.alpha * z]], array![[0.0]]);
            flow.drift(&x, Lanes { t: &[t], sample: &[0] }, &mut v).unwrap();
            // dz/dt = v/α − α' x/α²
            (v[[0, 0]] - k.d_alpha * z) / k.alpha / p.d_log_snr(t)
        });
        let slopes: Vec<f64> = slopes.collect();
        for s in &slopes {
            assert!((s - slopes[0]).abs() < 1e-9 * (1.0 + s.abs()), "λ = {lambda}: {slopes:?}");
        }
    }
}

/// (R74) The bound holds, and for one Gaussian quadrature equals the closed form.
#[test]
fn r74_prior_mismatch_is_below_its_bound() {
    let data = mixture_1d();
    let second: f64 = (0..3)
        .map(|k| [0.3, 0.5, 0.2][k] * (data.means()[[k, 0]].powi(2) + [0.09, 0.25, 0.0625][k]))
        .sum();
    for p in processes() {
        for u in [0.5, 0.9, 0.99] {
            let t = u * p.end();
            let kl = prior::mismatch(&data, &*p, t).unwrap();
            let bound = prior::mismatch_bound(&*p, t, second);
            assert!(kl > 0.0 && kl <= bound, "{p:?} at {t}: {kl:e} {bound:e}");
        }
    }
    let sde = VpLinear::default();
    let one = GaussianMixture::isotropic(&[1.0], array![[0.7]], &[0.36]).unwrap();
    let twice =
        GaussianMixture::isotropic(&[0.5, 0.5], array![[0.7], [0.7]], &[0.36, 0.36]).unwrap();
    let plane =
        GaussianMixture::isotropic(&[0.5, 0.5], array![[0.7, 0.0], [0.7, 0.0]], &[0.36, 0.36]);
    let flat = GaussianMixture::isotropic(&[1.0], array![[0.7, 0.0]], &[0.36]).unwrap();
    for t in [0.3, 0.7, 1.0] {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9 * b + 1e-14;
        let [a, b] = [&twice, &one].map(|m| prior::mismatch(m, &sde, t).unwrap());
        assert!(close(a, b), "t = {t}: {a:e} {b:e}");
        let [a, b] = [plane.as_ref().unwrap(), &flat].map(|m| prior::mismatch(m, &sde, t).unwrap());
        assert!(close(a, b), "t = {t}: {a:e} {b:e}");
    }
}

/// A user's VP process is the library's, with derivatives given and without.
#[test]
fn a_custom_process_is_the_process_it_describes() {
    let vp = VpLinear::default();
    let custom = || Custom::new(1.0, move |t| vp.alpha(t), move |t| vp.sigma(t)).unwrap();
    let exact = custom().with_derivatives(
        move |t| vp.coefficients(t).d_alpha,
        move |t| vp.coefficients(t).d_sigma2,
    );
    for (process, tolerance) in [(custom(), 1e-8), (exact, 1e-12)] {
        for t in [0.0, 1e-3, 0.01, 0.3, 0.77, 0.999, 1.0] {
            let (a, b) = (process.coefficients(t), vp.coefficients(t));
            let close = |a: f64, b: f64| (a - b).abs() <= tolerance * (1.0 + b.abs());
            assert!(
                close(a.d_alpha, b.d_alpha) && close(a.d_sigma2, b.d_sigma2),
                "{t}: {a:?} {b:?}"
            );
            if t > 0.0 {
                assert!(close(process.f(t), vp.f(t)) || t > 0.99, "{t}");
                assert!((process.log_snr(t) - vp.log_snr(t)).abs() < 1e-9);
                assert!((process.time_of_log_snr(vp.log_snr(t)) - t).abs() < 1e-9);
            }
        }
        let (a, b) = (process.kernel(0.2, 0.7), vp.kernel(0.2, 0.7));
        assert!((a.a - b.a).abs() < 1e-12 && (a.var - b.var).abs() < 1e-12);
    }
    assert!(Custom::new(1.0, |_| 1.0, |t| 1.0 - t).is_err(), "noise must rise");
    assert!(Custom::new(1.0, |_| f64::NAN, |t| t).is_err());
    assert!(Custom::new(-1.0, |_| 1.0, |t| t).is_err());
}

/// (R4) DDIM's noise is η g in the limit, and halving the step halves what is missing.
#[test]
fn r51_ddim_noise_tends_to_eta_g() {
    let sde = VpLinear::default();
    for eta in [0.3, 1.0] {
        let off = |n: f64| {
            let (t, h) = (0.4, 1.0 / n);
            ddim_sigma(&sde, eta, t - h, t).powi(2) / (sde.g2(t) * h) - eta * eta
        };
        let ratio = off(1000.0) / off(2000.0);
        assert!((1.8..2.2).contains(&ratio), "η = {eta}: {ratio}");
        let sigma = ddim_sigma(&sde, eta, 0.3, 0.4);
        assert!((eta_of_ddim_sigma(&sde, sigma, 0.3, 0.4) - eta).abs() < 1e-14);
    }
}

/// η may be a function of time and exceed 1; forward and reverse drifts differ by η² g² s.
#[test]
fn r40_eta_of_time() {
    let (sde, data) = (VpLinear::default(), mixture_1d());
    let eta = |t: f64| 2.0 * t;
    let mut family = Reverse::new(&sde, data.score(&sde), Eta::OfTime(&eta)).unwrap();
    let mut flow = Reverse::probability_flow(&sde, data.score(&sde));
    let (x, at) = (array![[0.3]], Lanes { t: &[0.8], sample: &[0] });
    let [mut back, mut forth, mut v] = [(); 3].map(|()| array![[0.0]]);
    family.drift(&x, at, &mut back).unwrap();
    family.forward_drift(&x, at, &mut forth).unwrap();
    flow.drift(&x, at, &mut v).unwrap();
    let mut field = Field::like(&x);
    data.score(&sde).evaluate(&x, at, &mut field).unwrap();
    let half = 0.5 * noise_scale(&sde, 1.6, 0.8).powi(2) * field.score[[0, 0]];
    assert!((back[[0, 0]] - (v[[0, 0]] - half)).abs() < 1e-12);
    assert!((forth[[0, 0]] - (v[[0, 0]] + half)).abs() < 1e-12);
    let negative = |t: f64| 0.5 - t;
    assert!(
        Reverse::<Array2<f64>, _>::new(&sde, data.score(&sde), Eta::OfTime(&negative)).is_err()
    );
    assert!(Reverse::<Array2<f64>, _>::new(&sde, data.score(&sde), f64::NAN).is_err());
}

#[test]
fn bulk_evaluation_is_the_rows_own() {
    let (sde, data) = (VpLinear::default(), mixture_1d());
    let x = Array1::linspace(-3.0, 3.0, 1001).insert_axis(ndarray::Axis(1));
    let (field, divergence) = data.evaluate_all(&sde, &x, 0.4).unwrap();
    let mut model = data.score(&sde);
    for i in [0, 255, 256, 1000] {
        let (mut s, mut d) = ([0.0], [0.0]);
        let p = model.point(&[x[[i, 0]]], 0.4, &mut s, &mut d).unwrap();
        assert_eq!(field.score[[i, 0]].to_bits(), s[0].to_bits());
        assert_eq!(field.denoised[[i, 0]].to_bits(), d[0].to_bits());
        assert_eq!(divergence.score[i].to_bits(), p.div_score.to_bits());
    }
    assert!(data.evaluate_all(&sde, &Array2::zeros((3, 2)), 0.4).is_err());
}

#[test]
fn grids_have_exact_ends() {
    let levels = grid::karras(1, 0.002, 80.0, 7.0).unwrap();
    assert_eq!(levels.len(), 2); // one level and 0, without a division by n − 1
    let levels = grid::karras(18, 0.002, 80.0, 7.0).unwrap();
    assert_eq!(
        [levels[0], levels[17], levels[18]].map(f64::to_bits),
        [80.0, 0.002, 0.0].map(f64::to_bits)
    );
    assert!(grid::karras(0, 0.002, 80.0, 7.0).is_err() && grid::karras(5, 0.0, 80.0, 7.0).is_err());
    let sde = VpLinear::default();
    let times = grid::log_snr(&sde, 10, 1.0, 1e-3).unwrap();
    assert_eq!([times[0], times[10]].map(f64::to_bits), [1.0, 1e-3].map(f64::to_bits));
    let steps: Vec<f64> = times.windows(2).map(|w| sde.log_snr(w[1]) - sde.log_snr(w[0])).collect();
    assert!(steps.iter().all(|s| (s - steps[0]).abs() < 1e-9), "{steps:?}");
    assert!(grid::log_snr(&sde, 10, 1.0, 0.0).is_err(), "λ is infinite at t = 0");
}
