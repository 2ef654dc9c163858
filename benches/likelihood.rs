//! Likelihoods of 64 digits under the trained network, beside the recipe of `score_sde` (`benches/peers/likelihood.py`, whose
//! file is the argument): error against the exact trace, network passes and seconds.
//!
//! `benches/peers/likelihood` runs both back to back. The error is the root mean square over digits and 8 seeds of the
//! probes; the exact values are solved once and kept beside the file. Passes are those of a sample; the peer solves the batch as one, so
//! for it they are the same for all.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use models::tch::Device;
use models::torch_ext::runtime;
use models::{Batch, Description, Model, NetworkScore};
use ndarray::ArrayD;
use ode_solvers::{LikelihoodOptions, LogLikelihood, RK45, Trace, log_likelihood, log_normal};
use pipeline::data::array;
use pipeline::models;
use pipeline::network::sizes;
use sde_core::{Reverse, Tolerance};

const SEEDS: u64 = 8;

/// What `score_sde`'s recipe found, values by seed, and its work.
#[derive(serde::Deserialize)]
struct Peer {
    values: Vec<Vec<f64>>,
    seconds: f64,
    forwards: f64,
    backwards: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let Some(path) = path else {
        println!(
            "likelihood: run benches/peers/likelihood, which gives this benchmark its peer's file"
        );
        return Ok(());
    };
    let path = Path::new(&path);
    runtime::set_threads(1);
    let model = Model::open(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits-unet")),
        Device::Cpu,
    )?;
    let description = model.description.as_ref().ok_or("no sde.toml")?;
    let run = |options: &LikelihoodOptions<'_, Batch>, x: &ArrayD<f64>| {
        likelihoods((&model, description), options, x)
    };
    let peer: Peer = serde_json::from_slice(&std::fs::read(path)?)?;
    let x = array(path.with_extension("npy"), "data")?;
    let truth = exact(path, (&model, description), &x)?;
    println!(
        "64 digits, one thread         RMSE (nats)  forwards  backwards  seconds   error/half-width, inside"
    );
    let rmse = rmse(&peer.values, &truth);
    println!(
        "score_sde's recipe, RK45 1e-5 {rmse:11.3} {:9.1} {:10.1} {:8.2}",
        peer.forwards, peer.backwards, peer.seconds
    );
    for (tol, probes, pilot) in [
        (1e-2, 1, false),
        (1e-3, 1, false),
        (1e-3, 2, false),
        (1e-3, 2, true),
        (1e-4, 2, true),
        (1e-3, 8, true),
        (1e-5, 2, true),
    ] {
        row((tol, probes, pilot), &x, &truth, &run)?;
    }
    [1e-3, 1e-5].into_iter().try_for_each(|tol| what_the_solver_leaves(tol, &x, &truth, &run))
}

type Run<'a> = dyn Fn(&LikelihoodOptions<'_, Batch>, &ArrayD<f64>) -> Result<Vec<LogLikelihood>, Box<dyn Error>>
    + 'a;

fn likelihoods(
    (model, description): (&Model, &Description),
    options: &LikelihoodOptions<'_, Batch>,
    x: &ArrayD<f64>,
) -> Result<Vec<LogLikelihood>, Box<dyn Error>> {
    let sde = &*description.process;
    let values: Vec<f64> = x.iter().copied().collect();
    let x = Batch::from_host(&values, &sizes(x.shape()), Device::Cpu)?;
    let mut flow = Reverse::probability_flow(sde, NetworkScore::new(&*model.network, description));
    let prior = |z: &Batch, out: &mut [f64]| log_normal(z, sde.sigma(sde.end()), out);
    let span = (description.t_min, sde.end());
    Ok(log_likelihood(&RK45, x, span, options, &mut flow, prior)?.samples)
}

/// The values by exact traces at tolerance 1e-8; what (L2) leaves of the error is printed.
fn exact(
    path: &Path,
    (model, description): (&Model, &Description),
    x: &ArrayD<f64>,
) -> Result<Vec<f64>, Box<dyn Error>> {
    let kept = path.with_extension("exact.json");
    if let Ok(text) = std::fs::read(&kept) {
        return Ok(serde_json::from_slice(&text)?);
    }
    let options = LikelihoodOptions::new(Tolerance::both(1e-8), Trace::Exact);
    let options = LikelihoodOptions { quadrature: 1e-4, ..options };
    let found = likelihoods((model, description), &options, x)?;
    let widest = found.iter().filter_map(LogLikelihood::half_width).fold(0.0, f64::max);
    println!("exact traces: half-width at most {widest:.1e} nats");
    let values: Vec<f64> = found.iter().map(LogLikelihood::value).collect();
    std::fs::write(kept, serde_json::to_vec(&values)?)?;
    Ok(values)
}

/// The errors of exact traces, which are the solver's, in units of (L8) with c = 1 and of the correction.
fn what_the_solver_leaves(
    tol: f64,
    x: &ArrayD<f64>,
    truth: &[f64],
    run: &Run<'_>,
) -> Result<(), Box<dyn Error>> {
    let plain = LikelihoodOptions::new(Tolerance::both(tol), Trace::Exact);
    let found = run(&LikelihoodOptions { ode_factor: 1.0, quadrature: 1e-4, ..plain }, x)?;
    let in_units = |unit: &dyn Fn(&LogLikelihood) -> f64| {
        let ratio = |(s, t): (&LogLikelihood, &f64)| (s.value() - t).abs() / unit(s);
        let mut ratios: Vec<f64> = found.iter().zip(truth).map(ratio).collect();
        ratios.sort_by(f64::total_cmp);
        let below = |percent: usize| ratios[percent * (ratios.len() - 1) / 100];
        format!("{:.2}, {:.2}, {:.2}", below(50), below(95), below(100))
    };
    println!(
        "exact trace {tol:.0e}: half, 95 % and all errors below {} of (L8), {} of the correction",
        in_units(&|s| s.errors.ode.unwrap_or(f64::NAN)),
        in_units(&|s| s.correction.abs())
    );
    Ok(())
}

fn rmse(values: &[Vec<f64>], truth: &[f64]) -> f64 {
    let square =
        |values: &Vec<f64>| values.iter().zip(truth).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    (values.iter().map(square).sum::<f64>() / (values.len() * truth.len()) as f64).sqrt()
}

/// One line of the table.
fn row(
    (tol, probes, pilot): (f64, u32, bool),
    x: &ArrayD<f64>,
    truth: &[f64],
    run: &Run<'_>,
) -> Result<(), Box<dyn Error>> {
    let (mut all, mut seconds) = (Vec::new(), Vec::new());
    for seed in 0..SEEDS {
        let plain = LikelihoodOptions::new(Tolerance::both(tol), Trace::signs(probes, seed));
        let start = Instant::now();
        all.push(run(&LikelihoodOptions { pilot, ..plain }, x)?);
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let values: Vec<Vec<f64>> =
        all.iter().map(|set| set.iter().map(LogLikelihood::value).collect()).collect();
    let flat = || all.iter().flatten();
    let n = flat().count() as f64;
    let forwards = flat().map(|s| f64::from(s.nfe)).sum::<f64>() / n;
    let backwards = flat().map(|s| s.products as f64).sum::<f64>() / n;
    let inside = flat().zip(truth.iter().cycle());
    let inside =
        inside.filter(|(s, t)| s.half_width().is_some_and(|w| (s.value() - *t).abs() <= w)).count();
    let mut widths: Vec<f64> = flat().filter_map(LogLikelihood::half_width).collect();
    widths.sort_by(f64::total_cmp);
    let bar = widths.get(widths.len() / 2).map_or("no error bar".into(), |w| {
        format!("± {w:.2}, {:.1} % inside", 100.0 * inside as f64 / n)
    });
    println!(
        "two-phase {tol:.0e}, {probes} probes{:8} {:11.3} {forwards:9.1} {backwards:10.1} {:8.2}   {bar}",
        if pilot { " + pilot" } else { "" },
        rmse(&values, truth),
        seconds[seconds.len() / 2],
    );
    Ok(())
}
