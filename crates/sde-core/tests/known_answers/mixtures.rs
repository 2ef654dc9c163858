//! Scores, posterior moments and divergences of the exact mixtures.

use crate::harness::Case;
use crate::models;
use serde_json::{Map, Value, json};

pub(crate) fn gmm_score(case: &Case<'_>) -> Result<Value, String> {
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
pub(crate) fn push(fields: &mut Map<String, Value>, field: &str, value: Value) {
    let entry = fields.entry(field).or_insert_with(|| json!([]));
    if let Value::Array(items) = entry {
        items.push(value);
    }
}
