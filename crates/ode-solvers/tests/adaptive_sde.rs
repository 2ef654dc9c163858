//! Adaptive steps along a Brownian path: the path's solution, the end, statuses, bits, work.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with other tests")]
mod clusters;

use clusters::clusters;
use ndarray::{Array2, Axis};
use ode_solvers::{
    Adaptive, Control, LaneStatus, Samples, Solution, adaptive_sde, stochastic_heun, uniform_grid,
};
use sde_core::reverse::noise_scale;
use sde_core::{BrownianPath, Lanes, Noise, Purpose, Reverse, Tolerance, VpLinear, grid};

type Rows = Array2<f64>;

const SPAN: (f64, f64) = (1.0, 0.01);

fn path() -> BrownianPath {
    BrownianPath::new(Noise::new(8, Purpose::Increment), (0.0, 1.0), 24).unwrap()
}

fn latents(n: usize) -> Rows {
    let numbers: Vec<u64> = (0..n as u64).collect();
    let mut x = Array2::zeros((n, 2));
    Noise::new(3, Purpose::Prior).fill(&numbers, 0, &mut x).unwrap();
    x
}

fn options(tol: f64) -> Adaptive<Tolerance> {
    Adaptive::new(Tolerance::both(tol))
}

/// The reverse SDE of the clusters, η = 1.
fn solve(start: impl Into<Samples<Rows>>, options: &Adaptive<Tolerance>) -> Solution<Rows> {
    let (sde, (data, _)) = (VpLinear::default(), clusters());
    let mut reverse = Reverse::new(&sde, data.score(&sde), 1.0).unwrap();
    let drift = |x: &Rows, at: Lanes<'_>, out: &mut Rows| reverse.drift(x, at, out);
    let scale = |t| noise_scale(&sde, 1.0, t);
    adaptive_sde(start, SPAN, options, (drift, scale), &path()).unwrap()
}

fn bits(x: &Rows) -> Vec<u64> {
    x.iter().map(|v| v.to_bits()).collect()
}

/// Median distance: samples between two modes have errors of another size.
fn distance(a: &Rows, b: &Rows) -> f64 {
    let mut off: Vec<f64> = (a - b).iter().map(|d| d.abs()).collect();
    off.sort_by(f64::total_cmp);
    off[off.len() / 2]
}

/// (O14) Smaller tolerances come nearer to the solution on the same path, which 2¹¹ equal steps follow too: the step is
/// as tolerance^{2/3} and so is the error, of strong order 1.
#[test]
fn smaller_tolerances_come_nearer_to_one_path() {
    let (n, steps) = (150, 1 << 11);
    let (sde, (data, _), path) = (VpLinear::default(), clusters(), path());
    let heun = |grid: &[f64]| {
        let mut reverse = Reverse::new(&sde, data.score(&sde), 1.0).unwrap();
        let drift = |x: &Rows, at: Lanes<'_>, out: &mut Rows| reverse.drift(x, at, out);
        let draw = |samples: &[u64], i: u32, z: &mut Rows| {
            let (from, to) = (grid[i as usize], grid[i as usize + 1]);
            for (mut row, &sample) in z.outer_iter_mut().zip(samples) {
                let mut w = [0.0; 2];
                path.increment(sample, from, to, &mut w);
                row.assign(&(ndarray::arr1(&w) / (from - to).sqrt()));
            }
            Ok(())
        };
        let scale = |t| noise_scale(&sde, 1.0, t);
        stochastic_heun(latents(n), grid, drift, scale, draw).unwrap().y
    };
    let exact = heun(&uniform_grid(SPAN.0, SPAN.1, steps));
    let given = distance(&heun(&grid::log_snr(&sde, 128, SPAN.0, SPAN.1).unwrap()), &exact);
    println!("128 equal steps in log-SNR: distance {given:.1e}, NFE 256");
    let mut before = distance(&solve(latents(n), &options(1e-1)).y, &exact);
    for tol in [1e-2, 1e-3] {
        let end = solve(latents(n), &options(tol));
        let (off, nfe) = (distance(&end.y, &exact), end.mean_nfe());
        println!("tolerance {tol:.0e}: distance {off:.1e}, NFE {nfe:.0}");
        assert!(end.is_done() && off < before / 3.0 && off > before / 7.0, "{off} after {before}");
        before = off;
    }
    assert!(distance(&solve(latents(n), &options(1e-2)).y, &exact) < 3.0 * given);
    let pi = solve(latents(n), &Adaptive { control: Control::Pi, ..options(1e-2) });
    assert!(distance(&pi.y, &exact) < 0.02);
    // The control: another path ends elsewhere.
    let other = Samples::numbered(latents(n), 1000);
    assert!(distance(&solve(other, &options(1e-3)).y, &exact) > 0.3);
}

/// Every sample stands on the end bit for bit, has rejected steps, and pays for itself alone.
#[test]
fn samples_land_on_the_end_and_leave() {
    let end = solve(latents(50), &options(1e-2));
    assert!(end.t.iter().all(|t| t.to_bits() == SPAN.1.to_bits()) && end.is_done());
    assert!(end.stats.iter().any(|s| s.rejected > 0));
    assert!(end.stats.iter().all(|s| s.nfe == 2 * (s.accepted + s.rejected)));
    let rows: u64 = end.stats.iter().map(|s| u64::from(s.nfe)).sum();
    let most = end.stats.iter().map(|s| u64::from(s.nfe)).max().unwrap();
    assert_eq!((end.row_evals, end.batch_evals), (rows, most));
    assert!(rows < 50 * most);
}

/// A sample is the same bits alone, in part of the batch and in another order; steps and their work too.
#[test]
fn a_sample_does_not_depend_on_its_company() {
    let (x, options) = (latents(12), options(3e-2));
    let whole = solve(x.clone(), &options);
    for order in [&[7][..], &[11, 0, 5], &[3, 2, 1, 0, 9, 10]] {
        let numbers = order.iter().map(|&i| i as u64).collect();
        let part = solve(Samples { x: x.select(Axis(0), order), numbers }, &options);
        assert_eq!(bits(&part.y), bits(&whole.y.select(Axis(0), order)));
        for (stats, &i) in part.stats.iter().zip(order) {
            assert_eq!(*stats, whole.stats[i]);
        }
    }
    let joint = solve(x.select(Axis(0), &[7]), &options);
    assert_ne!(bits(&joint.y), bits(&whole.y.select(Axis(0), &[7]))); // as sample 0: another path
}

/// `dx = f(x) dt + dW` from 0.
fn scalar(
    f: impl Fn(f64, f64) -> f64,
    n: usize,
    options: &Adaptive<Tolerance>,
    levels: u32,
) -> Solution<Rows> {
    let path = BrownianPath::new(Noise::new(8, Purpose::Increment), (0.0, 1.0), levels).unwrap();
    let drift = |x: &Rows, at: Lanes<'_>, out: &mut Rows| {
        for (i, row) in out.outer_iter_mut().enumerate() {
            for (j, out) in row.into_iter().enumerate() {
                *out = f(at.t[i], x[[i, j]]);
            }
        }
        Ok(())
    };
    adaptive_sde(Rows::zeros((n, 1)), (0.0, 1.0), options, (drift, |_| 1.0), &path).unwrap()
}

/// A drift that is linear in t alone has no error but that of time: W itself comes back.
#[test]
fn without_drift_the_end_is_the_path() {
    let end = scalar(|_, _| 0.0, 5, &options(1e-6), 24);
    for (sample, x) in end.y.iter().enumerate() {
        let mut w = [0.0];
        BrownianPath::new(Noise::new(8, Purpose::Increment), (0.0, 1.0), 24).unwrap().at(
            sample as u64,
            1.0,
            &mut w,
        );
        assert!((x - w[0]).abs() < 1e-12);
    }
}

#[test]
fn a_sample_that_cannot_go_on_says_why() {
    let few = scalar(|_, x| -x, 2, &Adaptive { max_steps: 3, ..options(1e-2) }, 24);
    assert!(matches!(few.status[0], LaneStatus::MaxSteps { t } if t > 0.0 && t < 1.0));
    // A path of 2⁶ pieces has nothing between its nodes for such a tolerance.
    let coarse = scalar(|_, x| (9.0 * x).sin(), 2, &options(1e-9), 6);
    assert!(matches!(
        coarse.status[1],
        LaneStatus::StepSizeTooSmall { t, h } if t < 1.0 && h < 1.0 / 64.0
    ));
    let wall = scalar(|t, _| if t > 0.5 { f64::NAN } else { 0.0 }, 2, &options(1e-3), 24);
    assert!(wall.status.iter().all(|s| matches!(
        s,
        LaneStatus::NonFinite { t } | LaneStatus::StepSizeTooSmall { t, .. }
            if *t > 0.49 && *t <= 0.5
    )));
    assert!(wall.y.iter().all(|x| x.is_finite()));
    let none = {
        let drift = |_: &Rows, _: Lanes<'_>, _: &mut Rows| Ok(());
        adaptive_sde(latents(2), (0.5, 0.5), &options(1e-3), (drift, |_| 1.0), &path()).unwrap()
    };
    assert!(none.is_done() && none.batch_evals == 0);
    assert_eq!(none.y, latents(2));
}

#[test]
fn refusals_name_the_number() {
    let run = |span: (f64, f64), options: &Adaptive<Tolerance>| {
        let drift = |_: &Rows, _: Lanes<'_>, _: &mut Rows| Ok(());
        adaptive_sde(latents(1), span, options, (drift, |_| 1.0), &path()).unwrap_err().to_string()
    };
    let outside = run((1.5, 0.0), &options(1e-3));
    assert!(outside.starts_with("t0 = 1.5") && outside.contains("Brownian path"), "{outside}");
    assert!(run((1.0, f64::NAN), &options(1e-3)).contains("NaN"));
    assert!(run((1.0, 0.0), &options(-1.0)).contains("-1"));
}

/// After the start nothing is allocated: ten times as many steps allocate as often.
#[test]
fn steps_allocate_nothing() {
    let count = |tol: f64| {
        let (x, options) = (latents(6), options(tol));
        let (sde, (data, _), path) = (VpLinear::default(), clusters(), path());
        let mut reverse = Reverse::new(&sde, data.score(&sde), 1.0).unwrap();
        let mut steps = 0;
        let allocations = allocation_counter::measure(|| {
            let drift = |x: &Rows, at: Lanes<'_>, out: &mut Rows| reverse.drift(x, at, out);
            let scale = |t| noise_scale(&sde, 1.0, t);
            let end = adaptive_sde(x, SPAN, &options, (drift, scale), &path).unwrap();
            steps = end.stats[0].accepted;
        });
        (steps, allocations.count_total)
    };
    let (few, many) = (count(3e-1), count(1e-2));
    assert!(many.0 > 5 * few.0, "{few:?} {many:?}");
    assert_eq!(few.1, many.1);
}
