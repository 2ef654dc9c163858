//! What `sde likelihood` reports: the JSON object, and a table for people.

use pipeline::network::Point;
use sde_core::Summary;
use sde_core::levels::Levels;
use serde::Serialize;

use crate::solver;

/// How the numbers were found.
#[derive(Serialize)]
pub(super) struct Head<'a> {
    pub(super) method: &'a str,
    pub(super) trace: &'static str,
    pub(super) probes: Option<i64>,
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
}

/// One sample; in nats but for the bits.
#[derive(Serialize)]
struct Sample {
    index: usize,
    log_likelihood: f64,
    log_prior: f64,
    int_div: f64,
    bits_per_dim: Option<f64>,
    #[serde(flatten)]
    errors: Unknown,
    nfe: u32,
    status: &'static str,
}

/// What the augmented ODE does not tell about its own errors.
#[derive(Default, Serialize)]
struct Unknown {
    half_width_95: Option<f64>,
    se: Option<f64>,
    dof: Option<f64>,
    ode_error: Option<f64>,
    quadrature_error: Option<f64>,
    float_error: Option<f64>,
}

/// Means over the samples, with standard errors over the samples; null unless every solve reached the end.
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
    pub(super) fn new(head: Head<'a>, d: usize, levels: Option<Levels>, found: &[Point]) -> Self {
        let bits = |p: &Point| levels.map(|levels| levels.bits_per_dim(p.log_likelihood(), d));
        let sample = |(index, p): (usize, &Point)| Sample {
            index,
            log_likelihood: p.log_likelihood(),
            log_prior: p.log_prior,
            int_div: p.int_div,
            bits_per_dim: bits(p),
            errors: Unknown::default(),
            nfe: p.nfe,
            status: solver::status(p.status),
        };
        let nats = Summary::of(&found.iter().map(Point::log_likelihood).collect::<Vec<_>>());
        let bits = levels.map(|_| Summary::of(&found.iter().filter_map(bits).collect::<Vec<_>>()));
        Self {
            n: found.len(),
            d,
            levels: levels.map(Levels::count),
            head,
            samples: found.iter().enumerate().map(sample).collect(),
            mean: Mean {
                log_likelihood: nats.mean,
                bits_per_dim: bits.map(|b| b.mean),
                se: nats.standard_error,
                half_width_95: None,
                bits_per_dim_se: bits.map(|b| b.standard_error),
                bits_per_dim_half_width_95: None,
            },
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
            format!(
                "bits/dim         {bits} (mean ± standard error over samples, {levels} levels)\n"
            )
        });
        let probes = head.probes.map_or_else(String::new, |k| format!(", probes {k}"));
        let meaning = match head.meaning {
            "discrete_lower_bound" => "a lower bound on the log-probability of the integer data",
            _ => "the model's density at t_min",
        };
        format!(
            "samples          {n} of {d} dimensions\n{bits}log-likelihood   {nats} nats (mean ± standard error over samples)\n\
             NFE              {nfe:.1}\nmeaning          {meaning}, t from {} to {}, trace {}{probes}\n",
            head.t_min, head.t_max, head.trace
        )
    }
}
