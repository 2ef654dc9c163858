//! `sde interpolate`: from one sample to another through their latents.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;
use ndarray::{ArrayD, Axis, Ix4};
use ode_solvers::{Path as LatentPath, Solution};
use pipeline::cli::{Usage, whole};
use pipeline::network::{Interpolation, Joined};
use pipeline::output::{Format, Grid, prepare, write_array, write_png_grid};
use serde::Serialize;

use crate::data::Source;
use crate::flags::{Common, ModelFlags};
use crate::flow::BATCH;
use crate::model::Described;
use crate::ode::OdeFlags;
use crate::progress::Progress;
use crate::session::Session;
use crate::solver;

/// Flags of `interpolate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Both samples are encoded, their latents are joined, and each frame is decoded: two solves of the flow. slerp goes along an arc,
which keeps the norm that latents have; its ends are the latents themselves. A picture has one row for each pair.

Example: sde interpolate --model runs/digits --data digits:test --between 0,5 --steps 9 --out out/between.png")]
pub(crate) struct InterpolateFlags {
    #[command(flatten)]
    model: ModelFlags,
    /// Pairs of samples, rows 0 and 1, 2 and 3 and so on: a data file, a directory of images, or digits:train, digits:validation,
    /// digits:test.
    #[arg(long, value_name = "FILE|DIR")]
    data: String,
    /// Rows I and J of the data instead of all pairs.
    #[arg(long, value_name = "I,J", value_parser = two)]
    between: Option<(usize, usize)>,
    /// Frames for each pair, both ends among them.
    #[arg(long, value_name = "N", value_parser = whole(2, 100_000), allow_negative_numbers = true)]
    steps: u64,
    /// The way between latents: along an arc, or straight.
    #[arg(long, default_value = "slerp", value_parser = ["slerp", "linear"])]
    mode: String,
    #[command(flatten)]
    ode: OdeFlags,
    /// Where the frames go, pair after pair: .npy, .safetensors (its tensor `samples`) or .png (a row for each pair).
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// The JSON of `interpolate`.
#[derive(Serialize)]
struct Report<'a> {
    n: usize,
    pairs: usize,
    frames: usize,
    mode: &'a str,
    nfe: u64,
    nfe_per_sample: Vec<u32>,
    out: &'a Path,
}

/// Joins samples.
///
/// # Errors
/// A command line, model or file that cannot be used; a sample that did not reach the end.
pub(crate) fn run(flags: &InterpolateFlags, common: &Common) -> Result<(), Box<dyn Error>> {
    let ode = flags.ode.ode(None)?;
    let session = Session::open("interpolate", common)?;
    let source = Source::read(&flags.data)?;
    let model = Described::open(&flags.model, Some(&source.sample_shape()), &session)?;
    let x = flags.ends(source.states(model.description.levels)?)?;
    Format::of(&flags.out)?.check(x.shape())?;
    prepare(&flags.out)?;

    let pairs = x.len_of(Axis(0)) / 2;
    let frames = usize::try_from(flags.steps)?;
    let progress = Progress::new(&session, "interpolating:", pairs * frames);
    let tell = |done| progress.at(done);
    let path = if flags.mode == "slerp" { LatentPath::Arc } else { LatentPath::Chord };
    let how = Interpolation { frames, path, ode };
    let Joined { frames: decoded, latents } =
        model.run(&session, BATCH, &tell).interpolate(&x.view(), how)?;
    progress.finish();

    let ended = solver::unfinished(&latents.status)
        .map_err(|e| format!("while encoding: {e}"))
        .and_then(|()| solver::unfinished(&decoded.status));
    if ended.is_ok() || Format::of(&flags.out)? != Format::Png {
        flags.write(&decoded, frames)?;
    }
    let report = Report {
        n: pairs * frames,
        pairs,
        frames,
        mode: &flags.mode,
        nfe: latents.batch_evals + decoded.batch_evals,
        nfe_per_sample: decoded.stats.iter().map(|s| s.nfe).collect(),
        out: &flags.out,
    };
    let text = format!(
        "joined {pairs} pairs by {frames} frames each ({}), NFE {:.1} to encode and {:.1} to decode one, to {}\n",
        flags.mode,
        latents.mean_nfe(),
        decoded.mean_nfe(),
        flags.out.display()
    );
    session.report(&report, &text)?;
    Ok(ended?)
}

impl InterpolateFlags {
    /// The rows to join, two by two.
    fn ends(&self, x: ArrayD<f64>) -> Result<ArrayD<f64>, Usage> {
        let n = x.shape().first().copied().unwrap_or(0);
        match self.between {
            Some((i, j)) if i.max(j) < n => Ok(x.select(Axis(0), &[i, j])),
            Some((i, j)) => {
                Err(Usage(format!("found --between {i},{j}, expected rows from 0 to {}", n - 1)))
            }
            None if n % 2 == 0 && n > 0 => Ok(x),
            None => Err(Usage(format!(
                "found {n} samples in --data, expected pairs, or --between I,J to choose two"
            ))),
        }
    }

    /// A picture has its frames side by side.
    fn write(&self, decoded: &Solution<ArrayD<f64>>, frames: usize) -> Result<(), Box<dyn Error>> {
        if Format::of(&self.out)? != Format::Png {
            return Ok(write_array(&self.out, "samples", &decoded.y)?);
        }
        let images = decoded.y.view().into_dimensionality::<Ix4>()?;
        let (_, _, h, w) = images.dim();
        let grid = Grid { columns: frames, scale: (64 / h.max(w).max(1)).max(1), gap: 2 };
        Ok(write_png_grid(&self.out, images, grid)?)
    }
}

/// `I,J`.
fn two(text: &str) -> Result<(usize, usize), String> {
    let rows: Option<Vec<usize>> = text.split(',').map(|n| n.trim().parse().ok()).collect();
    match rows.as_deref() {
        Some(&[i, j]) if i != j => Ok((i, j)),
        _ => Err("expected I,J, two different rows of the data, from 0".into()),
    }
}
