//! What `sde likelihood` reports: the JSON object, and a table for people.

use ode_solvers::{ErrorBar, LogLikelihood, SetLikelihood};
use sde_core::Summary;
use sde_core::levels::Levels;
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
}

/// The JSON of `likelihood`.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    n: usize,
    d: usize,
    levels: Option<u32>,
    #[serde(flatten)]
    head: Head<'a>,
    samples: Vec<Sample>,
    mean: Mean,
    /// The parts of the error of the mean, for people.
    #[serde(skip)]
    errors: ErrorBar,
}

/// One sample; in nats but for the bits.
#[derive(Serialize)]
struct Sample {
    index: usize,
    log_likelihood: f64,
    /// The two parts of the log-likelihood, where these are all that it is made of.
    log_prior: Option<f64>,
    int_div: Option<f64>,
    bits_per_dim: Option<f64>,
    #[serde(flatten)]
    errors: Errors,
    nfe: u32,
    status: &'static str,
}

/// The parts of a sample's error; null is unknown.
#[derive(Serialize)]
struct Errors {
    half_width_95: Option<f64>,
    se: Option<f64>,
    dof: Option<f64>,
    ode_error: Option<f64>,
    quadrature_error: Option<f64>,
    float_error: Option<f64>,
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
            float_error: None, // nothing measures it yet
        }
    }
}

/// Means over the samples, with standard errors over the samples; null unless every solve reached the end. The half-width is
/// that of a 95 % interval for the mean of the law that the samples come from: Student's t of their spread, in which the noise
/// of the trace is contained, and the mean of the other errors.
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
        found: &[LogLikelihood],
        parts: bool,
    ) -> Self {
        let bits = |p: &LogLikelihood| levels.map(|levels| levels.bits_per_dim(p.value(), d));
        let sample = |(index, p): (usize, &LogLikelihood)| Sample {
            index,
            log_likelihood: p.value(),
            log_prior: parts.then_some(p.log_prior),
            int_div: parts.then_some(p.int_div),
            bits_per_dim: bits(p),
            errors: Errors::of(p),
            nfe: p.nfe,
            status: solver::status(p.status),
        };
        let set = SetLikelihood::of(found);
        let nats_per_bit = d as f64 * std::f64::consts::LN_2; // in each dimension
        let in_bits = |nats: f64| levels.map(|_| nats / nats_per_bit);
        Self {
            n: found.len(),
            d,
            levels: levels.map(Levels::count),
            head,
            samples: found.iter().enumerate().map(sample).collect(),
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

    /// A few lines for people.
    pub(super) fn table(&self) -> String {
        let Self { n, d, head, mean, .. } = self;
        let nfe = self.samples.iter().map(|s| f64::from(s.nfe)).sum::<f64>() / *n as f64;
        let nats = Summary { mean: mean.log_likelihood, standard_error: mean.se };
        let bits = mean.bits_per_dim.zip(mean.bits_per_dim_se).zip(self.levels);
        let bits = bits.map_or_else(String::new, |((mean, standard_error), levels)| {
            let bits = Summary { mean, standard_error };
            let interval = interval(mean, self.mean.bits_per_dim_half_width_95);
            format!("bits/dim         {bits}{interval} ({levels} levels)\n")
        });
        let interval = interval(mean.log_likelihood, mean.half_width_95);
        let probes = head.probes.map_or_else(String::new, |k| format!(", probes {k}"));
        let meaning = match head.meaning {
            "discrete_lower_bound" => {
                "bits/dim bound from above what the integer data cost; log-likelihood in model coordinates"
            }
            _ => "the model's density at t_min",
        };
        format!(
            "samples          {n} of {d} dimensions\n{bits}log-likelihood   {nats}{interval} nats\n\
             \x20                (mean ± standard error over samples)\n\
             its own error    {}\n\
             NFE              {nfe:.1}\nmeaning          {meaning}, t from {} to {}, trace {}{probes}\n",
            self.parts(),
            head.t_min,
            head.t_max,
            head.trace
        )
    }

    /// The parts of the error that the mean has as a number, and what would make it smaller.
    fn parts(&self) -> String {
        let ErrorBar { trace, ode, quadrature } = self.errors;
        let (Some(ode), Some(quadrature)) = (ode, quadrature) else {
            return "unknown for this method: two-phase tells it".into();
        };
        let Some(trace) = trace.map(|t| t.half_width()) else {
            return format!(
                "unknown: one probe tells no spread; solver {ode:.1e}, quadrature {quadrature:.1e} nats"
            );
        };
        let head = &self.head;
        let advice = if ode + quadrature > trace {
            "; lower --rtol and --atol to make it smaller"
        } else if trace > 0.0 && head.probes.is_some() {
            "; more --probes make it smaller"
        } else {
            ""
        };
        format!(
            "± {:.2e} nats (95 %): trace {trace:.1e}, solver {ode:.1e}, quadrature {quadrature:.1e}{advice}",
            trace + ode + quadrature
        )
    }
}

/// A 95 % interval, where it is known.
fn interval(mean: f64, half_width: Option<f64>) -> String {
    half_width.map_or_else(String::new, |w| format!(", 95 % [{:.4}, {:.4}]", mean - w, mean + w))
}
