//! Samples do not know of each other: bits, work, failures.

#![allow(clippy::unwrap_used, clippy::panic)]
#![allow(clippy::unnecessary_wraps, reason = "right-hand sides have the solver's signature")]

use ndarray::{Array2, Axis, array};
use ode_solvers::{
    Adaptive, DOP853, Error, HEUN, LaneStatus, RK45, Samples, Solution, Tableau, solve, solve_at,
    solve_fixed, solve_in_chunks, uniform_grid,
};
use proptest::prelude::*;
use sde_core::{GaussianMixture, Lanes, Noise, Purpose, Reverse, Tolerance, VpLinear};

fn mixture() -> GaussianMixture {
    let means = array![[-1.5, 0.5], [1.0, -1.0], [0.5, 1.8]];
    GaussianMixture::isotropic(&[0.5, 0.3, 0.2], means, &[0.09, 0.04, 0.16]).unwrap()
}

fn latents(n: usize) -> Array2<f64> {
    let numbers: Vec<u64> = (0..n as u64).collect();
    let mut x = Array2::zeros((n, 2));
    Noise::new(3, Purpose::Prior).fill(&numbers, 0, &mut x).unwrap();
    x
}

fn decode(x: impl Into<Samples<Array2<f64>>>) -> Solution<Array2<f64>> {
    decode_by(&RK45, x)
}

fn decode_by(
    method: &'static Tableau,
    x: impl Into<Samples<Array2<f64>>>,
) -> Solution<Array2<f64>> {
    let (sde, mixture) = (VpLinear::default(), mixture());
    let mut flow = Reverse::probability_flow(&sde, mixture.score(&sde));
    let options = Adaptive::new(Tolerance::both(1e-5));
    ode_solvers::decode(method, x, 1e-3, &options, &mut flow).unwrap()
}

fn bits(x: &Array2<f64>) -> Vec<u64> {
    x.iter().map(|v| v.to_bits()).collect()
}

/// One lane grows like `y² ` and has a pole at t = 1; the others decay.
fn with_a_pole(y: &Array2<f64>, at: Lanes<'_>, dy: &mut Array2<f64>) -> sde_core::Result<()> {
    for (i, sample) in at.sample.iter().enumerate() {
        dy[[i, 0]] = if *sample == 1 { y[[i, 0]].powi(2) } else { -y[[i, 0]] };
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    /// Permuting or splitting a batch changes no bit and no count of any sample.
    #[test]
    fn a06_results_do_not_depend_on_the_batch(order in Just((0..12).collect::<Vec<usize>>()).prop_shuffle(), cut in 1..11_usize) {
        let x = latents(12);
        for method in [&RK45, &DOP853] {
            let whole = decode_by(method, x.clone());
            let shuffled = decode_by(method, x.select(Axis(0), &order));
            prop_assert_eq!(bits(&whole.y.select(Axis(0), &order)), bits(&shuffled.y));
            for (row, &i) in order.iter().enumerate() {
                prop_assert_eq!(shuffled.stats[row], whole.stats[i]);
            }
            let chunk = |chunk| Ok(decode_by(method, chunk));
            let chunks = solve_in_chunks(&x, 0, cut, chunk).unwrap();
            prop_assert_eq!(bits(&chunks.y), bits(&whole.y));
            prop_assert_eq!(chunks.stats, whole.stats);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// The right-hand side is never called outside the interval, and every sample ends on its end.
    #[test]
    fn a03_no_evaluation_outside_the_interval(t0 in -3.0..3.0_f64, t1 in -3.0..3.0_f64, y0 in -1e6..1e6_f64) {
        let options = Adaptive::new(Tolerance::both(1e-3));
        let s = solve(&RK45, array![[y0], [1.0]], (t0, t1), &options, |_: &_, at: Lanes<'_>, dy: &mut Array2<f64>| {
            assert!(at.t.iter().all(|t| (t0.min(t1)..=t0.max(t1)).contains(t)), "{:?}", at.t);
            dy.fill(1.0);
            Ok(())
        }).unwrap();
        prop_assert!(s.t.iter().all(|t| t.to_bits() == t1.to_bits()));
    }
}

/// A wall of NaN is not a matter of tolerance.
#[test]
fn a04_a_wall_of_nan_is_named() {
    let options = Adaptive::new(Tolerance::both(1e-5));
    let s = solve(&RK45, array![[1.0]], (0.0, 1.0), &options, |_, at, dy: &mut Array2<f64>| {
        dy.fill(if at.t[0] > 0.5 { f64::NAN } else { 1.0 });
        Ok(())
    });
    let s = s.unwrap();
    let LaneStatus::NonFinite { t } = s.status[0] else { panic!("{:?}", s.status) };
    assert!((t - 0.5).abs() < 1e-9 && (s.y[[0, 0]] - 1.5).abs() < 1e-6);
}

#[test]
fn threads_change_no_bit() {
    let x = latents(64);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| solve_in_chunks(&x, 0, 5, |chunk| Ok(decode(chunk))).unwrap().y)
    };
    assert_eq!(bits(&with(1)), bits(&with(2)));
}

#[test]
fn a06_a_lane_that_fails_leaves_the_others_unchanged() {
    let options = Adaptive::new(Tolerance { rtol: 1e-6, atol: 1e-9 });
    let run = |y: Samples<_>| solve(&RK45, y, (0.0, 2.0), &options, with_a_pole).unwrap();
    let y0 = array![[1.0], [1.0], [0.5]];
    let all = run(y0.clone().into());
    let LaneStatus::StepSizeTooSmall { t, .. } = all.status[1] else { panic!("{:?}", all.status) };
    assert!((t - 1.0).abs() < 1e-6 && (all.t[1] - t).abs() < 1e-15);
    assert!(all.y[[1, 0]] > 1e6, "the last accepted state is kept");
    for i in [0, 2] {
        let alone =
            run(Samples::numbered(y0.slice_axis(Axis(0), (i..=i).into()).to_owned(), i as u64));
        assert_eq!(all.status[i], LaneStatus::Done);
        assert_eq!(all.y[[i, 0]].to_bits(), alone.y[[0, 0]].to_bits());
        assert_eq!(all.stats[i], alone.stats[0]);
    }
}

#[test]
fn a04_the_step_limit_returns_what_was_reached() {
    let mut options = Adaptive::new(Tolerance::both(1e-8));
    options.max_steps = 10;
    let s = solve(&RK45, array![[1.0]], (0.0, 50.0), &options, with_a_pole).unwrap();
    let LaneStatus::MaxSteps { t } = s.status[0] else { panic!("{:?}", s.status) };
    assert_eq!(s.stats[0].accepted + s.stats[0].rejected, 10);
    assert!((s.y[[0, 0]] - (-t).exp()).abs() < 1e-6);
}

#[test]
fn a03_an_interval_of_no_length_returns_the_start() {
    let options = Adaptive::new(Tolerance::both(1e-8));
    let s = solve(&RK45, array![[1.0]], (0.3, 0.3), &options, with_a_pole).unwrap();
    assert_eq!(
        (s.status[0], s.stats[0].nfe, s.y[[0, 0]].to_bits()),
        (LaneStatus::Done, 0, 1.0_f64.to_bits())
    );
}

#[test]
fn an_empty_batch_is_solved() {
    let options = Adaptive::new(Tolerance::both(1e-8));
    let s = solve(&RK45, Array2::zeros((0, 3)), (0.0, 1.0), &options, with_a_pole).unwrap();
    assert!(s.is_done() && s.y.is_empty());
    let none = Array2::<f64>::zeros((0, 2));
    assert!(solve_in_chunks(&none, 0, 4, |c| Ok(decode(c))).unwrap().y.is_empty());
}

#[test]
fn a_right_hand_side_that_is_not_finite_is_a_status() {
    let options = Adaptive::new(Tolerance::both(1e-8));
    let s = solve(
        &RK45,
        array![[1.0], [2.0]],
        (0.0, 1.0),
        &options,
        |y: &Array2<f64>, at, dy: &mut Array2<f64>| {
            for (i, sample) in at.sample.iter().enumerate() {
                dy[[i, 0]] = if *sample == 0 { f64::NAN } else { -y[[i, 0]] };
            }
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(s.status, [LaneStatus::NonFinite { t: 0.0 }, LaneStatus::Done]);
}

#[test]
fn a04_the_right_hand_sides_error_comes_back_with_its_time() {
    let options = Adaptive::new(Tolerance::both(1e-8));
    let f = |_: &Array2<f64>, at: Lanes<'_>, dy: &mut Array2<f64>| {
        dy.fill(1.0);
        if at.t[0] > 0.5 { Err(sde_core::Error::Model("out of memory".into())) } else { Ok(()) }
    };
    let error = solve(&RK45, array![[0.0]], (0.0, 1.0), &options, f).unwrap_err();
    let Error::Dynamics { t, source } = &error else { panic!("{error}") };
    assert!(*t > 0.5 && *t <= 1.0);
    assert_eq!(source.to_string(), "the score model failed: out of memory");
}

#[test]
fn input_that_cannot_be_used_is_refused() {
    let y = || array![[1.0]];
    let message = |span, options: &Adaptive<Tolerance>| {
        solve(&RK45, y(), span, options, with_a_pole).unwrap_err().to_string()
    };
    let good = Adaptive::new(Tolerance::both(1e-5));
    assert_eq!(message((f64::NAN, 1.0), &good), "t0 = NaN is not a finite number");
    let zero = Adaptive::new(Tolerance { rtol: 0.0, atol: 1e-5 });
    assert_eq!(message((0.0, 1.0), &zero), "rtol = 0 is out of range: expected at least 2.3e-14");
    let mut negative = good;
    negative.max_step = -1.0;
    assert_eq!(message((0.0, 1.0), &negative), "max_step = -1: expected a positive number");
    let error = solve(&HEUN, y(), (0.0, 1.0), &good, with_a_pole).unwrap_err().to_string();
    assert_eq!(error, "method `heun` has no error estimate: use it with solve_fixed");
    for grid in [vec![], vec![0.0], vec![0.0, 0.0], vec![0.0, 1.0, 0.5], vec![0.0, f64::NAN]] {
        assert!(solve_fixed(&HEUN, y(), &grid, with_a_pole).is_err(), "{grid:?}");
    }
    let wrong = Samples { x: y(), numbers: vec![0, 1] };
    assert!(solve(&RK45, wrong, (0.0, 1.0), &good, with_a_pole).is_err());
}

#[test]
fn a_grid_ends_exactly() {
    for steps in [1, 3, 7, 1000] {
        let grid = uniform_grid(1.0, 1e-3, steps);
        assert_eq!(grid.len(), steps as usize + 1);
        assert_eq!(
            (grid[0].to_bits(), grid[steps as usize].to_bits()),
            (1.0_f64.to_bits(), 1e-3_f64.to_bits())
        );
    }
}

/// Saved states do not depend on the batch either, come backward in time too, and end where the solve ends.
#[test]
fn saved_states_belong_to_their_sample() {
    let (sde, mixture) = (VpLinear::default(), mixture());
    let options = Adaptive::new(Tolerance::both(1e-8));
    let times = [1.0, 0.9, 0.5, 0.3, 0.3, 1e-3];
    let save_by = |method: &'static Tableau, x: Samples<Array2<f64>>| {
        let mut flow = Reverse::probability_flow(&sde, mixture.score(&sde));
        let f = |x: &_, at: Lanes<'_>, dx: &mut _| flow.drift(x, at, dx);
        solve_at(method, x, (1.0, 1e-3), &times, &options, f).unwrap()
    };
    let save = |x| save_by(&RK45, x);
    let x = latents(9);
    let (whole, states) = save(x.clone().into());
    assert_eq!(bits(&states[0]), bits(&x));
    assert_eq!(bits(&states[3]), bits(&states[4]));
    assert!((&states[5] - &whole.y).iter().all(|e| e.abs() < 1e-14));
    let middle = solve(&RK45, x.clone(), (1.0, 0.5), &Adaptive::new(Tolerance::both(1e-11)), {
        let mut flow = Reverse::probability_flow(&sde, mixture.score(&sde));
        move |x: &_, at: Lanes<'_>, dx: &mut _| flow.drift(x, at, dx)
    });
    assert!((&states[2] - &middle.unwrap().y).iter().all(|e| e.abs() < 1e-6));
    let (_, alone) = save(Samples::numbered(x.slice_axis(Axis(0), (4..5).into()).to_owned(), 4));
    for (all, one) in states.iter().zip(&alone) {
        assert_eq!(bits(&all.slice_axis(Axis(0), (4..5).into()).to_owned()), bits(one));
    }
    let (_, all) = save_by(&DOP853, x.clone().into());
    let fourth = x.slice_axis(Axis(0), (4..5).into()).to_owned();
    let (_, alone) = save_by(&DOP853, Samples::numbered(fourth, 4));
    for (all, one) in all.iter().zip(&alone) {
        assert_eq!(bits(&all.slice_axis(Axis(0), (4..5).into()).to_owned()), bits(one));
    }
    let message = |times: &[f64]| {
        solve_at(&RK45, x.clone(), (1.0, 0.0), times, &options, with_a_pole)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(message(&[2.0]), "a state is wanted at t = 2, expected a time from 1 to 0");
    assert_eq!(message(&[0.5, 0.7]), "a state is wanted at t = 0.7, expected a time from 0.5 to 0");
}
