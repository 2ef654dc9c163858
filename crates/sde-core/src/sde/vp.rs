//! The variance-preserving SDE with β linear in time (Song et al. 2021, eq. 32; Ho et al. 2020 in the limit
//! of many steps),
//!
//! ```text
//! β(t) = β_min + t (β_max − β_min),   B(t) = ∫₀ᵗ β = β_min t + (β_max − β_min) t²/2,
//! α = e^{−B/2},   σ² = −expm1(−B),   f = −β/2,   g² = β,   λ = −ln expm1(B),   λ' = −β/σ².
//! ```

#![expect(
    clippy::inline_always,
    reason = "a function that is called in vector code is compiled for it only when inlined"
)]

use super::{Coefficients, Columns, Kernel, Sde};
use crate::error::{Error, Result, check};
use crate::exponential::exp_and_exp_m1;
use crate::wide;
use serde::{Deserialize, Serialize};

/// `β(t)` linear on [0, 1] and its integral `B(t)`; shared by VP and sub-VP.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinearBeta {
    pub(super) beta_min: f64,
    pub(super) beta_max: f64,
}

impl LinearBeta {
    pub(super) fn new(beta_min: f64, beta_max: f64) -> Result<Self> {
        check("beta_min", beta_min, beta_min > 0.0, "a positive number")?;
        check("beta_max", beta_max, beta_max >= beta_min, "a number not below beta_min")?;
        Ok(Self { beta_min, beta_max })
    }
    /// `β(t)`.
    pub(super) fn beta(&self, t: f64) -> f64 {
        self.beta_min + t * (self.beta_max - self.beta_min)
    }
    /// `B(t)`.
    pub(super) fn integral(&self, t: f64) -> f64 {
        t * (self.beta_min + 0.5 * t * (self.beta_max - self.beta_min))
    }
    /// `B(t) − B(s)` without cancellation.
    pub(super) fn increment(&self, s: f64, t: f64) -> f64 {
        (t - s) * (self.beta_min + 0.5 * (self.beta_max - self.beta_min) * (t + s))
    }
    /// The t with `B(t) = b`, by the root of the quadratic that does not cancel.
    pub(super) fn time_of_integral(&self, b: f64) -> f64 {
        let slope = self.beta_max - self.beta_min;
        2.0 * b / (self.beta_min + self.beta_min.mul_add(self.beta_min, 2.0 * slope * b).sqrt())
    }
}

/// Variance-preserving SDE, `α² + σ² = 1`, with β linear in t on [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "LinearBeta", into = "LinearBeta")]
pub struct VpLinear(LinearBeta);

impl VpLinear {
    /// β at the two ends of time. Song et al. (2021) use `0.1` and `20`.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless `0 < beta_min ≤ beta_max < ∞`.
    pub fn new(beta_min: f64, beta_max: f64) -> Result<Self> {
        LinearBeta::new(beta_min, beta_max).map(Self)
    }
}

impl VpLinear {
    /// `α, σ², α', (σ²)'`. One exponential for both, by `σ² = 1 − α² = −e (2 + e)` with `e = α − 1`.
    #[inline(always)]
    fn row(self, t: f64) -> [f64; 4] {
        let beta = self.0.beta(t);
        let (alpha, e) = exp_and_exp_m1(-0.5 * self.0.integral(t));
        [alpha, -e * (1.0 + alpha), -0.5 * beta * alpha, beta * alpha * alpha]
    }
}

impl Default for VpLinear {
    /// The constants of Song et al. (2021): β from 0.1 to 20.
    fn default() -> Self {
        Self(LinearBeta { beta_min: 0.1, beta_max: 20.0 })
    }
}

impl TryFrom<LinearBeta> for VpLinear {
    type Error = Error;
    fn try_from(b: LinearBeta) -> Result<Self> {
        Self::new(b.beta_min, b.beta_max)
    }
}

impl From<VpLinear> for LinearBeta {
    fn from(p: VpLinear) -> Self {
        p.0
    }
}

impl Sde for VpLinear {
    fn coefficients(&self, t: f64) -> Coefficients {
        let [alpha, sigma2, d_alpha, d_sigma2] = self.row(t);
        let sigma = sigma2.sqrt();
        Coefficients { alpha, sigma, d_alpha, d_sigma2, d_sigma: 0.5 * d_sigma2 / sigma }
    }
    fn columns(&self, t: &[f64], out: &mut Columns) {
        out.fit(t.len());
        let (first, second) = (
            out.alpha.iter_mut().zip(&mut out.sigma2),
            out.d_alpha.iter_mut().zip(&mut out.d_sigma2),
        );
        let rows = t.iter().zip(first.zip(second));
        wide::run(
            #[inline(always)]
            || {
                for (t, ((alpha, sigma2), (d_alpha, d_sigma2))) in rows {
                    [*alpha, *sigma2, *d_alpha, *d_sigma2] = self.row(*t);
                }
            },
        );
    }
    fn f(&self, t: f64) -> f64 {
        -0.5 * self.0.beta(t)
    }
    fn g2(&self, t: f64) -> f64 {
        self.0.beta(t)
    }
    fn log_snr(&self, t: f64) -> f64 {
        let b = self.0.integral(t);
        -b - (-(-b).exp_m1()).ln() // = −ln expm1(B), and e^B cannot overflow
    }
    fn d_log_snr(&self, t: f64) -> f64 {
        self.0.beta(t) / (-self.0.integral(t)).exp_m1()
    }
    fn time_of_log_snr(&self, log_snr: f64) -> f64 {
        self.0.time_of_integral(softplus(-log_snr))
    }
    fn kernel(&self, s: f64, t: f64) -> Kernel {
        let b = self.0.increment(s, t);
        Kernel { a: (-0.5 * b).exp(), var: -(-b).exp_m1() }
    }
}

/// `ln(1 + eˣ)` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
