//! ci: --steps 20 --grid 6 --points 20 --out target/ci-two-moons
//! A perceptron learns two moons, and its density is held against the true one.
//!
//! The data have a density in closed form (Y5), so that a model can be judged without samples:
//!
//! * training by the configuration beside this file, as `sde train` does it;
//! * `log p(x)` of the network at the points of a grid, by the probability-flow ODE with the exact trace: a heat map beside
//!   that of the true density;
//! * `KL(p ‖ p_θ) = E_p [log p(x) − log p_θ(x)]` over points that the network has not seen, with its standard error.

use clap::Parser;
use models::tch::Device;
use models::{Description, Model};
use ndarray::{Array2, ArrayD};
use ode_solvers::{LogLikelihood, RK45, Trace};
use pipeline::cli::{finish, parse_or_exit, print, whole};
use pipeline::data::toy::Toy;
use pipeline::network::{LikelihoodSettings, NetworkRun};
use pipeline::plot::plotters::prelude::{Color, RGBColor, Rectangle, Text};
use pipeline::plot::{Canvas, Drawn, text, write_plot};
use pipeline::train::{Event, TrainConfig, train};
use sde_core::{Noise, Purpose, Summary, Tolerance};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Trains a perceptron on two moons and draws its density beside the true one.
#[derive(Debug, Parser)]
#[command(version, after_help = "Example: two_moons --steps 2000 --grid 64 --out out/two-moons")]
struct Flags {
    /// Steps of the training; those of the configuration when absent.
    #[arg(long, value_parser = whole(1, 1_000_000), allow_negative_numbers = true)]
    steps: Option<u64>,
    /// Points of the grid along a side.
    #[arg(long, default_value_t = 96, value_parser = whole(2, 1000), allow_negative_numbers = true)]
    grid: u64,
    /// Points of the estimate of the divergence.
    #[arg(long, default_value_t = 1000, value_parser = whole(2, 100_000), allow_negative_numbers = true)]
    points: u64,
    /// The folder of the run, and of the picture `density.png`.
    #[arg(long, default_value = "out/two-moons")]
    out: PathBuf,
}

/// Half of the side of the square that is shown.
const HALF: f64 = 2.0;

fn main() -> ExitCode {
    finish(run(&parse_or_exit()))
}

fn run(flags: &Flags) -> Result<(), Box<dyn Error>> {
    let (clock, network) = (Instant::now(), fit(flags)?);
    print(&format!("trained in {:.0} s\n", clock.elapsed().as_secs_f64()))?;
    let side = usize::try_from(flags.grid)?;
    let grid = Array2::from_shape_fn((side * side, 2), |(i, axis)| {
        let k = if axis == 0 { i % side } else { side - 1 - i / side };
        HALF * ((2 * k + 1) as f64 / side as f64 - 1.0)
    });
    let [learnt, truth] = [log_densities(&network, &grid)?, log_true(&grid)];
    write_plot(flags.out.join("density.png"), (880, 460), |canvas| {
        let (left, right) = canvas.split_horizontally(880);
        heat_map(&left, "learnt", side, &learnt)?;
        heat_map(&right, "true", side, &truth)
    })?;
    let noise = Noise::new(1, Purpose::Diagnostics);
    let points: Vec<f64> = (0..flags.points).flat_map(|i| Toy::Moons.point(&noise, i, 0)).collect();
    let points = Array2::from_shape_vec((usize::try_from(flags.points)?, 2), points)?;
    let learnt = log_densities(&network, &points)?;
    let truth = log_true(&points);
    let divergence: Vec<f64> = truth.iter().zip(&learnt).map(|(p, q)| p - q).collect();
    let entropy: Vec<f64> = truth.iter().map(|p| -p).collect();
    print(&format!(
        "entropy of the data    {} nats\ndivergence of the model {} nats, over {} points\nwrote {}\n",
        Summary::of(&entropy),
        Summary::of(&divergence),
        flags.points,
        flags.out.join("density.png").display()
    ))?;
    Ok(())
}

/// Trains, or goes on where an earlier call stopped.
fn fit(flags: &Flags) -> Result<Model, Box<dyn Error>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/two_moons/train.toml");
    let mut config = TrainConfig::read(&file, &[])?;
    config.out.clone_from(&flags.out);
    config.training.steps = flags.steps.unwrap_or(config.training.steps);
    let outcome = train(&config, &AtomicBool::new(false), &mut |event| match event {
        Event::Report(p) => {
            let (step, steps, loss, speed) = (p.step, p.steps, p.loss, p.speed);
            eprintln!("step {step} of {steps}  loss {loss:.4}  {speed:.0} points/s");
        }
        Event::Note(text) => eprintln!("{text}"),
        Event::Step { .. } => (),
    })?;
    Ok(Model::open(outcome.model, Device::Cpu)?)
}

/// `log p_θ` of rows at `t_min`.
fn log_densities(model: &Model, x: &Array2<f64>) -> Result<Vec<f64>, Box<dyn Error>> {
    let description: &Description = model.description.as_ref().ok_or("a model without sde.toml")?;
    let run = NetworkRun {
        network: &*model.network,
        description,
        class: None,
        guidance: None,
        device: Device::Cpu,
        seed: 0,
        batch: 2048,
        t_min: description.t_min,
        t_max: description.process.end(),
        on_progress: &|_| (),
    };
    let solver = (&RK45, Tolerance::both(1e-4));
    let settings = LikelihoodSettings { solver, trace: Trace::Exact, augmented: false };
    let x: ArrayD<f64> = x.clone().into_dyn();
    let solved = run.likelihood(&x.view(), &settings)?;
    Ok(solved.iter().map(LogLikelihood::value).collect())
}

fn log_true(x: &Array2<f64>) -> Vec<f64> {
    x.outer_iter().map(|x| Toy::Moons.log_density([x[0], x[1]])).collect()
}

/// Cells as dark as their density; both maps have one scale.
fn heat_map(canvas: &Canvas<'_>, title: &str, side: usize, log_p: &[f64]) -> Drawn {
    let (width, height) = canvas.dim_in_pixel();
    let (size, left, top) = (f64::from(width.min(height)) * 0.86, 0.07, 0.1);
    let edge = |k: usize, start: f64| (start + k as f64 / side as f64 * size) as i32; // whole pixels
    let (x0, y0) = (left * f64::from(width), top * f64::from(height));
    canvas.draw(&Text::new(title, (x0 as i32, (0.03 * f64::from(height)) as i32), text(34.0)))?;
    for (i, log_p) in log_p.iter().enumerate() {
        let (column, row) = (i % side, i / side);
        let corners =
            [(edge(column, x0), edge(row, y0)), (edge(column + 1, x0), edge(row + 1, y0))];
        let depth = (log_p.exp() / MOST).clamp(0.0, 1.0).sqrt();
        canvas.draw(&Rectangle::new(corners, RGBColor(8, 48, 107).mix(depth).filled()))?;
    }
    Ok(())
}

/// The density of the darkest cells, a little above the largest: 0.65 on the ridge of a moon.
const MOST: f64 = 0.7;
