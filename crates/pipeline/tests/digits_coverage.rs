//! How often the error bars of the digits' network hold its own exact likelihood.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use ndarray::{ArrayD, Axis, Slice};
use ode_solvers::{LogLikelihood, RK45, Tableau, Trace, t_quantile};
use pipeline::data::digits;
use pipeline::dequantise::dequantise;
use pipeline::models::tch::Device;
use pipeline::models::torch_ext::runtime;
use pipeline::models::{Batch, Model};
use pipeline::network::{LikelihoodSettings, NetworkRun};
use sde_core::Tolerance;

/// Test digits, seeds of their probes, and what the exact value is solved to.
const DIGITS: usize = 32;
const SEEDS: u64 = 10;
const TIGHT: f64 = 1e-8;

fn points() -> ArrayD<f64> {
    let x = dequantise(&digits().test, 1);
    let x = x.slice_axis(Axis(0), Slice::from(..DIGITS)).to_owned();
    x.into_shape_with_order(vec![DIGITS, 1, 8, 8]).unwrap()
}

fn likelihood(
    model: &Model,
    x: &ArrayD<f64>,
    solver: (&'static Tableau, f64),
    trace: Trace<'_, Batch>,
) -> Vec<LogLikelihood> {
    let description = model.description.as_ref().unwrap();
    let run = NetworkRun {
        network: &*model.network,
        description,
        class: None,
        guidance: None,
        device: Device::Cpu,
        seed: 0,
        batch: DIGITS,
        t_min: description.t_min,
        t_max: description.process.end(),
        on_progress: &|_| (),
    };
    let solver = (solver.0, Tolerance::both(solver.1));
    let settings = LikelihoodSettings { solver, trace, augmented: false };
    run.likelihood(&x.view(), &settings).unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    0.5 * (values[(values.len() - 1) / 2] + values[values.len() / 2])
}

/// Minutes: `cargo test -p pipeline --test digits_coverage -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes"]
fn intervals_of_the_trained_network_hold_its_exact_likelihood() {
    runtime::set_threads(1);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/digits-unet");
    let (model, x) = (Model::open(folder, Device::Cpu).unwrap(), points());
    let exact = likelihood(&model, &x, (&RK45, TIGHT), Trace::Exact);
    let own = median(exact.iter().map(|p| p.half_width().unwrap()).collect());
    println!("exact: median half-width {own:.1e}, NFE {:.0}", f64::from(exact[0].nfe));
    assert!(own < 2e-3, "the exact value is not known well enough: {own}");
    let rows = [1e-3, 1e-5].into_iter().flat_map(|tol| [2, 4, 8, 16].map(|probes| (tol, probes)));
    for (tolerance, probes) in rows {
        let runs = (0..SEEDS)
            .map(|seed| likelihood(&model, &x, (&RK45, tolerance), Trace::signs(probes, seed)));
        let found: Vec<LogLikelihood> = runs.flatten().collect();
        let cases = || found.iter().zip(exact.iter().cycle());
        let error = |(p, exact): (&LogLikelihood, &LogLikelihood)| p.value() - exact.value();
        let n = found.len() as f64;
        let held =
            cases().filter(|c| error(*c).abs() <= c.0.half_width().unwrap()).count() as f64 / n;
        let rms = (cases().map(|c| error(c).powi(2)).sum::<f64>() / n).sqrt();
        let width = median(found.iter().map(|p| p.half_width().unwrap()).collect());
        let dof = median(found.iter().map(|p| p.errors.trace.unwrap().dof).collect());
        let padding = width / (t_quantile(dof) * rms);
        let ode = median(found.iter().map(|p| p.errors.ode.unwrap()).collect());
        println!(
            "tolerance {tolerance:.0e}, {probes:>2} probes: {:.1} % held, half-width {width:.2} (solver {ode:.2}), \
             error {rms:.2}, padding {padding:.2}",
            100.0 * held
        );
        assert!(held >= 0.93, "{held} at {tolerance:e} with {probes} probes");
        assert!(padding <= 1.3, "{padding} at {tolerance:e} with {probes} probes");
    }
}
