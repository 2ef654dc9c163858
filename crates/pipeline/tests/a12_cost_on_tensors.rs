//! Acceptance test 12 on tensors: one device read for each attempted step, one sum for each stage, and the work and the
//! numbers of host arrays.

#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_wrap)]
#![allow(clippy::unnecessary_wraps, reason = "right-hand sides have the solver's signature")]

use models::batch::traffic;
use models::{Batch, tch::Device};
use ndarray::{Array1, Array2, array};
use ode_solvers::{Adaptive, DOP853, RK23, RK45, Solver, TSIT5, Tableau, VERN7, solve, solve_at};
use sde_core::{
    GaussianMixture, Lanes, Noise, Purpose, Result, Reverse, State, Tolerance, VpLinear,
};

const METHODS: [&Tableau; 5] = [&RK23, &RK45, &TSIT5, &VERN7, &DOP853];

/// `y' = cos(t + i) y` of sample i: one sum for each evaluation, and samples that need different steps.
fn swing<X: State>(y: &X, at: Lanes<'_>, dy: &mut X) -> Result<()> {
    let c: Vec<f64> =
        at.t.iter().zip(at.sample).map(|(t, i)| (3.0 * t + *i as f64).cos()).collect();
    dy.combine(&[(&c, y)]);
    Ok(())
}

/// n standard normal numbers.
fn normals(seed: u64, n: usize) -> Vec<f64> {
    let mut values = vec![0.0; n];
    Noise::new(seed, Purpose::Prior).normal(0, 0, &mut values);
    values
}

fn start(rows: usize, len: usize) -> (Array2<f64>, Batch) {
    let values = normals(3, rows * len);
    let batch = Batch::from_host(&values, &[rows as i64, len as i64], Device::Cpu).unwrap();
    (Array2::from_shape_vec((rows, len), values).unwrap(), batch)
}

#[test]
fn a12_one_device_read_for_each_attempted_step() {
    for method in METHODS {
        let options = Adaptive::new(Tolerance::both(1e-7));
        let mut solver = Solver::new(method, start(6, 5).1, (0.0, 4.0), &options, swing).unwrap();
        let (mut attempts, stages) = (0, method.stages() as u64);
        loop {
            let before = traffic();
            let left = solver.step().unwrap();
            let after = traffic();
            assert_eq!(after.reads - before.reads, 1, "{}", method.name);
            assert_eq!(after.sums - before.sums, 2 * stages, "{}", method.name);
            attempts += 1;
            if left == 0 {
                break;
            }
        }
        let solution = solver.finish();
        assert!(solution.is_done() && attempts > 8, "{}: {attempts}", method.name);
        let rejected: u32 = solution.stats.iter().map(|s| s.rejected).sum();
        assert!(rejected > 0, "{}: nothing was tried again", method.name);
    }
}

/// The first step by Hairer's rule reads three norms, a solve that is given one two; nothing else reads.
#[test]
fn a12_the_reads_of_a_whole_solve() {
    for (first_step, extra) in [(None, 3), (Some(0.01), 2)] {
        let mut options = Adaptive::new(Tolerance::both(1e-6));
        options.first_step = first_step;
        let before = traffic().reads;
        let s = solve(&DOP853, start(1, 5).1, (0.0, 4.0), &options, swing).unwrap();
        let attempts = u64::from(s.stats[0].accepted + s.stats[0].rejected);
        assert_eq!(traffic().reads - before, attempts + extra);
    }
}

/// The same work as on host arrays, the same states to rounding, between the steps too.
#[test]
fn a12_counts_are_those_of_host_arrays() {
    for method in METHODS {
        for tol in [1e-4, 1e-9] {
            let options = Adaptive::new(Tolerance::both(tol));
            let (host, batch) = start(6, 5);
            let times = [0.5, 2.0, 4.0];
            let span = (0.0, 4.0);
            let (host, states) = solve_at(method, host, span, &times, &options, swing).unwrap();
            let (batch, others) = solve_at(method, batch, span, &times, &options, swing).unwrap();
            assert_eq!(batch.stats, host.stats, "{} {tol}", method.name);
            assert_eq!(batch.row_evals, host.row_evals);
            for (a, b) in std::iter::once((&batch.y, &host.y)).chain(others.iter().zip(&states)) {
                for (a, b) in a.to_host().unwrap().iter().zip(b) {
                    // A step follows the rounding of its error norm, and its end the step.
                    assert!((a - b).abs() < 1e-12 + 1e-6 * tol, "{} {tol}: {a} {b}", method.name);
                }
            }
        }
    }
}

/// The flow of a mixture, whose numbers are recorded: SciPy's counts on tensors, also beside a likelihood's integral.
#[test]
fn a12_the_flow_on_tensors_has_scipys_counts() {
    let sde = VpLinear::default();
    let means = array![[-1.5, 0.5], [1.0, -1.0], [0.5, 1.8]];
    let mixture = GaussianMixture::isotropic(&[0.5, 0.3, 0.2], means, &[0.09, 0.04, 0.16]).unwrap();
    let options = Adaptive::new(Tolerance::both(1e-5));
    let x = Batch::from_host(&[0.3, -1.1], &[1, 2], Device::Cpu).unwrap();
    let mut flow = Reverse::probability_flow(&sde, mixture.score(&sde));
    let mut v = array![[0.0, 0.0]];
    let f = |x: &Batch, at: Lanes<'_>, dx: &mut Batch| {
        let x = Array2::from_shape_vec((1, 2), x.to_host().unwrap()).unwrap();
        flow.drift(&x, at, &mut v)?;
        dx.fill_rows(|i, row| row.copy_from_slice(&v.row(i).to_vec()));
        Ok(())
    };
    let s = solve(&RK45, x, (1.0, 1e-3), &options, f).unwrap();
    let work = (s.stats[0].nfe, s.stats[0].accepted, s.stats[0].rejected);
    assert_eq!(work, (92, 9, 6));
    let y = s.y.to_host().unwrap();
    let want = [0.905_529_106_681_440_9, -1.088_412_083_948_587_6];
    assert!(y.iter().zip(want).all(|(y, want)| (y - want).abs() < 1e-12), "{y:?}");
    // A pair of a tensor and host numbers still reads once.
    let options = Adaptive::new((Tolerance::both(1e-6), Tolerance::both(1e-6)));
    let pair = (start(3, 2).1, Array1::<f64>::zeros(3));
    let f = |(x, _): &(Batch, Array1<f64>), at: Lanes<'_>, (dx, dl): &mut (Batch, Array1<f64>)| {
        swing(x, at, dx)?;
        dl.fill(1.0);
        Ok(())
    };
    for method in METHODS {
        let pair = (Batch::new(pair.0.tensor()).unwrap(), pair.1.clone());
        let mut solver = Solver::new(method, pair, (0.0, 1.0), &options, f).unwrap();
        let before = traffic().reads;
        solver.step().unwrap();
        assert_eq!(traffic().reads - before, 1, "{}", method.name);
    }
}

/// On the CPU a sample is the same bits in any batch.
#[test]
fn samples_on_the_cpu_do_not_depend_on_their_batch() {
    let options = Adaptive::new(Tolerance::both(1e-6));
    let values = normals(5, 4 * 3000);
    for method in [&RK45, &DOP853] {
        let solve = |rows: std::ops::Range<usize>| {
            let shape = [rows.len() as i64, 3000];
            let part = &values[rows.start * 3000..rows.end * 3000];
            let x = Batch::from_host(part, &shape, Device::Cpu).unwrap();
            let start = ode_solvers::Samples::numbered(x, rows.start as u64);
            let s = solve(method, start, (0.0, 2.0), &options, swing).unwrap();
            (s.y.to_host().unwrap(), s.stats)
        };
        let (whole, stats) = solve(0..4);
        for row in 0..4 {
            let (alone, own) = solve(row..row + 1);
            assert_eq!(own[0], stats[row], "{}", method.name);
            assert!(alone == whole[row * 3000..(row + 1) * 3000], "{} {row}", method.name);
        }
    }
}

/// What a step costs beside its right-hand side. `cargo test -p pipeline --test a12_cost_on_tensors -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn cost_of_a_step() {
    for method in [&RK45, &DOP853] {
        let shape = [64, 3, 32, 32];
        let x = Batch::from_host(&normals(1, 64 * 3072), &shape, Device::Cpu).unwrap();
        let mut options = Adaptive::new(Tolerance::both(1e-3));
        (options.first_step, options.max_step) = (Some(1e-4), 1e-4);
        let mut calls = 0;
        let f = |y: &Batch, at: Lanes<'_>, dy: &mut Batch| {
            calls += 1;
            if calls < 60 { swing(y, at, dy) } else { Ok(()) } // numbers first, then nothing
        };
        let mut solver = Solver::new(method, x, (0.0, 1.0), &options, f).unwrap();
        for _ in 0..20 {
            solver.step().unwrap();
        }
        let mut times: Vec<f64> = (0..100)
            .map(|_| {
                let begin = std::time::Instant::now();
                solver.step().unwrap();
                begin.elapsed().as_secs_f64()
            })
            .collect();
        assert_eq!(solver.finish().stats[0].accepted, 120);
        times.sort_by(f64::total_cmp);
        println!("{}: {:.3} ms (lower quartile)", method.name, 1e3 * times[25]);
    }
}
