//! The divergences of D and s: exact ones against single products and differences, estimates against exact ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod common;

use common::{
    CASES, PREDICTIONS, VP, apart, coefficients, describe, lanes, model, noised, numbers, sentence,
    times,
};
use models::tch::{Device, Kind, Tensor};
use models::unet::Input;
use models::{Batch, Model, NetworkScore, Result, Trace, vjp};
use sde_core::score::Field;
use sde_core::{Divergence, Noise, Prediction, Purpose, Score};

const SAMPLES: [u64; 4] = [3, 0, 17, 8];

fn batch(x: &[f64]) -> Batch {
    Batch::from_host(x, &[x.len() as i64 / 64, 1, 8, 8], Device::Cpu).unwrap()
}

/// D, s and their divergences on the host.
fn evaluate(
    model: &Model,
    trace: Trace,
    x: &Batch,
    t: &[f64],
    samples: &[u64],
) -> (Field<Vec<f64>>, Divergence) {
    let (mut out, mut divergence) = (Field::like(x), Divergence::default());
    let mut score = NetworkScore::new(&model.unet, model.description.as_ref().unwrap(), trace);
    score.evaluate_with_divergence(x, lanes(t, samples), &mut out, &mut divergence).unwrap();
    let (denoised, score) = (out.denoised.to_host().unwrap(), out.score.to_host().unwrap());
    (Field { denoised, score }, divergence)
}

/// Under an ε network and α² + σ² = 1, `tr ∂y/∂x = −σ div s`.
fn traces(model: &Model, trace: Trace, x: &Batch, t: &[f64], samples: &[u64]) -> Vec<f64> {
    let divergence = evaluate(model, trace, x, t, samples).1;
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
    let y = model.unet.forward(Input { x, label: &label, class: None, train: false })?;
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
    let exact = traces(&model, Trace::Exact, &x, &t, &SAMPLES);
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
        let exact = evaluate(&model, Trace::Exact, &batch(&x), &t, &[0]).1;
        let h = 2e-2 * k.sigma.hypot(k.alpha);
        let moved: Vec<f64> = (0..128)
            .flat_map(|i| {
                let mut x = x.clone();
                x[i / 2] += if i % 2 == 0 { h } else { -h };
                x
            })
            .collect();
        let mut out = Field::like(&batch(&moved));
        let mut score =
            NetworkScore::new(&model.unet, model.description.as_ref().unwrap(), Trace::Exact);
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
    let with = evaluate(&model, Trace::Exact, &x, &t, &SAMPLES).0;
    let signs = evaluate(&model, Trace::Signs { seed: 1, probes: 1 }, &x, &t, &SAMPLES).0;
    let mut out = Field::like(&x);
    let description = model.description.as_ref().unwrap();
    let mut score = NetworkScore::new(&model.unet, description, Trace::Exact);
    score.evaluate(&x, lanes(&t, &SAMPLES), &mut out).unwrap();
    for (with, signs, without) in
        [(with.denoised, signs.denoised, out.denoised), (with.score, signs.score, out.score)]
    {
        assert_eq!(with, signs);
        let without = without.to_host().unwrap();
        let size = without.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
        assert!(apart(&with, &without) < 1e-6 * size);
    }
}

#[test]
fn signs_average_to_the_exact_trace() {
    let (model, x, t) = noise_network();
    let exact = traces(&model, Trace::Exact, &x, &t, &SAMPLES);
    let n = 256;
    let draw = |seed| traces(&model, Trace::Signs { seed, probes: 1 }, &x, &t, &SAMPLES);
    let draws: Vec<Vec<f64>> = (0..n).map(draw).collect();
    let ones = Tensor::f_ones([1, 18, 1, 8, 8], (Kind::Double, Device::Cpu)).unwrap();
    let ones = traces(&model, Trace::Given(ones), &x, &t, &SAMPLES);
    let mut off_of_ones = 0.0_f64;
    for (i, exact) in exact.iter().enumerate() {
        let mean = draws.iter().map(|d| d[i]).sum::<f64>() / n as f64;
        let var = draws.iter().map(|d| (d[i] - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
        let error = (var / n as f64).sqrt();
        assert!((mean - exact).abs() < 4.0 * error, "{mean} {exact} {error}");
        off_of_ones = off_of_ones.max((exact - ones[i]).abs() / error);
    }
    assert!(off_of_ones > 8.0, "the control: probes that are not random are seen: {off_of_ones}");
}

#[test]
fn signs_belong_to_samples_and_not_to_rows() {
    let (model, x, t) = noise_network();
    let signs = || Trace::Signs { seed: 7, probes: 2 };
    let all = traces(&model, signs(), &x, &t, &SAMPLES);
    let rows = x.to_host().unwrap();
    for i in 0..4 {
        let row = batch(&rows[64 * i..64 * (i + 1)]);
        let alone = traces(&model, signs(), &row, &t[i..=i], &SAMPLES[i..=i]);
        assert!((alone[0] - all[i]).abs() < 1e-6 * 64.0, "{} {}", alone[0], all[i]); // of 64 terms
        let other = traces(&model, signs(), &row, &t[i..=i], &[99]);
        assert!((alone[0] - other[0]).abs() > 1e-3, "another sample has other signs");
        let again =
            traces(&model, Trace::Signs { seed: 8, probes: 2 }, &row, &t[i..=i], &SAMPLES[i..=i]);
        assert!((alone[0] - again[0]).abs() > 1e-3, "another seed has other signs");
    }
}

/// `[K, N, 1, 8, 8]` of the signs that a seed gives.
fn probes(seed: u64, k: u32, n: u64) -> Tensor {
    let noise = Noise::new(seed, Purpose::Probe);
    let mut values = Vec::new();
    for (k, sample) in (0..k).flat_map(|k| (0..n).map(move |sample| (k, sample))) {
        let mut row = [0.0; 64];
        noise.uniform(sample, k, &mut row);
        values.extend(row.map(|u| if u < 0.5 { -1.0 } else { 1.0 }));
    }
    let shape = [i64::from(k), n as i64, 1, 8, 8];
    Tensor::f_from_slice(&values).unwrap().f_reshape(shape).unwrap()
}

#[test]
fn several_probes_are_the_mean_of_single_ones() {
    let (model, x, t) = noise_network();
    let u = probes(7, 3, 18);
    let all = traces(&model, Trace::Given(u.shallow_clone()), &x, &t, &SAMPLES);
    let signs = traces(&model, Trace::Signs { seed: 7, probes: 3 }, &x, &t, &SAMPLES);
    let mut mean = vec![0.0; 4];
    for k in 0..3 {
        let one = Trace::Given(u.f_narrow(0, k, 1).unwrap());
        let one = traces(&model, one, &x, &t, &SAMPLES);
        assert!(apart(&one, &all) > 1e-3, "the control: one probe is not the mean");
        mean.iter_mut().zip(one).for_each(|(m, v)| *m += v / 3.0);
    }
    assert!(apart(&all, &mean) < 1e-6 && apart(&all, &signs) < 1e-6);
    let kinds = traces(&model, Trace::Given(u.f_to_kind(Kind::Int8).unwrap()), &x, &t, &SAMPLES);
    assert!(apart(&all, &kinds) < 1e-6);
}

/// A probe is used as it is: with `u = √d e_j`, E over j is the exact trace.
#[test]
fn given_probes_need_not_be_signs() {
    let (model, x, t) = noise_network();
    let u = Tensor::f_eye(64, (Kind::Double, Device::Cpu)).unwrap();
    let u = u.f_mul(&Tensor::from(8.0)).unwrap().f_reshape([64, 1, 1, 8, 8]).unwrap();
    let u = u.f_expand([64, 18, 1, 8, 8], false).unwrap();
    let exact = traces(&model, Trace::Exact, &x, &t, &SAMPLES);
    assert!(apart(&traces(&model, Trace::Given(u), &x, &t, &SAMPLES), &exact) < 1e-5);
}

#[test]
fn probes_that_do_not_fit_are_refused() {
    let (model, x, t) = noise_network();
    let refuse = |trace: Trace, samples: &[u64]| {
        let (mut out, mut divergence) = (Field::like(&x), Divergence::default());
        let mut score = NetworkScore::new(&model.unet, model.description.as_ref().unwrap(), trace);
        let lanes = lanes(&t, samples);
        sentence(score.evaluate_with_divergence(&x, lanes, &mut out, &mut divergence).unwrap_err())
    };
    let u = probes(7, 2, 17);
    let text = refuse(Trace::Given(u.shallow_clone()), &SAMPLES);
    assert!(text.contains("the probes has the shape [2, 17, 1, 8, 8]"), "{text}");
    assert!(text.contains("N above the sample number 17"), "{text}");
    for samples in [[0, 1, 2, u64::MAX], [0, 1, 2, 1 << 63]] {
        assert!(refuse(Trace::Given(u.shallow_clone()), &samples).contains("the probes"));
    }
    let flat = u.f_reshape([2, 17, 64]).unwrap();
    assert!(refuse(Trace::Given(flat), &[0, 1, 2, 3]).contains("the probes"));
    for none in [Trace::Signs { seed: 1, probes: 0 }, Trace::Given(u.f_narrow(0, 0, 0).unwrap())] {
        assert!(refuse(none, &[0, 1, 2, 3]).contains("probes"));
    }
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
    let free = traces(&model, Trace::Signs { seed: 1, probes: 1 }, &x, &t, &SAMPLES);
    let _guard = models::tch::no_grad_guard();
    assert_eq!(traces(&model, Trace::Signs { seed: 1, probes: 1 }, &x, &t, &SAMPLES), free);
}
