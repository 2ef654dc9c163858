//! The distance of samples from data over η: nothing but chance for the exact score, falling with η for one that is too long.

#![allow(clippy::unwrap_used)]

#[path = "../../../fixtures/wrong.rs"]
mod wrong;

use ndarray::{Array2, array};
use ode_solvers::euler_maruyama;
use pipeline::sliced::{SlicedW1, sliced_w1};
use sde_core::reverse::noise_scale;
use sde_core::{GaussianMixture, Lanes, Noise, Purpose, Reverse, Sde, VpLinear, grid};
use wrong::Wrong;

const N: usize = 1000;
const STEPS: u32 = 200;
const T_MIN: f64 = 1e-3;
const ETAS: [f64; 4] = [0.0, 0.5, 1.0, 1.5];
const VARIANCES: [f64; 3] = [0.2, 0.15, 0.25];

fn data() -> GaussianMixture {
    let means = array![[-1.0, 0.5], [1.2, 1.0], [0.3, -1.4]];
    GaussianMixture::isotropic(&[0.5, 0.3, 0.2], means, &VARIANCES).unwrap()
}

fn normal(purpose: Purpose) -> Array2<f64> {
    let mut z = Array2::zeros((N, 2));
    let numbers: Vec<u64> = (0..N as u64).collect();
    Noise::new(2, purpose).fill(&numbers, 0, &mut z).unwrap();
    z
}

/// Points of the mixture, which at `t_min` has no noise to speak of.
fn held_out() -> Array2<f64> {
    let (mixture, z) = (data(), normal(Purpose::Training));
    Array2::from_shape_fn((N, 2), |(i, j)| {
        let k = [N / 2, N * 4 / 5].iter().filter(|end| i >= **end).count();
        mixture.means()[[k, j]] + VARIANCES[k].sqrt() * z[[i, j]]
    })
}

/// The distance of samples by the member η of a model whose score is too long by a factor.
fn distance(eta: f64, factor: f64) -> SlicedW1 {
    let (sde, mixture) = (VpLinear::default(), data());
    let score = Wrong { score: mixture.score(&sde), sde: &sde, factor };
    let mut reverse = Reverse::new(&sde, score, eta).unwrap();
    let drift = |x: &_, at: Lanes<'_>, dx: &mut _| reverse.drift(x, at, dx);
    let times = grid::log_snr(&sde, STEPS, sde.end(), T_MIN).unwrap();
    let noise = Noise::new(2, Purpose::Increment);
    let start = normal(Purpose::Prior) * sde.sigma(sde.end());
    let scale = |t| noise_scale(&sde, eta, t);
    let drawn = euler_maruyama(start, &times, drift, scale, &noise).unwrap().y;
    sliced_w1(drawn.view(), held_out().view(), 0).unwrap()
}

#[test]
fn r75_the_trend_over_eta_is_the_mark_of_a_wrong_score() {
    let exact = ETAS.map(|eta| distance(eta, 1.0));
    let wrong = ETAS.map(|eta| distance(eta, 1.1));
    println!("exact {exact:.4?}\nwrong {wrong:.4?}");
    for found in exact {
        assert!(found.distance < found.by_chance + 4.0 * found.deviation, "{found:?}");
    }
    assert!(wrong[0].distance > wrong[0].by_chance + 4.0 * wrong[0].deviation);
    assert!(wrong[0].distance > 1.5 * wrong[1].distance, "{wrong:?}");
    assert!(wrong[1].distance > 1.2 * wrong[2].distance, "{wrong:?}");
}
