//! Mean and covariance along the family for Gaussian data, in closed form, also for a wrong score and a wrong start.
//!
//! Data N(m, C), whose C has the eigenvalues l, give `p_t = N(α m, V)` with eigenvalues `w = α² l + σ²`. Take a member
//! of the family, (P3) forwards or (P4) backwards, with the score `(1 + δ) s`, and in an eigenvector of C let `u` be the
//! error of its mean and `v` its variance at the time t. Its drift is linear, and with
//!
//! ```text
//! ρ = w/α² = l + σ²/α²,      κ = (1 ± η²)(1 + δ)      (+ backwards in time, − forwards)
//! ```
//!
//! the equations `u' = (f + κ g²/2w) u` and `v' = 2 (f + κ g²/2w) v ∓ η² g²` have the solutions, from time s to time t,
//!
//! ```text
//! u_t = F u_s,                          F = (w_t/w_s)^{κ/2} (α_t/α_s)^{1−κ},                             (P9)
//! v_t = F² v_s + η² w_t |E|,            E = ((ρ_s/ρ_t)^{1−κ} − 1)/(1 − κ)   or   ln(ρ_s/ρ_t) where κ = 1,
//! ```
//!
//! because `(f + κ g²/2w) = ½ d/dt ln(w^κ α^{2−2κ})` by `w' = 2 f w + g²`, and `ρ' = g²/α²`. With the exact score and
//! `u_s = 0, v_s = w_s` this is `v_t = w_t` for every η: the members share their marginals. A start from the prior
//! `N(0, σ_T² I)` instead of `p_T` is forgotten at a rate that grows with η, and with δ ≠ 0 the variances depend on η.
//! Only α and σ appear: both ends of time are ordinary points.

use crate::error::{Error, Result, check, check_size};
use crate::exact::GaussianMixture;
use crate::sde::Sde;
use ndarray::{Array1, Array2};

/// Mean and covariance of a law in d dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// The mean.
    pub mean: Array1<f64>,
    /// The covariance, of shape (d, d).
    pub covariance: Array2<f64>,
}

/// A member of the family for one Gaussian: η, and the score's relative error δ.
#[derive(Clone, Debug)]
pub struct LinearFamily<'a> {
    sde: &'a dyn Sde,
    mean: Array1<f64>,
    /// Eigenvalues of C.
    values: Array1<f64>,
    /// Eigenvectors of C, one in each row.
    vectors: Array2<f64>,
    eta: f64,
    delta: f64,
}

impl<'a> LinearFamily<'a> {
    /// The member with noise `η g` and score `(1 + delta) s` for the data `gaussian`, a mixture of one component.
    ///
    /// # Errors
    /// When there are several components, `eta` is negative, or `eta` or `delta` is not finite.
    pub fn new(gaussian: &GaussianMixture, sde: &'a dyn Sde, eta: f64, delta: f64) -> Result<Self> {
        check_size("components of a Gaussian", gaussian.components(), 1)?;
        check("eta", eta, eta >= 0.0, "a number not below 0")?;
        check("delta", delta, true, "a finite number")?;
        let (values, vectors) = gaussian.spectrum(0);
        Ok(Self { sde, mean: gaussian.means().row(0).to_owned(), values, vectors, eta, delta })
    }

    /// `p_t = N(α m, α² C + σ² I)`.
    pub fn marginal(&self, t: f64) -> Moments {
        let k = self.sde.coefficients(t);
        Moments {
            mean: &self.mean * k.alpha,
            covariance: self.in_coordinates(&Array2::from_diag(&self.w(t))),
        }
    }

    /// The prior `N(0, σ² I)` at t: where samplers start that do not know `p_T`.
    pub fn prior(&self, t: f64) -> Moments {
        let d = self.mean.len();
        let covariance = Array2::eye(d) * self.sde.sigma(t).powi(2);
        Moments { mean: Array1::zeros(d), covariance }
    }

    /// (P9): the law at time t of what has the law `start` at time s. Time runs backwards (P4) where t < s.
    ///
    /// # Errors
    /// When `start` has not the data's dimension, or where the law at t has no finite moments.
    pub fn carry(&self, start: &Moments, s: f64, t: f64) -> Result<Moments> {
        let d = self.mean.len();
        check_size("numbers in the mean", start.mean.len(), d)?;
        check_size("rows of the covariance", start.covariance.nrows(), d)?;
        check_size("columns of the covariance", start.covariance.ncols(), d)?;
        if t.to_bits() == s.to_bits() {
            return Ok(start.clone()); // where α = 0, (P9) would be 0/0
        }
        let (from, to) = (self.sde.coefficients(s), self.sde.coefficients(t));
        let (growth, noise) = self.solution(s, t);
        let error = self.vectors.dot(&(&start.mean - &(&self.mean * from.alpha))) * &growth;
        let start = self.vectors.dot(&start.covariance).dot(&self.vectors.t());
        let in_axes = Array2::from_shape_fn((d, d), |(i, j)| {
            growth[i] * growth[j] * start[[i, j]] + if i == j { noise[i] } else { 0.0 }
        });
        let mean = &self.mean * to.alpha + self.vectors.t().dot(&error);
        let covariance = self.in_coordinates(&in_axes);
        match mean.iter().chain(&covariance).find(|v| !v.is_finite()) {
            None => Ok(Moments { mean, covariance }),
            Some(&found) => {
                Err(Error::Parameter { name: "moment", found, expected: "a finite number" })
            }
        }
    }

    /// For each axis, F of (P9) and the variance that is added.
    fn solution(&self, s: f64, t: f64) -> (Array1<f64>, Array1<f64>) {
        let eta2 = self.eta * self.eta;
        let kappa = (1.0 + if t < s { eta2 } else { -eta2 }) * (1.0 + self.delta);
        let alpha = self.sde.alpha(t) / self.sde.alpha(s);
        let (from, to) = (self.w(s), self.w(t));
        let w = &to / &from;
        let growth = w.mapv(|w| w.powf(0.5 * kappa) * alpha.powf(1.0 - kappa));
        let added = |(&w, &w_t): (&f64, &f64)| {
            let log_rho = 2.0 * alpha.ln() - w.ln();
            match 1.0 - kappa {
                _ if eta2 == 0.0 => 0.0,
                0.0 => eta2 * w_t * log_rho.abs(),
                k => eta2 * w_t * ((k * log_rho).exp_m1() / k).abs(),
            }
        };
        (growth, w.iter().zip(&to).map(added).collect())
    }

    /// Eigenvalues of the covariance of `p_t`.
    fn w(&self, t: f64) -> Array1<f64> {
        let k = self.sde.coefficients(t);
        self.values.mapv(|l| k.alpha * k.alpha * l + k.sigma * k.sigma)
    }

    /// A matrix in the coordinates of the eigenvectors, back in those of the data.
    fn in_coordinates(&self, m: &Array2<f64>) -> Array2<f64> {
        self.vectors.t().dot(m).dot(&self.vectors)
    }
}
