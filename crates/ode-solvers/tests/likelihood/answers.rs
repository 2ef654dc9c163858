//! The known answers about likelihoods: wrong scores, traces, paths, schedules.

use super::harness::Case;
use super::wrong::Wrong;
use super::{TOLERANCE, batch, log_density, models, rows};
use ndarray::{Array2, array};
use ode_solvers::{
    Adaptive, DOP853, LikelihoodOptions, Trace, flow, log_likelihood, log_normal, solve,
};
use sde_core::{GaussianMixture, Lanes, Process, Reverse, State, Tolerance};
use serde_json::{Value, json};

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Likelihoods of a model whose score is `1 + delta` times the exact one: its own density, not that of the data.
pub(crate) fn wrong_score(case: &Case<'_>) -> Result<Value, String> {
    #[derive(serde::Deserialize)]
    struct Row {
        sde: Process,
        t0: f64,
        t1: f64,
        delta: f64,
    }
    #[derive(serde::Deserialize)]
    struct Data {
        mean: Vec<f64>,
        var: Vec<f64>,
    }
    let (data, table): (Data, Vec<Row>) = (case.get("data")?, case.get("rows")?);
    let one = |v: Vec<f64>| Array2::from_shape_vec((1, v.len()), v).map_err(text);
    let data = GaussianMixture::diagonal(&[1.0], one(data.mean)?, &one(data.var)?).map_err(text)?;
    let x = batch(&case.get("x")?)?;
    let (mut latents, mut found, mut truth) = (Vec::new(), Vec::new(), Vec::new());
    for Row { sde, t0, t1, delta } in table {
        let score = Wrong { score: data.score(&*sde), sde: &*sde, factor: 1.0 + delta };
        let mut field = Reverse::probability_flow(&*sde, score);
        let mut options = LikelihoodOptions::new(Tolerance::both(TOLERANCE), Trace::Exact);
        options.quadrature = 1e-8;
        let std = sde.sigma(t1);
        let prior = |x: &_, out: &mut [f64]| log_normal(x, std, out);
        let solved = log_likelihood(&DOP853, x.clone(), (t0, t1), &options, &mut field, prior);
        let solved = solved.map_err(text)?;
        latents.push(rows(&solved.latent.y));
        found.push(solved.log_density());
        truth.push(log_density(&data, &sde, &x, t0)?);
    }
    Ok(json!({ "x_t1": latents, "logp_model": found, "logp_true_t0": truth }))
}

/// The velocity's Jacobian by forms of pairs of axes, and Hutchinson's estimates from it.
pub(crate) fn hutchinson(case: &Case<'_>) -> Result<Value, String> {
    let (mixture, sde) = (models::mixture(case)?, models::process(case)?);
    let (t, x): (f64, Vec<f64>) = (case.get("t")?, case.get("x")?);
    let d = x.len();
    let x = batch(&vec![x])?;
    let mut field = Reverse::probability_flow(&*sde, mixture.score(&*sde));
    let at = Lanes { t: &[t], sample: &[0] };
    let mut forms = |probes: Vec<Vec<f64>>| -> Result<Vec<f64>, String> {
        let probes: Result<Vec<_>, _> = probes.into_iter().map(|u| batch(&vec![u])).collect();
        let probes = probes?;
        let (mut v, mut forms) = (x.zeros_like(), vec![vec![0.0]; probes.len()]);
        field.drift_and_forms(&x, at, &probes, &mut v, &mut forms).map_err(text)?;
        Ok(forms.concat())
    };
    let axis = |i: usize| -> Vec<f64> { (0..d).map(|j| f64::from(i == j)).collect() };
    let both = |i, j, sign: f64| axis(i).iter().zip(axis(j)).map(|(a, b)| a + sign * b).collect();
    // A gradient field has a symmetric Jacobian: J_ij = ((e_i + e_j)ᵀ J (e_i + e_j) − (e_i − e_j)ᵀ J (e_i − e_j))/4.
    let mut jacobian = vec![vec![0.0; d]; d];
    for (i, row) in jacobian.iter_mut().enumerate() {
        for (j, entry) in row.iter_mut().enumerate() {
            let found = forms(vec![both(i, j, 1.0), both(i, j, -1.0)])?;
            *entry = (found[0] - found[1]) / 4.0;
        }
    }
    let sign = |m: usize, i: usize| if m >> i & 1 == 1 { 1.0 } else { -1.0 };
    let signs = (0..1 << d).map(|m| (0..d).map(|i| sign(m, i)).collect());
    let estimates = forms(signs.collect())?;
    let (mut v, mut trace) = (x.zeros_like(), [0.0]);
    field.drift_and_divergence(&x, at, &mut v, &mut trace).map_err(text)?;
    let mean = |f: &dyn Fn(f64) -> f64| {
        estimates.iter().map(|e| f(*e)).sum::<f64>() / estimates.len() as f64
    };
    let square: f64 = jacobian.iter().flatten().map(|j| j * j).sum();
    Ok(json!({
        "jacobian": jacobian,
        "trace": trace[0],
        "var_rademacher": mean(&|e| (e - trace[0]).powi(2)),
        "var_gaussian": 2.0 * square,
        "estimates_all_16_sign_vectors": estimates,
    }))
}

/// (L2) along the straight line, which is no solution: the integral as an ODE in one number.
pub(crate) fn path_identity(case: &Case<'_>) -> Result<Value, String> {
    let (mixture, sde) = (models::mixture(case)?, models::process(case)?);
    let (t0, t1): (f64, f64) = (case.get("t0")?, case.get("t1")?);
    let (xa, xb): (Vec<f64>, Vec<f64>) = (case.get("xa")?, case.get("xb")?);
    let (xa, xb) = (batch(&vec![xa])?, batch(&vec![xb])?);
    let slope = (&xb - &xa) / (t1 - t0);
    let mut field = Reverse::probability_flow(&*sde, mixture.score(&*sde));
    let options = Adaptive::new(Tolerance::both(TOLERANCE));
    let integrand = |_: &_, at: Lanes<'_>, out: &mut Array2<f64>| {
        let x = &xa + &(&slope * (at.t[0] - t0));
        let (mut v, mut divergence, mut along) = (x.zeros_like(), [0.0], [0.0]);
        field.drift_and_divergence(&x, at, &mut v, &mut divergence)?;
        let defect = &slope - &v;
        if let Some(field) = field.field() {
            field.score.add_dot(&defect, &mut along);
        }
        out.fill(divergence[0] - along[0]);
        Ok(())
    };
    let solved = solve(&DOP853, array![[0.0]], (t0, t1), &options, integrand).map_err(text)?;
    Ok(json!({ "integral": solved.y[[0, 0]] }))
}

/// In `z = x/α` between two log-SNRs, every schedule has the same flow.
pub(crate) fn schedule_invariance(case: &Case<'_>) -> Result<Value, String> {
    let mixture = models::mixture(case)?;
    let sdes: Vec<Process> = case.get("sdes")?;
    let (from, to): (f64, f64) = (case.get("logsnr_start")?, case.get("logsnr_end")?);
    let z = batch(&case.get("z_start")?)?;
    let mut ends: Vec<Array2<f64>> = Vec::new();
    for sde in &sdes {
        let [t0, t1] = [from, to].map(|log_snr| sde.time_of_log_snr(log_snr));
        let mut field = Reverse::probability_flow(&**sde, mixture.score(&**sde));
        let options = Adaptive::new(Tolerance::both(TOLERANCE));
        let x = flow(&DOP853, &z * sde.alpha(t0), (t0, t1), &options, &mut field).map_err(text)?.y;
        ends.push(x / sde.alpha(t1));
    }
    let first = ends.first().ok_or("no SDEs")?;
    // The case has one answer for all of them: the one that is furthest from the first speaks for all.
    let off = |z: &&Array2<f64>| (*z - first).iter().fold(0.0_f64, |m, e| m.max(e.abs()));
    let worst = ends.iter().max_by(|a, b| off(a).total_cmp(&off(b))).ok_or("no SDEs")?;
    if off(&worst) > 1e-7 {
        return Err(format!("schedules disagree by {:e}", off(&worst)));
    }
    Ok(json!({ "z_end": rows(worst) }))
}
