//! Weights `w(t)` of the squared residual `|σ s + ε|²`.
//!
//! A weight λ(t) on the score error `|s − ∇ log q|²` is the weight `w = λ/σ²` on the residual:
//!
//! | name | λ(t) | w(t) | source |
//! |---|---|---|---|
//! | `Noise` | σ² | 1 | Ho et al. 2020, "simple" |
//! | `Likelihood` | g² | g²/σ² = −λ' | Song et al. 2021b (arXiv 2101.09258) |

use sde_core::Sde;
use serde::{Deserialize, Serialize};

/// A weighting of the denoising score-matching loss, as a factor of the squared residual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Weighting {
    /// 1: the error of ε.
    Noise,
    /// `g²/σ²`: with `½ ∫ dt` the bound on the likelihood of the reverse SDE.
    Likelihood,
}

impl Weighting {
    /// `w(t)`.
    pub fn weight(self, sde: &dyn Sde, t: f64) -> f64 {
        match self {
            Self::Noise => 1.0,
            Self::Likelihood => -sde.d_log_snr(t),
        }
    }
}
