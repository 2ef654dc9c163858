//! Times of a training batch: their law, and strata that cover it evenly.
//!
//! ```text
//! ½ ∫ w(t) E|r_t|² dt = ½ E_{t~q} w(t)/q(t) |r_t|²                                      (M3)
//! ```
//!
//! over `[t_min, T]`. Any q gives the same mean and another variance of its gradient. A law here is a density in the
//! log-SNR λ, linear between knots: constant, it makes `w/q` the same for every t with the likelihood weighting, so that
//! no term of the mean is heavier than another (Song et al. 2021b, section 5; Kingma et al. 2021); a table may give more
//! of the batch to the noise levels from which most of the gradient comes. The strata `(i + u)/n mod 1` put one time into
//! each n-th of the law.

use sde_core::error::{check, check_size};
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
    /// [`Error::Parameter`](sde_core::Error::Parameter) where λ is infinite at an end and the law needs it, and for a
    /// table that is no density.
    pub fn on<'a>(
        &self,
        sde: &'a dyn Sde,
        weighting: Weighting,
        span: (f64, f64),
    ) -> Result<Times<'a>> {
        let range = || {
            let (low, high) = (sde.log_snr(span.1), sde.log_snr(span.0));
            check("log-SNR at t_min", high, true, "a finite number")?;
            check("log-SNR at T", low, low < high, "a finite number below that at t_min")?;
            Ok((low, high))
        };
        let density = match self {
            Self::Uniform => None,
            Self::LogSnr => Some(Density::new(&[[0.0, 1.0]], range()?)?),
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
        let relative = match self.weighting {
            Weighting::Likelihood => 1.0, // w is −λ' itself, finite or not
            other => other.weight(self.sde, t) / -self.sde.d_log_snr(t),
        };
        WeightedTime { t, weight: 0.5 * relative / q }
    }
}

/// A piecewise linear density on an interval, and its integral up to each knot.
#[derive(Debug)]
struct Density {
    knots: Vec<[f64; 2]>,
    below: Vec<f64>,
}

impl Density {
    /// The density through `knots`, cut to the interval and normalised.
    fn new(knots: &[[f64; 2]], (low, high): (f64, f64)) -> Result<Self> {
        check_size("knots of a table of times", knots.len().min(1), 1)?;
        for pair in knots.windows(2) {
            check("λ of a knot", pair[1][0], pair[1][0] > pair[0][0], "one above that before it")?;
        }
        for [_, q] in knots {
            check("density of a knot", *q, *q > 0.0, "a positive number")?;
        }
        let inside = knots.iter().copied().filter(|[x, _]| low < *x && *x < high);
        let ends = [low, high].map(|x| [x, interpolate(knots, x)]);
        let mut cut: Vec<_> = std::iter::once(ends[0]).chain(inside).chain([ends[1]]).collect();
        let mut total = 0.0;
        let mut below = vec![0.0];
        for pair in cut.windows(2) {
            total += 0.5 * (pair[0][1] + pair[1][1]) * (pair[1][0] - pair[0][0]);
            below.push(total);
        }
        cut.iter_mut().for_each(|knot| knot[1] /= total);
        below.iter_mut().for_each(|b| *b /= total);
        Ok(Self { knots: cut, below })
    }

    /// The place with the mass u below it, and the density there.
    fn quantile(&self, u: f64) -> (f64, f64) {
        let i = self.below.partition_point(|b| *b <= u).clamp(1, self.knots.len() - 1);
        let ([x0, q0], [x1, q1]) = (self.knots[i - 1], self.knots[i]);
        let (mass, slope) = (u - self.below[i - 1], (q1 - q0) / (x1 - x0));
        // q0 y + slope y²/2 = mass, by the form of the root that has no cancellation.
        let root = (q0 * q0 + 2.0 * slope * mass).max(0.0).sqrt();
        let y = (2.0 * mass / (q0 + root)).clamp(0.0, x1 - x0);
        (x0 + y, q0 + slope * y)
    }
}

/// The function through the knots, constant beyond them.
fn interpolate(knots: &[[f64; 2]], x: f64) -> f64 {
    let i = knots.partition_point(|[k, _]| *k <= x);
    match (i.checked_sub(1).map(|i| knots[i]), knots.get(i)) {
        (Some([x0, q0]), Some([x1, q1])) => q0 + (q1 - q0) * (x - x0) / (x1 - x0),
        (Some([_, q]), None) | (None, Some(&[_, q])) => q,
        (None, None) => f64::NAN, // no knots: refused before
    }
}

/// `(i + u)/n mod 1` for i = 0…n−1: each is uniform if u is, and together they cover [0, 1) evenly.
pub fn strata(n: usize, u: f64) -> impl Iterator<Item = f64> {
    (0..n).map(move |i| ((i as f64 + u) / n as f64).fract())
}
