//! The variational bound in continuous time: what the likelihood-weighted loss is a part of.
//!
//! ```text
//! −log p(x_0) ≤ KL(q(x_T|x_0) ‖ π) + κ ½ ∫ |r_t|² dλ + (d/2) (1 + ln 2πσ²/α²)|_{t_min},     κ = 1     (M4)
//! κ(η) = (1 + η²)²/(4η²) ≥ κ(1) = 1,   κ(0) = ∞                                                       (M10)
//! ```
//!
//! for the model that starts from `π = N(0, σ_T² I)`, follows the reverse SDE with noise `η g` to `t_min` and ends with the
//! decoder `x_0 ~ N(x/α, (σ/α)² I)` there (Kingma et al. 2021, with a Gaussian decoder). The middle term is Girsanov's: the
//! drifts of the model and of the reversed process that is tied to `x_0` differ by `(1+η²)/2 · g²` times a difference of
//! scores, at noise `η g`.
//!
//! **It bounds the law of the SDE, not that of the probability-flow ODE**, for which κ is infinite: the ODE's likelihood is
//! another number and may lie on either side. [`SdeElbo`] therefore has a type of its own.

use crate::residual::residual;
use crate::times::{TimeLaw, Times};
use crate::weighting::Weighting;
use sde_core::error::check;
use sde_core::{Lanes, Noise, Result, Score, Sde, State, Summary};

/// The terms of (M4) without the network in nats: `α_T² |x_0|²/(2σ_T²) + (d/2)(1 + ln 2πσ²/α²)`.
pub fn constant(sde: &dyn Sde, (t_min, end): (f64, f64), square: f64, d: usize) -> f64 {
    prior(sde, end, square) + reconstruction(sde, t_min, d)
}

/// `KL(q(x_T|x_0) ‖ π)`: both have the variance `σ_T²`.
fn prior(sde: &dyn Sde, end: f64, square: f64) -> f64 {
    let k = sde.coefficients(end);
    0.5 * (k.alpha / k.sigma).powi(2) * square
}

/// The mean cost of `x_0` under the decoder.
fn reconstruction(sde: &dyn Sde, t_min: f64, d: usize) -> f64 {
    let k = sde.coefficients(t_min);
    0.5 * d as f64 * (1.0 + (std::f64::consts::TAU * (k.sigma / k.alpha).powi(2)).ln())
}

/// κ(η) of (M10); infinite for η = 0, the probability-flow ODE.
pub fn path_factor(eta: f64) -> f64 {
    let sum = eta.mul_add(eta, 1.0);
    (0.5 * sum / eta).powi(2)
}

/// A lower bound on the log-density of one sample under the reverse **SDE** with noise `η g`, in nats.
///
/// Never a bound on the likelihood of the probability-flow ODE.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SdeElbo {
    /// η, above 0.
    pub eta: f64,
    /// `KL(q(x_T|x_0) ‖ π)`.
    pub prior: f64,
    /// `κ ½ ∫ |r|² dλ`, estimated.
    pub diffusion: f64,
    /// The cost of `x_0` under the decoder.
    pub reconstruction: f64,
    /// Monte-Carlo standard error of `diffusion`, and so of the bound.
    pub standard_error: f64,
}

impl SdeElbo {
    /// The bound on `log p(x_0)`.
    pub fn lower_bound(&self) -> f64 {
        -(self.prior + self.diffusion + self.reconstruction)
    }

    /// The mean of the bounds of independent samples. Its standard error has both parts, the draws and the samples.
    pub fn mean(elbos: &[Self]) -> Summary {
        Summary::of(&elbos.iter().map(Self::lower_bound).collect::<Vec<_>>())
    }
}

impl std::fmt::Display for SdeElbo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (bound, error) = (self.lower_bound(), self.standard_error);
        write!(
            f,
            "log p(x) ≥ {bound:.4} ± {error:.4} nats, p of the reverse SDE with η = {}",
            self.eta
        )
    }
}

/// The estimator of [`SdeElbo`]: two draws of the time in each of `strata` equal parts of a law, each with a noise of its
/// own. Two, because their difference is what the standard error is made of.
///
/// ```
/// use ndarray::array;
/// use score_match::{SdeBound, SdeElbo, TimeLaw};
/// use sde_core::{GaussianMixture, Noise, Purpose, VpLinear};
/// let sde = VpLinear::default();
/// let data = GaussianMixture::isotropic(&[1.0], array![[0.7]], &[0.36])?;
/// let (law, noise) = (&TimeLaw::LogSnr, Noise::new(0, Purpose::Training));
/// let bound = SdeBound { sde: &sde, eta: 1.0, span: (1e-4, 1.0), law, strata: 200, noise };
/// let x0 = array![[0.4], [1.0]];
/// let elbos = bound.estimate(&mut data.score(&sde), &x0, &[0, 1])?;
/// let exact = data.log_densities(&sde, &x0, 0.0)?;
/// for (elbo, exact) in elbos.iter().zip(exact) {
///     println!("{elbo}; of the data {exact:.4}");
///     assert!((elbo.lower_bound() - exact).abs() < 1.0);
/// }
/// # Ok::<(), sde_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SdeBound<'a> {
    /// The process.
    pub sde: &'a dyn Sde,
    /// η of the reverse SDE; 1 gives the best bound for a given error of the score.
    pub eta: f64,
    /// `(t_min, T)`, with finite log-SNR.
    pub span: (f64, f64),
    /// The law of the times; any law has the same mean.
    pub law: &'a TimeLaw,
    /// Half the evaluations of each sample.
    pub strata: u32,
    /// The numbers: those of sample i are keyed by its number alone.
    pub noise: Noise,
}

impl SdeBound<'_> {
    /// The bound of each sample of `x0`; `sample` has their numbers.
    ///
    /// # Errors
    /// For η that is not positive, no strata, a span or a law that does not fit, sizes that disagree, and those of the model.
    pub fn estimate<X: State, M: Score<X>>(
        &self,
        model: &mut M,
        x0: &X,
        sample: &[u64],
    ) -> Result<Vec<SdeElbo>> {
        let expected = "a positive number: the ODE, η = 0, has no such bound";
        check("eta", self.eta, self.eta > 0.0, expected)?;
        check("strata", f64::from(self.strata), (1..1 << 29).contains(&self.strata), "1 to 2^29")?;
        check("log-SNR at t_min", self.sde.log_snr(self.span.0), true, "a finite number")?;
        let times = self.law.on(self.sde, Weighting::Likelihood, self.span)?;
        let mut sums = vec![(0.0, 0.0); x0.samples()];
        for j in 0..self.strata {
            let first = self.draw(&times, model, (x0, sample), 2 * j)?;
            let second = self.draw(&times, model, (x0, sample), 2 * j + 1)?;
            for ((sum, squares), (a, b)) in sums.iter_mut().zip(first.iter().zip(&second)) {
                *sum += 0.5 * (a + b);
                *squares += 0.25 * (a - b).powi(2); // unbiased for the variance of (a + b)/2
            }
        }
        let mut squares = vec![0.0; x0.samples()];
        x0.add_squared_norm(&mut squares);
        let scale = path_factor(self.eta) / f64::from(self.strata);
        let reconstruction = reconstruction(self.sde, self.span.0, x0.sample_len());
        let elbo = |((sum, variance), square): (&(f64, f64), &f64)| SdeElbo {
            eta: self.eta,
            prior: prior(self.sde, self.span.1, *square),
            diffusion: scale * sum,
            reconstruction,
            standard_error: scale * variance.sqrt(),
        };
        Ok(sums.iter().zip(&squares).map(elbo).collect())
    }

    /// `w/(2q) |r|²` of each sample at draw k, a time of stratum k/2.
    fn draw<X: State, M: Score<X>>(
        &self,
        times: &Times<'_>,
        model: &mut M,
        (x0, sample): (&X, &[u64]),
        k: u32,
    ) -> Result<Vec<f64>> {
        let time = |&i: &u64| {
            let mut u = [0.0];
            self.noise.uniform(i, 2 * k, &mut u);
            times.at((f64::from(k / 2) + u[0]) / f64::from(self.strata))
        };
        let (t, weights): (Vec<f64>, Vec<f64>) =
            sample.iter().map(time).map(|x| (x.t, x.weight)).unzip();
        let (mut noise, mut r) = (x0.zeros_like(), x0.zeros_like());
        self.noise.fill(sample, 2 * k + 1, &mut noise)?;
        residual(self.sde, model, x0, &noise, Lanes { t: &t, sample }, &mut r)?;
        let mut squares = vec![0.0; t.len()];
        r.add_squared_norm(&mut squares);
        Ok(squares.iter().zip(&weights).map(|(square, w)| square * w).collect())
    }
}
