//! The variance-preserving chain of DDPM (Ho et al. 2020, arXiv 2006.11239): betas and their cumulated products.
//!
//! ```text
//! x_t = √(1−β_t) x_{t−1} + √β_t ε,   ln ᾱ_t = Σ_{i≤t} log1p(−β_i),   1 − ᾱ_t = −expm1(ln ᾱ_t)      (C7)
//! β_t = var(t−1, t)/(α_t² + σ_t²),   β_1 = σ_1²/(α_1² + σ_1²)                                      (C8)
//! β'_t = δ_t (r_{t−1} + r_t)/r_{t−1}²,   δ_t = √ᾱ_{t−1} − √ᾱ_t,   r_t = Σ_{i>t} δ_i                (C9)
//! ```
//!
//! t = 1…T and `ᾱ_0 = 1`. (C8) reads a chain off any [`Sde`] at T + 1 equally spaced times: `var` is the variance of
//! its transition, and dividing by `α² + σ²` rescales it to variance one without touching its signal-to-noise ratio.
//! (C9) is the rescaling to a terminal ratio of 0 by Lin et al. (2023, arXiv 2305.08891, algorithm 1):
//! `√ᾱ'_t = (√ᾱ_t − √ᾱ_T) √ᾱ_1/(√ᾱ_1 − √ᾱ_T)`, for t ≥ 2, with every difference summed from positive terms.

use super::posterior::{DdpmStep, Variance};
use super::{TerminalSnr, Weights, check_step, check_steps, cumulate};
use crate::error::{Result, check};
use crate::sde::Sde;

/// A chain of betas. All values at one step are in [`DdpmStep`].
///
/// ```
/// use sde_core::chain::BetaSchedule;
/// let betas: BetaSchedule = serde_json::from_str(
///     r#"{"name": "linear", "T": 1000, "beta_start": 1e-4, "beta_end": 0.02}"#)?;
/// let chain = betas.chain()?;
/// assert!((chain.terminal_snr().snr - 4.036e-5).abs() < 1e-8);
/// assert!((chain.step(1000)?.posterior().var - 0.02).abs() < 1e-6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct DdpmChain {
    beta: Vec<f64>,
    log_abar: Vec<f64>,
}

impl DdpmChain {
    /// The chain with the betas of t = 1…T, each in (0, 1); the last one may be 1.
    ///
    /// # Errors
    /// [`Error::Step`](crate::Error::Step) for a beta out of range,
    /// [`Error::Parameter`](crate::Error::Parameter) for no steps or too many.
    pub fn new(beta: Vec<f64>) -> Result<Self> {
        check_steps(beta.len(), 1)?;
        for (i, &beta_t) in beta.iter().enumerate() {
            let last = i + 1 == beta.len();
            let ok = beta_t > 0.0 && (beta_t < 1.0 || (last && beta_t <= 1.0));
            check_step("beta", i + 1, beta_t, ok, "a number between 0 and 1 (1 only at the end)")?;
        }
        let log_abar = cumulate(beta.iter().map(|b| (-b).ln_1p()));
        Ok(Self { beta, log_abar })
    }

    /// (C8): the chain with the signal-to-noise ratios of a process at the times `t T/steps`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_sde(sde: &dyn Sde, steps: usize) -> Result<Self> {
        check_steps(steps, 1)?;
        let time = |i: usize| sde.end() * (i as f64 / steps as f64);
        let beta = (1..=steps).map(|i| {
            let k = sde.coefficients(time(i));
            let var = if i == 1 { k.sigma.powi(2) } else { sde.kernel(time(i - 1), time(i)).var };
            (var / k.alpha.mul_add(k.alpha, k.sigma * k.sigma)).min(1.0) // 1 + rounding at α = 0
        });
        Self::new(beta.collect())
    }

    /// Euler's reading of a process, `β_i = β(t_i) T/N` with `β = −2f`, which is g² where the variance is preserved:
    /// ᾱ tends to α² at first order in 1/N.
    ///
    /// # Errors
    /// As [`new`](Self::new): where f = 0, and where a step is so long that β reaches 1.
    pub fn euler_of_sde(sde: &dyn Sde, steps: usize) -> Result<Self> {
        check_steps(steps, 1)?;
        let h = sde.end() / steps as f64;
        let time = |i: usize| sde.end() * (i as f64 / steps as f64);
        Self::new((1..=steps).map(|i| -2.0 * sde.f(time(i)) * h).collect())
    }

    /// (C9): the chain rescaled so that no signal is left at T; `β_1` stays and `β_T = 1`.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) for a chain of one step.
    pub fn zero_terminal_snr(&self) -> Result<Self> {
        check_steps(self.steps(), 2)?;
        let root = |t: usize| (0.5 * self.log_abar[t]).exp();
        let mut beta = self.beta.clone();
        let mut r = 0.0;
        for t in (2..=self.steps()).rev() {
            let beta_t = self.beta[t - 1];
            let delta = root(t - 1) * beta_t / (1.0 + (1.0 - beta_t).sqrt());
            let before = r + delta;
            beta[t - 1] = delta / before * ((before + r) / before);
            r = before;
        }
        Self::new(beta)
    }

    /// T.
    pub fn steps(&self) -> usize {
        self.beta.len()
    }

    /// `β_t` of t = 1…T, first entry t = 1.
    pub fn betas(&self) -> &[f64] {
        &self.beta
    }

    /// (C7): `ln ᾱ_t` of t = 0…T.
    pub fn log_abar(&self) -> &[f64] {
        &self.log_abar
    }

    /// Everything about step t, 1 ≤ t ≤ T.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) for another t.
    pub fn step(&self, t: usize) -> Result<DdpmStep> {
        check("step t", t as f64, (1..=self.steps()).contains(&t), "1 to the chain's steps")?;
        Ok(self.at(t))
    }

    /// The steps t = 1…T in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = DdpmStep> + ExactSizeIterator + '_ {
        (0..self.steps()).map(|i| self.at(i + 1))
    }

    fn at(&self, t: usize) -> DdpmStep {
        let (log_abar_prev, log_abar) = (self.log_abar[t - 1], self.log_abar[t]);
        DdpmStep { t, beta: self.beta[t - 1], log_abar, log_abar_prev }
    }

    /// The logarithm of a reverse variance for use in a loss, never −∞: the small variance of t = 1 is 0, and its
    /// logarithm is taken from t = 2 (Nichol and Dhariwal 2021, section 3.1), or from `β_1` in a chain of one step.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn log_variance(&self, t: usize, variance: Variance) -> Result<f64> {
        let var = self.step(t)?.variance(variance);
        if var > 0.0 {
            return Ok(var.ln());
        }
        let second = self.step(2).map(|step| step.variance(variance));
        Ok(second.unwrap_or(self.beta[0]).ln())
    }

    /// `ᾱ_T/(1 − ᾱ_T)`.
    pub fn terminal_snr(&self) -> TerminalSnr {
        TerminalSnr::new(self.at(self.steps()).log_snr())
    }

    /// The same chain as weights `a = √(1−β)`, `b = √β`.
    ///
    /// # Errors
    /// None for a valid chain.
    pub fn weights(&self) -> Result<Weights> {
        let ln_a = self.beta.iter().map(|b| 0.5 * (-b).ln_1p()).collect();
        Weights::from_logs(ln_a, self.beta.iter().map(|b| b.sqrt()).collect())
    }
}
