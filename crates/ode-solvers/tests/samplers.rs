//! Laws of the samplers: closed forms, both ends of the noise, bits, work, refusals.

#![allow(clippy::unwrap_used)]

use ndarray::{Array2, Axis, array};
use ode_solvers::samplers::{
    Ancestral, Churn, Grid, Level, Predicts, Sampler, StepVariance, sample, sample_with,
};
use ode_solvers::{
    Adaptive, EULER, RK45, Samples, Solution, flow, solve_fixed, solve_in_chunks, uniform_grid,
};
use sde_core::chain::{BetaSchedule, ContinuousChain};
use sde_core::reverse::ddim_sigma;
use sde_core::sde::{Edm, RectifiedFlow, VpCosine};
use sde_core::{
    Field, GaussianMixture, Lanes, Noise, Purpose, Reverse, Score, Sde, Tolerance, VpLinear, grid,
};

fn mixture() -> GaussianMixture {
    let means = array![[-1.5, 0.5], [1.0, -1.0], [0.5, 1.8]];
    GaussianMixture::isotropic(&[0.5, 0.3, 0.2], means, &[0.09, 0.04, 0.16]).unwrap()
}

fn latents(n: usize) -> Array2<f64> {
    let numbers: Vec<u64> = (0..n as u64).collect();
    let mut x = Array2::zeros((n, 2));
    Noise::new(3, Purpose::Prior).fill(&numbers, 0, &mut x).unwrap();
    x
}

fn run(
    sampler: &Sampler,
    data: &GaussianMixture,
    x: impl Into<Samples<Array2<f64>>>,
    grid: &Grid<'_>,
) -> Solution<Array2<f64>> {
    let noise = Noise::new(5, Purpose::Increment);
    sample(sampler, x, grid, &mut data.score(grid.sde()), &noise).unwrap()
}

fn ddim(eta: f64, variance: StepVariance) -> Sampler {
    Sampler::Ancestral(Ancestral { name: "ddim", eta, variance })
}

fn churned(churn: Churn) -> Sampler {
    Sampler::named("edm-heun").unwrap().with_churn(churn).unwrap()
}

/// Named samplers and ones that draw noise.
fn all() -> Vec<Sampler> {
    let churn = Churn { amount: 5.0, min: 0.05, max: f64::INFINITY, scale: 1.0 };
    let more = [
        Sampler::ddim(0.7),
        Sampler::ddpm(StepVariance::Large),
        churned(churn),
        Sampler::exp_adams(Predicts::Noise, 4, true),
    ];
    Sampler::NAMED.into_iter().chain(more).collect()
}

fn largest(a: &Array2<f64>) -> f64 {
    a.iter().fold(0.0, |m, v| v.abs().max(m))
}

fn bits(x: &Array2<f64>) -> Vec<u64> {
    x.iter().map(|v| v.to_bits()).collect()
}

/// (X4) A point mass is reached along a straight line in (α, σ): one step of any length is exact.
#[test]
fn r50_ddim_is_exact_for_a_point() {
    let (m, sde) = (array![[0.7, -0.4]], VpCosine::new(0.008).unwrap());
    let data = GaussianMixture::isotropic(&[1.0], m.clone(), &[0.0]).unwrap();
    let x = array![[1.3, 0.2]];
    for (t, s) in [(1.0, 0.5), (0.9, 0.02), (0.3, 0.29)] {
        let (from, to) = (sde.coefficients(t), sde.coefficients(s));
        let want = &m * to.alpha + (&x - &m * from.alpha) * (to.sigma / from.sigma);
        for name in ["ddim", "dpm-solver-1", "edm-euler", "dpm++2s", "edm-heun", "dpm-solver-3"] {
            let sampler = Sampler::named(name).unwrap();
            let got = run(&sampler, &data, x.clone(), &Grid::new(&sde, &[t, s]).unwrap()).y;
            assert!(largest(&(&got - &want)) < 1e-13, "{name} {t} {s}: {got} {want}");
        }
    }
}

/// One value from D or from ε is one step, DDIM; for straight paths it is Euler's step in t.
#[test]
fn r50_ddim_is_the_exponential_euler_step() {
    let (data, x) = (mixture(), latents(5));
    let names = ["dpm-solver-1", "edm-euler"].map(|name| Sampler::named(name).unwrap());
    let adams = [Predicts::Data, Predicts::Noise].map(|p| Sampler::exp_adams(p, 1, false));
    let (vp, line) = (VpLinear::default(), RectifiedFlow {});
    let times = uniform_grid(0.98, 0.01, 30);
    for sde in [&vp as &dyn Sde, &line] {
        let grid = Grid::new(sde, &times).unwrap();
        let want = run(&Sampler::ddim(0.0), &data, x.clone(), &grid).y;
        for sampler in names.iter().chain(&adams) {
            let got = run(sampler, &data, x.clone(), &grid).y;
            assert!(largest(&(&got - &want)) < 1e-12, "{}", sampler.name());
        }
    }
    let mut velocity = Reverse::probability_flow(&line, data.score(&line));
    let f = |x: &_, at: Lanes<'_>, dx: &mut _| velocity.drift(x, at, dx);
    let euler = solve_fixed(&EULER, x.clone(), &times, f).unwrap().y;
    let got = run(&Sampler::ddim(0.0), &data, x, &Grid::new(&line, &times).unwrap()).y;
    assert!(largest(&(&got - &euler)) < 1e-12);
}

/// The last step to σ = 0 returns the denoised sample, bit for bit, whatever the method.
#[test]
fn the_last_step_returns_the_denoised_sample() {
    let (data, x) = (mixture(), latents(4));
    let vp = VpLinear::default();
    let betas = r#"{"name": "linear", "T": 50, "beta_start": 1e-3, "beta_end": 0.2}"#;
    let betas: BetaSchedule = serde_json::from_str(betas).unwrap();
    let chain = ContinuousChain::new(&betas.chain().unwrap()).unwrap();
    for (sde, t, end) in [(&vp as &dyn Sde, 0.3, 0.0), (&chain, 0.02, f64::NAN)] {
        let grid = if end.is_nan() {
            Grid::new(sde, &[0.04, t]).unwrap().to_data()
        } else {
            Grid::new(sde, &[0.4, t, end]).unwrap().to_data() // adds nothing
        };
        let before = Grid::new(sde, &grid.levels()[..2].iter().map(|l| l.t).collect::<Vec<_>>());
        let before = before.unwrap();
        assert_eq!(grid.steps(), 2);
        assert!(grid.levels()[2].sigma == 0.0);
        for sampler in all() {
            if matches!(sampler, Sampler::SingleStep(m) if m.churn.is_some()) {
                continue; // it denoises from more noise
            }
            if matches!(sampler, Sampler::Multistep(m) if m.corrected) {
                continue; // the state before the last step is corrected first
            }
            let x = run(&sampler, &data, x.clone(), &before).y;
            let end = run(&sampler, &data, latents(4), &grid).y;
            let mut field = Field::like(&x);
            let at = Lanes { t: &[t; 4], sample: &[0, 1, 2, 3] };
            data.score(sde).evaluate(&x, at, &mut field).unwrap();
            assert_eq!(bits(&end), bits(&field.denoised), "{}", sampler.name());
        }
    }
}

/// From pure noise, α = 0, to pure data: every method follows the flow over the whole of time.
#[test]
fn both_ends_of_time() {
    let (data, x) = (mixture(), latents(6));
    let cosine = VpCosine::new(0.008).unwrap();
    for sde in [&RectifiedFlow {} as &dyn Sde, &cosine] {
        let options = Adaptive::new(Tolerance::both(1e-10));
        let mut field = Reverse::probability_flow(sde, data.score(sde));
        let exact = flow(&RK45, x.clone(), (1.0, 0.0), &options, &mut field).unwrap().y;
        let grid = Grid::new(sde, &uniform_grid(1.0, 0.0, 400)).unwrap();
        assert!(grid.levels()[0].log_ratio == f64::NEG_INFINITY);
        for sampler in all() {
            let end = run(&sampler, &data, x.clone(), &grid).y;
            assert!(end.iter().all(|v| v.is_finite()), "{}", sampler.name());
            let off = largest(&(&end - &exact));
            let bound = if sampler.order() == 1 { 0.05 } else { 5e-3 };
            assert!(sampler.is_random() || off < bound, "{}: {off}", sampler.name());
        }
    }
}

/// Splitting or permuting the batch changes no bit, with noise and without.
#[test]
fn results_do_not_depend_on_the_batch() {
    let (sde, data, x) = (VpLinear::default(), mixture(), latents(7));
    let times = grid::log_snr(&sde, 9, 1.0, 1e-2).unwrap();
    let grid = Grid::new(&sde, &times).unwrap().to_data();
    for sampler in all() {
        let whole = run(&sampler, &data, x.clone(), &grid);
        assert!(whole.is_done());
        let order = [3, 6, 0, 5, 1, 4, 2];
        let numbers = order.map(|i| i as u64).to_vec();
        let shuffled = Samples { x: x.select(Axis(0), &order), numbers };
        let shuffled = run(&sampler, &data, shuffled, &grid).y;
        assert_eq!(bits(&shuffled), bits(&whole.y.select(Axis(0), &order)), "{}", sampler.name());
        let parts = solve_in_chunks(&x, 0, 3, |chunk| Ok(run(&sampler, &data, chunk, &grid)));
        assert_eq!(bits(&parts.unwrap().y), bits(&whole.y), "{}", sampler.name());
    }
}

/// One evaluation for each step and value; no allocation in a step: 40 steps allocate as often as 10.
#[test]
fn work_of_a_step() {
    let (sde, data) = (VpLinear::default(), mixture());
    let grids = [10, 40].map(|n| {
        let times = grid::log_snr(&sde, n, 1.0, 1e-3).unwrap();
        Grid::new(&sde, &times).unwrap().to_data()
    });
    for sampler in all() {
        let steps = match sampler {
            Sampler::SingleStep(m) => (10 * (m.scheme.stages.len() + 1)) as u64,
            Sampler::Multistep(m) => {
                let extra = m.start.map_or(0, |(scheme, n)| n * scheme.stages.len());
                10 + extra as u64
            }
            Sampler::Ancestral(_) => 10,
        };
        let nfe = run(&sampler, &data, latents(8), &grids[0]).batch_evals;
        assert_eq!(nfe, steps + 1, "{}", sampler.name());
        let [few, many] = [&grids[0], &grids[1]].map(|grid| {
            let (mut score, x) = (data.score(&sde), latents(8));
            let noise = Noise::new(5, Purpose::Increment);
            allocation_counter::measure(|| {
                sample(&sampler, x, grid, &mut score, &noise).unwrap();
            })
            .count_total
        });
        assert_eq!(few, many, "{}", sampler.name());
    }
}

/// (X4) The noise of a step is (R4), or the forward step's; the rest of it is √(σ² − s²) of ε.
#[test]
fn noise_of_an_ancestral_step() {
    let (sde, data, x) = (VpLinear::default(), mixture(), latents(3));
    for (t, s) in [(1.0, 0.9), (0.5, 0.1), (0.2, 0.1999)] {
        let grid = Grid::new(&sde, &[t, s]).unwrap();
        let step = |sampler: &Sampler, z: f64| {
            let draw = |_: &[u64], _: u32, out: &mut Array2<f64>| {
                out.fill(z);
                Ok(())
            };
            sample_with(sampler, x.clone(), &grid, &mut data.score(&sde), draw).unwrap().y
        };
        let mut field = Field::like(&x);
        let at = Lanes { t: &[t; 3], sample: &[0, 1, 2] };
        data.score(&sde).evaluate(&x, at, &mut field).unwrap();
        let (eps, to) = (field.score * -sde.sigma(t), sde.coefficients(s));
        for eta in [0.3, 1.0, 1.02] {
            let std = ddim_sigma(&sde, eta, s, t);
            let sampler = ddim(eta, StepVariance::Small);
            if std > to.sigma {
                continue; // refused, see below
            }
            let mean = step(&sampler, 0.0);
            let want = &field.denoised * to.alpha + &eps * (to.sigma.powi(2) - std * std).sqrt();
            // The square root of a difference loses half its digits where they cancel.
            assert!(largest(&(&mean - &want)) < 1e-7, "{t} {s} {eta}");
            let noise = step(&sampler, 1.0) - &mean;
            assert!(noise.iter().all(|z| (z - std).abs() < 1e-12), "{t} {s} {eta}");
            let large = ddim(eta, StepVariance::Large);
            let noise = step(&large, 1.0) - &step(&large, 0.0);
            let std = sde.kernel(s, t).var.sqrt();
            assert!(noise.iter().all(|z| (z - std).abs() < 1e-12), "{t} {s} {eta}");
        }
    }
}

/// Karras' algorithm 2: one step to the data from σ = 1, first raised to 1.3.
#[test]
fn churn_goes_back_to_more_noise() {
    let (sde, data, x) = (Edm::new(80.0).unwrap(), mixture(), array![[0.3, 0.9]]);
    let grid = Grid::new(&sde, &[1.0, 0.0]).unwrap();
    let denoised = |x: &Array2<f64>, sigma: f64| {
        let mut field = Field::like(x);
        let at = Lanes { t: &[sigma], sample: &[0] };
        data.score(&sde).evaluate(x, at, &mut field).unwrap();
        field.denoised
    };
    let end = |churn: Churn| {
        let draw = |_: &[u64], _: u32, out: &mut Array2<f64>| {
            out.fill(0.5);
            Ok(())
        };
        let mut score = data.score(&sde);
        sample_with(&churned(churn), x.clone(), &grid, &mut score, draw).unwrap().y
    };
    let churn = Churn { amount: 0.3, min: 0.05, max: 50.0, scale: 1.003 };
    let raised = &x + 0.5 * 1.003 * (1.3_f64.powi(2) - 1.0).sqrt();
    assert!(largest(&(end(churn) - denoised(&raised, 1.3))) < 1e-13);
    let most = Churn { amount: 9.0, ..churn }; // never more than √2
    let raised = &x + 0.5 * 1.003;
    assert!(largest(&(end(most) - denoised(&raised, 2_f64.sqrt()))) < 1e-13);
    for outside in [Churn { min: 1.1, ..churn }, Churn { max: 0.9, ..churn }] {
        assert_eq!(bits(&end(outside)), bits(&denoised(&x, 1.0)));
    }
}

#[test]
fn refusals_name_the_number() {
    let (sde, data) = (VpLinear::default(), mixture());
    let wrong = Grid::new(&sde, &[0.5, 0.7]).unwrap_err().to_string();
    assert!(wrong.contains("t = 0.5") && wrong.contains("t = 0.7"), "{wrong}");
    assert!(Grid::new(&sde, &[]).is_err() && Grid::new(&sde, &[0.5, f64::NAN]).is_err());
    let grid = Grid::new(&sde, &[1.0, 0.1]).unwrap();
    let message = |sampler: &Sampler| {
        let noise = Noise::new(5, Purpose::Increment);
        let mut score = data.score(&sde);
        sample(sampler, latents(2), &grid, &mut score, &noise).unwrap_err().to_string()
    };
    let eta = message(&Sampler::ddim(1.5));
    assert_eq!(
        eta,
        "eta of an ancestral step = 1.5 is out of range: expected at most 1/√(1 − e^{−2h})"
    );
    assert!(message(&Sampler::ddim(-0.1)).starts_with("eta = -0.1"));
    assert!(message(&Sampler::exp_adams(Predicts::Data, 9, false)).contains("expected 1 to 8"));
    let churn = Churn { amount: 1.0, min: 0.0, max: 1.0, scale: f64::NAN };
    assert!(message(&churned(churn)).starts_with("S_noise = NaN"));
    assert!(Sampler::named("dpm++2m").unwrap().with_churn(churn).is_none());
    assert!(Level::of(&sde, 0.0).log_ratio == f64::INFINITY);
}
