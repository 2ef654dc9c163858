//! The variable that the probability-flow ODE is integrated in.
//!
//! The flow is a curve through the noise levels, whatever they are numbered by. In u = u(t), monotone,
//!
//! ```text
//! dx/du = v(x, t(u)) dt/du,     dt/dρ = α²/(σ'α − σα'),     dt/dλ = −(ρ/2) dt/dρ            (O8)
//! ```
//!
//! with `ρ = σ/α` and `λ = −2 ln ρ`, the log-SNR. The map is the same; the steps are not.

use sde_core::Sde;

/// What numbers the noise levels of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variable {
    /// The process's own time t.
    #[default]
    Time,
    /// `ρ = σ/α`, the noise in units of the data. It has no value where α = 0.
    Rho,
    /// `λ = ln(α²/σ²)`, the log-SNR. It has no value where α = 0 or σ = 0.
    LogSnr,
}

impl Variable {
    /// u(t); infinite where the variable has no value.
    pub fn of(self, sde: &dyn Sde, t: f64) -> f64 {
        let k = sde.coefficients(t);
        match self {
            Self::Time => t,
            Self::Rho if k.sigma == 0.0 => 0.0,
            Self::Rho => (-0.5 * sde.log_snr(t)).exp(),
            Self::LogSnr if k.sigma == 0.0 => f64::INFINITY,
            Self::LogSnr => sde.log_snr(t),
        }
    }

    /// t(u).
    pub fn time(self, sde: &dyn Sde, u: f64) -> f64 {
        match self {
            Self::Time => u,
            Self::Rho => sde.time_of_log_snr(-2.0 * u.ln()),
            Self::LogSnr => sde.time_of_log_snr(u),
        }
    }

    /// dt/du at t, (O8).
    pub fn rate(self, sde: &dyn Sde, t: f64) -> f64 {
        let k = sde.coefficients(t);
        let turn = k.d_sigma * k.alpha - k.sigma * k.d_alpha;
        match self {
            Self::Time => 1.0,
            Self::Rho => k.alpha * k.alpha / turn,
            Self::LogSnr => -0.5 * k.sigma * k.alpha / turn,
        }
    }
}

/// The variable between the ends of an interval of time, which are kept bit for bit.
pub(crate) struct Clock<'a> {
    pub(crate) variable: Variable,
    pub(crate) sde: &'a dyn Sde,
    /// The ends in t.
    pub(crate) t: (f64, f64),
    /// The ends in u.
    pub(crate) u: (f64, f64),
}

impl<'a> Clock<'a> {
    pub(crate) fn new(variable: Variable, sde: &'a dyn Sde, t: (f64, f64)) -> Self {
        let u = (variable.of(sde, t.0), variable.of(sde, t.1));
        Self { variable, sde, t, u }
    }

    /// t(u), never outside the interval.
    pub(crate) fn time(&self, u: f64) -> f64 {
        match u.to_bits() {
            bits if bits == self.u.0.to_bits() => self.t.0,
            bits if bits == self.u.1.to_bits() => self.t.1,
            _ => {
                let (low, high) = (self.t.0.min(self.t.1), self.t.0.max(self.t.1));
                self.variable.time(self.sde, u).clamp(low, high)
            }
        }
    }
}
