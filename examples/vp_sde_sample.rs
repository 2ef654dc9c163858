//! ci: --num 4 --steps 20 --out target/ci-digits.png
//! ci --features torch: --model assets/digits-unet --num 4 --steps 20 --test 4 --out target/ci-digits-unet.png
//! Digits by reversing a VP SDE, and the exact likelihood of digits that the model has not seen.
//!
//! The model is known in closed form: one Gaussian per training digit, their common bandwidth chosen on the
//! validation digits. Its score under the VP SDE is exact, so everything below can be checked:
//!
//! * 64 digits by the probability-flow ODE `dx = [f x − ½ g² ∇log p_t] dt`, adaptive, each with its own steps;
//! * 64 digits by the reverse SDE `dx = [f x − g² ∇log p_t] dt + g dw̄` from the same noise;
//! * `log p(x) = log p_T(x_T) + ∫ div v dt` of the test digits beside the mixture's own closed form.
//!
//! With `--features torch` and `--model DIR` the score is that of a trained network instead: `vp_sde_sample/network.rs`.

#[cfg(feature = "torch")]
#[path = "vp_sde_sample/network.rs"]
mod network;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use ndarray::{Array2, Array4};
use ode_solvers::LaneStatus;
use pipeline::bandwidth::kernel_density;
use pipeline::cli::{finish, parse_or_exit, png, print, whole};
use pipeline::data::{Digits, digits};
use pipeline::dequantise::{dequantise, midpoints};
use pipeline::host::{HostRun, PointLikelihood};
use pipeline::output::{Grid, prepare, write_png_blocks};
use sde_core::levels::Levels;
use sde_core::state::max_or_nan;
use sde_core::{Summary, Tolerance, VpLinear};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Draws digits by the probability-flow ODE and by the reverse SDE, and prints exact likelihoods.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example: vp_sde_sample --num 16 --steps 200 --seed 3 --out out/digits.png"
)]
struct Flags {
    /// Digits to draw by each of the two methods.
    #[arg(long, default_value_t = 64, value_parser = whole(1, 10_000), allow_negative_numbers = true)]
    num: u64,
    /// Steps of the reverse SDE.
    #[arg(long, default_value_t = 500, value_parser = whole(1, 1_000_000), allow_negative_numbers = true)]
    steps: u64,
    /// Relative and absolute tolerance of the ODE solves; 1e-8 when absent, 1e-5 for a network, which computes in f32.
    #[arg(long, value_parser = tolerance, allow_negative_numbers = true)]
    rtol: Option<f64>,
    /// A network from this directory in the place of the mixture.
    #[cfg(feature = "torch")]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Test digits whose likelihood a network is asked for; all when absent.
    #[cfg(feature = "torch")]
    #[arg(long, value_parser = whole(2, 270), allow_negative_numbers = true)]
    test: Option<u64>,
    /// Random-sign probes of a network's divergence for each test digit, kept along its path.
    #[cfg(feature = "torch")]
    #[arg(long, default_value_t = 2, value_parser = whole(1, 4096), allow_negative_numbers = true)]
    probes: u64,
    /// Key of all random numbers.
    #[arg(long, default_value_t = 0, value_parser = whole(0, u64::MAX), allow_negative_numbers = true)]
    seed: u64,
    /// The picture, a PNG file.
    #[arg(long, default_value = "out/digits.png", value_parser = png)]
    out: PathBuf,
    /// Threads; all cores when absent.
    #[arg(long, value_parser = whole(1, 1024), allow_negative_numbers = true)]
    threads: Option<u64>,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(tol) if (1e-13..=0.1).contains(&tol) => Ok(tol),
        _ => Err("expected a number from 1e-13 to 0.1".into()),
    }
}

fn main() -> ExitCode {
    finish(run(&parse_or_exit()))
}

fn run(flags: &Flags) -> Result<(), Box<dyn Error>> {
    prepare(&flags.out)?;
    if let Some(threads) = flags.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads as usize).build_global()?;
    }
    #[cfg(feature = "torch")]
    if let Some(model) = &flags.model {
        return network::run(flags, model);
    }
    let rtol = flags.rtol.unwrap_or(1e-8);
    let Digits { train, validation, test } = digits();
    let (sde, levels) = (VpLinear::default(), Levels::new(train.images.levels())?);
    let points = midpoints(&train.images);
    let held_out = dequantise(&validation, flags.seed);
    let (mixture, bandwidth) = kernel_density(&points, &held_out)?;
    let x = dequantise(&test, flags.seed);
    let n = flags.num as usize;
    let bar = progress_bar(2 * n + x.nrows());
    let on_done = |samples: usize| bar.inc(samples as u64);
    let run =
        HostRun { sde: &sde, mixture: &mixture, seed: flags.seed, t_min: 0.0, on_done: &on_done };
    let tolerance = Tolerance::both(rtol);
    let flow = run.draw_by_flow(n, tolerance)?;
    let reverse = run.draw_by_sde(n, flags.steps as u32, 1.0)?;
    let likelihood = run.likelihood(&x, tolerance)?;
    bar.finish_and_clear();

    let stopped = unfinished(flow.status.iter().chain(&reverse.status))
        + unfinished(likelihood.iter().map(|p| &p.status));
    if stopped > 0 {
        return Err(format!("{stopped} solves did not reach the end at --rtol {rtol}").into());
    }
    let text = format!(
        "model        {} Gaussians, bandwidth {bandwidth:.4} (validation)\n\
         PF-ODE       {n} digits, {:.1} evaluations each\n\
         reverse SDE  {n} digits, {:.1} evaluations each\n{}\
         wrote        {} (left PF-ODE, right reverse SDE)\n",
        points.nrows(),
        flow.mean_nfe(),
        reverse.mean_nfe(),
        report(&likelihood, levels, x.ncols()),
        flags.out.display()
    );
    write_picture(&flags.out, &[as_images(flow.y)?, as_images(reverse.y)?])?;
    Ok(print(&text)?)
}

/// How many solves stopped before the end of their interval.
fn unfinished<'a>(status: impl Iterator<Item = &'a LaneStatus>) -> usize {
    status.filter(|s| **s != LaneStatus::Done).count()
}

/// The likelihood table: the flow beside the closed form, and what the Gaussian prior changes.
fn report(points: &[PointLikelihood], levels: Levels, d: usize) -> String {
    let bits = |f: &dyn Fn(&PointLikelihood) -> f64| {
        let values: Vec<f64> = points.iter().map(|p| levels.bits_per_dim(f(p), d)).collect();
        Summary::of(&values)
    };
    let nfe = points.iter().map(|p| f64::from(p.nfe)).sum::<f64>() / points.len() as f64;
    let off = points.iter().map(|p| (p.log_data() - p.closed_form).abs()).fold(0.0, max_or_nan);
    let mismatch: Vec<f64> = points.iter().map(|p| p.log_terminal - p.log_prior).collect();
    let note = if off > 1e-4 { " (a smaller --rtol brings it below 1e-4)" } else { "" };
    format!(
        "likelihood   {} test digits, bits/dim (mean ± standard error)\n  \
           flow from the mixture's p_T   {}   NFE {nfe:.1}\n  \
           closed form                   {}   |difference| ≤ {off:.1e} nats{note}\n  \
           flow from N(0, σ_T² I)        {}\n  \
           prior mismatch log p_T(x_T) − log π(x_T): {} nats\n",
        points.len(),
        bits(&|p| p.log_data()),
        bits(&|p| p.closed_form),
        bits(&|p| p.log_model()),
        scientific(&mismatch),
    )
}

fn scientific(values: &[f64]) -> String {
    let Summary { mean, standard_error } = Summary::of(values);
    format!("{mean:.2e} ± {standard_error:.1e}")
}

fn as_images(x: Array2<f64>) -> Result<Array4<f64>, ndarray::ShapeError> {
    let (n, d) = x.dim();
    x.into_shape_with_order((n, 1, 8, d / 8))
}

/// Two grids side by side; ink dark on paper, as on the page.
fn write_picture(path: &Path, images: &[Array4<f64>]) -> Result<(), Box<dyn Error>> {
    let ink: Vec<_> = images.iter().map(|x| x.mapv(|y| -y)).collect();
    let n = images[0].dim().0;
    let columns = (1..=n).find(|c| c * c >= n).unwrap_or(1); // a square of images
    let views: Vec<_> = ink.iter().map(Array4::view).collect();
    Ok(write_png_blocks(path, &views, Grid { columns, scale: 5, gap: 4 }, 24)?)
}

fn progress_bar(samples: usize) -> ProgressBar {
    let bar = ProgressBar::new(samples as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} samples, {eta} left") {
        bar.set_style(style);
    }
    bar
}
