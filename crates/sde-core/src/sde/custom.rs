//! A process from a user's own α(t) and σ(t).
//!
//! Derivatives are the user's or by Richardson-extrapolated differences: central ones inside, one-sided at the
//! ends of time, where α and σ² — not σ, whose slope may be infinite — are smooth. From them and
//! `λ = 2 ln(α/σ)` everything else follows,
//!
//! ```text
//! f = α'/α,   λ' = 2 α'/α − (σ²)'/σ²,   g² = −σ² λ',   var(t|s) = −σ_t² expm1(λ_t − λ_s),
//! ```
//!
//! the last with the digits that `λ_t − λ_s` has: all but those of λ/(t − s), far more than `σ_t² − a² σ_s²` keeps. `t(λ)` is
//! found by bisection.

use super::{Coefficients, Kernel, Sde};
use crate::error::{Error, Result, check};
use std::fmt;
use std::sync::Arc;

/// A function of time that threads may share.
type OfTime = Arc<dyn Fn(f64) -> f64 + Send + Sync>;

/// A process defined by closures. It has no place in a configuration file; the named processes have.
#[derive(Clone)]
pub struct Custom {
    alpha: OfTime,
    sigma: OfTime,
    derivatives: Option<(OfTime, OfTime)>,
    end: f64,
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Custom {{ end: {}, own derivatives: {} }}", self.end, self.derivatives.is_some())
    }
}

/// Times at which a new process is checked.
const CHECKS: u32 = 1000;

impl Custom {
    /// A process on [0, `end`] from α and σ, derivatives by differences.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless `end > 0`, α and σ are finite and not negative, not both 0, and `σ/α` rises.
    pub fn new(
        end: f64,
        alpha: impl Fn(f64) -> f64 + Send + Sync + 'static,
        sigma: impl Fn(f64) -> f64 + Send + Sync + 'static,
    ) -> Result<Self> {
        check("end of time", end, end > 0.0, "a positive number")?;
        let process =
            Self { alpha: Arc::new(alpha), sigma: Arc::new(sigma), derivatives: None, end };
        process.check()?;
        Ok(process)
    }

    /// The same process with the derivatives `α'` and `(σ²)'` given; they are taken as they are.
    #[must_use]
    pub fn with_derivatives(
        self,
        d_alpha: impl Fn(f64) -> f64 + Send + Sync + 'static,
        d_sigma2: impl Fn(f64) -> f64 + Send + Sync + 'static,
    ) -> Self {
        Self { derivatives: Some((Arc::new(d_alpha), Arc::new(d_sigma2))), ..self }
    }

    fn check(&self) -> Result<()> {
        let mut last = f64::NAN; // below nothing
        for i in 0..=CHECKS {
            let t = self.end * f64::from(i) / f64::from(CHECKS);
            let (a, s) = ((self.alpha)(t), (self.sigma)(t));
            check("alpha(t)", a, a >= 0.0, "a number not below 0 at every t")?;
            check(
                "sigma(t)",
                s,
                s >= 0.0 && a + s > 0.0,
                "a number not below 0, nor 0 with alpha",
            )?;
            let level = (s / a).ln();
            if level <= last {
                let expected = "a noise-to-signal ratio that rises with t";
                return Err(Error::Parameter { name: "sigma/alpha", found: s / a, expected });
            }
            last = level;
        }
        Ok(())
    }
}

impl Sde for Custom {
    fn coefficients(&self, t: f64) -> Coefficients {
        let (alpha, sigma) = ((self.alpha)(t), (self.sigma)(t));
        let (d_alpha, d_sigma2) = match &self.derivatives {
            Some((d_alpha, d_sigma2)) => (d_alpha(t), d_sigma2(t)),
            None => (
                derivative(&*self.alpha, t, self.end),
                derivative(&|t| (self.sigma)(t).powi(2), t, self.end),
            ),
        };
        let d_sigma = if sigma > 0.0 {
            0.5 * d_sigma2 / sigma
        } else {
            derivative(&*self.sigma, t, self.end)
        };
        Coefficients { alpha, sigma, d_alpha, d_sigma2, d_sigma }
    }
    fn f(&self, t: f64) -> f64 {
        let k = self.coefficients(t);
        k.d_alpha / k.alpha
    }
    fn g2(&self, t: f64) -> f64 {
        let k = self.coefficients(t);
        k.d_sigma2 - 2.0 * k.d_alpha / k.alpha * k.sigma * k.sigma
    }
    fn log_snr(&self, t: f64) -> f64 {
        2.0 * ((self.alpha)(t) / (self.sigma)(t)).ln()
    }
    fn d_log_snr(&self, t: f64) -> f64 {
        let k = self.coefficients(t);
        2.0 * k.d_alpha / k.alpha - k.d_sigma2 / (k.sigma * k.sigma)
    }
    fn time_of_log_snr(&self, log_snr: f64) -> f64 {
        let (mut low, mut high) = (0.0, self.end);
        while high.next_down() > low {
            let middle = 0.5 * (low + high);
            if middle <= low || middle >= high {
                break;
            }
            if self.log_snr(middle) > log_snr { low = middle } else { high = middle }
        }
        high
    }
    fn kernel(&self, s: f64, t: f64) -> Kernel {
        if s.to_bits() == t.to_bits() {
            return Kernel { a: 1.0, var: 0.0 };
        }
        let (a, sigma) = ((self.alpha)(t) / (self.alpha)(s), (self.sigma)(t));
        let var = -sigma * sigma * (self.log_snr(t) - self.log_snr(s)).exp_m1();
        Kernel { a, var }
    }
    fn end(&self) -> f64 {
        self.end
    }
}

/// `f'(t)` on [0, end] by differences with steps h, h/2, h/4, extrapolated: of order 6 there and at the ends, where more steps are taken.
fn derivative(f: &dyn Fn(f64) -> f64, t: f64, end: f64) -> f64 {
    let h = 4e-3 * end;
    let inside = t >= h && t + h <= end;
    // Error terms are in powers h² of a central difference, h of a one-sided one.
    let (difference, base): (&dyn Fn(f64) -> f64, f64) = if inside {
        (&|h| (f(t + h) - f(t - h)) / (2.0 * h), 4.0)
    } else {
        let side = if t < h { 1.0 } else { -1.0 };
        (&move |h| side * (f(t + side * h) - f(t)) / h, 2.0)
    };
    let rows = if inside { 3 } else { 6 };
    let mut table: Vec<f64> = (0..rows).map(|i| difference(h * 0.5_f64.powi(i))).collect();
    let mut factor = base;
    while table.len() > 1 {
        table = table.windows(2).map(|w| (factor * w[1] - w[0]) / (factor - 1.0)).collect();
        factor *= base;
    }
    table[0]
}
