//! ci: --num 6 --out target/ci-out-of-distribution.png
//! What a likelihood is good for: pictures that are no digits cost more bits, with an error bar on each.
//!
//! The network of `assets/digits-unet` gives `log p(x)` of test digits and of three kinds of other pictures made from them:
//! inverted (k → L−1−k), with their pixels in random order, and of uniform noise. An image counts as foreign when its bits
//! per dimension lie above all but 5 % of the digits'; the table tells how many of each kind do.

use clap::Parser;
use models::tch::Device;
use models::torch_ext::runtime;
use models::{Description, Model};
use ndarray::{Array2, Axis, Slice};
use ode_solvers::{LaneStatus, LogLikelihood, RK45, Trace};
use pipeline::cli::{finish, parse_or_exit, png, print, whole};
use pipeline::data::digits;
use pipeline::dequantise::dequantise;
use pipeline::models;
use pipeline::network::{LikelihoodSettings, NetworkRun};
use pipeline::output::prepare;
use pipeline::plot::{COLOURS, Curve, Frame, curves, legend, write_plot};
use sde_core::levels::Levels;
use sde_core::{Noise, Purpose, Summary, Tolerance};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// Bits per dimension of digits and of pictures that are none, as histograms.
#[derive(Debug, Parser)]
#[command(version, after_help = "Example: out_of_distribution --num 100 --probes 4")]
struct Flags {
    /// The network's directory.
    #[arg(long, value_name = "DIR", default_value = "assets/digits-unet")]
    model: PathBuf,
    /// Pictures of each kind.
    #[arg(long, default_value_t = 60, value_parser = whole(2, 270), allow_negative_numbers = true)]
    num: u64,
    /// Random-sign probes at each node of the quadrature.
    #[arg(long, default_value_t = 2, value_parser = whole(2, 4096), allow_negative_numbers = true)]
    probes: u64,
    /// Key of all random numbers.
    #[arg(long, default_value_t = 0, value_parser = whole(0, u64::MAX), allow_negative_numbers = true)]
    seed: u64,
    /// The picture, a PNG file.
    #[arg(long, default_value = "out/out_of_distribution.png", value_parser = png)]
    out: PathBuf,
}

fn main() -> ExitCode {
    finish(run(&parse_or_exit()))
}

/// Bits per dimension of every picture of a kind.
struct Kind {
    name: &'static str,
    bits: Vec<f64>,
    /// Half-width of the 95 % interval of one picture, the mean over them, in bits per dimension.
    half_width: f64,
}

fn run(flags: &Flags) -> Result<(), Box<dyn Error>> {
    prepare(&flags.out)?;
    runtime::set_threads(1);
    let model = Model::open(&flags.model, Device::Cpu)?;
    let description = model.description.as_ref().ok_or("the model has no sde.toml")?;
    let test = digits().test;
    let levels = Levels::new(test.images.levels())?;
    let x = dequantise(&test, flags.seed);
    let x = x.slice_axis(Axis(0), Slice::from(..flags.num as usize)).to_owned();
    let noise = Noise::new(flags.seed, Purpose::Training);
    let mut kinds = Vec::new();
    for (name, x) in [
        ("test digits", x.clone()),
        ("inverted", -&x),
        ("pixels in random order", shuffled(&x, &noise)),
        ("uniform noise", uniform(&x, &noise)),
    ] {
        let found = likelihoods(&model, description, &x, flags)?;
        kinds.push(kind(name, &found, (levels, x.ncols()))?);
    }
    draw(flags, &kinds)?;
    Ok(print(&format!("{}wrote {}\n", table(&kinds), flags.out.display()))?)
}

/// The same order for the pixels of one picture, another for the next.
fn shuffled(x: &Array2<f64>, noise: &Noise) -> Array2<f64> {
    let mut out = x.clone();
    for (i, mut row) in (0..).zip(out.outer_iter_mut()) {
        let mut keys = vec![0.0; row.len()];
        noise.uniform(i, 0, &mut keys);
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|a, b| keys[*a].total_cmp(&keys[*b]));
        let old = row.to_vec();
        row.iter_mut().zip(order).for_each(|(y, j)| *y = old[j]);
    }
    out
}

/// Numbers on [−1, 1) in the place of every pixel.
fn uniform(x: &Array2<f64>, noise: &Noise) -> Array2<f64> {
    let mut out = x.clone();
    for (i, mut row) in (0..).zip(out.outer_iter_mut()) {
        let mut u = vec![0.0; row.len()];
        noise.uniform(i, 1, &mut u);
        row.iter_mut().zip(u).for_each(|(y, u)| *y = 2.0 * u - 1.0);
    }
    out
}

fn likelihoods(
    model: &Model,
    description: &Description,
    x: &Array2<f64>,
    flags: &Flags,
) -> Result<Vec<LogLikelihood>, Box<dyn Error>> {
    let run = NetworkRun {
        network: &*model.network,
        description,
        class: None,
        guidance: None,
        device: Device::Cpu,
        seed: flags.seed,
        batch: 64,
        t_min: description.t_min,
        t_max: description.process.end(),
        on_progress: &|_| {},
    };
    let shape: Result<Vec<_>, _> = description.shape.iter().map(|&n| usize::try_from(n)).collect();
    let x = x.to_shape([&[x.nrows()][..], &shape?].concat())?.into_owned();
    let solver = (&RK45, Tolerance::both(1e-4));
    let trace = Trace::signs(flags.probes as u32, flags.seed);
    let settings = LikelihoodSettings { solver, trace, augmented: false };
    Ok(run.likelihood(&x.view(), &settings)?)
}

fn kind(
    name: &'static str,
    found: &[LogLikelihood],
    (levels, d): (Levels, usize),
) -> Result<Kind, String> {
    if let Some(stopped) = found.iter().find(|f| f.status != LaneStatus::Done) {
        return Err(format!(
            "a likelihood of `{name}` did not reach the end: {:?}",
            stopped.status
        ));
    }
    let widths: Option<Vec<f64>> = found.iter().map(LogLikelihood::half_width).collect();
    let widths = widths.ok_or("an error bar is unknown")?;
    let mean = widths.iter().sum::<f64>() / widths.len() as f64;
    Ok(Kind {
        name,
        bits: found.iter().map(|f| levels.bits_per_dim(f.value(), d)).collect(),
        half_width: mean / (d as f64 * std::f64::consts::LN_2),
    })
}

/// The bits above which only 5 % of the digits lie.
fn threshold(digits: &Kind) -> f64 {
    let mut bits = digits.bits.clone();
    bits.sort_by(f64::total_cmp);
    bits[(95 * (bits.len() - 1)).div_ceil(100)]
}

fn table(kinds: &[Kind]) -> String {
    let threshold = threshold(&kinds[0]);
    let mut text = format!(
        "{:24} bits/dim (mean ± s.e.)   error bar of one   above {threshold:.3}\n",
        format!("{} of each", kinds[0].bits.len())
    );
    for Kind { name, bits, half_width } in kinds {
        let above = bits.iter().filter(|b| **b > threshold).count();
        let share = 100.0 * above as f64 / bits.len() as f64;
        let mean = Summary::of(bits);
        text += &format!("{name:24} {:23} ± {half_width:<15.3} {share:5.1} %\n", mean.to_string());
    }
    text
}

/// Bins of the histograms.
const BINS: usize = 40;

/// One outline of a histogram for each kind.
fn draw(flags: &Flags, kinds: &[Kind]) -> Result<(), Box<dyn Error>> {
    let all = || kinds.iter().flat_map(|kind| kind.bits.iter().copied());
    let (low, high) =
        (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let width = ((high - low) / BINS as f64).max(1e-6);
    let outline = |bits: &[f64]| -> Vec<(f64, f64)> {
        let edge = |i: usize| low + (i as f64 - 1.0) * width; // an empty bin at each end
        let count = |i: usize| bits.iter().filter(|b| (edge(i)..edge(i + 1)).contains(*b)).count();
        (0..BINS + 2).flat_map(|i| [edge(i), edge(i + 1)].map(|x| (x, count(i) as f64))).collect()
    };
    let lines: Vec<Curve> = kinds
        .iter()
        .zip(COLOURS)
        .map(|(kind, colour)| Curve { points: outline(&kind.bits), colour })
        .collect();
    let top = lines.iter().flat_map(|c| &c.points).fold(1.0_f64, |top, (_, y)| top.max(*y));
    let rows: Vec<Vec<String>> = kinds
        .iter()
        .map(|kind| vec![kind.name.into(), Summary::of(&kind.bits).to_string()])
        .collect();
    write_plot(&flags.out, (900, 620), |canvas| {
        let (plot, key) = canvas.split_vertically(460 * pipeline::plot::FINE);
        let frame = Frame {
            title: "What the network takes for a digit",
            x_label: "bits per dimension",
            y_label: "pictures",
            x: low - width..high + width,
            y: 0.0..1.05 * top,
        };
        curves(&plot, &frame, &[], &lines)?;
        let entries: Vec<_> = rows.iter().zip(COLOURS).map(|(row, c)| (c, row.clone())).collect();
        legend(&key, &[0.08, 0.5], &["kind", "bits per dimension"], &entries)
    })?;
    Ok(())
}
