//! The known answers that `ode-solvers` owns; `KNOWN_ANSWERS=<file>` runs another file of the same format.

#[path = "../../../fixtures/harness.rs"]
mod harness;
#[path = "likelihood/answers.rs"]
mod likelihood;
#[path = "../../../fixtures/models.rs"]
mod models;
#[path = "samplers/answers.rs"]
mod samplers;
#[path = "../../../fixtures/wrong.rs"]
mod wrong;

use harness::Case;
use ndarray::Array2;
use ode_solvers::{Adaptive, Likelihood, RK45, Trace, flow, log_likelihood_augmented, log_normal};
use sde_core::{GaussianMixture, Process, Reverse, Tolerance};
use serde_json::{Map, Value, json};
use std::process::ExitCode;

/// Kinds not built yet; this list may only shrink.
const PENDING: [&str; 0] = [];

fn main() -> ExitCode {
    let kinds: [(&str, harness::Compute); 8] = [
        ("gaussian_flow", gaussian_flow),
        ("gmm_flow", gmm_flow),
        ("wrong_score_likelihood", likelihood::wrong_score),
        ("hutchinson", likelihood::hutchinson),
        ("path_identity", likelihood::path_identity),
        ("schedule_invariance", likelihood::schedule_invariance),
        ("sampler", samplers::known_sampler),
        ("sampler_order", samplers::sampler_order),
    ];
    harness::run("ode-solvers", &kinds, &PENDING)
}

const TOLERANCE: f64 = 1e-10;

type Points = Vec<Vec<f64>>;

fn batch(points: &Points) -> Result<Array2<f64>, String> {
    let d = points.first().map_or(0, Vec::len);
    Array2::from_shape_vec((points.len(), d), points.concat()).map_err(|e| e.to_string())
}

fn rows(x: &Array2<f64>) -> Points {
    x.outer_iter().map(|row| row.to_vec()).collect()
}

/// `log p_t` of each row.
fn log_density(
    mixture: &GaussianMixture,
    process: &Process,
    x: &Array2<f64>,
    t: f64,
) -> Result<Vec<f64>, String> {
    let mut score = mixture.score(&**process);
    let row = |x: Vec<f64>| score.log_density(&x, t).map_err(|e| e.to_string());
    rows(x).into_iter().map(row).collect()
}

/// The likelihood of points at `t0` with the prior `N(0, σ(t1)² I)`.
fn likelihood(
    mixture: &GaussianMixture,
    process: &Process,
    x: Array2<f64>,
    (t0, t1): (f64, f64),
) -> Result<Likelihood<Array2<f64>>, String> {
    let mut field = Reverse::probability_flow(&**process, mixture.score(&**process));
    let options = Adaptive::new((Tolerance::both(TOLERANCE), Tolerance::both(TOLERANCE)));
    let std = process.sigma(t1);
    let prior = |x: &_, out: &mut [f64]| log_normal(x, std, out);
    let how = (&mut field, Trace::Exact);
    log_likelihood_augmented(&RK45, x, (t0, t1), &options, how, prior).map_err(|e| e.to_string())
}

fn int_div(of: &Likelihood<Array2<f64>>) -> Vec<f64> {
    of.samples.iter().map(|s| s.int_div).collect()
}

fn gaussian_flow(case: &Case<'_>) -> Result<Value, String> {
    #[derive(serde::Deserialize)]
    struct Row {
        sde: Process,
        t0: f64,
        t1: f64,
    }
    let (mixture, table): (_, Vec<Row>) = (models::mixture(case)?, case.get("rows")?);
    let x = batch(&case.get("x")?)?;
    let mut out: Map<String, Value> = Map::new();
    for Row { sde, t0, t1 } in table {
        let solved = likelihood(&mixture, &sde, x.clone(), (t0, t1))?;
        let fields = [
            ("logp_t0", json!(log_density(&mixture, &sde, &x, t0)?)),
            ("logp_t1", json!(log_density(&mixture, &sde, &solved.latent.y, t1)?)),
            ("logdet", json!(int_div(&solved))),
            ("x_t1", json!(rows(&solved.latent.y))),
        ];
        for (name, value) in fields {
            let list = out.entry(name).or_insert_with(|| json!([]));
            list.as_array_mut().ok_or("not a list")?.push(value);
        }
    }
    Ok(out.into())
}

fn gmm_flow(case: &Case<'_>) -> Result<Value, String> {
    let (mixture, sde) = (models::mixture(case)?, models::process(case)?);
    let (t0, t1): (f64, f64) = (case.get("t0")?, case.get("t1")?);
    let (x, latent) = (batch(&case.get("x_t0")?)?, batch(&case.get("x_t1_back")?)?);

    let ahead = likelihood(&mixture, &sde, x.clone(), (t0, t1))?;
    let options = Adaptive::new(Tolerance::both(TOLERANCE));
    let mut field = Reverse::probability_flow(&*sde, mixture.score(&*sde));
    let back = flow(&RK45, latent, (t1, t0), &options, &mut field).map_err(|e| e.to_string())?.y;
    let again = likelihood(&mixture, &sde, back.clone(), (t0, t1))?;
    Ok(json!({
        "x_t1": rows(&ahead.latent.y),
        "logp_true_t0": log_density(&mixture, &sde, &x, t0)?,
        "logp_true_t1": log_density(&mixture, &sde, &ahead.latent.y, t1)?,
        "int_div": int_div(&ahead),
        "logprior": ahead.samples.iter().map(|s| s.log_prior).collect::<Vec<_>>(),
        "logp_model": ahead.log_density(),
        "x_t0_from_back": rows(&back),
        "logp_true_t0_back": log_density(&mixture, &sde, &back, t0)?,
        "logp_model_back": again.log_density(),
    }))
}
