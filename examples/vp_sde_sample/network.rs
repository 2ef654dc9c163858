//! The same with a trained network: 64 digits by each method, checked against the training set, and the likelihood of
//! the test digits beside two baselines.

use std::error::Error;
use std::path::Path;

use models::tch::Device;
use models::torch_ext::runtime;
use models::{Description, Model, Trace};
use ndarray::{Array2, Array4, ArrayD, Axis, Slice};
use ode_solvers::{RK45, uniform_grid};
use pipeline::bandwidth::kernel_density;
use pipeline::baseline::{nearest, pixel_histograms};
use pipeline::cli::print;
use pipeline::data::{Digits, digits};
use pipeline::dequantise::{dequantise, midpoints};
use pipeline::network::{NetworkRun, Point, Sampler, Start};
use sde_core::levels::Levels;
use sde_core::{Summary, Tolerance, VpLinear};

use crate::{Flags, progress_bar, unfinished, write_picture};

/// Samples, picture, table.
pub(crate) fn run(flags: &Flags, path: &Path) -> Result<(), Box<dyn Error>> {
    if let Some(threads) = flags.threads {
        runtime::set_threads(threads as usize);
    }
    let model = Model::open(path, Device::Cpu)?;
    let description = model.description.as_ref().ok_or("the model has no sde.toml")?;
    let data = digits();
    let count = flags.test.map_or(data.test.labels.len(), |n| n as usize);
    let n = flags.num as usize;
    let bar = progress_bar(2 * n + count);
    let on_progress = |done: f64| bar.set_position(bar.position().max(done as u64));
    let run = NetworkRun {
        unet: &model.unet,
        description,
        class: None,
        device: Device::Cpu,
        seed: flags.seed,
        batch: 64,
        t_min: description.t_min,
        t_max: description.process.end(),
        on_progress: &on_progress,
    };
    let tolerance = Tolerance::both(flags.rtol.unwrap_or(1e-5));
    let grid = uniform_grid(run.t_max, run.t_min, flags.steps as u32);
    let start = Start::Prior(n);
    let flow = run.draw(&start, Sampler::Adaptive(&RK45, tolerance))?;
    let reverse = run.draw(&start, Sampler::ReverseSde { grid: &grid, eta: 1.0 })?;
    let x = dequantise(&data.test, flags.seed);
    let x = x.slice_axis(Axis(0), Slice::from(..count)).into_owned();
    let x = as_images(x, description)?.into_dyn();
    let trace = Trace::Signs { seed: flags.seed, probes: flags.probes as u32 };
    let likelihood = run.likelihood(&x.view(), (&RK45, tolerance), &trace)?;
    bar.finish_and_clear();
    let stopped = unfinished(flow.status.iter().chain(&reverse.status))
        + unfinished(likelihood.iter().map(|p| &p.status));
    if stopped > 0 {
        return Err(format!("{stopped} solves did not reach the end").into());
    }
    let text = format!(
        "model        U-Net of {} parameters from {}\n\
         PF-ODE       {n} digits, {:.1} evaluations each; {}\n\
         reverse SDE  {n} digits, {:.1} evaluations each; {}\n{}\
         wrote        {} (left PF-ODE, right reverse SDE)\n",
        model.parameters.count(),
        path.display(),
        flow.mean_nfe(),
        kinds(&data, &flow.y)?,
        reverse.mean_nfe(),
        kinds(&data, &reverse.y)?,
        report(&data, &likelihood, description)?,
        flags.out.display()
    );
    let pictures = [flow.y, reverse.y].map(|x| x.into_dimensionality());
    let [flow, reverse] = pictures;
    write_picture(&flags.out, &[flow?, reverse?])?;
    Ok(print(&text)?)
}

fn as_images(x: Array2<f64>, description: &Description) -> Result<Array4<f64>, Box<dyn Error>> {
    let n = x.nrows();
    let [c, h, w] = *description.shape else {
        return Err("the model is none of images".into());
    };
    Ok(x.into_shape_with_order((n, c as usize, h as usize, w as usize))?)
}

/// What a classifier of one neighbour sees in the samples, and how far they are from what they were trained on.
fn kinds(data: &Digits, samples: &ArrayD<f64>) -> Result<String, Box<dyn Error>> {
    let n = samples.len_of(Axis(0));
    let rows = samples.to_shape((n, samples.len() / n.max(1)))?.into_owned();
    let neighbours = nearest(&data.train, &rows);
    let classes = (0..10).filter(|c| neighbours.iter().any(|n| n.label == *c)).count();
    let distances = |found: &[pipeline::baseline::Neighbour]| {
        found.iter().map(|n| n.distance).fold(f64::INFINITY, f64::min)
    };
    let of_test = nearest(&data.train, &midpoints(&data.test.images));
    Ok(format!(
        "{classes} of 10 classes; nearest training digit {:.2} levels away (of test digits {:.2})",
        distances(&neighbours),
        distances(&of_test)
    ))
}

/// The likelihood beside two baselines.
fn report(
    data: &Digits,
    points: &[Point],
    description: &Description,
) -> Result<String, Box<dyn Error>> {
    let levels = Levels::new(data.test.images.levels())?;
    let d = description.shape.iter().product::<i64>() as usize;
    let bits: Vec<f64> =
        points.iter().map(|p| levels.bits_per_dim(p.log_likelihood(), d)).collect();
    let network = Summary::of(&bits);
    let half = 1.96 * network.standard_error;
    let nfe = points.iter().map(|p| f64::from(p.nfe)).sum::<f64>() / points.len() as f64;
    let test = dequantise(&data.test, 0);
    let (mixture, _) =
        kernel_density(&midpoints(&data.train.images), &dequantise(&data.validation, 0))?;
    let closed = mixture.log_densities(&VpLinear::default(), &test, 0.0)?;
    let closed: Vec<f64> = closed.iter().map(|l| levels.bits_per_dim(*l, d)).collect();
    let pixels = pixel_histograms(&data.train.images, &data.test.images);
    Ok(format!(
        "likelihood   {} test digits, bits/dim (mean ± standard error)\n  \
           network, flow from N(0, σ_T² I) {network}   NFE {nfe:.1}, 95 % [{:.4}, {:.4}]\n  \
           each pixel by its histogram     {}\n  \
           one Gaussian a training digit   {}\n",
        points.len(),
        network.mean - half,
        network.mean + half,
        Summary::of(&pixels),
        Summary::of(&closed),
    ))
}
