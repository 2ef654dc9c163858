//! The terms of the equation at points, exactly and by differences, and the weak form.

use super::*;

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
pub(crate) fn turning_density(x: &[f64], t: f64) -> f64 {
    let (sin, cos) = (1.5 * t).sin_cos();
    let (decay, spread) = ((-t).exp(), |c: f64| 1.0 + (-2.0 * t).exp() * (c - 1.0));
    let (x, y) = (x[0] - decay * (cos - sin), x[1] - decay * (sin + cos)); // from the mean (1, 1)
    let (u, v) = (cos * x + sin * y, cos * y - sin * x);
    let (a, b) = (spread(0.2), spread(2.0));
    (-0.5 * (u * u / a + v * v / b)).exp() / (TAU * (a * b).sqrt())
}

pub(crate) fn turning() -> Diffusion<'static> {
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
