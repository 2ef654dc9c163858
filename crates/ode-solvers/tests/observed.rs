//! Watching solves and stopping them, and states at times of each sample's own.

#![allow(clippy::unwrap_used, clippy::panic)]
#![allow(clippy::unnecessary_wraps, reason = "right-hand sides have the solver's signature")]

use ndarray::{Array2, array};
use ode_solvers::samplers::{Grid, Sampler, sample, sample_observed};
use ode_solvers::{
    Adaptive, DOP853, LaneStatus, Progress, RK4, RK45, Solver, TSIT5, Tableau, VERN7, solve,
    solve_at, solve_at_each, solve_fixed, solve_fixed_observed, solve_observed, uniform_grid,
};
use proptest::prelude::*;
use sde_core::{GaussianMixture, Lanes, Noise, Purpose, Result, Tolerance, VpLinear, grid};
use std::ops::ControlFlow::{self, Break, Continue};

/// Each sample turns at its own speed.
fn turn(y: &Array2<f64>, at: Lanes<'_>, dy: &mut Array2<f64>) -> Result<()> {
    for (i, sample) in at.sample.iter().enumerate() {
        let w = 1.0 + *sample as f64;
        (dy[[i, 0]], dy[[i, 1]]) = (w * y[[i, 1]], -w * y[[i, 0]]);
    }
    Ok(())
}

fn start() -> Array2<f64> {
    array![[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]
}

fn two() -> Array2<f64> {
    array![[1.0, 0.0], [0.0, 1.0]]
}

/// Stops after `steps` steps and keeps what it was told.
fn stop_after(
    steps: usize,
    seen: &mut Vec<Progress>,
) -> impl FnMut(Progress) -> ControlFlow<()> + '_ {
    move |progress| {
        seen.push(progress);
        if progress.steps < steps { Continue(()) } else { Break(()) }
    }
}

/// What every observer may rely on.
fn check(seen: &[Progress]) {
    for pair in seen.windows(2) {
        assert_eq!(pair[1].steps, pair[0].steps + 1);
        assert!(pair[1].fraction >= pair[0].fraction && pair[1].running <= pair[0].running);
    }
    assert!(seen.iter().all(|p| (0.0..=1.0).contains(&p.fraction)), "{seen:?}");
}

#[test]
fn an_adaptive_solve_that_is_stopped_returns_what_it_has_reached() {
    let options = Adaptive::new(Tolerance::both(1e-8));
    for (t0, t1) in [(0.0, 3.0), (3.0, 0.0)] {
        let whole = solve(&RK45, start(), (t0, t1), &options, turn).unwrap();
        let mut seen = Vec::new();
        let observe = stop_after(usize::MAX, &mut seen);
        let watched = solve_observed(&RK45, start(), (t0, t1), &options, turn, observe).unwrap();
        assert_eq!((&watched.y, &watched.stats), (&whole.y, &whole.stats));
        check(&seen);
        let last = seen[seen.len() - 1];
        assert_eq!((last.running, last.t.to_bits(), last.fraction), (0, f64::to_bits(t1), 1.0));
        let (all, mut seen) = (seen.len(), Vec::new());
        let observe = stop_after(10, &mut seen);
        let part = solve_observed(&RK45, start(), (t0, t1), &options, turn, observe).unwrap();
        assert!(seen.len() == 10 && all > 20);
        assert_eq!(part.status, [LaneStatus::Running; 3]);
        for (i, t) in part.t.iter().enumerate() {
            let from = start();
            let (s, c) = ((1.0 + i as f64) * (t - t0)).sin_cos();
            let want = c * from[[i, 0]] + s * from[[i, 1]];
            assert!((part.y[[i, 0]] - want).abs() < 1e-6, "{i}: {t}");
            assert_eq!(part.stats[i].accepted + part.stats[i].rejected, 10);
        }
        let behind = part.t.iter().map(|t| (t - t0).abs()).fold(f64::INFINITY, f64::min);
        assert!(((seen[9].t - t0).abs() - behind).abs() < 1e-15);
        assert!((seen[9].fraction - behind / 3.0).abs() < 1e-15);
    }
}

/// A solve can go on where it was stopped, and the driver alone does what the function does.
#[test]
fn a_stopped_solver_goes_on() {
    let options = Adaptive::new(Tolerance::both(1e-8));
    let whole = solve(&DOP853, start(), (0.0, 3.0), &options, turn).unwrap();
    let mut solver = Solver::new(&DOP853, start(), (0.0, 3.0), &options, turn).unwrap();
    solver.run(stop_after(3, &mut Vec::new())).unwrap();
    assert_eq!(solver.progress().steps, 3);
    solver.run(|_| Continue(())).unwrap();
    assert_eq!(solver.finish().y, whole.y);
}

#[test]
fn a_fixed_solve_that_is_stopped_returns_what_it_has_reached() {
    let times = uniform_grid(0.0, 3.0, 30);
    let whole = solve_fixed(&RK4, start(), &times, turn).unwrap();
    let (mut seen, mut few) = (Vec::new(), Vec::new());
    let observe = stop_after(usize::MAX, &mut seen);
    let watched = solve_fixed_observed(&RK4, start(), &times, turn, observe).unwrap();
    assert_eq!((&watched.y, watched.is_done(), seen.len()), (&whole.y, true, 30));
    check(&seen);
    assert_eq!((seen[29].running, seen[29].fraction, seen[28].running), (0, 1.0, 3));
    let part = solve_fixed_observed(&RK4, start(), &times, turn, stop_after(7, &mut few)).unwrap();
    let head = solve_fixed(&RK4, start(), &times[..8], turn).unwrap();
    assert_eq!((&part.y, &part.t, &part.stats), (&head.y, &head.t, &head.stats));
    assert_eq!((part.status, part.batch_evals), (vec![LaneStatus::Running; 3], 28));
}

#[test]
fn a_sampler_that_is_stopped_returns_what_it_has_reached() {
    let sde = VpLinear::default();
    let means = array![[-1.5, 0.5], [1.0, -1.0]];
    let data = GaussianMixture::isotropic(&[0.4, 0.6], means, &[0.09, 0.04]).unwrap();
    let times = grid::log_snr(&sde, 12, 1.0, 1e-3).unwrap();
    let levels = Grid::new(&sde, &times).unwrap().to_data();
    let noise = Noise::new(7, Purpose::Increment);
    for sampler in Sampler::NAMED {
        let mut score = data.score(&sde);
        let whole = sample(&sampler, two(), &levels, &mut score, &noise);
        let whole = whole.unwrap();
        let run = |steps, grid: &Grid<'_>| {
            let (mut seen, mut score) = (Vec::new(), data.score(&sde));
            let x = two();
            let observe = stop_after(steps, &mut seen);
            let s = sample_observed(&sampler, x, grid, &mut score, &noise, observe).unwrap();
            check(&seen);
            (s, seen)
        };
        let (watched, seen) = run(usize::MAX, &levels);
        assert_eq!((&watched.y, watched.is_done(), seen.len()), (&whole.y, true, 13));
        let (part, seen) = run(5, &levels);
        assert_eq!((part.status, seen.len()), (vec![LaneStatus::Running; 2], 5));
        assert_eq!(part.t[0].to_bits(), times[5].to_bits(), "{}", sampler.name());
        assert!(part.y.iter().all(|y| y.is_finite()) && part.batch_evals < whole.batch_evals);
        let head = Grid::new(&sde, &times[..6]).unwrap();
        let churns_by_steps = sampler.name().starts_with("edm");
        if !churns_by_steps {
            assert_eq!(part.y, run(usize::MAX, &head).0.y, "{}", sampler.name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Each sample's states at its own times are, bit for bit, those that a solve with those times for all would save.
    #[test]
    fn states_at_each_samples_times_are_those_of_common_times(
        lists in prop::collection::vec(prop::collection::vec(0.0..=1.0_f64, 0..7), 3),
        backward in any::<bool>(),
    ) {
        let (t0, t1) = if backward { (2.5, -0.5) } else { (-0.5, 2.5) };
        let times: Vec<Vec<f64>> = lists.iter().map(|list| {
            let mut list: Vec<f64> = list.iter().map(|u| (t0 + (t1 - t0) * u).clamp(-0.5, 2.5)).collect();
            list.sort_by(f64::total_cmp);
            if backward {
                list.reverse();
            }
            list
        }).collect();
        let most = times.iter().map(Vec::len).max().unwrap_or(0);
        for method in [&RK45, &TSIT5, &VERN7, &DOP853] as [&'static Tableau; 4] {
            let options = Adaptive::new(Tolerance::both(1e-6));
            let each = solve_at_each(method, start(), (t0, t1), &times, &options, turn).unwrap();
            prop_assert_eq!(each.1.len(), most);
            for (i, list) in times.iter().enumerate() {
                let common = solve_at(method, start(), (t0, t1), list, &options, turn).unwrap();
                prop_assert_eq!(&each.0.y, &common.0.y);
                prop_assert_eq!(each.0.stats[i], common.0.stats[i]);
                for (j, state) in each.1.iter().enumerate() {
                    let want = common.1.get(j).map_or([0; 2], |s| [s[[i, 0]].to_bits(), s[[i, 1]].to_bits()]);
                    prop_assert_eq!([state[[i, 0]].to_bits(), state[[i, 1]].to_bits()], want, "{} {} {}", method.name, i, j);
                }
            }
        }
    }
}

#[test]
fn times_of_each_sample_are_checked() {
    let options = Adaptive::new(Tolerance::both(1e-6));
    let solve =
        |times: &[Vec<f64>]| solve_at_each(&RK45, start(), (0.0, 2.0), times, &options, turn);
    let text = solve(&[vec![1.0], vec![1.0]]).unwrap_err().to_string();
    assert!(text.contains("lists of times"), "{text}");
    let text = solve(&[vec![1.0], vec![1.0, 0.5], vec![]]).unwrap_err().to_string();
    assert_eq!(text, "a state is wanted at t = 0.5, expected a time from 1 to 2");
    let (_, states) = solve(&[vec![0.0, 2.0], vec![0.0], vec![]]).unwrap();
    assert_eq!(states[0], array![[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]);
    assert_eq!(states[1].row(1).to_vec(), [0.0, 0.0]);
    assert!((states[1][[0, 0]] - 2_f64.cos()).abs() < 1e-5);
    // One sample with a list of its own is one sample with common times.
    let one = array![[1.0, 0.0]];
    let (_, states) = solve_at_each(&RK45, one, (0.0, 2.0), &[vec![0.5]], &options, turn).unwrap();
    assert!((states[0][[0, 0]] - 0.5_f64.cos()).abs() < 1e-5);
}

/// A sample that fails keeps zeros at the times that it did not reach.
#[test]
fn a_failed_sample_keeps_zeros() {
    let options = Adaptive::new(Tolerance::both(1e-6));
    let f = |y: &Array2<f64>, at: Lanes<'_>, dy: &mut Array2<f64>| {
        for (i, sample) in at.sample.iter().enumerate() {
            dy[[i, 0]] = if *sample == 1 { y[[i, 0]].powi(2) } else { -y[[i, 0]] };
        }
        Ok(())
    };
    let times = [vec![0.5, 1.5], vec![0.25, 0.5, 1.5]];
    let (s, states) =
        solve_at_each(&RK45, array![[1.0], [1.0]], (0.0, 2.0), &times, &options, f).unwrap();
    assert!(matches!(s.status[1], LaneStatus::StepSizeTooSmall { .. }));
    assert!((states[1][[1, 0]] - 2.0).abs() < 1e-4 && (states[0][[1, 0]] - 4.0 / 3.0).abs() < 1e-4);
    assert_eq!((states[2][[0, 0]], states[2][[1, 0]]), (0.0, 0.0));
    assert!((states[1][[0, 0]] - (-1.5_f64).exp()).abs() < 1e-5);
}
