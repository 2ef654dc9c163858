//! Integrals of smooth functions in one dimension.

use std::sync::LazyLock;

/// Nodes, from the right, and weights of the n-point Gauss–Legendre rule on [−1, 1], by Newton's method on the Legendre
/// polynomial: exact for polynomials of degree 2n − 1.
pub fn gauss_legendre(n: u32) -> Vec<(f64, f64)> {
    let order = f64::from(n);
    (1..=n)
        .map(|i| {
            // Tricomi's estimate converges to the i-th root in a few steps.
            let mut x = (std::f64::consts::PI * (f64::from(i) - 0.25) / (order + 0.5)).cos();
            let mut slope = 1.0;
            for _ in 0..10 {
                let (mut p0, mut p1) = (1.0, x);
                for k in 2..=n {
                    let k = f64::from(k);
                    (p0, p1) = (p1, ((2.0 * k - 1.0) * x * p1 - (k - 1.0) * p0) / k);
                }
                slope = order * (x * p1 - p0) / (x * x - 1.0);
                x -= p1 / slope;
            }
            (x, 2.0 / ((1.0 - x * x) * slope * slope))
        })
        .collect()
}

/// `∫_a^b f` by the 32-point Gauss–Legendre rule: exact to rounding for what is smooth on the scale of (a, b).
pub fn integrate(a: f64, b: f64, mut f: impl FnMut(f64) -> f64) -> f64 {
    static RULE: LazyLock<Vec<(f64, f64)>> = LazyLock::new(|| gauss_legendre(32));
    let (middle, half) = (0.5 * (a + b), 0.5 * (b - a));
    half * RULE.iter().map(|(x, w)| w * f(middle + half * x)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_and_exponentials_are_exact() {
        for (n, top) in [(2, 3), (5, 9), (32, 63)] {
            let even: f64 = gauss_legendre(n).iter().map(|(x, w)| w * x.powi(top - 1)).sum();
            assert!((even - 2.0 / f64::from(top)).abs() < 1e-14, "{n}");
        }
        assert!((integrate(0.0, 2.0, f64::exp) - 2_f64.exp() + 1.0).abs() < 1e-14);
    }
}
