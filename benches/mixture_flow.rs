//! The probability-flow ODE of a 2-D mixture: 4,096 points, t from 1 to 1e-3, RK45 at rtol = atol = 1e-5, one step size
//! per point.
//!
//! `benches/peers/mixture_flow.py` solves the same problem from the same points with other libraries, and
//! `benches/peers/run flow` runs both back to back. For it, `PEERS_DIR` names a folder in which this bench leaves the
//! states that DOP853 reaches at 1e-12 (`reference.f64`, row by row, little-endian). A line for each number of threads has
//! tabs between method, threads, median and least seconds, mean evaluations of a point, largest and median error.

#![allow(clippy::expect_used, clippy::print_stdout)]

use ndarray::{Array2, array};
use ode_solvers::{Adaptive, DOP853, RK45, Result, Solution, Tableau, decode, solve_in_chunks};
use sde_core::{GaussianMixture, Reverse, Tolerance, VpLinear};
use std::hint::black_box;
use std::time::Instant;

const POINTS: usize = 4096;
const CHUNK: usize = 256;
const REPEATS: usize = 41;

/// The mixture of `fixtures/solver_cases.json`, problem `vp_gmm_pf`.
fn mixture() -> sde_core::Result<GaussianMixture> {
    let means = array![[-1.5, 0.5], [1.0, -1.0], [0.5, 1.8]];
    GaussianMixture::isotropic(&[0.5, 0.3, 0.2], means, &[0.09, 0.04, 0.16])
}

/// Latents that every language can make: the plane's golden-angle spiral with Gaussian radii.
fn latents() -> Array2<f64> {
    let golden = std::f64::consts::PI * (3.0 - 5_f64.sqrt());
    Array2::from_shape_fn((POINTS, 2), |(i, axis)| {
        let (r2, angle) = (-2.0 * (1.0 - (i as f64 + 0.5) / POINTS as f64).ln(), golden * i as f64);
        r2.sqrt() * if axis == 0 { angle.cos() } else { angle.sin() }
    })
}

fn solve(
    method: &'static Tableau,
    mixture: &GaussianMixture,
    x: &Array2<f64>,
    tol: f64,
) -> Result<Solution<Array2<f64>>> {
    let (sde, options) = (VpLinear::default(), Adaptive::new(Tolerance::both(tol)));
    solve_in_chunks(x, 0, CHUNK, |chunk| {
        let mut flow = Reverse::probability_flow(&sde, mixture.score(&sde));
        decode(method, chunk, 1e-3, &options, &mut flow)
    })
}

/// The middle of the numbers in order.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn main() {
    let mixture = mixture().expect("a mixture");
    let x = latents();
    let exact = solve(&DOP853, &mixture, &x, 1e-12).expect("a solution").y;
    if let Some(folder) = std::env::var_os("PEERS_DIR") {
        let bytes: Vec<u8> = exact.iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(std::path::Path::new(&folder).join("reference.f64"), bytes)
            .expect("a folder to write to");
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    for threads in [1, cores.min(2)] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let run = || pool.install(|| solve(&RK45, &mixture, black_box(&x), 1e-5));
        let got = run().expect("a solution");
        let seconds = (0..REPEATS).map(|_| {
            let start = Instant::now();
            black_box(run()).expect("a solution");
            start.elapsed().as_secs_f64()
        });
        let seconds: Vec<f64> = seconds.collect();
        let (least, seconds) =
            (seconds.iter().copied().fold(f64::INFINITY, f64::min), median(seconds));
        let off = &got.y - &exact;
        let errors: Vec<f64> =
            off.outer_iter().map(|row| row.iter().fold(0.0, |m: f64, e| m.max(e.abs()))).collect();
        let largest = errors.iter().copied().fold(0.0, f64::max);
        let (nfe, middle) = (got.mean_nfe(), median(errors));
        println!(
            "score-sde RK45, per sample\t{threads}\t{seconds:.6}\t{least:.6}\t{nfe:.1}\t{largest:.2e}\t{middle:.2e}"
        );
    }
}
