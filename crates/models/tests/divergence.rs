//! The divergences of D and s: exact ones against single products and differences, estimates against exact ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod common;

use common::{
    CASES, PREDICTIONS, VP, apart, coefficients, describe, lanes, model, noised, numbers, sentence,
    times,
};
use models::Input;
use models::tch::{Device, Kind, Tensor};
use models::{Batch, Model, NetworkScore, Result, vjp};
use sde_core::score::Field;
use sde_core::{Divergence, Noise, Prediction, Purpose, Score};

const SAMPLES: [u64; 4] = [3, 0, 17, 8];

fn batch(x: &[f64]) -> Batch {
    Batch::from_host(x, &[x.len() as i64 / 64, 1, 8, 8], Device::Cpu).unwrap()
}

/// D, s and their divergences on the host.
fn evaluate(model: &Model, x: &Batch, t: &[f64], samples: &[u64]) -> (Field<Vec<f64>>, Divergence) {
    let (mut out, mut divergence) = (Field::like(x), Divergence::default());
    let mut score = NetworkScore::new(&*model.network, model.description.as_ref().unwrap());
    score.evaluate_with_divergence(x, lanes(t, samples), &mut out, &mut divergence).unwrap();
    let (denoised, score) = (out.denoised.to_host().unwrap(), out.score.to_host().unwrap());
    (Field { denoised, score }, divergence)
}

/// Under an ε network and α² + σ² = 1, `tr ∂y/∂x = −σ div s`.
fn traces(model: &Model, x: &Batch, t: &[f64], samples: &[u64]) -> Vec<f64> {
    let divergence = evaluate(model, x, t, samples).1;
    let k = coefficients(model.description.as_ref().unwrap(), t);
    divergence.score.iter().zip(k).map(|(div, k)| -k.sigma * div).collect()
}

/// An ε network, a batch and its times.
fn noise_network() -> (Model, Batch, Vec<f64>) {
    let model = model(&[], describe(&VP, Prediction::Epsilon));
    let t = times(model.description.as_ref().unwrap());
    let x = noised(11, &coefficients(model.description.as_ref().unwrap(), &t));
    (model, x, t)
}

/// The network's output for one row, f64 to f64.
fn output(model: &Model, x: &Tensor, t: f64) -> Result<Tensor> {
    let (x, label) = (&x.f_to_kind(Kind::Float)?, [999.0 * t]);
    let y = model.network.forward(Input { x, label: &label, class: None, train: None })?;
    Ok(y.f_to_kind(Kind::Double)?)
}

/// `(tr J, Σ_j |J_jj|)` of one row by 64 products with single directions.
fn by_products(model: &Model, x: &[f64], t: f64) -> (f64, f64) {
    let x = batch(x);
    let diagonal = (0..64).map(|j| {
        let mut u = vec![0.0; 64];
        u[j] = 1.0;
        let (_, product) = vjp(|x| output(model, x, t), x.tensor(), batch(&u).tensor()).unwrap();
        numbers(&product)[j]
    });
    let diagonal: Vec<f64> = diagonal.collect();
    (diagonal.iter().sum(), diagonal.iter().map(|d| d.abs()).sum())
}

/// `Σ_j ∂y_{j+shift}/∂x_j` of one row by central differences.
fn by_differences(model: &Model, x: &[f64], t: f64, shift: usize) -> f64 {
    let h = 2e-2;
    let value = |j: usize, h: f64| {
        let mut x = x.to_vec();
        x[j] += h;
        numbers(&output(model, batch(&x).tensor(), t).unwrap())[(j + shift) % 64]
    };
    (0..64).map(|j| (value(j, h) - value(j, -h)) / (2.0 * h)).sum()
}

#[test]
fn the_exact_trace_is_that_of_single_products_and_of_differences() {
    let (model, x, t) = noise_network();
    let exact = traces(&model, &x, &t, &SAMPLES);
    for (i, row) in x.to_host().unwrap().chunks(64).enumerate() {
        let (sum, size) = by_products(&model, row, t[i]);
        assert!((exact[i] - sum).abs() < 1e-6 * size, "{} {sum} {size}", exact[i]);
        let differences = by_differences(&model, row, t[i], 0);
        assert!((exact[i] - differences).abs() < 1e-3 * size, "{} {differences} {size}", exact[i]);
        let other = by_differences(&model, row, t[i], 1);
        assert!((exact[i] - other).abs() > 0.1 * size, "the control: {} {other} {size}", exact[i]);
    }
}

/// `div D` and `div s` by differences of D and s themselves, whatever the process and the prediction.
#[test]
fn both_divergences_are_those_of_the_values() {
    for (case, prediction) in [(0, 4), (1, 3), (2, 3), (3, 4), (4, 1), (5, 5), (6, 0), (0, 2)]
        .map(|(c, p)| (&CASES[c], PREDICTIONS[p]))
    {
        let model = model(&[], describe(case, prediction));
        let t = [0.5 * model.description.as_ref().unwrap().process.end()];
        let k = coefficients(model.description.as_ref().unwrap(), &t)[0];
        let x = noised(4, &[k]).to_host().unwrap();
        let exact = evaluate(&model, &batch(&x), &t, &[0]).1;
        let h = 2e-2 * k.sigma.hypot(k.alpha);
        let moved: Vec<f64> = (0..128)
            .flat_map(|i| {
                let mut x = x.clone();
                x[i / 2] += if i % 2 == 0 { h } else { -h };
                x
            })
            .collect();
        let mut out = Field::like(&batch(&moved));
        let mut score = NetworkScore::new(&*model.network, model.description.as_ref().unwrap());
        score.evaluate(&batch(&moved), lanes(&[t[0]; 128], &[0; 128]), &mut out).unwrap();
        for (found, values) in [(exact.denoised[0], &out.denoised), (exact.score[0], &out.score)] {
            let v = values.to_host().unwrap();
            let slope = |j: usize| (v[128 * j + j] - v[128 * j + 64 + j]) / (2.0 * h);
            let (sum, size) =
                (0..64).map(slope).fold((0.0, 0.0), |(a, b), s: f64| (a + s, b + s.abs()));
            assert!(
                (found - sum).abs() < 2e-3 * size,
                "{} {prediction:?} {found} {sum} {size}",
                case.process
            );
        }
    }
}

#[test]
fn the_value_is_the_same_with_and_without_divergence() {
    let (model, x, t) = noise_network();
    let with = evaluate(&model, &x, &t, &SAMPLES).0;
    let with_forms = forms(&model, &x, &t, &[batch(&[1.0; 256])]).unwrap().0;
    let mut out = Field::like(&x);
    let mut score = NetworkScore::new(&*model.network, model.description.as_ref().unwrap());
    score.evaluate(&x, lanes(&t, &SAMPLES), &mut out).unwrap();
    for (with, forms, without) in [
        (with.denoised, with_forms.denoised, out.denoised),
        (with.score, with_forms.score, out.score),
    ] {
        assert_eq!(with, forms.to_host().unwrap());
        let without = without.to_host().unwrap();
        let size = without.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
        assert!(apart(&with, &without) < 1e-6 * size);
    }
}

/// D and s with the forms of these probes.
fn forms(
    model: &Model,
    x: &Batch,
    t: &[f64],
    probes: &[Batch],
) -> sde_core::Result<(Field<Batch>, Vec<Divergence>)> {
    let (mut out, mut forms) = (Field::like(x), vec![Divergence::default(); probes.len()]);
    let mut score = NetworkScore::new(&*model.network, model.description.as_ref().unwrap());
    score.evaluate_with_forms(x, lanes(t, &SAMPLES), probes, &mut out, &mut forms)?;
    Ok((out, forms))
}

/// The forms of the axes add up to the divergences, and that of a probe is its product with the Jacobian, whatever the
/// network predicts.
#[test]
fn forms_of_the_axes_are_the_divergences() {
    for (case, prediction) in
        [(0, 4), (1, 3), (4, 1), (5, 5), (0, 2)].map(|(c, p)| (&CASES[c], PREDICTIONS[p]))
    {
        let model = model(&[], describe(case, prediction));
        let t = times(model.description.as_ref().unwrap());
        let x = noised(11, &coefficients(model.description.as_ref().unwrap(), &t));
        let axes: Vec<Batch> = (0..64)
            .map(|j| batch(&(0..256).map(|i| f64::from(i % 64 == j)).collect::<Vec<_>>()))
            .collect();
        let exact = evaluate(&model, &x, &t, &SAMPLES).1;
        let found = forms(&model, &x, &t, &axes).unwrap().1;
        for i in 0..4 {
            let both = [
                (exact.score[i], found.iter().map(|f| f.score[i]).collect::<Vec<_>>()),
                (exact.denoised[i], found.iter().map(|f| f.denoised[i]).collect()),
            ];
            for (exact, forms) in both {
                let size: f64 = forms.iter().map(|f| f.abs()).sum();
                let sum: f64 = forms.iter().sum();
                assert!((sum - exact).abs() < 1e-5 * size, "{}: {sum} {exact}", case.process);
            }
        }
    }
}

#[test]
fn signs_average_to_the_exact_trace() {
    let (model, x, t) = noise_network();
    let exact = evaluate(&model, &x, &t, &SAMPLES).1.score;
    let probe = |k: u32| {
        let mut u = vec![0.0; 256];
        Noise::new(7, Purpose::Probe).uniform(0, k, &mut u);
        u.iter_mut().for_each(|u| *u = if *u < 0.5 { -1.0 } else { 1.0 });
        batch(&u)
    };
    let probes: Vec<Batch> = (0..256).map(probe).collect();
    let found = forms(&model, &x, &t, &probes).unwrap().1;
    for (i, exact) in exact.iter().enumerate() {
        let draws: Vec<f64> = found.iter().map(|f| f.score[i]).collect();
        let summary = sde_core::Summary::of(&draws);
        assert!((summary.mean - exact).abs() < 4.0 * summary.standard_error, "{summary} {exact}");
    }
}

#[test]
fn probes_that_do_not_fit_are_refused() {
    let (model, x, t) = noise_network();
    let text = sentence(forms(&model, &x, &t, &[batch(&[1.0; 64])]).unwrap_err());
    assert!(
        text.contains("the cotangent has the shape [1, 1, 8, 8], expected [4, 1, 8, 8]"),
        "{text}"
    );
    let mut score = NetworkScore::new(&*model.network, model.description.as_ref().unwrap());
    let (u, mut out) = ([batch(&[1.0; 256])], Field::like(&x));
    let none = score.evaluate_with_forms(&x, lanes(&t, &SAMPLES), &u, &mut out, &mut []);
    assert!(sentence(none.unwrap_err()).contains("the forms has the shape [0], expected [1]"));
}

/// A value that does not depend on x has the product 0, with other gradients about or without any.
#[test]
fn a_constant_has_no_product() {
    let (x, u) = (batch(&[0.5; 64]), batch(&[1.0; 64]));
    let (_, product) = vjp(|x| Ok(x.f_ones_like()?), x.tensor(), u.tensor()).unwrap();
    assert_eq!(numbers(&product), [0.0; 64]);
    let weight = Tensor::from(2.0).f_set_requires_grad(true).unwrap();
    let other = |x: &Tensor| Ok(x.f_ones_like()?.f_mul(&weight)?);
    let (_, product) = vjp(other, x.tensor(), u.tensor()).unwrap();
    assert_eq!(numbers(&product), [0.0; 64]);
    let (y, product) = vjp(|x| Ok(x.f_mul(&weight)?), x.tensor(), u.tensor()).unwrap();
    assert_eq!((numbers(&product), y.requires_grad()), (vec![2.0; 64], false));
    let narrow = u.tensor().f_narrow(3, 0, 1).unwrap();
    let text = sentence(vjp(|x| Ok(x.f_square()?), x.tensor(), &narrow).unwrap_err());
    assert!(text.starts_with("the cotangent has the shape [1, 1, 8, 1], expected"), "{text}");
}

#[test]
fn a_guard_of_the_caller_does_not_stop_a_divergence() {
    let (model, x, t) = noise_network();
    let found = || forms(&model, &x, &t, &[batch(&[1.0; 256])]).unwrap().1[0].score.clone();
    let free = found();
    let _guard = models::tch::no_grad_guard();
    assert_eq!(found(), free);
}
