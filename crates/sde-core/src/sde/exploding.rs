//! Processes whose noise level is their clock: variance exploding, EDM and rectified flow. Each states its formulas in the
//! doc comment of its type, in the symbols of the parent module.

use super::{Coefficients, Kernel, Sde};
use crate::error::{Error, Result, check};
use serde::{Deserialize, Serialize};

/// Variance exploding (Song et al. 2021, eq. 30): α = 1, `σ = σ_min (σ_max/σ_min)^t`, f = 0,
/// `g² = 2 ln(σ_max/σ_min) σ²`. The level convention: `σ(0) = σ_min` is the noise already in `p_0`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SigmaRange", into = "SigmaRange")]
pub struct VarianceExploding(SigmaRange);

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SigmaRange {
    sigma_min: f64,
    sigma_max: f64,
}

impl VarianceExploding {
    /// σ at the two ends of time.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless `0 < sigma_min < sigma_max < ∞`.
    pub fn new(sigma_min: f64, sigma_max: f64) -> Result<Self> {
        check("sigma_min", sigma_min, sigma_min > 0.0, "a positive number")?;
        check("sigma_max", sigma_max, sigma_max > sigma_min, "a number above sigma_min")?;
        check("sigma_max/sigma_min", sigma_max / sigma_min, true, "a finite ratio")?;
        Ok(Self(SigmaRange { sigma_min, sigma_max }))
    }
    /// `ln(σ_max/σ_min)`.
    fn rate(&self) -> f64 {
        (self.0.sigma_max / self.0.sigma_min).ln()
    }
}

impl TryFrom<SigmaRange> for VarianceExploding {
    type Error = Error;
    fn try_from(r: SigmaRange) -> Result<Self> {
        Self::new(r.sigma_min, r.sigma_max)
    }
}

impl From<VarianceExploding> for SigmaRange {
    fn from(p: VarianceExploding) -> Self {
        p.0
    }
}

impl Sde for VarianceExploding {
    fn coefficients(&self, t: f64) -> Coefficients {
        let sigma = self.0.sigma_min * (self.0.sigma_max / self.0.sigma_min).powf(t);
        let d_sigma2 = 2.0 * self.rate() * sigma * sigma;
        Coefficients { alpha: 1.0, sigma, d_alpha: 0.0, d_sigma2, d_sigma: self.rate() * sigma }
    }
    fn f(&self, _t: f64) -> f64 {
        0.0
    }
    fn g2(&self, t: f64) -> f64 {
        self.coefficients(t).d_sigma2
    }
    fn log_snr(&self, t: f64) -> f64 {
        -2.0 * (self.0.sigma_min.ln() + t * self.rate())
    }
    fn d_log_snr(&self, _t: f64) -> f64 {
        -2.0 * self.rate()
    }
    fn time_of_log_snr(&self, log_snr: f64) -> f64 {
        (-0.5 * log_snr - self.0.sigma_min.ln()) / self.rate()
    }
    fn kernel(&self, s: f64, t: f64) -> Kernel {
        let from = self.sigma(s);
        Kernel { a: 1.0, var: from * from * (2.0 * (t - s) * self.rate()).exp_m1() }
    }
}

/// EDM (Karras et al. 2022): α = 1, σ = t on `[0, σ_max]`; `g² = 2t`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "EdmConstants", into = "EdmConstants")]
pub struct Edm {
    sigma_max: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EdmConstants {
    /// Karras et al. 2022, table 1.
    #[serde(default = "edm_sigma_max")]
    sigma_max: f64,
}

fn edm_sigma_max() -> f64 {
    80.0
}

impl Edm {
    /// The end of time `T = σ_max`; the paper uses `80`.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless `0 < sigma_max < ∞`.
    pub fn new(sigma_max: f64) -> Result<Self> {
        check("sigma_max", sigma_max, sigma_max > 0.0, "a positive number")?;
        Ok(Self { sigma_max })
    }
}

impl TryFrom<EdmConstants> for Edm {
    type Error = Error;
    fn try_from(k: EdmConstants) -> Result<Self> {
        Self::new(k.sigma_max)
    }
}

impl From<Edm> for EdmConstants {
    fn from(p: Edm) -> Self {
        Self { sigma_max: p.sigma_max }
    }
}

impl Sde for Edm {
    fn coefficients(&self, t: f64) -> Coefficients {
        Coefficients { alpha: 1.0, sigma: t, d_alpha: 0.0, d_sigma2: 2.0 * t, d_sigma: 1.0 }
    }
    fn f(&self, _t: f64) -> f64 {
        0.0
    }
    fn g2(&self, t: f64) -> f64 {
        2.0 * t
    }
    fn log_snr(&self, t: f64) -> f64 {
        -2.0 * t.ln()
    }
    fn d_log_snr(&self, t: f64) -> f64 {
        -2.0 / t
    }
    fn time_of_log_snr(&self, log_snr: f64) -> f64 {
        (-0.5 * log_snr).exp()
    }
    fn kernel(&self, s: f64, t: f64) -> Kernel {
        Kernel { a: 1.0, var: (t - s) * (t + s) }
    }
    fn end(&self) -> f64 {
        self.sigma_max
    }
}

/// Rectified flow, the straight (optimal-transport) path (Liu et al. 2022; Lipman et al. 2023):
/// `α = 1 − t`, `σ = t`, `f = −1/(1−t)`, `g² = 2t/(1−t)`, `λ = 2 ln((1−t)/t)`. `α(1) = 0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RectifiedFlow {}

impl Sde for RectifiedFlow {
    fn coefficients(&self, t: f64) -> Coefficients {
        Coefficients { alpha: 1.0 - t, sigma: t, d_alpha: -1.0, d_sigma2: 2.0 * t, d_sigma: 1.0 }
    }
    fn f(&self, t: f64) -> f64 {
        -1.0 / (1.0 - t)
    }
    fn g2(&self, t: f64) -> f64 {
        2.0 * t / (1.0 - t)
    }
    fn log_snr(&self, t: f64) -> f64 {
        2.0 * ((-t).ln_1p() - t.ln())
    }
    fn d_log_snr(&self, t: f64) -> f64 {
        -2.0 / (t * (1.0 - t))
    }
    fn time_of_log_snr(&self, log_snr: f64) -> f64 {
        1.0 / (1.0 + (0.5 * log_snr).exp())
    }
    fn kernel(&self, s: f64, t: f64) -> Kernel {
        let from = 1.0 - s;
        Kernel { a: (1.0 - t) / from, var: (t - s) * (t + s - 2.0 * t * s) / (from * from) }
    }
}
