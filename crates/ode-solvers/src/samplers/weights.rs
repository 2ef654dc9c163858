//! The weights of an exponential step, for every method.
//!
//! With `ℓ = ln(α/σ)`, half the log-SNR, the probability-flow ODE has a solution in which only the model is left to
//! integrate (Lu et al. 2022, arXiv 2206.00927 and 2211.01095). From ℓ to ℓ + h,
//!
//! ```text
//! x_to = (σ_to/σ) x + α_to ∫₀ʰ e^{−(h−τ)} D(ℓ+τ) dτ = (α_to/α) x − σ_to ∫₀ʰ e^{h−τ} ε(ℓ+τ) dτ.      (X1)
//! ```
//!
//! Put for D or ε the polynomial through the values `P_j` at `ℓ + r_j h`. Its integral is `Σ_j w_j P_j`, where the weights
//! have the moments of the exponential, z = −h for D and h for ε,
//!
//! ```text
//! Σ_j w_j r_j^k = m_k,   m_k = h k! φ_{k+1}(z),   φ_k(z) = Σ_i z^i/(i+k)!.                         (X2)
//! ```
//!
//! Known methods differ from this, if at all, in the last moment or in the variable of the polynomial: a [`Rule`] says how.

use sde_core::quadrature::gauss_legendre;
use sde_core::{Error, Result};
use std::sync::LazyLock;

/// The most values that one step may use.
pub const MOST: usize = 8;

/// One weight for each value, zeros after them.
pub(super) type Weights = [f64; MOST];

/// What is put in (X1) for the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predicts {
    /// The posterior mean D, of which the flow is nearly linear at low noise.
    Data,
    /// The noise `ε = −σ s`.
    Noise,
}

/// The moments of (X2) that a method uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// All of them: exact for polynomials.
    Exact,
    /// `m_1 = m_0/2` with two values: 2M, 2S, DPM-Solver-2, Heun's method in σ/α, `UniPC`'s `bh2`.
    HalfFirst,
    /// `m_1 = h/2` with two values: `UniPC`'s `bh1`.
    HalfStep,
    /// `m_2` halved with three values: DPM-Solver++ (3M) as published.
    HalvedSecond,
    /// `m_k = m_0/(k+1)` at `r_j = −j`: Adams–Bashforth with equal steps, whatever the steps are (PNDM).
    Uniform,
    /// `m_0 (1, 2, 2, 1)/6` for four values: the pseudo Runge–Kutta step of PNDM.
    Kutta,
    /// The polynomial is one in `ρ = σ/α`, of ε: `m_k = m_0/(k+1)` at `(ρ_j − ρ)/(ρ_to − ρ)` (ρAB-DEIS).
    InRho,
    /// The polynomial is one in t: `m_k = ∫₀ʰ e^{(1−τ/h)z} ((t(ℓ+τ) − t)/(t_to − t))^k dτ` at `(t_j − t)/(t_to − t)`
    /// (tAB-DEIS).
    InTime,
}

/// `φ_k(z)`, k ≥ 1.
pub(super) fn phi(k: usize, z: f64) -> f64 {
    let factorial = |k: usize| (1..=k).fold(1.0, |f, i| f * i as f64);
    if z.abs() < 2.0 {
        let mut term = factorial(k).recip();
        let mut sum = term;
        for i in 1..30 {
            term *= z / (k + i) as f64;
            sum += term;
        }
        return sum;
    }
    (1..k).fold(z.exp_m1() / z, |phi, i| (phi - factorial(i).recip()) / z)
}

/// z of (X2).
fn exponent(predicts: Predicts, h: f64) -> f64 {
    if predicts == Predicts::Data { -h } else { h }
}

/// The weights of the values at `r`, distinct, in a step of length h; those of [`Rule::InTime`] are
/// [`weights_in_time`].
pub(super) fn weights(rule: Rule, predicts: Predicts, h: f64, r: &[f64]) -> Weights {
    let z = exponent(predicts, h);
    let (mut w, mut nodes) = ([0.0; MOST], [0.0; MOST]);
    let mut factorial = 1.0;
    for (k, &node) in r.iter().enumerate() {
        factorial *= k.max(1) as f64;
        w[k] = h * factorial * phi(k + 1, z);
        nodes[k] = node;
    }
    let n = r.len();
    match rule {
        Rule::HalfFirst if n == 2 => w[1] = 0.5 * w[0],
        Rule::HalfStep if n == 2 => w[1] = 0.5 * h,
        Rule::HalvedSecond if n == 3 => w[2] *= 0.5,
        Rule::Uniform => {
            let first = w[0];
            for (k, (w, node)) in w.iter_mut().zip(&mut nodes).enumerate().take(n) {
                *w = first / (k + 1) as f64;
                *node = -(k as f64);
            }
        }
        Rule::Kutta if n == 4 => {
            let first = w[0];
            return [1.0, 2.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0].map(|part| first * part / 6.0);
        }
        Rule::InRho => {
            let first = w[0];
            for (k, (w, node)) in w.iter_mut().zip(&mut nodes).enumerate().take(n) {
                *w = first / (k + 1) as f64;
                *node = (-h * *node).exp_m1() / (-h).exp_m1();
            }
        }
        _ => {}
    }
    solve(&nodes[..n], &mut w[..n]);
    w
}

/// The weights of a polynomial in another variable than ℓ, of which `place(τ/h)` is the part of the step that lies behind:
/// 0 at the start, 1 at the end. Values are at the places `r`.
pub(super) fn weights_in_time(
    predicts: Predicts,
    h: f64,
    r: &[f64],
    place: impl Fn(f64) -> f64,
) -> Weights {
    let z = exponent(predicts, h);
    let mut w = [0.0; MOST];
    for panel in 0..PANELS {
        for &(node, weight) in GAUSS.iter() {
            let theta = (f64::from(panel) + 0.5 * (1.0 + node)) / f64::from(PANELS);
            let (s, mut term) = (place(theta), 0.5 * weight / f64::from(PANELS));
            term *= h * ((1.0 - theta) * z).exp();
            for w in &mut w[..r.len()] {
                *w += term;
                term *= s;
            }
        }
    }
    solve(r, &mut w[..r.len()]);
    w
}

/// Panels of the integrals of [`weights_in_time`], each by Gauss's rule with five nodes.
const PANELS: u32 = 8;
static GAUSS: LazyLock<Vec<(f64, f64)>> = LazyLock::new(|| gauss_legendre(5));

/// Solves `Σ_j w_j r_j^k = m_k` in place (Björck and Pereyra 1970; Golub and Van Loan, algorithm 4.6.2).
fn solve(r: &[f64], m: &mut [f64]) {
    let n = r.len();
    for (k, r) in r.iter().enumerate() {
        for i in (k + 1..n).rev() {
            m[i] -= r * m[i - 1];
        }
    }
    for k in (0..n.saturating_sub(1)).rev() {
        for i in k + 1..n {
            m[i] /= r[i] - r[i - k - 1];
        }
        for i in k..n - 1 {
            m[i] -= m[i + 1];
        }
    }
}

/// `Ok` when a step may use this many values.
pub(super) fn check_order(order: usize) -> Result<()> {
    if (1..=MOST).contains(&order) {
        return Ok(());
    }
    Err(Error::Parameter { name: "order", found: order as f64, expected: "1 to 8" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn power(x: f64, k: usize) -> f64 {
        std::iter::repeat_n(x, k).product()
    }

    /// Both branches of φ against `φ_k(z) = 1/(k−1)! ∫₀¹ e^{(1−θ)z} θ^{k−1} dθ` by Simpson's rule.
    #[test]
    fn phi_is_its_integral() {
        for k in 1..=MOST {
            let factorial: f64 = (1..k).map(|i| i as f64).product();
            for z in [-60.0, -5.0, -2.0, -1.999, -0.3, 1e-9, 0.7, 1.999, 2.0, 9.0_f64] {
                let f = |theta: f64| ((1.0 - theta) * z).exp() * power(theta, k - 1);
                let n = 4000;
                let weight = |i: i32| match i {
                    i if i == 0 || i == n => 1.0,
                    i if i % 2 == 1 => 4.0,
                    _ => 2.0,
                };
                let sum: f64 = (0..=n).map(|i| weight(i) * f(f64::from(i) / f64::from(n))).sum();
                let want = sum / (3.0 * f64::from(n)) / factorial;
                let got = phi(k, z);
                assert!((got / want - 1.0).abs() < 1e-8, "φ_{k}({z}): {got} {want}");
            }
        }
    }

    /// (X2) The weights integrate `P = r^k` exactly, in any order of the nodes.
    #[test]
    fn weights_have_the_moments() {
        let nodes = [0.0, -1.1, 1.0, -2.7, -3.5];
        for predicts in [Predicts::Data, Predicts::Noise] {
            for h in [1e-6, 0.3, 4.0] {
                for n in 1..=nodes.len() {
                    let w = weights(Rule::Exact, predicts, h, &nodes[..n]);
                    let z = if predicts == Predicts::Data { -h } else { h };
                    for k in 0..n {
                        let factorial: f64 = (1..=k).map(|i| i as f64).product();
                        let sum: f64 = w.iter().zip(nodes).map(|(w, r)| w * power(r, k)).sum();
                        let want = h * factorial * phi(k + 1, z);
                        assert!((sum / want - 1.0).abs() < 1e-10, "{predicts:?} {h} {n} {k}");
                    }
                }
            }
        }
    }

    /// Weights by quadrature: in ℓ itself those of (X2), and in ρ those of `Rule::InRho`, up and down.
    #[test]
    fn weights_by_quadrature() {
        for predicts in [Predicts::Data, Predicts::Noise] {
            for h in [1e-3, 0.4, 2.0, -0.4] {
                let r = [0.0, -0.6, -1.5];
                let want = weights(Rule::Exact, predicts, h, &r);
                let got = weights_in_time(predicts, h, &r, |theta| theta);
                for (got, want) in got.iter().zip(want) {
                    assert!((got - want).abs() < 1e-11 * h.abs(), "{predicts:?} {h}: {got} {want}");
                }
                let rho = |r: f64| (-h * r).exp_m1() / (-h).exp_m1();
                let want = weights(Rule::InRho, Predicts::Noise, h, &r);
                let got = weights_in_time(Predicts::Noise, h, &r.map(rho), rho);
                for (got, want) in got.iter().zip(want) {
                    assert!((got - want).abs() < 1e-11 * h.abs(), "ρ {h}: {got} {want}");
                }
            }
        }
    }

    /// The shortcuts of three papers, from their own formulas.
    #[test]
    fn rules_are_the_published_ones() {
        let (h, before) = (0.4_f64, 0.5_f64);
        let e = -(-h).exp_m1(); // 1 − e^{−h}
        let w = weights(Rule::HalfFirst, Predicts::Data, h, &[0.0, -before / h]);
        let r = before / h;
        assert!((w[0] - e * (1.0 + 0.5 / r)).abs() < 1e-15 && (w[1] + e * 0.5 / r).abs() < 1e-15);
        // 3M: x = … + e D0 + φ₂ D1 − φ₃ D2 with the paper's differences, on D = (0, 0, 1).
        let (r0, r1) = (before / h, 0.7 / h);
        let w = weights(Rule::HalvedSecond, Predicts::Data, h, &[0.0, -r0, -r0 - r1]);
        let (d1_0, d1_1) = (0.0, -1.0 / r1);
        let d1 = d1_0 + r0 / (r0 + r1) * (d1_0 - d1_1);
        let d2 = (d1_0 - d1_1) / (r0 + r1);
        let (phi_2, phi_3) = (1.0 - e / h, (h - e) / (h * h) - 0.5);
        assert!((w[2] - (phi_2 * d1 - phi_3 * d2)).abs() < 1e-15);
        let w = weights(Rule::Uniform, Predicts::Noise, 1.0, &[0.0, -0.2, -0.9, -4.0]);
        let scale = 1_f64.exp_m1() / 24.0;
        for (w, want) in w.iter().zip([55.0, -59.0, 37.0, -9.0]) {
            assert!((w / scale - want).abs() < 1e-11, "{w}");
        }
    }
}
