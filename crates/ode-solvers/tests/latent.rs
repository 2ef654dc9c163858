//! Latents of the flow: what lies between them, and what schedules agree on.

#![allow(clippy::unwrap_used, clippy::float_cmp)]

use ndarray::{Array2, array};
use ode_solvers::{Adaptive, Path, RK45, decode, encode};
use proptest::prelude::*;
use sde_core::sde::{RectifiedFlow, VpCosine};
use sde_core::{GaussianMixture, Noise, Purpose, Reverse, Sde, Tolerance};

fn norm(x: &Array2<f64>) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn angle(x: &Array2<f64>, y: &Array2<f64>) -> f64 {
    ((x * y).sum() / norm(x) / norm(y)).clamp(-1.0, 1.0).acos()
}

fn at(path: Path, a: &Array2<f64>, b: &Array2<f64>, tau: f64) -> Array2<f64> {
    let mut z = Array2::zeros(a.dim());
    path.between(a, b, tau, &mut z).unwrap();
    z
}

fn row() -> impl Strategy<Value = Array2<f64>> {
    proptest::collection::vec(-3.0..3.0_f64, 4)
        .prop_map(|x| Array2::from_shape_vec((1, 4), x).unwrap())
        .prop_filter("a direction", |x| norm(x) > 1e-3)
}

proptest! {
    /// (R57) Ends bit for bit, a norm between theirs, an angle that grows evenly.
    #[test]
    fn r57_an_arc_keeps_ends_norm_and_angle(a in row(), b in row(), tau in 0.0..1.0_f64) {
        prop_assume!(angle(&a, &b) < 3.1);
        prop_assert_eq!(&at(Path::Arc, &a, &b, 0.0), &a);
        prop_assert_eq!(&at(Path::Arc, &a, &b, 1.0), &b);
        let z = at(Path::Arc, &a, &b, tau);
        let expected = (1.0 - tau) * norm(&a) + tau * norm(&b);
        prop_assert!((norm(&z) / expected - 1.0).abs() < 1e-12);
        prop_assert!((angle(&a, &z) - tau * angle(&a, &b)).abs() < 1e-6);
        let mirrored = at(Path::Arc, &b, &a, 1.0 - tau);
        prop_assert!(norm(&(&mirrored - &z)) < 1e-11 * norm(&z));
    }
}

#[test]
fn a_chord_is_straight_and_rows_do_not_mix() {
    let (a, b) = (array![[1.0, 0.0], [0.0, -4.0]], array![[0.0, 1.0], [0.0, -2.0]]);
    assert_eq!(at(Path::Chord, &a, &b, 0.25), array![[0.75, 0.25], [0.0, -3.5]]);
    assert_eq!(
        (at(Path::Chord, &a, &b, 0.0), at(Path::Chord, &a, &b, 1.0)),
        (a.clone(), b.clone())
    );
    let arc = at(Path::Arc, &a, &b, 0.5);
    assert!((arc[[0, 0]] - 0.5_f64.sqrt()).abs() < 1e-15);
    assert_eq!(arc[[1, 1]], -3.0); // on one line: the norm alone changes
}

#[test]
fn latents_without_an_arc_are_refused() {
    let a = array![[1.0, 2.0]];
    let refusal = |b: &Array2<f64>, tau| {
        Path::Arc.between(&a, b, tau, &mut a.clone()).unwrap_err().to_string()
    };
    assert!(refusal(&array![[-1.0, -2.0]], 0.5).contains("angle between latents"));
    assert!(refusal(&array![[0.0, 0.0]], 0.5).contains("norm of a latent"));
    assert!(refusal(&array![[0.0, 1.0]], 1.5).contains("tau = 1.5"));
    assert!(refusal(&array![[0.0, 1.0, 2.0]], 0.5).contains("found 3, expected 2"));
}

/// (R57) Two solves: encode, walk, decode. The ends come back as (R48) bounds it, and what lies between is data.
#[test]
fn r57_frames_between_data_are_data() {
    let sde = VpCosine::new(0.008).unwrap();
    let ring = |k: usize| 2.0 * std::f64::consts::PI * k as f64 / 8.0;
    let means = Array2::from_shape_fn((8, 2), |(k, j)| {
        2.0 * if j == 0 { ring(k).cos() } else { ring(k).sin() }
    });
    let mixture = GaussianMixture::isotropic(&[0.125; 8], means, &[0.25; 8]).unwrap();
    let mut flow = Reverse::probability_flow(&sde, mixture.score(&sde));
    let options = Adaptive::new(Tolerance::both(1e-8));
    let (x, y) = (array![[2.1, 0.1]], array![[0.2, 1.8]]);
    let mut encoded =
        |x: &Array2<f64>| encode(&RK45, x.clone(), 0.0, &options, &mut flow).unwrap().y;
    let (a, b) = (encoded(&x), encoded(&y));
    let mut decoded =
        |tau| decode(&RK45, at(Path::Arc, &a, &b, tau), 0.0, &options, &mut flow).unwrap().y;
    assert!(norm(&(decoded(0.0) - &x)) < 1e-6 && norm(&(decoded(1.0) - &y)) < 1e-6);
    for tau in [0.25, 0.5, 0.75] {
        let r = norm(&decoded(tau));
        assert!(r > 0.8 && r < 3.2, "{tau}: {r}"); // on the ring of radius 2
    }
}

/// (R56) Where α(T) = 0 the schedule leaves no trace in the latent: `x_T/σ_T` is a map of the data alone.
#[test]
fn r56_latents_do_not_depend_on_the_schedule() {
    let means = array![[-1.5, 0.5], [1.0, -1.0], [0.5, 1.8]];
    let mixture = GaussianMixture::isotropic(&[0.5, 0.3, 0.2], means, &[0.09, 0.04, 0.16]).unwrap();
    let mut x = Array2::zeros((6, 2));
    Noise::new(3, Purpose::Prior).fill(&[0, 1, 2, 3, 4, 5], 0, &mut x).unwrap();
    let latent = |sde: &dyn Sde| {
        let mut flow = Reverse::probability_flow(sde, mixture.score(sde));
        let options = Adaptive::new(Tolerance::both(1e-11));
        encode(&RK45, x.clone(), 0.0, &options, &mut flow).unwrap().y / sde.sigma(sde.end())
    };
    let (a, b) = (latent(&RectifiedFlow {}), latent(&VpCosine::new(0.008).unwrap()));
    let apart = (&a - &b).iter().fold(0.0_f64, |m, e| m.max(e.abs()));
    assert!(apart < 1e-7, "{apart:e}");
}
