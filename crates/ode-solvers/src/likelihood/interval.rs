//! One interval from all that is known of an error.
//!
//! ```text
//! half-width = t_{ν,0.975} se + e_ode + e_quadrature,   e_ode = c Σ_panels |∫ s·d dt|                  (L4)
//! se² = Σ_i v_i,   v_i = w_i² var_i/K,   ν = (Σ v_i)² / Σ (v_i²/(K − 1))
//! ```
//!
//! The sums run over the quadrature's nodes, where K probes have the sample variance `var_i`; ν is Satterthwaite's number of
//! degrees of freedom (1946). With few probes a normal quantile would claim too much. Statistical errors add in
//! quadrature, the others linearly.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// The error that random probes leave in a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceError {
    /// se of (L4) in nats; 0 for an exact trace.
    pub standard_error: f64,
    /// ν of (L4); infinite for an exact trace.
    pub dof: f64,
}

/// What is known of the error of a log-likelihood, in nats; `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ErrorBar {
    /// The error of the trace.
    pub trace: Option<TraceError>,
    /// Estimate of the error that the solver leaves, `c Σ |∫ s·d dt|` of (L2).
    pub ode: Option<f64>,
    /// Estimate of the error of the quadrature, (L5).
    pub quadrature: Option<f64>,
}

impl ErrorBar {
    /// (L4); `None` where a part is unknown.
    pub fn half_width(&self) -> Option<f64> {
        Some(self.trace?.half_width() + self.ode? + self.quadrature?)
    }
}

impl TraceError {
    /// That of an exact trace.
    pub const NONE: Self = Self { standard_error: 0.0, dof: f64::INFINITY };

    /// se and ν of (L4) from the sums of the `v_i` and of the `v_i²/ν_i`.
    pub(super) fn from_sums(sum: f64, squared: f64) -> Self {
        let dof = if sum == 0.0 { f64::INFINITY } else { sum * sum / squared };
        Self { standard_error: sum.sqrt(), dof }
    }

    /// `t_{ν,0.975} se`.
    pub fn half_width(&self) -> f64 {
        if self.standard_error == 0.0 { 0.0 } else { t_quantile(self.dof) * self.standard_error }
    }
}

/// `t_{ν,0.975}`: 97.5 % of Student's distribution with ν > 0 degrees of freedom lie below it. NaN for other ν.
pub fn t_quantile(dof: f64) -> f64 {
    const NORMAL: f64 = 1.959_963_984_540_054;
    if dof > 1e3 {
        // Cornish and Fisher's expansion; the next term is 2.6/ν³.
        let (z, z3) = (NORMAL, NORMAL.powi(3));
        let second = (5.0 * z.powi(5) + 16.0 * z3 + 3.0 * z) / 96.0;
        return z + (z3 + z) / (4.0 * dof) + second / (dof * dof);
    }
    StudentsT::new(0.0, 1.0, dof).map_or(f64::NAN, |law| law.inverse_cdf(0.975))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quantiles of printed tables, and for a broken ν the closed form of ν = 2.
    #[test]
    fn quantiles_are_those_of_the_tables() {
        let table = [
            (1.0, 12.706_205),
            (2.0, 4.302_653),
            (5.0, 2.570_582),
            (30.0, 2.042_272),
            (999.0, 1.962_341_5),
            (1001.0, 1.962_336_7),
            (1e6, 1.959_966_357),
            (9.9e6, 1.959_964_224),
            (1e9, 1.959_963_985),
        ];
        for (dof, want) in table {
            assert!((t_quantile(dof) - want).abs() < 1e-6, "{dof}: {}", t_quantile(dof));
        }
        let (low, middle, high) = (t_quantile(2.0), t_quantile(2.5), t_quantile(3.0));
        assert!(high < middle && middle < low);
        assert!(t_quantile(f64::NAN).is_nan() && t_quantile(0.0).is_nan());
    }

    #[test]
    fn what_is_unknown_stays_unknown() {
        let trace = Some(TraceError { standard_error: 0.5, dof: 2.0 });
        let known = ErrorBar { trace, ode: Some(0.25), quadrature: Some(0.125) };
        assert!((known.half_width().unwrap() - (0.5 * 4.302_653 + 0.375)).abs() < 1e-5);
        assert_eq!(ErrorBar { ode: None, ..known }.half_width(), None);
        assert_eq!(TraceError::NONE.half_width().to_bits(), 0.0_f64.to_bits());
    }
}
