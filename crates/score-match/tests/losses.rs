//! One loss in every prediction, weighting and process.

#![allow(clippy::unwrap_used)]

use ndarray::{Array2, array};
use proptest::prelude::*;
use score_match::residual::{self, error, residual_at, target};
use score_match::weighting::with_log_variance;
use score_match::{TimeLaw, Weighting, loss, steps};
use sde_core::chain::{BetaSchedule, ContinuousChain, Weights};
use sde_core::parametrisation::Preconditioning;
use sde_core::sde::{Edm, Process, RectifiedFlow};
use sde_core::{GaussianMixture, Lanes, Noise, Prediction, Purpose, Sde, State, Summary, VpLinear};

const EDM: Prediction = Prediction::Edm { sigma_data: 0.7 };
const PREDICTIONS: [Prediction; 6] = [
    Prediction::X0,
    Prediction::Epsilon,
    Prediction::Score,
    Prediction::V,
    Prediction::Velocity,
    EDM,
];

fn weightings() -> Vec<Weighting> {
    let mut all = vec![
        Weighting::Noise,
        Weighting::Likelihood,
        Weighting::MinSnr { gamma: 5.0 },
        Weighting::TruncatedSnr,
    ];
    all.extend(PREDICTIONS.map(Weighting::Plain));
    all
}

fn processes() -> Vec<Process> {
    let text = r#"[{"name": "vp-linear", "beta_min": 0.1, "beta_max": 20.0}, {"name": "edm"},
        {"name": "sub-vp", "beta_min": 0.1, "beta_max": 20.0}, {"name": "rectified"},
        {"name": "vp-cosine", "s": 0.008}, {"name": "ve", "sigma_min": 0.01, "sigma_max": 50.0}]"#;
    serde_json::from_str(text).unwrap()
}

/// A score that is not the exact one: that of other data.
fn data() -> GaussianMixture {
    GaussianMixture::isotropic(&[0.4, 0.6], array![[-1.0, 0.2], [0.8, 0.5]], &[0.04, 0.3]).unwrap()
}

/// n draws of `x_0 ~ N(0, I)` and ε.
fn draws(n: usize, d: usize) -> (Array2<f64>, Array2<f64>, Vec<u64>) {
    let numbers: Vec<u64> = (0..n as u64).collect();
    let (mut x0, mut eps) = (Array2::zeros((n, d)), Array2::zeros((n, d)));
    Noise::new(2, Purpose::Training).fill(&numbers, 0, &mut x0).unwrap();
    Noise::new(2, Purpose::Training).fill(&numbers, 1, &mut eps).unwrap();
    (x0, eps, numbers)
}

fn squares(x: &Array2<f64>) -> Vec<f64> {
    let mut out = vec![0.0; x.nrows()];
    x.add_squared_norm(&mut out);
    out
}

/// (M5), (M6): `w_y |y − ŷ|²` is one number for every prediction y, process and weighting.
#[test]
fn m6_every_prediction_makes_one_loss() {
    let data = data();
    let (x0, eps, numbers) = draws(64, 2);
    for process in processes() {
        let sde = &*process;
        let t: Vec<f64> = (0..64).map(|i| sde.end() * (f64::from(i) + 0.5) / 65.0).collect();
        let at = Lanes { t: &t, sample: &numbers };
        let mut r = x0.zeros_like();
        score_match::residual(sde, &mut data.score(sde), &x0, &eps, at, &mut r).unwrap();
        let (r, mut e) = (squares(&r), x0.zeros_like());
        for p in PREDICTIONS {
            error(p, sde, &mut data.score(sde), (&x0, &eps), at, &mut e).unwrap();
            for w in weightings() {
                for ((r, e), &t) in r.iter().zip(squares(&e)).zip(&t) {
                    let want = w.weight(sde, t) * r;
                    let got = w.weight_of(p, sde, t).unwrap() * e;
                    assert!((got - want).abs() < 1e-8 * want, "{process:?} {p:?} {w:?} {t}");
                }
            }
        }
    }
}

/// What the model says less the target, from the target itself.
#[test]
fn m5_the_error_is_the_prediction_less_its_target() {
    let (sde, data) = (VpLinear::default(), data());
    let (x0, eps, numbers) = draws(16, 2);
    let t: Vec<f64> = (1..=16).map(|i| f64::from(i) / 16.0).collect();
    let at = Lanes { t: &t, sample: &numbers };
    let k: Vec<_> = t.iter().map(|&t| sde.coefficients(t)).collect();
    let (mut x_t, mut y, mut e) = (x0.zeros_like(), x0.zeros_like(), x0.zeros_like());
    score_match::perturb(&sde, &x0, &eps, &t, &mut x_t).unwrap();
    let mut field = sde_core::Field::like(&x0);
    sde_core::Score::evaluate(&mut data.score(&sde), &x_t, at, &mut field).unwrap();
    for p in PREDICTIONS {
        target(p, &sde, (&x0, &eps), &t, &mut y).unwrap();
        error(p, &sde, &mut data.score(&sde), (&x0, &eps), at, &mut e).unwrap();
        let mut said = x0.zeros_like();
        Prediction::Score.convert(p, &k, &x_t, &field.score, &mut said).unwrap();
        for ((said, y), e) in said.iter().zip(&y).zip(&e) {
            assert!((said - y - e).abs() < 1e-9 * (1.0 + y.abs()), "{p:?}: {said} {y} {e}");
        }
    }
}

/// Both ends of time are ordinary points for predictions that are finite there.
#[test]
fn both_ends_of_time_have_errors() {
    let (flow, data) = (RectifiedFlow::default(), data());
    let (x0, eps, _) = draws(2, 2);
    let at = Lanes { t: &[0.0, 1.0], sample: &[0, 1] };
    for p in [Prediction::X0, Prediction::Epsilon, Prediction::V, Prediction::Velocity, EDM] {
        let mut e = x0.zeros_like();
        error(p, &flow, &mut data.score(&flow), (&x0, &eps), at, &mut e).unwrap();
        assert!(e.iter().all(|v| v.is_finite()), "{p:?}: {e}");
        assert!(e.iter().any(|v| v.abs() > 1e-3));
    }
    let mut e = x0.zeros_like();
    let score = Prediction::Score;
    let refused = error(score, &flow, &mut data.score(&flow), (&x0, &eps), at, &mut e).unwrap_err();
    assert_eq!(refused.to_string(), "`score` cannot be told from `x_0 and ε` at α = 1, σ = 0");
}

/// The table of the chapter, where α² + σ² = 1; and the names that papers have for entries of it.
#[test]
fn m6_the_table_of_weights() {
    let sde = VpLinear::default();
    for t in [0.01, 0.3, 0.9] {
        let k = sde.coefficients(t);
        let (a, s2, g2) = (k.alpha * k.alpha, k.sigma * k.sigma, sde.g2(t));
        let (rho, n2) = (a / s2, s2 + 0.49 * a);
        let rows = [
            (Weighting::Noise, [1.0, rho, s2, a]),
            (Weighting::Likelihood, [g2 / s2, rho * g2 / s2, g2, a * g2 / s2]),
            (Weighting::Plain(Prediction::X0), [1.0 / rho, 1.0, s2 / rho, s2]),
            (Weighting::Plain(Prediction::Score), [1.0 / s2, rho / s2, 1.0, rho]),
            (Weighting::Plain(Prediction::V), [1.0 / a, 1.0 / s2, 1.0 / rho, 1.0]),
            (Weighting::Plain(EDM), [n2 / 0.49 / a, n2 / 0.49 / s2, n2 * s2 / 0.49 / a, n2 / 0.49]),
            (
                Weighting::Plain(Prediction::Velocity),
                [g2 * g2 / s2, a * g2 * g2 / s2 / s2, g2 * g2, a * g2 * g2 / s2].map(|w| w / 4.0),
            ),
            (
                Weighting::MinSnr { gamma: 5.0 },
                [
                    (5.0 / rho).min(1.0),
                    rho.min(5.0),
                    s2 * (5.0 / rho).min(1.0),
                    rho.min(5.0) / (1.0 + rho),
                ],
            ),
            (
                Weighting::TruncatedSnr,
                [
                    (1.0 / rho).max(1.0),
                    rho.max(1.0),
                    s2 * (1.0 / rho).max(1.0),
                    rho.max(1.0) / (1.0 + rho),
                ],
            ),
        ];
        let columns = [Prediction::Epsilon, Prediction::X0, Prediction::Score, Prediction::V];
        for (w, row) in rows {
            for (p, want) in columns.iter().zip(row) {
                let got = w.weight_of(*p, &sde, t).unwrap();
                assert!((got - want).abs() < 1e-10 * want, "{w:?} {p:?} {t}: {got} {want}");
            }
            assert!((w.weight(&sde, t) - row[0]).abs() < 1e-10 * row[0], "{w:?}");
        }
    }
    let edm = Edm::new(80.0).unwrap();
    for sigma in [0.002, 0.5, 70.0] {
        let lambda = Preconditioning::edm(sigma, 0.7).unwrap().loss_weight;
        let got = Weighting::Plain(EDM).weight_of(Prediction::X0, &edm, sigma).unwrap();
        assert!((got - lambda).abs() < 1e-12 * lambda, "{got} {lambda}");
    }
    for (text, want) in [
        (r#""simple""#, Weighting::Noise),
        (r#""noise""#, Weighting::Noise),
        (r#""likelihood""#, Weighting::Likelihood),
        (r#"{"plain": "x0"}"#, Weighting::Plain(Prediction::X0)),
        (r#"{"plain": {"edm": {"sigma_data": 0.7}}}"#, Weighting::Plain(EDM)),
        (r#"{"min-snr": {"gamma": 5.0}}"#, Weighting::MinSnr { gamma: 5.0 }),
    ] {
        assert_eq!(serde_json::from_str::<Weighting>(text).unwrap(), want, "{text}");
    }
}

#[test]
fn m7_the_learned_weight_is_the_logarithm_of_the_loss() {
    for l in [0.01, 1.0, 30.0_f64] {
        let best = with_log_variance(l, l.ln());
        assert!((best - 1.0 - l.ln()).abs() < 1e-14);
        assert!([-0.1, 0.1].iter().all(|d| with_log_variance(l, l.ln() + d) > best));
        // There the gradient in the loss is that of ln L.
        let slope = (with_log_variance(l * 1.001, l.ln()) - best) / (0.001 * l);
        assert!((slope - 1.0 / l).abs() < 1e-9 / l);
    }
}

/// DDPM's loss: a batch at steps of the chain is one at the times of its continuous extension.
#[test]
fn m8_the_loss_of_a_ddpm_chain() {
    let chain =
        BetaSchedule::VpExact { steps: 100, beta_min: 0.1, beta_max: 20.0 }.chain().unwrap();
    let (sde, weights, data) =
        (ContinuousChain::new(&chain).unwrap(), chain.weights().unwrap(), data());
    let (x0, eps, numbers) = draws(99, 2);
    let t: Vec<usize> = (2..=100).collect();
    let times: Vec<f64> = t.iter().map(|&t| sde.time_of_label(t as f64 - 1.0)).collect();
    let at = Lanes { t: &times, sample: &numbers };
    let mut r = x0.zeros_like();
    score_match::residual(&sde, &mut data.score(&sde), &x0, &eps, at, &mut r).unwrap();
    let r = squares(&r);
    let of =
        |w| steps::loss(&weights, &mut data.score(&sde), w, (&x0, &eps), (&t, at)).unwrap().mean;
    let want = r.iter().sum::<f64>() / 99.0 / 2.0;
    assert!((of(Weighting::Noise) - want).abs() < 1e-9 * want);
    let elbo = |(r, t): (&f64, &usize)| chain.step(*t).unwrap().kl_weights().unwrap().eps * r;
    let want = 2.0 * r.iter().zip(&t).map(elbo).sum::<f64>() / 99.0 / 2.0;
    assert!((of(Weighting::Likelihood) - want).abs() < 1e-9 * want, "{want}");
    let plain = of(Weighting::Plain(Prediction::X0));
    let want =
        r.iter().zip(&t).map(|(r, &t)| r / chain.step(t).unwrap().snr()).sum::<f64>() / 198.0;
    assert!((plain - want).abs() < 1e-9 * want);
}

/// The chain of score matching with Langevin dynamics: `σ² |s + ε/σ|²` at `σ_t`, `x_t = x_0 + σ_t ε`.
#[test]
fn m8_the_loss_of_an_exploding_chain() {
    let (chain, data) = (Weights::smld(0.01, 10.0, 20).unwrap(), data());
    let edm = Edm::new(10.0).unwrap(); // whose time is σ
    let (x0, eps, numbers) = draws(20, 2);
    let t: Vec<usize> = (1..=20).collect();
    let sigma: Vec<f64> = t.iter().map(|&t| chain.noise()[t]).collect();
    let at = Lanes { t: &sigma, sample: &numbers };
    let got = steps::loss(&chain, &mut data.score(&edm), Weighting::Noise, (&x0, &eps), (&t, at));
    let mut want = 0.0;
    for i in 0..20 {
        let x: Vec<f64> = (0..2).map(|j| x0[[i, j]] + sigma[i] * eps[[i, j]]).collect();
        let (mut s, mut d) = ([0.0; 2], [0.0; 2]);
        data.score(&edm).point(&x, sigma[i], &mut s, &mut d).unwrap();
        want += (0..2).map(|j| (sigma[i] * s[j] + eps[[i, j]]).powi(2)).sum::<f64>() / 40.0;
    }
    assert!((got.unwrap().mean - want).abs() < 1e-12 * want);
    // (M8) by the ratios: with A = 1 it is σ_t²/σ_{t−1}² − 1.
    let w = steps::weight(&chain, Weighting::Likelihood, 7).unwrap();
    assert!((w - ((sigma[6] / sigma[5]).powi(2) - 1.0)).abs() < 1e-12);
}

/// R33: a loss is one number whatever the law of its times, for every weighting.
#[test]
fn r33_laws_of_times_agree_on_every_weighting() {
    let (sde, data, n) = (VpLinear::default(), data(), 40_000);
    let span = (1e-2, 1.0);
    let (x0, eps, numbers) = draws(n, 2);
    let mut u = vec![[0.0]; n];
    let source = Noise::new(2, Purpose::Training);
    u.iter_mut().zip(&numbers).for_each(|(u, i)| source.uniform(*i, 2, u));
    let estimate = |w: Weighting, law: &TimeLaw| {
        let times = law.on(&sde, w, span).unwrap();
        let drawn: Vec<_> = u.iter().map(|u| times.at(u[0])).collect();
        let t: Vec<f64> = drawn.iter().map(|d| d.t).collect();
        let at = Lanes { t: &t, sample: &numbers };
        let mut r = x0.zeros_like();
        score_match::residual(&sde, &mut data.score(&sde), &x0, &eps, at, &mut r).unwrap();
        let values: Vec<f64> = squares(&r).iter().zip(&drawn).map(|(r, d)| r * d.weight).collect();
        Summary::of(&values)
    };
    for w in weightings() {
        let laws = [TimeLaw::Uniform, TimeLaw::Importance, TimeLaw::LogSnr];
        let [uniform, importance, log_snr] = laws.map(|law| estimate(w, &law));
        for (a, b) in [(uniform, importance), (importance, log_snr)] {
            let error = a.standard_error.hypot(b.standard_error);
            assert!((a.mean - b.mean).abs() < 4.0 * error, "{w:?}: {a:?} {b:?}");
            assert!(error < 0.2 * a.mean, "{w:?}: {a:?} {b:?}");
        }
    }
    let likelihood = [TimeLaw::Uniform, TimeLaw::Importance];
    let [uniform, importance] = likelihood.map(|law| estimate(Weighting::Likelihood, &law));
    let variance = |s: Summary| s.standard_error.powi(2);
    assert!(variance(importance) < 0.5 * variance(uniform), "{uniform:?} {importance:?}");
}

proptest! {
    /// A conversion of the weight to a prediction and on to another is the weight there.
    #[test]
    fn m6_weights_are_one_algebra(t in 0.01..0.99_f64, i in 0..10_usize, j in 0..6_usize) {
        let sde = RectifiedFlow::default();
        let (w, p) = (weightings()[i], PREDICTIONS[j]);
        let there = w.weight_of(p, &sde, t).unwrap();
        let unit = Weighting::Plain(p).weight(&sde, t);
        let want = w.weight(&sde, t);
        prop_assert!((there * unit - want).abs() < 1e-10 * want, "{w:?} {p:?}: {there} {unit} {want}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (sde, data) = (VpLinear::default(), data());
    let (x0, eps, numbers) = draws(3, 2);
    let at = Lanes { t: &[0.5; 3], sample: &numbers };
    for (w, want) in [
        (Weighting::MinSnr { gamma: 0.0 }, "gamma = 0 is out of range"),
        (Weighting::Plain(Prediction::Edm { sigma_data: -1.0 }), "sigma_data = -1 is out of range"),
    ] {
        let error = loss(&sde, &mut data.score(&sde), w, (&x0, &eps), at).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
        assert!(TimeLaw::LogSnr.on(&sde, w, (0.1, 1.0)).is_err());
    }
    let chain = Weights::smld(0.01, 1.0, 4).unwrap();
    let levels = steps::levels(&chain, &[1, 4]).unwrap();
    assert!(steps::levels(&chain, &[0]).is_err() && steps::levels(&chain, &[5]).is_err());
    assert!(steps::weight(&chain, Weighting::Likelihood, 1).is_err());
    let mut r = x0.zeros_like();
    let error =
        residual_at(&levels, &mut data.score(&sde), &x0, &eps, at, &mut r).unwrap_err().to_string();
    assert_eq!(error, "noise levels of the batch: found 2, expected 3");
    let error = residual::target(Prediction::X0, &sde, (&x0, &eps), &[0.5], &mut r).unwrap_err();
    assert_eq!(error.to_string(), "times of the batch: found 1, expected 3");
}
