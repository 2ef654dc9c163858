//! `sde inpaint`: samples of which a part is known.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;
use ndarray::{ArrayD, IxDyn};
use ode_solvers::Inpainting;
use ode_solvers::samplers::Sampler;
use pipeline::cli::{Usage, whole};
use pipeline::data::npy::{self, Npy};
use pipeline::data::safetensors;
use pipeline::network::Completion;
use pipeline::output::{Format, prepare};
use serde::Serialize;

use super::plan::Plan;
use super::{BATCH, SampleFlags};
use crate::data::Source;
use crate::flags::Common;
use crate::model::Described;
use crate::progress::Progress;
use crate::session::Session;
use crate::solver::Method;

/// Flags of `inpaint`: those of `sample` but for what the data say.
#[derive(Debug, Args)]
#[command(
    mut_arg("noise", |arg| arg.hide(true)),
    mut_arg("churn", |arg| arg.hide(true)),
    mut_arg("sampler", |arg| arg.default_value("ddpm").help("A sampler on noise levels without memory of earlier steps.")),
    mut_arg("num", |arg| arg.help("Samples for each image; 1 when absent. They come image after image.")),
    after_help = "\
The known pixels are put in at every step with the noise of that level, and at the end as they are. With --resample N each step
is made N times, with noise in between, so that both parts agree. Integer data are taken at the middles of their levels.

Example: sde inpaint --model runs/digits --data digits:test --mask mask.npy --steps 100 --resample 5 --out out/whole.png"
)]
pub(crate) struct InpaintFlags {
    /// A data file, a directory of images, or the compiled-in digits: digits:train, digits:validation, digits:test.
    #[arg(long, value_name = "FILE|DIR")]
    data: String,
    /// 1 where a pixel is kept, 0 where it is drawn: .npy, or .safetensors (its tensor `mask`), of the shape of the data, of one
    /// sample or of one channel.
    #[arg(long, value_name = "FILE")]
    mask: PathBuf,
    /// How often each step is made.
    #[arg(long, value_name = "N", default_value = "1", value_parser = whole(1, 10_000), allow_negative_numbers = true)]
    resample: u64,
    #[command(flatten)]
    sample: SampleFlags,
}

/// The keys of `inpaint` beside those of `sample`.
#[derive(Serialize)]
struct Own {
    num: usize,
    resample: u32,
    /// The part of the pixels that is known.
    known: f64,
}

/// Completes samples.
///
/// # Errors
/// A command line, model or file that cannot be used; a sample that did not reach the end.
pub(crate) fn run(flags: &InpaintFlags, common: &Common) -> Result<(), Box<dyn Error>> {
    let sample = &flags.sample;
    sample.no_start("inpaint")?;
    let plan = sample.plan()?;
    let sampler = flags.sampler(&plan)?;
    let session = Session::open("inpaint", common)?;
    let source = Source::read(&flags.data)?;
    let mut model = Described::open(&sample.model, Some(&source.sample_shape()), &session)?;
    model.guide(sample.guidance)?;
    let grid = plan.grid(&mut model)?;
    let x = source.states(model.description.levels)?;
    let mask = mask(&flags.mask, x.shape())?;
    Format::of(&sample.out)?.check(x.shape())?;
    prepare(&sample.out)?;

    let (num, resample) =
        (usize::try_from(sample.num.unwrap_or(1))?, u32::try_from(flags.resample)?);
    let how = Inpainting { sampler, resample, seed: common.seed() };
    let job = Completion { data: x.view(), mask: mask.view(), num, how, grid: &grid };
    let progress = Progress::new(&session, "inpainting:", x.shape()[0] * num);
    let tell = |done| progress.at(done);
    let begun = session.seconds();
    let drawn = model.run(&session, BATCH, &tell).inpaint(&job)?;
    let seconds = session.seconds() - begun;
    progress.finish();
    let own = Own { num, resample, known: mask.mean().unwrap_or(f64::NAN) };
    sample.deliver(&session, (&plan, &grid, &model), drawn, (seconds, &own))
}

impl InpaintFlags {
    /// The sampler of a plan, if it has no memory.
    fn sampler(&self, plan: &Plan<'_>) -> Result<Sampler, Usage> {
        if self.sample.churn.is_some() {
            let text = "found --churn with inpaint, expected none: --resample goes back to noise";
            return Err(Usage(text.into()));
        }
        match plan.method {
            Method::Diffusion(sampler) if !matches!(sampler, Sampler::Multistep(_)) => Ok(sampler),
            _ => {
                let fits = Sampler::NAMED.iter().filter(|s| !matches!(s, Sampler::Multistep(_)));
                let names: Vec<_> = fits.map(Sampler::name).collect();
                let found = &self.sample.sampler;
                Err(Usage(format!("found --sampler {found}, expected {}", names.join(" or "))))
            }
        }
    }
}

impl SampleFlags {
    /// Refuses noise to start from, for a command that starts from data.
    pub(super) fn no_start(&self, command: &str) -> Result<(), Usage> {
        match self.noise {
            Some(_) => {
                Err(Usage(format!("found --noise with {command}, expected --data and --seed")))
            }
            None => Ok(()),
        }
    }
}

/// A mask of zeros and ones in the shape of the data.
fn mask(path: &Path, shape: &[usize]) -> Result<ArrayD<f64>, Box<dyn Error>> {
    let is_safetensors = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"));
    let read = if is_safetensors { safetensors::read(path, &["mask"]) } else { npy::read(path) };
    let mask = match read? {
        Npy::U8(mask) => mask.mapv(f64::from),
        Npy::F64(mask) => mask,
        _ => return Err(format!("{}: expected zeros and ones", path.display()).into()),
    };
    if let Some(other) = mask.iter().find(|m| !(0.0..=1.0).contains(*m) || m.fract() != 0.0) {
        return Err(format!("{}: found {other}, expected zeros and ones", path.display()).into());
    }
    let fits = mask.broadcast(IxDyn(shape)).map(|mask| mask.to_owned());
    Ok(fits.ok_or_else(|| {
        let found = mask.shape();
        format!(
            "{} has the shape {found:?}, expected {shape:?}, or that without its first axes",
            path.display()
        )
    })?)
}
