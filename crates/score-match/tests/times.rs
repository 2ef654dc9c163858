//! Laws of training times: they are the laws they say, and no law changes the mean (M3).

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use score_match::times::{StepLaw, jittered, strata};
use score_match::{TimeLaw, Weighting};
use sde_core::sde::{Process, RectifiedFlow};
use sde_core::{Noise, Prediction, Purpose, Sde, VpLinear};

const SPAN: (f64, f64) = (1e-5, 1.0);

fn laws() -> [TimeLaw; 6] {
    [
        TimeLaw::Uniform,
        TimeLaw::LogSnr,
        TimeLaw::Importance,
        TimeLaw::LogNormal { mean: -1.0, std: 3.0 },
        TimeLaw::Table(vec![[-3.0, 0.2], [6.0, 2.0], [7.0, 2.0], [12.0, 0.7]]),
        TimeLaw::Table(vec![[100.0, 3.0]]),
    ]
}

/// `E w/(2q) f(λ) = ½ ∫ f dλ` for the likelihood weighting, whatever q: here f is 1 and a bump.
#[test]
fn every_law_has_the_same_mean() {
    let sde = VpLinear::default();
    let (low, high) = (sde.log_snr(SPAN.1), sde.log_snr(SPAN.0));
    let bump = |l: f64| (-0.5 * (l - 4.0) * (l - 4.0)).exp();
    let n = 200_000;
    for law in laws() {
        let times = law.on(&sde, Weighting::Likelihood, SPAN).unwrap();
        let mean = |f: &dyn Fn(f64) -> f64| {
            let terms = strata(n, 0.5).map(|u| times.at(u));
            terms.map(|x| x.weight * f(sde.log_snr(x.t))).sum::<f64>() / n as f64
        };
        // Uniform in t the integrand is steep at t_min: the midpoint rule is less exact there.
        let tolerance = if law == TimeLaw::Uniform { 0.2 } else { 1e-6 };
        assert!((mean(&|_| 1.0) - 0.5 * (high - low)).abs() < tolerance, "{law:?}");
        let want = 0.5 * std::f64::consts::TAU.sqrt();
        assert!((mean(&bump) - want).abs() < 1e-5, "{law:?}: {} {want}", mean(&bump));
    }
}

/// With another weighting the mean is that weighting's own integral: ½ ∫ dt for weight 1.
#[test]
fn a_weighting_keeps_its_integral() {
    let sde = VpLinear::default();
    for law in laws() {
        let times = law.on(&sde, Weighting::Noise, SPAN).unwrap();
        let n = 400_000;
        let mean = strata(n, 0.5).map(|u| times.at(u).weight).sum::<f64>() / n as f64;
        assert!((mean - 0.5 * (SPAN.1 - SPAN.0)).abs() < 1e-5, "{law:?}: {mean}");
    }
}

#[test]
fn a_constant_density_spreads_log_snr_evenly() {
    let sde = VpLinear::default();
    let times = TimeLaw::LogSnr.on(&sde, Weighting::Likelihood, SPAN).unwrap();
    let middle = sde.log_snr(times.at(0.5).t);
    let want = 0.5 * (sde.log_snr(SPAN.0) + sde.log_snr(SPAN.1));
    assert!((middle - want).abs() < 1e-9);
    assert!((times.at(0.0).t - SPAN.1).abs() < 1e-12);
    assert!((times.at(1.0).t - SPAN.0).abs() < 1e-12);
}

#[test]
fn strata_meet_every_part_once() {
    for u in [0.0, 0.3, 0.999] {
        let mut seen = [0; 16];
        for i in 0..16_u8 {
            let part = f64::from(i) / 16.0..f64::from(i + 1) / 16.0;
            seen[usize::from(i)] += strata(16, u).filter(|x| part.contains(x)).count();
        }
        assert_eq!(seen, [1; 16]);
    }
}

#[test]
fn a_table_that_is_no_density_is_refused() {
    let sde = VpLinear::default();
    for (knots, want) in [
        (vec![], "knots of a table of times: found 0, expected 1"),
        (vec![[0.0, 1.0], [0.0, 2.0]], "λ of a knot = 0 is out of range"),
        (vec![[0.0, 0.0]], "density of a knot = 0 is out of range"),
        (vec![[0.0, f64::NAN]], "density of a knot = NaN is out of range"),
    ] {
        let error = TimeLaw::Table(knots).on(&sde, Weighting::Likelihood, SPAN).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    }
    assert!(TimeLaw::LogSnr.on(&sde, Weighting::Noise, (0.0, 1.0)).is_err());
}

/// The distance of a sample from a law, `max |F_n − F|`, in units of its 0.999 quantile for n draws.
fn kolmogorov(mut x: Vec<f64>, cdf: impl Fn(f64) -> f64) -> f64 {
    x.sort_by(f64::total_cmp);
    let n = x.len() as f64;
    let gap = |(i, x): (usize, &f64)| {
        let f = cdf(*x);
        (f - i as f64 / n).abs().max((f - (i as f64 + 1.0) / n).abs())
    };
    x.iter().enumerate().map(gap).fold(0.0, f64::max) * n.sqrt() / 1.95
}

/// Drawn independently, `ln(σ/α)` has the normal law that it is said to have.
#[test]
fn m9_log_normal_levels_are_normal() {
    let (sde, span, mean, std) = (RectifiedFlow::default(), (1e-6, 1.0 - 1e-6), -1.2, 1.2);
    let law = TimeLaw::LogNormal { mean, std };
    let times = law.on(&sde, Weighting::Noise, span).unwrap();
    let mut u = vec![0.0; 20_000];
    Noise::new(4, Purpose::Training).uniform(0, 0, &mut u);
    let drawn: Vec<f64> = u.iter().map(|&u| -0.5 * sde.log_snr(times.at(u).t)).collect();
    let n = drawn.len() as f64;
    let m = drawn.iter().sum::<f64>() / n;
    let v = drawn.iter().map(|x| (x - m).powi(2)).sum::<f64>() / n;
    assert!((m - mean).abs() < 4.0 * std / n.sqrt(), "{m}");
    assert!((v - std * std).abs() < 4.0 * std * std * (2.0 / n).sqrt(), "{v}");
    // The quantiles themselves: the median and one standard deviation on each side of it.
    for (u, z) in [(0.5, 0.0), (0.841_344_746_068_543, -1.0), (0.158_655_253_931_457, 1.0)] {
        let got = -0.5 * sde.log_snr(times.at(u).t);
        assert!((got - (mean + z * std)).abs() < 1e-4, "{got}");
    }
}

/// The law q of t is in proportion to w(t): for weight 1 that is uniform, and `w/q` is one number for all.
#[test]
fn importance_is_in_proportion_to_the_weight() {
    let text = r#"[{"name": "vp-linear", "beta_min": 0.1, "beta_max": 20.0}, {"name": "edm"},
        {"name": "sub-vp", "beta_min": 0.1, "beta_max": 20.0}, {"name": "rectified"},
        {"name": "vp-cosine", "s": 0.008}, {"name": "ve", "sigma_min": 0.01, "sigma_max": 50.0}]"#;
    let weightings = [
        Weighting::Noise,
        Weighting::Likelihood,
        Weighting::Plain(Prediction::X0),
        Weighting::Plain(Prediction::Edm { sigma_data: 0.5 }),
        Weighting::MinSnr { gamma: 5.0 },
        Weighting::TruncatedSnr,
    ];
    for process in serde_json::from_str::<Vec<Process>>(text).unwrap() {
        let span = (1e-3 * process.end(), 0.99 * process.end());
        for w in weightings {
            let times = TimeLaw::Importance.on(&*process, w, span).unwrap();
            let weights: Vec<f64> = strata(500, 0.5).map(|u| times.at(u).weight).collect();
            let mean = weights.iter().sum::<f64>() / 500.0;
            // A weight with a kink (min-SNR) falls between two knots once.
            assert!(weights.iter().all(|x| (x / mean - 1.0).abs() < 0.02), "{process:?} {w:?}");
        }
    }
    let sde = VpLinear::default();
    let times = TimeLaw::Importance.on(&sde, Weighting::Noise, SPAN).unwrap();
    let mut u = vec![0.0; 20_000];
    Noise::new(4, Purpose::Training).uniform(1, 0, &mut u);
    let t: Vec<f64> = u.iter().map(|&u| times.at(u).t).collect();
    assert!(kolmogorov(t.clone(), |t| (t - SPAN.0) / (SPAN.1 - SPAN.0)) < 1.0);
    assert!(kolmogorov(t, |t| t * t) > 1.0, "the test must be able to fail");
}

#[test]
fn independent_strata_are_one_in_each() {
    let mut u = vec![0.0; 64];
    Noise::new(4, Purpose::Training).uniform(2, 0, &mut u);
    for (i, x) in jittered(&u).enumerate() {
        assert!((i as f64 / 64.0..(i + 1) as f64 / 64.0).contains(&x));
    }
}

#[test]
fn laws_of_steps_are_what_they_say() {
    let law = StepLaw::new(2, &[1.0, 2.0, 5.0]).unwrap();
    let n = 8000;
    let mut seen = [0; 3];
    strata(n, 0.5).for_each(|u| seen[law.at(u).t - 2] += 1);
    assert_eq!(seen, [1000, 2000, 5000]);
    assert!((law.at(0.2).weight - 4.0).abs() < 1e-15);
    assert_eq!((law.at(0.0).t, law.at(1.0).t), (2, 4));
}

#[test]
fn a_normal_law_outside_the_span_is_refused() {
    let sde = VpLinear::default();
    for (mean, std, want) in [
        (40.0, 1.0, "mean of the times' law = 40 is out of range"),
        (0.0, 0.0, "std of the times' law = 0 is out of range"),
    ] {
        let error = TimeLaw::LogNormal { mean, std }.on(&sde, Weighting::Noise, SPAN).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    }
}

proptest! {
    /// Every law is monotone in u, stays in the span and has a positive finite weight.
    #[test]
    fn laws_are_monotone_in_the_fraction(i in 0..6_usize, a in 0.0..1.0_f64, b in 0.0..1.0_f64) {
        let sde = VpLinear::default();
        let law = &laws()[i];
        let times = law.on(&sde, Weighting::MinSnr { gamma: 5.0 }, SPAN).unwrap();
        let (x, y) = (times.at(a.min(b)), times.at(a.max(b)));
        // Laws in λ run from T down.
        let order = if *law == TimeLaw::Uniform { y.t - x.t } else { x.t - y.t };
        prop_assert!(order >= -1e-15, "{law:?}: {x:?} {y:?}");
        for z in [x, y] {
            prop_assert!((SPAN.0..=SPAN.1).contains(&z.t));
            prop_assert!(z.weight > 0.0 && z.weight.is_finite());
        }
    }
}
