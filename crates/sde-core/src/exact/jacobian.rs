//! Matrices of a mixture at one point: the Jacobian of its score, the posterior covariance; and how far a Jacobian is
//! from symmetric. They allocate: for diagnostics and tests, not for solvers.
//!
//! ```text
//! ∂s/∂x = Σ r_k (−V_k⁻¹ + (s_k − s)(s_k − s)ᵀ)                                    (G8)
//! Cov(x_0|x_t) = Σ r_k (σ² C_k V_k⁻¹ + (D_k − D)(D_k − D)ᵀ) = (σ²/α²)(I + σ² ∂s/∂x)   (G9)
//! ```

use super::{GaussianMixture, MixtureScore};
use crate::error::{Result, check_size};
use ndarray::{Array1, Array2, ArrayView1, Axis};

impl GaussianMixture {
    /// `P(a < x < b)` of a one-dimensional mixture.
    ///
    /// # Errors
    /// In other dimensions.
    pub fn interval_probability(&self, a: f64, b: f64) -> Result<f64> {
        check_size("dimensions of the mixture", self.dim(), 1)?;
        let component = |(k, w): (usize, f64)| {
            let (std, mean) = (self.spectrum(k).0[0].sqrt(), self.means()[[k, 0]]);
            let [from, to] = [a, b].map(|x| (x - mean) / std);
            // Differences of the tail that is small: Φ(−x) = ½ erfc(x/√2).
            let tail = |x: f64| 0.5 * libm::erfc(x / std::f64::consts::SQRT_2);
            w * if from > 0.0 { tail(from) - tail(to) } else { tail(-to) - tail(-from) }
        };
        Ok(self.weights().enumerate().map(component).sum())
    }
}

impl MixtureScore<'_> {
    /// (G8) at one point of d numbers: the Jacobian of the score, the Hessian of `log p_t`, of shape (d, d).
    ///
    /// # Errors
    /// When x has not d numbers.
    pub fn score_jacobian(&mut self, x: &[f64], t: f64) -> Result<Array2<f64>> {
        self.matrix(x, t, |v, _, score, _| (score, v.mapv(|v| -1.0 / v)))
    }

    /// (G9) at one point of d numbers, of shape (d, d); exact at both ends of time.
    ///
    /// # Errors
    /// When x has not d numbers.
    pub fn posterior_covariance(&mut self, x: &[f64], t: f64) -> Result<Array2<f64>> {
        let sigma2 = self.sde.sigma(t).powi(2);
        self.matrix(x, t, |v, c, _, denoised| (denoised, sigma2 * &c / &v))
    }

    /// `Σ r_k (Q_kᵀ diag(λ) Q_k + (y_k − y)(y_k − y)ᵀ)`, where `pick(eigenvalues of V_k, of C_k, s_k, D_k)` gives y and λ.
    fn matrix(
        &mut self,
        x: &[f64],
        t: f64,
        pick: impl Fn(Array1<f64>, Array1<f64>, Array1<f64>, Array1<f64>) -> (Array1<f64>, Array1<f64>),
    ) -> Result<Array2<f64>> {
        let d = self.mixture.dim();
        check_size("numbers in a point", x.len(), d)?;
        let n = self.noised(t);
        self.responsibilities(x, n);
        let mut parts = Vec::new();
        for (k, &r) in self.weights.iter().enumerate().filter(|(_, r)| **r != 0.0) {
            let (c, q) = self.mixture.spectrum(k);
            let mean = self.mixture.means().row(k).to_owned();
            let v = c.mapv(|l| n.of(l));
            let y = q.dot(&(&ArrayView1::from(x) - &(n.alpha * &mean))) / &v; // V⁻¹(x − αm) in the eigenbasis
            let score = -q.t().dot(&y);
            let denoised = mean + n.alpha * q.t().dot(&(&c * &y));
            let (vector, values) = pick(v, c, score, denoised);
            parts.push((r, vector, q.t().dot(&(&q * &values.insert_axis(Axis(1))))));
        }
        let zero: Array1<f64> = Array1::zeros(d);
        let centre = parts.iter().fold(zero, |sum, (r, y, _)| sum + y * *r);
        let zero: Array2<f64> = Array2::zeros((d, d));
        Ok(parts.into_iter().fold(zero, |sum, (r, y, matrix)| {
            let off = (y - &centre).insert_axis(Axis(1));
            sum + (matrix + off.dot(&off.t())) * r
        }))
    }
}

/// How far a Jacobian J is from symmetric: a field with `J = Jᵀ` everywhere is a gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asymmetry {
    /// `|J − Jᵀ|_F²`.
    pub square: f64,
    /// `|J − Jᵀ|_F / |J|_F`.
    pub relative: f64,
}

/// The asymmetry of a square matrix. It is no measure of error by itself: a rotation added to the score of an isotropic
/// Gaussian leaves every density of the flow as it was.
pub fn asymmetry(jacobian: &Array2<f64>) -> Asymmetry {
    let square = (jacobian - &jacobian.t()).iter().map(|v| v * v).sum::<f64>();
    let size = jacobian.iter().map(|v| v * v).sum::<f64>();
    Asymmetry { square, relative: (square / size).sqrt() }
}
