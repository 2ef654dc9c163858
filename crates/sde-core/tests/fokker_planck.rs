//! The Fokker–Planck equation: its terms, its weak form, the family that it allows, and its solution on a grid.

#![allow(clippy::unwrap_used)]

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

/// A function and its derivative.
type Pair = (fn(f64) -> f64, fn(f64) -> f64);

#[test]
fn r36_weak_derivative_rule() {
    let (sde, model, t) = (vp(), gmm1d(), 0.1);
    let at = |x: f64| mixture::terms(&model, &sde, &[x], t).unwrap();
    let (f, df) = (|x: f64| (0.7 * x).sin() - x, |x: f64| 0.7 * (0.7 * x).cos() - 1.0);
    let tests: [Pair; 3] = [(|x| x, |_| 1.0), (|x| x * x, |x| 2.0 * x), (f64::cos, |x| -x.sin())];
    for (phi, d_phi) in tests {
        let strong = integral(|x| {
            let a = at(x);
            phi(x) * a.p * (a.score[0] * f(x) + df(x)) // φ (p f)'
        });
        let weak = -integral(|x| d_phi(x) * at(x).p * f(x));
        assert!((strong - weak).abs() < 1e-10, "{strong} {weak}");
        assert!(weak.abs() > 1e-3); // there is something to compare
    }
}

/// d/dt E φ = E[b φ' + (g²/2) φ''] for every process and every member of its family.
#[test]
fn r36_weak_form_of_the_equation() {
    let model = gmm1d();
    for (sde, times) in &processes() {
        let t = times[0];
        let at = |x: f64| mixture::terms(&model, &**sde, &[x], t).unwrap();
        for eta in ETAS {
            let score = mixture::score(&model, &**sde);
            let member = Diffusion::linear(&**sde).forward_family(score, move |_| eta);
            let rate = integral(|x| x.cos() * at(x).dp_dt);
            let weak = integral(|x| at(x).p * member.generator(&[x], t, &[-x.sin()], -x.cos()));
            assert!(
                (rate - weak).abs() < 1e-10 * (1.0 + rate.abs()),
                "{sde:?} {eta}: {rate} {weak}"
            );
            assert!(rate.abs() > 1e-5, "{rate}");
        }
    }
}

#[test]
fn r37_residual_of_the_exact_terms() {
    let (one, two) = (gmm1d(), gmm2d());
    for (sde, times) in &processes() {
        for &t in times {
            for x in [-1.7, -0.2, 0.3, 1.1, 2.6] {
                for (model, x) in [(&one, &[x][..]), (&two, &[x, 0.4 - 0.5 * x])] {
                    let a = mixture::terms(model, &**sde, x, t).unwrap();
                    let scale = a.dp_dt.abs() + a.drift.abs() + a.diffusion.abs();
                    assert!(a.residual().abs() < 1e-10, "{sde:?} {t} {x:?}: {a:?}");
                    assert!(
                        a.residual().abs() < 1e-12 * scale + 1e-300,
                        "{sde:?} {t} {x:?}: {a:?}"
                    );
                    let sides = mixture::score_equation(model, &**sde, x, t, (1.0, 0.0)).unwrap();
                    let size = max(sides.rate.clone());
                    let off = max(sides.residual());
                    assert!(off < 1e-10 * (1.0 + size), "{sde:?} {t} {x:?}: {sides:?}");
                }
            }
        }
    }
}

/// Relative errors of the differences at one point: residual of the terms, their diffusion, `∂s/∂t`, residual of the
/// exact score, residual of a wrong one.
fn errors_of_differences(model: &GaussianMixture, sde: &dyn Sde, x: &[f64], t: f64) -> [f64; 5] {
    let width = (sde.sigma(t).powi(2) + 0.05 * sde.alpha(t).powi(2)).sqrt();
    let steps = Steps { x: 5e-3 * width, t: 2e-3 * t };
    let process = Diffusion::linear(sde);
    let a = differences::terms(&process, |x, t| density(model, sde, x, t), x, t, steps);
    let exact = mixture::terms(model, sde, x, t).unwrap();
    let scale = 1.0 + exact.dp_dt.abs() + exact.drift.abs();
    let rates = a.dscore_dt.iter().zip(&exact.dscore_dt).map(|(a, b)| (a - b) / (1.0 + b.abs()));
    let score = mixture::score(model, sde);
    let sides = differences::score_equation(&process, &score, x, t, steps);
    let size = 1.0 + max(mixture::score_equation(model, sde, x, t, (1.0, 0.0)).unwrap().rate);
    let wrong = |x: &[f64], t: f64, s: &mut [f64]| {
        score(x, t, s);
        s.iter_mut().for_each(|s| *s = 1.1 * *s + 0.2);
    };
    let of_wrong = differences::score_equation(&process, wrong, x, t, steps).residual();
    let expected = mixture::score_equation(model, sde, x, t, (1.1, 0.2)).unwrap().residual();
    assert!(max(expected.clone()) > 1e-6 * size); // the control
    [
        a.residual().abs() / scale,
        (a.diffusion - exact.diffusion).abs() / scale,
        max(rates),
        max(sides.residual()) / size,
        max(of_wrong.iter().zip(&expected).map(|(a, b)| a - b)) / size,
    ]
}

#[test]
fn r37_residual_by_differences() {
    let (one, two) = (gmm1d(), gmm2d());
    for (sde, times) in &processes() {
        for &t in times {
            for x in [-1.7, 0.3, 1.1] {
                for (model, x) in [(&one, &[x][..]), (&two, &[x, 0.4 - 0.5 * x])] {
                    let errors = errors_of_differences(model, &**sde, x, t);
                    let [residual, diffusion, dscore_dt, score, wrong] = errors;
                    assert!(residual < 1e-7 && diffusion < 1e-7, "{sde:?} {t} {x:?}: {errors:?}");
                    assert!(max([dscore_dt, score, wrong]) < 1e-6, "{sde:?} {t} {x:?}: {errors:?}");
                }
            }
        }
    }
}

/// An anisotropic Gaussian that turns as it spreads: `b = −x + ω J x`, g² = 2, not the gradient of anything.
fn turning_density(x: &[f64], t: f64) -> f64 {
    let (sin, cos) = (1.5 * t).sin_cos();
    let (decay, spread) = ((-t).exp(), |c: f64| 1.0 + (-2.0 * t).exp() * (c - 1.0));
    let (x, y) = (x[0] - decay * (cos - sin), x[1] - decay * (sin + cos)); // from the mean (1, 1)
    let (u, v) = (cos * x + sin * y, cos * y - sin * x);
    let (a, b) = (spread(0.2), spread(2.0));
    (-0.5 * (u * u / a + v * v / b)).exp() / (TAU * (a * b).sqrt())
}

fn turning() -> Diffusion<'static> {
    let drift = |x: &[f64], _: f64, b: &mut [f64]| {
        (b[0], b[1]) = (-x[0] - 1.5 * x[1], -x[1] + 1.5 * x[0]);
    };
    Diffusion::new(drift, |_| 2.0)
}

fn turning_score(x: &[f64], t: f64, s: &mut [f64]) {
    let (sin, cos) = (1.5 * t).sin_cos();
    let (decay, spread) = ((-t).exp(), |c: f64| 1.0 + (-2.0 * t).exp() * (c - 1.0));
    let (x, y) = (x[0] - decay * (cos - sin), x[1] - decay * (sin + cos));
    let (u, v) = ((cos * x + sin * y) / spread(0.2), (cos * y - sin * x) / spread(2.0));
    (s[0], s[1]) = (sin * v - cos * u, -sin * u - cos * v);
}

/// (P1), (P5) and the family for a drift that no schedule has.
#[test]
fn r37_a_general_drift() {
    let steps = Steps { x: 2e-3, t: 1e-3 };
    for t in [0.1, 0.5] {
        for x in [[0.3, -0.4], [1.2, 0.9]] {
            for eta in ETAS {
                let member = turning().forward_family(turning_score, move |_| eta);
                let a = differences::terms(&member, turning_density, &x, t, steps);
                assert!(a.residual().abs() < 1e-7, "{a:?}");
                assert!(a.dp_dt.abs() > 1e-3);
                let back = turning().reverse_family(turning_score, move |_| eta, 2.0);
                let reversed = |x: &[f64], tau: f64| turning_density(x, 2.0 - tau);
                let a = differences::terms(&back, reversed, &x, 2.0 - t, steps);
                assert!(a.residual().abs() < 1e-7, "{a:?}");
            }
            let sides = differences::score_equation(&turning(), turning_score, &x, t, steps);
            assert!(max(sides.residual()) < 1e-6 && max(sides.rate.clone()) > 1e-2, "{sides:?}");
        }
    }
}

/// The law after one Euler–Maruyama step is `p + dt ∂p/∂t` and `p_{t+dt}` up to O(dt²).
#[test]
fn r38_one_euler_step() {
    let (sde, model, t) = (vp(), gmm1d(), 0.15);
    let at: Vec<f64> = (0..41).map(|i| -4.0 + 0.2 * f64::from(i)).collect();
    let errors = |dt: f64| {
        let (keep, var) = (1.0 + sde.f(t) * dt, sde.g2(t) * dt);
        let step = |y: f64| {
            let kernel = |x: f64| (-0.5 * (y - keep * x).powi(2) / var).exp() / (TAU * var).sqrt();
            integral(|x| {
                if (y - keep * x).abs() < 1.0 {
                    density(&model, &sde, &[x], t) * kernel(x)
                } else {
                    0.0
                }
            })
        };
        let a = |x: f64| mixture::terms(&model, &sde, &[x], t).unwrap();
        let linear = max(at.iter().map(|&y| step(y) - a(y).p - dt * a(y).dp_dt));
        let exact = max(at.iter().map(|&y| step(y) - density(&model, &sde, &[y], t + dt)));
        [linear, exact]
    };
    let [coarse, middle, fine] = [4e-3, 2e-3, 1e-3].map(errors);
    for i in 0..2 {
        for (a, b) in [(coarse[i], middle[i]), (middle[i], fine[i])] {
            assert!((3.5..4.5).contains(&(a / b)), "{coarse:?} {middle:?} {fine:?}");
        }
    }
}

/// The right sides of (P3) and (P4) equal that of (P1) for noise of any strength.
#[test]
fn r39_the_rewriting_is_an_identity() {
    let (one, two) = (gmm1d(), gmm2d());
    for (sde, times) in &processes() {
        let sde: &dyn Sde = &**sde;
        for &t in times {
            for (model, x) in [(&one, &[0.3][..]), (&two, &[0.3, -0.8])] {
                let a = mixture::terms(model, sde, x, t).unwrap();
                let (mut s, mut denoised) = (x.to_vec(), x.to_vec());
                let point = model.score(sde).point(x, t, &mut s, &mut denoised).unwrap();
                let s2: f64 = s.iter().map(|s| s * s).sum();
                for ratio in [0.0, 0.25, 1.0, 2.0, 4.0] {
                    let eta = f64::sqrt(ratio);
                    // −∇·(b p) + (noise²/2) Δp with div b = d f − weight div s
                    let rate = |process: &Diffusion<'_>, sign: f64, time: f64| {
                        let mut b = s.clone();
                        process.drift(x, time, &mut b);
                        let b_s: f64 = b.iter().zip(&s).map(|(b, s)| b * s).sum();
                        let weight = 0.5 * (1.0 - sign * ratio) * sde.g2(t);
                        let div = sign * (x.len() as f64 * sde.f(t) - weight * point.div_score);
                        let terms = [-div, -b_s, 0.5 * process.g2(time) * (point.div_score + s2)];
                        let size: f64 = terms.iter().map(|v| v.abs()).sum();
                        (a.p * terms.iter().sum::<f64>(), a.p * size)
                    };
                    let field = mixture::score(model, sde);
                    let forward =
                        Diffusion::linear(sde).forward_family(field.clone(), move |_| eta);
                    let reverse =
                        Diffusion::linear(sde).reverse_family(field, move |_| eta, sde.end());
                    let (up, size) = rate(&forward, 1.0, t);
                    assert!((up - a.dp_dt).abs() < 1e-12 * size, "{sde:?} {t} {eta}: {up} {a:?}");
                    let (down, size) = rate(&reverse, -1.0, sde.end() - t);
                    // T − (T − t) is t up to rounding only.
                    assert!(
                        (down + a.dp_dt).abs() < 1e-12 * size,
                        "{sde:?} {t} {eta}: {down} {a:?}"
                    );
                }
            }
        }
    }
}

fn line(cells: usize) -> Grid {
    Grid::new(&[Axis { low: -7.0, high: 7.0, cells }]).unwrap()
}

fn plane(cells: usize) -> Grid {
    Grid::new(&[Axis { low: -5.0, high: 5.0, cells }; 2]).unwrap()
}

/// Evolves the exact `p_from` of a mixture on a grid to `p_to`; the grid's answer, checked for mass and sign.
fn evolve(
    process: &Diffusion<'_>,
    grid: Grid,
    p: Vec<f64>,
    times: (f64, f64),
    steps: u32,
) -> Vec<f64> {
    let mut density = Evolution::new(process, grid, p, times.0).unwrap();
    let before = density.mass();
    density.advance(times.1, steps).unwrap();
    assert!((density.mass() - before).abs() < 1e-12, "{before} {}", density.mass());
    assert!(density.p().iter().all(|&p| p > 0.0));
    density.p().to_vec()
}

/// Distances `∫ |p_grid − p_t|` at t = 0.2 from `p_0` under the VP process with noise η g.
fn grid_error(model: &GaussianMixture, grid: &Grid, eta: f64, steps: u32) -> f64 {
    let sde = vp();
    let process = Diffusion::linear(&sde).forward_family(mixture::score(model, &sde), move |_| eta);
    let exact = |t| grid.averages(|x| density(model, &sde, x, t));
    let p = evolve(&process, grid.clone(), exact(0.0), (0.0, 0.2), steps);
    grid.distance(&p, &exact(0.2))
}

/// Every member of the forward family has the marginals of the process: on a line, with the order of the scheme.
#[test]
fn r40_members_share_marginals_on_a_line() {
    let model = gmm1d();
    for eta in ETAS {
        let [coarse, middle, fine] =
            [200, 400, 800].map(|n| grid_error(&model, &line(n), eta, 200));
        let orders = [(coarse / middle).log2(), (middle / fine).log2()];
        println!("eta {eta}: {coarse:.2e} {middle:.2e} {fine:.2e}, orders {orders:.2?}");
        let (order, error) = if eta == 0.0 { (0.8..1.1, 1e-2) } else { (1.9..2.1, 1e-4) };
        assert!(orders.iter().all(|p| order.contains(p)), "eta {eta}: {orders:?}");
        assert!(fine < error, "eta {eta}: {fine}");
    }
}

#[test]
fn r40_members_share_marginals_in_the_plane() {
    let model = gmm2d();
    for eta in ETAS {
        let [coarse, fine] = [50, 100].map(|n| grid_error(&model, &plane(n), eta, 20));
        let order = (coarse / fine).log2();
        println!("eta {eta}: {coarse:.2e} {fine:.2e}, order {order:.2}");
        let (expected, error) = if eta == 0.0 { (0.7..1.1, 0.1) } else { (1.7..2.2, 1e-2) };
        assert!(expected.contains(&order) && fine < error, "eta {eta}: {order} {fine}");
    }
}

/// A control: a score that is wrong by a tenth takes the members to other places than the process.
#[test]
fn r40_needs_the_exact_score() {
    let (sde, model, grid) = (vp(), gmm1d(), line(400));
    let score = mixture::score(&model, &sde);
    let wrong = move |x: &[f64], t: f64, s: &mut [f64]| {
        score(x, t, s);
        s[0] *= 1.1;
    };
    let process = Diffusion::linear(&sde).forward_family(wrong, |_| 0.5);
    let exact = |t| grid.averages(|x| density(&model, &sde, x, t));
    let p = evolve(&process, grid.clone(), exact(0.0), (0.0, 0.2), 100);
    let error = grid.distance(&p, &exact(0.2));
    assert!(error > 0.02, "{error}"); // with the exact score it is 1e-3 on this grid
}

/// (P4) on the grid: from `p_T` back to the data.
#[test]
fn r41_reverse_members_return_on_a_line() {
    let (sde, model, grid) = (vp(), gmm1d(), line(400));
    let exact = |t| grid.averages(|x| density(&model, &sde, x, t));
    for eta in [0.5, 1.0, 1.5] {
        let score = mixture::score(&model, &sde);
        let process = Diffusion::linear(&sde).reverse_family(score, move |_| eta, 0.3);
        let p = evolve(&process, grid.clone(), exact(0.3), (0.0, 0.3), 300);
        let error = grid.distance(&p, &exact(0.0));
        println!("eta {eta}: {error:.2e}");
        assert!(error < 5e-3, "eta {eta}: {error}");
    }
}

/// Order 2 in the step on a fixed grid, with noise and without, on a line and in the plane.
#[test]
fn the_grid_solver_is_of_order_two_in_time() {
    let (sde, one, two) = (vp(), gmm1d(), gmm2d());
    for (model, grid, steps) in [(&one, line(300), [40, 80, 640]), (&two, plane(40), [20, 40, 160])]
    {
        for eta in [0.0, 0.5, 1.0] {
            let score = mixture::score(model, &sde);
            let process = Diffusion::linear(&sde).forward_family(score, move |_| eta);
            let start = grid.averages(|x| density(model, &sde, x, 0.0));
            let [coarse, fine, best] =
                steps.map(|n| evolve(&process, grid.clone(), start.clone(), (0.0, 0.2), n));
            let (coarse, fine) = (grid.distance(&coarse, &best), grid.distance(&fine, &best));
            let order = (coarse / fine).log2();
            println!("eta {eta}: {coarse:.2e} {fine:.2e}, order {order:.2}");
            assert!((1.7..2.2).contains(&order), "eta {eta}: {order}");
        }
    }
}

/// Steps far beyond those of an explicit scheme, from a box, on a short grid: nothing negative, nothing lost.
#[test]
fn mass_stays_and_no_cell_is_negative() {
    let (sde, model) = (vp(), gmm1d());
    let grid = Grid::new(&[Axis { low: -2.0, high: 1.0, cells: 300 }]).unwrap();
    let start = grid.averages(|x| if x[0] > 0.5 { 2.0 } else { 0.0 });
    for eta in ETAS {
        let process =
            Diffusion::linear(&sde).forward_family(mixture::score(&model, &sde), move |_| eta);
        for steps in [1, 3, 1000] {
            let mut density = Evolution::new(&process, grid.clone(), start.clone(), 0.0).unwrap();
            let before = density.mass();
            density.advance(1.0, steps).unwrap();
            assert!((density.mass() - before).abs() < 1e-12, "{eta} {steps}: {}", density.mass());
            assert!(density.p().iter().all(|&p| p >= 0.0), "{eta} {steps}");
        }
    }
}

/// A drift that is not linear: two wells, from one of them to the balance of both; and a member with time-dependent η
/// that keeps it. A drift that is not a gradient: the turning Gaussian.
#[test]
fn the_grid_solver_takes_any_drift() {
    let wells = |x: &[f64], _: f64, b: &mut [f64]| b[0] = 2.0 * (x[0] - x[0].powi(3));
    let process = Diffusion::new(wells, |_| 2.0);
    let grid = Grid::new(&[Axis { low: -4.0, high: 4.0, cells: 400 }]).unwrap();
    let rest = grid.averages(|x| (x[0].powi(2) - 0.5 * x[0].powi(4)).exp());
    let norm = grid.integral(&rest);
    let rest: Vec<f64> = rest.iter().map(|p| p / norm).collect();
    let start = grid.averages(|x| if (x[0] - 1.0).abs() < 0.25 { 2.0 } else { 0.0 });
    let p = evolve(&process, grid.clone(), start, (0.0, 20.0), 200);
    assert!(grid.distance(&p, &rest) < 1e-4, "{}", grid.distance(&p, &rest));
    let member = process.forward_family(wells, |t| 1.0 + 0.5 * t.sin());
    let p = evolve(&member, grid.clone(), rest.clone(), (0.0, 5.0), 100);
    assert!(grid.distance(&p, &rest) < 1e-4, "{}", grid.distance(&p, &rest));

    let grid = plane(100);
    let exact = |t| grid.averages(|x| turning_density(x, t));
    let p = evolve(&turning(), grid.clone(), exact(0.0), (0.0, 0.5), 50);
    let error = grid.distance(&p, &exact(0.5));
    println!("turning: {error:.2e}");
    assert!(error < 1e-2 && grid.distance(&exact(0.0), &exact(0.5)) > 0.5, "{error}");
}

#[test]
fn what_cannot_be_solved_is_refused() {
    let axis = Axis { low: 0.0, high: 1.0, cells: 4 };
    assert!(Grid::new(&[]).is_err());
    assert!(Grid::new(&[Axis { cells: 0, ..axis }]).is_err());
    assert!(Grid::new(&[Axis { high: 0.0, ..axis }]).is_err());
    let grid = Grid::new(&[axis]).unwrap();
    let process = Diffusion::new(|_, t, b| b[0] = 1.0 / (1.0 - t), |_| 1.0);
    let new = |p: Vec<f64>| Evolution::new(&process, grid.clone(), p, 0.0);
    assert_eq!(
        new(vec![1.0; 3]).unwrap_err().to_string(),
        "densities of the grid: found 3, expected 4"
    );
    assert!(new(vec![-1.0; 4]).is_err());
    let mut density = new(vec![1.0; 4]).unwrap();
    assert!(density.advance(0.0, 1).is_err());
    assert!(density.advance(0.5, 0).is_err());
    let text = density.advance(1.0, 2).unwrap_err().to_string();
    assert_eq!(text, "drift on the grid = inf is out of range: expected a finite number");
    assert!(mixture::terms(&gmm2d(), &vp(), &[0.0], 0.1).is_err());
    assert!(LinearFamily::new(&gmm1d(), &vp(), 1.0, 0.0).is_err());
    assert!(LinearFamily::new(&gauss1d(), &vp(), -1.0, 0.0).is_err());
}

/// `(u, v)` at time t from the equations of the moments themselves, by n steps of RK4, for one Gaussian on the line.
fn moments_by_rk4(
    sde: &dyn Sde,
    (eta, delta): (f64, f64),
    (u, v): (f64, f64),
    (s, t): (f64, f64),
    n: u32,
) -> (f64, f64) {
    let sign = if t < s { 1.0 } else { -1.0 };
    let slope = |time: f64, [u, v]: [f64; 2]| {
        let (f, g2) = (sde.f(time), sde.g2(time));
        let w = 0.36 * sde.alpha(time).powi(2) + sde.sigma(time).powi(2);
        // dx = [f x − (1 ± η²)/2 g² (1+δ) s] dt with s = −(x − α m)/w
        let rate = f + 0.5 * (1.0 + sign * eta * eta) * g2 * (1.0 + delta) / w;
        [rate * u, 2.0 * rate * v - sign * eta * eta * g2]
    };
    let h = (t - s) / f64::from(n);
    let add = |y: [f64; 2], c: f64, k: [f64; 2]| [y[0] + c * k[0], y[1] + c * k[1]];
    let mut y = [u, v];
    for i in 0..n {
        let time = s + h * f64::from(i);
        let k1 = slope(time, y);
        let k2 = slope(time + 0.5 * h, add(y, 0.5 * h, k1));
        let k3 = slope(time + 0.5 * h, add(y, 0.5 * h, k2));
        let k4 = slope(time + h, add(y, h, k3));
        y = add(add(add(add(y, h / 6.0, k1), h / 3.0, k2), h / 3.0, k3), h / 6.0, k4);
    }
    (y[0], y[1])
}

fn law(mean: f64, var: f64) -> Moments {
    Moments { mean: array![mean], covariance: array![[var]] }
}

/// (P9) against the equations it solves, forwards and backwards, exact and wrong score, from any law.
#[test]
fn r40_moments_solve_their_equations() {
    for (sde, [low, _, high]) in &processes() {
        let sde: &dyn Sde = &**sde;
        for eta in ETAS {
            for delta in [0.0, 0.1, -0.2] {
                for (s, t) in [(*low, *high), (*high, *low)] {
                    let start = law(0.5, 0.8);
                    let family = LinearFamily::new(&gauss1d(), sde, eta, delta).unwrap();
                    let end = family.carry(&start, s, t).unwrap();
                    let u = 0.5 - 0.7 * sde.alpha(s);
                    let (u, v) = moments_by_rk4(sde, (eta, delta), (u, 0.8), (s, t), 20_000);
                    let (got, want) = (end.mean[0] - 0.7 * sde.alpha(t), u);
                    assert!(
                        (got - want).abs() < 1e-8 * (1.0 + u.abs()),
                        "{sde:?} {eta} {delta} {s}: {got} {want}"
                    );
                    let (got, want) = (end.covariance[[0, 0]], v);
                    assert!(
                        (got - want).abs() < 1e-8 * (1.0 + v.abs()),
                        "{sde:?} {eta} {delta} {s}: {got} {want}"
                    );
                }
            }
        }
    }
}

fn distance(a: &Moments, b: &Moments) -> f64 {
    let covariance = &a.covariance - &b.covariance;
    max((&a.mean - &b.mean).iter().chain(&covariance).copied())
}

/// Forwards from `p_0` and backwards from `p_T` every member keeps mean and covariance, both ends of time included.
#[test]
fn r40_members_keep_mean_and_covariance() {
    for (sde, _) in &processes() {
        let sde: &dyn Sde = &**sde;
        for eta in ETAS {
            let family = LinearFamily::new(&gauss3d(), sde, eta, 0.0).unwrap();
            for t in [0.0, 1e-3, 0.5, 1.0].map(|t| t * sde.end()) {
                for s in [0.0, sde.end()] {
                    let got = family.carry(&family.marginal(s), s, t).unwrap();
                    let want = family.marginal(t);
                    let size = max(want.covariance.iter().copied());
                    assert!(distance(&got, &want) < 1e-12 * (1.0 + size), "{sde:?} {eta} {s} {t}");
                }
            }
        }
    }
}

/// What the members do not share: the law of `x_t` given `x_0`. The flow of η = 0 takes a point to a point.
#[test]
fn r40_members_differ_given_the_start() {
    for (sde, [_, t, _]) in &processes() {
        let sde: &dyn Sde = &**sde;
        let member = |eta| LinearFamily::new(&gauss1d(), sde, eta, 0.0).unwrap();
        let after = |eta| member(eta).carry(&law(-0.3, 0.0), 0.0, *t).unwrap();
        assert!(after(0.0).covariance[[0, 0]].abs() < 1e-300);
        let (kernel, one) = (sde.kernel(0.0, *t), after(1.0));
        assert!(
            (one.covariance[[0, 0]] - kernel.var).abs() < 1e-12 * (1.0 + kernel.var),
            "{sde:?}"
        );
        assert!((one.mean[0] + 0.3 * kernel.a).abs() < 1e-12);
        assert!(
            after(1.5).covariance[[0, 0]] > kernel.var
                && after(0.5).covariance[[0, 0]] < kernel.var
        );
    }
}

/// Euler–Maruyama paths of each member have the mean and the variance of the marginal.
#[test]
fn r40_paths_of_every_member() {
    let (sde, model) = (vp(), gauss1d());
    let (paths, steps, end) = (100_000_u32, 100_u32, 0.4);
    let h = end / f64::from(steps);
    let truth = LinearFamily::new(&model, &sde, 1.0, 0.0).unwrap().marginal(end);
    for eta in ETAS {
        // f x − (1−η²)/2 g² s with s = −(x − α m)/w, at the middle of each step
        let steps: Vec<_> = (0..steps)
            .map(|i| {
                let t = h * (f64::from(i) + 0.5);
                let w = 0.36 * sde.alpha(t).powi(2) + sde.sigma(t).powi(2);
                let pull = 0.5 * (1.0 - eta * eta) * sde.g2(t) / w;
                (sde.f(t) + pull, pull * 0.7 * sde.alpha(t), eta * (sde.g2(t) * h).sqrt())
            })
            .collect();
        let mut z = vec![0.0; steps.len() + 1];
        let (mut sum, mut sum2) = (0.0, 0.0);
        for path in 0..paths {
            Noise::new(5, Purpose::Increment).normal(path.into(), 0, &mut z);
            let start = 0.7 + 0.6 * z[0];
            let x = steps
                .iter()
                .zip(&z[1..])
                .fold(start, |x, (&(rate, pull, noise), z)| x + h * (rate * x - pull) + noise * z);
            sum += x;
            sum2 += x * x;
        }
        let mean = sum / f64::from(paths);
        let var = sum2 / f64::from(paths) - mean * mean;
        assert!((mean - truth.mean[0]).abs() < 2e-2, "eta {eta}: {mean} {truth:?}");
        assert!((var - truth.covariance[[0, 0]]).abs() < 2e-2, "eta {eta}: {var} {truth:?}");
    }
}

/// From the prior instead of `p_T`: the error decays by a power of the ratio of variances, faster for larger η.
#[test]
fn r42_the_prior_is_forgotten_at_a_rate_that_grows_with_eta() {
    for (sde, times) in &processes() {
        let (sde, end): (&dyn Sde, f64) = (&**sde, 0.95 * sde.end());
        let w = |t: f64| 0.36 * sde.alpha(t).powi(2) + sde.sigma(t).powi(2);
        for &t in times {
            let mut last = f64::INFINITY;
            for eta in ETAS {
                let family = LinearFamily::new(&gauss1d(), sde, eta, 0.0).unwrap();
                let law = family.carry(&family.prior(end), end, t).unwrap();
                let factor = (w(t) / w(end)).powf(0.5 * (1.0 + eta * eta))
                    * (sde.alpha(end) / sde.alpha(t)).powf(eta * eta);
                let mean = 0.7 * sde.alpha(t) - 0.7 * sde.alpha(end) * factor;
                let var = w(t) + (sde.sigma(end).powi(2) - w(end)) * factor * factor;
                assert!((law.mean[0] - mean).abs() < 1e-12 * (1.0 + mean.abs()), "{sde:?} {eta}");
                assert!(
                    (law.covariance[[0, 0]] - var).abs() < 1e-12 * (1.0 + var),
                    "{sde:?} {eta}"
                );
                assert!(factor < last);
                last = factor;
            }
        }
    }
}

/// With the score `1.1 s` the variance at the end depends on η; with the exact one it does not.
#[test]
fn r43_a_wrong_score_shows_in_eta() {
    let sde = vp();
    let end = |eta, delta| {
        let family = LinearFamily::new(&gauss1d(), &sde, eta, delta).unwrap();
        family.carry(&family.marginal(1.0), 1.0, 0.0).unwrap().covariance[[0, 0]]
    };
    for (eta, var) in ETAS.into_iter().zip([0.119, 0.242, 0.300, 0.315]) {
        assert!((end(eta, 0.1) - var).abs() < 1e-3, "eta {eta}: {}", end(eta, 0.1));
        assert!((end(eta, 0.0) - 0.36).abs() < 1e-12, "eta {eta}: {}", end(eta, 0.0));
    }
}
