//! What a solver costs beside the right-hand side: RK45 on 4,096 states of two numbers with y' = −y,
//! beside `y + h k` over the same state in the same run.
//!
//! It prints the time of a stage, that of the fused sum and their ratio. A stage is the time of the solve over its batched
//! evaluations, less that of y': with it come the sums of (O1), the error norms, the step control of 4,096 samples.

#![allow(clippy::expect_used, clippy::print_stdout)]

use ndarray::Array2;
use ode_solvers::{Adaptive, RK45, Solver, solve};
use sde_core::{Lanes, Tolerance};
use std::hint::black_box;
use std::time::Instant;

const STATES: usize = 4096;
const REPEATS: usize = 101;

/// The middle of some timings of `work`, in seconds.
fn median_seconds(mut work: impl FnMut()) -> f64 {
    let mut seconds: Vec<f64> = (0..REPEATS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[REPEATS / 2]
}

fn main() {
    let y = Array2::from_shape_fn((STATES, 2), |(i, j)| 1.0 + (i + j) as f64 / STATES as f64);
    // Steps of 0.01: y' = −y is easy at this tolerance, and every step is accepted.
    let mut options = Adaptive::new(Tolerance::both(1e-3));
    (options.first_step, options.max_step) = (Some(0.01), 0.01);
    let decay = |y: &Array2<f64>, _: Lanes<'_>, dy: &mut Array2<f64>| {
        dy.zip_mut_with(y, |dy, y| *dy = -y);
        Ok(())
    };
    let evaluations = solve(&RK45, y.clone(), (0.0, 0.2), &options, decay).expect("a solution");
    let evaluations = evaluations.batch_evals as f64;
    let whole = median_seconds(|| {
        let start = black_box(y.clone());
        let mut solver = Solver::new(&RK45, start, (0.0, 0.2), &options, decay).expect("a solver");
        while solver.step().expect("a step") > 0 {}
        black_box(solver.finish());
    });
    let (k, mut out) = (y.clone(), y.clone());
    let derivative = median_seconds(|| {
        (0..100).for_each(|_| black_box(&mut out).zip_mut_with(black_box(&k), |o, k| *o = -k));
    });
    let mut axpy = || {
        let (out, y, k) = (out.as_slice_mut(), y.as_slice(), k.as_slice());
        let (Some(out), Some(y), Some(k)) = (out, black_box(y), black_box(k)) else { return };
        out.iter_mut().zip(y).zip(k).for_each(|((o, y), k)| *o = y + 0.01 * k);
    };
    let axpy = median_seconds(|| (0..100).for_each(|_| black_box(&mut axpy)()));
    let (axpy, derivative) = (axpy / 100.0, derivative / 100.0);
    let stage = whole / evaluations - derivative;
    println!("states of two numbers      {STATES}");
    println!("a stage without f          {:.2} µs", stage * 1e6);
    println!("y + h k over the states    {:.2} µs", axpy * 1e6);
    println!("a stage is {:.1} times y + h k", stage / axpy);
}
