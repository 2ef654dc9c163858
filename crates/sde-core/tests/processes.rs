//! Identities that hold for every process, at random times and at both ends of time.

#![allow(clippy::unwrap_used)]

use ndarray::{Array2, array};
use proptest::prelude::*;
use sde_core::sde::{Edm, RectifiedFlow, SubVp, VarianceExploding, VpCosine};
use sde_core::{Field, GaussianMixture, Lanes, Process, Reverse, Score, Sde, VpLinear};

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

fn close(a: f64, b: f64, rtol: f64) -> bool {
    (a - b).abs() <= rtol * a.abs().max(b.abs())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// `g² = (σ²)' − 2fσ²` and `f = α'/α` with derivatives by central differences of α and σ.
    #[test]
    fn r02_drift_and_diffusion_follow_from_the_marginals(u in 0.01..0.99_f64) {
        for p in processes() {
            let (t, h) = (u * p.end(), 1e-6 * p.end());
            let d = |f: &dyn Fn(f64) -> f64| (f(t + h) - f(t - h)) / (2.0 * h);
            let (d_alpha, d_sigma2) = (d(&|t| p.alpha(t)), d(&|t| p.sigma(t).powi(2)));
            let k = p.coefficients(t);
            let size = p.g2(t) + 2.0 * (p.f(t) * k.sigma * k.sigma).abs();
            prop_assert!((k.d_alpha - d_alpha).abs() < 1e-6 * (1.0 + d_alpha.abs()), "{p:?} {t}");
            prop_assert!((p.f(t) * k.alpha - d_alpha).abs() < 1e-6 * (1.0 + d_alpha.abs()));
            let g2 = d_sigma2 - 2.0 * p.f(t) * k.sigma * k.sigma;
            prop_assert!((p.g2(t) - g2).abs() < 1e-6 * size, "{p:?} {t}: {} {g2}", p.g2(t));
            prop_assert!(close(p.d_log_snr(t) * -k.sigma * k.sigma, p.g2(t), 1e-9));
        }
    }

    /// Chapman–Kolmogorov: two transitions are one, and the transition from 0 is the marginal.
    #[test]
    fn r03_transitions_compose(mut u in prop::array::uniform3(0.001..0.999_f64)) {
        u.sort_by(f64::total_cmp);
        for p in processes() {
            let [r, s, t] = u.map(|u| u * p.end());
            let (rs, st, rt) = (p.kernel(r, s), p.kernel(s, t), p.kernel(r, t));
            prop_assert!(close(rs.a * st.a, rt.a, 1e-12), "{p:?}");
            prop_assert!(close(st.a * st.a * rs.var + st.var, rt.var, 1e-12), "{p:?} {u:?}");
            let from = p.coefficients(r);
            let to = p.coefficients(t);
            prop_assert!(close(rt.a * from.alpha, to.alpha, 1e-12));
            let var = rt.a * rt.a * from.sigma * from.sigma + rt.var;
            prop_assert!(close(var, to.sigma * to.sigma, 1e-12), "{p:?} {u:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// λ falls, σ/α rises, and t(λ) is the inverse of λ(t).
    #[test]
    fn r04_log_snr_is_monotone_and_inverts(u in prop::array::uniform2(0.001..0.999_f64)) {
        for p in processes() {
            let [s, t] = u.map(|u| u * p.end());
            let (s, t) = (s.min(t), s.max(t));
            prop_assert!(s >= t || p.log_snr(s) > p.log_snr(t), "{p:?}");
            prop_assert!(p.sigma(s) / p.alpha(s) <= p.sigma(t) / p.alpha(t));
            prop_assert!(p.kernel(s, t).var >= 0.0);
            let l = p.log_snr(t);
            prop_assert!((p.log_snr(p.time_of_log_snr(l)) - l).abs() <= 1e-9, "{p:?} {t}");
        }
    }
}

/// (R1) At t = 1e-12 every coefficient is its leading term: `1 − exp(…)` would have no digit left.
#[test]
fn r01_coefficients_keep_their_digits_at_tiny_times() {
    let t = 1e-12;
    // The next term of each series is at most about 300 t relative to the first.
    let close =
        |got: f64, want: f64| assert!(close(got, want, 1e-9), "{got:e} instead of {want:e}");
    let vp = VpLinear::default();
    close(vp.sigma(t).powi(2), 0.1 * t);
    close(vp.log_snr(t), -(0.1 * t).ln());
    close(vp.d_log_snr(t), -1.0 / t);
    let sub = SubVp::new(0.1, 20.0).unwrap();
    close(sub.sigma(t), 0.1 * t);
    close(sub.g2(t), 2.0 * 0.01 * t);
    let cosine = VpCosine::new(0.008).unwrap();
    let c = std::f64::consts::FRAC_PI_2 / 1.008;
    close(cosine.sigma(t).powi(2), (2.0 * c * 0.008).sin() * c * t / (c * 0.008).cos().powi(2));
    close(RectifiedFlow {}.g2(t), 2.0 * t);
    close(RectifiedFlow {}.d_log_snr(t), -2.0 / t);
}

/// The regular velocity equals `f x − g² s/2` and `α' D + σ' ε*` inside and is finite at both ends.
#[test]
fn r45_velocity_by_three_formulas() {
    let data =
        GaussianMixture::isotropic(&[0.4, 0.6], array![[-1.0, 0.5], [1.2, 1.0]], &[0.3, 0.1])
            .unwrap();
    let x = array![[0.3, -0.7]];
    for p in processes() {
        let mut flow = Reverse::probability_flow(&*p, data.score(&*p));
        let mut v = Array2::zeros((1, 2));
        for u in [0.0, 1e-9, 0.1, 0.5, 0.9, 1.0] {
            let t = u * p.end();
            let at = Lanes { t: &[t], sample: &[0] };
            flow.drift(&x, at, &mut v).unwrap();
            assert!(v.iter().all(|v| v.is_finite()), "{p:?} at {t}: {v}");
            if (0.1..0.95).contains(&u) {
                let mut field = Field::like(&x);
                data.score(&*p).evaluate(&x, at, &mut field).unwrap();
                let k = p.coefficients(t);
                let by_score = p.f(t) * &x - 0.5 * p.g2(t) * &field.score;
                // α' D + σ' ε*, with ε* = −σ s and σ' = (σ²)'/(2σ)
                let noise = -k.sigma * &field.score;
                let by_noise = k.d_alpha * &field.denoised + k.d_sigma2 / (2.0 * k.sigma) * noise;
                for want in [by_score, by_noise] {
                    let error = (&v - &want).iter().fold(0.0_f64, |m, e| m.max(e.abs()));
                    let size = v.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
                    assert!(error < 1e-10 * size, "{p:?} at {t}: off by {error:e}");
                }
            }
        }
    }
}

#[test]
fn out_of_range_constants_are_refused_with_a_sentence() {
    let wrong = |json: &str| serde_json::from_str::<Process>(json).unwrap_err().to_string();
    let text = wrong(r#"{"name": "vp-linear", "beta_min": -1.0, "beta_max": 20.0}"#);
    assert!(text.contains("beta_min = -1 is out of range: expected a positive number"), "{text}");
    let text = wrong(r#"{"name": "vp-linear", "beta_min": 0.1, "beta_mix": 20.0}"#);
    assert!(text.contains("beta_mix"), "{text}");
    let text = wrong(r#"{"name": "vp-quadratic"}"#);
    assert!(text.contains("vp-quadratic") && text.contains("vp-linear"), "{text}");
    let text = wrong(r#"{"name": "ve", "sigma_min": 2.0, "sigma_max": 1.0}"#);
    assert!(text.contains("sigma_max = 1 is out of range: expected a number above"), "{text}");
}

#[test]
fn processes_survive_a_round_trip_through_json() {
    for p in processes() {
        let text = serde_json::to_string(&p).unwrap();
        assert_eq!(serde_json::from_str::<Process>(&text).unwrap(), p, "{text}");
    }
}
