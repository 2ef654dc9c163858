//! Discrete chains: weightings of signal and noise, DDPM's betas and posteriors, their limits. Tests are named after
//! the requirements that they check.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use sde_core::Process;
use sde_core::chain::{BetaSchedule, DdpmChain, NoiseRamp, TerminalSnr, Variance};
use sde_core::chain::{ContinuousChain, Weighting, Weights};
use serde_json::json;
use std::f64::consts::{FRAC_1_SQRT_2, PI};

fn chain(spec: serde_json::Value) -> DdpmChain {
    serde_json::from_value::<BetaSchedule>(spec).unwrap().chain().unwrap()
}

/// The schedules of the known answers, and the chain that keeps the most signal.
fn schedules() -> [DdpmChain; 4] {
    [
        chain(json!({"name": "linear", "T": 1000, "beta_start": 1e-4, "beta_end": 0.02})),
        chain(
            json!({"name": "scaled_linear", "T": 1000, "beta_start": 0.00085, "beta_end": 0.012}),
        ),
        chain(json!({"name": "cosine", "T": 1000, "s": 0.008, "max_beta": 0.999})),
        chain(json!({"name": "vp_exact", "T": 1000, "beta_min": 0.1, "beta_max": 20.0})),
    ]
}

/// The ramp of b from 1e-4 to 0.02.
fn ramp(weighting: Weighting, steps: usize) -> Weights {
    Weights::of(weighting, &NoiseRamp::Linspace(1e-4, 0.02, steps)).unwrap()
}

fn close(a: f64, b: f64, rtol: f64) -> bool {
    (a - b).abs() <= rtol * a.abs().max(b.abs())
}

/// log N(x; m, v).
fn log_normal(x: f64, m: f64, v: f64) -> f64 {
    -0.5 * ((x - m) * (x - m) / v + (2.0 * PI * v).ln())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn r06_unrolled_product_is_the_recursion(
        steps in prop::collection::vec((0.001..0.999_f64, 0.001..0.999_f64), 1..200)
    ) {
        let (a, b): (Vec<f64>, Vec<f64>) = steps.into_iter().unzip();
        let chain = Weights::new(&a, &b).unwrap();
        let product: f64 = a.iter().product();
        let later = |i: usize| a[i + 1..].iter().product::<f64>();
        let variance: f64 = (0..b.len()).map(|i| (later(i) * b[i]).powi(2)).sum();
        let log_signal = chain.log_signal()[a.len()];
        prop_assert!((log_signal - product.ln()).abs() <= 1e-12 * log_signal.abs() + 1e-15);
        prop_assert!(close(chain.matched_prior_std().powi(2), variance, 1e-12));
    }

    #[test]
    fn r14_bayes_rule_joins_the_posterior_to_the_chain(
        which in 0..4_usize, t in 2..=1000_usize, x0 in -2.0..2.0_f64, z in prop::array::uniform2(-3.0..3.0_f64)
    ) {
        let step = schedules()[which].step(t).unwrap();
        let (before, now) = (-step.log_abar_prev.exp_m1(), step.one_minus_abar());
        let x1 = (0.5 * step.log_abar_prev).exp() * x0 + before.sqrt() * z[0]; // x_{t−1}
        let x2 = step.alpha().sqrt() * x1 + step.beta.sqrt() * z[1]; // x_t
        let q = step.posterior();
        let terms = [
            log_normal(x1, q.mean(x0, x2), q.var),
            log_normal(x2, step.abar().sqrt() * x0, now),
            -log_normal(x2, step.alpha().sqrt() * x1, step.beta),
            -log_normal(x1, (0.5 * step.log_abar_prev).exp() * x0, before),
        ];
        let size: f64 = terms.iter().map(|l| l.abs()).sum();
        prop_assert!(terms.iter().sum::<f64>().abs() <= 1e-9 * (1.0 + size), "{t}: {terms:?}");
    }
}

#[test]
fn r07_noise_coefficient_of_three_weightings() {
    let expected = [
        (Weighting::Square, [0.4849, 0.8592, 0.999_999_24]),
        (Weighting::Sum, [0.0999, 0.1004, 0.1005]),
        (Weighting::Equal, [0.0200, 0.0200, 0.0200]),
    ];
    for (weighting, values) in expected {
        for (steps, value) in [2_000, 10_000, 100_000].into_iter().zip(values) {
            let chain = ramp(weighting, steps);
            let digits = if value > 0.99 { 5e-9 } else { 5e-5 };
            assert!((chain.matched_prior_std() - value).abs() < digits, "{weighting:?} {steps}");
            // A product of factors would underflow long before.
            assert!(chain.log_signal()[steps].is_finite());
        }
    }
    let log_signal = ramp(Weighting::Equal, 100_000).log_signal()[100_000];
    assert!((log_signal + 488_541.0).abs() < 1.0, "{log_signal}");
}

#[test]
fn r08_closed_form_of_the_square_weighting() {
    let chain = ramp(Weighting::Square, 100_000);
    for (t, (log_signal, noise)) in chain.log_signal().iter().zip(chain.noise()).enumerate() {
        let closed = (-(2.0 * log_signal).exp_m1()).sqrt();
        let rtol = if t == 1 { 1e-12 } else { 1e-10 };
        assert!(close(closed, *noise, rtol), "{t}: {closed} {noise}");
    }
}

#[test]
fn r09_fixed_points_and_verdicts() {
    for b in [1e-4_f64, 0.02, 0.5, 0.8, 0.999] {
        let points = [
            (Weighting::Sum, (b / (2.0 - b)).sqrt()),
            (Weighting::Square, 1.0),
            (Weighting::Equal, b / (1.0 - b * b).sqrt()),
        ];
        for (weighting, point) in points {
            assert!(close(weighting.fixed_point(b).unwrap(), point, 1e-12), "{weighting:?} {b}");
        }
    }
    assert_eq!(Weighting::Equal.fixed_point(1.0), None); // v grows by 1 in each step
    assert_eq!(Weighting::Square.fixed_point(0.0), None); // nothing ever changes

    let constant = |w, b| Weights::of(w, &NoiseRamp::Constant(b, 2000)).unwrap().verdict();
    let to_one = |w, b| constant(w, b).converges_to_one_within_1e_3;
    assert!(to_one(Weighting::Equal, FRAC_1_SQRT_2)); // a = b can end at 1 …
    assert!(to_one(Weighting::Sum, 0.9995) && !to_one(Weighting::Sum, 0.5)); // … and so can a + b = 1
    assert!((constant(Weighting::Equal, 0.8).noise_coef - 4.0 / 3.0).abs() < 1e-12);
    let verdicts = [2_000, 10_000, 100_000].map(|n| ramp(Weighting::Square, n).verdict());
    assert_eq!(verdicts.map(|v| v.converges_to_one_within_1e_3), [false, false, true]);
    let from = verdicts[2].converged_from.unwrap();
    let noise = ramp(Weighting::Square, 100_000).noise().to_vec();
    assert!(noise[from - 1] < 0.999 && noise[from..].iter().all(|c| (c - 1.0).abs() <= 1e-3));
}

#[test]
fn r10_matched_prior_returns_gaussian_data() {
    let own = Weights::new(&[0.9; 400], &[0.7; 400]).unwrap();
    let square = Weights::of(Weighting::Square, &NoiseRamp::Constant(0.05, 20_000)).unwrap();
    let (sum, equal) = (ramp(Weighting::Sum, 10_000), ramp(Weighting::Equal, 2_000));
    assert!((sum.matched_prior_std() - 0.10038).abs() < 1e-5);
    for chain in [own, square, sum, equal] {
        let (mean, var) = chain.reverse_gaussian(0.7, 0.36, chain.matched_prior_std());
        assert!((mean - 0.7).abs() < 1e-10 && (var - 0.36).abs() < 1e-10, "{mean} {var}");
    }
    // A chain that keeps its signal has no prior that does not know the data.
    let kept = ramp(Weighting::Square, 2_000);
    let (mean, _) = kept.reverse_gaussian(0.7, 0.36, kept.matched_prior_std());
    assert!((mean - 0.7).abs() > 0.1, "{mean}");
}

#[test]
fn r11_ddpm_tends_to_the_vp_sde_at_first_order() {
    let sde: Process =
        serde_json::from_value(json!({"name": "vp-linear", "beta_min": 0.1, "beta_max": 20.0}))
            .unwrap();
    let error = |n: usize| {
        let abar = DdpmChain::euler_of_sde(&*sde, n).unwrap().step(n).unwrap().abar();
        (abar - sde.alpha(1.0).powi(2)).abs()
    };
    let ratio = error(1_000) / error(10_000);
    assert!((9.0..11.0).contains(&ratio), "{ratio}");
    assert!(DdpmChain::euler_of_sde(&*sde, 10).is_err()); // β would be 2
}

#[test]
fn r12_terminal_snr_of_every_schedule() {
    let [linear, scaled, cosine, _] = schedules().map(|chain| chain.terminal_snr());
    let sde = |spec: serde_json::Value| {
        TerminalSnr::of_sde(&*serde_json::from_value::<Process>(spec).unwrap())
    };
    let vp = sde(json!({"name": "vp-linear", "beta_min": 0.1, "beta_max": 20.0}));
    let ve = sde(json!({"name": "ve", "sigma_min": 0.01, "sigma_max": 50.0}));
    let edm = sde(json!({"name": "edm"}));
    let found = [linear, scaled, cosine, vp, ve, edm];
    let expected = [4.036e-5, 4.682e-3, 2.43e-9, 4.319e-5, 4.0e-4, 1.5625e-4];
    for (found, expected) in found.iter().zip(expected) {
        assert!(close(found.snr, expected, 1e-3), "{found:?} {expected}");
        assert_eq!(found.warn, expected > 1e-3);
    }
    for spec in [json!({"name": "ot"}), json!({"name": "vp-cosine", "s": 0.008})] {
        assert_eq!(sde(spec).snr.to_bits(), 0);
    }
    assert!(ramp(Weighting::Square, 2_000).terminal_snr().warn);
    let smld = Weights::smld(0.01, 50.0, 1000).unwrap();
    assert!(close(smld.terminal_snr().snr, 4.0e-4, 1e-9));
    assert!(close(smld.noise()[1], 0.01, 1e-12) && close(smld.noise()[1000], 50.0, 1e-12));
}

#[test]
fn r12_rescaling_leaves_no_signal() {
    for chain in schedules() {
        let rescaled = chain.zero_terminal_snr().unwrap();
        let root = |c: &DdpmChain, t: usize| (0.5 * c.log_abar()[t]).exp();
        let scale = root(&chain, 1) / (root(&chain, 1) - root(&chain, 1000));
        for t in 1..1000 {
            let expected = (root(&chain, t) - root(&chain, 1000)) * scale;
            assert!((root(&rescaled, t) - expected).abs() < 1e-13, "{t}");
        }
        assert_eq!(rescaled.terminal_snr().snr.to_bits(), 0);
        let last = rescaled.step(1000).unwrap().posterior();
        assert!(last.coef_xt == 0.0 && last.var > 0.99, "{last:?}");
        assert!(ContinuousChain::new(&rescaled).is_err()); // λ(1) = −∞
    }
}

#[test]
fn r13_posterior_by_precisions() {
    for chain in schedules() {
        let first = chain.step(1).unwrap().posterior();
        assert_eq!((first.coef_x0, first.coef_xt, first.var), (1.0, 0.0, 0.0));
        for t in [2, 3, 10, 100, 500, 999, 1000] {
            let (step, before) = (chain.step(t).unwrap(), chain.step(t - 1).unwrap());
            let precision = step.alpha() / step.beta + before.one_minus_abar().recip();
            let (q, var) = (step.posterior(), precision.recip());
            assert!(close(q.var, var, 1e-12), "{t}");
            let coef_x0 = var * before.abar().sqrt() / before.one_minus_abar();
            assert!(close(q.coef_x0, coef_x0, 1e-12), "{t}");
            assert!(close(q.coef_xt, var * step.alpha().sqrt() / step.beta, 1e-12), "{t}");
        }
        assert!(chain.step(0).is_err() && chain.step(1001).is_err());
    }
}

#[test]
fn r15_small_variance_is_below_large_and_its_logarithm_finite() {
    for chain in schedules() {
        for step in chain.iter() {
            let [small, large, optimal] =
                [Variance::Small, Variance::Large, Variance::Optimal { mmse: 0.1 }].map(|kind| {
                    let log = chain.log_variance(step.t, kind).unwrap();
                    assert!(log.is_finite(), "{kind:?} {}", step.t);
                    step.variance(kind)
                });
            assert!(small <= large && small < optimal, "{}", step.t);
            assert_eq!(small == 0.0, step.t == 1);
        }
        let clipped = chain.step(2).unwrap().posterior().var.ln();
        assert_eq!(chain.log_variance(1, Variance::Small).unwrap().to_bits(), clipped.to_bits());
    }
}

#[test]
fn kl_weights_make_one_divergence() {
    for chain in schedules() {
        assert_eq!(chain.step(1).unwrap().kl_weights(), None);
        for step in chain.iter().skip(1) {
            let (w, q) = (step.kl_weights().unwrap(), step.posterior());
            let before = chain.step(step.t - 1).unwrap();
            assert!(close(w.x0, q.coef_x0.powi(2) / (2.0 * q.var), 1e-12), "{}", step.t);
            assert!(close(w.x0, 0.5 * (before.snr() - step.snr()), 1e-9), "{}", step.t);
            assert!(
                close(w.eps * step.snr(), w.x0, 1e-12)
                    && close(w.score, w.eps * step.one_minus_abar(), 1e-15)
            );
        }
    }
}

#[test]
fn a_ddpm_chain_is_the_square_weighting() {
    for chain in schedules() {
        let weights = chain.weights().unwrap();
        for step in chain.iter() {
            assert!(close(weights.noise()[step.t].powi(2), step.one_minus_abar(), 1e-11));
        }
    }
}

/// `KL(q(x_{t−1} | x_t = 0) ‖ its moment-matched Gaussian)` for the mixture gmm1d with ᾱ_{t−1} = ½, by the trapezoid
/// rule, which converges geometrically for such integrands.
fn reverse_kernel_divergence(beta: f64) -> f64 {
    let mixture = [(0.3, -1.5, 0.09), (0.5, 0.4, 0.25), (0.2, 2.0, 0.0625)];
    let density = |y: f64| -> f64 {
        let part =
            |(w, m, c): (f64, f64, f64)| w * log_normal(y, FRAC_1_SQRT_2 * m, 0.5 * c + 0.5).exp();
        mixture.map(part).iter().sum::<f64>() * log_normal(0.0, (1.0 - beta).sqrt() * y, beta).exp()
    };
    let (n, width) = (4000, 24.0 * beta.sqrt());
    let y: Vec<f64> = (0..=n).map(|i| width * (f64::from(i) / f64::from(n) - 0.5)).collect();
    let q: Vec<f64> = y.iter().map(|&y| density(y)).collect();
    let sum = |f: &dyn Fn(f64) -> f64| y.iter().zip(&q).map(|(&y, q)| f(y) * q).sum::<f64>();
    let total = sum(&|_| 1.0);
    let mean = sum(&|y| y) / total;
    let var = sum(&|y| (y - mean).powi(2)) / total;
    let h = width / f64::from(n);
    // r ln(r/g) − r + g ≥ 0 at every point, so that nothing cancels between points.
    let term = |(&y, q): (&f64, &f64)| {
        let g = log_normal(y, mean, var).exp();
        let excess = q / (total * h) / g - 1.0;
        if g > 0.0 { h * g * ((1.0 + excess) * excess.ln_1p() - excess) } else { 0.0 }
    };
    y.iter().zip(&q).map(term).sum()
}

#[test]
fn r26_reverse_kernel_becomes_gaussian_with_the_cube_of_beta() {
    let [wide, narrow] = [0.05, 0.005].map(reverse_kernel_divergence);
    assert!((wide - 2.3e-6).abs() < 0.1e-6, "{wide}");
    assert!((reverse_kernel_divergence(0.01) - 2.7e-8).abs() < 0.1e-8);
    let slope = (wide / narrow).log10();
    assert!((2.5..3.5).contains(&slope), "{slope}");
}

/// A step that forgets nearly everything must not take its digits from what it forgets.
#[test]
fn r06_small_noise_after_large() {
    let chain = Weights::new(&[0.5, 0.0], &[1.0, 1e-9]).unwrap();
    assert!((chain.noise()[2] - 1e-9).abs() < 1e-24, "{}", chain.noise()[2]);
    let chain = Weights::new(&[0.9, 1e-9], &[0.9, 1e-9]).unwrap();
    let want = 1e-9 * (1.0_f64 + 0.81).sqrt();
    assert!((chain.noise()[2] - want).abs() < 1e-12 * want, "{} {want}", chain.noise()[2]);
}
