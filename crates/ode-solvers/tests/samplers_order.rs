//! The measured order of every sampler, and the recorded runs of acceptance test 10.

#![allow(clippy::unwrap_used)]

use ndarray::{Array2, array};
use ode_solvers::samplers::{
    Grid, Multistep, Predicts, Rule, Sampler, StepVariance, sample, sample_with,
};
use ode_solvers::{Adaptive, RK45, Solution, decode, encode};
use sde_core::sde::{Edm, Process};
use sde_core::{GaussianMixture, Noise, Purpose, Reverse, Sde, Tolerance, VpLinear, grid};
use serde_json::Value;

fn run(
    sampler: &Sampler,
    data: &GaussianMixture,
    x: &Array2<f64>,
    grid: &Grid<'_>,
) -> Solution<Array2<f64>> {
    let noise = Noise::new(1, Purpose::Increment);
    sample(sampler, x.clone(), grid, &mut data.score(grid.sde()), &noise).unwrap()
}

/// Largest distance over the batch.
fn distance(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    (a - b).outer_iter().map(|d| d.dot(&d).sqrt()).fold(0.0, f64::max)
}

/// A mixture in one dimension, latents, and where the exact flow takes them.
struct Problem {
    sde: VpLinear,
    data: GaussianMixture,
    x: Array2<f64>,
    exact: Array2<f64>,
}

const END: f64 = 1e-2;

impl Problem {
    fn new() -> Self {
        let (sde, x) = (VpLinear::default(), array![[0.4], [-1.3], [2.0]]);
        let means = array![[-0.8], [1.1]];
        let data = GaussianMixture::isotropic(&[0.6, 0.4], means, &[0.3, 0.2]).unwrap();
        let options = Adaptive::new(Tolerance::both(3e-14));
        let mut flow = Reverse::probability_flow(&sde, data.score(&sde));
        let exact = decode(&RK45, x.clone(), END, &options, &mut flow).unwrap().y;
        Self { sde, data, x, exact }
    }

    /// The error after n steps, equal in log-SNR.
    fn error(&self, sampler: &Sampler, n: u32) -> f64 {
        let times = grid::log_snr(&self.sde, n, 1.0, END).unwrap();
        let grid = Grid::new(&self.sde, &times).unwrap();
        distance(&run(sampler, &self.data, &self.x, &grid).y, &self.exact)
    }

    fn slope(&self, sampler: &Sampler, n: u32) -> f64 {
        (self.error(sampler, n) / self.error(sampler, 2 * n)).log2()
    }
}

/// Every sampler with a name has its order, within 0.3; that of `exp-adams-4` is below.
#[test]
fn a10_named_samplers_have_their_order() {
    let problem = Problem::new();
    for sampler in Sampler::NAMED {
        if sampler.is_random() || sampler.name() == "exp-adams-4" {
            continue;
        }
        let (slope, order) = (problem.slope(&sampler, 128), sampler.order() as f64);
        println!("{:18} {order} {slope:.2}", sampler.name());
        assert!((slope - order).abs() < 0.3, "{}: {slope}", sampler.name());
    }
}

/// The sampler with single steps of order 3 in place of steps with fewer values than its own.
fn warmed(sampler: Sampler) -> Sampler {
    let Sampler::Multistep(m) = sampler else { return sampler };
    let Sampler::Multistep(warm) = Sampler::exp_adams(m.predicts, m.order, true) else {
        return sampler;
    };
    Sampler::Multistep(Multistep { start: m.start.or(warm.start), ..m })
}

/// Up the grid every deterministic sampler has the same order, against the exact encoding. The first steps are those at low
/// noise, where the error of a start with few values is not small: methods of order 3 need a start as good.
#[test]
fn a10_named_samplers_have_their_order_upward() {
    let problem = Problem::new();
    let options = Adaptive::new(Tolerance::both(3e-14));
    let mut flow = Reverse::probability_flow(&problem.sde, problem.data.score(&problem.sde));
    let data = array![[0.3], [-1.4], [1.2]];
    let exact = encode(&RK45, data.clone(), END, &options, &mut flow).unwrap().y;
    let error = |sampler: &Sampler, n: u32| {
        let mut times = grid::log_snr(&problem.sde, n, 1.0, END).unwrap();
        times.reverse();
        let grid = Grid::upward(&problem.sde, &times).unwrap();
        distance(&run(sampler, &problem.data, &data, &grid).y, &exact)
    };
    for sampler in Sampler::NAMED {
        if sampler.is_random() {
            continue;
        }
        let order = sampler.order() as f64;
        let good = if order > 2.0 { warmed(sampler) } else { sampler };
        let slope = (error(&good, 256) / error(&good, 512)).log2();
        println!("{:18} {order} {slope:.2}", sampler.name());
        assert!((slope - order).abs() < 0.3, "{}: {slope}", sampler.name());
        if sampler.name() == "dpm++3m" {
            let cold = (error(&sampler, 256) / error(&sampler, 512)).log2();
            assert!(cold < 2.5, "a cold start is of order 2: {cold}");
        }
    }
}

/// Exponential Adams–Bashforth of both kinds, warmed up. The corrector of `UniPC` gives it one order more.
#[test]
fn a10_multistep_methods_of_any_order() {
    let problem = Problem::new();
    for predicts in [Predicts::Data, Predicts::Noise] {
        for order in 1..=5 {
            let slope = problem.slope(&Sampler::exp_adams(predicts, order, true), 256);
            println!("exp-adams {order} {predicts:?} {slope:.2}");
            assert!((slope - order as f64).abs() < 0.3, "{predicts:?} {order}: {slope}");
        }
    }
    for order in 1..=3 {
        for rule in [Rule::HalfStep, Rule::HalfFirst] {
            let slope = problem.slope(&Sampler::unipc(order, rule), 128);
            println!("unipc {order} {rule:?} {slope:.2}");
            assert!((slope - order as f64 - 1.0).abs() < 0.3, "unipc {order} {rule:?}: {slope}");
            let Sampler::Multistep(m) = Sampler::unipc(order, rule) else { continue };
            let noise = Sampler::Multistep(Multistep { predicts: Predicts::Noise, ..m });
            let slope = problem.slope(&noise, 256);
            println!("unipc {order} {rule:?} of ε {slope:.2}");
            assert!((slope - order as f64 - 1.0).abs() < 0.3, "of ε {order} {rule:?}: {slope}");
        }
    }
}

/// Samplers with noise have weak order 1: on Gaussian data each step is linear, and mean and variance follow exactly from
/// what one step does to 0, to 1 and to noise. The mean is right at any step size, since the mean of D is that of the data.
#[test]
fn a10_samplers_with_noise_have_weak_order_one() {
    let (sde, data) =
        (VpLinear::default(), GaussianMixture::isotropic(&[1.0], array![[0.7]], &[0.25]).unwrap());
    let exact = |t: f64| (0.7 * sde.alpha(t), 0.25 * sde.alpha(t).powi(2) + sde.sigma(t).powi(2));
    let moments = |sampler: &Sampler, n: u32| {
        let times = grid::log_snr(&sde, n, 1.0, END).unwrap();
        let (mut mean, mut var) = exact(1.0);
        for step in times.windows(2) {
            let grid = Grid::new(&sde, step).unwrap();
            let [shift, one, noise] = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)].map(|(x, z)| {
                let draw = |_: &[u64], _: u32, out: &mut Array2<f64>| {
                    out.fill(z);
                    Ok(())
                };
                let x = array![[x]];
                sample_with(sampler, x, &grid, &mut data.score(&sde), draw).unwrap().y[[0, 0]]
            });
            let (keep, std) = (one - shift, noise - shift);
            (mean, var) = (keep * mean + shift, keep * keep * var + std * std);
        }
        let (m, v) = exact(END);
        ((mean - m).abs(), (var - v).abs())
    };
    for sampler in
        [Sampler::ddpm(StepVariance::Small), Sampler::ddpm(StepVariance::Large), Sampler::ddim(0.5)]
    {
        let (few, many) = (moments(&sampler, 256), moments(&sampler, 512));
        let slope = (few.1 / many.1).log2();
        println!("{} {slope:.2}", sampler.name());
        assert!(few.0 < 1e-12 && many.0 < 1e-12, "{few:?}");
        assert!((slope - 1.0).abs() < 0.3, "{}: {slope}", sampler.name());
    }
}

/// On EDM, whose time is ρ, DEIS in t is DEIS in ρ; on VP it is not, nor is it DEIS in log ρ.
#[test]
fn deis_in_t_is_deis_in_rho_where_t_is_rho() {
    let [log, rho, time] = ["deis", "deis-rho", "deis-t"].map(|name| Sampler::named(name).unwrap());
    let (sde, (_, data)) = (edm(), recorded());
    let times = grid::karras(18, 0.002, 80.0, 7.0).unwrap();
    let grid = Grid::new(&*sde, &times).unwrap();
    let x = array![[40.0, -90.0], [-13.0, 7.0]];
    let [by_log, by_rho, by_time] = [log, rho, time].map(|s| run(&s, &data, &x, &grid).y);
    assert!(distance(&by_rho, &by_time) < 1e-10 && distance(&by_rho, &by_log) > 1e-4);
    let problem = Problem::new();
    let errors = [log, rho, time].map(|sampler| problem.error(&sampler, 16));
    assert!((errors[2] / errors[1] - 1.0).abs() > 0.1, "{errors:?}");
    assert!((errors[2] / errors[0] - 1.0).abs() > 0.1, "{errors:?}");
}

/// A first step of order one spoils order 4, though late: its error is of order 2, and small where α is.
#[test]
fn a_cold_start_shows_in_the_end() {
    let problem = Problem::new();
    let [cold, warm] = [false, true].map(|warm| Sampler::exp_adams(Predicts::Data, 4, warm));
    assert!(problem.slope(&cold, 512) < 2.7);
    assert!(problem.slope(&warm, 512) > 3.7);
    assert_eq!(problem.error(&cold, 16).to_bits(), {
        problem.error(&Sampler::named("exp-adams-4").unwrap(), 16).to_bits()
    });
}

/// DPM-Solver++ (3M) as published halves the second difference and is of order 2; mended, it is exponential Adams.
#[test]
fn a10_published_3m_is_of_order_two() {
    let problem = Problem::new();
    let [published, mended, adams] =
        ["dpm++3m-published", "dpm++3m", "exp-adams-3"].map(|name| Sampler::named(name).unwrap());
    assert!((problem.slope(&published, 512) - 2.0).abs() < 0.1);
    assert!((problem.slope(&mended, 512) - 3.0).abs() < 0.1);
    assert_eq!(problem.error(&mended, 50).to_bits(), problem.error(&adams, 50).to_bits());
    assert!(problem.error(&mended, 1024) < 0.05 * problem.error(&published, 1024));
}

fn numbers(value: &Value) -> Vec<f64> {
    let number = |v: &Value| v.as_f64().or_else(|| v.as_str()?.parse().ok()).unwrap();
    value.as_array().unwrap().iter().map(number).collect()
}

fn matrix(value: &Value) -> Array2<f64> {
    let rows: Vec<Vec<f64>> = value.as_array().unwrap().iter().map(numbers).collect();
    Array2::from_shape_vec((rows.len(), rows[0].len()), rows.concat()).unwrap()
}

fn recorded() -> (Value, GaussianMixture) {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/solver_cases.json");
    let text = std::fs::read_to_string(file).unwrap();
    let means = array![[-1.5, 0.5], [1.0, -1.0], [0.5, 1.8]];
    let data = GaussianMixture::isotropic(&[0.5, 0.3, 0.2], means, &[0.09, 0.04, 0.16]).unwrap();
    (serde_json::from_str(&text).unwrap(), data)
}

fn edm() -> Process {
    Process::Edm(Edm::new(80.0).unwrap())
}

/// What k-diffusion and EDM's own sampler return on Karras' grid with 18 levels and 0: values and evaluations.
#[test]
fn a10_recorded_runs_of_other_libraries() {
    let ((file, data), sde) = (recorded(), edm());
    let table = &file["grid_samplers"];
    let x = matrix(&table["z"]) * 80.0;
    for row in table["methods"].as_array().unwrap() {
        let method = row["method"].as_str().unwrap();
        let name = match method {
            "euler" => "edm-euler",
            "heun" => "edm-heun",
            "dpm_2" => "dpm-solver-2",
            "dpmpp_2m" => "dpm++2m",
            "dpmpp_2s" => "dpm++2s",
            "dpmpp_3m" => "dpm++3m-published",
            _ => "exp-adams-2", // 2M-SDE without noise, its solver `heun`
        };
        let sampler = Sampler::named(name).unwrap();
        let times = grid::karras(18, 0.002, 80.0, 7.0).unwrap();
        let solution = run(&sampler, &data, &x, &Grid::new(&*sde, &times).unwrap());
        assert_eq!(solution.batch_evals, row["nfe"].as_u64().unwrap(), "{method}");
        let want = matrix(&row["x_end"]);
        let scale = want.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
        let off = distance(&solution.y, &want);
        assert!(off < 1e-10 * scale, "{method}: {off:e}");
    }
}

/// Exponential Adams and both forms of 3M, whose errors were recorded from an independent derivation.
#[test]
fn a10_recorded_errors_of_exponential_methods() {
    let ((file, data), sde) = (recorded(), edm());
    let (adams, third) =
        (&file["exponential_adams"]["runs"], &file["dpmpp_3m_second_difference"]["runs"]);
    let counts = [16, 32, 64, 128, 256, 512];
    let x = array![[40.0, -90.0]];
    let exact = matrix(&file["grid_samplers"]["exact_at_sigma_min"]).row(0).to_owned();
    let exact = exact.insert_axis(ndarray::Axis(0));
    let of = |order| Sampler::exp_adams(Predicts::Data, order, false);
    let cases = [1, 2, 3, 4].map(|order| {
        let errors = &adams[format!("exp_adams_{order}_low_order_start")]["errors"];
        (of(order), counts.map(|n| errors[n.to_string()].as_f64().unwrap()))
    });
    let row = |key: &str| {
        let errors = numbers(&third[key]["errors"]);
        std::array::from_fn(|i| errors[i])
    };
    let published = Sampler::named("dpm++3m-published").unwrap();
    let more = [(published, row("D2x1_ramp")), (of(3), row("D2x2_ramp"))];
    for (sampler, errors) in cases.into_iter().chain(more) {
        for (n, want) in counts.into_iter().zip(errors) {
            let times = grid::karras(n, 0.002, 80.0, 7.0).unwrap();
            let times = &times[..times.len() - 1]; // to σ_min
            let end = run(&sampler, &data, &x, &Grid::new(&*sde, times).unwrap()).y;
            let got = (end - &exact).iter().fold(0.0_f64, |m, v| m.max(v.abs()));
            assert!((got - want).abs() < 1e-5 * want + 1e-11, "{} {n}: {got:e}", sampler.name());
        }
    }
}
