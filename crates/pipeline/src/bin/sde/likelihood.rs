//! `sde likelihood`: data to log-likelihoods.

mod html;
mod report;
mod trace;

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use ndarray::Axis;
use ode_solvers::LogLikelihood;
use pipeline::cli::{Usage, whole};
use pipeline::models::Model;
use pipeline::network::LikelihoodSettings;
use pipeline::output::{prepare, write_whole};
use pipeline::parts::{Settings, rows};
use sde_core::Tolerance;
use sde_core::levels::Levels;

use crate::data::{Dequantise, Points, Source};
use crate::flags::{Common, ModelFlags, ToleranceFlags};
use crate::model::Described;
use crate::parts::{self, Done, Job, PartFlags, fingerprint};
use crate::progress::Progress;
use crate::session::Session;
use crate::solver;
use report::Report;
use trace::OwnTrace;

/// The method that integrates the divergence after the state.
const TWO_PHASE: &str = "two-phase";
/// Why importance sampling takes no random trace.
const EXACT_ONLY: &str = "expected the exact trace: its noise would raise the bound";
/// Samples on the device together unless `--batch` says otherwise.
const BATCH: usize = 64;

/// Flags of `likelihood`.
#[derive(Debug, Args)]
#[command(after_help = "\
Integer data (pictures, IDX, bytes) are dequantised with noise that is keyed by --seed and the sample's position: the
mean of log-likelihood + d ln(2/levels) over the noise is then a lower bound on the log-probability of the integers, and
bits/dim an upper bound on what they cost. The noise is uniform; or truncated-normal, as wide as what noise
is left at t_min, for models that were trained on the integers themselves; or uniform K times, importance:K, for a bound
that is the tighter the larger K is, and needs the exact trace. Floats are model coordinates: the result is the model's
density at t_min. Log-likelihoods are in nats. The two-phase method tells the error of each: of the trace (from 2 probes on), of the
solver, of the quadrature and, with --float-check, of f32; a 95 % interval is made of them all, with the errors that are not
random as a bias. What a method cannot tell is null in the JSON.
With --out, every chunk of --batch samples is kept in OUT.parts as soon as it is done: --resume goes on from there, and
--chunks A..B does a part of the run; with the same --batch and --threads the results are those of one run, bit for bit.

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
    /// Samples, from the first, that are solved with the network in f64 too: what that changes is their `float_error`.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole(0, 1 << 31), allow_negative_numbers = true)]
    float_check: u64,
    /// Where the JSON object goes.
    #[arg(long, value_name = "FILE.json")]
    out: Option<PathBuf>,
    /// Where a page with the mean, a histogram and a table of the samples goes, one file that needs no other.
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    #[command(flatten)]
    parts: PartFlags,
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
    [&flags.out, &flags.html].into_iter().flatten().try_for_each(prepare)?;
    let twin = flags.twin(&session)?;
    let n = points.x.len_of(Axis(0)) / points.draws;
    let cut = (n, common.batch_or(BATCH));
    let settings = parts::settings(flags.settings(&points, &trace), (&model, &session), cut)?;
    let job = flags.parts.job(flags.out.as_deref(), cut, &settings)?;

    let progress = Progress::new(&session, "likelihood:", points.x.len_of(Axis(0)));
    let tell = |done| progress.at(done);
    let method = solver::method(&flags.solver).ok_or("no such solver")?; // the flag has one of the names
    let settings = LikelihoodSettings {
        solver: (method, flags.tolerance.tolerance()),
        trace: trace.borrowed(),
        augmented: flags.method != TWO_PHASE,
    };
    let run = model.run(&session, BATCH, &tell);
    let done = job.run(|samples| {
        let rows = samples.start * points.draws..samples.end * points.draws;
        let mut found = run.likelihood_of_some(&points.x.view(), rows.clone(), &settings)?;
        if let Some(twin) = &twin {
            let checked = usize::try_from(flags.float_check)?.saturating_mul(points.draws);
            let some = rows.start..rows.end.min(checked);
            run.measure_rounding(&*twin.network, &points.x.view(), some, &settings, &mut found)?;
        }
        Ok(rows::of_likelihoods(&points.of_samples(found, rows)))
    })?;
    progress.finish();
    flags.deliver(&session, (&points, &trace, model.interval()), &job, done)
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

    /// The network in f64, where rounding is to be measured.
    fn twin(&self, session: &Session<'_>) -> Result<Option<Model>, String> {
        let open = || session.model_in_double(&self.model.model);
        let twin = (self.float_check > 0).then(open).transpose();
        twin.map_err(|e| format!("--float-check: {e}"))
    }

    /// What the numbers depend on, for the chunks of a long run.
    fn settings(&self, points: &Points, trace: &OwnTrace) -> Settings {
        let Tolerance { rtol, atol } = self.tolerance.tolerance();
        vec![
            ("method", self.method.clone()),
            ("solver", self.solver.clone()),
            ("rtol", format!("{rtol:?}")),
            ("atol", format!("{atol:?}")),
            ("trace", trace.to_string()),
            ("dequantise", format!("{:?}", self.dequantise)),
            ("float-check", self.float_check.to_string()),
            ("levels", format!("{:?}", points.levels.map(Levels::count))),
            ("data", fingerprint(&points.x).and_numbers(&points.log_r).to_string()),
        ]
    }

    /// Writes and reports what was found.
    fn deliver(
        &self,
        session: &Session<'_>,
        (points, trace, interval): (&Points, &OwnTrace, (f64, f64)),
        job: &Job,
        mut done: Done,
    ) -> Result<(), Box<dyn Error>> {
        let report = |done: &Done| -> Result<_, Box<dyn Error>> {
            let found: Option<Vec<_>> = done.rows.iter().map(rows::to_likelihoods).collect();
            let found = job.samples(done).into_iter().zip(found.ok_or(parts::FOREIGN)?.concat());
            let found: Vec<_> = found.collect();
            let report = self.report(points, &found, trace, interval);
            self.write(session, &report)?;
            Ok((report, found))
        };
        let (mut told, mut found) = report(&done)?;
        while job.has_more(&done) {
            done = job.run(|_| Err(parts::FOREIGN.into()))?; // all that is wanted is there
            (told, found) = report(&done)?;
        }
        job.finish()?;
        session.report(&told, &told.table())?;
        if session.common.json {
            told.advice().into_iter().for_each(|advice| session.say(&advice)); // it stands in the table for people
        }
        let status: Vec<_> = found.iter().map(|(_, p)| p.status).collect();
        Ok(solver::unfinished(&status)?)
    }

    /// Writes the files that were asked for.
    fn write(&self, session: &Session<'_>, report: &Report<'_>) -> Result<(), Box<dyn Error>> {
        let write = |path: &Option<PathBuf>, text: String| match path {
            Some(path) => write_whole(path, |file| file.write_all(text.as_bytes())),
            None => Ok(()),
        };
        write(&self.out, session.json(report)?)?;
        Ok(write(&self.html, html::html(report))?)
    }

    fn report<'a>(
        &'a self,
        points: &Points,
        found: &[(usize, LogLikelihood)],
        trace: &OwnTrace,
        (t_min, t_max): (f64, f64),
    ) -> Report<'a> {
        let (trace, probes) = match trace {
            OwnTrace::Exact => ("exact", None),
            OwnTrace::Signs { count, .. } => ("hutchinson", Some(*count as usize)),
            OwnTrace::Given { probes, .. } => ("hutchinson", Some(probes.len())),
        };
        let d = points.x.shape()[1..].iter().product();
        let meaning =
            if points.dequantised { "discrete_lower_bound" } else { "model_density_at_t_min" };
        let tolerance = self.tolerance.tolerance();
        let head =
            report::Head { method: &self.method, trace, probes, t_min, t_max, meaning, tolerance };
        let parts = points.draws == 1 && self.dequantise != Some(Dequantise::TruncatedNormal);
        Report::new(head, (d, points.levels), found, parts)
    }
}
