//! (X3) in numbers and on states.

use super::grid::Level;
use super::weights::{MOST, Predicts, Rule, Weights, weights, weights_in_time};
use sde_core::{Sde, State};

/// The most terms of one combination: x, the values, noise.
pub(super) const TERMS: usize = MOST + 2;

/// A and the coefficients of the n values at the levels `node(j)`, the first of which is `from`. The values are D or s:
/// `−σ_to w_j ε_j` is `σ_to σ_j w_j s_j`.
pub(super) fn coefficients(
    sde: &dyn Sde,
    (predicts, rule): (Predicts, Rule),
    (from, to): (Level, Level),
    n: usize,
    node: impl Fn(usize) -> Level,
) -> (f64, Weights) {
    let h = to.log_ratio - from.log_ratio;
    let mut r = [0.0; MOST];
    let part = |t: f64| (t - from.t) / (to.t - from.t);
    for (j, r) in r.iter_mut().enumerate().take(n) {
        *r = match rule {
            Rule::InTime => part(node(j).t),
            _ => (node(j).log_ratio - from.log_ratio) / h,
        };
    }
    let mut w = match rule {
        Rule::InTime => weights_in_time(predicts, h, &r[..n], |theta| {
            part(sde.time_of_log_snr(2.0 * (from.log_ratio + theta * h)))
        }),
        _ => weights(rule, predicts, h, &r[..n]),
    };
    for (j, w) in w.iter_mut().enumerate().take(n) {
        *w *= match predicts {
            Predicts::Data => to.alpha,
            Predicts::Noise => to.sigma * node(j).sigma,
        };
    }
    let keep = match predicts {
        Predicts::Data => to.sigma / from.sigma,
        Predicts::Noise => to.alpha / from.alpha,
    };
    (keep, w)
}

/// `out = Σ_j c_j x_j` over the n terms `(c_j, x_j)`, 1 ≤ n ≤ `TERMS`, through one coefficient for each row.
pub(super) fn combine<'a, X: State + 'a>(
    out: &mut X,
    rows: &mut [Vec<f64>],
    n: usize,
    term: impl Fn(usize) -> (f64, &'a X),
) {
    for (j, row) in rows.iter_mut().enumerate().take(n) {
        row.fill(term(j).0);
    }
    let rows = &*rows;
    let terms: [(&[f64], &X); TERMS] = std::array::from_fn(|j| {
        let j = j.min(n - 1); // those after n are not used
        (&rows[j][..], term(j).1)
    });
    out.combine(&terms[..n]);
}
