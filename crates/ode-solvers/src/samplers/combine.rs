//! (X3) and (X5) in numbers and on states.

use super::grid::Level;
use super::weights::{MOST, Predicts, Rule, Weights, weights};
use sde_core::State;

/// The most terms of one combination: x, the values, noise.
pub(super) const TERMS: usize = MOST + 2;

/// The part of a step that is solved exactly: what is predicted, and η of (X5).
#[derive(Clone, Copy, Debug)]
pub(super) struct Linear {
    pub(super) predicts: Predicts,
    pub(super) eta: f64,
}

impl Linear {
    /// The factor of x from one level to the next.
    pub(super) fn keep(self, from: Level, to: Level) -> f64 {
        match self.predicts {
            Predicts::Data if self.eta == 0.0 => to.sigma / from.sigma,
            Predicts::Data => {
                let h = to.log_ratio - from.log_ratio;
                to.sigma / from.sigma * (-self.eta * self.eta * h).exp()
            }
            Predicts::Noise => to.alpha / from.alpha,
        }
    }

    /// The deviation of the noise from one level to the next.
    pub(super) fn std(self, from: Level, to: Level) -> f64 {
        let (h, eta) = (to.log_ratio - from.log_ratio, self.eta);
        match self.predicts {
            _ if eta == 0.0 => 0.0,
            _ if h == f64::INFINITY => to.sigma,
            Predicts::Data => to.sigma * (-(-2.0 * eta * eta * h).exp_m1()).sqrt(),
            Predicts::Noise => to.sigma * eta * (2.0 * h).exp_m1().sqrt(),
        }
    }

    /// The coefficients of the n values at the levels `node(j)`, the first of which is `from`. The values are D or s:
    /// `−σ_to w_j ε_j` is `σ_to σ_j w_j s_j`.
    pub(super) fn coefficients(
        self,
        rule: Rule,
        (from, to): (Level, Level),
        n: usize,
        node: impl Fn(usize) -> Level,
    ) -> Weights {
        let h = to.log_ratio - from.log_ratio;
        let mut r = [0.0; MOST];
        for (j, r) in r.iter_mut().enumerate().take(n) {
            *r = (node(j).log_ratio - from.log_ratio) / h;
        }
        let more = 1.0 + self.eta * self.eta;
        let length = if self.predicts == Predicts::Data { more * h } else { h };
        let mut w = weights(rule, self.predicts, length, &r[..n]);
        for (j, w) in w.iter_mut().enumerate().take(n) {
            *w *= match self.predicts {
                Predicts::Data => to.alpha,
                Predicts::Noise => more * to.sigma * node(j).sigma,
            };
        }
        w
    }
}

/// `out = Σ_j c_j x_j` over the n terms `(c_j, x_j)`, 1 ≤ n ≤ `TERMS`, through one coefficient for each row.
pub(crate) fn combine<'a, X: State + 'a>(
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
