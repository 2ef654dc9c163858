//! The known answers that `score-match` owns; `KNOWN_ANSWERS=<file>` runs another file of the same format.

#[path = "../../../fixtures/harness.rs"]
mod harness;
#[path = "../../../fixtures/models.rs"]
#[expect(dead_code, reason = "these kinds name processes in rows")]
mod models;

use harness::Case;
use score_match::elbo::{self, ChainElbo, ReverseVariance};
use score_match::ideal::{self, ScoreTarget};
use sde_core::chain::{BetaSchedule, ContinuousChain, DdpmChain, DdpmStep};
use sde_core::sde::Edm;
use sde_core::{Error, GaussianMixture, Prediction, Process};
use serde_json::{Map, Value, json};
use std::process::ExitCode;

/// Kinds not built yet; this list may only shrink, and it is empty.
const PENDING: [&str; 0] = [];

fn main() -> ExitCode {
    harness::run(
        "score-match",
        &[
            ("elbo_three_way", elbo_three_way),
            ("elbo_ddpm", elbo_ddpm),
            ("elbo_per_point", elbo_per_point),
            ("score_target_offset", score_target_offset),
            ("vlb_continuous", vlb_continuous),
        ],
        &PENDING,
    )
}

/// For `map_err`.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` asks for")]
fn text(error: Error) -> String {
    error.to_string()
}

fn chain(case: &Case<'_>) -> Result<DdpmChain, String> {
    case.get::<BetaSchedule>("schedule")?.chain().map_err(text)
}

/// `−E log p_data`.
fn entropy(data: &GaussianMixture) -> Result<f64, Error> {
    data.expect(&Edm::new(1.0)?, 0.0, |p| -p.values.log_density)
}

fn elbo_three_way(case: &Case<'_>) -> Result<Value, String> {
    let (t, chain): (Vec<usize>, _) = (case.get("t")?, chain(case)?);
    let (xt, x0): (f64, [f64; 2]) = (case.get("xt")?, [case.get("x0")?, case.get("x0_hat")?]);
    let each = |f: &dyn Fn(&DdpmStep) -> Result<f64, Error>| -> Result<Vec<f64>, String> {
        t.iter().map(|&t| f(&chain.step(t)?)).collect::<Result<_, _>>().map_err(text)
    };
    let mut out = Map::new();
    let names =
        [("x0", Prediction::X0), ("eps", Prediction::Epsilon), ("score", Prediction::Score)];
    for (name, p) in names {
        out.insert(format!("w_{name}"), json!(each(&|step| elbo::term_weight(step, p))?));
        out.insert(format!("loss_{name}"), json!(each(&|step| elbo::term(step, p, xt, x0))?));
    }
    out.insert("kl".into(), json!(each(&|step| elbo::term_by_means(step, xt, x0))?));
    Ok(out.into())
}

fn elbo_ddpm(case: &Case<'_>) -> Result<Value, String> {
    let (data, chain) = (models::mixture(case)?, chain(case)?);
    let shown: Vec<usize> = case.get("show_t")?;
    let mmse = ideal::errors(&data, &chain).map_err(text)?;
    let entropy = entropy(&data).map_err(text)?;
    let mut out = json!({
        "neg_entropy_bound_target": entropy,
        "mmse": shown.iter().map(|t| mmse[t - 1]).collect::<Vec<_>>(),
    });
    let choices = [
        ("small", ReverseVariance::Small),
        ("large", ReverseVariance::Large),
        ("optimal", ReverseVariance::Optimal { mmse: &mmse }),
    ];
    for (name, choice) in choices {
        let elbo =
            ChainElbo::of_errors(&chain, choice, &mmse, data.second_moment(), 1).map_err(text)?;
        let terms: Result<Vec<_>, _> = shown.iter().map(|&t| elbo.step(t)).collect();
        let bound = elbo.negative_log_likelihood();
        out["L_T"] = json!(elbo.prior);
        out[format!("sum_L_{name}")] = json!(elbo.sum());
        out[format!("L_0_{name}")] = json!(elbo.reconstruction);
        out[format!("L_terms_{name}")] = json!(terms.map_err(text)?);
        out[format!("nll_bound_{name}")] = json!(bound);
        out[format!("gap_{name}")] = json!(bound - entropy);
    }
    Ok(out)
}

fn elbo_per_point(case: &Case<'_>) -> Result<Value, String> {
    let (data, chain) = (models::mixture(case)?, chain(case)?);
    let points: Vec<f64> = case.get("x0")?;
    // The format says in words which variance a case takes.
    let large = case.mentions_first("sigma_t^2=beta_t", "sigma_t^2=btilde_t").unwrap_or(false);
    let variance = if large { ReverseVariance::Large } else { ReverseVariance::Small };
    let clean = Edm::new(1.0).map_err(text)?;
    let of = |&x0: &f64| -> Result<(f64, f64), Error> {
        let errors = ideal::errors_at(&data, &chain, x0)?;
        let elbo = ChainElbo::of_errors(&chain, variance, &errors, x0 * x0, 1)?;
        Ok((elbo.negative_log_likelihood(), -data.score(&clean).log_density(&[x0], 0.0)?))
    };
    let (bounds, exact): (Vec<_>, Vec<_>) =
        points.iter().map(of).collect::<Result<Vec<_>, _>>().map_err(text)?.into_iter().unzip();
    Ok(json!({ "nll_bound": bounds, "neg_logp_data": exact }))
}

fn score_target_offset(case: &Case<'_>) -> Result<Value, String> {
    let (data, chain, shown) = (models::mixture(case)?, chain(case)?, case.get::<Vec<usize>>("t")?);
    let sde = ContinuousChain::new(&chain).map_err(text)?;
    let loss = |step: &DdpmStep, target| -> Result<f64, Error> {
        let (t, k) = (sde.time_of_label(step.t as f64 - 1.0), elbo::level(step));
        // The ideal model's score is the one that its D implies.
        let loss = ideal::score_loss(&data, &sde, t, target, |p| {
            Prediction::X0.into(Prediction::Score, k).map_or(f64::NAN, |c| c.apply(p.x, p.denoised))
        })?;
        Ok(elbo::term_weight(step, Prediction::Score)? * loss)
    };
    let losses = |target| -> Result<Vec<f64>, String> {
        shown.iter().map(|&t| loss(&chain.step(t)?, target)).collect::<Result<_, _>>().map_err(text)
    };
    let all = chain.iter().skip(1).map(|step| loss(&step, ScoreTarget::Conditional));
    Ok(json!({
        "loss_conditional_target": losses(ScoreTarget::Conditional)?,
        "loss_marginal_target": losses(ScoreTarget::Marginal)?,
        "sum_over_t2_to_T_conditional": all.sum::<Result<f64, _>>().map_err(text)?,
    }))
}

fn vlb_continuous(case: &Case<'_>) -> Result<Value, String> {
    #[derive(serde::Deserialize)]
    struct Row {
        sde: Process,
        t0: f64,
        t1: f64,
    }
    let (data, rows) = (models::mixture(case)?, case.get::<Vec<Row>>("rows")?);
    let loss = |row: &Row| ideal::diffusion_loss(&data, &*row.sde, (row.t0, row.t1));
    let losses: Vec<_> = rows.iter().map(loss).collect::<Result<_, _>>().map_err(text)?;
    Ok(json!({ "diffusion_loss": losses }))
}
