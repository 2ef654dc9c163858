//! Forward chains with any weighting of signal and noise, and where they end.
//!
//! Each step keeps a part of the signal and adds independent noise. Unrolled, T steps are one:
//!
//! ```text
//! x_t = a_t x_{t−1} + b_t ε_t,   a_t ∈ [0, 1],   b_t ≥ 0,   ε_t ~ N(0, I)            (C1)
//! x_t = A_t x_0 + c_t ε,         ln A_t = Σ_{i≤t} ln a_i                             (C2)
//! c_t² = v_t,   v_t = a_t² v_{t−1} + b_t² = v_{t−1} + [b_t² + v_{t−1} expm1(2 ln a_t)],   v_0 = 0   (C3)
//! v_t = −expm1(2 ln A_t)   where a² + b² = 1                                         (C4)
//! v = a² v + b²   ⇔   √v = b / √(−expm1(2 ln a))                                     (C5)
//! ```
//!
//! `A_t` is kept as a logarithm, because e^{−488541} occurs. Three families choose a from b: [`Weighting::Sum`]
//! (a + b = 1), [`Weighting::Square`] (a² + b² = 1), [`Weighting::Equal`] (a = b), with the fixed points (C5)
//! `√(b/(2−b))`, `1` and `b/√(1−b²)`. Only the second has 1 for every b, and even that one takes its time: the noise
//! coefficient is near 1 when `Σ b²` is large, not when T is.
//!
//! A chain need not end in N(0, I). It suffices that `A_T → 0`; the prior is then the matched `N(0, c_T² I)`. On
//! Gaussian data N(m, s) the exact reverse chain is a linear recursion, with `m_t = A_t m` and `V_t = A_t² s + v_t`:
//!
//! ```text
//! x_{t−1} | x_t ~ N(m_{t−1} + k_t (x_t − m_t), b_t² V_{t−1}/V_t),   k_t = a_t V_{t−1}/V_t          (C6)
//! ```
//!
//! Chains of DDPM are in [`DdpmChain`], their betas in [`BetaSchedule`], and [`ContinuousChain`] makes one an
//! [`Sde`](crate::Sde) with fractional labels.

mod continuous;
mod ddpm;
mod posterior;
mod schedule;
mod terminal;
mod weighting;

pub use continuous::ContinuousChain;
pub use ddpm::DdpmChain;
pub use posterior::{DdpmStep, KlWeights, Posterior, Variance};
pub use schedule::{BetaRange, BetaSchedule};
pub use terminal::TerminalSnr;
pub use weighting::{NoiseRamp, Weighting};

use crate::error::{Error, Result, check, check_size};
use serde::Serialize;

/// The most steps that a chain may have.
const MAX_STEPS: usize = 10_000_000;

/// A chain (C1) with its cumulated coefficients (C2) and (C3).
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    ln_a: Vec<f64>,
    b: Vec<f64>,
    log_signal: Vec<f64>,
    noise: Vec<f64>,
}

/// Where a chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// T.
    pub steps: usize,
    /// `c_T`, which is also the standard deviation of the matched prior.
    pub noise_coef: f64,
    /// `ln A_T`.
    pub log_x0_coef: f64,
    /// `A_T²/c_T²`.
    pub terminal_snr: TerminalSnr,
    /// The value (C5) that repeating the last step for ever would reach.
    pub fixed_point: Option<f64>,
    /// `|c_T − 1| ≤ 1e-3`.
    pub converges_to_one_within_1e_3: bool,
    /// The first t from which on `|c_t − 1| ≤ 1e-3`.
    pub converged_from: Option<usize>,
}

impl Weights {
    /// The chain with the coefficients `a_t ∈ [0, 1]` and `b_t ≥ 0` of t = 1…T.
    ///
    /// # Errors
    /// [`Error::Size`] when there is no step, or not as many a as b; [`Error::Step`] for a number outside its range,
    /// and for a step with a = b = 0, after which nothing is left.
    pub fn new(a: &[f64], b: &[f64]) -> Result<Self> {
        check_size("noise coefficients b", b.len(), a.len())?;
        for (i, (&a, &b)) in a.iter().zip(b).enumerate() {
            check_step("a", i + 1, a, (0.0..=1.0).contains(&a), "a number from 0 to 1")?;
            check_step("b", i + 1, b, b >= 0.0, "a number not below 0")?;
            check_step("a + b", i + 1, a + b, a + b > 0.0, "a positive number")?;
        }
        Self::from_logs(a.iter().map(|a| a.ln()).collect(), b.to_vec())
    }

    /// The chain of a family, `b_t` along a ramp.
    ///
    /// # Errors
    /// As [`new`](Self::new); every b must lie in [0, 1], and above 0 for [`Weighting::Equal`].
    pub fn of(weighting: Weighting, ramp: &NoiseRamp) -> Result<Self> {
        let b = ramp.values()?;
        for (i, &b) in b.iter().enumerate() {
            let ok = (0.0..=1.0).contains(&b) && (b > 0.0 || weighting != Weighting::Equal);
            check_step("b", i + 1, b, ok, "a number from 0 to 1, above 0 where a = b")?;
        }
        Self::from_logs(b.iter().map(|&b| weighting.ln_a(b)).collect(), b)
    }

    /// The variance-exploding chain of score matching with Langevin dynamics (Song and Ermon 2019): a = 1 and
    /// `c_t = σ_min (σ_max/σ_min)^{(t−1)/(T−1)}`.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless `0 < sigma_min < sigma_max < ∞` and T is at least 2.
    pub fn smld(sigma_min: f64, sigma_max: f64, steps: usize) -> Result<Self> {
        check("sigma_min", sigma_min, sigma_min > 0.0, "a positive number")?;
        check("sigma_max", sigma_max, sigma_max > sigma_min, "a number above sigma_min")?;
        check_steps(steps, 2)?;
        let rate = (sigma_max / sigma_min).ln() / (steps - 1) as f64;
        let growth = (2.0 * rate).exp_m1().sqrt();
        let added = (1..steps).map(|i| sigma_min * ((i - 1) as f64 * rate).exp() * growth);
        let b = std::iter::once(sigma_min).chain(added).collect();
        Self::from_logs(vec![0.0; steps], b)
    }

    fn from_logs(ln_a: Vec<f64>, b: Vec<f64>) -> Result<Self> {
        check_steps(b.len(), 1)?;
        let log_signal = cumulate(ln_a.iter().copied());
        let mut v = 0.0_f64;
        let added = ln_a.iter().zip(&b).map(|(ln_a, b)| {
            // The first form keeps the digits of a step that changes little, the second those of one that forgets.
            if *ln_a > -0.35 {
                v += b * b + v * (2.0 * ln_a).exp_m1();
            } else {
                v = v * (2.0 * ln_a).exp() + b * b;
            }
            v.sqrt()
        });
        let noise = std::iter::once(0.0).chain(added).collect();
        Ok(Self { ln_a, b, log_signal, noise })
    }

    /// T.
    pub fn steps(&self) -> usize {
        self.b.len()
    }

    /// `b_t` of t = 1…T, first entry t = 1.
    pub fn b(&self) -> &[f64] {
        &self.b
    }

    /// (C2): `ln A_t` of t = 0…T; −∞ once the signal is gone.
    pub fn log_signal(&self) -> &[f64] {
        &self.log_signal
    }

    /// (C3): `c_t` of t = 0…T.
    pub fn noise(&self) -> &[f64] {
        &self.noise
    }

    /// `c_T`: a chain that has forgotten its signal ends in `N(0, c_T² I)`.
    pub fn matched_prior_std(&self) -> f64 {
        self.noise.last().copied().unwrap_or_default()
    }

    /// `A_T²/c_T²`, infinite for a chain without noise.
    pub fn terminal_snr(&self) -> TerminalSnr {
        let log_signal = self.log_signal.last().copied().unwrap_or_default();
        TerminalSnr::new(2.0 * (log_signal - self.matched_prior_std().ln()))
    }

    /// The first t from which on `|c_t − 1| ≤ tolerance`; `None` when that does not hold at T.
    pub fn within_one_from(&self, tolerance: f64) -> Option<usize> {
        let outside = self.noise.iter().rposition(|c| (c - 1.0).abs() > tolerance);
        let from = outside.map_or(0, |t| t + 1);
        (from <= self.steps()).then_some(from)
    }

    /// Where the chain ends, in numbers.
    pub fn verdict(&self) -> Verdict {
        let last = self.ln_a.last().zip(self.b.last());
        let converged_from = self.within_one_from(1e-3);
        Verdict {
            steps: self.steps(),
            noise_coef: self.matched_prior_std(),
            log_x0_coef: self.log_signal.last().copied().unwrap_or_default(),
            terminal_snr: self.terminal_snr(),
            fixed_point: last.and_then(|(&ln_a, &b)| weighting::fixed_point(ln_a, b)),
            converges_to_one_within_1e_3: converged_from.is_some(),
            converged_from,
        }
    }

    /// (C6): mean and variance that the exact reverse chain returns for data N(`mean`, `variance`) when it starts from
    /// N(0, `prior_std`²). Equal to those of the data when `A_T = 0` and the prior is the matched one. A prior that is
    /// off by δ in mean leaves `δ A_T variance/V_T`: an exact score forgets it where the signal has vanished.
    pub fn reverse_gaussian(&self, mean: f64, variance: f64, prior_std: f64) -> (f64, f64) {
        let signal = |t: usize| self.log_signal[t].exp();
        let total = |t: usize| (signal(t) * signal(t)).mul_add(variance, self.noise[t].powi(2));
        let (mut m, mut v) = (0.0, prior_std * prior_std);
        for t in (1..=self.steps()).rev() {
            let (before, after) = (total(t - 1), total(t));
            let kept = if after > 0.0 { before / after } else { 0.0 };
            let k = self.ln_a[t - 1].exp() * kept;
            m = signal(t - 1) * mean + k * (m - signal(t) * mean);
            v = k * k * v + self.b[t - 1].powi(2) * kept;
        }
        (m, v)
    }
}

/// `0, x_1, x_1 + x_2, …` with Neumaier's compensation, so that 10⁵ terms lose no digits; −∞ stays.
fn cumulate(terms: impl Iterator<Item = f64>) -> Vec<f64> {
    let (mut sum, mut lost) = (0.0_f64, 0.0_f64);
    let sums = terms.map(|x| {
        let next = sum + x;
        if next.is_finite() {
            lost += if sum.abs() >= x.abs() { (sum - next) + x } else { (x - next) + sum };
        }
        sum = next;
        sum + lost
    });
    std::iter::once(0.0).chain(sums).collect()
}

/// `Ok` when a chain may have this many steps.
fn check_steps(steps: usize, least: usize) -> Result<()> {
    let ok = (least..=MAX_STEPS).contains(&steps);
    let expected = if least == 1 { "1 to 10 million" } else { "2 to 10 million" };
    check("steps of the chain", steps as f64, ok, expected).map(drop)
}

/// `Ok` when a number of one step is finite and `ok`.
fn check_step(
    name: &'static str,
    step: usize,
    found: f64,
    ok: bool,
    expected: &'static str,
) -> Result<f64> {
    if found.is_finite() && ok {
        Ok(found)
    } else {
        Err(Error::Step { name, step, found, expected })
    }
}
