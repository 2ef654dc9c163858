//! The host run end to end on a small digit model: the same bits whatever runs beside a sample, and true likelihoods.

#![allow(clippy::unwrap_used)]

use ndarray::{Array2, Axis, Slice};
use pipeline::bandwidth::kernel_density;
use pipeline::data::digits;
use pipeline::dequantise::{dequantise, midpoints};
use pipeline::host::HostRun;
use sde_core::{GaussianMixture, Tolerance, VpLinear};

fn first(x: &Array2<f64>, rows: usize) -> Array2<f64> {
    x.slice_axis(Axis(0), Slice::from(0..rows)).to_owned()
}

/// A density estimate of the first 200 training digits.
fn model() -> GaussianMixture {
    GaussianMixture::kernel_density(first(&midpoints(&digits().train.images), 200), 0.3).unwrap()
}

fn run<'a>(sde: &'a VpLinear, mixture: &'a GaussianMixture) -> HostRun<'a> {
    HostRun { sde, mixture, seed: 7, t_min: 0.0, on_done: &|_| () }
}

fn bits(x: &Array2<f64>) -> Vec<u64> {
    x.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn an_image_is_the_same_bits_alone_among_64_and_on_any_number_of_threads() {
    let (sde, mixture) = (VpLinear::default(), model());
    let draw = |n, threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let run = run(&sde, &mixture);
        pool.install(|| {
            let flow = run.draw_by_flow(n, Tolerance::both(1e-4)).unwrap().y;
            let reverse = run.draw_by_sde(n, 30, 1.0).unwrap().y;
            [flow, reverse].map(|x| bits(&first(&x, 1)))
        })
    };
    let alone = draw(1, 1);
    assert_ne!(alone[0], alone[1]);
    for (n, threads) in [(1, 2), (64, 1), (64, 2)] {
        assert_eq!(draw(n, threads), alone, "{n} images on {threads} threads");
    }
}

#[test]
fn likelihoods_of_digits_are_the_closed_form() {
    let (sde, mixture) = (VpLinear::default(), model());
    let x = first(&dequantise(&digits().test, 0), 6);
    for p in run(&sde, &mixture).likelihood(&x, Tolerance::both(1e-8)).unwrap() {
        assert!((p.log_data() - p.closed_form).abs() < 1e-4, "{p:?}");
        assert!((p.log_model() - p.closed_form).abs() < 0.1, "{p:?}");
    }
}

/// A bandwidth that validation chose beats its neighbours on validation, and is not at the end of the search.
#[test]
fn the_bandwidth_is_a_maximum() {
    let (sde, digits) = (VpLinear::default(), digits());
    let train = first(&midpoints(&digits.train.images), 300);
    let held_out = first(&dequantise(&digits.validation, 0), 60);
    let (_, best) = kernel_density(&train, &held_out).unwrap();
    let quality = |h: f64| -> f64 {
        let mixture = GaussianMixture::kernel_density(train.clone(), h).unwrap();
        mixture.log_densities(&sde, &held_out, 0.0).unwrap().iter().sum()
    };
    assert!((0.05..0.9).contains(&best));
    assert!(quality(best) > quality(best * 1.01) && quality(best) > quality(best / 1.01));
}

#[test]
fn a_bandwidth_that_cannot_be_chosen_is_an_error() {
    let digits = digits();
    let train = first(&midpoints(&digits.train.images), 20);
    assert!(kernel_density(&train, &Array2::zeros((0, 64))).is_err());
    let text = kernel_density(&train, &train).unwrap_err().to_string(); // its own points: the narrower the better
    assert!(text.contains("bandwidth = 0.01") && text.contains("inside 0.01 to 1"), "{text}");
}

#[test]
fn a_failed_solve_has_no_likelihood_and_a_wrong_time_is_refused() {
    let (sde, mixture) = (VpLinear::default(), model());
    let x = first(&dequantise(&digits().test, 0), 1);
    let mut points = run(&sde, &mixture).likelihood(&x, Tolerance::both(1e-4)).unwrap();
    assert!(points[0].log_data().is_finite());
    points[0].status = ode_solvers::LaneStatus::MaxSteps { t: 0.5 };
    assert!(points[0].log_data().is_nan() && points[0].log_model().is_nan());
    let early = HostRun { t_min: -0.5, ..run(&sde, &mixture) };
    assert!(early.draw_by_flow(1, Tolerance::both(1e-4)).is_err());
    assert!(early.likelihood(&x, Tolerance::both(1e-4)).is_err());
}
