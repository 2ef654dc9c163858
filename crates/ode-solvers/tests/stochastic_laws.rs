//! What the methods with noise must keep: the law of the data, whatever the member of the family.

#![allow(clippy::unwrap_used)]

mod clusters;
#[path = "../../../fixtures/wrong.rs"]
mod wrong;

use clusters::{clusters, noised_clusters, sliced_distance};
use ndarray::Array2;
use ode_solvers::samplers::{Grid, Sampler, sample};
use ode_solvers::stochastic::{Langevin, LangevinStep, Predictor};
use ode_solvers::{Adaptive, Result, Samples, Stochastic, adaptive_sde, in_chunks, sample_reverse};
use sde_core::reverse::noise_scale;
use sde_core::{
    BrownianPath, GaussianMixture, Lanes, Noise, Purpose, Reverse, Sde, Tolerance, VpLinear, grid,
};
use wrong::Wrong;

type Rows = Array2<f64>;
type OfEta = fn(f64) -> Sampler;

const START: f64 = 1e-3;

fn increments() -> Noise {
    Noise::new(23, Purpose::Increment)
}

fn langevin(snr: f64, steps: u32, size: LangevinStep) -> Stochastic {
    Stochastic::PredictorCorrector(Predictor::ReverseDiffusion, Langevin { snr, steps, size })
}

/// A method under test: from a chunk at t = 1, with a score times a factor, and η.
type Run<'a> = &'a (dyn Fn(Samples<Rows>, f64, f64) -> Result<Rows> + Sync);

/// The sliced distance of the law at t = 1e-3 from what it should be.
fn distance(run: Run<'_>, (eta, factor): (f64, f64), n: usize) -> f64 {
    let (start, want) = (noised_clusters(n, 1.0, 21), noised_clusters(n, START, 22));
    let parts = in_chunks(&start, 0, 500, |chunk| run(chunk, factor, eta)).unwrap();
    let rows: Vec<f64> = parts.iter().flatten().copied().collect();
    sliced_distance(&Array2::from_shape_vec((n, 2), rows).unwrap(), &want)
}

fn on_times(method: Stochastic, n: u32) -> impl Fn(Samples<Rows>, f64, f64) -> Result<Rows> + Sync {
    move |chunk, factor, eta| {
        let (sde, (data, _)) = (VpLinear::default(), clusters());
        let times = grid::log_snr(&sde, n, 1.0, START)?;
        let mut reverse =
            Reverse::new(&sde, Wrong { score: data.score(&sde), sde: &sde, factor }, eta)?;
        Ok(sample_reverse(method, chunk, &times, &mut reverse, &increments())?.y)
    }
}

fn on_levels(sampler: OfEta, n: u32) -> impl Fn(Samples<Rows>, f64, f64) -> Result<Rows> + Sync {
    move |chunk, factor, eta| {
        let (sde, (data, _)) = (VpLinear::default(), clusters());
        let times = grid::log_snr(&sde, n, 1.0, START)?;
        let mut score = Wrong { score: data.score(&sde), sde: &sde, factor };
        let grid = Grid::new(&sde, &times)?;
        Ok(sample(&sampler(eta), chunk, &grid, &mut score, &increments())?.y)
    }
}

fn adaptive(tol: f64) -> impl Fn(Samples<Rows>, f64, f64) -> Result<Rows> + Sync {
    move |chunk, factor, eta| {
        let (sde, (data, _)) = (VpLinear::default(), clusters());
        let mut reverse =
            Reverse::new(&sde, Wrong { score: data.score(&sde), sde: &sde, factor }, eta)?;
        let drift = |x: &Rows, at: Lanes<'_>, out: &mut Rows| reverse.drift(x, at, out);
        let scale = |t| noise_scale(&sde, eta, t);
        let path = BrownianPath::new(increments(), (START, 1.0), 20)?;
        let options = Adaptive::new(Tolerance::both(tol));
        let end = adaptive_sde(chunk, (1.0, START), &options, (drift, scale), &path)?;
        assert!(end.is_done());
        Ok(end.y)
    }
}

/// (R41) From `p_T` every method arrives at the data's law; with a score that is 10 % too large none does.
#[test]
fn r41_every_method_arrives_at_the_same_law() {
    let (rd, heun) = (Stochastic::ReverseDiffusion, Stochastic::Heun);
    let pc = langevin(0.1, 1, LangevinStep::Level);
    let two_m = on_levels(Sampler::dpm_2m_sde, 50);
    let seeds = on_levels(Sampler::seeds_2, 30);
    let (heun, rd, pc) = (on_times(heun, 60), on_times(rd, 150), on_times(pc, 100));
    let adaptive = adaptive(0.03);
    let cases: [(&str, Run<'_>, f64); 8] = [
        ("dpm++2m-sde", &two_m, 0.5),
        ("dpm++2m-sde", &two_m, 1.5),
        ("seeds-2", &seeds, 0.5),
        ("seeds-2", &seeds, 1.0),
        ("stochastic-heun", &heun, 0.7),
        ("reverse-diffusion", &rd, 1.0),
        ("pc", &pc, 1.0),
        ("adaptive-sde", &adaptive, 0.7),
    ];
    for (name, run, eta) in cases {
        let got = distance(run, (eta, 1.0), 20_000);
        println!("{name} η = {eta}: {got:.4}");
        assert!(got <= 0.02, "{name} η = {eta}: {got}");
    }
    for (name, run) in [("dpm++2m-sde", &two_m as Run<'_>), ("seeds-2", &seeds)] {
        let got = distance(run, (1.0, 1.1), 20_000);
        assert!(got > 0.03, "{name} with a wrong score: {got}");
    }
}

/// (O13) With the size by norms the law is kept in many dimensions, where norms are nearly constant, and is lost in two,
/// where the norm of the score comes near 0: the size by the level keeps it there.
#[test]
fn the_size_of_a_corrector_step_by_norms_needs_dimensions() {
    let sde = VpLinear::default();
    let variance = |t: f64| sde.alpha(t).powi(2) * 0.25 + sde.sigma(t).powi(2);
    let ratio = |d: usize, method: Stochastic| {
        let n = if d == 2 { 1 << 13 } else { 64 };
        let data = GaussianMixture::isotropic(&[1.0], Array2::zeros((1, d)), &[0.25]).unwrap();
        let (numbers, mut start): (Vec<u64>, _) =
            ((0..n).collect(), Array2::zeros((n as usize, d)));
        Noise::new(3, Purpose::Prior).fill(&numbers, 0, &mut start).unwrap();
        start.mapv_inplace(|z: f64| z * variance(1.0).sqrt());
        let times = grid::log_snr(&sde, 200, 1.0, START).unwrap();
        let mut reverse = Reverse::new(&sde, data.score(&sde), 1.0).unwrap();
        let end = sample_reverse(method, start, &times, &mut reverse, &increments()).unwrap().y;
        let ratio = end.mapv(|x| x * x).mean().unwrap() / variance(START);
        println!("{} in {d} dimensions: {ratio:.4} of the variance", method.name());
        ratio
    };
    let [norms, level] =
        [LangevinStep::Norms, LangevinStep::Level].map(|size| langevin(0.1, 1, size));
    let (alone, corrected) = (ratio(1024, Stochastic::ReverseDiffusion), ratio(1024, norms));
    assert!((corrected - 1.0).abs() < 0.03 && corrected < alone - 0.01, "{corrected} {alone}");
    assert!(ratio(2, norms) > 4.0);
    assert!((ratio(2, level) - 1.0).abs() < 0.08);
}
