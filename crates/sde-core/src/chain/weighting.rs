//! The three families of weightings and the sequences of b that they are given; formulas (C1)–(C5) in the parent.

use super::check_steps;
use crate::error::Result;
use serde::{Deserialize, Serialize};

/// How the signal coefficient a follows from the noise coefficient b.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weighting {
    /// `a + b = 1`.
    Sum,
    /// `a² + b² = 1`: variance preserving.
    Square,
    /// `a = b`.
    Equal,
}

impl Weighting {
    /// `ln a`, stable for small b; b from 0 to 1.
    pub fn ln_a(self, b: f64) -> f64 {
        match self {
            Self::Sum => (-b).ln_1p(),
            Self::Square => 0.5 * (-b * b).ln_1p(),
            Self::Equal => b.ln(),
        }
    }

    /// (C5): the noise coefficient that the constant b reaches, `√(b/(2−b))`, `1`, `b/√(1−b²)`. `None` where there is
    /// none: b = 0 keeps every value of the first two, and from b = 1 on the third grows without limit.
    pub fn fixed_point(self, b: f64) -> Option<f64> {
        fixed_point(self.ln_a(b), b)
    }
}

/// (C5) for any step; `None` for a ≥ 1.
pub(super) fn fixed_point(ln_a: f64, b: f64) -> Option<f64> {
    (ln_a < 0.0).then(|| b / (-(2.0 * ln_a).exp_m1()).sqrt())
}

/// A sequence of noise coefficients `b_t`, t = 1…T.
///
/// ```
/// use sde_core::chain::{NoiseRamp, Weighting, Weights};
/// let b: NoiseRamp = serde_json::from_str(r#"{"linspace": [0.0001, 0.02, 2000]}"#)?;
/// let chain = Weights::of(Weighting::Square, &b)?;
/// assert!((chain.matched_prior_std() - 0.4849).abs() < 1e-4); // not 1
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseRamp {
    /// From, to, and how many: equal steps, both ends included.
    Linspace(f64, f64, usize),
    /// Square roots of a [`Linspace`](Self::Linspace): the reading in which the range is one of `b²`, DDPM's β.
    #[serde(alias = "sqrt_linspace")]
    SqrtLinspace(f64, f64, usize),
    /// One value and how often.
    Constant(f64, usize),
    /// The values themselves.
    Values(Vec<f64>),
}

impl NoiseRamp {
    /// The numbers; whether they suit a family is for [`Weights::of`](super::Weights::of) to say.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) for no steps or more than 10 million.
    pub fn values(&self) -> Result<Vec<f64>> {
        Ok(match *self {
            Self::Linspace(from, to, steps) => linspace(from, to, steps)?,
            Self::SqrtLinspace(from, to, steps) => {
                linspace(from, to, steps)?.into_iter().map(f64::sqrt).collect()
            }
            Self::Constant(b, steps) => linspace(b, b, steps)?,
            Self::Values(ref values) => {
                check_steps(values.len(), 1)?;
                values.clone()
            }
        })
    }
}

/// `from + (to − from) i/(T−1)` for i = 0…T−1.
pub(super) fn linspace(from: f64, to: f64, steps: usize) -> Result<Vec<f64>> {
    check_steps(steps, 1)?;
    let intervals = (steps - 1).max(1) as f64;
    Ok((0..steps).map(|i| from + (to - from) * (i as f64 / intervals)).collect())
}
