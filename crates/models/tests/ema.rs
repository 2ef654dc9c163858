//! The moving average against its recursion on single numbers, and what makes it fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod common;

use common::{normals, numbers, sentence};
use models::Decay::Exponential;
use models::tch::{Kind, Tensor};
use models::{Decay, Ema, Parameters};

/// Two tensors of the given numbers.
fn parameters(seed: u64) -> Parameters {
    let tensor = |seed, shape: &[i64]| {
        let values = normals(seed, shape.iter().product::<i64>() as usize);
        let tensor = Tensor::f_from_slice(&values).unwrap().f_to_kind(Kind::Float).unwrap();
        tensor.f_reshape(shape).unwrap()
    };
    let named = [("a", tensor(seed, &[2, 3])), ("b", tensor(seed + 500, &[4]))];
    Parameters::from_map(named.map(|(name, t)| (name.to_owned(), t)).into(), &Vec::new())
}

fn flat(parameters: &Parameters) -> Vec<f64> {
    parameters.tensors().into_iter().flat_map(numbers).collect()
}

fn close(found: &Parameters, expected: &[f64]) -> f64 {
    common::apart(&flat(found), expected)
}

/// The recursion in f64, with `δ_k` of step k.
fn recursion(mean: &mut [f64], now: &[f64], delta: f64) {
    mean.iter_mut().zip(now).for_each(|(m, x)| *m = delta * *m + (1.0 - delta) * x);
}

#[test]
fn the_average_follows_its_formula() {
    for decay in [0.0, 0.5, 0.95, 0.9999] {
        let first = parameters(1);
        let mut ema = Ema::new(&first, Exponential(decay)).unwrap();
        let (mut expected, mut without_warm_up) = (flat(&first), flat(&first));
        for k in 1..200_u64 {
            let now = parameters(k + 1);
            ema.update(&now, k).unwrap();
            let warm = (1.0 + k as f64) / (10.0 + k as f64);
            recursion(&mut expected, &flat(&now), decay.min(warm));
            recursion(&mut without_warm_up, &flat(&now), decay);
            assert!(close(ema.average(), &expected) < 1e-6, "{decay} {k}");
        }
        let control = close(ema.average(), &without_warm_up);
        assert!(decay < 0.96 || control > 1e-2, "the control: {control}");
    }
}

/// Every `δ_k` of the warm-up: one step from 0 towards 1.
#[test]
fn the_warm_up_ends_at_the_decay() {
    let of = |x: f64| {
        let tensor = Tensor::f_from_slice(&[x as f32]).unwrap();
        Parameters::from_map([("a".to_owned(), tensor)].into(), &Vec::new())
    };
    for (k, expected) in
        [(1, 2.0 / 11.0), (10, 11.0 / 20.0), (80, 0.9), (81, 0.9), (1_000_000, 0.9)]
    {
        let mut ema = Ema::new(&of(1.0), Exponential(0.9)).unwrap();
        ema.update(&of(0.0), k).unwrap();
        assert!(close(ema.average(), &[expected]) < 1e-7, "{k}");
    }
}

#[test]
fn a_saved_average_goes_on_where_it_stopped() {
    let steps = |ema: &mut Ema, from, to| {
        (from..to).for_each(|k| ema.update(&parameters(k), k).unwrap());
    };
    let mut whole = Ema::new(&parameters(0), Exponential(0.99)).unwrap();
    steps(&mut whole, 1, 40);
    let mut half = Ema::new(&parameters(0), Exponential(0.99)).unwrap();
    steps(&mut half, 1, 20);
    let mut resumed = Ema::resume(half.average().copy().unwrap(), Exponential(0.99));
    assert!(close(resumed.average(), &flat(whole.average())) > 1e-2);
    steps(&mut resumed, 20, 40);
    assert_eq!(flat(resumed.average()), flat(whole.average()));
}

#[test]
fn the_average_has_memory_of_its_own_and_no_graph() {
    let live = parameters(1);
    live.track_gradients().unwrap();
    let mut ema = Ema::new(&live, Exponential(0.9)).unwrap();
    let before = flat(ema.average());
    {
        let _guard = models::tch::no_grad_guard();
        live.tensors().into_iter().for_each(|t| drop(t.shallow_clone().f_zero_().unwrap()));
    }
    assert_eq!(flat(ema.average()), before);
    ema.update(&live, 3).unwrap();
    assert!(ema.average().tensors().iter().all(|t| !t.requires_grad()));
    assert_eq!(flat(&live), [0.0; 10]);
}

#[test]
fn a_decay_out_of_range_and_other_parameters_are_refused() {
    for decay in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
        let text = sentence(Ema::new(&parameters(1), Exponential(decay)).unwrap_err());
        assert!(text.contains("expected a number from 0 to below 1"), "{text}");
    }
    let other = |change: fn(&mut std::collections::BTreeMap<String, Tensor>)| {
        let mut named =
            parameters(2).iter().map(|(n, t)| (n.to_owned(), t.shallow_clone())).collect();
        change(&mut named);
        let mut ema = Ema::new(&parameters(1), Exponential(0.9)).unwrap();
        let text = sentence(ema.update(&Parameters::from_map(named, &Vec::new()), 1).unwrap_err());
        assert_eq!(flat(ema.average()), flat(&parameters(1)), "nothing is half updated");
        text
    };
    other(|map| drop(map.insert("b".into(), Tensor::f_from_slice(&[1.0_f32; 5]).unwrap())));
    other(|map| drop(map.insert("b".into(), Tensor::f_from_slice(&[1.0_f32]).unwrap())));
    other(|map| drop(map.insert("c".into(), Tensor::f_from_slice(&[1.0_f32; 4]).unwrap())));
    other(|map| drop(map.remove("b")));
    other(|map| {
        let b = map.remove("b").unwrap();
        map.insert("c".into(), b);
    });
}

/// (M13): the average of step numbers is their mean under p, whose moments are known, and (M14) its width.
#[test]
fn m13_a_power_average_has_its_profile() {
    for width in [0.05, 0.1, 0.2] {
        let decay = Decay::of_width(width).unwrap();
        let Decay::Power(gamma) = decay else { panic!("{decay:?}") };
        let n = 4000_u64;
        let of = |k: u64| {
            let x = k as f64 / n as f64;
            let tensor = Tensor::f_from_slice(&[x as f32, (x * x) as f32]).unwrap();
            Parameters::from_map([("a".to_owned(), tensor)].into(), &Vec::new())
        };
        let mut ema = Ema::new(&of(0), decay).unwrap();
        (1..=n).for_each(|k| ema.update(&of(k), k).unwrap());
        let found = flat(ema.average());
        let mean = (gamma + 1.0) / (gamma + 2.0);
        assert!((found[0] - mean).abs() < 2e-3, "{width}: {} {mean}", found[0]);
        let spread = (found[1] - found[0] * found[0]).sqrt();
        assert!((spread - width).abs() < 2e-2 * width, "{width}: {spread}");
    }
    assert!(Decay::of_width(0.3).is_err() && Decay::of_width(0.0).is_err());
}
