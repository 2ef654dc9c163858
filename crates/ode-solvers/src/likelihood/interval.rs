//! One interval from all that is known of an error.
//!
//! ```text
//! P(|se T_ν + e| ≤ half-width) = 0.95,   e = e_ode + e_quadrature + e_float     (L4)
//! se² = Σ_i v_i,   v_i = w_i² var_i/K,   ν = (Σ v_i)² / Σ (v_i²/(K − 1))
//! ```
//!
//! The sums run over the quadrature's nodes, where K probes have the sample variance `var_i`; ν is Satterthwaite's number of
//! degrees of freedom (1946). With few probes a normal quantile would claim too much. Statistical errors add in
//! quadrature, the others linearly: to a bias of at most e. T has Student's distribution, and the half-width is the least that
//! holds 95 % for the worst such bias (Armstrong and Kolesár 2018). It is `t_{ν,0.975} se` where e = 0, e where se = 0, and
//! between: with a bias the noise can miss on one side only, so `e + t_{ν,0.975} se` would be too much.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

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
    /// Estimate of the error that the solver leaves, (L8).
    pub ode: Option<f64>,
    /// Estimate of the error of the quadrature, (L5).
    pub quadrature: Option<f64>,
    /// What the rounding of the model's arithmetic changes; where nobody has measured it, it counts as nothing.
    pub float: Option<f64>,
}

impl ErrorBar {
    /// (L4); `None` where a part is unknown.
    pub fn half_width(&self) -> Option<f64> {
        let TraceError { standard_error, dof } = self.trace?;
        Some(half_width(standard_error, dof, self.bias()?))
    }

    /// e of (L4); `None` where a part is unknown.
    pub fn bias(&self) -> Option<f64> {
        Some(self.ode? + self.quadrature? + self.float.unwrap_or(0.0))
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
        half_width(self.standard_error, self.dof, 0.0)
    }
}

/// (L4) for a standard error, its degrees of freedom ν and the largest bias e.
pub(super) fn half_width(standard_error: f64, dof: f64, bias: f64) -> f64 {
    if standard_error == 0.0 {
        return bias;
    }
    let (k, most) = (bias / standard_error, t_quantile(dof));
    if k == 0.0 || !(k + most).is_finite() {
        return standard_error * most + bias;
    }
    let (mut low, mut high) = (k.max(most), k + most); // never below what the noise alone needs
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if cdf(dof, middle - k) - cdf(dof, -middle - k) < 0.95 {
            low = middle;
        } else {
            high = middle;
        }
    }
    standard_error * high
}

/// `P(T_ν ≤ x)`.
fn cdf(dof: f64, x: f64) -> f64 {
    if dof > 1e3 {
        return Normal::standard().cdf(x);
    }
    StudentsT::new(0.0, 1.0, dof).map_or(f64::NAN, |law| law.cdf(x))
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

    /// Quantiles of |N(b, 1)| from SciPy, and of Student's distribution by its closed form for ν = 2, `P(T ≤ x) = ½ + x/(2√(2 + x²))`.
    #[test]
    fn a_half_width_holds_the_worst_bias() {
        let table = [(0.5, 2.181_477), (1.0, 2.646_146), (2.0, 3.644_854), (5.0, 6.644_854)];
        for (bias, want) in table {
            let found = half_width(2.0, f64::INFINITY, 2.0 * bias) / 2.0;
            assert!((found - want).abs() < 1e-6, "{bias}: {found}");
        }
        let below = |x: f64| 0.5 + x / (2.0 * (2.0 + x * x).sqrt());
        for bias in [1e-9, 0.3, 1.0, 4.0, 1e6] {
            let h = half_width(1.0, 2.0, bias);
            assert!((below(h - bias) - below(-h - bias) - 0.95).abs() < 1e-8, "{bias}: {h}");
            assert!(h >= t_quantile(2.0) - 1e-6 && h <= bias + t_quantile(2.0), "{bias}: {h}");
        }
        assert_eq!(half_width(0.0, f64::INFINITY, 0.25).to_bits(), 0.25_f64.to_bits());
        assert!(half_width(f64::NAN, 2.0, 0.1).is_nan() && half_width(1.0, 2.0, f64::NAN).is_nan());
    }

    #[test]
    fn what_is_unknown_stays_unknown() {
        let trace = Some(TraceError { standard_error: 0.5, dof: 2.0 });
        let known = ErrorBar { trace, ode: Some(0.0), quadrature: Some(0.0), float: None };
        assert!((known.half_width().unwrap() - 0.5 * 4.302_653).abs() < 1e-5);
        assert_eq!(ErrorBar { ode: None, ..known }.half_width(), None);
        let biased = ErrorBar { ode: Some(0.25), quadrature: Some(0.125), ..known };
        let off = ErrorBar { float: Some(0.5), ..biased };
        assert_eq!((biased.bias(), off.bias()), (Some(0.375), Some(0.875)));
        assert!(off.half_width() > biased.half_width() && biased.half_width() > known.half_width());
        assert_eq!(TraceError::NONE.half_width().to_bits(), 0.0_f64.to_bits());
    }
}
