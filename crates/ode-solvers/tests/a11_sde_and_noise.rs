//! Acceptance test 11: strong and weak orders on geometric Brownian motion, the exact recursion of Euler–Maruyama, and
//! the Brownian path.

#![allow(clippy::unwrap_used)]

use ndarray::{Array2, array};
use ode_solvers::stochastic::milstein;
use ode_solvers::{euler_maruyama, in_chunks, uniform_grid};
use sde_core::reverse::noise_scale;
use sde_core::{BrownianPath, GaussianMixture, Lanes, Noise, Purpose, Reverse, Sde, VpLinear};

/// Geometric Brownian motion `dx = μ x dt + v x dW` from x = 1 to t = 1.
const GBM: (f64, f64) = (0.1, 0.8);
/// 50,000 paths: each number of a sample is one, since the noise acts on it alone.
const PATHS: (usize, usize) = (20, 2500);

/// For each path the end of the method with n steps, with `slope` of `∂b/∂x` (0: Euler–Maruyama, 1: Milstein), minus the
/// exact end on the same path.
fn gbm_errors(n: u32, slope: f64) -> Vec<f64> {
    let (mu, v) = GBM;
    let ones = Array2::ones(PATHS);
    let parts = in_chunks(&ones, 0, 1, |chunk| {
        let mut w = Array2::zeros(chunk.x.dim());
        let draw = |samples: &[u64], step: u32, z: &mut Array2<f64>| {
            Noise::new(31, Purpose::Increment).fill(samples, step, z)?;
            w.scaled_add(f64::from(n).recip().sqrt(), z);
            Ok(())
        };
        let grid = uniform_grid(0.0, 1.0, n);
        let end = milstein(
            chunk,
            &grid,
            |x, _, out| {
                out.drift.assign(&(x * mu));
                out.scale.assign(&(x * v));
                out.slope.fill(v * slope);
                Ok(())
            },
            draw,
        )?;
        ode_solvers::Result::Ok(end.y - w.mapv(|w| (mu - 0.5 * v * v + v * w).exp()))
    });
    parts.unwrap().iter().flatten().copied().collect()
}

fn mean_and_error(x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (var / n).sqrt())
}

/// The slope of the least-squares line.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let (xy, xx) = points
        .iter()
        .fold((0.0, 0.0), |(xy, xx), p| (xy + (p.0 - x) * (p.1 - y), xx + (p.0 - x).powi(2)));
    xy / xx
}

/// The slope of `E|error|` over h = 2⁻⁴ … 2⁻⁹ is ½ for Euler–Maruyama and 1 for Milstein. The mean of Euler–Maruyama is
/// `(1 + μh)^n`, which is exact.
#[test]
fn a11_gbm_has_its_strong_and_weak_orders() {
    let (mut euler, mut better) = (Vec::new(), Vec::new());
    for k in 4..=9 {
        let n = 1 << k;
        let strong = |errors: &[f64]| {
            let size = errors.iter().map(|e| e.abs()).sum::<f64>() / errors.len() as f64;
            (-f64::from(k), size.log2())
        };
        let errors = gbm_errors(n, 0.0);
        euler.push(strong(&errors));
        better.push(strong(&gbm_errors(n, 1.0)));
        let (mu, h) = (GBM.0, f64::from(n).recip());
        let weak = (1.0 + mu * h).powi(n.cast_signed()) - mu.exp();
        let (mean, se) = mean_and_error(&errors);
        assert!((mean - weak).abs() < 4.0 * se, "n = {n}: {mean:e} ± {se:e}, expected {weak:e}");
    }
    let (euler, better) = (slope(&euler), slope(&better));
    println!("strong slopes: Euler–Maruyama {euler:.3}, Milstein {better:.3}");
    assert!((euler - 0.5).abs() < 0.05, "{euler}");
    assert!((better - 0.95).abs() < 0.07, "{better}");
}

/// Gaussian data in one dimension: mean and variance.
const DATA: (f64, f64) = (0.7, 0.25);

/// Mean and variance after Euler–Maruyama steps of the reverse SDE: the score is linear, so both obey a recursion.
fn exact_moments(sde: &dyn Sde, grid: &[f64], (mut mean, mut var): (f64, f64)) -> (f64, f64) {
    for step in grid.windows(2) {
        let (t, h) = (step[0], step[0] - step[1]);
        let k = sde.coefficients(t);
        let v = k.alpha.powi(2) * DATA.1 + k.sigma.powi(2);
        let g2 = sde.g2(t); // dx = [f x − g² s] dt, s = −(x − αm)/v
        let growth = 1.0 - h * (sde.f(t) + g2 / v);
        mean = growth * mean + h * g2 / v * k.alpha * DATA.0;
        var = growth * growth * var + g2 * h;
    }
    (mean, var)
}

/// Mean and variance of the reverse VP SDE with 100 steps from `p_T`, as tabulated for this problem.
#[test]
fn r44_reverse_steps_have_the_moments_of_the_recursion() {
    let (sde, n) = (VpLinear::default(), 100_000);
    let data = GaussianMixture::isotropic(&[1.0], array![[DATA.0]], &[DATA.1]).unwrap();
    let grid = uniform_grid(1.0, 1e-3, 100);
    let k = sde.coefficients(1.0);
    let start = (k.alpha * DATA.0, k.alpha.powi(2) * DATA.1 + k.sigma.powi(2));
    let want = exact_moments(&sde, &grid, start);
    assert!((want.0 - 0.704_103_242_413_791_4).abs() < 1e-10, "{want:?}");
    assert!((want.1 - 0.253_904_191_805_507_8).abs() < 1e-10, "{want:?}");

    let numbers: Vec<u64> = (0..n).collect();
    let mut prior = Array2::zeros((n as usize, 1));
    Noise::new(11, Purpose::Prior).fill(&numbers, 0, &mut prior).unwrap();
    let prior = prior.mapv(|z: f64| start.0 + start.1.sqrt() * z);
    let noise = Noise::new(11, Purpose::Increment);
    let parts = in_chunks(&prior, 0, 1000, |chunk| {
        let mut reverse = Reverse::new(&sde, data.score(&sde), 1.0)?;
        let drift = |x: &_, at: Lanes<'_>, dx: &mut _| reverse.drift(x, at, dx);
        euler_maruyama(chunk, &grid, drift, |t| noise_scale(&sde, 1.0, t), &noise).map(|s| s.y)
    });
    let x: Vec<f64> = parts.unwrap().iter().flatten().copied().collect();
    let (mean, se) = mean_and_error(&x);
    let var = se * se * n as f64;
    assert!((mean - want.0).abs() < 4.0 * se, "{mean} {want:?}");
    assert!((var - want.1).abs() < 4.0 * var * (2.0 / n as f64).sqrt(), "{var} {want:?}");
}

fn path(seed: u64) -> BrownianPath {
    BrownianPath::new(Noise::new(seed, Purpose::Increment), (-1.0, 3.0), 30).unwrap()
}

/// `W(u) − W(s) = (W(u) − W(t)) + (W(t) − W(s))` to 1e-12; the order of questions changes no bit.
#[test]
fn a11_increments_of_a_path_add_up_in_any_order() {
    let path = path(1);
    let times: Vec<f64> =
        (0..200).map(|i| -1.0 + 4.0 * (f64::from(i) * 0.618_034).fract()).collect();
    let at = |sample: u64, t: f64| {
        let mut w = [0.0; 3];
        path.at(sample, t, &mut w);
        w
    };
    let forward: Vec<[f64; 3]> = times.iter().map(|&t| at(9, t)).collect();
    let backward: Vec<[f64; 3]> = times.iter().rev().map(|&t| at(9, t)).collect();
    for (a, b) in forward.iter().zip(backward.iter().rev()) {
        assert_eq!(a.map(f64::to_bits), b.map(f64::to_bits));
    }
    let increment = |s: f64, u: f64| {
        let mut w = [0.0; 3];
        path.increment(9, s, u, &mut w);
        w
    };
    for t in times.windows(3) {
        let mut t = [t[0], t[1], t[2]];
        t.sort_by(f64::total_cmp);
        let (all, parts) = (increment(t[0], t[2]), [increment(t[0], t[1]), increment(t[1], t[2])]);
        for j in 0..3 {
            assert!((all[j] - parts[0][j] - parts[1][j]).abs() < 1e-12, "{t:?}");
        }
    }
}

/// Sample i of a batch is sample i alone, whatever the batch and its order, at times of each row's own.
#[test]
fn a11_a_path_is_the_same_in_any_batch() {
    let path = path(2);
    let (samples, times) = ([4_u64, 0, 7, 2], [0.3, -0.7, 2.9, 0.3]);
    let (mut scratch, mut all) = (Vec::new(), Array2::zeros((4, 5)));
    path.fill(Lanes { t: &times, sample: &samples }, &mut scratch, &mut all).unwrap();
    for i in [2, 0, 3, 1] {
        let mut one = Array2::zeros((1, 5));
        let at = Lanes { t: &times[i..=i], sample: &samples[i..=i] };
        path.fill(at, &mut scratch, &mut one).unwrap();
        assert_eq!(one.row(0), all.row(i));
        let mut w = [0.0; 5];
        path.at(samples[i], times[i], &mut w);
        assert_eq!(all.row(i).as_slice().unwrap(), w);
    }
    assert_ne!(all.row(0), all.row(3)); // the control: two samples at one time
}

/// The bridge between known values has the mean of the line between them and the variance `(u−t)(t−s)/(u−s)`: the
/// Kolmogorov–Smirnov distance of 131,072 draws has a probability above 1e-5, and that of a variance 3 % too large not.
#[test]
fn a11_bridges_have_their_law() {
    const DRAWS: u64 = 131_072;
    let path = BrownianPath::new(Noise::new(5, Purpose::Increment), (0.0, 1.0), 24).unwrap();
    let (s, t, u) = (0.11_f64, 0.2718, 0.731);
    let sd: f64 = ((u - t) * (t - s) / (u - s)).sqrt();
    let mut draws: Vec<f64> = (0..DRAWS)
        .map(|sample| {
            let [ws, wt, wu] = [s, t, u].map(|t| {
                let mut w = [0.0];
                path.at(sample, t, &mut w);
                w[0]
            });
            (wt - ws - (wu - ws) * (t - s) / (u - s)) / sd
        })
        .collect();
    draws.sort_by(f64::total_cmp);
    let n = DRAWS as f64;
    // P(√n D > x) is 2 exp(−2 x²) but for smaller terms.
    let probability = |scale: f64| {
        let distance = draws.iter().enumerate().fold(0.0_f64, |most, (i, z)| {
            let p = 0.5 * libm::erfc(-z * scale / std::f64::consts::SQRT_2);
            most.max((p - i as f64 / n).abs()).max(((i + 1) as f64 / n - p).abs())
        });
        2.0 * (-2.0 * n * distance * distance).exp()
    };
    println!(
        "bridge: p = {:.3}, with a wrong variance {:.1e}",
        probability(1.0),
        probability(0.97)
    );
    assert!(probability(1.0) > 1e-5);
    assert!(probability(0.97) < 1e-5);
}
