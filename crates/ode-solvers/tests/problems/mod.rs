//! The test problems of the solver cases as right-hand sides on a batch of one.

use ndarray::Array2;
use ode_solvers::{Error, Result};
use sde_core::{GaussianMixture, Lanes, Process, Reverse};
use serde_json::{Value, json};

/// A right-hand side of one sample, `f(t, y, dy)`.
pub(crate) type Rhs<'a> = Box<dyn FnMut(f64, &[f64], &mut [f64]) + 'a>;

/// The exact score of the mixture problems: the mixture and the process it is noised by.
pub(crate) struct MixtureProblem {
    pub(crate) mixture: GaussianMixture,
    pub(crate) process: Process,
}

/// The numbers of a parameter, nested arrays flattened.
fn numbers(params: &Value, key: &str) -> Vec<f64> {
    fn flatten(value: &Value, out: &mut Vec<f64>) {
        match value {
            Value::Array(items) => items.iter().for_each(|v| flatten(v, out)),
            v => out.extend(v.as_f64()),
        }
    }
    let mut out = Vec::new();
    flatten(&params[key], &mut out);
    out
}

impl MixtureProblem {
    /// The problem of that name, if it is one of the probability-flow problems.
    pub(crate) fn find(name: &str, params: &Value) -> Option<Self> {
        let beta = || json!({"beta_min": params["beta_min"], "beta_max": params["beta_max"]});
        let mut process = match name {
            "vp_gauss_pf" | "vp_gmm_pf" | "vp_gmm_pf_logp" => beta(),
            "ve_gmm_pf" => {
                json!({"sigma_min": params["sigma_min"], "sigma_max": params["sigma_max"]})
            }
            "edm_gmm_pf" => json!({}),
            _ => return None,
        };
        let kind = name.split('_').next().unwrap();
        process["name"] = json!(if kind == "vp" { "vp-linear" } else { kind });
        let mixture = if name == "vp_gauss_pf" {
            let square = |s: f64| s * s;
            let variances = numbers(params, "s").into_iter().map(square).collect();
            GaussianMixture::diagonal(
                &[1.0],
                Array2::from_shape_vec((1, 3), numbers(params, "mu")).unwrap(),
                &Array2::from_shape_vec((1, 3), variances).unwrap(),
            )
        } else {
            let weights = numbers(params, "weights");
            let means = Array2::from_shape_vec((weights.len(), 2), numbers(params, "means"));
            let variances: Vec<f64> = numbers(params, "stds").into_iter().map(|s| s * s).collect();
            GaussianMixture::isotropic(&weights, means.unwrap(), &variances)
        };
        let process = serde_json::from_value(process).unwrap();
        Some(Self { mixture: mixture.unwrap(), process })
    }

    /// The velocity of the probability-flow ODE; with a third component the integral of its divergence.
    fn rhs(&self, with_divergence: bool) -> Rhs<'_> {
        let score = self.mixture.score(&*self.process);
        let mut flow = Reverse::probability_flow(&*self.process, score);
        let d = self.mixture.dim();
        let (mut x, mut v) = (Array2::zeros((1, d)), Array2::zeros((1, d)));
        Box::new(move |t, y, dy| {
            x.as_slice_mut().unwrap().copy_from_slice(&y[..d]);
            let at = Lanes { t: &[t], sample: &[0] };
            if with_divergence {
                flow.drift_and_divergence(&x, at, &mut v, &mut dy[d..]).unwrap();
            } else {
                flow.drift(&x, at, &mut v).unwrap();
            }
            dy[..d].copy_from_slice(v.as_slice().unwrap());
        })
    }
}

/// The right-hand side of a named problem, or the reason why there is none.
pub(crate) fn rhs<'a>(
    name: &str,
    params: &Value,
    mixture: Option<&'a MixtureProblem>,
) -> std::result::Result<Rhs<'a>, String> {
    let p = |key: &str| params[key].as_f64().ok_or(format!("no parameter `{key}`"));
    if let Some(mixture) = mixture {
        return Ok(mixture.rhs(name.ends_with("_logp")));
    }
    Ok(match name {
        "osc" => Box::new(|_, y, dy| (dy[0], dy[1]) = (y[1], -y[0])),
        "lotka_volterra" => {
            let (a, b, c, d) = (p("a")?, p("b")?, p("c")?, p("d")?);
            Box::new(move |_, y, dy| {
                dy[0] = a * y[0] - b * y[0] * y[1];
                dy[1] = -c * y[1] + d * y[0] * y[1];
            })
        }
        "rational" => Box::new(|t, y, dy| {
            dy[0] = y[1] / t;
            dy[1] = y[1] * (y[0] + 2.0 * y[1] - 1.0) / (t * (y[0] - 1.0));
        }),
        "brusselator" => Box::new(|_, y, dy| {
            dy[0] = 1.0 + y[0] * y[0] * y[1] - 4.0 * y[0];
            dy[1] = 3.0 * y[0] - y[0] * y[0] * y[1];
        }),
        "sine_nonauto" => Box::new(|t, y, dy| {
            dy[0] = 2.0 * y[0] / t + t.powi(4) * (2.0 * t).sin() - t * t + 4.0 * t.powi(3);
        }),
        "van_der_pol" => {
            let mu = p("mu")?;
            Box::new(move |_, y, dy| {
                (dy[0], dy[1]) = (y[1], mu * (1.0 - y[0] * y[0]) * y[1] - y[0]);
            })
        }
        "arenstorf" => arenstorf(p("mu")?),
        "zero_rhs" => Box::new(|_, _, dy| dy.fill(0.0)),
        "blow_up" => Box::new(|_, y, dy| dy[0] = y[0] * y[0]),
        "nan_wall" => Box::new(|_, y, dy| dy[0] = if y[0] >= 0.2 { -y[0] } else { f64::NAN }),
        "y_cos_t" => Box::new(|t, y, dy| dy[0] = y[0] * t.cos()),
        other => return Err(format!("unknown problem `{other}`")),
    })
}

/// The restricted three-body problem.
fn arenstorf(mu: f64) -> Rhs<'static> {
    Box::new(move |_, y, dy| {
        let [x, py, vx, vy] = [y[0], y[1], y[2], y[3]];
        let d1 = ((x + mu).powi(2) + py * py).powf(1.5);
        let d2 = ((x - 1.0 + mu).powi(2) + py * py).powf(1.5);
        dy[0] = vx;
        dy[1] = vy;
        dy[2] = x + 2.0 * vy - (1.0 - mu) * (x + mu) / d1 - mu * (x - 1.0 + mu) / d2;
        dy[3] = py - 2.0 * vx - (1.0 - mu) * py / d1 - mu * py / d2;
    })
}

/// Runs a one-sample right-hand side on a batch of one and fails if it is ever called outside `[lo, hi]`.
pub(crate) fn on_batch(
    mut f: Rhs<'_>,
    (t0, t1): (f64, f64),
) -> impl FnMut(&Array2<f64>, Lanes<'_>, &mut Array2<f64>) -> sde_core::Result<()> {
    move |y, at, dy| {
        let (lo, hi) = (t0.min(t1), t0.max(t1));
        assert!((lo..=hi).contains(&at.t[0]), "f called at {} outside [{lo}, {hi}]", at.t[0]);
        f(at.t[0], y.as_slice().unwrap(), dy.as_slice_mut().unwrap());
        Ok(())
    }
}

/// One row as a batch.
pub(crate) fn batch_of_one(y: &[f64]) -> Array2<f64> {
    Array2::from_shape_fn((1, y.len()), |(_, j)| y[j])
}

/// The message of a solver error.
pub(crate) fn message<T>(result: Result<T>) -> std::result::Result<T, String> {
    result.map_err(|e: Error| e.to_string())
}
