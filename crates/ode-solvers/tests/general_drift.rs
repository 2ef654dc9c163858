//! A drift that is not linear, through the same solvers: a particle between two wells, whose law `p ∝ exp(x² − x⁴/2)` stays
//! as it is under every member of the family.

#![allow(clippy::unwrap_used)]

use ndarray::Array2;
use ode_solvers::{Adaptive, RK45, Samples, euler_maruyama, solve, uniform_grid};
use sde_core::fokker_planck::Diffusion;
use sde_core::{Lanes, Noise, Purpose, Summary, Tolerance};

fn wells() -> Diffusion<'static> {
    Diffusion::new(|x, _, b| b[0] = 2.0 * (x[0] - x[0].powi(3)), |_| 2.0)
}

fn score(x: &[f64], _t: f64, s: &mut [f64]) {
    s[0] = 2.0 * (x[0] - x[0].powi(3));
}

/// Draws of the stationary law by rejection from N(0, 1.5²), under which exp(x² − x⁴/2) is at most e^0.75 times as large.
fn stationary(n: usize) -> Array2<f64> {
    let noise = Noise::new(4, Purpose::Training);
    let draw = |i: usize| {
        let mut step = 0;
        loop {
            let (mut z, mut u) = ([0.0], [0.0]);
            noise.normal(i as u64, step, &mut z);
            noise.uniform(i as u64, step + 1, &mut u);
            step += 2;
            let x = 1.5 * z[0];
            let log_ratio = x * x - 0.5 * x.powi(4) + 0.5 * z[0] * z[0];
            if u[0].ln() < log_ratio - 0.75 {
                return x;
            }
        }
    };
    Array2::from_shape_fn((n, 1), |(i, _)| draw(i))
}

/// `E x²` and `E x⁴` of the stationary law by the trapezium rule.
fn exact() -> [f64; 2] {
    let mut sums = [0.0; 3];
    for i in -6000..=6000 {
        let x = 1e-3 * f64::from(i);
        let p = (x * x - 0.5 * x.powi(4)).exp();
        sums = [sums[0] + p, sums[1] + p * x * x, sums[2] + p * x.powi(4)];
    }
    [sums[1] / sums[0], sums[2] / sums[0]]
}

fn check(x: &Array2<f64>, slack: f64, what: &str) {
    for (power, want) in [2, 4].into_iter().zip(exact()) {
        let values: Vec<f64> = x.iter().map(|x| x.powi(power)).collect();
        let got = Summary::of(&values);
        let off = (got.mean - want).abs();
        assert!(off < 4.0 * got.standard_error + slack, "{what}: E x^{power} = {got}, not {want}");
    }
}

#[test]
fn r40_members_keep_a_law_that_is_no_gaussian() {
    let x = stationary(20_000);
    check(&x, 0.0, "start");
    let grid = uniform_grid(0.0, 0.5, 200);
    let noise = Noise::new(5, Purpose::Increment);
    let process = wells();
    let members = [0.5, 1.0, 1.5].map(|eta| process.forward_family(score, move |_| eta));
    let back = process.reverse_family(score, |_| 1.0, 0.5);
    for (member, what) in members.iter().chain([&back]).zip(["½", "1", "1.5", "reverse"]) {
        let drift = |x: &_, at: Lanes<'_>, out: &mut _| member.rows(x, at, out);
        let scale = |t: f64| member.g2(t).sqrt();
        let end = euler_maruyama(x.clone(), &grid, drift, scale, &noise).unwrap().y;
        check(&end, 0.02, what); // Euler–Maruyama's own error at this step
    }
    // Without noise nothing moves at all; with the wrong score it does.
    let options = Adaptive::new(Tolerance::both(1e-8));
    let flow = process.probability_flow(score);
    let few = Array2::from_shape_fn((5, 1), |(i, _)| i as f64 / 2.0 - 1.0);
    let still = solve(&RK45, few.clone(), (0.0, 1.0), &options, |x, at, dx| flow.rows(x, at, dx));
    assert!((&still.unwrap().y - &few).iter().all(|e| e.abs() < 1e-12));
    let wrong = process.probability_flow(|x, t, s| {
        score(x, t, s);
        s[0] *= 1.2;
    });
    let moved = solve(&RK45, few.clone(), (0.0, 1.0), &options, |x, at, dx| wrong.rows(x, at, dx));
    assert!((&moved.unwrap().y - &few).iter().any(|e| e.abs() > 0.05));
}

#[test]
fn rows_of_another_size_are_refused() {
    let x = Array2::zeros((2, 1));
    let mut out = Array2::zeros((3, 1));
    let at = Lanes { t: &[0.0; 2], sample: &[0, 1] };
    assert!(wells().rows(&x, at, &mut out).is_err());
    let start = Samples { x, numbers: vec![0] };
    let options = Adaptive::new(Tolerance::both(1e-8));
    let process = wells();
    let f = |x: &_, at: Lanes<'_>, dx: &mut _| process.rows(x, at, dx);
    assert!(solve(&RK45, start, (0.0, 1.0), &options, f).is_err());
}
