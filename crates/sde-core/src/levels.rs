//! Integer data: levels 0…L−1, their place in model coordinates, dequantisation, bits per dimension.
//!
//! ```text
//! y = 2 (k + u)/L − 1,   k ∈ {0, …, L−1},   u ~ U[0, 1)                        (D1)
//! bits/dim = −log p(y)/(d ln 2) + log2(L/2)                                    (D2)
//! log P(k) ≥ E_q[log p(y) − log q(y)],    q a density on the bin of k           (D3)
//! log P(k) ≥ E log[(1/K) Σ_j p(y_j)/q(y_j)],    y_1 … y_K independent of q      (D4)
//! ```
//!
//! A bin has width 2/L in model coordinates, hence the second term of (D2); for 256 levels it is 7. By Jensen's
//! inequality `E_u log p(y) + d ln(2/L) ≤ log P(k)`, (D3) for uniform q: the mean of (D2) over u is an upper bound on the
//! bits that the discrete data cost. (D4) is (D3) for K = 1 and rises with K towards `log P(k)` (Burda et al. 2016).

mod truncated;

pub use truncated::TruncatedNormal;

use crate::error::{Result, check};
use crate::quadrature::integrate;
use crate::summary::Summary;

/// (D1): the point at fraction u ∈ [0, 1) of the bin of level k, of `levels ≥ 1` levels.
pub fn dequantise(levels: u32, k: u32, u: f64) -> f64 {
    2.0 * (f64::from(k) + u) / f64::from(levels) - 1.0
}

/// (D4) from the logarithms of its ratios p/q, and by the delta method the standard error that it has because there are only
/// so many of them; NaN for a single one. Their own errors must be small: noise in a logarithm raises the mean.
pub fn importance_bound(log_ratios: &[f64]) -> Summary {
    let largest = log_ratios.iter().fold(f64::NEG_INFINITY, |m, l| m.max(*l));
    let ratios: Vec<f64> = log_ratios.iter().map(|l| (l - largest).exp()).collect();
    let Summary { mean, standard_error } = Summary::of(&ratios);
    Summary { mean: largest + mean.ln(), standard_error: standard_error / mean }
}

/// The number of grey levels of integer data and the affine map (D1) to model coordinates [−1, 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels(u32);

impl Levels {
    /// L levels, at least 2.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) for fewer than 2 levels.
    pub fn new(levels: u32) -> Result<Self> {
        check("levels", f64::from(levels), levels >= 2, "at least 2")?;
        Ok(Self(levels))
    }

    /// L.
    pub fn count(self) -> u32 {
        self.0
    }

    /// (D1): the point at fraction u ∈ [0, 1) of the bin of level k.
    pub fn dequantise(self, k: u32, u: f64) -> f64 {
        dequantise(self.0, k, u)
    }

    /// The bin of level k < L, its lower and upper end.
    pub fn bin(self, k: u32) -> (f64, f64) {
        (self.dequantise(k, 0.0), self.dequantise(k, 1.0))
    }

    /// `ln(2/L)`, the logarithm of a bin's width.
    pub fn log_bin_width(self) -> f64 {
        (2.0 / f64::from(self.0)).ln()
    }

    /// (D3) for uniform q in one dimension: `E_u log p(y) + ln(2/L)` in nats, by Gauss–Legendre quadrature over the bin.
    pub fn uniform_bound(self, k: u32, mut log_density: impl FnMut(f64) -> f64) -> f64 {
        let (low, high) = self.bin(k);
        integrate(low, high, &mut log_density) / (high - low) + self.log_bin_width()
    }

    /// (D3) in one dimension for q a normal at the bin's centre of standard deviation `std` bins, cut off at the bin's ends
    /// (Zheng et al. 2023), in nats.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) unless `0 < std < ∞`.
    pub fn truncated_normal_bound(
        self,
        k: u32,
        std: f64,
        mut log_density: impl FnMut(f64) -> f64,
    ) -> Result<f64> {
        let law = TruncatedNormal::new(std)?;
        let ((low, high), scale) = (self.bin(k), std * (2.0 / f64::from(self.0)));
        let centre = 0.5 * (low + high);
        let term = |y: f64| {
            let log_q = law.log_density((y - low) / (high - low)) - self.log_bin_width();
            log_q.exp() * (log_density(y) - log_q)
        };
        // Panels of at most two standard deviations, as far as q has weight: a rule over the whole bin would miss a narrow q.
        let reach = (9.0 * scale).min(0.5 * (high - low));
        let width = 2.0 * reach / 9.0;
        let mut term = term;
        let panel = |i: i32| {
            let from = centre - reach + width * f64::from(i);
            integrate(from, from + width, &mut term)
        };
        Ok((0..9).map(panel).sum())
    }

    /// The level whose bin holds y; values outside [−1, 1) fall into the end bins.
    pub fn quantise(self, y: f64) -> u32 {
        let k = (y + 1.0) * 0.5 * f64::from(self.0);
        #[expect(clippy::cast_sign_loss, reason = "clamped into range; NaN becomes 0")]
        let k = k.clamp(0.0, f64::from(self.0 - 1)) as u32; // truncation is the floor of k ≥ 0
        k
    }

    /// (D2): bits per dimension of a d-dimensional point with log-density `log_p` in nats.
    pub fn bits_per_dim(self, log_p: f64, d: usize) -> f64 {
        (f64::from(self.0) / 2.0).log2() - log_p / (d as f64 * std::f64::consts::LN_2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_fill_the_interval() {
        let levels = Levels::new(4).unwrap();
        let ends = [0, 1, 2, 3].map(|k| levels.dequantise(k, 0.0));
        assert_eq!(ends.map(f64::to_bits), [-1.0, -0.5, 0.0, 0.5].map(f64::to_bits));
        assert!((levels.dequantise(3, 0.75) - 0.875).abs() < 1e-15);
    }

    /// With a flat density (D3) is the entropy of q less nothing: known in closed form, for narrow and wide q.
    #[test]
    fn a_truncated_normal_has_its_entropy() {
        let (levels, width) = (Levels::new(256).unwrap(), 2.0 / 256.0);
        for std in [0.01, 0.05, 0.2, 0.5, 5.0] {
            let half = 0.5 / std;
            let mass = libm::erf(half / std::f64::consts::SQRT_2);
            let phi = (-0.5 * half * half).exp() / std::f64::consts::TAU.sqrt();
            let scale = std * width;
            let entropy =
                (std::f64::consts::TAU.sqrt() * scale * mass).ln() + 0.5 - half * phi / mass;
            let got = levels.truncated_normal_bound(7, std, |_| 0.0).unwrap();
            assert!((got - entropy).abs() < 1e-12, "std {std}: {got} {entropy}");
        }
    }

    #[test]
    fn the_mean_of_ratios_and_its_error() {
        let found = importance_bound(&[1000.0 + 2_f64.ln(), 1000.0, 1000.0 + 3_f64.ln()]);
        assert!((found.mean - 1000.0 - 2_f64.ln()).abs() < 1e-12); // the ratios 2, 1, 3
        assert!((found.standard_error - (1.0 / 3.0_f64).sqrt() / 2.0).abs() < 1e-12);
        assert!(importance_bound(&[-3.0]).standard_error.is_nan());
    }

    #[test]
    fn every_level_comes_back_from_its_bin() {
        let levels = Levels::new(17).unwrap();
        for k in 0..17 {
            for u in [0.001, 0.3, 0.999] {
                assert_eq!(levels.quantise(levels.dequantise(k, u)), k);
            }
        }
    }

    #[test]
    fn uniform_density_costs_log2_of_the_levels() {
        let levels = Levels::new(17).unwrap();
        let log_p = -64.0 * 2_f64.ln(); // uniform on [−1, 1]^64
        assert!((levels.bits_per_dim(log_p, 64) - 17_f64.log2()).abs() < 1e-12);
        assert!((Levels::new(256).unwrap().bits_per_dim(0.0, 3) - 7.0).abs() < 1e-12);
    }

    #[test]
    fn one_level_is_refused() {
        let message = Levels::new(1).unwrap_err().to_string();
        assert_eq!(message, "levels = 1 is out of range: expected at least 2");
    }
}
