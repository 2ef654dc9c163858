//! `sde encode` and `sde decode`: data to latents, and back.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;
use ndarray::{ArrayD, Axis};
use ode_solvers::Solution;
use pipeline::data::array;
use pipeline::network::Ode;
use pipeline::output::{Format, prepare, write_array};
use serde::Serialize;

use crate::data::Source;
use crate::flags::{Common, ModelFlags};
use crate::model::Described;
use crate::ode::{OdeFlags, StepFlags};
use crate::progress::Progress;
use crate::session::Session;
use crate::solver;

/// Samples on the device together unless `--batch` says otherwise.
pub(crate) const BATCH: usize = 64;

/// Flags of `encode`.
#[derive(Debug, Args)]
#[command(after_help = "\
Integer data are taken at the middles of their levels. A latent stands at t_max; that of data whose process forgets them there
is standard normal in units of σ(t_max). rk23, rk45, dopri5, tsit5, vern7 and dop853 choose the steps of each sample by --rtol
and --atol unless --steps is given. --check decodes again and tells how far the result is from the data.

Example: sde encode --model runs/digits --data digits:test --rtol 1e-6 --atol 1e-6 --check --out out/latents.npy")]
pub(crate) struct EncodeFlags {
    /// A data file, a directory of images, or the compiled-in digits: digits:train, digits:validation, digits:test.
    #[arg(long, value_name = "FILE|DIR")]
    data: String,
    /// Where the latents go: .npy, .safetensors (its tensor `latents`) or .png (a grid).
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    way: WayFlags,
}

/// Flags of `decode`.
#[derive(Debug, Args)]
#[command(after_help = "\
Latents are states at t_max as `sde encode` writes them. rk23, rk45, dopri5, tsit5, vern7 and dop853 choose the steps of each
sample by --rtol and --atol unless --steps is given. --check encodes again and tells how far the result is from the latents.

Example: sde decode --model runs/digits --latents out/latents.npy --rtol 1e-6 --atol 1e-6 --out out/digits.png")]
pub(crate) struct DecodeFlags {
    /// The latents: .npy, or .safetensors (its tensor `latents`).
    #[arg(long, value_name = "FILE")]
    latents: PathBuf,
    /// Where the samples go, in model coordinates: .npy, .safetensors (its tensor `samples`) or .png (a grid).
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    way: WayFlags,
}

/// What both directions share.
#[derive(Debug, Args)]
struct WayFlags {
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    ode: OdeFlags,
    #[command(flatten)]
    steps: StepFlags,
    /// Go back as well, and tell how far the round trip ends from where it began.
    #[arg(long)]
    check: bool,
}

/// The JSON of `encode` and `decode`.
#[derive(Serialize)]
struct Followed<'a> {
    n: usize,
    nfe: u64,
    nfe_per_sample: Vec<u32>,
    round_trip_max: Option<f64>,
    round_trip_rms: Option<f64>,
    out: &'a Path,
}

/// Data to latents.
///
/// # Errors
/// A command line, model or file that cannot be used; a sample that did not reach the end.
pub(crate) fn encode(flags: &EncodeFlags, common: &Common) -> Result<(), Box<dyn Error>> {
    let ode = flags.way.ode.ode(flags.way.steps.steps)?;
    let session = Session::open("encode", common)?;
    let source = Source::read(&flags.data)?;
    let model = Described::open(&flags.way.model, Some(&source.sample_shape()), &session)?;
    let x = source.states(model.description.levels)?;
    let trip = Trip { forward: true, ode, check: flags.way.check, out: &flags.out };
    trip.take(&x, &model, &session)
}

/// Latents to data.
///
/// # Errors
/// As [`encode`].
pub(crate) fn decode(flags: &DecodeFlags, common: &Common) -> Result<(), Box<dyn Error>> {
    let ode = flags.way.ode.ode(flags.way.steps.steps)?;
    let session = Session::open("decode", common)?;
    let x = array(&flags.latents, "latents")?;
    let model = Described::open(&flags.way.model, x.shape().get(1..), &session)?;
    let trip = Trip { forward: false, ode, check: flags.way.check, out: &flags.out };
    trip.take(&x, &model, &session)
}

/// One way along the flow, perhaps with the way back.
struct Trip<'a> {
    forward: bool,
    ode: Ode,
    check: bool,
    out: &'a Path,
}

impl Trip<'_> {
    fn take(
        &self,
        x: &ArrayD<f64>,
        model: &Described,
        session: &Session<'_>,
    ) -> Result<(), Box<dyn Error>> {
        Format::of(self.out)?.check(x.shape())?;
        prepare(self.out)?;
        let reached = self.go(self.forward, x, model, session)?;
        let ended = solver::unfinished(&reached.status);
        let back = match (&ended, self.check) {
            (Ok(()), true) => Some(self.go(!self.forward, &reached.y, model, session)?),
            _ => None,
        };
        if ended.is_ok() || Format::of(self.out)? != Format::Png {
            let key = if self.forward { "latents" } else { "samples" };
            write_array(self.out, key, &reached.y)?; // of a sample that stopped, what it reached
        }
        let report = self.followed(x, &reached, back.as_ref());
        session.report(&report, &self.summary(&report, &reached))?;
        ended?;
        Ok(back.map_or(Ok(()), |back| solver::unfinished(&back.status))?)
    }

    /// The flow in one direction.
    fn go(
        &self,
        forward: bool,
        x: &ArrayD<f64>,
        model: &Described,
        session: &Session<'_>,
    ) -> Result<Solution<ArrayD<f64>>, Box<dyn Error>> {
        let what = if forward { "encoding:" } else { "decoding:" };
        let n = x.shape().first().copied().unwrap_or(0);
        let progress = Progress::new(session, what, n);
        let tell = |done| progress.at(done);
        let run = model.run(session, BATCH, &tell);
        let solution = if forward {
            run.encode(&x.view(), self.ode)
        } else {
            run.decode(&x.view(), self.ode)
        }?;
        progress.finish();
        Ok(solution)
    }

    fn followed(
        &self,
        x: &ArrayD<f64>,
        reached: &Solution<ArrayD<f64>>,
        back: Option<&Solution<ArrayD<f64>>>,
    ) -> Followed<'_> {
        let errors = back.map(|back| &back.y - x);
        let largest = |e: &ArrayD<f64>| e.iter().fold(0.0_f64, |m, e| m.max(e.abs()));
        let rms =
            |e: &ArrayD<f64>| (e.iter().map(|e| e * e).sum::<f64>() / e.len().max(1) as f64).sqrt();
        Followed {
            n: x.len_of(Axis(0)),
            nfe: reached.batch_evals,
            nfe_per_sample: reached.stats.iter().map(|s| s.nfe).collect(),
            round_trip_max: errors.as_ref().map(largest),
            round_trip_rms: errors.as_ref().map(rms),
            out: self.out,
        }
    }

    /// What was done, for people.
    fn summary(&self, report: &Followed<'_>, reached: &Solution<ArrayD<f64>>) -> String {
        let (word, n, nfe) =
            (if self.forward { "encoded" } else { "decoded" }, report.n, reached.mean_nfe());
        let trip = report.round_trip_max.zip(report.round_trip_rms);
        let trip = trip.map_or_else(String::new, |(max, rms)| {
            format!("round trip: at most {max:.2e} off, {rms:.2e} in the root mean square\n")
        });
        format!("{word} {n} samples, NFE {nfe:.1} each, to {}\n{trip}", self.out.display())
    }
}
