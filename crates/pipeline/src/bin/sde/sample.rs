//! `sde sample`: noise to samples.

pub(crate) mod edit;
pub(crate) mod inpaint;
mod plan;

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::PossibleValuesParser;
use ndarray::ArrayD;
use ode_solvers::Solution;
use ode_solvers::samplers::{Churn, StepVariance};
use pipeline::cli::{Usage, number, whole};
use pipeline::data;
use pipeline::network::Start;
use pipeline::output::{Format, prepare, write_array};
use pipeline::parts::rows;
use serde::Serialize;

use crate::flags::{Common, ModelFlags, ToleranceFlags};
use crate::model::Described;
use crate::parts::{self, Done, PartFlags};
use crate::progress::Progress;
use crate::session::Session;
use crate::solver::{self, Method};
use plan::{Plan, Steps};

/// Samples on the device together unless `--batch` says otherwise.
const BATCH: usize = 64;

/// Flags of `sample`.
#[derive(Debug, Args)]
#[command(after_help = "\
Adaptive samplers (rk23, rk45, dopri5, tsit5, vern7, dop853) choose the steps of each sample by --rtol and --atol unless
--steps or a grid file is given, and adaptive-sde always does (1e-2 when absent); the others need --steps or a grid file.
Sample i is the same for any --num and --batch, to rounding, and with the same --batch and --threads bit for bit in any chunk.

Example: sde sample --model runs/digits --sampler heun --grid log-snr --steps 40 --num 64 --seed 1 --out out/digits.png")]
pub(crate) struct DrawFlags {
    #[command(flatten)]
    sample: SampleFlags,
    #[command(flatten)]
    parts: PartFlags,
}

/// Flags of every command that draws.
#[derive(Debug, Args)]
pub(crate) struct SampleFlags {
    #[command(flatten)]
    model: ModelFlags,
    /// The method: of the probability-flow ODE (euler … dop853), on a grid of noise levels (ddim … edm-heun, with the noise
    /// of the reverse SDE dpm++2m-sde and seeds-2), or of the reverse SDE (euler-maruyama … adaptive-sde).
    #[arg(long, default_value = "rk45", value_parser = PossibleValuesParser::new(solver::samplers()))]
    sampler: String,
    /// Times of the steps: uniform, quadratic, log-snr, karras (ρ = 7), for a chain's labels leading, trailing or linspace,
    /// or a text file of decreasing times, one a line. The samplers on noise levels add a last step to σ = 0.
    #[arg(long, value_name = "NAME|FILE")]
    grid: Option<String>,
    /// Steps on the grid; uniform unless --grid says otherwise.
    #[arg(long, value_name = "N", value_parser = whole(1, 1_000_000), allow_negative_numbers = true)]
    steps: Option<u64>,
    #[command(flatten)]
    tolerance: ToleranceFlags,
    /// Noise of the reverse SDE in units of g, for its samplers, dpm++2m-sde and seeds-2 (1 when absent) and ddim (0).
    #[arg(long, value_name = "X", value_parser = number(0.0, 1e6), allow_negative_numbers = true)]
    eta: Option<f64>,
    /// The variance of a ddpm step: that of the posterior, or the larger one of the forward step.
    #[arg(long, value_name = "small|large", value_parser = plan::variance)]
    variance: Option<StepVariance>,
    /// Back to more noise before each step of edm-euler or edm-heun (Karras et al. 2022).
    #[arg(long, value_name = "S_churn,S_min,S_max,S_noise", value_parser = plan::churn)]
    churn: Option<Churn>,
    /// The step of pc before its corrector; reverse-diffusion when absent.
    #[arg(long, value_parser = ["reverse-diffusion", "euler-maruyama"])]
    predictor: Option<String>,
    /// The size of pc's corrector steps: by the norms of the sample's noise and score (langevin, when absent), or by the noise
    /// level alone (ald, for samples of few numbers).
    #[arg(long, value_parser = ["langevin", "ald"])]
    corrector: Option<String>,
    /// Corrector steps of pc after each step; 1 when absent.
    #[arg(long, value_name = "N", value_parser = whole(0, 1000), allow_negative_numbers = true)]
    corrector_steps: Option<u64>,
    /// Signal-to-noise ratio of pc's corrector steps; 0.16 when absent, as Song et al. (2021) have it.
    #[arg(long, value_name = "X", value_parser = number(0.0, 10.0), allow_negative_numbers = true)]
    snr: Option<f64>,
    /// How many samples; 64 when absent.
    #[arg(long, value_name = "N", value_parser = whole(1, 1 << 32), allow_negative_numbers = true)]
    num: Option<u64>,
    /// The noise at the end of time itself: .npy, or .safetensors (its tensor `noise`); it says how many samples.
    #[arg(long, value_name = "FILE")]
    noise: Option<PathBuf>,
    /// Classifier-free guidance of this weight: 0 forgets the class, 1 is the class alone. The last class of the model stands
    /// for no class.
    #[arg(long, value_name = "W", value_parser = number(-1e6, 1e6), allow_negative_numbers = true)]
    guidance: Option<f64>,
    /// What is done to the finished samples: none, or unit, which clips to [−1, 1].
    #[arg(long, default_value = "none", value_parser = ["none", "unit"])]
    clip: String,
    /// Where the samples go, in model coordinates: .npy, .safetensors (its tensor `samples`) or .png (a grid).
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// The JSON of `sample`.
#[derive(Serialize)]
struct Sampled<'a> {
    n: usize,
    shape: &'a [i64],
    sampler: &'a str,
    grid: Option<&'a str>,
    steps: Option<usize>,
    rtol: Option<f64>,
    atol: Option<f64>,
    eta: Option<f64>,
    seed: u64,
    nfe: u64,
    nfe_per_sample: Vec<u32>,
    accepted: Vec<u32>,
    rejected: Vec<u32>,
    status: Vec<&'static str>,
    images_per_second: f64,
    out: &'a Path,
}

/// Draws samples.
///
/// # Errors
/// A command line, model or file that cannot be used; a sample that did not reach the end.
pub(crate) fn run(flags: &DrawFlags, common: &Common) -> Result<(), Box<dyn Error>> {
    let DrawFlags { sample: flags, parts } = flags;
    let plan = flags.plan()?;
    let session = Session::open("sample", common)?;
    let noise = flags.noise.as_ref().map(|path| data::array(path, "noise")).transpose()?;
    let n = flags.count(noise.as_ref())?;
    let mut model =
        Described::open(&flags.model, noise.as_ref().and_then(|x| x.shape().get(1..)), &session)?;
    model.guide(flags.guidance)?;
    let grid = plan.grid(&mut model)?;
    let shape: Vec<usize> =
        model.description.shape.iter().map(|&n| usize::try_from(n).unwrap_or(0)).collect();
    Format::of(&flags.out)?.check(&[&[n], &shape[..]].concat())?;
    prepare(&flags.out)?;
    let cut = (n, session.common.batch_or(BATCH));
    let settings = parts::settings(plan.settings(&grid, noise.as_ref()), (&model, &session), cut)?;
    let job = parts.job(Some(&flags.out), cut, &settings)?;

    let start = noise.as_ref().map_or(Start::Prior(n), |x| Start::Given(x.view()));
    let progress = Progress::new(&session, "sampling:", n);
    let tell = |done| progress.at(done);
    let begun = session.seconds();
    let run = model.run(&session, BATCH, &tell);
    let mut done = job.run(|samples| {
        Ok(rows::of_solution(&run.draw_some(&start, samples, plan.sampler(&grid))?))
    })?;
    let seconds = session.seconds() - begun;
    progress.finish();

    let read = |done: &Done| rows::to_solution(&done.rows, &shape).ok_or(parts::FOREIGN);
    let mut drawn = read(&done)?;
    flags.write(&mut drawn)?;
    while job.has_more(&done) {
        done = job.run(|_| Err(parts::FOREIGN.into()))?; // all that is wanted is there
        drawn = read(&done)?;
        flags.write(&mut drawn)?;
    }
    job.finish()?;
    flags.tell(&session, (&plan, &grid, &model), &drawn, (seconds, &Nothing {}))
}

/// The keys that `sample` has beside those of every command that draws.
#[derive(Serialize)]
struct Nothing {}

/// The JSON of a command that draws: what is common, and its own.
#[derive(Serialize)]
struct Delivered<'a, T> {
    #[serde(flatten)]
    sampled: &'a Sampled<'a>,
    #[serde(flatten)]
    own: &'a T,
}

/// What was drawn, in a line for people.
fn summary(report: &Sampled<'_>, drawn: &Solution<ArrayD<f64>>) -> String {
    format!(
        "drew {} samples of {:?} by {}, NFE {:.1} each, {:.2} samples a second, to {}\n",
        report.n,
        report.shape,
        report.sampler,
        drawn.mean_nfe(),
        report.images_per_second,
        report.out.display()
    )
}

impl SampleFlags {
    /// How many samples.
    fn count(&self, noise: Option<&ArrayD<f64>>) -> Result<usize, Box<dyn Error>> {
        let rows = noise.map(|x| x.shape().first().copied().unwrap_or(0));
        match (rows, self.num) {
            (Some(rows), Some(num)) if rows as u64 != num => Err(Usage(format!(
                "found --num {num}, expected {rows}, the samples that --noise has"
            ))
            .into()),
            (Some(0), _) => Err("--noise holds no samples, expected at least one".into()),
            (Some(rows), _) => Ok(rows),
            (None, num) => Ok(usize::try_from(num.unwrap_or(64))?),
        }
    }

    /// Writes what was drawn, and reports it.
    fn deliver<T: Serialize>(
        &self,
        session: &Session<'_>,
        of: (&Plan<'_>, &[f64], &Described),
        mut drawn: Solution<ArrayD<f64>>,
        (seconds, own): (f64, &T),
    ) -> Result<(), Box<dyn Error>> {
        self.write(&mut drawn)?;
        self.tell(session, of, &drawn, (seconds, own))
    }

    /// Writes what was drawn, clipped if asked for; of a sample that stopped, what it reached, but no picture.
    fn write(&self, drawn: &mut Solution<ArrayD<f64>>) -> Result<(), Box<dyn Error>> {
        if self.clip == "unit" {
            drawn.y.mapv_inplace(|y| y.clamp(-1.0, 1.0));
        }
        if drawn.is_done() || Format::of(&self.out)? != Format::Png {
            write_array(&self.out, "samples", &drawn.y)?;
        }
        Ok(())
    }

    /// Reports what was drawn in `seconds`, with the keys that are the command's own.
    fn tell<T: Serialize>(
        &self,
        session: &Session<'_>,
        (plan, grid, model): (&Plan<'_>, &[f64], &Described),
        drawn: &Solution<ArrayD<f64>>,
        (seconds, own): (f64, &T),
    ) -> Result<(), Box<dyn Error>> {
        let sampled = self.sampled(plan, grid, model, drawn, (session.common.seed(), seconds));
        session.report(&Delivered { sampled: &sampled, own }, &summary(&sampled, drawn))?;
        Ok(solver::unfinished(&drawn.status)?)
    }

    fn sampled<'a>(
        &'a self,
        plan: &Plan<'_>,
        grid: &[f64],
        model: &'a Described,
        drawn: &Solution<ArrayD<f64>>,
        (seed, seconds): (u64, f64),
    ) -> Sampled<'a> {
        let tolerance = match plan.steps {
            Steps::Adaptive(tolerance) => Some(tolerance),
            Steps::Named(..) | Steps::File(_) => None,
        };
        Sampled {
            n: drawn.status.len(),
            shape: &model.description.shape,
            sampler: &self.sampler,
            grid: tolerance.is_none().then(|| self.grid.as_deref().unwrap_or("uniform")),
            steps: tolerance.is_none().then(|| match plan.method {
                Method::Diffusion(_) => grid.len(), // and a last one to σ = 0
                _ => grid.len() - 1,
            }),
            rtol: tolerance.map(|t| t.rtol),
            atol: tolerance.map(|t| t.atol),
            eta: plan.eta,
            seed,
            nfe: drawn.batch_evals,
            nfe_per_sample: drawn.stats.iter().map(|s| s.nfe).collect(),
            accepted: drawn.stats.iter().map(|s| s.accepted).collect(),
            rejected: drawn.stats.iter().map(|s| s.rejected).collect(),
            status: drawn.status.iter().map(|s| solver::status(*s)).collect(),
            images_per_second: drawn.status.len() as f64 / seconds,
            out: &self.out,
        }
    }
}
