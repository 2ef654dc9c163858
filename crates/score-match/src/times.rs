//! Times of a training batch: their law, and strata that cover it evenly.
//!
//! ```text
//! ½ ∫ w(t) E|r_t|² dt = ½ E_{t~q} w(t)/q(t) |r_t|²                                      (M3)
//! ```
//!
//! over `[t_min, T]`. Any q gives the same mean and another variance of its gradient. A law here is a density in the
//! log-SNR λ, linear between knots, whose integral is inverted exactly:
//!
//! ```text
//! Importance   q ∝ w(t)/(−λ'(t)), so that w/q is the same for every t: no term of the mean is heavier than another
//! LogNormal    λ ~ N(−2m, 4s²), cut off at the ends: ln(σ/α) ~ N(m, s²)                                (M9)
//! ```
//!
//! The first serves any pair of a weighting and a process (Song et al. 2021b, section 5; Kingma et al. 2021). With the
//! likelihood weighting it is constant, `LogSnr`. The second is that of Karras et al. (2022); a table may give more of the
//! batch to the noise levels from which most of the gradient comes. The knots decide only how well a law is met: the
//! factor `w/q` has the q from which t was drawn.
//!
//! The strata `(i + u)/n mod 1` put one time into each n-th of the law; with a u of its own for each i they are independent.
//!
//! (M3) takes the law out of the loss. Where a paper means it to be part of it, as EDM does (`E_{σ~q} w |r|²`), take
//! [`Times::at`] for t and [`Weighting::weight`] for the factor.

mod density;
mod steps;

pub use steps::{StepLaw, WeightedStep};

use density::Density;
use sde_core::error::check;
use sde_core::{Result, Sde};
use serde::{Deserialize, Serialize};

use crate::weighting::Weighting;

/// The law q of the times, for configuration files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TimeLaw {
    /// Uniform in t.
    Uniform,
    /// Uniform in λ.
    LogSnr,
    /// In proportion to the weight, for the weighting and the process at hand.
    Importance,
    /// (M9): `ln(σ/α)` normal, cut off at the ends of the span.
    LogNormal {
        /// m; −1.2 in EDM.
        mean: f64,
        /// s; 1.2 in EDM.
        std: f64,
    },
    /// Knots `[λ, density]` in the order of λ: linear between them, constant beyond; the scale is of no matter.
    Table(Vec<[f64; 2]>),
}

/// A time and its weight in (M3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightedTime {
    /// t.
    pub t: f64,
    /// `w(t)/(2 q(t))`, q being the density in t.
    pub weight: f64,
}

/// A law on one interval of one process.
#[derive(Debug)]
pub struct Times<'a> {
    sde: &'a dyn Sde,
    weighting: Weighting,
    span: (f64, f64),
    /// The law in λ, for laws that are one.
    density: Option<Density>,
}

impl TimeLaw {
    /// The law on `span = (t_min, T)`.
    ///
    /// # Errors
    /// [`Error::Parameter`](sde_core::Error::Parameter) where λ is infinite at an end and the law needs it, for constants
    /// out of range, for a table that is no density, and for a normal law that has no weight in the span.
    pub fn on<'a>(
        &self,
        sde: &'a dyn Sde,
        weighting: Weighting,
        span: (f64, f64),
    ) -> Result<Times<'a>> {
        weighting.check()?;
        let range = || {
            let (low, high) = (sde.log_snr(span.1), sde.log_snr(span.0));
            check("log-SNR at t_min", high, true, "a finite number")?;
            check("log-SNR at T", low, low < high, "a finite number below that at t_min")?;
            Ok((low, high))
        };
        let density = match self {
            Self::Uniform => None,
            Self::LogSnr => Some(Density::new(&[[0.0, 1.0]], range()?)?),
            Self::Importance => Some(importance(sde, weighting, range()?)?),
            Self::LogNormal { mean, std } => Some(log_normal(*mean, *std, range()?)?),
            Self::Table(knots) => Some(Density::new(knots, range()?)?),
        };
        Ok(Times { sde, weighting, span, density })
    }
}

impl Times<'_> {
    /// The time at the fraction u ∈ [0, 1] of the law.
    pub fn at(&self, u: f64) -> WeightedTime {
        let (from, to) = self.span;
        let Some(density) = &self.density else {
            let t = from + u * (to - from);
            return WeightedTime {
                t,
                weight: 0.5 * self.weighting.weight(self.sde, t) * (to - from),
            };
        };
        let (log_snr, q) = density.quantile(u);
        let t = self.sde.time_of_log_snr(log_snr).clamp(from, to);
        WeightedTime { t, weight: 0.5 * per_log_snr(self.sde, self.weighting, t) / q }
    }
}

/// `w/(−λ')`: the weight for each unit of λ.
fn per_log_snr(sde: &dyn Sde, weighting: Weighting, t: f64) -> f64 {
    match weighting {
        Weighting::Likelihood => 1.0, // w is −λ' itself, finite or not
        other => other.weight(sde, t) / -sde.d_log_snr(t),
    }
}

/// Knots of a law that is a function.
const KNOTS: u32 = 1024;

/// Equally spaced places from `low` to `high`.
fn places((low, high): (f64, f64)) -> impl Iterator<Item = f64> {
    (0..=KNOTS).map(move |i| low + (high - low) * (f64::from(i) / f64::from(KNOTS)))
}

/// The density in λ in proportion to the weight.
fn importance(sde: &dyn Sde, weighting: Weighting, range: (f64, f64)) -> Result<Density> {
    let knots: Vec<[f64; 2]> =
        places(range).map(|x| [x, per_log_snr(sde, weighting, sde.time_of_log_snr(x))]).collect();
    Density::new(&knots, range)
}

/// (M9): tabulated as far as it has weight in double precision, and constant, next to nothing, beyond.
fn log_normal(mean: f64, std: f64, (low, high): (f64, f64)) -> Result<Density> {
    check("mean of the times' law", mean, true, "a finite number")?;
    check("std of the times' law", std, std > 0.0, "a positive number")?;
    let (centre, scale) = (-2.0 * mean, 2.0 * std);
    let ends = (centre - 9.0 * scale, centre + 9.0 * scale);
    let expected = "one within 9 std of the noise levels of the span";
    check("mean of the times' law", mean, ends.0 < high && low < ends.1, expected)?;
    let of = |x: f64| [x, (-0.5 * ((x - centre) / scale).powi(2)).exp()];
    Density::new(&places(ends).map(of).collect::<Vec<_>>(), (low, high))
}

/// `(i + u)/n mod 1` for i = 0…n−1: each is uniform if u is, and together they cover [0, 1) evenly.
pub fn strata(n: usize, u: f64) -> impl Iterator<Item = f64> {
    (0..n).map(move |i| ((i as f64 + u) / n as f64).fract())
}

/// `(i + u_i)/n` for i = 0…n−1: one in each n-th of [0, 1), independent if the `u_i` are.
pub fn jittered(u: &[f64]) -> impl Iterator<Item = f64> {
    u.iter().enumerate().map(|(i, u_i)| (i as f64 + u_i) / u.len() as f64)
}
