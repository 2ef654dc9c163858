//! Methods with noise by their formulas: published ones, limits, bits, work, refusals.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with other tests")]
mod clusters;

use clusters::clusters;
use ndarray::{Array2, Axis};
use ode_solvers::samplers::{Churn, Grid, Multistep, Sampler, SingleStep, sample, sample_with};
use ode_solvers::stochastic::{Diagonal, Langevin, LangevinStep, Predictor, milstein};
use ode_solvers::{
    EULER, HEUN, Samples, Stochastic, predictor_corrector, sample_reverse, solve_fixed, sra1,
    stochastic_heun, uniform_grid,
};
use sde_core::reverse::noise_scale;
use sde_core::sde::{VarianceExploding, VpCosine};
use sde_core::{
    Field, GaussianMixture, Lanes, Noise, Purpose, Reverse, Score, Sde, VpLinear, grid,
};

type Rows = Array2<f64>;
type OfEta = fn(f64) -> Sampler;

const START: f64 = 1e-3;

fn increments() -> Noise {
    Noise::new(23, Purpose::Increment)
}

fn langevin(snr: f64, steps: u32, size: LangevinStep) -> Stochastic {
    Stochastic::PredictorCorrector(Predictor::ReverseDiffusion, Langevin { snr, steps, size })
}

fn few(n: usize) -> Rows {
    let numbers: Vec<u64> = (0..n as u64).collect();
    let mut x = Array2::zeros((n, 2));
    Noise::new(3, Purpose::Prior).fill(&numbers, 0, &mut x).unwrap();
    x
}

fn largest(a: &Rows) -> f64 {
    a.iter().fold(0.0, |m, v| v.abs().max(m))
}

fn bits(x: &Rows) -> Vec<u64> {
    x.iter().map(|v| v.to_bits()).collect()
}

fn field(data: &GaussianMixture, sde: &dyn Sde, x: &Rows, t: f64) -> Field<Rows> {
    let (n, mut field) = (x.nrows(), Field::like(x));
    let numbers: Vec<u64> = (0..n as u64).collect();
    let at = Lanes { t: &vec![t; n], sample: &numbers };
    data.score(sde).evaluate(x, at, &mut field).unwrap();
    field
}

/// Numbers that differ from step to step.
#[expect(clippy::unnecessary_wraps, reason = "a source of normals")]
fn some(_: &[u64], key: u32, z: &mut Rows) -> sde_core::Result<()> {
    z.fill(number(key));
    Ok(())
}

fn number(key: u32) -> f64 {
    (f64::from(key) + 1.0).sin()
}

/// (X5) η = 0 is the sampler without noise bit for bit, and η → 0 tends to it.
#[test]
fn no_noise_is_the_ode() {
    let (sde, (data, _), x) = (VpLinear::default(), clusters(), few(9));
    let times = grid::log_snr(&sde, 12, 1.0, START).unwrap();
    let levels = Grid::new(&sde, &times).unwrap().to_data();
    let draw = |sampler: Sampler| {
        sample(&sampler, x.clone(), &levels, &mut data.score(&sde), &increments()).unwrap().y
    };
    for (of_eta, name) in [(Sampler::dpm_2m_sde as OfEta, "dpm++2m"), (Sampler::seeds_2, "dpm++2s")]
    {
        let want = draw(Sampler::named(name).unwrap());
        assert_eq!(bits(&draw(of_eta(0.0))), bits(&want), "{name}");
        let [far, near] = [1e-6, 1e-9].map(|eta| largest(&(draw(of_eta(eta)) - &want)));
        assert!(far > 100.0 * near && near < 1e-7, "{name}: {far:e} {near:e}");
    }
    let grid = uniform_grid(1.0, START, 50);
    for (method, tableau) in [(Stochastic::EulerMaruyama, &EULER), (Stochastic::Heun, &HEUN)] {
        let mut reverse = Reverse::new(&sde, data.score(&sde), 0.0).unwrap();
        let got = sample_reverse(method, x.clone(), &grid, &mut reverse, &increments()).unwrap().y;
        let mut flow = Reverse::probability_flow(&sde, data.score(&sde));
        let drift = |x: &_, at: Lanes<'_>, out: &mut _| flow.drift(x, at, out);
        let want = solve_fixed(tableau, x.clone(), &grid, drift).unwrap().y;
        assert!(largest(&(got - want)) < 1e-12, "{}", method.name());
    }
}

/// To σ = 0 the end is D, bit for bit; from α = 0 nothing of x is left but for η = 0.
#[test]
fn ends_of_the_noise() {
    let (sde, (data, _), x) = (VpCosine::new(0.008).unwrap(), clusters(), few(5));
    let run = |sampler: &Sampler, times: &[f64]| {
        let grid = Grid::new(&sde, times).unwrap();
        sample_with(sampler, x.clone(), &grid, &mut data.score(&sde), some).unwrap().y
    };
    for eta in [0.4, 1.0, 2.0] {
        let Some(Sampler::SingleStep(m)) = Sampler::named("dpm-solver-2") else { unreachable!() };
        let noise = Sampler::SingleStep(SingleStep { eta, ..m });
        for sampler in [Sampler::dpm_2m_sde(eta), Sampler::seeds_2(eta), noise] {
            let end = run(&sampler, &[0.3, 0.0]);
            assert_eq!(bits(&end), bits(&field(&data, &sde, &x, 0.3).denoised));
            let first = run(&sampler, &[1.0, 0.6]);
            let k = sde.coefficients(0.6);
            let want = field(&data, &sde, &x, 1.0).denoised * k.alpha + k.sigma * number(0);
            assert!(largest(&(first - want)) < 1e-12, "{} {eta}", sampler.name());
        }
    }
}

/// (X5), (X6) at η = 1 as published: SDE-DPM-Solver++ 2M in k-diffusion's form, and SEEDS-2 in terms of ε.
#[test]
fn published_formulas() {
    let (sde, (data, _), x) = (VpLinear::default(), clusters(), few(4));
    let times = [0.9, 0.6, 0.35];
    let level = |t: f64| (sde.alpha(t), sde.sigma(t), 0.5 * sde.log_snr(t));
    let run = |sampler: &Sampler, times: &[f64]| {
        let grid = Grid::new(&sde, times).unwrap();
        sample_with(sampler, x.clone(), &grid, &mut data.score(&sde), some).unwrap().y
    };
    let [(_, s0, l0), (a1, s1, l1), (a2, s2, l2)] = times.map(level);
    let (h0, h1) = (l1 - l0, l2 - l1);
    let d0 = field(&data, &sde, &x, times[0]).denoised;
    let noise = |sigma: f64, h: f64, key| sigma * (-(-2.0 * h).exp_m1()).sqrt() * number(key);
    let x1 = &x * (s1 / s0 * (-h0).exp()) - &d0 * (a1 * (-2.0 * h0).exp_m1()) + noise(s1, h0, 0);
    let d1 = field(&data, &sde, &x1, times[1]).denoised;
    let x2 = &x1 * (s2 / s1 * (-h1).exp())
        - &d1 * (a2 * (-2.0 * h1).exp_m1())
        - (&d1 - &d0) * (0.5 * a2 * (-2.0 * h1).exp_m1() * (h1 / h0))
        + noise(s2, h1, 1);
    assert!(largest(&(run(&Sampler::dpm_2m_sde(1.0), &times) - x2)) < 1e-12);

    let Some(Sampler::SingleStep(m)) = Sampler::named("dpm-solver-2") else { unreachable!() };
    let seeds = Sampler::SingleStep(SingleStep { eta: 1.0, ..m });
    let middle = sde.time_of_log_snr(l0 + l1); // 2 ℓ in the middle
    let (a_m, s_m, _) = level(middle);
    let a0 = sde.alpha(times[0]);
    let eps = |x: &Rows, t: f64| field(&data, &sde, x, t).score * -sde.sigma(t);
    let (half, whole) = ((0.5 * h0).exp_m1(), h0.exp_m1());
    let u =
        &x * (a_m / a0) - eps(&x, times[0]) * (2.0 * s_m * half) + s_m * whole.sqrt() * number(0);
    let parts = ((2.0 * h0).exp() - h0.exp()).sqrt() * number(0) + whole.sqrt() * number(1);
    let want = &x * (a1 / a0) - eps(&u, middle) * (2.0 * s1 * whole) + s1 * parts;
    assert!(largest(&(run(&seeds, &times[..2]) - want)) < 1e-12);
}

/// (O12) A step of DDPM's chain as in appendix E, `(2 − √(1−β)) x + β s + √β z`, and of VE; (O13) after it.
#[test]
fn reverse_diffusion_and_corrector_by_hand() {
    let ((data, _), x, times) = (clusters(), few(3), [0.8, 0.7]);
    let ve = VarianceExploding::new(0.01, 50.0).unwrap();
    let vp = VpLinear::default();
    for sde in [&vp as &dyn Sde, &ve] {
        let kernel = sde.kernel(times[1], times[0]);
        if sde.alpha(0.5) < 1.0 {
            let beta = 1.0 - kernel.a * kernel.a;
            assert!((kernel.var - beta).abs() < 1e-12); // of a variance-preserving process
        }
        let s = field(&data, sde, &x, times[0]).score;
        let moved = &x * (2.0 - kernel.a) + s * kernel.var + kernel.var.sqrt() * number(0);
        let run = |method: Stochastic| {
            let mut reverse = Reverse::new(sde, data.score(sde), 1.0).unwrap();
            sample_reverse(method, x.clone(), &times, &mut reverse, some).unwrap()
        };
        let scale = largest(&moved);
        assert!(largest(&(run(Stochastic::ReverseDiffusion).y - &moved)) < 1e-12 * scale);

        let s = field(&data, sde, &moved, times[1]).score;
        for size in [LangevinStep::Norms, LangevinStep::Level] {
            let end = run(langevin(0.16, 1, size));
            assert_eq!(end.batch_evals, 2);
            for (i, row) in end.y.outer_iter().enumerate() {
                let ratio = match size {
                    LangevinStep::Norms => {
                        2.0 * number(1).powi(2) / s.row(i).dot(&s.row(i)) // |z|² = 2 z²
                    }
                    LangevinStep::Level => sde.sigma(times[1]).powi(2),
                };
                let eps = 2.0 * (kernel.a * 0.16).powi(2) * ratio;
                let want = &moved.row(i) + &s.row(i) * eps + (2.0 * eps).sqrt() * number(1);
                assert!((&row - &want).iter().all(|e| e.abs() < 1e-12 * scale), "{size:?}");
            }
        }
    }
}

/// Every method, on a chunk.
fn all(chunk: Samples<Rows>, steps: u32) -> Vec<(String, Rows)> {
    let (sde, (data, _)) = (VpLinear::default(), clusters());
    let times = uniform_grid(1.0, 0.01, steps);
    let more = [langevin(0.1, 2, LangevinStep::Level)];
    let mut ends = Vec::new();
    for method in Stochastic::NAMED.into_iter().chain(more) {
        let mut reverse = Reverse::new(&sde, data.score(&sde), 0.8).unwrap();
        let end = sample_reverse(method, chunk.clone(), &times, &mut reverse, &increments());
        ends.push((method.name().into(), end.unwrap().y));
    }
    let mut reverse = Reverse::new(&sde, data.score(&sde), 0.8).unwrap();
    let drift = |x: &Rows, at: Lanes<'_>, out: &mut Rows| reverse.drift(x, at, out);
    let scale = |t| noise_scale(&sde, 0.8, t);
    ends.push(("sra1".into(), sra1(chunk, &times, drift, scale, &increments()).unwrap().y));
    ends
}

#[test]
fn results_do_not_depend_on_the_batch() {
    let x = few(6);
    let order = [3, 0, 5, 1];
    let some = Samples {
        x: x.select(Axis(0), &order),
        numbers: order.iter().map(|&i| i as u64).collect(),
    };
    for ((name, whole), (_, part)) in all(x.into(), 20).iter().zip(all(some, 20)) {
        assert_eq!(bits(&part), bits(&whole.select(Axis(0), &order)), "{name}");
    }
}

/// 40 steps allocate as often as 10.
#[test]
fn steps_allocate_nothing() {
    let (sde, (data, _)) = (VpLinear::default(), clusters());
    let [few_times, many] = [10, 40].map(|n| uniform_grid(1.0, 0.01, n));
    let count = |times: &[f64], method: Option<Stochastic>| {
        let (x, noise) = (few(4), increments());
        let mut reverse = Reverse::new(&sde, data.score(&sde), 0.8).unwrap();
        allocation_counter::measure(|| {
            if let Some(method) = method {
                sample_reverse(method, x, times, &mut reverse, &noise).unwrap();
            } else {
                let drift = |x: &Rows, at: Lanes<'_>, out: &mut Rows| reverse.drift(x, at, out);
                sra1(x, times, drift, |t| noise_scale(&sde, 0.8, t), &noise).unwrap();
            }
        })
        .count_total
    };
    for method in Stochastic::NAMED.into_iter().map(Some).chain([None]) {
        assert_eq!(count(&few_times, method), count(&many, method), "{method:?}");
    }
    let up = [10, 40].map(|n| uniform_grid(0.0, 1.0, n));
    let [a, b] = up.map(|times| {
        let (x, noise) = (few(4), increments());
        let f = |x: &Rows, _: Lanes<'_>, at: &mut Diagonal<_>| {
            at.drift.assign(x);
            at.scale.assign(x);
            at.slope.fill(1.0);
            Ok(())
        };
        allocation_counter::measure(|| drop(milstein(x, &times, f, &noise).unwrap())).count_total
    });
    assert_eq!(a, b);
}

#[test]
fn refusals_name_the_number() {
    let (sde, (data, _)) = (VpLinear::default(), clusters());
    let mut reverse = Reverse::new(&sde, data.score(&sde), 1.0).unwrap();
    let rising = sample_reverse(
        Stochastic::ReverseDiffusion,
        few(1),
        &[0.1, 0.9],
        &mut reverse,
        &increments(),
    );
    let rising = rising.unwrap_err().to_string();
    assert!(rising.starts_with("second time = 0.9") && rising.contains("towards the data"));
    let many = langevin(0.1, u32::MAX, LangevinStep::Level);
    let many = sample_reverse(many, few(1), &[0.9, 0.1], &mut reverse, &increments());
    assert!(many.unwrap_err().to_string().contains("fewer than 2³²"));
    let corrector = Langevin { snr: -1.0, steps: 1, size: LangevinStep::Level };
    let how = (Predictor::EulerMaruyama, corrector);
    let wrong = predictor_corrector(few(1), &[0.9, 0.1], &mut reverse, how, &increments());
    assert!(wrong.unwrap_err().to_string().starts_with("snr = -1"));
    let falling = stochastic_heun(
        few(1),
        &[0.5, 0.5],
        |_: &Rows, _: Lanes<'_>, _: &mut Rows| Ok(()),
        |_| 1.0,
        &increments(),
    );
    assert!(falling.unwrap_err().to_string().contains("0.5 followed by 0.5"));
    let grid = Grid::new(&sde, &[0.9, 0.1]).unwrap();
    let message = |sampler: Sampler| {
        let mut score = data.score(&sde);
        sample(&sampler, few(1), &grid, &mut score, &increments()).unwrap_err().to_string()
    };
    assert!(message(Sampler::seeds_2(-0.5)).starts_with("eta = -0.5"));
    let Some(Sampler::Multistep(m)) = Sampler::named("unipc") else { unreachable!() };
    let corrected = message(Sampler::Multistep(Multistep { eta: 0.5, ..m }));
    assert!(corrected.contains("expected 0 for a method with a corrector"), "{corrected}");
    let churn = Churn { amount: 1.0, min: 0.0, max: 1.0, scale: 1.0 };
    let churned = message(Sampler::seeds_2(1.0).with_churn(churn).unwrap());
    assert!(churned.contains("expected 0 for a method with churn"), "{churned}");
    assert_eq!(Stochastic::named("pc").map(|method| method.name()), Some("pc"));
    assert!(Stochastic::named("magic").is_none());
}
