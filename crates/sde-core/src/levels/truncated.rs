//! A normal at the middle of a bin that is cut off at its ends.

use crate::error::{Result, check};
use crate::noise::Noise;
use rand_distr::{Distribution, StandardNormal, StandardUniform};
use std::f64::consts::{FRAC_1_SQRT_2, TAU};

/// The density `r(u) = N(u; ½, std²)/mass` on [0, 1), in units of the bin (Zheng et al. 2023).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TruncatedNormal {
    std: f64,
    log_norm: f64,
}

impl TruncatedNormal {
    /// That of standard deviation `std` bins before the cut.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) unless `0 < std < ∞`.
    pub fn new(std: f64) -> Result<Self> {
        check("standard deviation in bins", std, std > 0.0, "a positive number")?;
        // The ends are 1/(2 std) standard deviations from the middle.
        let log_mass = libm::erf(0.5 / std * FRAC_1_SQRT_2).ln();
        Ok(Self { std, log_norm: std.ln() + 0.5 * TAU.ln() + log_mass })
    }

    /// `log r(u)` for u in [0, 1).
    pub fn log_density(self, u: f64) -> f64 {
        -0.5 * ((u - 0.5) / self.std).powi(2) - self.log_norm
    }

    /// Fills `out` with independent draws of (sample, step), by rejection from the wider of normal and uniform that fits: more
    /// than six of ten trials are taken.
    pub fn fill(self, noise: &Noise, sample: u64, step: u32, out: &mut [f64]) {
        let mut rng = noise.rng(sample, step);
        let mut trial = || {
            if self.std < 0.5 {
                let z: f64 = StandardNormal.sample(&mut rng);
                let u = 0.5 + self.std * z;
                (0.0..1.0).contains(&u).then_some(u)
            } else {
                let [u, v]: [f64; 2] =
                    [StandardUniform.sample(&mut rng), StandardUniform.sample(&mut rng)];
                (v < (-0.5 * ((u - 0.5) / self.std).powi(2)).exp()).then_some(u)
            }
        };
        for u in out {
            *u = loop {
                if let Some(u) = trial() {
                    break u;
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Purpose;
    use crate::quadrature::integrate;
    use crate::summary::Summary;

    /// The mean of −log r over draws is the entropy, and that of (u − ½)² the variance, by quadrature.
    #[test]
    fn draws_have_the_density() {
        let noise = Noise::new(4, Purpose::Dequantisation);
        for std in [0.1, 0.49, 0.51, 3.0] {
            let law = TruncatedNormal::new(std).unwrap();
            let mut u = vec![0.0; 20_000];
            law.fill(&noise, 3, 1, &mut u);
            assert!(u.iter().all(|u| (0.0..1.0).contains(u)));
            let mean =
                |f: &dyn Fn(f64) -> f64| Summary::of(&u.iter().map(|u| f(*u)).collect::<Vec<_>>());
            let exact =
                |f: &dyn Fn(f64) -> f64| integrate(0.0, 1.0, |u| law.log_density(u).exp() * f(u));
            assert!((exact(&|_| 1.0) - 1.0).abs() < 1e-6, "std {std}");
            for f in [&|u: f64| law.log_density(u), &|u: f64| (u - 0.5).powi(2), &|u: f64| u]
                as [&dyn Fn(f64) -> f64; 3]
            {
                let (found, want) = (mean(f), exact(f));
                assert!(
                    (found.mean - want).abs() < 4.0 * found.standard_error + 1e-12,
                    "std {std}: {found} {want}"
                );
            }
        }
        assert!(TruncatedNormal::new(0.0).is_err());
    }
}
