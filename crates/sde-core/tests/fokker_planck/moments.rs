//! Closed-form moments of the linear-Gaussian family.

use super::*;

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
