//! ci: --steps 20 --each 2 --out target/ci-digits-by-class
//! Digits that are asked for by their class, with and without classifier-free guidance.
//!
//! * training by `assets/digits-unet/classes.toml`, as `sde train` does it: a tenth of the digits are shown without their class;
//! * samples of each class by DPM-Solver++ 2M, with the weight w of guidance (N2);
//! * how many are of the class that was asked for, by the vote of their five nearest training digits, which is right for 263 of
//!   270 held-out digits, and how far they are from the nearest: guidance trades variety for likeness.

use clap::Parser;
use models::tch::Device;
use models::torch_ext::runtime;
use models::{Description, Model};
use ndarray::{Array2, Array4, ArrayD, Axis, Ix4, concatenate};
use ode_solvers::samplers;
use pipeline::baseline::{neighbours, vote};
use pipeline::cli::{finish, parse_or_exit, print, whole};
use pipeline::data::digits;
use pipeline::models;
use pipeline::network::{NetworkRun, Sampler, Start};
use pipeline::output::{Grid, write_png_grid};
use pipeline::train::{Event, TrainConfig, train};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

/// Trains a network on the digits and their classes, and draws digits of each class.
#[derive(Debug, Parser)]
#[command(version, after_help = "Example: digits_by_class --each 32 --out out/digits-by-class")]
struct Flags {
    /// Steps of the training; those of the configuration when absent.
    #[arg(long, value_parser = whole(1, 1_000_000), allow_negative_numbers = true)]
    steps: Option<u64>,
    /// Samples of each class.
    #[arg(long, default_value_t = 32, value_parser = whole(1, 10_000), allow_negative_numbers = true)]
    each: u64,
    /// Key of the starting noise.
    #[arg(long, default_value_t = 1, value_parser = whole(0, u64::MAX), allow_negative_numbers = true)]
    seed: u64,
    /// The folder of the run, and of the pictures `guidance-W.png`.
    #[arg(long, default_value = "out/digits-by-class")]
    out: PathBuf,
}

/// Weights of guidance; 1 is none.
const WEIGHTS: [f64; 3] = [1.0, 1.5, 2.5];
const CLASSES: u8 = 10;
const STEPS: u32 = 20;
const VOTERS: usize = 5;

fn main() -> ExitCode {
    finish(run(&parse_or_exit()))
}

fn run(flags: &Flags) -> Result<(), Box<dyn Error>> {
    runtime::set_threads(1); // so small a network gains nothing by more
    let model = fit(flags)?;
    let data = digits().train;
    print("guidance   of the class asked for   levels from the nearest training digit (median)\n")?;
    for weight in WEIGHTS {
        let images = samples(&model, flags, weight)?;
        let n = images.len_of(Axis(0));
        let x: Array2<f64> = images.to_shape((n, images.len() / n))?.into_owned();
        let near = neighbours(&data, &x, VOTERS);
        let asked = (0..n).map(|i| i / (n / usize::from(CLASSES)));
        let right =
            near.iter().zip(asked).filter(|(near, k)| usize::from(vote(near)) == *k).count();
        let mut distances: Vec<f64> = near.iter().map(|near| near[0].distance).collect();
        distances.sort_by(f64::total_cmp);
        print(&format!("{weight:8.1}   {right:10} of {n:<9}   {:14.2}\n", distances[n / 2]))?;
        let grid = Grid { columns: n / usize::from(CLASSES), scale: 4, gap: 2 };
        write_png_grid(flags.out.join(format!("guidance-{weight:.1}.png")), images.view(), grid)?;
    }
    Ok(print(&format!("wrote {}\n", flags.out.join("guidance-*.png").display()))?)
}

/// Trains, or goes on where an earlier call stopped.
fn fit(flags: &Flags) -> Result<Model, Box<dyn Error>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/digits-unet/classes.toml");
    let mut config = TrainConfig::read(&file, &[])?;
    config.out.clone_from(&flags.out);
    config.training.steps = flags.steps.unwrap_or(config.training.steps);
    let outcome = train(&config, &AtomicBool::new(false), &mut |event| match event {
        Event::Report(p) => {
            let (step, steps, loss, speed) = (p.step, p.steps, p.loss, p.speed);
            eprintln!("step {step} of {steps}  loss {loss:.4}  {speed:.0} images/s");
        }
        Event::Note(text) => eprintln!("{text}"),
        Event::Step { .. } => (),
    })?;
    Ok(Model::open(outcome.model, Device::Cpu)?)
}

/// `each` digits of each class, class after class, all from the same noise.
fn samples(model: &Model, flags: &Flags, weight: f64) -> Result<Array4<f64>, Box<dyn Error>> {
    let description: &Description = model.description.as_ref().ok_or("a model without sde.toml")?;
    let (process, each) = (&*description.process, usize::try_from(flags.each)?);
    let grid = sde_core::grid::log_snr(process, STEPS, process.end(), description.t_min)?;
    let sampler = samplers::Sampler::named("dpm++2m").ok_or("no such sampler")?;
    let of = |class: u8| -> Result<ArrayD<f64>, Box<dyn Error>> {
        let run = NetworkRun {
            network: &*model.network,
            description,
            class: Some(class.into()),
            guidance: (weight > 1.0).then_some(weight),
            device: Device::Cpu,
            seed: flags.seed,
            batch: 64,
            t_min: description.t_min,
            t_max: process.end(),
            on_progress: &|_| (),
        };
        Ok(run.draw(&Start::Prior(each), Sampler::Diffusion(sampler, &grid))?.y)
    };
    let all = (0..CLASSES).map(of).collect::<Result<Vec<_>, _>>()?;
    let views: Vec<_> = all.iter().map(ArrayD::view).collect();
    Ok(concatenate(Axis(0), &views)?.into_dimensionality::<Ix4>()?)
}
