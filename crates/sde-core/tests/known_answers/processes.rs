//! Coefficients, inverses and transitions of the processes.

use crate::harness::Case;
use crate::models;
use sde_core::{Process, Sde};
use serde_json::{Map, Value, json};

pub(crate) fn sde_coeffs(case: &Case<'_>) -> Result<Value, String> {
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

pub(crate) fn t_of_logsnr(case: &Case<'_>) -> Result<Value, String> {
    let log_snr: Vec<f64> = case.get("logsnr")?;
    per_process(case, |sde, out, name| {
        let t: Vec<f64> = log_snr.iter().map(|&l| sde.time_of_log_snr(l)).collect();
        out.insert(format!("t_{name}"), json!(t));
    })
}

pub(crate) fn transition(case: &Case<'_>) -> Result<Value, String> {
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

pub(crate) fn g2_identity(case: &Case<'_>) -> Result<Value, String> {
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
