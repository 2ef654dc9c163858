//! Laws of training times: they are the laws they say, and no law changes the mean (M3).

#![allow(clippy::unwrap_used)]

use score_match::times::strata;
use score_match::{TimeLaw, Weighting};
use sde_core::{Sde, VpLinear};

const SPAN: (f64, f64) = (1e-5, 1.0);

fn laws() -> [TimeLaw; 4] {
    [
        TimeLaw::Uniform,
        TimeLaw::LogSnr,
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
