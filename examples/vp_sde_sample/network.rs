//! The same with a trained network: 64 digits by each method, checked against the training set, and the likelihood of
//! the test digits beside two baselines.

use std::error::Error;
use std::path::Path;

use models::tch::Device;
use models::torch_ext::runtime;
use models::{Description, Model};
use ndarray::{ArrayD, Axis, Slice};
use ode_solvers::{LogLikelihood, RK45, SetLikelihood, Solution, Stochastic, Trace, uniform_grid};
use pipeline::bandwidth::kernel_density;
use pipeline::baseline::{nearest, pixel_histograms};
use pipeline::cli::print;
use pipeline::data::{Digits, digits};
use pipeline::dequantise::{dequantise, midpoints};
use pipeline::network::{LikelihoodSettings, NetworkRun, Sampler, Start};
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
    let bar = progress_bar(1000);
    let on_progress = |done: f64| {
        #[expect(clippy::cast_sign_loss, reason = "a count")]
        bar.set_position(done as u64); // the whole samples of the run in progress
    };
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
        on_progress: &on_progress,
    };
    let x = test_digits(&data, flags, description)?;
    bar.set_length(flags.num);
    let (flow, reverse) = draw(&run, flags)?;
    bar.set_length(x.len_of(Axis(0)) as u64);
    let trace = Trace::signs(flags.probes as u32, flags.seed);
    let settings =
        LikelihoodSettings { solver: (&RK45, tolerance(flags)), trace, augmented: false };
    let likelihood = run.likelihood(&x.view(), &settings)?;
    bar.finish_and_clear();
    let stopped = unfinished(flow.status.iter().chain(&reverse.status))
        + unfinished(likelihood.iter().map(|p| &p.status));
    if stopped > 0 {
        return Err(format!("{stopped} solves did not reach the end").into());
    }
    let text = format!(
        "model        U-Net of {} parameters from {}\n\
         PF-ODE       {}\nreverse SDE  {}\n{}\
         wrote        {} (left PF-ODE, right reverse SDE)\n",
        model.parameters.count(),
        path.display(),
        drawn(&data, &flow)?,
        drawn(&data, &reverse)?,
        report(&data, &likelihood)?,
        flags.out.display()
    );
    let pictures = [flow.y.into_dimensionality()?, reverse.y.into_dimensionality()?];
    write_picture(&flags.out, &pictures)?;
    Ok(print(&text)?)
}

fn tolerance(flags: &Flags) -> Tolerance {
    Tolerance::both(flags.rtol.unwrap_or(1e-5))
}

type Drawn = Solution<ArrayD<f64>>;

/// Digits by the probability-flow ODE and by the reverse SDE, from the same noise.
fn draw(run: &NetworkRun<'_>, flags: &Flags) -> Result<(Drawn, Drawn), Box<dyn Error>> {
    let grid = uniform_grid(run.t_max, run.t_min, flags.steps as u32);
    let start = Start::Prior(flags.num as usize);
    let flow = run.draw(&start, Sampler::Adaptive(&RK45, tolerance(flags)))?;
    let reverse = run.draw(
        &start,
        Sampler::ReverseSde { method: Stochastic::EulerMaruyama, grid: &grid, eta: 1.0 },
    )?;
    Ok((flow, reverse))
}

/// The test digits, dequantised, in the shape of the model's samples.
fn test_digits(
    data: &Digits,
    flags: &Flags,
    description: &Description,
) -> Result<ArrayD<f64>, Box<dyn Error>> {
    let x = dequantise(&data.test, flags.seed);
    let count = flags.test.map_or(x.nrows(), |n| n as usize);
    let x = x.slice_axis(Axis(0), Slice::from(..count)).into_owned();
    let shape: Result<Vec<_>, _> = description.shape.iter().map(|&n| usize::try_from(n)).collect();
    Ok(x.into_shape_with_order([&[count][..], &shape?].concat())?)
}

/// How many were drawn, at what cost, and what they show.
fn drawn(data: &Digits, solution: &Drawn) -> Result<String, Box<dyn Error>> {
    let (n, nfe) = (solution.t.len(), solution.mean_nfe());
    Ok(format!("{n} digits, {nfe:.1} evaluations each; {}", kinds(data, &solution.y)?))
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
fn report(data: &Digits, points: &[LogLikelihood]) -> Result<String, Box<dyn Error>> {
    let levels = Levels::new(data.test.images.levels())?;
    let d = data.test.images.pixels().len() / data.test.labels.len();
    let set = SetLikelihood::of(points);
    let (nats_per_bit, value) =
        (d as f64 * std::f64::consts::LN_2, |nats| levels.bits_per_dim(nats, d));
    let standard_error = set.mean.standard_error / nats_per_bit;
    let network = Summary { mean: value(set.mean.mean), standard_error };
    let half = set.half_width().map_or(f64::NAN, |w| w / nats_per_bit);
    let own = set.errors.half_width().map_or(f64::NAN, |w| w / nats_per_bit);
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
           of this, solver, quadrature and trace make ± {own:.4} (95 %)\n  \
           each pixel by its histogram     {}\n  \
           one Gaussian a training digit   {}\n",
        points.len(),
        network.mean - half,
        network.mean + half,
        Summary::of(&pixels),
        Summary::of(&closed),
    ))
}
