//! Acceptance test 12 on the host: no allocation after the first step, and what a network that computes in f32 does to a
//! solve whose state and time are f64. The half on tensors is in `pipeline/tests/a12_cost_on_tensors.rs`.

#![allow(clippy::unwrap_used, clippy::panic)]

mod problems;

use ndarray::{Array1, Array2, array};
use ode_solvers::{
    Adaptive, DOP853, Event, RK23, RK45, Solution, Solver, TSIT5, Tableau, VERN7, solve,
};
use problems::{MixtureProblem, batch_of_one, message, on_batch, rhs};
use sde_core::{GaussianMixture, Lanes, Noise, Purpose, Reverse, Tolerance, VpLinear};
use serde_json::Value;

fn latents(n: usize) -> Array2<f64> {
    let numbers: Vec<u64> = (0..n as u64).collect();
    let mut x = Array2::zeros((n, 2));
    Noise::new(3, Purpose::Prior).fill(&numbers, 0, &mut x).unwrap();
    x
}

/// After the first step nothing is allocated, for arrays and for pairs, though lanes come to their ends.
#[test]
fn a12_a_step_allocates_nothing() {
    let sde = VpLinear::default();
    let means = array![[-1.5, 0.5], [1.0, -1.0], [0.5, 1.8]];
    let mixture = GaussianMixture::isotropic(&[0.5, 0.3, 0.2], means, &[0.09, 0.04, 0.16]).unwrap();
    let options = Adaptive::new((Tolerance::both(1e-6), Tolerance::both(1e-6)));
    for method in [&RK23, &RK45, &TSIT5, &VERN7, &DOP853] {
        let mut flow = Reverse::probability_flow(&sde, mixture.score(&sde));
        let mut div = vec![0.0; 32];
        let f = |(x, _): &(Array2<f64>, Array1<f64>),
                 at: Lanes<'_>,
                 (dx, dl): &mut (Array2<f64>, Array1<f64>)| {
            let n = at.t.len();
            flow.drift_and_divergence(x, at, dx, &mut div[..n])?;
            sde_core::State::fill_rows(dl, |i, row| row.fill(div[i]));
            Ok(())
        };
        let start = (latents(32), Array1::zeros(32));
        let mut solver = Solver::new(method, start, (1.0, 1e-3), &options, f).unwrap();
        let nowhere = Event::new(|_: &(Array2<f64>, Array1<f64>), at: Lanes<'_>, g: &mut [f64]| {
            g.iter_mut().zip(at.t).for_each(|(g, t)| *g = t + 1.0);
            Ok(())
        });
        solver.watch(vec![nowhere]).unwrap();
        assert_eq!(solver.step().unwrap(), 32);
        let mut left = 32;
        let allocations = allocation_counter::measure(|| {
            while left > 0 {
                left = solver.step().unwrap();
            }
        });
        assert_eq!(allocations.count_total, 0, "{}: {allocations:?}", method.name);
        assert!(solver.finish().is_done());
    }
}

fn cases() -> Value {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let text = std::fs::read_to_string(root.join("solver_cases.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

/// Solves a case; with `in_f32` its right-hand side reads the state and returns the derivative in f32, as a network does.
fn run(file: &Value, case: &Value, in_f32: bool) -> Solution<Array2<f64>> {
    let problem = case["problem"].as_str().unwrap();
    let params = &file["problems"][problem]["params"];
    let mixture = MixtureProblem::find(problem, params);
    let mut f = rhs(problem, params, mixture.as_ref()).unwrap();
    let round = move |x: &mut f64| *x = if in_f32 { f64::from(*x as f32) } else { *x };
    let rounded = Box::new(move |t: f64, y: &[f64], dy: &mut [f64]| {
        let mut y = y.to_vec();
        y.iter_mut().for_each(round);
        f(t, &y, dy);
        dy.iter_mut().for_each(round);
    });
    let span = (number(&case["t0"]), number(&case["t1"]));
    let tolerance = Tolerance { rtol: number(&case["rtol"]), atol: number(&case["atol"]) };
    let method: &'static Tableau = match case["method"].as_str().unwrap() {
        "RK45" => &RK45,
        "RK23" => &RK23,
        _ => &DOP853,
    };
    let y0 = batch_of_one(&numbers(&case["y0"]));
    let options = Adaptive::new(tolerance);
    message(solve(method, y0, span, &options, on_batch(rounded, span))).unwrap()
}

fn largest(a: &Array2<f64>, b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// The VP and VE flows take the steps that they take in f64, down to a tolerance of 1e-8, and end as near as f32 allows.
#[test]
fn a12_a_network_in_f32_changes_no_step() {
    let file = cases();
    let mut found = 0;
    for case in file["cases"].as_array().unwrap() {
        let (id, problem) = (case["id"].as_str().unwrap(), case["problem"].as_str().unwrap());
        if !["vp_gauss_pf", "vp_gmm_pf", "ve_gmm_pf"].contains(&problem) {
            continue;
        }
        let s = run(&file, case, true);
        let off = largest(&s.y, &numbers(&case["y_end"]));
        assert!(s.is_done() && off < 3e-6, "{id}: {off:e}");
        assert!(off > 1e-11, "{id}: nothing was rounded");
        if number(&case["rtol"]) >= 1e-8 {
            assert_eq!(case["n_accepted"], s.stats[0].accepted, "{id}");
            assert_eq!(case["n_rejected"], s.stats[0].rejected, "{id}");
            found += 1;
        }
    }
    assert_eq!(found, 5, "cases");
}

/// EDM starts where numbers are near 100 and f32 has five digits after the point: less than the error estimate of the first
/// steps, which come out otherwise. The end moves by 1.06e-5, as much as the tolerance.
#[test]
fn a12_a_network_in_f32_at_large_noise() {
    let case = serde_json::json!({
        "problem": "edm_gmm_pf", "t0": "80", "t1": "0.002", "y0": ["40", "-90"], "method": "RK45",
        "rtol": "1e-5", "atol": "1e-5",
    });
    let file = cases();
    let [f32, f64] = [true, false].map(|in_f32| run(&file, &case, in_f32));
    assert_eq!((f64.stats[0].nfe, f64.stats[0].accepted, f64.stats[0].rejected), (176, 20, 9));
    assert!(f32.stats[0].accepted < 20 && f32.stats[0].accepted >= 15, "{:?}", f32.stats[0]);
    let off = largest(&f32.y, f64.y.as_slice().unwrap());
    assert!(off < 1.2e-5 && off > 1e-9, "{off:e}");
}

/// A tolerance that f64 cannot meet is refused, one that f32 could not is not.
#[test]
fn a12_tolerances_are_those_of_the_state() {
    let solve_to = |rtol: f64| {
        let options = Adaptive::new(Tolerance { rtol, atol: 1e-20 });
        let f = |_: &_, _: Lanes<'_>, dy: &mut Array2<f64>| {
            dy.fill(1.0);
            Ok(())
        };
        solve(&RK45, array![[0.0]], (0.0, 1.0), &options, f).map(|s| s.is_done())
    };
    assert!(solve_to(100.0 * f64::EPSILON).unwrap());
    let text = solve_to(99.0 * f64::EPSILON).unwrap_err().to_string();
    assert!(text.contains("expected at least 2.3e-14"), "{text}");
}
