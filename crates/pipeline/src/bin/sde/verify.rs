//! `sde verify`: what a trained network is, measured.

mod html;
mod picture;
mod report;

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use ndarray::{ArrayD, Axis, Slice};
use ode_solvers::{RK45, Stochastic, Trace};
use pipeline::cli::{Usage, png, whole};
use pipeline::network::{LikelihoodSettings, NetworkRun, Sampler, Start};
use pipeline::output::{prepare, write_whole};
use pipeline::sliced::sliced_w1;
use sde_core::{Sde, Summary, Tolerance, prior};

use crate::data::Source;
use crate::flags::{Common, ModelFlags};
use crate::model::Described;
use crate::progress::Progress;
use crate::session::Session;
use crate::solver::{named_grid, unfinished};
use report::{AtTime, Found, OfEta, Report, RoundTrip};

/// Samples on the device together unless `--batch` says otherwise.
const BATCH: usize = 64;
/// Noise levels at which loops are drawn, and the log-SNR between which they lie.
const LEVELS: u32 = 5;
const LOG_SNR: (f64, f64) = (14.0, -12.0);
/// Members of the reverse family that are drawn from, and their steps.
const ETAS: [f64; 4] = [0.0, 0.5, 1.0, 1.5];
const STEPS: u32 = 250;
/// Tolerances of the round trips, and the most samples that make them.
const TOLERANCES: [f64; 2] = [1e-4, 1e-5];
const TRIPS: usize = 64;
/// Half the evaluations of the bound of the reverse SDE, for each sample.
const STRATA: u32 = 32;

/// Flags of `verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
The checks, each with the value below which it is normal:
  space_time_loop   is the score that of a density which obeys the process? (rms residual in units of rms ∂s/∂t)
  asymmetry         is it a gradient? (|J − Jᵀ| in units of |J|)
  terminal_snr      are the data forgotten at the end of time?
  prior_mismatch    what the prior costs, at most, in bits/dim
  sliced_w1         the distance of samples from the data, for noise η g in the reverse process
  round_trip        the largest |x − decode(encode(x))|, at a tolerance
  ode_above_bound   negative log-likelihood of the ODE less the bound of the SDE, in bits/dim

Use data that the network was not trained on. A verdict is normal, high, or unclear where chance may be the reason.

Example: sde verify --model assets/digits-unet --data digits:test --num 256 --plot out/verify.png --out out/verify.json")]
pub(crate) struct VerifyFlags {
    #[command(flatten)]
    model: ModelFlags,
    /// Held-out data: a file, a directory of images, or digits:train, digits:validation, digits:test.
    #[arg(long, value_name = "FILE|DIR")]
    data: String,
    /// How many of the data are used, and how many samples are drawn; 256, or as many as there are, when absent.
    #[arg(long, value_name = "N", value_parser = whole(2, 1 << 32), allow_negative_numbers = true)]
    num: Option<u64>,
    /// Where the JSON object goes.
    #[arg(long, value_name = "FILE.json")]
    out: Option<PathBuf>,
    /// Where a picture of the checks goes.
    #[arg(long, value_name = "FILE.png", value_parser = png)]
    plot: Option<PathBuf>,
    /// Where a page with table and picture goes, one file that needs no other.
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
}

/// Runs the checks.
///
/// # Errors
/// A command line, model or file that cannot be used; a solve that did not reach its end.
pub(crate) fn run(flags: &VerifyFlags, common: &Common) -> Result<(), Box<dyn Error>> {
    let session = Session::open("verify", common)?;
    let source = Source::read(&flags.data)?;
    let model = Described::open(&flags.model, Some(&source.sample_shape()), &session)?;
    let points = source.points((None, 0.0), (None, model.description.levels), common.seed())?;
    let x = flags.rows(&points.x)?;
    for path in [&flags.out, &flags.plot, &flags.html].into_iter().flatten() {
        prepare(path)?;
    }

    let found = measure(&session, &model, &x)?;
    let report = Report::new(&found);
    let picture = picture::png(&found)?;
    let write = |path: &Option<PathBuf>, bytes: &[u8]| match path {
        Some(path) => write_whole(path, |file| file.write_all(bytes)),
        None => Ok(()),
    };
    write(&flags.out, session.json(&report)?.as_bytes())?;
    write(&flags.plot, &picture)?;
    write(&flags.html, html::html(&picture, &report).as_bytes())?;
    session.report(&report, &report.table())
}

impl VerifyFlags {
    /// The data that are used.
    fn rows(&self, x: &ArrayD<f64>) -> Result<ArrayD<f64>, Usage> {
        let there = x.len_of(Axis(0));
        let n = self.num.map_or(there.min(256), |n| usize::try_from(n).unwrap_or(usize::MAX));
        if n > there || n < 2 {
            let given = self.num.map_or_else(String::new, |n| format!("--num {n} and "));
            let text = format!(
                "found {given}{there} samples of data, expected at least 2, and no more than there are"
            );
            return Err(Usage(text));
        }
        Ok(x.slice_axis(Axis(0), Slice::from(..n)).to_owned())
    }
}

/// Everything that is measured.
fn measure(
    session: &Session<'_>,
    model: &Described,
    x: &ArrayD<f64>,
) -> Result<Found, Box<dyn Error>> {
    let sde: &dyn Sde = &*model.description.process;
    let (t_min, t_max) = model.interval();
    let n = x.len_of(Axis(0));
    let d = x.len() / n;
    let squares: Vec<f64> = x.outer_iter().map(|x| x.iter().map(|x| x * x).sum::<f64>()).collect();
    let bits = |nats: f64| nats / (d as f64 * std::f64::consts::LN_2);
    let mismatch: Vec<f64> =
        squares.iter().map(|square| bits(prior::mismatch_bound(sde, t_max, *square))).collect();
    let k = sde.coefficients(t_max);
    Ok(Found {
        loops: loops(session, model, x)?,
        terminal_snr: (k.alpha / k.sigma).powi(2),
        prior_mismatch: Summary::of(&mismatch),
        family: family(session, model, x)?,
        round_trips: round_trips(session, model, x)?,
        ode_above_bound: if sde.log_snr(t_max).is_finite() && sde.log_snr(t_min).is_finite() {
            let nats = above_bound(session, model, x)?;
            Some(Summary::of(&nats.into_iter().map(bits).collect::<Vec<_>>()))
        } else {
            session.say("no bound of the reverse SDE: the log-SNR is infinite at an end of time");
            None
        },
    })
}

/// A run with its progress under a name.
fn with_run<T>(
    session: &Session<'_>,
    model: &Described,
    (what, total): (&'static str, usize),
    work: impl FnOnce(&NetworkRun<'_>) -> Result<T, Box<dyn Error>>,
) -> Result<T, Box<dyn Error>> {
    let progress = Progress::new(session, what, total);
    let tell = |done| progress.at(done);
    let found = work(&model.run(session, BATCH, &tell));
    progress.finish();
    found
}

/// Loop integrals at a few noise levels.
fn loops(
    session: &Session<'_>,
    model: &Described,
    x: &ArrayD<f64>,
) -> Result<Vec<AtTime>, Box<dyn Error>> {
    let sde: &dyn Sde = &*model.description.process;
    let (t_min, t_max) = model.interval();
    let (high, low) = (sde.log_snr(t_min).min(LOG_SNR.0), sde.log_snr(t_max).max(LOG_SNR.1));
    let level = |i: u32| high + f64::from(i) / f64::from(LEVELS + 1) * (low - high);
    let at = |i: u32| {
        let t = sde.time_of_log_snr(level(i));
        let n = x.len_of(Axis(0));
        let found = with_run(session, model, ("loops:", n), |run| Ok(run.loops(&x.view(), t)?))?;
        let asymmetry = (!found.space.square.is_empty()).then(|| found.space.relative());
        Ok(AtTime { t, log_snr: level(i), time_loop: found.time.relative(), asymmetry })
    };
    (1..=LEVELS).map(at).collect()
}

/// Samples of the reverse family against the data noised to `t_min`.
fn family(
    session: &Session<'_>,
    model: &Described,
    x: &ArrayD<f64>,
) -> Result<Vec<OfEta>, Box<dyn Error>> {
    let sde: &dyn Sde = &*model.description.process;
    let (t_min, t_max) = model.interval();
    let n = x.len_of(Axis(0));
    let noisy = sde.log_snr(t_max).is_finite() && sde.log_snr(t_min).is_finite();
    let grid = if noisy { named_grid("log-snr", sde, STEPS, (t_max, t_min))? } else { Vec::new() };
    let mut found = Vec::new();
    for eta in ETAS.into_iter().filter(|eta| noisy || *eta == 0.0) {
        let sampler = if eta == 0.0 {
            Sampler::Adaptive(&RK45, Tolerance::both(TOLERANCES[0]))
        } else {
            Sampler::ReverseSde { method: Stochastic::EulerMaruyama, grid: &grid, eta }
        };
        let distance = with_run(session, model, ("samples:", n), |run| {
            let drawn = run.draw(&Start::Prior(n), sampler)?;
            unfinished(&drawn.status)?;
            let d = drawn.y.len() / n;
            let drawn = drawn.y.into_shape_with_order((n, d))?;
            let data = run.rows_at(&x.view(), 0..n, t_min);
            Ok(sliced_w1(drawn.view(), data.view(), run.seed)?)
        })?;
        found.push(OfEta { eta, distance });
    }
    Ok(found)
}

/// Data to latents and back.
fn round_trips(
    session: &Session<'_>,
    model: &Described,
    x: &ArrayD<f64>,
) -> Result<Vec<RoundTrip>, Box<dyn Error>> {
    let n = x.len_of(Axis(0)).min(TRIPS);
    let x = x.slice_axis(Axis(0), Slice::from(..n));
    let trip = |tolerance: f64| {
        let solver = (&RK45, Tolerance::both(tolerance));
        let found = with_run(session, model, ("round trips:", n), |run| {
            Ok(run.round_trip(&x.view(), solver)?)
        })?;
        let (errors, status): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        unfinished(&status)?;
        Ok(RoundTrip { tolerance, largest: errors.into_iter().fold(0.0, f64::max) })
    };
    TOLERANCES.into_iter().map(trip).collect()
}

/// The negative log-likelihood of the ODE less the bound of the reverse SDE, in nats for each sample.
fn above_bound(
    session: &Session<'_>,
    model: &Described,
    x: &ArrayD<f64>,
) -> Result<Vec<f64>, Box<dyn Error>> {
    let n = x.len_of(Axis(0));
    let settings = LikelihoodSettings {
        solver: (&RK45, Tolerance::both(TOLERANCES[0])),
        trace: Trace::signs(2, session.common.seed()),
        augmented: false,
    };
    let ode = with_run(session, model, ("likelihood:", n), |run| {
        Ok(run.likelihood(&x.view(), &settings)?)
    })?;
    unfinished(&ode.iter().map(|p| p.status).collect::<Vec<_>>())?;
    let bound =
        with_run(session, model, ("bound:", n), |run| Ok(run.sde_bound(&x.view(), STRATA)?))?;
    Ok(ode.iter().zip(&bound).map(|(ode, sde)| sde.lower_bound() - ode.value()).collect())
}
