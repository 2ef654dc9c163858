//! The probability-flow ODE of a 2-D mixture: 4,096 points, t from 1 to 1e-3, RK45 at rtol = atol = 1e-5.
//!
//! `benches/peers/mixture_flow.py` solves the same problem from the same points with SciPy; `benches/peers/run` runs
//! both back to back. SciPy's NumPy runs on one core here, so compare it with the one-thread figure.

#![allow(clippy::expect_used)]

use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::{Array2, array};
use ode_solvers::{Adaptive, RK45, Result, Solution, decode, solve_in_chunks};
use sde_core::{GaussianMixture, Reverse, Tolerance, VpLinear};
use std::hint::black_box;

const POINTS: usize = 4096;
const CHUNK: usize = 64;

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

fn solve(mixture: &GaussianMixture, x: &Array2<f64>, tol: f64) -> Result<Solution<Array2<f64>>> {
    let (sde, options) = (VpLinear::default(), Adaptive::new(Tolerance::both(tol)));
    solve_in_chunks(x, 0, CHUNK, |chunk| {
        let mut flow = Reverse::probability_flow(&sde, mixture.score(&sde));
        decode(&RK45, chunk, 1e-3, &options, &mut flow)
    })
}

fn bench(c: &mut Criterion) {
    let mixture = mixture().expect("a mixture");
    let x = latents();
    let [got, exact] = [1e-5, 1e-12].map(|tol| solve(&mixture, &x, tol).expect("a solution"));
    let error = (&got.y - &exact.y).iter().fold(0.0_f64, |m, e| m.max(e.abs()));
    println!(
        "mixture_flow: {:.1} evaluations per point, largest error {error:.1e}",
        got.mean_nfe()
    );
    let cores = rayon::current_num_threads();
    for threads in (1..=cores).filter(|n| *n == 1 || *n == cores) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        c.bench_function(&format!("mixture_flow/per-sample RK45, threads: {threads}"), |b| {
            b.iter(|| pool.install(|| solve(&mixture, black_box(&x), 1e-5)));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = bench
}
criterion_main!(benches);
