//! The prior that sampling starts from, and what it costs that `p_T` is not quite that.
//!
//! ```text
//! π = N(0, σ_T² I),        KL(p_T ‖ π) ≤ α_T² E|x_0|² / (2 σ_T²) = ½ SNR_T E|x_0|²          (Q1)
//! ```
//!
//! The bound is convexity of KL over `p_T = E_{x_0} N(α_T x_0, σ_T² I)`. With the exact score the KL divergence of the
//! model from the data is exactly this one. Centre the data first: their mean is the leading term.

use crate::error::{Error, Result, check};
use crate::exact::GaussianMixture;
use crate::sde::Sde;

/// The bound (Q1) in nats, infinite where σ = 0, for data with mean square norm `second_moment = E|x_0|²`.
pub fn mismatch_bound(sde: &dyn Sde, t: f64, second_moment: f64) -> f64 {
    let k = sde.coefficients(t);
    0.5 * (k.alpha / k.sigma).powi(2) * second_moment
}

/// `KL(p_t ‖ N(0, σ_t² I))` in nats for mixture data: in closed form for one Gaussian, by quadrature in 1 and 2
/// dimensions.
///
/// # Errors
/// [`Error::Size`] for several components in more than two dimensions; [`Error::Parameter`] where σ = 0.
pub fn mismatch(mixture: &GaussianMixture, sde: &dyn Sde, t: f64) -> Result<f64> {
    let k = sde.coefficients(t);
    check("sigma(t)", k.sigma, k.sigma > 0.0, "a positive number: a prior has a density")?;
    match (mixture.components(), mixture.dim()) {
        (1, _) => Ok(gaussian_mismatch(mixture, k.alpha, k.sigma)),
        (_, 1) => line_mismatch(mixture, sde, t),
        (_, 2) => plane_mismatch(mixture, sde, t),
        (_, d) => Err(Error::Size { what: "dimensions of a mixture", found: d, expected: 2 }),
    }
}

/// `½ Σ_i [w_i/σ² − 1 − ln(w_i/σ²)] + α²|m|²/(2σ²)`, `w_i = α² l_i + σ²`; the bracket by its excess `α² l_i/σ²`.
fn gaussian_mismatch(mixture: &GaussianMixture, alpha: f64, sigma: f64) -> f64 {
    let snr = (alpha / sigma).powi(2);
    let (values, _) = mixture.spectrum(0);
    let spread: f64 = values.iter().map(|l| snr * l - (snr * l).ln_1p()).sum();
    let shift: f64 = mixture.means().row(0).iter().map(|m| m * m).sum();
    0.5 * (spread + snr * shift)
}

/// Points of the trapezium rule: on functions that vanish at both ends it converges faster than any power of the step.
const POINTS: u32 = 4000;
/// And on each axis of the plane.
const PLANE_POINTS: u32 = 400;

/// An interval along axis i outside which neither density has weight in double precision.
fn reach(mixture: &GaussianMixture, alpha: f64, sigma: f64, axis: usize) -> (f64, f64) {
    let mut ends = (-10.0 * sigma, 10.0 * sigma);
    for k in 0..mixture.components() {
        let (values, vectors) = mixture.spectrum(k);
        let along = values.iter().zip(vectors.outer_iter()).map(|(l, q)| l * q[axis] * q[axis]);
        let std = (alpha * alpha * along.sum::<f64>() + sigma * sigma).sqrt();
        let mean = alpha * mixture.means()[[k, axis]];
        ends = (ends.0.min(mean - 10.0 * std), ends.1.max(mean + 10.0 * std));
    }
    ends
}

/// `p ln(p/π) − p + π`, the integrand of KL with both masses added: not negative, and free of the cancellation that the
/// bare `p ln(p/π)` has when p and π are close.
fn integrand(log_p: f64, log_prior: f64) -> f64 {
    let d = log_p - log_prior;
    if d.abs() < 1e-4 {
        log_prior.exp() * d * d * (0.5 + d / 3.0)
    } else if d < 100.0 {
        log_prior.exp() * (d.exp() * d - d.exp_m1())
    } else {
        log_p.exp() * (d - 1.0) // the prior has no weight here
    }
}

fn line_mismatch(mixture: &GaussianMixture, sde: &dyn Sde, t: f64) -> Result<f64> {
    let k = sde.coefficients(t);
    let (low, high) = reach(mixture, k.alpha, k.sigma, 0);
    let h = (high - low) / f64::from(POINTS);
    let mut score = mixture.score(sde);
    let constant = -0.5 * (std::f64::consts::TAU * k.sigma * k.sigma).ln();
    let mut sum = 0.0;
    for i in 0..=POINTS {
        let x = low + h * f64::from(i);
        let log_prior = constant - 0.5 * (x / k.sigma).powi(2);
        sum += integrand(score.log_density(&[x], t)?, log_prior);
    }
    Ok(h * sum)
}

fn plane_mismatch(mixture: &GaussianMixture, sde: &dyn Sde, t: f64) -> Result<f64> {
    let k = sde.coefficients(t);
    let [a, b] = [0, 1].map(|axis| reach(mixture, k.alpha, k.sigma, axis));
    let n = f64::from(PLANE_POINTS);
    let h = [(a.1 - a.0) / n, (b.1 - b.0) / n];
    let mut score = mixture.score(sde);
    let constant = -(std::f64::consts::TAU * k.sigma * k.sigma).ln();
    let mut sum = 0.0;
    for i in 0..=PLANE_POINTS {
        for j in 0..=PLANE_POINTS {
            let x = [a.0 + h[0] * f64::from(i), b.0 + h[1] * f64::from(j)];
            let square = (x[0] / k.sigma).powi(2) + (x[1] / k.sigma).powi(2);
            sum += integrand(score.log_density(&x, t)?, constant - 0.5 * square);
        }
    }
    Ok(h[0] * h[1] * sum)
}
