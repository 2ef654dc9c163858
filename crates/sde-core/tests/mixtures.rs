//! The exact scores against themselves: three ways to write the same covariance, finite differences, outliers.

#![allow(clippy::unwrap_used)]

use ndarray::{Array2, Array3, array};
use sde_core::{Divergence, Field, GaussianMixture, Lanes, Reverse, Score, Sde, VpLinear};

const WEIGHTS: [f64; 3] = [0.5, 0.3, 0.2];
const VARIANCES: [f64; 3] = [0.09, 0.04, 0.16];

fn means() -> Array2<f64> {
    array![[-1.5, 0.5], [1.0, -1.0], [0.5, 1.8]]
}

/// The same mixture with isotropic, diagonal and full covariances.
fn three_forms() -> [GaussianMixture; 3] {
    let diagonal = Array2::from_shape_fn((3, 2), |(k, _)| VARIANCES[k]);
    let full =
        Array3::from_shape_fn((3, 2, 2), |(k, i, j)| if i == j { VARIANCES[k] } else { 0.0 });
    [
        GaussianMixture::isotropic(&WEIGHTS, means(), &VARIANCES).unwrap(),
        GaussianMixture::diagonal(&WEIGHTS, means(), &diagonal).unwrap(),
        GaussianMixture::full(&WEIGHTS, means(), &full).unwrap(),
    ]
}

#[test]
fn three_forms_of_one_covariance_agree() {
    let sde = VpLinear::default();
    let forms = three_forms();
    for t in [0.0, 1e-6, 0.1, 0.5, 1.0] {
        for x in [[0.2, 0.3], [-1.5, 0.5], [20.0, -30.0]] {
            let all = forms.each_ref().map(|m| {
                let (mut s, mut d) = ([0.0; 2], [0.0; 2]);
                let p = m.score(&sde).point(&x, t, &mut s, &mut d).unwrap();
                let scalars = [p.log_density, p.div_score, p.div_denoised, p.trace_covariance];
                [&s[..], &d, &scalars].concat()
            });
            for other in &all[1..] {
                for (a, b) in all[0].iter().zip(other) {
                    assert!(
                        (a - b).abs() <= 1e-11 * (1.0 + a.abs()),
                        "t = {t}, x = {x:?}: {all:?}"
                    );
                }
            }
        }
    }
}

/// (G11) against the matrices (G8) and `∂D/∂x = α Cov/σ²` by (G9).
#[test]
fn forms_are_those_of_the_matrices() {
    let sde = VpLinear::default();
    for mixture in &three_forms() {
        let mut model = mixture.score(&sde);
        for (t, u) in [(0.05, [1.0, -1.0]), (0.4, [0.3, 2.0]), (1.0, [-1.0, 1.0])] {
            let (x, u) = (array![[0.2, 0.3], [-1.4, 0.8]], array![[u[0], u[1]], [u[1], u[0]]]);
            let at = Lanes { t: &[t, t], sample: &[0, 1] };
            let (mut out, mut forms) = (Field::like(&x), [Divergence::default()]);
            model
                .evaluate_with_forms(&x, at, std::slice::from_ref(&u), &mut out, &mut forms)
                .unwrap();
            for i in 0..2 {
                let (x, u) = (x.row(i).to_vec(), u.row(i));
                let k = sde.coefficients(t);
                let of_score = u.dot(&model.score_jacobian(&x, t).unwrap().dot(&u));
                let covariance = model.posterior_covariance(&x, t).unwrap();
                let of_denoised = k.alpha / (k.sigma * k.sigma) * u.dot(&covariance.dot(&u));
                for (found, want) in
                    [(forms[0].score[i], of_score), (forms[0].denoised[i], of_denoised)]
                {
                    assert!((found - want).abs() < 1e-11 * (1.0 + want.abs()), "{found} {want}");
                }
            }
        }
    }
    let (x, mut out) = (array![[0.2, 0.3]], Field::like(&array![[0.0, 0.0]]));
    let (at, wrong) = (Lanes { t: &[0.5], sample: &[0] }, [array![[1.0]]]);
    let mixture = &three_forms()[0];
    let mut forms = [Divergence::default()];
    let refused = mixture.score(&sde).evaluate_with_forms(&x, at, &wrong, &mut out, &mut forms);
    assert!(refused.unwrap_err().to_string().contains("a probe"));
}

/// (G14) against differences of `a D + b s`, of its divergence and of its forms.
#[test]
fn g14_gradients_along_a_motion_are_differences() {
    let sde = VpLinear::default();
    let (x, w) = (array![[0.2, 0.3], [-1.4, 0.8]], array![[0.7, -0.4], [1.3, 0.2]]);
    let (probes, c) =
        ([array![[1.0, -1.0], [0.5, 2.0]], array![[1.0, 1.0], [-1.0, 0.3]]], [0.6, -1.5]);
    for mixture in &three_forms() {
        for (t, probes) in
            [(0.05, None), (0.4, Some(&probes[..])), (1.0, None), (1.0, Some(&probes))]
        {
            let at = Lanes { t: &[t, t], sample: &[0, 1] };
            let mut flow = Reverse::probability_flow(&sde, mixture.score(&sde));
            let (mut divergence, mut found) = ([0.0; 2], x.clone());
            flow.pull_back(&x, at, (&w, &c), probes, &mut divergence, &mut found).unwrap();
            let mut value = |x: &Array2<f64>| {
                let (mut v, mut div) = (x.clone(), vec![0.0; 2]);
                match probes {
                    None => flow.drift_and_divergence(x, at, &mut v, &mut div).unwrap(),
                    Some(probes) => {
                        let mut forms = vec![vec![0.0; 2]; 2];
                        flow.drift_and_forms(x, at, probes, &mut v, &mut forms).unwrap();
                        div = (0..2).map(|i| 0.5 * (forms[0][i] + forms[1][i])).collect();
                    }
                }
                let of = |i: usize| (v.row(i).dot(&w.row(i)) + c[i] * div[i], div[i]);
                [of(0), of(1)]
            };
            let h = 1e-5;
            for j in 0..2 {
                let mut moved = |h: f64| {
                    let mut x = x.clone();
                    x.column_mut(j).mapv_inplace(|x| x + h);
                    value(&x)
                };
                let (high, low) = (moved(h), moved(-h));
                for i in 0..2 {
                    let (slope, found) = ((high[i].0 - low[i].0) / (2.0 * h), found[[i, j]]);
                    let size = 1.0 + found.abs();
                    assert!((slope - found).abs() < 2e-7 * size, "t = {t}: {slope} {found}");
                }
            }
            for (found, want) in divergence.iter().zip(value(&x)) {
                assert!((found - want.1).abs() < 1e-11 * (1.0 + found.abs()), "{found} {want:?}");
            }
        }
    }
}

/// The score is the gradient of the log-density, its divergence the Laplacian; likewise for D.
#[test]
fn r30_score_and_divergences_are_derivatives() {
    let sde = VpLinear::default();
    let h = 1e-5;
    for mixture in &three_forms() {
        let mut model = mixture.score(&sde);
        for t in [0.05, 0.3, 0.8] {
            for x in [[0.2, 0.3], [1.0, -0.4]] {
                let (mut s, mut d) = ([0.0; 2], [0.0; 2]);
                let p = model.point(&x, t, &mut s, &mut d).unwrap();
                let (mut div_s, mut div_d) = (0.0, 0.0);
                for i in 0..2 {
                    let mut side = |step: f64| {
                        let mut x = x;
                        x[i] += step;
                        let (mut s, mut d) = ([0.0; 2], [0.0; 2]);
                        let p = model.point(&x, t, &mut s, &mut d).unwrap();
                        (p.log_density, s[i], d[i])
                    };
                    let (up, down) = (side(h), side(-h));
                    assert!(((up.0 - down.0) / (2.0 * h) - s[i]).abs() < 1e-6);
                    div_s += (up.1 - down.1) / (2.0 * h);
                    div_d += (up.2 - down.2) / (2.0 * h);
                }
                assert!((div_s - p.div_score).abs() < 1e-6 * (1.0 + div_s.abs()));
                assert!((div_d - p.div_denoised).abs() < 1e-6 * (1.0 + div_d.abs()));
                // Tweedie, first and second moment.
                let k = sde.coefficients(t);
                let s2 = k.sigma * k.sigma;
                for i in 0..2 {
                    assert!((k.alpha * d[i] - x[i] - s2 * s[i]).abs() < 1e-12);
                }
                let trace = s2 / (k.alpha * k.alpha) * (2.0 + s2 * p.div_score);
                assert!((trace - p.trace_covariance).abs() < 1e-11 * (1.0 + trace));
            }
        }
    }
}

#[test]
fn twenty_sigmas_away_one_component_survives() {
    let sde = VpLinear::default();
    for mixture in &three_forms() {
        let mut model = mixture.score(&sde);
        let (mut s, mut d) = ([0.0; 2], [0.0; 2]);
        let p = model.point(&[1e3, -1e3], 1e-3, &mut s, &mut d).unwrap();
        assert!(p.log_density.is_finite() && p.log_density < -1e6);
        assert!(s.iter().chain(&d).all(|v| v.is_finite()));
        // Far out the mixture is its widest component.
        let k = sde.coefficients(1e-3);
        let v = k.alpha.powi(2) * 0.16 + k.sigma.powi(2);
        assert!((s[0] + (1e3 - k.alpha * 0.5) / v).abs() < 1e-9 * s[0].abs());
    }
}

#[test]
fn rows_are_evaluated_at_their_own_times() {
    let sde = VpLinear::default();
    let mixture = &three_forms()[0];
    let x = array![[0.2, 0.3], [0.2, 0.3]];
    let mut field = Field::like(&x);
    let at = Lanes { t: &[0.1, 0.9], sample: &[0, 1] };
    mixture.score(&sde).evaluate(&x, at, &mut field).unwrap();
    for (i, &t) in at.t.iter().enumerate() {
        let (mut s, mut d) = ([0.0; 2], [0.0; 2]);
        mixture.score(&sde).point(&[0.2, 0.3], t, &mut s, &mut d).unwrap();
        assert_eq!(field.score.row(i).to_vec(), s);
        assert_eq!(field.denoised.row(i).to_vec(), d);
    }
}

#[test]
fn what_is_no_mixture_is_refused() {
    let message = |r: sde_core::Result<GaussianMixture>| r.unwrap_err().to_string();
    let text = message(GaussianMixture::isotropic(&[0.5, 0.4], array![[0.0], [1.0]], &[1.0; 2]));
    assert!(text.starts_with("sum of the weights = 0.9"), "{text}");
    let text = message(GaussianMixture::isotropic(&[1.0], array![[0.0], [1.0]], &[1.0; 2]));
    assert_eq!(text, "weights of the mixture: found 1, expected 2");
    let text = message(GaussianMixture::isotropic(&[1.0], array![[0.0]], &[-1.0]));
    assert_eq!(text, "variance = -1 is out of range: expected a number not below 0");
    let skew = Array3::from_shape_vec((1, 2, 2), vec![1.0, 0.5, 0.0, 1.0]).unwrap();
    let text = message(GaussianMixture::full(&[1.0], array![[0.0, 0.0]], &skew));
    assert_eq!(text, "covariance of component 0 is not symmetric");
    let saddle = Array3::from_shape_vec((1, 2, 2), vec![1.0, 2.0, 2.0, 1.0]).unwrap();
    let text = message(GaussianMixture::full(&[1.0], array![[0.0, 0.0]], &saddle));
    assert_eq!(text, "covariance of component 0 is not positive semi-definite");
    assert!(GaussianMixture::kernel_density(Array2::zeros((0, 2)), 0.1).is_err());
    assert!(GaussianMixture::kernel_density(Array2::zeros((3, 2)), 0.0).is_err());
}

#[test]
fn a_point_of_another_dimension_is_refused() {
    let sde = VpLinear::default();
    let mixture = &three_forms()[0];
    let text = mixture.score(&sde).log_density(&[0.0; 3], 0.1).unwrap_err().to_string();
    assert_eq!(text, "numbers in a point: found 3, expected 2");
    let x = Array2::zeros((1, 3));
    let at = Lanes { t: &[0.1], sample: &[0] };
    assert!(mixture.score(&sde).evaluate(&x, at, &mut Field::like(&x)).is_err());
}

/// A broken state must look broken: a NaN, or a point beyond the range of the exponent, has no finite score.
#[test]
fn what_is_not_finite_stays_so() {
    let sde = VpLinear::default();
    for mixture in &three_forms() {
        for x in [[f64::NAN, 0.0], [f64::INFINITY, 0.0], [1e200, 0.0]] {
            let (mut s, mut d) = ([0.0; 2], [0.0; 2]);
            let p = mixture.score(&sde).point(&x, 0.3, &mut s, &mut d).unwrap();
            assert!(s.iter().chain(&d).any(|v| !v.is_finite()), "{x:?}: {s:?} {d:?}");
            assert!(!p.log_density.is_finite() && !p.div_score.is_finite(), "{x:?}: {p:?}");
        }
    }
}

#[test]
fn narrow_components_do_not_underflow() {
    let sde = VpLinear::default();
    let narrow = Array2::from_elem((1, 4), 1e-90);
    let mixture = GaussianMixture::diagonal(&[1.0], Array2::zeros((1, 4)), &narrow).unwrap();
    let got = mixture.score(&sde).log_density(&[0.0; 4], 0.0).unwrap();
    let want = -2.0 * (std::f64::consts::TAU * 1e-90).ln();
    assert!((got - want).abs() < 1e-10, "{got} {want}");
}

#[test]
fn buffers_of_another_size_are_refused() {
    let sde = VpLinear::default();
    let mixture = &three_forms()[0];
    let mut model = mixture.score(&sde);
    let (mut short, mut right) = ([0.0; 1], [0.0; 2]);
    assert!(model.point(&[0.0; 2], 0.1, &mut short, &mut right).is_err());
    assert!(model.point(&[0.0; 2], 0.1, &mut right, &mut short).is_err());
    let mut flow = Reverse::probability_flow(&sde, model);
    let (x, at) = (Array2::zeros((2, 2)), Lanes { t: &[0.1, 0.1], sample: &[0, 1] });
    let mut v = Array2::zeros((2, 3));
    let text = flow.drift(&x, at, &mut v).unwrap_err().to_string();
    assert_eq!(text, "the drift: found 3, expected 2");
    let (mut v, mut div) = (Array2::zeros((2, 2)), [0.0; 3]);
    assert!(flow.drift_and_divergence(&x, at, &mut v, &mut div).is_err());
    let at = Lanes { t: &[0.1], sample: &[0, 1] };
    assert!(flow.drift(&x, at, &mut v).is_err());
}

/// After the first evaluation neither the score nor the drift allocates, whatever the covariances.
#[test]
fn an_evaluation_allocates_nothing() {
    let sde = VpLinear::default();
    let x = Array2::from_shape_fn((50, 2), |(i, j)| 0.1 * i as f64 - j as f64);
    let (t, sample) = (vec![0.3; 50], (0..50).collect::<Vec<u64>>());
    let at = Lanes { t: &t, sample: &sample };
    for mixture in &three_forms() {
        let mut flow = Reverse::probability_flow(&sde, mixture.score(&sde));
        let (mut v, mut div) = (Array2::zeros((50, 2)), vec![0.0; 50]);
        flow.drift_and_divergence(&x, at, &mut v, &mut div).unwrap();
        let count = allocation_counter::measure(|| {
            flow.drift(&x, at, &mut v).unwrap();
            flow.drift_and_divergence(&x, at, &mut v, &mut div).unwrap();
        });
        assert_eq!(count.count_total, 0, "{count:?}");
    }
}

/// `drift` in blocks of rows against `a D + b s` from D and s of each point, for whole blocks and parts of one; and a row's
/// bits do not depend on its block.
#[test]
fn the_drift_in_blocks_is_that_of_its_parts() {
    let sde = VpLinear::default();
    for d in 1..=4 {
        let means = Array2::from_shape_fn((3, d), |(k, j)| (1.7 * k as f64 - j as f64).sin() * 2.0);
        let mixture =
            GaussianMixture::isotropic(&[0.5, 0.3, 0.2], means, &[0.09, 0.04, 0.16]).unwrap();
        for rows in [1, 31, 32, 33, 70] {
            let x =
                Array2::from_shape_fn((rows, d), |(i, j)| (i * d + j) as f64 * 0.61 % 9.0 - 4.0);
            let t: Vec<f64> = (0..rows).map(|i| (i as f64 * 0.37 + 1e-3) % 1.0).collect();
            let sample: Vec<u64> = (0..rows as u64).collect();
            let mut flow = Reverse::new(&sde, mixture.score(&sde), 0.5).unwrap();
            let mut v = Array2::zeros((rows, d));
            flow.drift(&x, Lanes { t: &t, sample: &sample }, &mut v).unwrap();
            for i in 0..rows {
                let (mut s, mut den) = (vec![0.0; d], vec![0.0; d]);
                let point = x.row(i).to_vec();
                mixture.score(&sde).point(&point, t[i], &mut s, &mut den).unwrap();
                let k = sde.coefficients(t[i]);
                let b = -0.5 * (k.d_sigma2 + 0.25 * sde.g2(t[i]));
                let parts = |j: usize| (k.d_alpha * den[j], b * s[j]);
                let mut alone = Array2::zeros((1, d));
                let row = x.row(i).insert_axis(ndarray::Axis(0)).to_owned();
                let at = Lanes { t: &t[i..=i], sample: &sample[i..=i] };
                flow.drift(&row, at, &mut alone).unwrap();
                for j in 0..d {
                    let (got, (of_d, of_s)) = (v[[i, j]], parts(j));
                    let size = 1.0 + of_d.abs() + of_s.abs();
                    assert!((got - of_d - of_s).abs() <= 1e-12 * size, "d = {d}, row {i}");
                    assert_eq!(alone[[0, j]].to_bits(), got.to_bits(), "d = {d}, row {i}");
                }
            }
        }
    }
}
