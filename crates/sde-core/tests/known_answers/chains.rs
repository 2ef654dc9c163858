//! Chains: weightings of signal and noise, posteriors of DDPM, the limit of many steps.

use crate::harness::Case;
use crate::models;
use sde_core::Error;
use sde_core::chain::{BetaSchedule, DdpmChain, DdpmStep, NoiseRamp, Weighting, Weights};
use serde_json::{Value, json};

/// For `map_err`.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` asks for")]
fn text(error: Error) -> String {
    error.to_string()
}

pub(crate) fn ddpm_posterior(case: &Case<'_>) -> Result<Value, String> {
    let schedule: BetaSchedule = case.get("schedule")?;
    let (t, x0, xt): (Vec<usize>, f64, f64) = (case.get("t")?, case.get("x0")?, case.get("xt")?);
    let chain = schedule.chain().map_err(text)?;
    let steps: Vec<_> = t.iter().map(|&t| chain.step(t)).collect::<Result<_, _>>().map_err(text)?;
    let posteriors: Vec<_> = steps.iter().map(DdpmStep::posterior).collect();
    let step = |f: fn(&DdpmStep) -> f64| steps.iter().map(f).collect::<Vec<_>>();
    Ok(json!({
        "beta": step(|s| s.beta),
        "alpha": step(DdpmStep::alpha),
        "abar": step(DdpmStep::abar),
        "one_minus_abar": step(DdpmStep::one_minus_abar),
        "snr": step(DdpmStep::snr),
        "post_coef_x0": posteriors.iter().map(|p| p.coef_x0).collect::<Vec<_>>(),
        "post_coef_xt": posteriors.iter().map(|p| p.coef_xt).collect::<Vec<_>>(),
        "post_coef_sum": posteriors.iter().map(|p| p.coef_x0 + p.coef_xt).collect::<Vec<_>>(),
        "post_var": posteriors.iter().map(|p| p.var).collect::<Vec<_>>(),
        "post_mean": posteriors.iter().map(|p| p.mean(x0, xt)).collect::<Vec<_>>(),
    }))
}

pub(crate) fn noise_weights(case: &Case<'_>) -> Result<Value, String> {
    let (weighting, b): (Weighting, NoiseRamp) = (case.get("weighting")?, case.get("b")?);
    let steps: Vec<usize> = case.get("steps_1based")?;
    let chain = Weights::of(weighting, &b).map_err(text)?;
    let pick = |values: &[f64]| -> Result<Vec<f64>, String> {
        let at = |&t| values.get(t).copied().ok_or_else(|| format!("the chain has no step {t}"));
        steps.iter().map(at).collect()
    };
    Ok(json!({
        "noise_coef": pick(chain.noise())?,
        "log_x0_coef": pick(chain.log_signal())?,
        "converges_to_one_within_1e_3": chain.verdict().converges_to_one_within_1e_3,
    }))
}

pub(crate) fn noise_weights_constant(case: &Case<'_>) -> Result<Value, String> {
    #[derive(serde::Deserialize)]
    struct Row {
        weighting: Weighting,
        b: f64,
    }
    let (rows, steps): (Vec<Row>, usize) = (case.get("rows")?, case.get("steps")?);
    let verdicts: Vec<_> = rows
        .iter()
        .map(|row| Weights::of(row.weighting, &NoiseRamp::Constant(row.b, steps)))
        .map(|chain| chain.map(|chain| chain.verdict()))
        .collect::<Result<_, _>>()
        .map_err(text)?;
    Ok(json!({
        "noise_coef_final": verdicts.iter().map(|v| v.noise_coef).collect::<Vec<_>>(),
        "fixed_point": verdicts.iter().map(|v| v.fixed_point).collect::<Vec<_>>(),
        "log_x0_coef_final": verdicts.iter().map(|v| v.log_x0_coef).collect::<Vec<_>>(),
    }))
}

pub(crate) fn ddpm_sde_limit(case: &Case<'_>) -> Result<Value, String> {
    let (sde, counts): (_, Vec<usize>) = (models::process(case)?, case.get("N")?);
    let alpha2 = sde.alpha(sde.end()).powi(2);
    let abar: Vec<f64> = counts
        .iter()
        .map(|&n| Ok(DdpmChain::euler_of_sde(&*sde, n)?.step(n)?.abar()))
        .collect::<Result<_, _>>()
        .map_err(text)?;
    Ok(json!({
        "abs_err_vs_sde": abar.iter().map(|a| (a - alpha2).abs()).collect::<Vec<_>>(),
        "abar_T": abar,
        "alpha2_sde": alpha2,
    }))
}
