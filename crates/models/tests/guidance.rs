//! Guidance of networks: (N2) is (H2) of two networks, and batches keep what is known of them.

#![allow(clippy::unwrap_used)]

mod common;

use common::{
    PREDICTIONS, VP, apart, coefficients, describe, lanes, model, noised, normals, sentence, times,
};
use models::tch::Device;
use models::{Batch, NetworkScore};
use sde_core::guidance::{ClassifierFree, Guided, Known};
use sde_core::score::Field;
use sde_core::{Divergence, Lanes, Score};

const CLASSES: (&str, &str) = ("\"in_channels\": 1", "\"num_class_embeds\": 3, \"in_channels\": 1");

/// One pass of twice the batch is the two scores, mixed: values and quadratic forms.
#[test]
fn n2_one_pass_is_two_scores() {
    for prediction in [PREDICTIONS[1], PREDICTIONS[3], PREDICTIONS[5]] {
        let model = model(&[CLASSES], describe(&VP, prediction));
        let description = model.description.as_ref().unwrap();
        let t = times(description);
        let x = noised(4, &coefficients(description, &t));
        let at = lanes(&t, &[0, 1, 2, 3]);
        let probe = Batch::from_host(&normals(8, 256), &[4, 1, 8, 8], Device::Cpu).unwrap();
        let of = |class| NetworkScore::new(&*model.network, description).of_class(Some(class));
        let mut one = of(1).guided(Some(2.5));
        let mut two = ClassifierFree::new(of(1), of(2), 2.5).unwrap();
        let (mut a, mut b) = (Field::like(&x), Field::like(&x));
        let (mut forms_a, mut forms_b) = ([Divergence::default()], [Divergence::default()]);
        forms_a[0].fit(4);
        forms_b[0].fit(4);
        let probes = std::slice::from_ref(&probe);
        one.evaluate_with_forms(&x, at, probes, &mut a, &mut forms_a).unwrap();
        two.evaluate_with_forms(&x, at, probes, &mut b, &mut forms_b).unwrap();
        let relative =
            |a: &[f64], b: &[f64]| apart(a, b) / b.iter().fold(1.0, |m: f64, b| m.max(b.abs()));
        for (a, b) in [(&a.denoised, &b.denoised), (&a.score, &b.score)] {
            let off = relative(&a.to_host().unwrap(), &b.to_host().unwrap());
            assert!(off < 1e-5, "{prediction:?}: {off:e}");
        }
        let off = relative(&forms_a[0].score, &forms_b[0].score);
        assert!(off < 1e-5, "{prediction:?}: {off:e}");
        let mut plain = Field::like(&x);
        of(1).evaluate(&x, at, &mut plain).unwrap();
        let (a, plain) = (a.score.to_host().unwrap(), plain.score.to_host().unwrap());
        assert!(apart(&a, &plain) > 1e-2); // the control
    }
}

#[test]
fn guidance_without_a_class_for_none_is_refused() {
    let description = describe(&VP, PREDICTIONS[1]);
    let (plain, classy) = (model(&[], description.clone()), model(&[CLASSES], description));
    for (model, class, want) in [
        (&plain, None, "the class of guidance: found none, expected a network with a class table"),
        (&classy, None, "found none, expected one before 2, which stands for no class"),
        (&classy, Some(2), "found 2, expected one before 2"),
        (&classy, Some(-1), "found -1, expected one before 2"),
    ] {
        let x = Batch::from_host(&normals(1, 64), &[1, 1, 8, 8], Device::Cpu).unwrap();
        let description = model.description.as_ref().unwrap();
        let mut score =
            NetworkScore::new(&*model.network, description).of_class(class).guided(Some(2.0));
        let error = score.evaluate(&x, lanes(&[0.5], &[0]), &mut Field::like(&x)).unwrap_err();
        let text = sentence(error);
        assert!(text.contains(want), "{text}");
    }
}

/// (H3) on a device: elements that are known stand in D, of whatever samples are left.
#[test]
fn h3_known_elements_of_a_batch_stand_in_d() {
    let model = model(&[], describe(&VP, PREDICTIONS[1]));
    let description = model.description.as_ref().unwrap();
    let batch = |x: &[f64], n: i64| Batch::from_host(x, &[n, 1, 8, 8], Device::Cpu).unwrap();
    let (data, mask) = (normals(2, 192), [[1.0; 32], [0.0; 32]].concat().repeat(3));
    let mut known = Known::new(batch(&data, 3), batch(&mask, 3), vec![5, 6, 7]).unwrap();
    let guide = |_: &Batch, at: Lanes<'_>, d: &mut Batch| known.project(at, d);
    let score = NetworkScore::new(&*model.network, description);
    let mut guided = Guided::new(&*description.process, score, guide);
    let (x, t) = (batch(&normals(3, 128), 2), [0.3, 0.6]);
    let (mut found, mut plain) = (Field::like(&x), Field::like(&x));
    guided.evaluate(&x, lanes(&t, &[5, 7]), &mut found).unwrap();
    let mut score = NetworkScore::new(&*model.network, description);
    score.evaluate(&x, lanes(&t, &[5, 7]), &mut plain).unwrap();
    let [d, free, s] =
        [&found.denoised, &plain.denoised, &found.score].map(|x| x.to_host().unwrap());
    let x = x.to_host().unwrap();
    let k = coefficients(description, &t);
    for i in 0..128 {
        let (row, column) = (i / 64, i % 64);
        let expected = if column < 32 { data[128 * row + column] } else { free[i] };
        assert!((d[i] - expected).abs() < 1e-12, "{i}");
        let tweedie = (k[row].alpha * d[i] - x[i]) / k[row].sigma.powi(2);
        assert!((s[i] - tweedie).abs() < 1e-4 * (1.0 + tweedie.abs()), "{i}: {} {tweedie}", s[i]);
    }
}
