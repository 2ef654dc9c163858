//! In training a value is part of the graph of the weights and dropout drops; elsewhere neither.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod common;

use common::{CASES, VP, apart, coefficients, describe, lanes, model, noised, numbers, times};
use models::{Batch, Model, NetworkScore};
use sde_core::score::Field;
use sde_core::{Divergence, Prediction, Score};

const SAMPLES: [u64; 4] = [0, 1, 2, 3];

fn batch(model: &Model, seed: u64) -> (Batch, Vec<f64>) {
    let description = model.description.as_ref().unwrap();
    let t = times(description);
    (noised(seed, &coefficients(description, &t)), t)
}

fn in_training(model: &Model) -> NetworkScore<'_> {
    dropping(model, 0)
}

fn dropping(model: &Model, seed: u64) -> NetworkScore<'_> {
    NetworkScore::in_training(&*model.network, model.description.as_ref().unwrap(), seed)
}

fn as_sampled(model: &Model) -> NetworkScore<'_> {
    NetworkScore::new(&*model.network, model.description.as_ref().unwrap())
}

fn evaluate(score: NetworkScore<'_>, x: &Batch, t: &[f64]) -> Field<Batch> {
    let (mut score, mut out) = (score, Field::like(x));
    score.evaluate(x, lanes(t, &SAMPLES), &mut out).unwrap();
    out
}

const CLASSES: (&str, &str) = ("\"in_channels\": 1", "\"num_class_embeds\": 4, \"in_channels\": 1");
const DROPOUT: (&str, &str) = ("\"in_channels\": 1", "\"dropout\": 0.5, \"in_channels\": 1");

/// Of each parameter, the largest entry of its gradient over a few inputs and all classes.
fn gradients(model: &Model) -> Vec<(String, f64, bool)> {
    model.parameters.track_gradients().unwrap();
    for seed in 0..4 {
        let (x, t) = batch(model, seed);
        let score = in_training(model).of_class(Some(seed as i64));
        let loss = evaluate(score, &x, &t).denoised.tensor().f_pow_tensor_scalar(4).unwrap();
        loss.f_sum(None).unwrap().f_backward().unwrap();
    }
    let largest = |t: &[f64]| t.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
    let found = model.parameters.iter().map(|(name, t)| {
        let gradient = numbers(&t.grad());
        let rows = gradient.chunks(gradient.len() / t.size()[0] as usize);
        (name.to_owned(), largest(&gradient), rows.into_iter().all(|row| largest(row) > 0.0))
    });
    found.collect()
}

/// Softmax does not change when all its entries move alike, so the bias of the keys alone has the gradient 0.
#[test]
fn the_gradient_reaches_every_row_of_every_parameter() {
    for (case, prediction) in
        [(&VP, Prediction::V), (&CASES[5], Prediction::Edm { sigma_data: 0.8 })]
    {
        let model = model(&[CLASSES], describe(case, prediction));
        let found = gradients(&model);
        let typical = found.iter().map(|(_, g, _)| *g).fold(0.0, f64::max);
        assert!(typical.is_finite() && found.len() == model.parameters.tensors().len());
        for (name, largest, every_row) in found {
            if name.ends_with("to_k.bias") {
                assert!(largest < 1e-5 * typical, "{name}: {largest} {typical}");
            } else {
                assert!(largest > 1e-5 * typical && every_row, "{name}: {largest} {typical}");
            }
        }
    }
}

/// The derivative by one weight is that of a difference.
#[test]
fn the_gradient_is_that_of_the_value() {
    let model = model(&[], describe(&VP, Prediction::Epsilon));
    let (x, t) = batch(&model, 3);
    let loss = || {
        let out = evaluate(in_training(&model), &x, &t);
        out.score.tensor().f_square().unwrap().f_mean(None).unwrap()
    };
    model.parameters.track_gradients().unwrap();
    loss().f_backward().unwrap();
    let tensors: Vec<_> = model.parameters.iter().collect();
    for (name, weight) in tensors.iter().filter(|(name, _)| name.ends_with("conv1.weight")) {
        let found = numbers(&weight.grad()).iter().map(|g| g * g).sum::<f64>();
        let move_by = |h: f64| {
            let _guard = models::tch::no_grad_guard();
            let step = weight.grad().f_mul(&models::tch::Tensor::from(h)).unwrap();
            let _ = weight.shallow_clone().f_add_(&step).unwrap();
            numbers(&loss())[0]
        };
        let h = 1e-2 / found.sqrt();
        let difference = (move_by(h) - move_by(-2.0 * h)) / (2.0 * h);
        move_by(h);
        assert!((difference - found).abs() < 1e-2 * found, "{name}: {difference} {found}");
    }
}

#[test]
fn outside_of_training_nothing_is_on_a_graph() {
    let model = model(&[], describe(&VP, Prediction::Epsilon));
    model.parameters.track_gradients().unwrap();
    let (x, t) = batch(&model, 1);
    let out = evaluate(as_sampled(&model), &x, &t);
    assert!(!out.denoised.tensor().requires_grad() && !out.score.tensor().requires_grad());
    let trained = evaluate(in_training(&model), &x, &t);
    assert!(trained.denoised.tensor().requires_grad() && trained.score.tensor().requires_grad());
    let (mut again, mut divergence) = (Field::like(&x), Divergence::default());
    let mut score = as_sampled(&model);
    score.evaluate_with_divergence(&x, lanes(&t, &SAMPLES), &mut again, &mut divergence).unwrap();
    assert!(!again.denoised.tensor().requires_grad() && !again.score.tensor().requires_grad());
    assert!(model.parameters.tensors().iter().all(|t| !t.grad().defined()));
    let values = |field: &Field<Batch>| numbers(field.denoised.tensor());
    assert!(apart(&values(&out), &values(&trained)) < 1e-5);
    assert!(apart(&values(&out), &values(&again)) < 1e-5);
}

#[test]
fn dropout_drops_in_training_alone() {
    let plain = model(&[], describe(&VP, Prediction::V));
    let drops = model(&[DROPOUT], describe(&VP, Prediction::V));
    let (x, t) = batch(&plain, 1);
    let values = |score| numbers(evaluate(score, &x, &t).denoised.tensor());
    let expected = values(as_sampled(&plain));
    assert_eq!(values(as_sampled(&drops)), expected);
    assert!(apart(&values(in_training(&plain)), &expected) < 1e-6, "no dropout, no difference");
    let (first, second) = (values(dropping(&drops, 1)), values(dropping(&drops, 2)));
    assert!(apart(&first, &expected) > 1e-2 && apart(&first, &second) > 1e-2);
    assert_eq!(values(dropping(&drops, 1)), first);
}
