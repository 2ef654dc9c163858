//! What a network predicts, and every way to say the same thing.
//!
//! A noised sample is `x = α x_0 + σ ε`. Whatever a network predicts is, up to a factor m, a fixed combination of
//! the same two unknowns:
//!
//! ```text
//! m y = p_0 x_0 + p_1 ε                                                            (V1)
//!
//! x0          m = 1     (1, 0)
//! epsilon     m = 1     (0, 1)
//! score       m = σ     (0, −1)                    ∇ log q(x_t|x_0) = −ε/σ
//! v           m = 1     (−σ, α)                    Salimans & Ho 2022
//! velocity    m = 1     (α', σ')                   where σ' is infinite: m = 2σ, (2σ α', (σ²)')
//! edm         m = 1     (σ/(s n), −s α/n)          n² = σ² + s² α²,  s = σ_data
//! ```
//!
//! The last row is F of `D = c_skip x̃ + c_out F` (Karras et al. 2022, table 1) at `x̃ = x/α`, `σ̃ = σ/α`. With (V1) for
//! two kinds p and q, the 2 × 2 system with x gives the conversion of any into any other,
//!
//! ```text
//! m_q y_q = A x + B m_p y_p,    B = (α q_1 − σ q_0)/Δ,   A = (q_0 p_1 − q_1 p_0)/Δ,   Δ = α p_1 − σ p_0.  (V2)
//! ```
//!
//! The same formulas hold for conditional quantities and for their posterior means (D, ε*, the marginal score …), since both
//! sides are linear. Score and velocity also determine each other at σ = 0, by `v = (α'/α) x + (α' σ²/α − (σ²)'/2) s`.
//! Where a quantity cannot be told from another — ε from `x_0` at σ = 0, `x_0` from ε at α = 0 — (V2) has
//! no answer, and that is an error, never a NaN. `v` and `edm` determine everything at both ends of time.

use crate::error::{Error, Result, check, check_size};
use crate::sde::Coefficients;
use crate::state::{State, check_alike};
use serde::{Deserialize, Serialize};

/// A parametrisation of the one unknown that denoising has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Prediction {
    /// The clean sample `x_0`, or D.
    X0,
    /// The noise ε.
    Epsilon,
    /// The score, `−ε/σ`.
    Score,
    /// `v = α ε − σ x_0`.
    V,
    /// The velocity of the flow, `α' x_0 + σ' ε`.
    Velocity,
    /// EDM's network output F.
    Edm {
        /// Standard deviation of the data, `σ_data > 0`.
        sigma_data: f64,
    },
}

/// `y_to = x · X + value · y_from`, the coefficients of (V2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conversion {
    /// Factor of the noised sample.
    pub x: f64,
    /// Factor of the given prediction.
    pub value: f64,
}

impl Conversion {
    /// The converted number.
    pub fn apply(self, x: f64, value: f64) -> f64 {
        self.x * x + self.value * value
    }
}

impl Prediction {
    /// The conversion of this parametrisation into `to` where the process has the coefficients `k`.
    ///
    /// # Errors
    /// [`Error::Undetermined`] where the one cannot be told from the other.
    pub fn into(self, to: Self, k: Coefficients) -> Result<Conversion> {
        if self == to {
            return Ok(Conversion { x: 0.0, value: 1.0 });
        }
        if let Some(conversion) = self.regular(to, k) {
            return Ok(conversion);
        }
        let ((m_p, p), (m_q, q)) = (self.row(k)?, to.row(k)?);
        let det = k.alpha * p[1] - k.sigma * p[0];
        let conversion = Conversion {
            x: (q[0] * p[1] - q[1] * p[0]) / (det * m_q),
            value: (k.alpha * q[1] - k.sigma * q[0]) * m_p / (det * m_q),
        };
        if conversion.x.is_finite() && conversion.value.is_finite() {
            Ok(conversion)
        } else {
            let (alpha, sigma) = (k.alpha, k.sigma);
            Err(Error::Undetermined { from: self.name(), to: to.name(), alpha, sigma })
        }
    }

    /// The factors `(p_0/m, p_1/m)` of `x_0` and ε in this prediction, by (V1): what a network is trained to say.
    ///
    /// # Errors
    /// [`Error::Undetermined`] where they are infinite: the score at σ = 0, the velocity where σ' is.
    pub fn factors(self, k: Coefficients) -> Result<[f64; 2]> {
        let (m, p) = self.row(k)?;
        let factors = p.map(|p| p / m);
        if factors.iter().all(|p| p.is_finite()) {
            return Ok(factors);
        }
        let (alpha, sigma) = (k.alpha, k.sigma);
        Err(Error::Undetermined { from: "x_0 and ε", to: self.name(), alpha, sigma })
    }

    /// Converts a batch: row i with the coefficients `k[i]`.
    ///
    /// # Errors
    /// As [`into`](Self::into); when there is not one entry of `k` for each row.
    pub fn convert<X: State>(
        self,
        to: Self,
        k: &[Coefficients],
        x: &X,
        value: &X,
        out: &mut X,
    ) -> Result<()> {
        check_size("coefficients of the batch", k.len(), x.samples())?;
        check_alike("the prediction", value, x)?;
        check_alike("the converted prediction", out, x)?;
        let conversions: Result<Vec<_>> = k.iter().map(|k| self.into(to, *k)).collect();
        let (of_x, of_value): (Vec<f64>, Vec<f64>) =
            conversions?.iter().map(|c| (c.x, c.value)).unzip();
        out.combine(&[(&of_x, x), (&of_value, value)]);
        Ok(())
    }

    /// Score and velocity by each other, in the form that needs no ε.
    fn regular(self, to: Self, k: Coefficients) -> Option<Conversion> {
        let (f, of_score) =
            (k.d_alpha / k.alpha, k.d_alpha * k.sigma * k.sigma / k.alpha - 0.5 * k.d_sigma2);
        let conversion = match (self, to) {
            (Self::Score, Self::Velocity) => Conversion { x: f, value: of_score },
            (Self::Velocity, Self::Score) => Conversion { x: -f / of_score, value: 1.0 / of_score },
            _ => return None,
        };
        Some(conversion).filter(|c| c.x.is_finite() && c.value.is_finite())
    }

    /// m and `(p_0, p_1)` of (V1).
    fn row(self, k: Coefficients) -> Result<(f64, [f64; 2])> {
        Ok(match self {
            Self::X0 => (1.0, [1.0, 0.0]),
            Self::Epsilon => (1.0, [0.0, 1.0]),
            Self::Score => (k.sigma, [0.0, -1.0]),
            Self::V => (1.0, [-k.sigma, k.alpha]),
            Self::Velocity if k.d_sigma.is_finite() => (1.0, [k.d_alpha, k.d_sigma]),
            Self::Velocity => (2.0 * k.sigma, [2.0 * k.sigma * k.d_alpha, k.d_sigma2]),
            Self::Edm { sigma_data: s } => {
                check("sigma_data", s, s > 0.0, "a positive number")?;
                let n = k.sigma.hypot(s * k.alpha);
                (1.0, [k.sigma / (s * n), -s * k.alpha / n])
            }
        })
    }

    /// The factor of the noised sample at a network's input: `c_in = 1/√(σ² + s² α²)` for EDM's F, 1 otherwise.
    pub fn input_scale(self, k: Coefficients) -> f64 {
        match self {
            Self::Edm { sigma_data } => k.sigma.hypot(sigma_data * k.alpha).recip(),
            _ => 1.0,
        }
    }

    /// The name as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::X0 => "x0",
            Self::Epsilon => "epsilon",
            Self::Score => "score",
            Self::V => "v",
            Self::Velocity => "velocity",
            Self::Edm { .. } => "edm",
        }
    }
}

/// The EDM preconditioning (Karras et al. 2022, table 1) at noise level σ, with α = 1:
/// `D = c_skip x + c_out F(c_in x, c_noise)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preconditioning {
    /// `σ_data²/(σ² + σ_data²)`.
    pub c_skip: f64,
    /// `σ σ_data/√(σ² + σ_data²)`.
    pub c_out: f64,
    /// `1/√(σ² + σ_data²)`.
    pub c_in: f64,
    /// `ln(σ)/4`; −∞ at σ = 0.
    pub c_noise: f64,
    /// `λ(σ) = 1/c_out²`, the loss weight that makes the effective one 1; ∞ at σ = 0.
    pub loss_weight: f64,
}

impl Preconditioning {
    /// The coefficients at noise level `sigma ≥ 0` for data of standard deviation `sigma_data > 0`.
    ///
    /// # Errors
    /// [`Error::Parameter`] for numbers out of these ranges.
    pub fn edm(sigma: f64, sigma_data: f64) -> Result<Self> {
        check("sigma", sigma, sigma >= 0.0, "a number not below 0")?;
        check("sigma_data", sigma_data, sigma_data > 0.0, "a positive number")?;
        let n = sigma.hypot(sigma_data);
        let c_out = sigma / n * sigma_data;
        Ok(Self {
            c_skip: (sigma_data / n).powi(2),
            c_out,
            c_in: 1.0 / n,
            c_noise: 0.25 * sigma.ln(),
            loss_weight: 1.0 / (c_out * c_out),
        })
    }
}
