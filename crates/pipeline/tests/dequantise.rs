//! Bounds on the probability of a bin, from the flow of a mixture on a line, against quadrature.

#![allow(clippy::unwrap_used)]

use ndarray::{Array4, array};
use ode_solvers::{LikelihoodOptions, LogLikelihood, RK45, Trace, log_likelihood};
use pipeline::data::Images;
use pipeline::dequantise::{Law, draw_points, importance};
use sde_core::levels::Levels;
use sde_core::quadrature::integrate;
use sde_core::{GaussianMixture, Reverse, Sde, Summary, Tolerance, VpLinear};

const LEVELS: u32 = 8;
const T_MIN: f64 = 1e-3;
/// Images of each level, and the draws of importance sampling.
const N: usize = 300;
const K: u32 = 8;

fn data() -> GaussianMixture {
    GaussianMixture::isotropic(&[0.4, 0.6], array![[-0.4], [0.3]], &[0.0025, 0.04]).unwrap()
}

fn log_density(y: f64) -> f64 {
    data().log_densities(&VpLinear::default(), &array![[y]], T_MIN).unwrap()[0]
}

/// N bounds on `log P(k)` in nats, from the flow of the mixture, with the draws of a law.
fn bounds(k: u8, law: Law, draws: u32) -> Vec<LogLikelihood> {
    let (sde, data) = (VpLinear::default(), data());
    let images = Images::new(Array4::from_elem((N, 1, 1, 1), k), LEVELS).unwrap();
    let numbers: Vec<usize> = (0..N).collect();
    let points = draw_points(&images, &numbers, 3, (law, draws));
    let mut flow = Reverse::probability_flow(&sde, data.score(&sde));
    let options = LikelihoodOptions::new(Tolerance::both(1e-6), Trace::Exact);
    let span = (T_MIN, sde.end());
    let found = log_likelihood(&RK45, points.x, span, &options, &mut flow, |x, out| {
        out.copy_from_slice(&data.log_densities(&sde, x, span.1)?);
        Ok(())
    });
    let (found, draws) = (found.unwrap().samples, draws as usize);
    let groups = found.chunks(draws).zip(points.log_r.chunks(draws));
    groups.map(|(found, log_r)| importance(found, log_r)).collect()
}

fn mean(bounds: &[LogLikelihood]) -> Summary {
    let width = Levels::new(LEVELS).unwrap().log_bin_width();
    Summary::of(&bounds.iter().map(|b| b.value() + width).collect::<Vec<_>>())
}

fn agree(found: Summary, want: f64) -> bool {
    (found.mean - want).abs() < 4.0 * found.standard_error + 1e-5
}

#[test]
fn bounds_are_in_order_and_those_of_quadrature() {
    let levels = Levels::new(LEVELS).unwrap();
    for k in [2, 3, 5] {
        let (low, high) = levels.bin(k.into());
        let middle = 0.5 * (low + high); // two halves: the narrow component is a tenth of a bin wide
        let mass = |a, b| integrate(a, b, |y| log_density(y).exp());
        let log_p = (mass(low, middle) + mass(middle, high)).ln();

        let uniform = mean(&bounds(k, Law::Uniform, 1));
        let by_quadrature = levels.uniform_bound(k.into(), log_density);
        assert!(agree(uniform, by_quadrature), "level {k}: {uniform} {by_quadrature}");

        let std = 0.2;
        let law = Law::of_noise(std * 2.0 / f64::from(LEVELS), LEVELS).unwrap();
        let normal = mean(&bounds(k, law, 1));
        let by_quadrature = levels.truncated_normal_bound(k.into(), std, log_density).unwrap();
        assert!(agree(normal, by_quadrature), "level {k}: {normal} {by_quadrature}");
        assert!(normal.mean - 4.0 * normal.standard_error < log_p, "level {k}: {normal} {log_p}");

        let draws = bounds(k, Law::Uniform, K);
        let tighter = mean(&draws);
        println!(
            "level {k}: uniform {uniform}, normal {normal}, importance {tighter}, log P {log_p:.4}"
        );
        let slack = 4.0 * tighter.standard_error;
        assert!(uniform.mean - 4.0 * uniform.standard_error < tighter.mean + slack, "level {k}");
        assert!(tighter.mean - slack < log_p, "level {k}: {tighter} {log_p}");
        // each bound's own error is that of their spread
        let errors: Vec<f64> =
            draws.iter().map(|b| b.errors.trace.unwrap().standard_error.powi(2)).collect();
        let ratio = (Summary::of(&errors).mean / N as f64).sqrt() / tighter.standard_error;
        assert!((0.6..1.2).contains(&ratio), "level {k}: {ratio}");
    }
}

/// Where the density changes within the bin, eight draws gain more than chance can explain.
#[test]
fn importance_sampling_is_tighter() {
    let (one, eight) = (mean(&bounds(2, Law::Uniform, 1)), mean(&bounds(2, Law::Uniform, K)));
    let error = one.standard_error.hypot(eight.standard_error);
    assert!(eight.mean - one.mean > 4.0 * error, "{one} {eight}");
}

#[test]
fn draws_do_not_depend_on_how_many_there_are() {
    let images = Images::new(Array4::from_elem((2, 1, 1, 3), 4), LEVELS).unwrap();
    let one = draw_points(&images, &[7, 9], 1, (Law::Uniform, 1));
    let two = draw_points(&images, &[7, 9], 1, (Law::Uniform, 2));
    assert_eq!((one.x.row(0), one.x.row(1)), (two.x.row(0), two.x.row(2)));
    assert!(two.x.row(0) != two.x.row(1) && two.log_r == [0.0; 4]);
}
