//! Parametrisations, preconditioning, dequantisation, the prior, and a score that is no gradient.

use crate::harness::Case;
use crate::models;
use ndarray::array;
use sde_core::exact::asymmetry;
use sde_core::levels::Levels;
use sde_core::parametrisation::Preconditioning;
use sde_core::{GaussianMixture, Prediction, Process, grid, prior};
use serde_json::{Value, json};

/// One row of a table over processes and times.
#[derive(serde::Deserialize)]
struct Row {
    sde: Process,
    t: f64,
}

pub(crate) fn param_conversion(case: &Case<'_>) -> Result<Value, String> {
    let rows: Vec<Row> = case.get("rows")?;
    let (x0, eps): (Vec<f64>, Vec<f64>) = (case.get("x0")?, case.get("eps")?);
    let mut out = serde_json::Map::new();
    for row in &rows {
        let k = row.sde.coefficients(row.t);
        let xt: Vec<f64> = x0.iter().zip(&eps).map(|(a, e)| k.alpha * a + k.sigma * e).collect();
        let convert = |from: Prediction, to: Prediction, values: &[f64]| {
            let c = from.into(to, k).map_err(|e| e.to_string())?;
            Ok::<Vec<f64>, String>(xt.iter().zip(values).map(|(x, y)| c.apply(*x, *y)).collect())
        };
        let score = convert(Prediction::Epsilon, Prediction::Score, &eps)?;
        let v = convert(Prediction::Epsilon, Prediction::V, &eps)?;
        let fields = [
            ("flow_velocity", convert(Prediction::X0, Prediction::Velocity, &x0)?),
            ("x0_from_eps", convert(Prediction::Epsilon, Prediction::X0, &eps)?),
            ("x0_from_score", convert(Prediction::Score, Prediction::X0, &score)?),
            ("x0_from_v", convert(Prediction::V, Prediction::X0, &v)?),
            ("eps_from_v", convert(Prediction::V, Prediction::Epsilon, &v)?),
            ("cond_score", score),
            ("v", v),
            ("xt", xt.clone()),
        ];
        for (name, value) in fields {
            crate::mixtures::push(&mut out, name, json!(value));
        }
    }
    Ok(out.into())
}

pub(crate) fn edm_precond(case: &Case<'_>) -> Result<Value, String> {
    #[derive(serde::Deserialize)]
    struct Grid {
        #[serde(rename = "N")]
        n: u32,
        rho: f64,
        sigma_min: f64,
        sigma_max: f64,
    }
    let (sigma, sigma_data): (Vec<f64>, f64) = (case.get("sigma")?, case.get("sigma_data")?);
    let Grid { n, rho, sigma_min, sigma_max } = case.get("grid")?;
    let all: Result<Vec<_>, _> =
        sigma.iter().map(|s| Preconditioning::edm(*s, sigma_data)).collect();
    let all = all.map_err(|e| e.to_string())?;
    let map = |f: &dyn Fn(&Preconditioning) -> f64| all.iter().map(f).collect::<Vec<_>>();
    Ok(json!({
        "c_skip": map(&|p| p.c_skip),
        "c_out": map(&|p| p.c_out),
        "c_in": map(&|p| p.c_in),
        "c_noise": map(&|p| p.c_noise),
        "loss_weight": map(&|p| p.loss_weight),
        "grid": grid::karras(n, sigma_min, sigma_max, rho).map_err(|e| e.to_string())?,
    }))
}

pub(crate) fn prior_mismatch(case: &Case<'_>) -> Result<Value, String> {
    let (mixture, rows): (_, Vec<Row>) = (models::mixture(case)?, case.get("rows")?);
    let kl = rows.iter().map(|row| prior::mismatch(&mixture, &*row.sde, row.t));
    let kl: Result<Vec<f64>, _> = kl.collect();
    Ok(json!({ "kl": kl.map_err(|e| e.to_string())? }))
}

pub(crate) fn dequantisation(case: &Case<'_>) -> Result<Value, String> {
    let mixture = models::mixture(case)?;
    let levels = Levels::new(case.get("levels")?).map_err(|e| e.to_string())?;
    let (k, std): (Vec<u32>, f64) = (case.get("k")?, case.get("tn_std_in_bins")?);
    // At σ = 0 the noised density is the data's own.
    let process = sde_core::VpLinear::default();
    let mut score = mixture.score(&process);
    let mut log_density = |y: f64| score.log_density(&[y], 0.0).unwrap_or(f64::NAN);
    let (mut exact, mut uniform, mut truncated) = (Vec::new(), Vec::new(), Vec::new());
    for &k in &k {
        let (low, high) = levels.bin(k);
        let p = mixture.interval_probability(low, high).map_err(|e| e.to_string())?;
        exact.push(p.ln());
        uniform.push(levels.uniform_bound(k, &mut log_density));
        let bound = levels.truncated_normal_bound(k, std, &mut log_density);
        truncated.push(bound.map_err(|e| e.to_string())?);
    }
    let gap: Vec<f64> = exact.iter().zip(&uniform).map(|(p, u)| p - u).collect();
    Ok(json!({
        "log_P": exact,
        "uniform_bound": uniform,
        "uniform_gap": gap,
        "truncnormal_bound": truncated,
        "log_bin_width": levels.log_bin_width(),
        "bits_offset_per_dim": levels.bits_per_dim(0.0, 1),
    }))
}

/// The exact score of an isotropic Gaussian with a rotation added.
pub(crate) fn gauge(case: &Case<'_>) -> Result<Value, String> {
    let (var, t, c): (f64, f64, f64) = (case.get("data_var")?, case.get("t")?, case.get("c")?);
    let (process, x) = (models::process(case)?, case.get::<[f64; 2]>("x")?);
    let data = GaussianMixture::isotropic(&[1.0], array![[0.0, 0.0]], &[var]);
    let data = data.map_err(|e| e.to_string())?;
    let mut model = data.score(&*process);
    let (mut score, mut denoised) = ([0.0; 2], [0.0; 2]);
    let p = model.point(&x, t, &mut score, &mut denoised).map_err(|e| e.to_string())?;
    let jacobian = model.score_jacobian(&x, t).map_err(|e| e.to_string())?;
    let theta = jacobian + c * array![[0.0, -1.0], [1.0, 0.0]];
    let a = asymmetry(&theta);
    Ok(json!({
        "score_theta": [score[0] - c * x[1], score[1] + c * x[0]],
        "div_score_theta": theta.diag().sum(),
        "asym_fro2": a.square,
        "asym_rel": a.relative,
        "logp_true_and_model_density_t": p.log_density,
    }))
}
