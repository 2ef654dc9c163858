//! SciPy's own numbers: evaluation counts exactly, states within the case's tolerance.
//!
//! `SOLVER_CASES=<file>` runs another file of the format of `fixtures/solver_cases.json`.

#![allow(clippy::unwrap_used, clippy::panic)]

mod problems;

use ode_solvers::{
    Adaptive, Crossing, DOP853, EULER, Event, HEUN, LaneStatus, MIDPOINT, RK4, RK23, RK45,
    Solution, Tableau, solve, solve_at, solve_events, solve_fixed, uniform_grid,
};
use problems::{MixtureProblem, batch_of_one, message, on_batch, rhs};
use sde_core::Tolerance;
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;

type Outcome = Result<(), String>;

fn main() -> ExitCode {
    if std::env::args().any(|a| a == "--list") {
        return ExitCode::SUCCESS;
    }
    let file = load();
    let (mut passed, mut failed) = (0, 0);
    let mut count = |name: &str, outcome: Outcome| match outcome {
        Ok(()) => passed += 1,
        Err(e) => {
            failed += 1;
            println!("FAILED {name}: {e}");
        }
    };
    for case in items(&file["cases"]) {
        count(text(case, "id"), adaptive_case(&file, case));
    }
    for case in items(&file["per_sample"]) {
        count(text(case, "id"), per_sample_case(&file, case));
    }
    for case in items(&file["fixed_step"]) {
        for (method, want) in case["methods"].as_object().unwrap() {
            count(&format!("fixed_step {method}"), fixed_case(&file, case, method, want));
        }
    }
    for case in items(&file["round_trip"]) {
        count(&format!("round_trip {}", case["tol"]), round_trip_case(&file, case));
    }
    for case in items(&file["dense_output"]) {
        count(text(case, "id"), dense_case(&file, case));
    }
    for case in items(&file["events"]) {
        count(&format!("event {}", text(case, "method")), event_case(&file, case));
    }
    println!("scipy_parity: {passed} passed, {failed} failed, 0 skipped");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn load() -> Value {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = match std::env::var_os("SOLVER_CASES") {
        Some(path) if PathBuf::from(&path).exists() => PathBuf::from(path),
        Some(path) => root.join(path),
        None => root.join("fixtures/solver_cases.json"),
    };
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// An array's items; a lone object is an array of one.
fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        Value::Null => &[],
        other => std::slice::from_ref(other),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

/// A number that the file writes as a decimal string.
fn number(value: &Value) -> f64 {
    value.as_str().map_or_else(|| value.as_f64().unwrap(), |s| s.parse().unwrap())
}

fn vector(value: &Value) -> Vec<f64> {
    items(value).iter().map(number).collect()
}

/// The adaptive method of that name.
fn adaptive_method(name: &str) -> Result<&'static Tableau, String> {
    match name {
        "RK45" => Ok(&RK45),
        "RK23" => Ok(&RK23),
        "DOP853" => Ok(&DOP853),
        other => Err(format!("unknown method `{other}`")),
    }
}

fn options(case: &Value) -> Result<Adaptive<Tolerance>, String> {
    let tolerance = Tolerance { rtol: number(&case["rtol"]), atol: number(&case["atol"]) };
    let mut options = Adaptive::new(tolerance);
    for (key, value) in case["options"].as_object().into_iter().flatten() {
        match key.as_str() {
            "max_step" => options.max_step = number(value),
            "first_step" => options.first_step = Some(number(value)),
            other => return Err(format!("unknown option `{other}`")),
        }
    }
    Ok(options)
}

/// Solves a named problem from one initial state.
fn run(
    file: &Value,
    problem: &str,
    (y0, span): (&[f64], (f64, f64)),
    method: &'static Tableau,
    options: &Adaptive<Tolerance>,
) -> Result<Solution<ndarray::Array2<f64>>, String> {
    let params = &file["problems"][problem]["params"];
    let mixture = MixtureProblem::find(problem, params);
    let f = on_batch(rhs(problem, params, mixture.as_ref())?, span);
    message(solve(method, batch_of_one(y0), span, options, f))
}

/// `|got − want| ≤ tol max(1, |want|)` for each component.
fn check_close(what: &str, got: &[f64], want: &[f64], tol: f64) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{what}: {} numbers instead of {}", got.len(), want.len()));
    }
    for (g, w) in got.iter().zip(want) {
        let ok = (g - w).abs() <= tol * w.abs().max(1.0); // false for NaN
        if !ok {
            return Err(format!("{what}: {g} instead of {w}, off by {:e}", (g - w).abs()));
        }
    }
    Ok(())
}

fn check_count(what: &str, got: u32, want: &Value) -> Result<(), String> {
    let want = want.as_u64().ok_or(format!("no `{what}` in the case"))?;
    if u64::from(got) == want { Ok(()) } else { Err(format!("{what}: {got} instead of {want}")) }
}

fn check_counts(stats: ode_solvers::LaneStats, case: &Value) -> Result<(), String> {
    check_count("nfev", stats.nfe, &case["nfev"])?;
    check_count("n_accepted", stats.accepted, &case["n_accepted"])?;
    check_count("n_rejected", stats.rejected, &case["n_rejected"])
}

fn adaptive_case(file: &Value, case: &Value) -> Outcome {
    let method = adaptive_method(text(case, "method"))?;
    let span = (number(&case["t0"]), number(&case["t1"]));
    let (y0, options) = (vector(&case["y0"]), options(case)?);
    let solution = run(file, text(case, "problem"), (&y0, span), method, &options)?;
    if case["status"] == 0 {
        if !solution.is_done() || solution.t[0].to_bits() != span.1.to_bits() {
            return Err(format!("{:?} at t = {}", solution.status[0], solution.t[0]));
        }
    } else {
        let LaneStatus::StepSizeTooSmall { t, .. } = solution.status[0] else {
            return Err(format!("{:?} instead of a failure", solution.status[0]));
        };
        check_close("t_end", &[t], &[number(&case["t_end"])], 1e-6)?;
    }
    if case["exact_counts"] == true {
        check_counts(solution.stats[0], case)?;
    }
    if let Some(tol) = case["y_tol"].as_f64() {
        check_close("y", solution.y.as_slice().unwrap(), &vector(&case["y_end"]), tol)?;
    }
    accuracy_only(case, &solution)?;
    Ok(())
}

/// Each sample of the batch as if it were alone, in one batch, with exact work.
fn per_sample_case(file: &Value, case: &Value) -> Outcome {
    let method = adaptive_method(text(case, "method"))?;
    let span = (number(&case["t0"]), number(&case["t1"]));
    let problem = text(case, "problem");
    let params = &file["problems"][problem]["params"];
    let mixture = MixtureProblem::find(problem, params).ok_or("not a mixture problem")?;
    let samples = items(&case["samples"]);
    let y0: Vec<f64> = samples.iter().flat_map(|s| vector(&s["y0"])).collect();
    let y0 = ndarray::Array2::from_shape_vec((samples.len(), mixture.mixture.dim()), y0).unwrap();
    let score = mixture.mixture.score(&*mixture.process);
    let mut flow = sde_core::Reverse::probability_flow(&*mixture.process, score);
    let f = |x: &_, at: sde_core::Lanes<'_>, dx: &mut _| flow.drift(x, at, dx);
    let solution = message(solve(method, y0, span, &options(case)?, f))?;
    for (i, sample) in samples.iter().enumerate() {
        check_counts(solution.stats[i], sample)?;
        let row = solution.y.row(i);
        check_close("y", row.as_slice().unwrap(), &vector(&sample["y_end"]), 1e-12)?;
    }
    check_count("rows", solution.row_evals as u32, &case["row_evaluations_with_compaction"])?;
    check_count(
        "batched evaluations",
        solution.batch_evals as u32,
        &case["lockstep_evaluations_without_compaction"],
    )?;
    Ok(())
}

/// States at wanted times, which cost no evaluation.
fn dense_case(file: &Value, case: &Value) -> Outcome {
    let method = adaptive_method(text(case, "method"))?;
    let (span, times) = ((number(&case["t0"]), number(&case["t1"])), vector(&case["t_eval"]));
    let (problem, y0) = (text(case, "problem"), vector(&case["y0"]));
    let f = on_batch(rhs(problem, &file["problems"][problem]["params"], None)?, span);
    let options = options(case)?;
    let solved = solve_at(method, batch_of_one(&y0), span, &times, &options, f);
    let (solution, states) = message(solved)?;
    check_count("nfev_with_t_eval", solution.stats[0].nfe, &case["nfev_with_t_eval"])?;
    check_count("n_accepted", solution.stats[0].accepted, &case["n_accepted"])?;
    for (state, want) in states.iter().zip(items(&case["y_eval"])) {
        check_close("y_eval", state.as_slice().unwrap(), &vector(want), 1e-12)?;
    }
    if states.len() == items(&case["y_eval"]).len() { Ok(()) } else { Err("times missing".into()) }
}

/// End value and observed order of a fixed-step method.
fn fixed_case(file: &Value, case: &Value, method: &str, want: &Value) -> Outcome {
    let (method, order): (&Tableau, f64) = match method {
        "euler" => (&EULER, 1.0),
        "midpoint" => (&MIDPOINT, 2.0),
        "heun2" => (&HEUN, 2.0),
        "rk4" => (&RK4, 4.0),
        "RK23_b" => (&RK23, 3.0),
        "RK45_b" => (&RK45, 5.0),
        "DOP853_b" => (&DOP853, 8.0),
        other => return Err(format!("unknown method `{other}`")),
    };
    let (t0, t1) = (number(&case["t0"]), number(&case["t1"]));
    let (y0, y_true) = (vector(&case["y0"]), vector(&case["y_true"]));
    let problem = text(case, "problem");
    let mut errors = Vec::new();
    let mut last = Vec::new();
    for n in items(&want["n"]) {
        let n = n.as_u64().ok_or("`n` holds no number")? as u32;
        let f = on_batch(rhs(problem, &file["problems"][problem]["params"], None)?, (t0, t1));
        let grid = uniform_grid(t0, t1, n);
        let solution = message(solve_fixed(method, batch_of_one(&y0), &grid, f))?;
        last = solution.y.as_slice().unwrap().to_vec();
        errors.push(last.iter().zip(&y_true).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max));
    }
    check_close("y", &last, &vector(&want["y_end_last"]), 1e-12)?;
    let slope = (errors[errors.len() - 2] / errors[errors.len() - 1]).log2();
    let superconverges = method.order == 5;
    if slope < order - 0.3 || (slope > order + 0.3 && !superconverges) {
        return Err(format!("observed order {slope:.2} instead of {order}"));
    }
    Ok(())
}

/// Encode and decode with their counts, and the round-trip error.
fn round_trip_case(file: &Value, case: &Value) -> Outcome {
    let method = adaptive_method(text(case, "method"))?;
    let options = Adaptive::new(Tolerance::both(number(&case["tol"])));
    let x0 = vector(&case["x0"]);
    let encoded = run(file, "vp_gmm_pf", (&x0, (1e-3, 1.0)), method, &options)?;
    check_count("nfev_encode", encoded.stats[0].nfe, &case["nfev_encode"])?;
    let latent = encoded.y.as_slice().unwrap();
    check_close("latent", latent, &vector(&case["latent"]), 1e-11)?;
    let decoded = run(file, "vp_gmm_pf", (latent, (1.0, 1e-3)), method, &options)?;
    check_count("nfev_decode", decoded.stats[0].nfe, &case["nfev_decode"])?;
    check_close("x_back", decoded.y.as_slice().unwrap(), &vector(&case["x_back"]), 1e-9)?;
    Ok(())
}

/// A case whose orbit is too sensitive for counts bounds the error instead, and the evaluations by a percentage.
fn accuracy_only(case: &Value, solution: &Solution<ndarray::Array2<f64>>) -> Outcome {
    let Some((_, bounds)) = text(case, "note").split_once("require max_abs_err<=") else {
        return Ok(());
    };
    let (error, most) = bounds.split_once(" and nfev within ").unwrap_or((bounds, "100%"));
    let number = |text: &str| text.parse::<f64>().map_err(|_| format!("no bound: {text}"));
    let bound = number(error)?;
    let most = number(most.split('%').next().unwrap_or(most))? / 100.0;
    let off = solution.y.iter().zip(vector(&case["y_true"])).map(|(a, b)| (a - b).abs());
    let off = off.fold(0.0, f64::max);
    if off.is_nan() || off > bound {
        return Err(format!("error {off:e} above {bound:e}"));
    }
    let want = case["nfev"].as_f64().ok_or("no `nfev` in the case")?;
    let nfev = f64::from(solution.stats[0].nfe);
    if (nfev / want - 1.0).abs() <= most { Ok(()) } else { Err(format!("nfev {nfev}, not {want}")) }
}

/// `yi crosses 0 downwards, terminal`: the component, the sign changes that count, whether the solve stops.
fn event_case(file: &Value, case: &Value) -> Outcome {
    let method = adaptive_method(text(case, "method"))?;
    let words: Vec<&str> = text(case, "event").split([' ', ',']).collect();
    let crossing = match words.as_slice() {
        [_, "crosses", "0", "downwards", ..] => Crossing::Down,
        [_, "crosses", "0", "upwards", ..] => Crossing::Up,
        [_, "crosses", "0", ..] => Crossing::Any,
        _ => return Err(format!("unknown event `{}`", text(case, "event"))),
    };
    let component = words[0].strip_prefix('y').and_then(|i| i.parse().ok());
    let component: usize = component.ok_or("no component")?;
    let problem = text(case, "problem");
    let time = |key: &str, usual| if case[key].is_null() { usual } else { number(&case[key]) };
    let span = (time("t0", 0.0), time("t1", 10.0));
    let y0 = if case["y0"].is_null() { vec![1.0, 0.0] } else { vector(&case["y0"]) };
    let mut event = Event::new(|y: &ndarray::Array2<f64>, _, g: &mut [f64]| {
        g[0] = y[[0, component]];
        Ok(())
    });
    event = event.crossing(crossing);
    let terminal = words.contains(&"terminal");
    if terminal {
        event = event.terminal();
    }
    let f = on_batch(rhs(problem, &file["problems"][problem]["params"], None)?, span);
    let solved = solve_events(method, batch_of_one(&y0), span, vec![event], &options(case)?, f);
    let (solution, found) = message(solved)?;
    let first = found.first().ok_or("nothing found")?;
    check_close("t_event", &[first.t], &[number(&case["t_event"])], 1e-12)?;
    let stopped = solution.status[0] == LaneStatus::Event { event: 0, t: first.t };
    if stopped != terminal || terminal && solution.t[0].to_bits() != first.t.to_bits() {
        return Err(format!("{:?} at {}", solution.status[0], solution.t[0]));
    }
    check_close("error of t_event", &[first.t], &[number(&case["exact"])], 1e-10)
}
