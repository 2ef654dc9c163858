//! Measured orders of the methods with noise: strong on coupled paths, weak by moments that are exact.

#![allow(clippy::unwrap_used)]

use ndarray::{Array2, array};
use ode_solvers::samplers::{Grid, Multistep, Predicts, Sampler, SingleStep, sample_with};
use ode_solvers::{
    Result, Stochastic, euler_maruyama, sample_reverse, sra1, stochastic_heun, uniform_grid,
};
use sde_core::reverse::noise_scale;
use sde_core::{GaussianMixture, Lanes, Noise, Purpose, Reverse, Sde, VpLinear, grid};

/// One sample whose numbers are paths of their own.
type Paths = Array2<f64>;

/// `dx = (sin 2x − x + t) dt + (1 + ½ sin 3t) dW`: additive noise, nothing linear.
#[expect(clippy::unnecessary_wraps, reason = "a drift")]
fn drift(x: &Paths, at: Lanes<'_>, out: &mut Paths) -> sde_core::Result<()> {
    out.zip_mut_with(x, |out, x| *out = (2.0 * x).sin() - x + at.t[0]);
    Ok(())
}

fn scale(t: f64) -> f64 {
    1.0 + 0.5 * (3.0 * t).sin()
}

/// The numbers (z, ζ) of each step of SRA1 on a fine grid, h each: enough for the same path on any coarser grid.
struct Path {
    h: f64,
    steps: Vec<[Paths; 2]>,
}

impl Path {
    fn new(n: u32, samples: usize) -> Self {
        let draw = |key| {
            let mut z = Paths::zeros((1, samples));
            Noise::new(17, Purpose::Increment).fill(&[0], key, &mut z).unwrap();
            z
        };
        let steps = (0..n).map(|i| [draw(2 * i), draw(2 * i + 1)]).collect();
        Self { h: f64::from(n).recip(), steps }
    }

    /// (z, ζ) of step i where a step is m fine ones: from `ΔW` and from `∫ (W − W₀) ds` over it.
    fn numbers(&self, i: usize, m: usize) -> [Paths; 2] {
        let (h, long) = (self.h, self.h * m as f64);
        let mut w = Paths::zeros(self.steps[0][0].dim());
        let mut area = w.clone();
        for [z, zeta] in &self.steps[i * m..(i + 1) * m] {
            area = area + &w * h + (z + &(zeta / 3_f64.sqrt())) * (0.5 * h * h.sqrt());
            w = w + z * h.sqrt();
        }
        let z = w / long.sqrt();
        let zeta = (area * (2.0 / (long * long.sqrt())) - &z) * 3_f64.sqrt();
        [z, zeta]
    }
}

#[derive(Clone, Copy, Debug)]
enum Method {
    Euler,
    Heun,
    Sra1,
}

/// The end of steps that are m fine ones each, along the path.
fn end(method: Method, path: &Path, m: usize, (t0, t1): (f64, f64)) -> Paths {
    let n = path.steps.len() / m;
    let grid = uniform_grid(t0, t1, n as u32);
    let samples = path.steps[0][0].len();
    let x = Paths::from_shape_fn((1, samples), |(_, j)| 4.0 * j as f64 / samples as f64 - 2.0);
    let draw = |_: &[u64], key: u32, out: &mut Paths| {
        let (step, which) = match method {
            Method::Sra1 => (key / 2, key % 2),
            _ => (key, 0),
        };
        out.assign(&path.numbers(step as usize, m)[which as usize]);
        Ok(())
    };
    let solution = match method {
        Method::Euler => euler_maruyama(x, &grid, drift, scale, draw),
        Method::Heun => stochastic_heun(x, &grid, drift, scale, draw),
        Method::Sra1 => sra1(x, &grid, drift, scale, draw),
    };
    solution.unwrap().y
}

/// (O9), (O10) `E|error|` falls with order 1 for Euler–Maruyama and Heun and 1.5 for SRA1, in both directions of time.
#[test]
fn strong_orders_for_additive_noise() {
    let path = Path::new(1 << 11, 4000);
    for span in [(0.0, 1.0), (1.0, 0.0)] {
        let exact = end(Method::Sra1, &path, 1, span);
        for (method, order) in [(Method::Euler, 1.0), (Method::Heun, 1.0), (Method::Sra1, 1.5)] {
            let error =
                |m: usize| (end(method, &path, m, span) - &exact).mapv(f64::abs).mean().unwrap();
            let slope = (error(1 << 6) / error(1 << 3)).log2() / 3.0;
            println!("{method:?} {span:?}: strong slope {slope:.3}, error {:.1e}", error(1 << 3));
            assert!((slope - order).abs() < 0.1, "{method:?} {span:?}: {slope}");
        }
    }
}

const DATA: (f64, f64) = (0.7, 0.25); // mean and variance
const END: f64 = 0.05;

fn gaussian(var: f64) -> GaussianMixture {
    GaussianMixture::isotropic(&[1.0], array![[DATA.0]], &[var]).unwrap()
}

/// Variance of `p_t`.
fn variance(t: f64, var: f64) -> f64 {
    let k = VpLinear::default().coefficients(t);
    k.alpha.powi(2) * var + k.sigma.powi(2)
}

/// Draws of a step, for the row of each sample.
type Draw<'a> = &'a mut dyn FnMut(&[u64], u32, &mut Array2<f64>) -> sde_core::Result<()>;

/// What makes an end of data, a number of steps, a start and draws.
type Run = dyn Fn(&GaussianMixture, u32, Array2<f64>, Draw<'_>) -> Result<Array2<f64>>;

/// A method under test: its name, what makes of a start and draws an end, and the numbers that one step draws.
struct Steps {
    name: String,
    keys: usize,
    run: Box<Run>,
}

impl Steps {
    /// A sampler on a grid of equal steps in log-SNR.
    fn sampler(sampler: Sampler) -> Self {
        let keys = match sampler {
            Sampler::SingleStep(m) => m.scheme.stages.len() + 1,
            _ => 1,
        };
        let run = move |data: &GaussianMixture, n, x, draw: Draw<'_>| {
            let sde = VpLinear::default();
            let times = grid::log_snr(&sde, n, 1.0, END)?;
            let grid = Grid::new(&sde, &times)?;
            sample_with(&sampler, x, &grid, &mut data.score(&sde), draw).map(|end| end.y)
        };
        Self { name: sampler.name().into(), keys, run: Box::new(run) }
    }

    /// A method on a grid of equal steps in t.
    fn method(method: Stochastic, eta: f64) -> Self {
        let run = move |data: &GaussianMixture, n, x, draw: Draw<'_>| {
            let sde = VpLinear::default();
            let mut reverse = Reverse::new(&sde, data.score(&sde), eta)?;
            let grid = uniform_grid(1.0, END, n);
            sample_reverse(method, x, &grid, &mut reverse, draw).map(|end| end.y)
        };
        Self { name: method.name().into(), keys: 1, run: Box::new(run) }
    }

    fn sra1(eta: f64) -> Self {
        let run = move |data: &GaussianMixture, n, x, draw: Draw<'_>| {
            let sde = VpLinear::default();
            let mut reverse = Reverse::new(&sde, data.score(&sde), eta)?;
            let drift = |x: &_, at: Lanes<'_>, out: &mut _| reverse.drift(x, at, out);
            let grid = uniform_grid(1.0, END, n);
            sra1(x, &grid, drift, |t| noise_scale(&sde, eta, t), draw).map(|end| end.y)
        };
        Self { name: "sra1".into(), keys: 2, run: Box::new(run) }
    }

    /// For data of this variance, the factor of x and the variance of the end of n steps from `p_T`. The steps are linear
    /// in x and in their numbers, so both are exact: by what one unit of each makes of the end.
    fn moments(&self, n: u32, var: f64) -> (f64, f64) {
        let keys = n as usize * self.keys;
        // Row 0: no noise; row 1: x one larger; row 2 + j: one unit of number j.
        let mut x = Array2::from_elem((keys + 2, 1), 0.3);
        x[[1, 0]] += 1.0;
        let mut asked = 0;
        let mut draw = |_: &[u64], key: u32, z: &mut Array2<f64>| {
            z.fill(0.0);
            z[[key as usize + 2, 0]] = 1.0;
            asked += 1;
            Ok(())
        };
        let end = (self.run)(&gaussian(var), n, x, &mut draw).unwrap();
        assert_eq!(asked, keys, "{}", self.name);
        let of = |row: usize| end[[row, 0]] - end[[0, 0]];
        let noise: f64 = (2..keys + 2).map(|row| of(row).powi(2)).sum();
        (of(1), of(1).powi(2) * variance(1.0, var) + noise)
    }

    /// The slopes of the errors of both from n to 2n steps; `None` where there is no error.
    fn slopes(&self, n: u32, eta: f64) -> [Option<f64>; 2] {
        let error = |n| {
            let (factor, var) = self.moments(n, DATA.1);
            [(factor - exact_factor(eta)).abs(), (var - variance(END, DATA.1)).abs()]
        };
        let (a, b) = (error(n), error(2 * n));
        [0, 1].map(|i| (a[i] > 1e-14).then(|| (a[i] / b[i]).log2()))
    }
}

/// The factor of x along the reverse SDE: `√(v_END/v_T) exp(−η²/2 ∫ g²/v dt)`, where v is the variance of `p_t`.
fn exact_factor(eta: f64) -> f64 {
    let (sde, n) = (VpLinear::default(), 20_000);
    let h = (1.0 - END) / f64::from(n);
    let at = |i: i32| {
        let t = END + h * f64::from(i);
        let simpson = if i == 0 || i == n { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
        simpson * sde.g2(t) / variance(t, DATA.1)
    };
    let integral = (0..=n).map(at).sum::<f64>() * h / 3.0;
    (variance(END, DATA.1) / variance(1.0, DATA.1)).sqrt() * (-0.5 * eta * eta * integral).exp()
}

/// (X5), (X6), (O9), (O10), (O12) On Gaussian data mean and variance converge with the weak order, for every member.
#[test]
fn weak_orders_on_gaussian_data() {
    for eta in [0.3, 0.7, 1.0, 1.5] {
        let named = |name| Steps::method(Stochastic::named(name).unwrap(), eta);
        for (steps, n, order) in [
            (named("euler-maruyama"), 256, 1.0),
            (named("reverse-diffusion"), 256, 1.0),
            (named("stochastic-heun"), 128, 2.0),
            (Steps::sra1(eta), 128, 2.0),
            (Steps::sampler(Sampler::dpm_2m_sde(eta)), 256, 2.0),
            (Steps::sampler(Sampler::seeds_2(eta)), 128, 2.0),
            (Steps::sampler(of_noise("dpm-solver-2", eta)), 128, 2.0),
            (Steps::sampler(of_noise("exp-adams-2", eta)), 256, 2.0),
        ] {
            let [factor, var] = steps.slopes(n, eta);
            println!("{} η = {eta}: weak slopes {factor:.2?} {var:.2?}", steps.name);
            // η = 1 in terms of D has no error in the mean: along the reverse SDE the mean of D does not change.
            let mean = factor.map_or((eta - 1.0).abs() < 1e-9, |slope| (slope - order).abs() < 0.3);
            let var = var.is_some_and(|slope| (slope - order).abs() < 0.3);
            assert!(mean && var, "{} {eta}", steps.name);
        }
    }
}

/// A sampler of the ODE with noise η, of ε where it can be.
fn of_noise(name: &str, eta: f64) -> Sampler {
    match Sampler::named(name).unwrap() {
        Sampler::SingleStep(m) => Sampler::SingleStep(SingleStep { eta, ..m }),
        Sampler::Multistep(m) => {
            Sampler::Multistep(Multistep { eta, predicts: Predicts::Noise, ..m })
        }
        other @ Sampler::Ancestral(_) => other,
    }
}

/// (X5) Where D is constant, the steps are exact in law, however few, and whatever η is.
#[test]
fn exponential_steps_are_exact_for_a_point() {
    for eta in [0.2, 1.0, 2.0] {
        for sampler in [Sampler::dpm_2m_sde(eta), Sampler::seeds_2(eta)] {
            for n in [1, 2, 7] {
                let (_, var) = Steps::sampler(sampler).moments(n, 0.0);
                let want = variance(END, 0.0);
                assert!((var - want).abs() < 1e-12 * want, "{} {eta} {n}", sampler.name());
            }
        }
    }
}

/// N(0, 1) numbers, one for each row.
fn normals(purpose: Purpose, key: u32, n: usize) -> Array2<f64> {
    let mut z = Array2::zeros((1, n));
    Noise::new(41, purpose).fill(&[0], key, &mut z).unwrap();
    z.into_shape_with_order((n, 1)).unwrap()
}

/// The noise of a fine grid of n equal parts of ℓ, for any coarser one: `n_to = A n + c z` in units of σ.
struct Fine {
    eta: f64,
    part: f64,
    z: Vec<Array2<f64>>,
}

impl Fine {
    fn new(eta: f64, parts: u32, samples: usize) -> Self {
        let sde = VpLinear::default();
        let draw = |key| normals(Purpose::Increment, key, samples);
        let length = 0.5 * (sde.log_snr(END) - sde.log_snr(1.0));
        Self { eta, part: length / f64::from(parts), z: (0..parts).map(draw).collect() }
    }

    /// The end of a sampler whose numbers cover `wide` parts each.
    fn end(&self, steps: &Steps, wide: usize, data: &GaussianMixture) -> Array2<f64> {
        let eta2 = self.eta * self.eta;
        let n = (self.z.len() / (wide * steps.keys)) as u32;
        let x = normals(Purpose::Prior, 0, self.z[0].nrows());
        let mut draw = |_: &[u64], key: u32, z: &mut Array2<f64>| {
            let (keep, std) =
                ((-eta2 * self.part).exp(), (-(-2.0 * eta2 * self.part).exp_m1()).sqrt());
            z.fill(0.0);
            for fine in &self.z[key as usize * wide..(key as usize + 1) * wide] {
                z.zip_mut_with(fine, |n, z| *n = keep * *n + std * z);
            }
            let whole = (-(-2.0 * eta2 * self.part * wide as f64).exp_m1()).sqrt();
            z.mapv_inplace(|n| n / whole);
            Ok(())
        };
        (steps.run)(data, n, x, &mut draw).unwrap()
    }
}

/// (X6) On a mixture, where D is far from linear, the means of `x²` and of `cos 2x` converge with order 2: along one path
/// for coarse and fine steps, so that the differences are larger than their standard errors.
#[test]
fn weak_order_of_exponential_methods_on_a_mixture() {
    let means = array![[-0.8], [1.1]];
    let data = GaussianMixture::isotropic(&[0.6, 0.4], means, &[0.3, 0.2]).unwrap();
    let (eta, parts) = (1.0, 512);
    let fine = Fine::new(eta, parts, 40_000);
    let seeds = Steps::sampler(Sampler::seeds_2(eta));
    let exact = fine.end(&seeds, 1, &data);
    for steps in [Steps::sampler(Sampler::dpm_2m_sde(eta)), seeds] {
        let error = |n: usize, f: fn(f64) -> f64| {
            let end = fine.end(&steps, parts as usize / (n * steps.keys), &data);
            let off: Vec<f64> = end.iter().zip(&exact).map(|(a, b)| f(*a) - f(*b)).collect();
            let mean = off.iter().sum::<f64>() / off.len() as f64;
            let var = off.iter().map(|o| (o - mean).powi(2)).sum::<f64>() / off.len() as f64;
            (mean, (var / off.len() as f64).sqrt())
        };
        for f in [|x: f64| x * x, |x: f64| (2.0 * x).cos()] {
            let [coarse, fine] = [16, 32].map(|n| error(n, f));
            let slope = (coarse.0 / fine.0).log2();
            println!("{}: weak slope {slope:.2}, errors {coarse:.4?} {fine:.4?}", steps.name);
            assert!(fine.0.abs() > 8.0 * fine.1 && (slope - 2.0).abs() < 0.35, "{}", steps.name);
        }
    }
}
