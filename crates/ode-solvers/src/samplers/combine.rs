//! (X3) and (X5) in numbers and on states.

use super::grid::Level;
use super::weights::{MOST, Predicts, Rule, Weights, weights, weights_in_time};
use sde_core::{Sde, State};

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
        (sde, rule): (&dyn Sde, Rule),
        (from, to): (Level, Level),
        n: usize,
        node: impl Fn(usize) -> Level,
    ) -> Weights {
        let h = to.log_ratio - from.log_ratio;
        let mut r = [0.0; MOST];
        let part = |t: f64| (t - from.t) / (to.t - from.t);
        for (j, r) in r.iter_mut().enumerate().take(n) {
            *r = match rule {
                Rule::InTime => part(node(j).t),
                _ => (node(j).log_ratio - from.log_ratio) / h,
            };
        }
        let more = 1.0 + self.eta * self.eta;
        let length = if self.predicts == Predicts::Data { more * h } else { h };
        let mut w = match rule {
            Rule::InTime => weights_in_time(self.predicts, length, &r[..n], |theta| {
                part(sde.time_of_log_snr(2.0 * (from.log_ratio + theta * h)))
            }),
            _ => weights(rule, self.predicts, length, &r[..n]),
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sde_core::VpLinear;

    proptest! {
        /// (X5), (X6) Two steps of the part that is solved exactly are one, in law: factors multiply, variances carry on.
        /// From the law of the noise alone they lead to it: `A² σ² + c² = σ_to²` in terms of D.
        #[test]
        fn parts_of_a_step_compose(
            eta in 0.0..3.0_f64, of_noise: bool, mut t in prop::array::uniform3(1e-3..1.0_f64),
        ) {
            t.sort_by(f64::total_cmp);
            let [to, middle, from] = t.map(|t| Level::of(&VpLinear::default(), t));
            let predicts = if of_noise { Predicts::Noise } else { Predicts::Data };
            let linear = Linear { predicts, eta };
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs().max(1e-9);
            let keep = linear.keep(from, middle) * linear.keep(middle, to);
            prop_assert!(close(keep, linear.keep(from, to)));
            let carried = linear.keep(middle, to) * linear.std(from, middle);
            let std = carried.hypot(linear.std(middle, to));
            prop_assert!(close(std, linear.std(from, to)), "{std} {}", linear.std(from, to));
            if !of_noise {
                let law = (linear.keep(from, to) * from.sigma).hypot(linear.std(from, to));
                prop_assert!(eta == 0.0 || close(law, to.sigma), "{law} {}", to.sigma);
            }
        }
    }
}
