//! The kinds `sampler` and `sampler_order`.

use super::harness::Case;
use super::{batch, models, rows};
use ndarray::Array2;
use ode_solvers::samplers::{Ancestral, Grid, Sampler, StepVariance, sample_with};
use ode_solvers::{
    Adaptive, EULER, HEUN, MIDPOINT, RK4, RK45, Tableau, flow, solve_fixed, uniform_grid,
};
use sde_core::chain::{BetaSchedule, ContinuousChain};
use sde_core::reverse::noise_scale;
use sde_core::{GaussianMixture, Lanes, Process, Reverse, Sde, Tolerance, grid};
use serde_json::{Map, Value, json};

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn text(e: impl ToString) -> String {
    e.to_string()
}

/// The Runge–Kutta method of a name, which walks in t.
fn tableau(method: &str) -> Option<&'static Tableau> {
    [&EULER, &HEUN, &MIDPOINT, &RK4].into_iter().find(|m| m.name == method)
}

/// The sampler of a name as the file writes it.
fn sampler(method: &str) -> Result<Sampler, String> {
    let name = match method {
        "ddpm_ancestral" => "ddpm".into(),
        "ddim_eta" => "ddim".into(),
        other => other.replace("dpmpp_", "dpm++").replace('_', "-"),
    };
    Sampler::named(&name).ok_or_else(|| format!("no sampler `{method}`"))
}

/// The times of a case, whichever of the format's grids it has.
fn times(case: &Case<'_>, sde: &dyn Sde) -> Result<Vec<f64>, String> {
    #[derive(serde::Deserialize)]
    #[allow(non_snake_case, reason = "the format's name")]
    struct Karras {
        N: u32,
        rho: f64,
        sigma_min: f64,
        sigma_max: f64,
    }
    let of_ratio = |l: f64| {
        let ends = l.is_infinite() && l > 0.0;
        if ends { 0.0 } else { sde.time_of_log_snr(2.0 * l) }
    };
    let map = |x: Vec<f64>, f: &dyn Fn(f64) -> f64| x.into_iter().map(f).collect();
    if let Ok(t) = case.get::<Vec<f64>>("grid_t") {
        return Ok(t);
    }
    if let Ok(l) = case.get("grid_half_logsnr") {
        return Ok(map(l, &of_ratio));
    }
    if let Ok(lambda) = case.get("grid_logsnr") {
        return Ok(map(lambda, &|lambda| of_ratio(0.5 * lambda)));
    }
    let sigma = if let Ok(sigma) = case.get("grid_sigma") {
        sigma
    } else {
        let k: Karras = case.get("grid").or_else(|_| case.get("grid_karras"))?;
        grid::karras(k.N, k.sigma_min, k.sigma_max, k.rho).map_err(text)?
    };
    Ok(map(sigma, &|sigma| of_ratio(-sigma.ln())))
}

/// One step of Euler's method and one draw of noise for each interval: the same z for every point.
fn em_reverse(
    mixture: &GaussianMixture,
    sde: &dyn Sde,
    eta: f64,
    (times, z): (&[f64], &[Vec<f64>]),
    mut x: Array2<f64>,
) -> Result<Array2<f64>, String> {
    let mut reverse = Reverse::new(sde, mixture.score(sde), eta).map_err(text)?;
    for (step, z) in times.windows(2).zip(z) {
        let drift = |x: &_, at: Lanes<'_>, dx: &mut _| reverse.drift(x, at, dx);
        x = solve_fixed(&EULER, x, step, drift).map_err(text)?.y;
        let std = noise_scale(sde, eta, step[0]) * (step[0] - step[1]).sqrt();
        x.outer_iter_mut().for_each(|mut x| x.iter_mut().zip(z).for_each(|(x, z)| *x += std * z));
    }
    Ok(x)
}

/// Where a method leads along `times`, and to the data after them if `to_data`.
fn run(
    method: &str,
    case: &Case<'_>,
    (mixture, sde): (&GaussianMixture, &dyn Sde),
    (times, to_data): (&[f64], bool),
    x: Array2<f64>,
) -> Result<Array2<f64>, String> {
    if let Some(tableau) = tableau(method) {
        let mut flow = Reverse::probability_flow(sde, mixture.score(sde));
        let f = |x: &_, at: Lanes<'_>, dx: &mut _| flow.drift(x, at, dx);
        return Ok(solve_fixed(tableau, x, times, f).map_err(text)?.y);
    }
    let mut sampler = sampler(method)?;
    if let Sampler::Ancestral(Ancestral { eta, variance, .. }) = &mut sampler {
        *eta = case.get("eta").unwrap_or(*eta);
        let wanted: String = case.get("variance").unwrap_or_else(|_| "small".into());
        *variance = match &*wanted {
            "small" => StepVariance::Small,
            "large" => StepVariance::Large,
            other => return Err(format!("unknown variance `{other}`")),
        };
    }
    let z: Vec<Vec<f64>> = case.get("z").unwrap_or_default();
    let grid = Grid::new(sde, times).map_err(text)?;
    let grid = if to_data { grid.to_data() } else { grid };
    let draw = |_: &[u64], step: u32, out: &mut Array2<f64>| {
        let z = z.get(step as usize).map_or(&[][..], Vec::as_slice);
        out.fill(f64::NAN); // noise that the case does not give
        out.outer_iter_mut().for_each(|mut row| row.iter_mut().zip(z).for_each(|(o, z)| *o = *z));
        Ok(())
    };
    Ok(sample_with(&sampler, x, &grid, &mut mixture.score(sde), draw).map_err(text)?.y)
}

/// The flow itself, solved as tightly as f64 allows.
fn exact_flow(
    mixture: &GaussianMixture,
    sde: &dyn Sde,
    interval: (f64, f64),
    x: Array2<f64>,
) -> Result<Array2<f64>, String> {
    let options = Adaptive::new(Tolerance::both(1e-13));
    let mut field = Reverse::probability_flow(sde, mixture.score(sde));
    Ok(flow(&RK45, x, interval, &options, &mut field).map_err(text)?.y)
}

fn distances(a: &Array2<f64>, b: &Array2<f64>) -> Vec<f64> {
    let norm = |row: ndarray::ArrayView1<'_, f64>| row.dot(&row).sqrt();
    (a - b).outer_iter().map(norm).collect()
}

pub(crate) fn known_sampler(case: &Case<'_>) -> Result<Value, String> {
    let (mixture, x) = (models::mixture(case)?, batch(&case.get("x_T")?)?);
    let method: String = case.get("method")?;
    if let Ok(schedule) = case.get::<BetaSchedule>("schedule") {
        let chain = schedule.chain().map_err(text)?;
        let sde = ContinuousChain::new(&chain).map_err(text)?;
        let labels = (0..chain.steps()).rev();
        let times: Vec<f64> = labels.map(|label| sde.time_of_label(label as f64)).collect();
        return Ok(
            json!({ "x_end": rows(&run(&method, case, (&mixture, &sde), (&times, true), x)?) }),
        );
    }
    let sde: Process = models::process(case)?;
    let times = times(case, &*sde)?;
    if matches!(&*method, "em_reverse" | "em" | "euler_maruyama") {
        let z: Vec<Vec<f64>> = case.get("z")?;
        let end = em_reverse(&mixture, &*sde, case.get("eta").unwrap_or(1.0), (&times, &z), x)?;
        return Ok(json!({ "x_end": rows(&end) }));
    }
    let end = run(&method, case, (&mixture, &*sde), (&times, false), x.clone())?;
    let (from, to) = (times[0], times[times.len() - 1]);
    let exact = exact_flow(&mixture, &*sde, (from, to), x)?;
    Ok(json!({
        "x_end": rows(&end),
        "x_exact_flow": rows(&exact),
        "err_norm": distances(&end, &exact),
    }))
}

pub(crate) fn sampler_order(case: &Case<'_>) -> Result<Value, String> {
    let (mixture, sde) = (models::mixture(case)?, models::process(case)?);
    let (t1, t0): (f64, f64) = (case.get("t1")?, case.get("t0")?);
    let x = batch(&vec![case.get("x_T")?])?;
    let exact = exact_flow(&mixture, &*sde, (t1, t0), x.clone())?;
    let (counts, grids): (Vec<u32>, String) = (case.get("N")?, case.get("grids")?);
    let in_ratio = |method: &str| {
        let clause = grids.split(';').find(|clause| clause.contains(method));
        clause.map_or(!matches!(method, "euler" | "ddim" | "heun" | "rk4" | "midpoint"), |clause| {
            clause.contains("ln(")
        })
    };
    let methods = ["euler", "heun", "midpoint", "rk4", "ddim", "edm_heun", "dpm_solver_1"]
        .into_iter()
        .chain(["dpm_solver_2", "dpm_solver_3", "dpmpp_2s", "dpmpp_2m", "dpmpp_3m"]);
    let mut out = Map::new();
    for method in methods {
        let mut errors = Vec::new();
        for &n in &counts {
            let times = if in_ratio(method) {
                grid::log_snr(&*sde, n, t1, t0).map_err(text)?
            } else {
                uniform_grid(t1, t0, n)
            };
            let end = run(method, case, (&mixture, &*sde), (&times, false), x.clone())?;
            errors.extend(distances(&end, &exact));
        }
        out.insert(format!("err_{method}"), json!(errors));
    }
    Ok(out.into())
}
