//! The Fokker–Planck equation: its terms, its weak form, the family that it allows, and its solution on a grid.

#![allow(clippy::unwrap_used)]

mod grid;
mod moments;
mod points;

use ndarray::{Array3, array};
use sde_core::fokker_planck::differences::{self, Steps};
use sde_core::fokker_planck::grid::{Axis, Evolution, Grid};
use sde_core::fokker_planck::{Diffusion, mixture};
use sde_core::moments::{LinearFamily, Moments};
use sde_core::{GaussianMixture, Noise, Process, Purpose, Sde, VpLinear};
use std::f64::consts::TAU;

const ETAS: [f64; 4] = [0.0, 0.5, 1.0, 1.5];

fn gmm1d() -> GaussianMixture {
    let means = array![[-1.5], [0.4], [2.0]];
    GaussianMixture::isotropic(&[0.3, 0.5, 0.2], means, &[0.09, 0.25, 0.0625]).unwrap()
}

fn gmm2d() -> GaussianMixture {
    let covs = [[0.3, 0.1, 0.1, 0.2], [0.15, -0.08, -0.08, 0.25], [0.05, 0.0, 0.0, 0.4]];
    let covs = Array3::from_shape_vec((3, 2, 2), covs.concat()).unwrap();
    let means = array![[-1.0, 0.5], [1.2, 1.0], [0.3, -1.4]];
    GaussianMixture::full(&[0.5, 0.3, 0.2], means, &covs).unwrap()
}

fn gauss1d() -> GaussianMixture {
    GaussianMixture::isotropic(&[1.0], array![[0.7]], &[0.36]).unwrap()
}

fn gauss3d() -> GaussianMixture {
    let c = vec![1.0, 0.3, 0.1, 0.3, 0.5, -0.2, 0.1, -0.2, 0.8];
    let c = Array3::from_shape_vec((1, 3, 3), c).unwrap();
    GaussianMixture::full(&[1.0], array![[0.5, -1.0, 2.0]], &c).unwrap()
}

/// Every process with a time near each end and one between, where f and g² are finite.
fn processes() -> Vec<(Process, [f64; 3])> {
    [
        (r#"{"name": "vp_linear", "beta_min": 0.1, "beta_max": 20.0}"#, [0.05, 0.3, 0.9]),
        (r#"{"name": "vp_cosine", "s": 0.008}"#, [0.05, 0.5, 0.9]),
        (r#"{"name": "sub_vp", "beta_min": 0.1, "beta_max": 20.0}"#, [0.05, 0.3, 0.9]),
        (r#"{"name": "ve", "sigma_min": 0.01, "sigma_max": 50.0}"#, [0.05, 0.5, 0.8]),
        (r#"{"name": "edm", "sigma_max": 80.0}"#, [0.05, 1.0, 10.0]),
        (r#"{"name": "ot"}"#, [0.05, 0.5, 0.9]),
    ]
    .map(|(text, t)| (serde_json::from_str(text).unwrap(), t))
    .into()
}

fn vp() -> VpLinear {
    VpLinear::default()
}

/// `∫ f` over the line by the trapezoidal rule, which is exact to rounding for smooth functions that decay.
fn integral(f: impl Fn(f64) -> f64) -> f64 {
    let (n, reach) = (6000, 15.0);
    let h = 2.0 * reach / f64::from(n);
    (0..=n).map(|i| f(-reach + h * f64::from(i))).sum::<f64>() * h
}

fn density(model: &GaussianMixture, sde: &dyn Sde, x: &[f64], t: f64) -> f64 {
    model.score(sde).log_density(x, t).unwrap().exp()
}

fn max(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(0.0, |m, v| if v.is_nan() { v } else { m.max(v.abs()) })
}
