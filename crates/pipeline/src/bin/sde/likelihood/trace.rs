//! Which trace `sde likelihood` takes.

use std::error::Error;
use std::path::Path;

use models::Batch;
use ndarray::{ArrayD, ArrayViewD};
use ode_solvers::Trace;
use pipeline::data::array;
use pipeline::models;
use pipeline::network::sizes;
use pipeline::parts::Fingerprint;

use super::{LikelihoodFlags, TWO_PHASE};
use crate::data::Points;
use crate::parts::fingerprint;
use crate::session::Session;

/// The most dimensions whose trace is exact unless `--trace` says otherwise.
const EXACT: usize = 64;

impl LikelihoodFlags {
    /// How the divergence is found: probes that are asked for are used.
    pub(super) fn trace(
        &self,
        points: &Points,
        session: &Session<'_>,
    ) -> Result<OwnTrace, Box<dyn Error>> {
        if let Some(path) = &self.probe_file {
            let probes = array(path, "probes")?;
            check_probes(path, &probes, points.x.shape())?;
            let file = fingerprint(&probes);
            let upload = |probe: ArrayViewD<'_, f64>| {
                let values: Vec<f64> = probe.iter().copied().collect();
                Batch::from_host(&values, &sizes(probe.shape()), session.device)
            };
            let probes: Result<_, _> = probes.outer_iter().map(upload).collect();
            return Ok(OwnTrace::Given { probes: probes?, file });
        }
        let d: usize = points.x.shape()[1..].iter().product();
        let auto = self.trace == "auto" && self.probes.is_none() && d <= EXACT;
        Ok(if auto || self.trace == "exact" || points.draws > 1 {
            OwnTrace::Exact
        } else {
            let usual = if self.method == TWO_PHASE { 2 } else { 1 };
            let count = u32::try_from(self.probes.unwrap_or(usual))?;
            OwnTrace::Signs { count, seed: session.common.seed() }
        })
    }
}

/// A [`Trace`] with its probes.
pub(super) enum OwnTrace {
    Exact,
    Signs { count: u32, seed: u64 },
    Given { probes: Vec<Batch>, file: Fingerprint },
}

impl OwnTrace {
    pub(super) fn borrowed(&self) -> Trace<'_, Batch> {
        match self {
            Self::Exact => Trace::Exact,
            Self::Signs { count, seed } => Trace::signs(*count, *seed),
            Self::Given { probes, .. } => Trace::Given(probes),
        }
    }
}

/// In words that tell it from others.
impl std::fmt::Display for OwnTrace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::Signs { count, .. } => write!(f, "{count} probes"), // the seed is a setting of its own
            Self::Given { file, .. } => write!(f, "probes {file}"),
        }
    }
}

/// Refuses probes of another shape than [K, B, …].
fn check_probes(path: &Path, probes: &ArrayD<f64>, data: &[usize]) -> Result<(), String> {
    let found = probes.shape();
    if found.len() == data.len() + 1 && found[0] > 0 && found[1..] == *data {
        return Ok(());
    }
    let sizes: Vec<_> = data.iter().map(ToString::to_string).collect();
    let path = path.display();
    Err(format!(
        "{path} has the shape {found:?}, expected [K, {}] for these data",
        sizes.join(", ")
    ))
}
