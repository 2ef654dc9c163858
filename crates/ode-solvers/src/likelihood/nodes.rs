//! Five Gauss–Legendre nodes in a step or in a panel of it, and the method's interpolant there.
//!
//! All lanes have the same nodes θ in units of their own steps, so the interpolant (O4) and its derivative are one combination
//! of stages each, with weights that depend on the method alone:
//!
//! ```text
//! x̂(t + θh) = y + h Σ_s β_s(θ) k_s,     x̂'(t + θh) = Σ_s β'_s(θ) k_s.
//! ```
//!
//! The rule integrates polynomials of degree 9 exactly. What it leaves is judged by the integrand's Legendre coefficients
//! `c_1 … c_4` in the panel, which the nodes determine: those around degree 10, which the rule misses first, are about
//! `√(c_3² + c_4²) ρ³` where the coefficients decay by ρ over two degrees. The estimate takes one ρ less, to be safe:
//!
//! ```text
//! e_quadrature = Σ_panels h √(c_3² + c_4²) ρ²,     ρ² = min(1, (c_3² + c_4²)/(c_1² + c_2²)).           (L5)
//! ```

use crate::tableau::Tableau;
use sde_core::quadrature::gauss_legendre;
use std::sync::LazyLock;

/// Number of nodes in a step.
pub(super) const NODES: usize = 5;

/// One node: θ, its weight, and the weights of the stages in x̂ and x̂'.
pub(super) struct Node {
    pub(super) theta: f64,
    pub(super) weight: f64,
    pub(super) value: Vec<f64>,
    pub(super) slope: Vec<f64>,
}

/// Nodes and weights on [−1, 1], from the left.
static RULE: LazyLock<[(f64, f64); NODES]> = LazyLock::new(|| {
    let rule = gauss_legendre(NODES as u32);
    std::array::from_fn(|j| rule[NODES - 1 - j])
});

/// The nodes of a panel `a < θ < b` of a step of this method.
pub(super) fn nodes(method: &Tableau, (a, b): (f64, f64)) -> [Node; NODES] {
    let (middle, half) = (0.5 * (a + b), 0.5 * (b - a));
    RULE.map(|(x, w)| {
        let theta = middle + half * x;
        let (value, slope) = stage_weights(method, theta);
        Node { theta, weight: half * w, value, slope }
    })
}

/// `β_s(θ)` and `β'_s(θ)` by (O4).
fn stage_weights(method: &Tableau, theta: f64) -> (Vec<f64>, Vec<f64>) {
    let mut sums = (vec![0.0; method.dense.len()], vec![0.0; method.dense.len()]);
    let (mut power, mut slope) = (1.0, 0.0);
    for p in 0..method.dense.first().map_or(0, |row| row.len()) {
        let (factor, d_factor) =
            if method.nested && p % 2 == 1 { (1.0 - theta, -1.0) } else { (theta, 1.0) };
        (power, slope) = (power * factor, slope * factor + power * d_factor);
        for ((value, d_value), row) in sums.0.iter_mut().zip(&mut sums.1).zip(method.dense) {
            *value += power * row[p];
            *d_value += slope * row[p];
        }
    }
    sums
}

/// (L5) for one panel of unit length, from the integrand at the nodes.
pub(super) fn quadrature_error(q: [f64; NODES]) -> f64 {
    let mut c = [0.0; NODES];
    for ((x, w), q) in RULE.into_iter().zip(q) {
        let (mut last, mut legendre) = (0.0, 1.0);
        for (k, c) in (0_u32..).zip(&mut c) {
            let k = f64::from(k);
            *c += (k + 0.5) * w * legendre * q;
            (last, legendre) = (legendre, ((2.0 * k + 1.0) * x * legendre - k * last) / (k + 1.0));
        }
    }
    let (low, high) = (c[1].hypot(c[2]), c[3].hypot(c[4]));
    let decay = if high < low { high / low } else { 1.0 };
    high * decay * decay
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tableau::{DOP853, DOPRI5, RK23, RK45, TSIT5, VERN7};

    #[test]
    fn the_rule_is_exact_to_degree_9() {
        for degree in 0..10 {
            let sum: f64 = RULE.iter().map(|(x, w)| w * x.powi(degree)).sum();
            let want = if degree % 2 == 0 { 2.0 / f64::from(degree + 1) } else { 0.0 };
            assert!((sum - want).abs() < 1e-14, "{degree}: {sum}");
        }
    }

    /// Derivatives by differences of the values; at θ = 1 the interpolant is the step.
    #[test]
    fn slopes_belong_to_values() {
        for method in [&RK23, &RK45, &DOPRI5, &TSIT5, &VERN7, &DOP853] {
            let h = 1e-5;
            for node in nodes(method, (0.0, 1.0)) {
                let [low, high] = [-h, h].map(|h| stage_weights(method, node.theta + h).0);
                for (slope, (low, high)) in node.slope.iter().zip(low.iter().zip(&high)) {
                    let size = 1.0 + slope.abs();
                    assert!(
                        (slope - (high - low) / (2.0 * h)).abs() < 1e-7 * size,
                        "{}",
                        method.name
                    );
                }
            }
            let end = stage_weights(method, 1.0).0;
            for (end, b) in end.iter().zip(method.b) {
                assert!((end - b).abs() < 1e-13, "{}", method.name);
            }
        }
    }

    /// It bounds the true error of smooth integrands, and vanishes with it.
    #[test]
    fn the_estimate_bounds_the_error_of_exponentials() {
        for rate in [0.5_f64, 1.0, 2.0, 4.0] {
            let f = |x: f64| (rate * x).exp();
            let sum: f64 = RULE.iter().map(|(x, w)| 0.5 * w * f(*x)).sum();
            let error = (sum - rate.sinh() / rate).abs();
            let estimate = quadrature_error(RULE.map(|(x, _)| f(x)));
            assert!(
                error < estimate && estimate < 0.05 * rate.powi(6),
                "{rate}: {error} {estimate}"
            );
        }
        assert!(quadrature_error([1.0; NODES]) < 1e-15);
    }
}
