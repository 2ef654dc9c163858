//! Samplers on grids that go from data to noise.

#![allow(clippy::unwrap_used)]

use ndarray::{Array2, array};
use ode_solvers::samplers::{Churn, Grid, Sampler, StepVariance, sample};
use ode_solvers::{LaneStatus, Solution};
use sde_core::sde::RectifiedFlow;
use sde_core::{Field, GaussianMixture, Lanes, Noise, Purpose, Score, Sde, VpLinear, grid};

fn mixture() -> GaussianMixture {
    let means = array![[-1.5, 0.5], [1.0, -1.0], [0.5, 1.8]];
    GaussianMixture::isotropic(&[0.5, 0.3, 0.2], means, &[0.09, 0.04, 0.16]).unwrap()
}

fn run(
    sampler: &Sampler,
    x: &Array2<f64>,
    grid: &Grid<'_>,
) -> ode_solvers::Result<Solution<Array2<f64>>> {
    let noise = Noise::new(1, Purpose::Increment);
    sample(sampler, x.clone(), grid, &mut mixture().score(grid.sde()), &noise)
}

/// There and back again, nearer the higher the order; `to_data` does nothing to an upward grid.
#[test]
fn a_round_trip_returns_the_data() {
    let sde = VpLinear::default();
    let x = array![[-1.3, 0.8], [0.9, -1.2]];
    let mut times = grid::log_snr(&sde, 200, 1.0, 1e-3).unwrap();
    let down = Grid::new(&sde, &times).unwrap();
    times.reverse();
    let up = Grid::upward(&sde, &times).unwrap().to_data();
    assert!(up.is_upward() && !down.is_upward());
    assert_eq!(up.steps(), 200);
    let error = |name: &str| {
        let sampler = Sampler::named(name).unwrap();
        let latent = run(&sampler, &x, &up).unwrap();
        assert_eq!(
            (latent.t[0].to_bits(), latent.status[0]),
            (1.0_f64.to_bits(), LaneStatus::Done)
        );
        let back = run(&sampler, &latent.y, &down).unwrap().y;
        (back - &x).iter().fold(0.0_f64, |m, e| m.max(e.abs()))
    };
    let errors = ["ddim", "dpm++2m", "dpm-solver-3"].map(error);
    assert!(
        errors[0] < 0.1 && errors[1] < 0.2 * errors[0] && errors[2] < 0.2 * errors[1],
        "{errors:?}"
    );
}

/// One DDIM step up, by hand, also to the end of the rectified flow, where there are no data left.
#[test]
fn a_step_up_is_ddims_inversion() {
    let sde = RectifiedFlow::default();
    let data = mixture();
    let x = array![[-1.3, 0.8], [0.9, -1.2]];
    for (s, t) in [(0.2, 0.7), (0.2, 1.0), (0.9, 1.0)] {
        let mut field = Field::like(&x);
        let at = Lanes { t: &[s, s], sample: &[0, 1] };
        data.score(&sde).evaluate(&x, at, &mut field).unwrap();
        let grid = Grid::upward(&sde, &[s, t]).unwrap();
        let epsilon = field.score.mapv(|score| -sde.sigma(s) * score);
        let want = &field.denoised * sde.alpha(t) + &epsilon * sde.sigma(t);
        for sampler in ["ddim", "dpm++2m", "deis", "edm-euler", "unipc"] {
            let got = run(&Sampler::named(sampler).unwrap(), &x, &grid).unwrap().y;
            let off = (&got - &want).iter().fold(0.0_f64, |m, e| m.max(e.abs()));
            assert!(off < 1e-13, "{sampler} {s} {t}: {off:e}");
        }
    }
}

/// Every deterministic sampler reaches the end of time from anywhere.
#[test]
fn all_samplers_reach_pure_noise() {
    let sde = RectifiedFlow::default();
    let mut times = grid::log_snr(&sde, 30, 0.99, 0.01).unwrap();
    times.reverse();
    times.push(1.0);
    let grid = Grid::upward(&sde, &times).unwrap();
    let x = array![[-1.3, 0.8], [0.9, -1.2]];
    for sampler in Sampler::NAMED.into_iter().filter(|sampler| !sampler.is_random()) {
        let s = run(&sampler, &x, &grid).unwrap();
        assert!(s.is_done() && s.y.iter().all(|y| y.abs() < 6.0), "{}: {}", sampler.name(), s.y);
    }
}

#[test]
fn what_cannot_go_up_is_refused() {
    let sde = VpLinear::default();
    let up = Grid::upward(&sde, &[0.1, 0.5, 1.0]).unwrap();
    let x = array![[0.1, 0.2]];
    let churn = Churn { amount: 4.0, min: 0.0, max: f64::INFINITY, scale: 1.0 };
    let heun = Sampler::named("edm-heun").unwrap();
    for sampler in
        [Sampler::ddpm(StepVariance::Small), Sampler::ddim(0.3), heun.with_churn(churn).unwrap()]
    {
        let text = run(&sampler, &x, &up).unwrap_err().to_string();
        assert!(text.ends_with("draws noise, expected one without for an upward grid"), "{text}");
    }
    assert!(Grid::upward(&sde, &[0.5, 0.1]).is_err() && Grid::new(&sde, &[0.1, 0.5]).is_err());
    let text = Grid::upward(&sde, &[0.0, 0.5]).unwrap_err().to_string();
    assert!(text.contains("t = 0, without noise, first"), "{text}");
    assert!(Grid::upward(&sde, &[f64::NAN, 0.5]).is_err() && Grid::upward(&sde, &[]).is_err());
}
