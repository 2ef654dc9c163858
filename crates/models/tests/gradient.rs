//! Gradients along the network's score and of its divergence, for states and for weights, against differences.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::cast_possible_wrap)]

mod common;

use common::{
    CASES, PREDICTIONS, VP, coefficients, describe, lanes, model, noised, normals, numbers, times,
};
use models::sde_core::{Prediction, Reverse};
use models::tch::{Device, Tensor, no_grad};
use models::{Batch, Model, NetworkScore};

const SAMPLES: [u64; 4] = [3, 0, 17, 8];

fn batch(x: &[f64]) -> Batch {
    Batch::from_host(x, &[x.len() as i64 / 64, 1, 8, 8], Device::Cpu).unwrap()
}

fn added(x: &Batch, h: f64, direction: &[f64]) -> Batch {
    let x = x.to_host().unwrap();
    batch(&x.iter().zip(direction).map(|(x, r)| x + h * r).collect::<Vec<_>>())
}

/// Numbers by the name of their tensor.
type Named = Vec<(String, Vec<f64>)>;

/// What is differentiated: ⟨w, v⟩ + c div v with these probes, or the exact divergence.
struct Of {
    t: Vec<f64>,
    w: Batch,
    c: Vec<f64>,
    probes: Option<Vec<Batch>>,
}

impl Of {
    fn new(model: &Model, probes: Option<Vec<Batch>>) -> Self {
        let c = vec![0.3, -0.2, 0.5, 0.1];
        Self {
            t: times(model.description.as_ref().unwrap()),
            w: batch(&normals(8, 256)),
            c,
            probes,
        }
    }

    /// The sum over the rows.
    fn value(&self, model: &Model, x: &Batch) -> f64 {
        let description = model.description.as_ref().unwrap();
        let score = NetworkScore::new(&*model.network, description);
        let mut flow = Reverse::probability_flow(&*description.process, score);
        let (mut v, mut div) = (batch(&[0.0; 256]), vec![0.0; 4]);
        let at = lanes(&self.t, &SAMPLES);
        match &self.probes {
            None => flow.drift_and_divergence(x, at, &mut v, &mut div).unwrap(),
            Some(probes) => {
                let mut forms = vec![vec![0.0; 4]; probes.len()];
                flow.drift_and_forms(x, at, probes, &mut v, &mut forms).unwrap();
                let mean = |i: usize| forms.iter().map(|form| form[i]).sum::<f64>();
                div = (0..4).map(|i| mean(i) / probes.len() as f64).collect();
            }
        }
        let along = v
            .to_host()
            .unwrap()
            .iter()
            .zip(self.w.to_host().unwrap())
            .map(|(v, w)| v * w)
            .sum::<f64>();
        along + div.iter().zip(&self.c).map(|(d, c)| d * c).sum::<f64>()
    }

    /// Gradients for the states and for the weights by name, and the divergences.
    fn gradients(&self, model: &Model, x: &Batch) -> (Vec<f64>, Named, Vec<f64>) {
        let description = model.description.as_ref().unwrap();
        let score = NetworkScore::new(&*model.network, description);
        let mut score = score.collecting(&model.parameters).unwrap();
        let (mut out, mut div) = (batch(&[0.0; 256]), vec![0.0; 4]);
        let mut flow = Reverse::probability_flow(&*description.process, &mut score);
        let (at, probes) = (lanes(&self.t, &SAMPLES), self.probes.as_deref());
        flow.pull_back(x, at, (&self.w, &self.c), probes, &mut div, &mut out).unwrap();
        let weights = score.collected().unwrap().iter();
        let weights = weights.map(|(name, t)| (name.to_owned(), numbers(t))).collect();
        (out.to_host().unwrap(), weights, div)
    }
}

/// The derivative of f at 0 by four values, exact to fourth order.
fn slope(f: impl Fn(f64) -> f64, h: f64) -> f64 {
    (8.0 * (f(h) - f(-h)) - (f(2.0 * h) - f(-2.0 * h))) / (12.0 * h)
}

fn probes() -> Vec<Batch> {
    let signs = |seed| normals(seed, 256).iter().map(|z| z.signum()).collect::<Vec<_>>();
    vec![batch(&signs(21)), batch(&signs(22))]
}

#[test]
fn gradients_for_the_states_are_differences() {
    for (case, prediction, probes) in [
        (&VP, Prediction::Epsilon, Some(probes())),
        (&CASES[3], Prediction::Velocity, Some(probes())),
        (&CASES[5], PREDICTIONS[5], Some(probes())),
        (&CASES[1], Prediction::V, None),
    ] {
        let model = model(&[], describe(case, prediction));
        let of = Of::new(&model, probes);
        let x = noised(11, &coefficients(model.description.as_ref().unwrap(), &of.t));
        let (found, _, _) = of.gradients(&model, &x);
        let norm = found.iter().map(|g| g * g).sum::<f64>().sqrt();
        for seed in [31, 32] {
            let direction = normals(seed, 256);
            let along: f64 = found.iter().zip(&direction).map(|(g, r)| g * r).sum();
            let slope = slope(|h| of.value(&model, &added(&x, h, &direction)), 0.02);
            let off = (along - slope).abs() / norm;
            assert!(off < 2e-3, "{} {prediction:?}: {along} {slope} of {norm}", case.process);
        }
        // the control: without the divergence it is another gradient
        let (other, _, _) = Of { c: vec![0.0; 4], ..of }.gradients(&model, &x);
        let apart = common::apart(&other, &found);
        assert!(apart > 1e-3 * norm, "{apart} {norm}");
    }
}

#[test]
fn gradients_for_the_weights_are_differences() {
    let model = model(&[], describe(&VP, Prediction::Epsilon));
    let of = Of::new(&model, Some(probes()));
    let x = noised(11, &coefficients(model.description.as_ref().unwrap(), &of.t));
    let (_, found, _) = of.gradients(&model, &x);
    assert_eq!(found.len(), model.parameters.iter().count());
    let moved = |name: &str, direction: &[f64], h: f64| {
        let (_, weights) = model.parameters.iter().find(|(other, _)| *other == name).unwrap();
        no_grad(|| {
            let step = Tensor::from_slice(direction).f_reshape(weights.size()).unwrap();
            let step = step.f_mul(&Tensor::from(h)).unwrap().f_to_kind(weights.kind()).unwrap();
            let mut weights = weights.shallow_clone();
            let before = weights.f_mul(&Tensor::from(1.0)).unwrap();
            let _ = weights.f_add_(&step).unwrap();
            let value = of.value(&model, &x);
            weights.f_copy_(&before).unwrap();
            value
        })
    };
    for part in [
        "conv_in.weight",
        "attentions.0.to_q.weight",
        "time_embedding.linear_1",
        "norm2.bias",
        "conv_out.bias",
    ] {
        let (name, gradient) = found.iter().find(|(name, _)| name.contains(part)).unwrap();
        let direction = normals(41, gradient.len());
        let along: f64 = gradient.iter().zip(&direction).map(|(g, r)| g * r).sum();
        let slope = slope(|h| moved(name, &direction, h), 0.01);
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        assert!((along - slope).abs() < 5e-3 * norm, "{name}: {along} {slope} of {norm}");
        assert!(norm > 0.0, "{name} has no gradient");
    }
}

/// Axes times √d as probes are the exact trace, and the divergence that is returned is that of the evaluation.
#[test]
fn the_exact_divergence_is_that_of_all_axes() {
    let model = model(&[], describe(&VP, Prediction::X0));
    let axes =
        (0..64).map(|j| batch(&(0..256).map(|i| 8.0 * f64::from(i % 64 == j)).collect::<Vec<_>>()));
    let (exact, all) = (Of::new(&model, None), Of::new(&model, Some(axes.collect())));
    let x = noised(11, &coefficients(model.description.as_ref().unwrap(), &exact.t));
    let ((a, _, div), (b, _, forms)) = (exact.gradients(&model, &x), all.gradients(&model, &x));
    let size = a.iter().fold(0.0_f64, |m, g| m.max(g.abs()));
    assert!(common::apart(&a, &b) < 1e-5 * size, "{size}");
    let description = model.description.as_ref().unwrap();
    let score = NetworkScore::new(&*model.network, description);
    let mut flow = Reverse::probability_flow(&*description.process, score);
    let (mut v, mut want) = (batch(&[0.0; 256]), vec![0.0; 4]);
    flow.drift_and_divergence(&x, lanes(&exact.t, &SAMPLES), &mut v, &mut want).unwrap();
    for (found, want) in div.iter().chain(&forms).zip(want.iter().chain(&want)) {
        assert!((found - want).abs() < 1e-4 * want.abs(), "{found} {want}");
    }
}
