//! The mean log-likelihood of a set of samples, and what is known of it.

use super::LogLikelihood;
use super::interval::{ErrorBar, TraceError, half_width};
use sde_core::Summary;

/// The mean over samples, with two kinds of error kept apart: of the number, and of having only so many samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SetLikelihood {
    /// How many samples.
    pub samples: usize,
    /// Mean and standard error over the samples, in nats. The noise of the traces is part of their spread.
    pub mean: Summary,
    /// The error of the mean as a number for these samples: statistical parts added in quadrature, the others linearly; that
    /// of rounding is the mean of those samples of which it is known.
    pub errors: ErrorBar,
}

impl SetLikelihood {
    /// The mean of these; NaN of none, and where a solve did not reach T.
    pub fn of(samples: &[LogLikelihood]) -> Self {
        let n = samples.len() as f64;
        let values: Vec<f64> = samples.iter().map(LogLikelihood::value).collect();
        let mean = |part: fn(&ErrorBar) -> Option<f64>| {
            let sum: Option<f64> = samples.iter().map(|s| part(&s.errors)).sum();
            sum.map(|sum| sum / n)
        };
        let floats: Vec<f64> = samples.iter().filter_map(|s| s.errors.float).collect();
        let traces: Option<Vec<TraceError>> = samples.iter().map(|s| s.errors.trace).collect();
        let errors = ErrorBar {
            trace: traces.map(|traces| TraceError::of_mean(&traces)),
            ode: mean(|e| e.ode),
            quadrature: mean(|e| e.quadrature),
            float: (!floats.is_empty()).then(|| Summary::of(&floats).mean),
        };
        Self { samples: samples.len(), mean: Summary::of(&values), errors }
    }

    /// Half the width of a 95 % interval for the mean of the law that the samples come from: (L4) with the spread of the
    /// samples. `None` where the bias is unknown, and for a single sample, which has no spread.
    pub fn half_width(&self) -> Option<f64> {
        let (se, dof) = (self.mean.standard_error, self.samples as f64 - 1.0);
        Some(half_width(se, dof, self.errors.bias()?)).filter(|w| w.is_finite())
    }
}

impl TraceError {
    /// That of a mean of independent estimates, by (L4) again.
    fn of_mean(parts: &[Self]) -> Self {
        let n = parts.len() as f64;
        let (mut sum, mut squared) = (0.0, 0.0);
        for part in parts {
            let variance = (part.standard_error / n).powi(2);
            if variance > 0.0 {
                sum += variance;
                squared += variance * variance / part.dof;
            }
        }
        Self::from_sums(sum, squared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solution::LaneStatus;

    fn sample(value: f64, standard_error: f64, ode: Option<f64>) -> LogLikelihood {
        let trace = Some(TraceError { standard_error, dof: 4.0 });
        LogLikelihood {
            log_prior: 0.0,
            int_div: value,
            correction: 0.0,
            errors: ErrorBar { trace, ode, quadrature: Some(0.01), float: None },
            nfe: 0,
            products: 0,
            status: LaneStatus::Done,
        }
    }

    #[test]
    fn statistical_parts_add_in_quadrature_and_others_linearly() {
        let set = SetLikelihood::of(&[sample(1.0, 0.3, Some(0.1)), sample(3.0, 0.4, Some(0.3))]);
        let trace = set.errors.trace.unwrap();
        assert!((trace.standard_error - 0.25).abs() < 1e-15); // √(0.09 + 0.16)/2
        assert!(
            (trace.dof - 0.0625 * 0.0625 / (0.0225_f64.powi(2) + 0.04_f64.powi(2)) * 4.0).abs()
                < 1e-9
        );
        assert!(
            (set.mean.mean - 2.0).abs() < 1e-15 && (set.mean.standard_error - 1.0).abs() < 1e-15
        );
        assert!((set.errors.ode.unwrap() - 0.2).abs() < 1e-15);
        let half_width = set.half_width().unwrap();
        assert!(half_width > 12.706_205 && half_width < 12.706_205 + 0.21, "{half_width}");
        assert_eq!(set.errors.float, None);
        let one_exact = [sample(1.0, 0.0, Some(0.1)), sample(3.0, 0.4, Some(0.3))];
        let trace = SetLikelihood::of(&one_exact).errors.trace.unwrap();
        assert!((trace.standard_error - 0.2).abs() < 1e-15 && (trace.dof - 4.0).abs() < 1e-12);
        let unknown = SetLikelihood::of(&[sample(1.0, 0.3, None), sample(3.0, 0.4, Some(0.3))]);
        assert!(unknown.half_width().is_none() && unknown.errors.half_width().is_none());
        assert!(SetLikelihood::of(&[sample(1.0, 0.3, Some(0.1))]).half_width().is_none());
    }
}
