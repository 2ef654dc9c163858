//! Losses and bounds of the best denoiser, exactly: what no model can beat, and what a loss is to be compared with.
//!
//! ```text
//! e_t = mmse(SNR_t)                           the squared errors of (E3) in the mean over the data
//! diffusion loss = ½ ∫_{λ_T}^{λ_0} SNR mmse dλ = ½ ∫ mmse dSNR = I(x_0; x_{t_0}) − I(x_0; x_T)        (E6)
//! E|∇ log q(x_t|x_0) − ŝ|² = E|s − ŝ|² + E|∇ log q(x_t|x_0) − s|²                                    (E7)
//! ```
//!
//! (E6) is the sum of (E2) in the limit of many steps (Kingma et al. 2021). It knows the process by the two ratios at
//! the ends alone. With `y = ln(1 + v SNR)`, v the mean variance of the data, the integrand is ½ for one Gaussian and
//! smooth for all data. (E7): the loss against the conditional score is that against the marginal one and a constant of
//! the data, `(α²/σ⁴) mmse`, which no model can lower.

use sde_core::chain::DdpmChain;
use sde_core::error::check;
use sde_core::exact::LinePoint;
use sde_core::quadrature::integrate;
use sde_core::sde::Edm;
use sde_core::{GaussianMixture, Result, Sde};

/// `mmse_t` of t = 1…T, over all coordinates, for one Gaussian or for data on a line.
///
/// # Errors
/// As [`GaussianMixture::mmse`].
pub fn errors(data: &GaussianMixture, chain: &DdpmChain) -> Result<Vec<f64>> {
    chain.iter().map(|step| data.mmse(step.snr())).collect()
}

/// `E[(x_0 − D(x_t))² | x_0]` of t = 1…T for one point of the line: with it (E3) is the bound of that point.
///
/// # Errors
/// For data in another dimension.
pub fn errors_at(data: &GaussianMixture, chain: &DdpmChain, x0: f64) -> Result<Vec<f64>> {
    let of = |snr: f64| {
        if snr == 0.0 {
            return data.expect(&Edm::new(1.0)?, 0.0, |p| p.x).map(|mean| (x0 - mean).powi(2));
        }
        let sigma = snr.sqrt().recip(); // of x_t/√ᾱ_t, which has the same D
        data.expect_given(&Edm::new(sigma)?, sigma, x0, |p| (x0 - p.denoised).powi(2))
    };
    chain.iter().map(|step| of(step.snr())).collect()
}

/// (E6) in nats between `t_0` and T, for one Gaussian or for data on a line.
///
/// # Errors
/// Where the ratio at `t_0` is infinite, and as [`GaussianMixture::mmse`].
pub fn diffusion_loss(data: &GaussianMixture, sde: &dyn Sde, (t0, end): (f64, f64)) -> Result<f64> {
    let snr = |t: f64| {
        let k = sde.coefficients(t);
        check("signal-to-noise ratio", (k.alpha / k.sigma).powi(2), true, "a finite number")
    };
    let v = data.mmse(0.0)? / data.dim() as f64;
    let y = |snr: f64| (v * snr).ln_1p();
    let (low, high) = (y(snr(end)?), y(snr(t0)?));
    let mut failed = None;
    let half_mmse = |y: f64| {
        let of = data.mmse(y.exp_m1() / v).unwrap_or_else(|error| {
            failed = Some(error);
            f64::NAN
        });
        0.5 * of * y.exp() / v
    };
    let sum = in_pieces((low, high), half_mmse);
    failed.map_or_else(|| check("diffusion loss", sum, true, "a finite number"), Err)
}

/// `∫ f`, in pieces not longer than 1.
pub(crate) fn in_pieces((low, high): (f64, f64), mut f: impl FnMut(f64) -> f64) -> f64 {
    let mut from = low;
    let mut sum = 0.0;
    while from < high {
        let to = if high - from > 1.5 { from + 1.0 } else { high };
        sum += integrate(from, to, &mut f);
        from = to;
    }
    sum
}

/// What the loss of a score compares it with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreTarget {
    /// `∇ log q(x_t | x_0) = −ε/σ`: that of denoising score matching and of (E4).
    Conditional,
    /// `∇ log p_t(x_t)`: zero for the best model, and in no bound.
    Marginal,
}

/// `E|target − ŝ(x_t)|²` of a score ŝ on the line, where σ > 0.
///
/// # Errors
/// For data in another dimension.
pub fn score_loss(
    data: &GaussianMixture,
    sde: &dyn Sde,
    t: f64,
    target: ScoreTarget,
    mut score: impl FnMut(&LinePoint) -> f64,
) -> Result<f64> {
    let k = sde.coefficients(t);
    let spread = (k.alpha / (k.sigma * k.sigma)).powi(2); // the conditional score is α (x_0 − x/α)/σ²
    data.expect(sde, t, |p| {
        let error = (p.score - score(&p)).powi(2);
        match target {
            ScoreTarget::Conditional => error + spread * p.values.trace_covariance,
            ScoreTarget::Marginal => error,
        }
    })
}
