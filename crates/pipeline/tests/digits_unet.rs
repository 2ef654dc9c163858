//! The network that comes with the project is what README says: its samples are digits of most kinds and copies of none,
//! and its bound on held-out digits lies far below what pixels cost by themselves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use ndarray::Array2;
use ode_solvers::HEUN;
use pipeline::baseline::{nearest, pixel_histograms};
use pipeline::data::digits;
use pipeline::models::tch::Device;
use pipeline::models::{Description, Model};
use pipeline::network::{NetworkRun, Sampler, Start};
use pipeline::train::TrainConfig;
use pipeline::train::examples::Examples;
use pipeline::train::validation::Validation;
use sde_core::{Summary, grid};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/digits-unet")
}

fn model() -> (Model, Description) {
    let model = Model::open(folder(), Device::Cpu).unwrap();
    let description = model.description.clone().unwrap();
    (model, description)
}

#[test]
fn samples_are_digits_and_no_copies() {
    let (model, description) = model();
    let (t_min, t_max) = (description.t_min, description.process.end());
    let run = NetworkRun {
        network: &*model.network,
        description: &description,
        class: None,
        guidance: None,
        device: Device::Cpu,
        seed: 1,
        batch: 64,
        t_min,
        t_max,
        on_progress: &|_| (),
    };
    let grid = grid::log_snr(&*description.process, 20, t_max, t_min).unwrap();
    let drawn = run.draw(&Start::Prior(64), Sampler::Grid(&HEUN, &grid)).unwrap();
    assert!(drawn.is_done());
    let x: Array2<f64> = drawn.y.into_shape_with_order((64, 64)).unwrap();
    let data = digits();
    let neighbours = nearest(&data.train, &x);
    let classes = (0..10).filter(|c| neighbours.iter().any(|n| n.label == *c)).count();
    assert!(classes >= 6, "{classes} classes");
    let distances = neighbours.iter().map(|n| n.distance);
    let (low, high) = distances.fold((f64::MAX, 0.0), |(a, b), d| (d.min(a), d.max(b)));
    // A copy would be 1/√12 = 0.29 levels away by its dequantisation; noise that is no digit is 7 levels from all of them.
    assert!(low > 0.6, "the nearest training digit is {low} levels away");
    assert!(high < 4.5, "a sample is {high} levels from every training digit");
}

#[test]
fn held_out_digits_cost_far_less_than_their_pixels() {
    let (model, description) = model();
    let config = TrainConfig::read(&folder().join("train.toml"), &[]).unwrap();
    let (_, held_out) = Examples::load(&config, &mut |_| ()).unwrap();
    let validation = Validation::new(&config, &description, held_out).unwrap();
    let bound = validation.bound(&*model.network, &description).unwrap();
    let data = digits();
    let pixels = Summary::of(&pixel_histograms(&data.train.images, &data.validation.images));
    assert!(bound < 1.85 && pixels.mean > 2.4, "{bound} against {pixels}");
}
