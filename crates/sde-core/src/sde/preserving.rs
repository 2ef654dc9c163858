//! Processes that shrink the data while they add noise: VP-cosine and sub-VP. Each states its formulas in the doc comment
//! of its type, in the symbols of the parent module.

use super::vp::LinearBeta;
use super::{Coefficients, Kernel, Sde};
use crate::error::{Error, Result, check};
use serde::{Deserialize, Serialize};

/// Cosine schedule in continuous time (Nichol & Dhariwal 2021, eq. 17, without clipping):
/// `c = (π/2)/(1+s)`, `α = cos(c(t+s))/cos(cs) = sin(c(1−t))/cos(cs)`,
/// `σ² = 1 − α² = sin(c(t+2s)) sin(ct)/cos²(cs)`, `f = −c cot(c(1−t))`, `g² = −2f`. `α(1) = 0`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "CosineConstants", into = "CosineConstants")]
pub struct VpCosine {
    s: f64,
    c: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CosineConstants {
    s: f64,
}

impl VpCosine {
    /// The offset s ≥ 0; the paper uses `0.008`.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless `0 ≤ s ≤ 1`.
    pub fn new(s: f64) -> Result<Self> {
        check("s", s, (0.0..=1.0).contains(&s), "a number from 0 to 1")?;
        Ok(Self { s, c: std::f64::consts::FRAC_PI_2 / (1.0 + s) })
    }
    /// `cos(cs)`, the normalisation that makes α(0) = 1.
    fn norm(&self) -> f64 {
        (self.c * self.s).cos()
    }
}

impl TryFrom<CosineConstants> for VpCosine {
    type Error = Error;
    fn try_from(k: CosineConstants) -> Result<Self> {
        Self::new(k.s)
    }
}

impl From<VpCosine> for CosineConstants {
    fn from(p: VpCosine) -> Self {
        Self { s: p.s }
    }
}

impl Sde for VpCosine {
    fn coefficients(&self, t: f64) -> Coefficients {
        let (c, n) = (self.c, self.norm());
        let alpha = (c * (1.0 - t)).sin() / n;
        let d_alpha = -c * (c * (1.0 - t)).cos() / n;
        let sigma = ((c * (t + 2.0 * self.s)).sin() * (c * t).sin()).sqrt() / n;
        let d_sigma2 = -2.0 * alpha * d_alpha;
        Coefficients { alpha, sigma, d_alpha, d_sigma2, d_sigma: 0.5 * d_sigma2 / sigma }
    }
    fn f(&self, t: f64) -> f64 {
        -self.c / (self.c * (1.0 - t)).tan()
    }
    fn g2(&self, t: f64) -> f64 {
        -2.0 * self.f(t)
    }
    fn log_snr(&self, t: f64) -> f64 {
        let k = self.coefficients(t);
        2.0 * (k.alpha / k.sigma).ln()
    }
    fn d_log_snr(&self, t: f64) -> f64 {
        2.0 * self.f(t) / self.sigma(t).powi(2)
    }
    fn time_of_log_snr(&self, log_snr: f64) -> f64 {
        // With φ = c(t+s): cos φ = α n, sin² φ = sin²(cs) + σ² n², and sin²φ − sin²(cs) = sin(ct) sin(φ+cs).
        let n = self.norm();
        let sin_cs = (self.c * self.s).sin();
        let (alpha2, sigma2) = (1.0 / (1.0 + (-log_snr).exp()), 1.0 / (1.0 + log_snr.exp()));
        let (cos_phi, sin_phi) = (alpha2.sqrt() * n, (sin_cs * sin_cs + sigma2 * n * n).sqrt());
        let denominator = sin_phi * n + cos_phi * sin_cs;
        let sin_ct = if sigma2 > 0.0 { sigma2 * n * n / denominator } else { 0.0 };
        sin_ct.atan2(cos_phi * n + sin_phi * sin_cs) / self.c
    }
    fn kernel(&self, s: f64, t: f64) -> Kernel {
        let from = (self.c * (1.0 - s)).sin();
        Kernel {
            a: (self.c * (1.0 - t)).sin() / from,
            var: (self.c * (t - s)).sin() * (self.c * (2.0 - t - s)).sin() / (from * from),
        }
    }
}

/// Sub-VP (Song et al. 2021, eq. 29): α as VP-linear, `σ = −expm1(−B)`, `g² = −β expm1(−2B)`,
/// `λ = −B − 2 ln σ`, hence `2 sinh(B/2) = e^{−λ/2}`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "LinearBeta", into = "LinearBeta")]
pub struct SubVp(LinearBeta);

impl SubVp {
    /// β at the two ends of time, as [`VpLinear::new`](super::VpLinear::new).
    ///
    /// # Errors
    /// [`Error::Parameter`] unless `0 < beta_min ≤ beta_max < ∞`.
    pub fn new(beta_min: f64, beta_max: f64) -> Result<Self> {
        LinearBeta::new(beta_min, beta_max).map(Self)
    }
}

impl TryFrom<LinearBeta> for SubVp {
    type Error = Error;
    fn try_from(b: LinearBeta) -> Result<Self> {
        Self::new(b.beta_min, b.beta_max)
    }
}

impl From<SubVp> for LinearBeta {
    fn from(p: SubVp) -> Self {
        p.0
    }
}

impl Sde for SubVp {
    fn coefficients(&self, t: f64) -> Coefficients {
        let (beta, b) = (self.0.beta(t), self.0.integral(t));
        let (alpha, sigma) = ((-0.5 * b).exp(), -(-b).exp_m1());
        let d_sigma2 = 2.0 * sigma * beta * alpha * alpha;
        let d_sigma = beta * alpha * alpha;
        Coefficients { alpha, sigma, d_alpha: -0.5 * beta * alpha, d_sigma2, d_sigma }
    }
    fn f(&self, t: f64) -> f64 {
        -0.5 * self.0.beta(t)
    }
    fn g2(&self, t: f64) -> f64 {
        -self.0.beta(t) * (-2.0 * self.0.integral(t)).exp_m1()
    }
    fn log_snr(&self, t: f64) -> f64 {
        let b = self.0.integral(t);
        -b - 2.0 * (-(-b).exp_m1()).ln()
    }
    fn d_log_snr(&self, t: f64) -> f64 {
        let k = self.coefficients(t);
        -self.g2(t) / (k.sigma * k.sigma)
    }
    fn time_of_log_snr(&self, log_snr: f64) -> f64 {
        self.0.time_of_integral(2.0 * (0.5 * (-0.5 * log_snr).exp()).asinh())
    }
    fn kernel(&self, s: f64, t: f64) -> Kernel {
        let (from, step) = (self.0.integral(s), self.0.increment(s, t));
        let var = (-step).exp_m1() * (-2.0 * from - step).exp_m1(); // (1−e^{−ΔB})(1−e^{−B_t−B_s})
        Kernel { a: (-0.5 * step).exp(), var }
    }
}
