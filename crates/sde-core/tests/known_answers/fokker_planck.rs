//! Terms of the Fokker–Planck equation, of its score form, and moments along the family.

use crate::harness::Case;
use crate::models;
use sde_core::fokker_planck::{Sides, Terms, mixture};
use sde_core::moments::{LinearFamily, Moments};
use sde_core::{GaussianMixture, Process};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) fn fokker_planck(case: &Case<'_>) -> Result<Value, String> {
    let (model, sde) = (models::mixture(case)?, models::process(case)?);
    let points: Vec<[f64; 2]> = case.get("x_t")?;
    let terms = points.iter().map(|&[x, t]| mixture::terms(&model, &*sde, &[x], t));
    let terms = terms.collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    let map = |f: &dyn Fn(&Terms) -> f64| terms.iter().map(f).collect::<Vec<_>>();
    Ok(json!({
        "p": map(&|a| a.p),
        "dp_dt": map(&|a| a.dp_dt),
        "drift_term": map(&|a| a.drift),
        "diffusion_term": map(&|a| a.diffusion),
        "residual": map(&|a| a.residual()),
        "score": map(&|a| a.score[0]),
        "dscore_dt": map(&|a| a.dscore_dt[0]),
    }))
}

pub(crate) fn score_fpe(case: &Case<'_>) -> Result<Value, String> {
    let (model, sde) = (models::mixture(case)?, models::process(case)?);
    let points: Vec<[f64; 2]> = case.get("x_t")?;
    let (scale, shift): (f64, f64) = (case.get("scale")?, case.get("shift")?);
    let map = |field: (f64, f64), f: &dyn Fn(&Sides) -> f64| -> Result<Vec<f64>, String> {
        let side = |&[x, t]: &[f64; 2]| mixture::score_equation(&model, &*sde, &[x], t, field);
        points.iter().map(|at| side(at).map(|s| f(&s)).map_err(|e| e.to_string())).collect()
    };
    Ok(json!({
        "lhs_true": map((1.0, 0.0), &|s| s.rate[0])?,
        "rhs_true": map((1.0, 0.0), &|s| s.gradient[0])?,
        "residual_scaled": map((scale, 0.0), &|s| s.residual()[0])?,
        "residual_shifted": map((1.0, shift), &|s| s.residual()[0])?,
    }))
}

/// One process, its times, and the end T of time where it is not the process's own.
#[derive(Deserialize)]
struct Row {
    sde: Process,
    #[serde(rename = "T")]
    end: Option<f64>,
    t: Vec<f64>,
}

/// The law that the family is followed from: a marginal or the prior at a time.
enum Start {
    Marginal(f64),
    Prior(f64),
}

/// Shapes: `rows` are nested \[row\]\[eta\]\[t\], one `sde` is nested \[eta\]\[t\]; in several dimensions and with the
/// exact score it is \[t\], because every eta must give the same. Where the family starts is said in words only: backwards
/// from the prior or from `p_T`, the former for `rows` and the latter with a `delta` unless the words say otherwise, and
/// from `p_0` forwards else.
pub(crate) fn sigma_family_moments(case: &Case<'_>) -> Result<Value, String> {
    let model = models::mixture(case)?;
    let delta: Option<f64> = optional(case, "delta")?;
    let rows: Option<Vec<Row>> = optional(case, "rows")?;
    let from_prior = case
        .mentions_first("PRIOR", "p_T")
        .or(case.mentions_first("prior", "p_T"))
        .unwrap_or(rows.is_some());
    let backwards = |end: f64| if from_prior { Start::Prior(end) } else { Start::Marginal(end) };
    if let Some(rows) = rows {
        let start = |row: &Row| backwards(row.end.unwrap_or(row.sde.end()));
        let laws = rows.iter().map(|row| family(case, &model, row, delta, &start(row)));
        let laws: Vec<_> = laws.collect::<Result<_, _>>()?;
        let each = |leaf: Leaf| laws.iter().map(|(members, _)| by_eta(members, leaf)).collect();
        let exact = |leaf: Leaf| laws.iter().map(|(_, exact)| by_time(exact, leaf)).collect();
        return Ok(fields(model.dim(), &each, &exact));
    }
    let row = Row { sde: models::process(case)?, end: optional(case, "T")?, t: case.get("t")? };
    let start = match delta {
        None => Start::Marginal(0.0),
        Some(_) => backwards(row.end.unwrap_or(row.sde.end())),
    };
    let (members, exact) = family(case, &model, &row, delta, &start)?;
    if model.dim() > 1 && delta.is_none() {
        same_for_every_eta(&members)?;
        return Ok(fields(model.dim(), &|leaf| by_time(&members[0], leaf), &|_| Value::Null));
    }
    let exact = |leaf: Leaf| by_time(&exact, leaf);
    Ok(fields(model.dim(), &|leaf| by_eta(&members, leaf), &exact))
}

/// The laws of each member at each time, and the marginals.
type Laws = (Vec<Vec<Moments>>, Vec<Moments>);
type Leaf<'a> = &'a dyn Fn(&Moments) -> Value;

fn family(
    case: &Case<'_>,
    model: &GaussianMixture,
    row: &Row,
    delta: Option<f64>,
    start: &Start,
) -> Result<Laws, String> {
    let eta: Vec<f64> = case.get("eta")?;
    let member = |&eta: &f64| -> sde_core::Result<(Vec<Moments>, Vec<Moments>)> {
        let family = LinearFamily::new(model, &*row.sde, eta, delta.unwrap_or(0.0))?;
        let (from, law) = match *start {
            Start::Marginal(t) => (t, family.marginal(t)),
            Start::Prior(t) => (t, family.prior(t)),
        };
        let laws = row.t.iter().map(|&t| family.carry(&law, from, t)).collect::<Result<_, _>>()?;
        Ok((laws, row.t.iter().map(|&t| family.marginal(t)).collect()))
    };
    let all = eta.iter().map(member).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    let exact = all.first().ok_or("no eta")?.1.clone();
    Ok((all.into_iter().map(|(laws, _)| laws).collect(), exact))
}

/// The members must agree to rounding before one of them may stand for all.
fn same_for_every_eta(members: &[Vec<Moments>]) -> Result<(), String> {
    for (a, b) in members.iter().flat_map(|m| m.iter().zip(&members[0])) {
        let scale = b.covariance.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
        let off = (&a.covariance - &b.covariance)
            .iter()
            .chain(&(&a.mean - &b.mean))
            .fold(0.0_f64, |m, v| m.max(v.abs()));
        if off > 1e-12 * scale {
            return Err(format!("members of the family differ by {off:e}"));
        }
    }
    Ok(())
}

fn by_time(laws: &[Moments], leaf: Leaf<'_>) -> Value {
    laws.iter().map(leaf).collect()
}

fn by_eta(members: &[Vec<Moments>], leaf: Leaf<'_>) -> Value {
    members.iter().map(|laws| by_time(laws, leaf)).collect()
}

/// Scalars in one dimension, vectors and matrices in more.
fn fields(d: usize, each: &dyn Fn(Leaf<'_>) -> Value, exact: &dyn Fn(Leaf<'_>) -> Value) -> Value {
    if d == 1 {
        let (mean, var): (Leaf<'_>, Leaf<'_>) =
            (&|m| json!(m.mean[0]), &|m| json!(m.covariance[[0, 0]]));
        return json!({
            "mean": each(mean),
            "var": each(var),
            "forward_mean": exact(mean),
            "forward_var": exact(var),
        });
    }
    let rows = |m: &Moments| m.covariance.outer_iter().map(|row| json!(row.to_vec())).collect();
    let (mean, cov): (Leaf<'_>, Leaf<'_>) = (&|m| json!(m.mean.to_vec()), &rows);
    json!({
        "mean": each(mean),
        "cov": each(cov),
        "forward_mean": exact(mean),
        "forward_cov": exact(cov),
    })
}

/// An input that a case may leave out.
fn optional<T: DeserializeOwned>(case: &Case<'_>, field: &str) -> Result<Option<T>, String> {
    match case.get(field) {
        Ok(value) => Ok(Some(value)),
        Err(e) if e == format!("no input `{field}`") => Ok(None),
        Err(e) => Err(e),
    }
}
