//! The known answers that `sde-core` owns; `KNOWN_ANSWERS=<file>` runs another file of the same format.

#[path = "../../../fixtures/harness.rs"]
mod harness;
#[path = "../../../fixtures/models.rs"]
mod models;

use harness::Case;
use sde_core::{Process, Sde};
use serde_json::{Map, Value, json};
use std::process::ExitCode;

/// Kinds not built yet; this list may only shrink.
const PENDING: [&str; 12] = [
    "ddpm_posterior",
    "noise_weights",
    "noise_weights_constant",
    "param_conversion",
    "edm_precond",
    "prior_mismatch",
    "fokker_planck",
    "score_fpe",
    "sigma_family_moments",
    "dequantisation",
    "gauge",
    "ddpm_sde_limit",
];

fn main() -> ExitCode {
    harness::run(
        "sde-core",
        &[
            ("sde_coeffs", sde_coeffs),
            ("t_of_logsnr", t_of_logsnr),
            ("transition", transition),
            ("gmm_score", gmm_score),
            ("g2_identity", g2_identity),
        ],
        &PENDING,
    )
}

fn sde_coeffs(case: &Case<'_>) -> Result<Value, String> {
    let sde = models::process(case)?;
    let t: Vec<f64> = case.get("t")?;
    let map = |f: &dyn Fn(f64) -> f64| t.iter().map(|&t| f(t)).collect::<Vec<_>>();
    Ok(json!({
        "alpha": map(&|t| sde.alpha(t)),
        "sigma": map(&|t| sde.sigma(t)),
        "f": map(&|t| sde.f(t)),
        "g2": map(&|t| sde.g2(t)),
        "logsnr": map(&|t| sde.log_snr(t)),
        "dlogsnr_dt": map(&|t| sde.d_log_snr(t)),
    }))
}

fn t_of_logsnr(case: &Case<'_>) -> Result<Value, String> {
    let log_snr: Vec<f64> = case.get("logsnr")?;
    per_process(case, |sde, out, name| {
        let t: Vec<f64> = log_snr.iter().map(|&l| sde.time_of_log_snr(l)).collect();
        out.insert(format!("t_{name}"), json!(t));
    })
}

fn transition(case: &Case<'_>) -> Result<Value, String> {
    let pairs: Vec<(f64, f64)> = case.get("pairs_s_t")?;
    per_process(case, |sde, out, name| {
        let kernels: Vec<_> = pairs.iter().map(|&(s, t)| sde.kernel(s, t)).collect();
        out.insert(format!("a_{name}"), kernels.iter().map(|k| k.a).collect());
        out.insert(format!("var_{name}"), kernels.iter().map(|k| k.var).collect());
    })
}

/// Runs `f(process, out, name)` for each entry of the field `sdes`.
fn per_process(
    case: &Case<'_>,
    f: impl Fn(&dyn Sde, &mut Map<String, Value>, &str),
) -> Result<Value, String> {
    let (names, processes): (Vec<Value>, Vec<Process>) = (case.get("sdes")?, case.get("sdes")?);
    let mut out = Map::new();
    for (spec, process) in names.iter().zip(&processes) {
        f(&**process, &mut out, spec["name"].as_str().ok_or("process without name")?);
    }
    Ok(out.into())
}

fn gmm_score(case: &Case<'_>) -> Result<Value, String> {
    let (mixture, sde) = (models::mixture(case)?, models::process(case)?);
    let (times, points): (Vec<f64>, Vec<Vec<f64>>) = (case.get("t")?, case.get("x")?);
    let mut model = mixture.score(&*sde);
    let mut fields: Map<String, Value> = Map::new();
    for &t in &times {
        let k = sde.coefficients(t);
        let mut rows: Map<String, Value> = Map::new();
        for x in &points {
            let (mut s, mut d) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            let p = model.point(x, t, &mut s, &mut d).map_err(|e| e.to_string())?;
            let zip = |f: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
                s.iter().zip(&d).map(|(&s, &d)| f(s, d)).collect()
            };
            let velocity = |d: f64, s: f64| k.d_alpha * d - 0.5 * k.d_sigma2 * s;
            push(&mut rows, "logp", json!(p.log_density));
            push(&mut rows, "eps", json!(zip(&|s, _| -k.sigma * s)));
            push(&mut rows, "v", json!(zip(&|s, d| -k.alpha * k.sigma * s - k.sigma * d)));
            push(&mut rows, "velocity", json!(zip(&|s, d| velocity(d, s))));
            push(&mut rows, "div_score", json!(p.div_score));
            push(&mut rows, "div_velocity", json!(velocity(p.div_denoised, p.div_score)));
            push(&mut rows, "trace_post_cov", json!(p.trace_covariance));
            push(&mut rows, "score", json!(s));
            push(&mut rows, "x0_mean", json!(d));
        }
        rows.into_iter().for_each(|(field, row)| push(&mut fields, &field, row));
    }
    Ok(fields.into())
}

/// Appends to the array under `field`.
fn push(fields: &mut Map<String, Value>, field: &str, value: Value) {
    let entry = fields.entry(field).or_insert_with(|| json!([]));
    if let Value::Array(items) = entry {
        items.push(value);
    }
}

fn g2_identity(case: &Case<'_>) -> Result<Value, String> {
    #[derive(serde::Deserialize)]
    struct Row {
        sde: Process,
        t: f64,
    }
    let rows: Vec<Row> = case.get("rows")?;
    let map = |f: &dyn Fn(&dyn Sde, f64) -> f64| -> Vec<f64> {
        rows.iter().map(|row| f(&*row.sde, row.t)).collect()
    };
    let d_ratio = |sde: &dyn Sde, t: f64| {
        let k = sde.coefficients(t);
        // (σ/α)' = σ'/α − σ α'/α²,  σ' = (σ²)'/(2σ)
        k.d_sigma2 / (2.0 * k.sigma * k.alpha) - k.sigma * k.d_alpha / (k.alpha * k.alpha)
    };
    Ok(json!({
        "d_ratio_dt": map(&d_ratio),
        "g2": map(&|sde, t| sde.g2(t)),
        "g2_from_ratio": map(&|sde, t| 2.0 * sde.alpha(t) * sde.sigma(t) * d_ratio(sde, t)),
        "g2_from_logsnr": map(&|sde, t| -sde.sigma(t).powi(2) * sde.d_log_snr(t)),
    }))
}
