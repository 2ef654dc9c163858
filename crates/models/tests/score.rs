//! A network as a score: whatever it predicts, D and s are what the formulas make of its raw output, row by row.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod common;

use common::{
    CASES, Case, PREDICTIONS, SIGMA_DATA, VP, apart, coefficients, describe, lanes, model, noised,
    normals, numbers, sentence, times,
};
use models::Input;
use models::parameters::Place;
use models::tch::{Device, Kind, Tensor};
use models::{Batch, Description, Model, NetworkScore};
use sde_core::score::Field;
use sde_core::sde::Coefficients;
use sde_core::{Divergence, Prediction, Score};

const SAMPLES: [u64; 4] = [3, 0, 17, 8];

/// D and s on the host.
fn evaluate(model: &Model, x: &Batch, t: &[f64], class: Option<i64>) -> [Vec<f64>; 2] {
    let description = model.description.as_ref().unwrap();
    let mut out = Field::like(x);
    let samples: Vec<u64> = (0..t.len() as u64).collect();
    let mut score = NetworkScore::new(&*model.network, description).of_class(class);
    score.evaluate(x, lanes(t, &samples), &mut out).unwrap();
    [out.denoised.to_host().unwrap(), out.score.to_host().unwrap()]
}

/// The network's own output for rows x.
fn raw(model: &Model, x: &[f64], labels: &[f64], class: Option<&[i64]>) -> Vec<f64> {
    let x = Tensor::f_from_slice(x).unwrap().f_to_kind(Kind::Float).unwrap();
    let x = &x.f_reshape([labels.len() as i64, 1, 8, 8]).unwrap();
    numbers(
        &model
            .network
            .forward(Input {
                x,
                label: labels,
                class: class.map(models::Classes::Labels),
                train: None,
            })
            .unwrap(),
    )
}

/// D and s of one number by the textbook formula of its prediction.
fn by_hand(prediction: Prediction, k: Coefficients, x: f64, y: f64) -> [f64; 2] {
    let Coefficients { alpha, sigma, d_alpha, d_sigma, .. } = k;
    let of_noise = |eps: f64| [(x - sigma * eps) / alpha, -eps / sigma];
    let of_data = |d: f64| [d, (alpha * d - x) / (sigma * sigma)];
    match prediction {
        Prediction::X0 => of_data(y),
        Prediction::Epsilon => of_noise(y),
        Prediction::Score => [(x + sigma * sigma * y) / alpha, y],
        Prediction::V => of_data((alpha * x - sigma * y) / (alpha * alpha + sigma * sigma)),
        Prediction::Velocity => {
            of_data((d_sigma * x - sigma * y) / (alpha * d_sigma - sigma * d_alpha))
        }
        Prediction::Edm { sigma_data: s } => {
            let (level, x) = (sigma / alpha, x / alpha); // Karras et al. 2022, table 1
            let n = level.hypot(s);
            of_data((s / n).powi(2) * x + level * s / n * y)
        }
    }
}

/// What the network of a case is shown and told, computed here.
fn raw_by_hand(model: &Model, case: &Case, x: &[f64], t: &[f64], k: &[Coefficients]) -> Vec<f64> {
    let labels: Vec<_> = t.iter().zip(k).map(|(t, k)| (case.told)(*t, k.alpha, k.sigma)).collect();
    let mut shown = x.to_vec();
    if let Prediction::Edm { sigma_data } = model.description.as_ref().unwrap().prediction {
        for (row, k) in shown.chunks_exact_mut(64).zip(k) {
            let c_in = 1.0 / (k.sigma / k.alpha).hypot(sigma_data);
            row.iter_mut().for_each(|x| *x *= c_in / k.alpha);
        }
    }
    raw(model, &shown, &labels, None)
}

/// The worst relative errors of Tweedie's formula, and of D and σ² s against those of `prediction` by hand.
fn errors(model: &Model, case: &Case, prediction: Prediction) -> [f64; 3] {
    let t = times(model.description.as_ref().unwrap());
    let k = coefficients(model.description.as_ref().unwrap(), &t);
    let batch = noised(11, &k);
    let x = batch.to_host().unwrap();
    let [d, s] = evaluate(model, &batch, &t, None);
    let y = raw_by_hand(model, case, &x, &t, &k);
    let mut worst = [0.0_f64; 3];
    for i in 0..x.len() {
        let (k, var) = (k[i / 64], k[i / 64].sigma.powi(2));
        let size = x[i].abs() + k.alpha * d[i].abs() + var * s[i].abs() + k.sigma * y[i].abs();
        let [hand_d, hand_s] = by_hand(prediction, k, x[i], y[i]);
        let off =
            [k.alpha * d[i] - x[i] - var * s[i], k.alpha * (d[i] - hand_d), var * (s[i] - hand_s)];
        for (worst, off) in worst.iter_mut().zip(off) {
            assert!(off.is_finite());
            *worst = worst.max(off.abs() / size);
        }
    }
    worst
}

#[test]
fn every_prediction_under_every_process_obeys_tweedie_and_its_own_formula() {
    for case in &CASES {
        for prediction in PREDICTIONS {
            let model = model(&[], describe(case, prediction));
            let worst = errors(&model, case, prediction);
            assert!(worst.iter().all(|e| *e < 1e-11), "{} {prediction:?} {worst:?}", case.process);
        }
    }
}

/// The control: another formula, and another label, are seen.
#[test]
fn another_formula_or_label_does_not_fit() {
    for (case, other) in [(&CASES[0], &CASES[2]), (&CASES[3], &CASES[6]), (&CASES[6], &CASES[0])] {
        for prediction in PREDICTIONS {
            let model = model(&[], describe(case, prediction));
            for wrong in PREDICTIONS.into_iter().filter(|wrong| *wrong != prediction) {
                let [tweedie, d, s] = errors(&model, case, wrong);
                assert!(tweedie < 1e-11 && d.max(s) > 1e-3, "{prediction:?} as {wrong:?}: {d} {s}");
            }
            let case = Case { told: other.told, ..*case };
            let [_, d, s] = errors(&model, &case, prediction);
            assert!(d.max(s) > 1e-5, "{} {prediction:?}: {d} {s}", case.process);
        }
    }
}

/// What EDM's network is shown has variance 1 at every level of noise.
#[test]
fn the_input_of_edm_is_scaled() {
    let description = describe(&CASES[5], Prediction::Edm { sigma_data: SIGMA_DATA });
    let model = model(
        &[("\"in_channels\": 1", "\"center_input_sample\": false, \"in_channels\": 1")],
        description,
    );
    for t in [0.01, 1.0, 79.0] {
        let k = coefficients(model.description.as_ref().unwrap(), &[t]);
        let x = noised(2, &k);
        let [d, _] = evaluate(&model, &x, &[t], None);
        let y = raw(&model, &normals(2, 64), &[0.25 * t.ln()], None);
        let n = t.hypot(SIGMA_DATA);
        let hand = x.to_host().unwrap().into_iter().zip(y);
        let hand = hand.map(|(x, y)| (SIGMA_DATA / n).powi(2) * x + t * SIGMA_DATA / n * y);
        assert!(apart(&d, &hand.collect::<Vec<_>>()) < 1e-6);
    }
}

#[test]
fn a_row_does_not_depend_on_the_others_nor_on_their_times() {
    let places = [(Place::FILE, 4e-6), (Place { kind: Kind::Double, ..Place::FILE }, 1e-13)];
    let cases = [(&CASES[0], PREDICTIONS[1]), (&CASES[5], PREDICTIONS[5])];
    for ((case, prediction), (place, tolerance)) in
        cases.into_iter().flat_map(|c| places.map(|p| (c, p)))
    {
        let model = model(&[], describe(case, prediction)).placed(place).unwrap();
        let t = times(model.description.as_ref().unwrap());
        let k = coefficients(model.description.as_ref().unwrap(), &t);
        let x = noised(11, &k).to_host().unwrap();
        let together = evaluate(&model, &noised(11, &k), &t, None);
        let batch = |x: &[f64], n: i64| Batch::from_host(x, &[n, 1, 8, 8], Device::Cpu).unwrap();
        let (row, last) = (64..128, *t.last().unwrap());
        let alone = evaluate(&model, &batch(&x[row.clone()], 1), &t[1..2], None);
        let mut others: Vec<f64> = x.iter().map(|x| 1e3 * x).collect();
        others[row.clone()].copy_from_slice(&x[row.clone()]);
        let among_others = evaluate(&model, &batch(&others, 4), &[last, t[1], t[0], last], None);
        let later = evaluate(&model, &batch(&x[row.clone()], 1), &[1.1 * t[1]], None);
        for i in 0..2 {
            let size = together[i][row.clone()].iter().fold(0.0_f64, |a, b| a.max(b.abs()));
            for other in [&together, &among_others] {
                let off = apart(&alone[i], &other[i][row.clone()]) / size;
                assert!(off < tolerance, "{place:?}: {off:e}");
            }
            assert!(apart(&alone[i], &later[i]) > 1e-3 * size, "a row's own time matters");
        }
    }
}

const CLASSES: (&str, &str) = ("\"in_channels\": 1", "\"num_class_embeds\": 3, \"in_channels\": 1");

#[test]
fn a_class_is_told_to_the_network() {
    let model = model(&[CLASSES], describe(&VP, Prediction::X0));
    let t = [0.3, 0.7];
    let x = noised(1, &coefficients(model.description.as_ref().unwrap(), &t));
    let found = |class| evaluate(&model, &x, &t, Some(class))[0].clone();
    let labels = t.map(|t| 999.0 * t);
    let hand = raw(&model, &x.to_host().unwrap(), &labels, Some(&[2, 2]));
    assert!(apart(&found(2), &hand) < 1e-12);
    assert!(apart(&found(1), &hand) > 1e-3);
}

/// The error of one evaluation, as one sentence; the divergence has the same.
fn refused(score: NetworkScore<'_>, x: &Batch, t: &[f64], samples: &[u64]) -> String {
    let (mut score, mut out, mut div) = (score, Field::like(x), Divergence::default());
    let error = score.evaluate(x, lanes(t, samples), &mut out).unwrap_err();
    let error = sentence(error);
    let other = score.evaluate_with_divergence(x, lanes(t, samples), &mut out, &mut div);
    assert_eq!(sentence(other.unwrap_err()), error);
    error
}

#[test]
fn wrong_shapes_and_classes_are_named() {
    let (plain, classy) = (
        model(&[], describe(&VP, Prediction::Epsilon)),
        model(&[CLASSES], describe(&VP, Prediction::Epsilon)),
    );
    let two = model(
        &[("\"out_channels\": 1", "\"out_channels\": 2")],
        describe(&VP, Prediction::Epsilon),
    );
    let score = |m: &'static str, model, class, shape: &[i64], rows: usize| {
        let model: &Model = model;
        let description = model.description.as_ref().unwrap();
        let x = Batch::from_host(
            &vec![0.1; shape.iter().product::<i64>() as usize],
            shape,
            Device::Cpu,
        );
        let score = NetworkScore::new(&*model.network, description).of_class(class);
        let (t, samples) = (vec![0.5; rows], SAMPLES[..rows].to_vec());
        let text = refused(score, &x.unwrap(), &t, &samples);
        assert!(text.contains(m), "{text}");
    };
    let input = "the network's input has the shape [2, ";
    score(input, &plain, None, &[2, 64], 2);
    score(input, &plain, None, &[2, 3, 8, 8], 2);
    score(input, &plain, None, &[2, 1, 7, 8], 2);
    score("expected [B, 1, H, W] with H and W multiples of 2", &plain, None, &[2, 1, 8, 9], 2);
    score("times of the batch: found 1, expected 2", &plain, None, &[2, 1, 8, 8], 1);
    score("the network's output has the shape [2, 2, 8, 8]", &two, None, &[2, 1, 8, 8], 2);
    score("none: the network has no classes", &plain, Some(0), &[2, 1, 8, 8], 2);
    score("found none, expected one for each sample, from 0 to 2", &classy, None, &[2, 1, 8, 8], 2);
    score("found 3, expected numbers from 0 to 2", &classy, Some(3), &[2, 1, 8, 8], 2);
    score("found -1, expected numbers from 0 to 2", &classy, Some(-1), &[2, 1, 8, 8], 2);
}

#[test]
fn what_a_prediction_does_not_determine_is_an_error() {
    let s = Prediction::Edm { sigma_data: 0.0 };
    for (case, prediction, t, expected) in [
        (&CASES[5], Prediction::Epsilon, 0.0, "`score` cannot be told from `epsilon`"),
        (&CASES[5], Prediction::X0, 0.0, "`score` cannot be told from `x0`"),
        (&CASES[3], Prediction::Epsilon, 1.0, "`x0` cannot be told from `epsilon`"),
        (&CASES[3], Prediction::Score, 1.0, "`x0` cannot be told from `score`"),
        (&CASES[3], s, 0.5, "sigma_data = 0 is out of range"),
        (&CASES[0], Prediction::V, f64::NAN, "cannot be told from `v`"),
    ] {
        let description = describe(case, prediction);
        let description = Description { label: models::Label::Time, ..description };
        let model = model(&[], description);
        let score = NetworkScore::new(&*model.network, model.description.as_ref().unwrap());
        let x = Batch::from_host(&normals(1, 64), &[1, 1, 8, 8], Device::Cpu).unwrap();
        let text = refused(score, &x, &[t], &[0]);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_failed_batch_is_reported_by_the_next_evaluation() {
    use sde_core::State;
    let model = model(&[], describe(&VP, Prediction::Epsilon));
    let score = NetworkScore::new(&*model.network, model.description.as_ref().unwrap());
    let mut x = Batch::from_host(&normals(1, 64), &[1, 1, 8, 8], Device::Cpu).unwrap();
    x.compact(&[5]);
    let why = sentence(x.check().unwrap_err());
    assert!(refused(score, &x, &[0.5], &[0]).contains(&why));
}
