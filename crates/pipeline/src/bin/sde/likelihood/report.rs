//! What `sde likelihood` reports: the JSON object, and a table for people.

use ode_solvers::{ErrorBar, LogLikelihood, SetLikelihood};
use sde_core::levels::Levels;
use sde_core::{Summary, Tolerance};
use serde::Serialize;

use crate::solver;

/// How the numbers were found.
#[derive(Serialize)]
pub(super) struct Head<'a> {
    pub(super) method: &'a str,
    pub(super) trace: &'static str,
    pub(super) probes: Option<usize>,
    pub(super) t_min: f64,
    pub(super) t_max: f64,
    pub(super) meaning: &'static str,
    #[serde(skip)]
    pub(super) tolerance: Tolerance,
}

/// The JSON of `likelihood`.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    n: usize,
    d: usize,
    pub(super) levels: Option<u32>,
    #[serde(flatten)]
    head: Head<'a>,
    pub(super) samples: Vec<Sample>,
    mean: Mean,
    /// The parts of the error of the mean, for people.
    #[serde(skip)]
    errors: ErrorBar,
}

/// One sample; in nats but for the bits.
#[derive(Serialize)]
pub(super) struct Sample {
    pub(super) index: usize,
    pub(super) log_likelihood: f64,
    /// The two parts of the log-likelihood, where these are all that it is made of.
    pub(super) log_prior: Option<f64>,
    pub(super) int_div: Option<f64>,
    pub(super) bits_per_dim: Option<f64>,
    #[serde(flatten)]
    pub(super) errors: Errors,
    pub(super) nfe: u32,
    pub(super) status: &'static str,
}

/// The parts of a sample's error; null is unknown.
#[derive(Serialize)]
pub(super) struct Errors {
    pub(super) half_width_95: Option<f64>,
    pub(super) se: Option<f64>,
    pub(super) dof: Option<f64>,
    pub(super) ode_error: Option<f64>,
    pub(super) quadrature_error: Option<f64>,
    pub(super) float_error: Option<f64>,
}

impl Errors {
    fn of(p: &LogLikelihood) -> Self {
        let trace = p.errors.trace;
        Self {
            half_width_95: p.half_width(),
            se: trace.map(|t| t.standard_error),
            dof: trace.map(|t| t.dof),
            ode_error: p.errors.ode,
            quadrature_error: p.errors.quadrature,
            float_error: p.errors.float,
        }
    }
}

/// Means over the samples, with standard errors over the samples; null unless every solve reached the end. The half-width is
/// that of a 95 % interval for the mean of the law that the samples come from: the spread of the samples, in which the noise of
/// the trace is contained, with the mean of the other errors as a bias.
#[derive(Serialize)]
struct Mean {
    log_likelihood: f64,
    bits_per_dim: Option<f64>,
    se: f64,
    half_width_95: Option<f64>,
    bits_per_dim_se: Option<f64>,
    bits_per_dim_half_width_95: Option<f64>,
}

impl<'a> Report<'a> {
    /// `parts`: whether the log-likelihood is the sum of its two parts, and has no part of the dequantisation.
    pub(super) fn new(
        head: Head<'a>,
        (d, levels): (usize, Option<Levels>),
        found: &[(usize, LogLikelihood)],
        parts: bool,
    ) -> Self {
        let bits = |p: &LogLikelihood| levels.map(|levels| levels.bits_per_dim(p.value(), d));
        let sample = |(index, p): &(usize, LogLikelihood)| Sample {
            index: *index,
            log_likelihood: p.value(),
            log_prior: parts.then_some(p.log_prior),
            int_div: parts.then_some(p.int_div),
            bits_per_dim: bits(p),
            errors: Errors::of(p),
            nfe: p.nfe,
            status: solver::status(p.status),
        };
        let set = SetLikelihood::of(&found.iter().map(|(_, p)| *p).collect::<Vec<_>>());
        let nats_per_bit = d as f64 * std::f64::consts::LN_2; // in each dimension
        let in_bits = |nats: f64| levels.map(|_| nats / nats_per_bit);
        Self {
            n: found.len(),
            d,
            levels: levels.map(Levels::count),
            head,
            samples: found.iter().map(sample).collect(),
            mean: Mean {
                log_likelihood: set.mean.mean,
                bits_per_dim: levels.map(|levels| levels.bits_per_dim(set.mean.mean, d)),
                se: set.mean.standard_error,
                half_width_95: set.half_width(),
                bits_per_dim_se: in_bits(set.mean.standard_error),
                bits_per_dim_half_width_95: set.half_width().and_then(in_bits),
            },
            errors: set.errors,
        }
    }

    /// The mean and what it is made of, for people: what, and the finding.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let Self { n, d, head, mean, .. } = self;
        let mut lines = vec![("samples", format!("{n} of {d} dimensions"))];
        let bits = mean.bits_per_dim.zip(mean.bits_per_dim_se).zip(self.levels);
        lines.extend(bits.map(|((value, standard_error), levels)| {
            let interval = interval(value, mean.bits_per_dim_half_width_95);
            let bits = Summary { mean: value, standard_error };
            ("bits/dim", format!("{bits}{interval} ({levels} levels)"))
        }));
        let nats = Summary { mean: mean.log_likelihood, standard_error: mean.se };
        let interval = interval(mean.log_likelihood, mean.half_width_95);
        lines.push(("log-likelihood", format!("{nats}{interval} nats")));
        lines.push(("", "(mean ± standard error over samples)".into()));
        lines.extend(self.mean_parts());
        lines.push(("its own error", self.parts()));
        let nfe = self.samples.iter().map(|s| f64::from(s.nfe)).sum::<f64>() / *n as f64;
        lines.push(("NFE", format!("{nfe:.1}")));
        let meaning = match head.meaning {
            "discrete_lower_bound" => {
                "bits/dim bound from above what the integer data cost; log-likelihood in model coordinates"
            }
            _ => "the model's density at t_min",
        };
        let probes = head.probes.map_or_else(String::new, |k| format!(", probes {k}"));
        let Head { t_min, t_max, trace, .. } = head;
        lines.push((
            "meaning",
            format!("{meaning}, t from {t_min} to {t_max}, trace {trace}{probes}"),
        ));
        lines
    }

    /// [`lines`](Self::lines) as text.
    pub(super) fn table(&self) -> String {
        let line = |(what, found): &(_, String)| format!("{what:<17}{found}\n");
        self.lines().iter().map(line).collect::<Vec<_>>().concat()
    }

    /// The mean of the prior and of the integral, where these are all that the likelihood is made of.
    fn mean_parts(&self) -> Option<(&'static str, String)> {
        let mean = |part: fn(&Sample) -> Option<f64>| {
            let sum: Option<f64> = self.samples.iter().map(part).sum();
            sum.map(|sum| sum / self.n as f64)
        };
        let (prior, integral) = (mean(|s| s.log_prior)?, mean(|s| s.int_div)?);
        Some(("its parts", format!("log prior {prior:.4}, ∫ div v dt {integral:.4} nats")))
    }

    /// The parts of the error that the mean has as a number, and what would make it smaller.
    fn parts(&self) -> String {
        let ErrorBar { trace, ode, quadrature, float } = self.errors;
        let (Some(ode), Some(quadrature)) = (ode, quadrature) else {
            return "unknown for this method: two-phase tells it".into();
        };
        let float = float.map_or_else(String::new, |float| format!(", rounding {float:.1e}"));
        let Some(trace) = trace.map(|t| t.half_width()) else {
            return format!(
                "unknown: one probe tells no spread; solver {ode:.1e}, quadrature {quadrature:.1e}{float} nats"
            );
        };
        let advice = self.advice().map_or_else(String::new, |advice| format!("; {advice}"));
        let whole = self.errors.half_width().unwrap_or(f64::NAN);
        format!(
            "± {whole:.2e} nats (95 %): trace {trace:.1e}, solver {ode:.1e}, quadrature {quadrature:.1e}{float}{advice}"
        )
    }

    /// What would make the error bar smaller, by the largest part of it.
    pub(super) fn advice(&self) -> Option<String> {
        let ErrorBar { trace, ode, quadrature, float } = self.errors;
        let (trace, ode, quadrature) = (trace?.half_width(), ode?, quadrature?);
        if float.is_some_and(|float| float > trace.max(ode + quadrature)) {
            return Some("most of it is from the network's arithmetic".into());
        }
        if ode + quadrature > trace {
            let (part, flags) = if ode >= quadrature {
                ("solver", self.head.larger_tolerance())
            } else {
                ("quadrature", "--atol") // the limit of a panel is 100 times that
            };
            return Some(format!(
                "most of it is from the {part}: lower {flags} to make it smaller"
            ));
        }
        let random = trace > 0.0 && self.head.probes.is_some();
        random.then(|| "most of it is from the trace: more --probes make it smaller".into())
    }
}

impl Head<'_> {
    /// The tolerance that a step's error is held against, both where neither is a tenth of the other. (States are of order 1.)
    fn larger_tolerance(&self) -> &'static str {
        let Tolerance { rtol, atol } = self.tolerance;
        match () {
            () if rtol >= 10.0 * atol => "--rtol",
            () if atol >= 10.0 * rtol => "--atol",
            () => "--rtol and --atol",
        }
    }
}

/// A 95 % interval, where it is known.
fn interval(mean: f64, half_width: Option<f64>) -> String {
    half_width.map_or_else(String::new, |w| format!(", 95 % [{:.4}, {:.4}]", mean - w, mean + w))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ode_solvers::{LaneStatus, TraceError};

    fn advice(
        [trace, ode, quadrature, float]: [f64; 4],
        (rtol, atol): (f64, f64),
    ) -> Option<String> {
        let trace = Some(TraceError { standard_error: trace, dof: f64::INFINITY });
        let errors =
            ErrorBar { trace, ode: Some(ode), quadrature: Some(quadrature), float: Some(float) };
        let (nfe, products, status) = (1, 1, LaneStatus::Done);
        let found = LogLikelihood {
            log_prior: 0.0,
            int_div: 0.0,
            correction: 0.0,
            errors,
            nfe,
            products,
            status,
        };
        let tolerance = Tolerance { rtol, atol };
        let (method, trace, meaning) = ("two-phase", "hutchinson", "model_density_at_t_min");
        let probes = Some(2);
        let head = Head { method, trace, probes, t_min: 0.0, t_max: 1.0, meaning, tolerance };
        Report::new(head, (1, None), &[(0, found)], true).advice()
    }

    #[test]
    fn the_largest_part_says_what_helps() {
        let of = |parts, tolerances| advice(parts, tolerances).unwrap();
        let (same, small) = ((1e-3, 1e-3), (1e-3, 1e-5));
        assert!(of([0.1, 0.5, 0.2, 0.0], same).contains("the solver: lower --rtol and --atol to"));
        assert!(of([0.1, 0.5, 0.2, 0.0], small).contains("the solver: lower --rtol to"));
        assert!(of([0.1, 0.5, 0.2, 0.0], (1e-5, 1e-3)).contains("the solver: lower --atol to"));
        assert!(of([0.1, 0.2, 0.5, 0.1], small).contains("the quadrature: lower --atol to"));
        assert!(of([0.5, 0.2, 0.1, 0.1], same).contains("more --probes"));
        assert!(of([0.1, 0.2, 0.1, 0.5], same).contains("the network's arithmetic"));
        assert_eq!(advice([0.0; 4], same), None);
    }
}
