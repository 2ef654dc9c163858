//! `sde likelihood`: data to log-likelihoods.

mod report;

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::PossibleValuesParser;
use models::Batch;
use ndarray::{ArrayD, ArrayViewD, Axis};
use ode_solvers::{LogLikelihood, Trace};
use pipeline::cli::{Usage, whole};
use pipeline::data::array;
use pipeline::dequantise::importance;
use pipeline::models;
use pipeline::network::{LikelihoodSettings, sizes};
use pipeline::output::{prepare, write_whole};

use crate::data::{Dequantise, Points, Source};
use crate::flags::{Common, ModelFlags, ToleranceFlags};
use crate::model::Described;
use crate::progress::Progress;
use crate::session::Session;
use crate::solver;
use report::Report;

/// The method that integrates the divergence after the state.
const TWO_PHASE: &str = "two-phase";
/// Why importance sampling takes no random trace.
const EXACT_ONLY: &str = "expected the exact trace: its noise would raise the bound";
/// Samples on the device together unless `--batch` says otherwise.
const BATCH: usize = 64;
/// The most dimensions whose trace is exact unless `--trace` says otherwise.
const EXACT: usize = 64;

/// Flags of `likelihood`.
#[derive(Debug, Args)]
#[command(after_help = "\
Integer data (pictures, IDX, bytes) are dequantised with noise that is keyed by --seed and the sample's position: the
mean of log-likelihood + d ln(2/levels) over the noise is then a lower bound on the log-probability of the integers, and
bits/dim an upper bound on what they cost. The noise is uniform; or truncated-normal, as wide as what noise
is left at t_min, for models that were trained on the integers themselves; or uniform K times, importance:K, for a bound
that is the tighter the larger K is, and needs the exact trace. Floats are model coordinates: the result is the model's
density at t_min. Log-likelihoods are in nats. The two-phase method tells the error of each: of the trace (from 2 probes on), of the
solver and of the quadrature; the half-width of a 95 % interval is their sum. What a method cannot tell is null in the JSON.

Example: sde likelihood --model runs/digits --data digits:test --rtol 1e-6 --atol 1e-6 --seed 1 --out out/nll.json")]
pub(crate) struct LikelihoodFlags {
    #[command(flatten)]
    model: ModelFlags,
    /// A data file, a directory of images, or the compiled-in digits: digits:train, digits:validation, digits:test.
    #[arg(long, value_name = "FILE|DIR")]
    data: String,
    /// The integral of the divergence after the state, corrected and with an error, or beside it as `score_sde` has it.
    #[arg(long, default_value = "two-phase", value_parser = [TWO_PHASE, "augmented"])]
    method: String,
    /// The adaptive method that solves the ODE.
    #[arg(long, default_value = "rk45", value_parser = PossibleValuesParser::new(solver::adaptive()))]
    solver: String,
    #[command(flatten)]
    tolerance: ToleranceFlags,
    /// The divergence: exact (d passes backward), Hutchinson's estimator, or exact up to 64 dimensions.
    #[arg(long, default_value = "auto", value_parser = ["auto", "exact", "hutchinson"])]
    trace: String,
    /// Random probes of Hutchinson's estimator: 2 by default, new ones at each node; 1 for augmented, the same along a path.
    #[arg(long, value_name = "K", value_parser = whole(1, 4096), allow_negative_numbers = true)]
    probes: Option<u64>,
    /// The probes themselves, [K, B, …] for B samples, with --method augmented: .npy or .safetensors (its tensor `probes`).
    #[arg(long, value_name = "FILE", conflicts_with = "probes")]
    probe_file: Option<PathBuf>,
    /// Noise that makes points of integer data, uniform when absent: none, uniform, truncated-normal or importance:K.
    #[arg(long, value_name = "NOISE")]
    dequantise: Option<Dequantise>,
    /// Levels of the data, 2 to 256; by default the model's, or what the data say.
    #[arg(long, value_name = "L", value_parser = whole(2, 256), allow_negative_numbers = true)]
    levels: Option<u64>,
    /// Where the JSON object goes.
    #[arg(long, value_name = "FILE.json")]
    out: Option<PathBuf>,
}

/// Computes likelihoods.
///
/// # Errors
/// A command line, model or file that cannot be used; a sample whose solve did not reach the end.
pub(crate) fn run(flags: &LikelihoodFlags, common: &Common) -> Result<(), Box<dyn Error>> {
    flags.check()?;
    let session = Session::open("likelihood", common)?;
    let source = Source::read(&flags.data)?;
    let model = Described::open(&flags.model, Some(&source.sample_shape()), &session)?;
    let levels = flags.levels.map(u32::try_from).transpose()?;
    let known = model.description.levels;
    let noise = (flags.dequantise, model.noise_to_signal());
    let points = source.points(noise, (levels, known), common.seed())?;
    let trace = flags.trace(&points, &session)?;
    flags.out.as_ref().map(prepare).transpose()?;

    let n = points.x.len_of(Axis(0));
    let progress = Progress::new(&session, "likelihood:", n);
    let tell = |done| progress.at(done);
    let method = solver::method(&flags.solver).ok_or("no such solver")?; // the flag has one of the names
    let settings = LikelihoodSettings {
        solver: (method, flags.tolerance.tolerance()),
        trace: trace.borrowed(),
        augmented: flags.method != TWO_PHASE,
    };
    let found = model.run(&session, BATCH, &tell).likelihood(&points.x.view(), &settings)?;
    progress.finish();
    let found = if points.dequantised {
        let draws = found.chunks(points.draws).zip(points.log_r.chunks(points.draws));
        draws.map(|(found, log_r)| importance(found, log_r)).collect()
    } else {
        found
    };

    let report = flags.report(&points, &found, &trace, model.interval());
    if let Some(path) = &flags.out {
        let text = session.json(&report)?;
        write_whole(path, |file| file.write_all(text.as_bytes()))?;
    }
    session.report(&report, &report.table())?;
    let status: Vec<_> = found.iter().map(|p| p.status).collect();
    Ok(solver::unfinished(&status)?)
}

impl LikelihoodFlags {
    /// Refuses flags that do not go together.
    fn check(&self) -> Result<(), Usage> {
        let probes =
            [("--probes", self.probes.is_some()), ("--probe-file", self.probe_file.is_some())];
        let given = probes.iter().find(|(_, given)| *given);
        match given {
            Some((flag, _)) if self.trace == "exact" => Err(Usage(format!(
                "found {flag} beside --trace exact, expected --trace hutchinson"
            ))),
            Some((flag, _)) if matches!(self.dequantise, Some(Dequantise::Importance(_))) => {
                Err(Usage(format!("found {flag} beside --dequantise importance, {EXACT_ONLY}")))
            }
            _ if self.trace == "hutchinson"
                && matches!(self.dequantise, Some(Dequantise::Importance(_))) =>
            {
                let found = "found --trace hutchinson beside --dequantise importance";
                Err(Usage(format!("{found}, {EXACT_ONLY}")))
            }
            _ if self.probe_file.is_some() && self.method == TWO_PHASE => Err(Usage(
                "found --probe-file beside --method two-phase, whose probes are new at each node, expected --method augmented"
                    .into(),
            )),
            _ => Ok(()),
        }
    }

    /// How the divergence is found: probes that are asked for are used.
    fn trace(&self, points: &Points, session: &Session<'_>) -> Result<OwnTrace, Box<dyn Error>> {
        if let Some(path) = &self.probe_file {
            let probes = array(path, "probes")?;
            check_probes(path, &probes, points.x.shape())?;
            let upload = |probe: ArrayViewD<'_, f64>| {
                let values: Vec<f64> = probe.iter().copied().collect();
                Batch::from_host(&values, &sizes(probe.shape()), session.device)
            };
            let probes: Result<_, _> = probes.outer_iter().map(upload).collect();
            return Ok(OwnTrace::Given(probes?));
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

    fn report<'a>(
        &'a self,
        points: &Points,
        found: &[LogLikelihood],
        trace: &OwnTrace,
        (t_min, t_max): (f64, f64),
    ) -> Report<'a> {
        let (trace, probes) = match trace {
            OwnTrace::Exact => ("exact", None),
            OwnTrace::Signs { count, .. } => ("hutchinson", Some(*count as usize)),
            OwnTrace::Given(probes) => ("hutchinson", Some(probes.len())),
        };
        let d = points.x.shape()[1..].iter().product();
        let meaning =
            if points.dequantised { "discrete_lower_bound" } else { "model_density_at_t_min" };
        let head = report::Head { method: &self.method, trace, probes, t_min, t_max, meaning };
        let parts = points.draws == 1 && self.dequantise != Some(Dequantise::TruncatedNormal);
        Report::new(head, (d, points.levels), found, parts)
    }
}

/// A [`Trace`] with its probes.
enum OwnTrace {
    Exact,
    Signs { count: u32, seed: u64 },
    Given(Vec<Batch>),
}

impl OwnTrace {
    fn borrowed(&self) -> Trace<'_, Batch> {
        match self {
            Self::Exact => Trace::Exact,
            Self::Signs { count, seed } => Trace::signs(*count, *seed),
            Self::Given(probes) => Trace::Given(probes),
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
