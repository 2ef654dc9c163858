//! Weights of the squared error, in whichever prediction it is measured.
//!
//! ```text
//! |ε − ε̂|² = SNR |x_0 − x̂_0|² = σ² |s − ŝ|²                    SNR = α²/σ²
//! w |ε − ε̂|² = w_y |y − ŷ|²,      w_y = w (∂ε̂/∂ŷ)²                                             (M6)
//! e^{−u} L + u  is least at u = ln L, and there its gradient in θ is that of ln L                   (M7)
//! ```
//!
//! One weight `w(t)` of the residual says all: a loss "of `x_0`", "of the score" or "of v" is a weight on ε. With
//! `ρ = SNR` and for α² + σ² = 1 (`Plain` and `Weighting::weight_of` are general):
//!
//! | name | ε, this is w | `x_0` | score | v | in the literature |
//! |---|---|---|---|---|---|
//! | `Noise` | 1 | ρ | σ² | α² | "simple" (Ho et al. 2020); σ² (Song et al. 2021); SNR |
//! | `Likelihood` | g²/σ² = −λ' | ρ g²/σ² | g² | α² g²/σ² | likelihood (Song et al. 2021b, arXiv 2101.09258) |
//! | `Plain(X0)` | 1/ρ | 1 | σ²/ρ | σ² | plain error of the denoiser |
//! | `Plain(Score)` | 1/σ² | ρ/σ² | 1 | ρ | unweighted: diverges at t = 0 |
//! | `Plain(V)` | 1/α² | 1/σ² | 1/ρ | 1 | SNR + 1 (Salimans and Ho 2022) |
//! | `Plain(Velocity)` | (σλ'/2)² | (αλ'/2)² | (g²/2)² | (ασλ'/2)² | flow matching |
//! | `Plain(Edm)` | n²/(sα)² | n²/(sσ)² | (nσ)²/(sα)² | n²/s² | EDM: λ(σ) = `1/c_out²` is the second (Karras et al. 2022) |
//! | `MinSnr` | min(1, γ/ρ) | min(ρ, γ) | σ² min(1, γ/ρ) | min(ρ, γ)/(1 + ρ) | min-SNR-γ (Hang et al. 2023) |
//! | `TruncatedSnr` | max(1, 1/ρ) | max(ρ, 1) | max(σ², σ²/ρ) | max(ρ, 1)/(1 + ρ) | Salimans and Ho 2022 |
//!
//! with `n² = σ² + s²α²`, s = `σ_data`. (M7) learns the weight: a network u(σ) that is trained with the loss becomes ln L(σ), and every noise level counts
//! by its relative error (Kendall et al. 2018; Karras et al. 2024, EDM2).

use sde_core::error::check;
use sde_core::sde::Coefficients;
use sde_core::{Prediction, Result, Sde};
use serde::{Deserialize, Serialize};

/// A weighting of the denoising score-matching loss: a factor w of the squared residual `|ε − ε̂|²`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Weighting {
    /// 1: the error of ε.
    #[serde(alias = "simple", alias = "snr", alias = "sigma2")]
    Noise,
    /// `g²/σ²`: with `½ ∫ dt` the bound on the likelihood of the reverse SDE.
    Likelihood,
    /// `(∂ŷ/∂ε̂)²`: the plain square of the error of this prediction y.
    Plain(Prediction),
    /// `min(1, γ/SNR)`: that of ε, but not more than γ times that of `x_0`.
    MinSnr {
        /// γ; 5 in the paper.
        gamma: f64,
    },
    /// `max(1, 1/SNR)`: the larger of the errors of ε and `x_0`.
    TruncatedSnr,
}

impl Weighting {
    /// `w(t)`; infinite where an error of ε, however small, is an unbounded one of what is weighted.
    pub fn weight(self, sde: &dyn Sde, t: f64) -> f64 {
        match self {
            Self::Noise => 1.0,
            Self::Likelihood => -sde.d_log_snr(t),
            other => other.at(sde.coefficients(t), f64::NAN),
        }
    }

    /// w at the noise level `k`, where `rate` stands for `g²/σ² = −λ'`.
    pub(crate) fn at(self, k: Coefficients, rate: f64) -> f64 {
        let snr = (k.alpha / k.sigma).powi(2);
        match self {
            Self::Noise => 1.0,
            Self::Likelihood => rate,
            Self::Plain(y) => {
                Prediction::Epsilon.into(y, k).map_or(f64::INFINITY, |c| c.value.powi(2))
            }
            Self::MinSnr { gamma } => (gamma / snr).min(1.0),
            Self::TruncatedSnr => snr.recip().max(1.0),
        }
    }

    /// (M6): the factor `w_y` of the squared error of `prediction` that makes the same loss.
    ///
    /// # Errors
    /// Where the prediction does not determine what is weighted.
    pub fn weight_of(self, prediction: Prediction, sde: &dyn Sde, t: f64) -> Result<f64> {
        let k = sde.coefficients(t);
        if let Self::Plain(y) = self {
            return Ok(prediction.into(y, k)?.value.powi(2));
        }
        Ok(self.weight(sde, t) * prediction.into(Prediction::Epsilon, k)?.value.powi(2))
    }

    /// `Ok` when the constants are in range.
    ///
    /// # Errors
    /// [`Error::Parameter`](sde_core::Error::Parameter) naming the constant.
    pub fn check(self) -> Result<()> {
        match self {
            Self::MinSnr { gamma } => check("gamma", gamma, gamma > 0.0, "a positive number")?,
            Self::Plain(Prediction::Edm { sigma_data: s }) => {
                check("sigma_data", s, s > 0.0, "a positive number")?
            }
            _ => 1.0,
        };
        Ok(())
    }
}

/// (M7): a weighted loss under the learned logarithm u of its variance, `e^{−u} loss + u`.
///
/// On a differentiable state the caller forms the same from its own u.
pub fn with_log_variance(loss: f64, u: f64) -> f64 {
    (-u).exp() * loss + u
}
