//! The discrete bound: its terms are the divergences they claim to be, and it is a bound.

#![allow(clippy::unwrap_used)]

use ndarray::{Array2, array};
use proptest::prelude::*;
use score_match::elbo::{self, ChainElbo, ReverseVariance, gaussian_kl};
use score_match::times::StepLaw;
use score_match::{Weighting, ideal, residual::residual_at, steps};
use sde_core::chain::{BetaRange, BetaSchedule, ContinuousChain, DdpmChain};
use sde_core::quadrature::integrate;
use sde_core::{GaussianMixture, Lanes, Noise, Prediction, Purpose, State, Summary};

fn linear(steps: usize) -> DdpmChain {
    BetaSchedule::Linear(BetaRange { steps, beta_start: 1e-4, beta_end: 0.02 }).chain().unwrap()
}

/// `r − 1 − ln r` halved: the divergence of two Gaussians of ratio r.
fn k(r: f64) -> f64 {
    0.5 * (r - 1.0 - r.ln())
}

fn log_normal(x: f64, mean: f64, v: f64) -> f64 {
    -0.5 * ((x - mean).powi(2) / v + (std::f64::consts::TAU * v).ln())
}

#[test]
fn r16_divergence_of_gaussians_by_quadrature() {
    for (m, n, v, w) in [(0.3, -0.4, 0.5, 0.8), (0.0, 0.0, 2.0, 0.3), (1.0, 1.1, 1.0, 1.01)] {
        let of = |x: f64| log_normal(x, m, v).exp() * (log_normal(x, m, v) - log_normal(x, n, w));
        let std = f64::sqrt(v);
        let pieces = (-10..10).map(|i| f64::from(i) * std + m);
        let want: f64 = pieces.map(|from| integrate(from, from + std, of)).sum();
        let got = gaussian_kl((m - n).powi(2), (v, w), 1);
        assert!((got - want).abs() < 1e-12 * want.max(1e-3), "{got} {want}");
    }
    assert!((gaussian_kl(0.7, (2.0, 2.0), 5) - 0.7 / 4.0).abs() < 1e-16);
    let (one, other) = (gaussian_kl(0.0, (2.0, 1.0), 1), gaussian_kl(0.0, (1.0, 2.0), 1));
    assert!(one > other + 0.05, "not symmetric: {one} {other}");
}

/// R21: the expected log-likelihood is the entropy's and the divergence's sum with the sign turned.
#[test]
fn r21_maximum_likelihood_is_least_divergence() {
    let (m, v) = (0.7, 0.36);
    let entropy = 0.5 * (std::f64::consts::TAU * std::f64::consts::E * v).ln();
    for (n, w) in [(0.7, 0.36), (0.1, 0.5), (-2.0, 0.05)] {
        let likelihood = -0.5 * ((v + (m - n) * (m - n)) / w + (std::f64::consts::TAU * w).ln());
        let kl = gaussian_kl((m - n) * (m - n), (v, w), 1);
        assert!((likelihood + entropy + kl).abs() < 1e-12 * kl.max(1.0), "{n} {w}");
    }
}

proptest! {
    #[test]
    fn r16_divergence_is_not_negative(square in 0.0..10.0_f64, v in 1e-3..1e3_f64, step in -1e-2..1e-2_f64) {
        prop_assert!(gaussian_kl(square, (v, 1.0), 3) >= 0.0);
        // Near equal variances, against the first terms of the series.
        let got = gaussian_kl(0.0, (v * (1.0 + step), v), 1);
        let want = 0.5 * step * step * (0.5 - step / 3.0 + step * step / 4.0 - step.powi(3) / 5.0);
        prop_assert!((got - want).abs() <= 2e-8 * want + 1e-26, "{got} {want}");
    }

    /// R17, R18: the mean of the posterior and the term, from every prediction, at every step.
    #[test]
    fn r17_r18_every_prediction_makes_one_term(
        x0 in -3.0..3.0_f64, estimate in -3.0..3.0_f64, xt in -3.0..3.0_f64, t in 2_usize..=1000,
    ) {
        prop_assume!((x0 - estimate).abs() > 0.1);
        let chain = linear(1000);
        let step = chain.step(t).unwrap();
        let level = elbo::level(&step);
        let want = elbo::term(&step, Prediction::X0, xt, [x0, estimate]).unwrap();
        let kl = elbo::term_by_means(&step, xt, [x0, estimate]).unwrap();
        prop_assert!((kl - want).abs() < 1e-8 * want, "{kl} {want}");
        let edm = Prediction::Edm { sigma_data: 0.6 };
        for p in [Prediction::Epsilon, Prediction::Score, Prediction::V, edm] {
            let term = elbo::term(&step, p, xt, [x0, estimate]).unwrap();
            prop_assert!((term - want).abs() < 1e-8 * want, "{p:?}: {term} {want}");
            let y = Prediction::X0.into(p, level).unwrap().apply(xt, x0);
            let back = p.into(Prediction::X0, level).unwrap().apply(xt, y);
            let (mean, from) = (step.posterior().mean(x0, xt), step.posterior().mean(back, xt));
            prop_assert!((mean - from).abs() < 1e-12 * (1.0 + mean.abs()), "{p:?}: {mean} {from}");
        }
        // w_x0 is half the fall of the signal-to-noise ratio.
        let fall = 0.5 * (chain.step(t - 1).unwrap().snr() - step.snr());
        let weight = elbo::term_weight(&step, Prediction::X0).unwrap();
        prop_assert!((fall - weight).abs() < 1e-10 * chain.step(t - 1).unwrap().snr());
    }
}

/// R23: for Gaussian data the gap is the divergence of the ends and of the reverse steps, in closed form.
#[test]
fn r23_gap_of_gaussian_data_is_the_closed_form() {
    let (m, v0) = (0.7, 0.36);
    let data = GaussianMixture::isotropic(&[1.0], array![[m]], &[v0]).unwrap();
    let chain = linear(1000);
    let mmse = ideal::errors(&data, &chain).unwrap();
    let entropy = 0.5 * (std::f64::consts::TAU * std::f64::consts::E * v0).ln();
    let v = |log_abar: f64| log_abar.exp() * v0 - log_abar.exp_m1();
    let last = chain.step(1000).unwrap();
    let start = gaussian_kl(last.abar() * m * m, (v(last.log_abar), 1.0), 1);
    let choices = [
        (ReverseVariance::Small, 0.459_115, 5e-7),
        (ReverseVariance::Large, 5.801_94e-4, 5e-10),
        (ReverseVariance::Optimal { mmse: &mmse }, 9.887_96e-6, 5e-12),
    ];
    for (choice, known, digits) in choices {
        let elbo = ChainElbo::of_errors(&chain, choice, &mmse, data.second_moment(), 1).unwrap();
        let gap = elbo.negative_log_likelihood() - entropy;
        let of = |step: sde_core::chain::DdpmStep| {
            let posterior = step.posterior();
            let (t, small) = (step.t, posterior.var);
            let s = match choice {
                ReverseVariance::Optimal { .. } => small + posterior.coef_x0.powi(2) * mmse[t - 1],
                ReverseVariance::Small if t > 1 => small,
                _ => step.beta,
            };
            k(step.beta * v(step.log_abar_prev) / (v(step.log_abar) * s))
        };
        let want = start + chain.iter().map(of).sum::<f64>();
        assert!((gap - want).abs() < 1e-10, "{choice:?}: {gap} {want}");
        assert!((gap - known).abs() < digits + 1e-11, "{choice:?}: {gap} {known}");
    }
}

/// R22: no variance is better than the optimal one, and every gap is one.
#[test]
fn r22_the_optimal_variance_is_optimal() {
    let means = array![[-1.5], [0.4], [2.0]];
    let data = GaussianMixture::isotropic(&[0.3, 0.5, 0.2], means, &[0.09, 0.25, 0.0625]).unwrap();
    let clean = sde_core::sde::Edm::new(1.0).unwrap();
    let entropy = data.expect(&clean, 0.0, |p| -p.values.log_density).unwrap();
    let chain = DdpmChain::new((1..=12).map(|i| 0.08 * f64::from(i)).collect()).unwrap();
    let mmse = ideal::errors(&data, &chain).unwrap();
    let gap = |choice| {
        let elbo = ChainElbo::of_errors(&chain, choice, &mmse, data.second_moment(), 1).unwrap();
        elbo.negative_log_likelihood() - entropy
    };
    let best = gap(ReverseVariance::Optimal { mmse: &mmse });
    assert!(best > 0.0);
    assert!(best < gap(ReverseVariance::Small) && best < gap(ReverseVariance::Large));
}

/// R24: draws of t, `x_0` and ε estimate the sum that is known exactly; a law near the terms' size does so with less noise.
#[test]
fn r24_random_steps_estimate_the_sum() {
    let means = array![[-1.5], [0.4], [2.0]];
    let data = GaussianMixture::isotropic(&[0.3, 0.5, 0.2], means, &[0.09, 0.25, 0.0625]).unwrap();
    let chain =
        BetaSchedule::VpExact { steps: 200, beta_min: 0.1, beta_max: 20.0 }.chain().unwrap();
    let (sde, weights) = (ContinuousChain::new(&chain).unwrap(), chain.weights().unwrap());
    let mmse = ideal::errors(&data, &chain).unwrap();
    let exact =
        ChainElbo::of_errors(&chain, ReverseVariance::Small, &mmse, data.second_moment(), 1)
            .unwrap();
    let n = 100_000;
    let numbers: Vec<u64> = (0..n as u64).collect();
    let source = Noise::new(3, Purpose::Training);
    let (mut x0, mut eps) = (Array2::zeros((n, 1)), Array2::zeros((n, 1)));
    source.fill(&numbers, 0, &mut x0).unwrap();
    source.fill(&numbers, 1, &mut eps).unwrap();
    let mut u = vec![[0.0; 2]; n];
    u.iter_mut().zip(&numbers).for_each(|(u, i)| source.uniform(*i, 2, u));
    for (x, u) in x0.iter_mut().zip(&u) {
        let k = usize::from(u[0] > 0.3) + usize::from(u[0] > 0.8);
        *x = [-1.5, 0.4, 2.0][k] + [0.3, 0.5, 0.25][k] * *x;
    }
    let estimate = |law: &StepLaw| {
        let drawn: Vec<_> = u.iter().map(|u| law.at(u[1])).collect();
        let t: Vec<usize> = drawn.iter().map(|d| d.t).collect();
        let times: Vec<f64> = t.iter().map(|&t| sde.time_of_label(t as f64 - 1.0)).collect();
        let at = Lanes { t: &times, sample: &numbers };
        let (levels, mut r) = (steps::levels(&weights, &t).unwrap(), x0.clone());
        residual_at(&levels, &mut data.score(&sde), &x0, &eps, at, &mut r).unwrap();
        let mut squares = vec![0.0; n];
        r.add_squared_norm(&mut squares);
        for (square, d) in squares.iter_mut().zip(&drawn) {
            let w = steps::weight(&weights, Weighting::Likelihood, d.t).unwrap();
            *square *= 0.5 * w * d.weight;
        }
        Summary::of(&squares)
    };
    let uniform = StepLaw::uniform(2, 200).unwrap();
    assert!((uniform.at(0.4).weight - 199.0).abs() < 1e-11);
    let (plain, weighted) = (estimate(&uniform), estimate(&StepLaw::new(2, &exact.steps).unwrap()));
    for got in [plain, weighted] {
        assert!(
            (got.mean - exact.sum()).abs() < 4.0 * got.standard_error,
            "{got:?} {}",
            exact.sum()
        );
        assert!(got.standard_error < 0.05 * exact.sum());
    }
    assert!(weighted.standard_error < 0.7 * plain.standard_error, "{plain:?} {weighted:?}");
}

/// The terms of a batch under a model are those of the best denoiser in the mean, each of them, and per sample.
#[test]
fn e2_the_bound_of_a_model_is_unbiased() {
    let means = array![[-1.5], [0.4], [2.0]];
    let data = GaussianMixture::isotropic(&[0.3, 0.5, 0.2], means, &[0.09, 0.25, 0.0625]).unwrap();
    let chain = BetaSchedule::VpExact { steps: 20, beta_min: 0.1, beta_max: 20.0 }.chain().unwrap();
    let sde = ContinuousChain::new(&chain).unwrap();
    let (x, n) = (0.8, 20_000);
    let (x0, numbers) = (Array2::from_elem((n, 1), x), (0..n as u64).collect::<Vec<_>>());
    let (source, time) = (Noise::new(9, Purpose::Training), |t: usize| t as f64 / 20.0);
    let (variance, mut model) = (ReverseVariance::Large, data.score(&sde));
    let batch = elbo::estimate(&chain, variance, &mut model, (&x0, &numbers), (source, &time));
    let batch = batch.unwrap();
    let errors = ideal::errors_at(&data, &chain, x).unwrap();
    let exact = ChainElbo::of_errors(&chain, variance, &errors, x * x, 1).unwrap();
    let near = |of: &dyn Fn(&ChainElbo) -> f64| {
        let (got, want) = (Summary::of(&batch.iter().map(of).collect::<Vec<_>>()), of(&exact));
        assert!((got.mean - want).abs() < 4.0 * got.standard_error, "{got:?} {want}");
        assert!(got.standard_error < 0.05);
    };
    (2..=20).for_each(|t| near(&|e| e.step(t).unwrap()));
    near(&|e| e.reconstruction);
    near(&ChainElbo::negative_log_likelihood);
    assert!((batch[0].prior - exact.prior).abs() < 1e-15);
    let alone =
        elbo::estimate(&chain, variance, &mut model, (&array![[x]], &[17]), (source, &time));
    assert_eq!(alone.unwrap()[0], batch[17]);
}

/// (E6) two ways: the integral over the ratio, and the fall of the information that `x_t` has of `x_0`.
#[test]
fn e6_the_diffusion_loss_is_the_information_that_is_lost() {
    let means = array![[-1.5], [0.4], [2.0]];
    let data = GaussianMixture::isotropic(&[0.3, 0.5, 0.2], means, &[0.09, 0.25, 0.0625]).unwrap();
    let flow = sde_core::sde::RectifiedFlow::default();
    let vp = sde_core::VpLinear::default();
    let cases: [(&dyn sde_core::Sde, (f64, f64)); 3] =
        [(&vp, (1e-3, 1.0)), (&flow, (0.01, 0.9)), (&flow, (0.01, 1.0))];
    for (sde, span) in cases {
        let information = |t: f64| {
            let noise =
                0.5 * (std::f64::consts::TAU * std::f64::consts::E * sde.sigma(t).powi(2)).ln();
            data.expect(sde, t, |p| -p.values.log_density).unwrap() - noise
        };
        let want = information(span.0) - information(span.1);
        let got = ideal::diffusion_loss(&data, sde, span).unwrap();
        assert!((got - want).abs() < 1e-9, "{span:?}: {got} {want}");
    }
    // The sum of a chain tends to it at first order.
    let gap = |steps: usize| {
        let chain = BetaSchedule::VpExact { steps, beta_min: 0.1, beta_max: 20.0 }.chain().unwrap();
        let mmse = ideal::errors(&data, &chain).unwrap();
        let sum =
            ChainElbo::of_errors(&chain, ReverseVariance::Small, &mmse, 1.0, 1).unwrap().sum();
        sum - ideal::diffusion_loss(&data, &vp, (0.02, 1.0)).unwrap()
            - terms_before(&data, &chain, &mmse, 0.02)
    };
    let ratio = gap(400) / gap(800);
    assert!((1.9..2.1).contains(&ratio), "{ratio}");
}

/// The terms of the steps that end before the time `t`.
fn terms_before(data: &GaussianMixture, chain: &DdpmChain, mmse: &[f64], t: f64) -> f64 {
    let elbo =
        ChainElbo::of_errors(chain, ReverseVariance::Small, mmse, data.second_moment(), 1).unwrap();
    let steps = (2..=chain.steps()).take_while(|&i| i as f64 <= t * chain.steps() as f64 + 1e-9);
    steps.map(|i| elbo.step(i).unwrap()).sum()
}

#[test]
fn what_does_not_fit_is_refused() {
    let chain = linear(10);
    let elbo = |variance, errors: &[f64]| {
        ChainElbo::of_errors(&chain, variance, errors, 1.0, 1).map(|e| e.prior)
    };
    let error = elbo(ReverseVariance::Small, &[1.0; 9]).unwrap_err().to_string();
    assert_eq!(error, "squared errors of the chain: found 9, expected 10");
    let zero = ReverseVariance::Optimal { mmse: &[0.0; 10] };
    let error = elbo(zero, &[1.0; 10]).unwrap_err().to_string();
    assert!(error.contains("variance of the decoder = 0"), "{error}");
    let first = chain.step(1).unwrap();
    assert!(elbo::term_weight(&first, Prediction::X0).is_err());
    assert!(elbo::term_by_means(&first, 0.0, [0.0, 1.0]).is_err());
    assert!(elbo::term_weight(&chain.step(2).unwrap(), Prediction::Velocity).is_err());
    let full = ChainElbo::of_errors(&chain, ReverseVariance::Small, &[1.0; 10], 1.0, 1).unwrap();
    assert!(full.step(1).is_err() && full.step(11).is_err() && full.step(10).is_ok());
    assert!(StepLaw::uniform(3, 2).is_err() && StepLaw::new(2, &[1.0, 0.0]).is_err());
}
