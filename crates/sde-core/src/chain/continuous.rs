//! A DDPM chain in continuous time: labels between the integers, and an [`Sde`] for ODE solvers.
//!
//! Label k = 0…T−1 stands for `t = (k+1)/T` with `ᾱ_{k+1}`. Between the labels `κ = −λ` is the C² rational quadratic
//! spline of Delbourgo and Gregory (1983, IMA J. Numer. Anal. 3, 141–152). With `Δ` the rise of κ from label i to i+1,
//! θ ∈ [0, 1] the place between them, `d, d'` the slopes at its two ends and `w = d + d' − 2Δ`:
//!
//! ```text
//! κ = κ_i + Δ (Δ θ² + d θ(1−θ))/Q,   Q = Δ + w θ(1−θ),   κ' = Δ² (d' θ² + 2Δ θ(1−θ) + d (1−θ)²)/Q²   (C12)
//! d_i [(d_i + d_{i+1})/Δ_i + (d_{i−1} + d_i)/Δ_{i−1} − 2] = Δ_{i−1} + Δ_i                            (C13)
//! α² = 1/(1 + e^κ),   σ² = 1/(1 + e^{−κ}),   dλ/dt = −T κ',   f = −g²/2 = σ² λ'/2                    (C14)
//! ```
//!
//! (C13) makes the second derivative continuous; for positive Δ it has one positive solution. With it κ' > 0
//! everywhere, whatever the betas: a cubic spline is C² but overshoots at the end of the cosine chain clipped at
//! 0.9999, and a monotone cubic is only C¹. λ(t) also has a closed inverse, a quadratic in θ. The slopes at the two ends
//! are extrapolated from the nearest rises, in logarithms, so that they are positive as well. Outside [1/T, 1] κ
//! continues along its tangent, so every value stays finite; nothing is claimed there.

use super::DdpmChain;
use crate::error::{Error, Result};
use crate::sde::{Coefficients, Kernel, Sde};

/// The continuous extension of a chain on [1/T, 1]; see (C12)–(C14).
#[derive(Clone, Debug, PartialEq)]
pub struct ContinuousChain {
    kappa: Vec<f64>,
    slope: Vec<f64>,
}

impl ContinuousChain {
    /// The extension of a chain.
    ///
    /// # Errors
    /// [`Error::Size`] for a chain of fewer than 2 steps; [`Error::Step`] where the signal-to-noise ratio is 0, as at
    /// the end of a chain rescaled to that: λ has no finite value there.
    pub fn new(chain: &DdpmChain) -> Result<Self> {
        if chain.steps() < 2 {
            let (found, expected) = (chain.steps(), 2);
            return Err(Error::Size { what: "steps of a chain to interpolate", found, expected });
        }
        let kappa: Vec<f64> = chain.iter().map(|step| -step.log_snr()).collect();
        for (i, (&k, next)) in kappa.iter().zip(kappa[1..].iter().chain(&[f64::MAX])).enumerate() {
            let ok = k.is_finite() && k < *next;
            let (name, expected) = ("log-SNR", "a finite number above the next one");
            super::check_step(name, i + 1, -k, ok, expected)?;
        }
        let rise: Vec<f64> = kappa.windows(2).map(|k| k[1] - k[0]).collect();
        Ok(Self { slope: slopes(&rise), kappa })
    }

    /// The label of a time, `T t − 1`.
    pub fn label(&self, t: f64) -> f64 {
        self.kappa.len() as f64 * t - 1.0
    }

    /// The time of a label, `(k + 1)/T`.
    pub fn time_of_label(&self, label: f64) -> f64 {
        (label + 1.0) / self.kappa.len() as f64
    }

    /// The first time `1/T`, of label 0.
    pub fn start(&self) -> f64 {
        self.time_of_label(0.0)
    }

    /// The interval of a time and the place in it, from 0 to 1 inside [1/T, 1].
    fn locate(&self, t: f64) -> (Interval, f64) {
        let label = self.label(t);
        // truncation is the floor of a label ≥ 0; NaN becomes 0
        #[expect(clippy::cast_sign_loss, reason = "max keeps it from 0 up")]
        let i = (label.max(0.0) as usize).min(self.kappa.len() - 2);
        (self.interval(i), label - i as f64)
    }

    fn interval(&self, i: usize) -> Interval {
        let (from, rise) = (self.kappa[i], self.kappa[i + 1] - self.kappa[i]);
        Interval { index: i, from, rise, slopes: [self.slope[i], self.slope[i + 1]] }
    }

    /// `κ(t) − κ(s)`, without cancellation inside one interval.
    fn kappa_rise(&self, s: f64, t: f64) -> f64 {
        let ((before, at_s), (after, at_t)) = (self.locate(s), self.locate(t));
        let inside = |theta: f64| (0.0..=1.0).contains(&theta);
        if before.index == after.index && inside(at_s) && inside(at_t) {
            return before.rise(at_s, (t - s) * self.kappa.len() as f64);
        }
        after.kappa(at_t) - before.kappa(at_s)
    }
}

impl Sde for ContinuousChain {
    fn coefficients(&self, t: f64) -> Coefficients {
        let log_snr = self.log_snr(t);
        let (alpha2, sigma2) = (sigmoid(log_snr), sigmoid(-log_snr));
        let (alpha, slope) = (alpha2.sqrt(), self.d_log_snr(t));
        Coefficients {
            alpha,
            sigma: sigma2.sqrt(),
            d_alpha: 0.5 * alpha * sigma2 * slope,
            d_sigma2: -alpha2 * sigma2 * slope,
            d_sigma: -0.5 * alpha2 * sigma2.sqrt() * slope,
        }
    }
    fn f(&self, t: f64) -> f64 {
        -0.5 * self.g2(t)
    }
    fn g2(&self, t: f64) -> f64 {
        -sigmoid(-self.log_snr(t)) * self.d_log_snr(t)
    }
    fn log_snr(&self, t: f64) -> f64 {
        let (interval, theta) = self.locate(t);
        -interval.kappa(theta)
    }
    fn d_log_snr(&self, t: f64) -> f64 {
        let (interval, theta) = self.locate(t);
        -interval.slope(theta) * self.kappa.len() as f64
    }
    fn time_of_log_snr(&self, log_snr: f64) -> f64 {
        let after = self.kappa.partition_point(|&k| k <= -log_snr);
        let i = after.saturating_sub(1).min(self.kappa.len() - 2);
        self.time_of_label(i as f64 + self.interval(i).theta_of(-log_snr))
    }
    fn kernel(&self, s: f64, t: f64) -> Kernel {
        let sigma2 = sigmoid(-self.log_snr(s));
        // ln(α_t²/α_s²) = −ln[(1 + e^{κ_t})/(1 + e^{κ_s})]
        let log_ratio = -(sigma2 * self.kappa_rise(s, t).exp_m1()).ln_1p();
        Kernel { a: (0.5 * log_ratio).exp(), var: -log_ratio.exp_m1() }
    }
}

/// κ between two neighbouring labels: its value at the first, `Δ`, and `d, d'`.
struct Interval {
    index: usize,
    from: f64,
    rise: f64,
    slopes: [f64; 2],
}

impl Interval {
    fn q(&self, theta: f64) -> f64 {
        let w = self.slopes[0] + self.slopes[1] - 2.0 * self.rise;
        self.rise + w * theta * (1.0 - theta)
    }
    /// `κ(θ + step) − κ(θ)`, the difference of (C12) with the factor `step` taken out.
    fn rise(&self, theta: f64, step: f64) -> f64 {
        let (end, [d, d_end]) = (theta + step, self.slopes);
        let w = d + d_end - 2.0 * self.rise;
        let sum = theta + end;
        let chord = self.rise * sum + d * (1.0 - sum) + w * theta * end;
        self.rise * self.rise * step * chord / (self.q(theta) * self.q(end))
    }
    fn kappa(&self, theta: f64) -> f64 {
        let inside = theta.clamp(0.0, 1.0);
        let tangent = (theta - inside) * self.slope(theta);
        self.from + self.rise(0.0, inside) + tangent
    }
    /// `κ'` per label.
    fn slope(&self, theta: f64) -> f64 {
        let (theta, [d, d_end]) = (theta.clamp(0.0, 1.0), self.slopes);
        let (u, q) = (theta * (1.0 - theta), self.q(theta));
        let sum = d_end * theta * theta + 2.0 * self.rise * u + d * (1.0 - theta) * (1.0 - theta);
        (self.rise / q).powi(2) * sum
    }
    /// The θ of a κ: with `y = (κ − κ_i)/Δ`, the root in [0, 1] of `(Δ − d + yw) θ² + (d − yw) θ = yΔ`.
    fn theta_of(&self, kappa: f64) -> f64 {
        let ([d, d_end], y) = (self.slopes, (kappa - self.from) / self.rise);
        if y < 0.0 {
            return y * self.rise / d;
        }
        if y > 1.0 {
            return 1.0 + (y - 1.0) * self.rise / d_end;
        }
        let b = d - y * (d + d_end - 2.0 * self.rise);
        let a = self.rise - b;
        let root = b.mul_add(b, 4.0 * a * y * self.rise).sqrt();
        if b > 0.0 { 2.0 * y * self.rise / (b + root) } else { (root - b) / (2.0 * a) }
    }
}

/// The slopes (C13) at the labels for the rises between them, by Gauss–Seidel sweeps; each equation is a quadratic
/// with one positive root. Near its solution the iteration contracts as that of a cubic spline does, by about 4.
fn slopes(rise: &[f64]) -> Vec<f64> {
    let n = rise.len();
    let inner = rise.windows(2).map(|r| (r[0] * r[1]).sqrt());
    let (first, last) = (end_slope(rise.iter()), end_slope(rise.iter().rev()));
    let mut d: Vec<f64> = std::iter::once(first).chain(inner).chain([last]).collect();
    for _ in 0..200 {
        let mut change = 0.0_f64;
        for i in 1..n {
            let (before, after) = (rise[i - 1], rise[i]);
            let a = before.recip() + after.recip();
            let b = d[i - 1] / before + d[i + 1] / after - 2.0;
            let c = before + after;
            let root = b.mul_add(b, 4.0 * a * c).sqrt();
            let next = if b > 0.0 { 2.0 * c / (b + root) } else { (root - b) / (2.0 * a) };
            change = change.max((next / d[i] - 1.0).abs());
            d[i] = next;
        }
        if change < 1e-15 {
            break;
        }
    }
    d
}

/// The slope at an end from the rises next to it: their logarithms, at the distances ½, 1½, 2½, extrapolated by the
/// parabola through them (by a line or a constant where there are fewer), at most a factor of 3 from the first.
fn end_slope<'a>(mut rises: impl Iterator<Item = &'a f64>) -> f64 {
    let first = rises.next().map_or(0.0, |r| r.ln());
    let second = rises.next().map_or(first, |r| r.ln());
    let third = rises.next().map_or(2.0 * second - first, |r| r.ln());
    let step = (7.0 * first - 10.0 * second + 3.0 * third) / 8.0;
    (first + step.clamp(-3_f64.ln(), 3_f64.ln())).exp()
}

/// `1/(1 + e^{−x})`.
fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::BetaSchedule;
    use proptest::prelude::*;

    fn chains() -> Vec<DdpmChain> {
        let specs = [
            r#"{"name": "linear", "T": 1000, "beta_start": 1e-4, "beta_end": 0.02}"#,
            r#"{"name": "scaled-linear", "T": 50, "beta_start": 0.00085, "beta_end": 0.2}"#,
            r#"{"name": "cosine", "T": 1000}"#,
            r#"{"name": "cosine", "T": 20, "max_beta": 0.9999999}"#,
            r#"{"name": "vp-exact", "T": 2, "beta_min": 0.1, "beta_max": 20.0}"#,
        ];
        let parse = |s: &str| serde_json::from_str::<BetaSchedule>(s).unwrap();
        specs.iter().map(|s| parse(s).chain().unwrap()).collect()
    }

    /// The second derivative of κ on the two sides of label i, from (C12) at θ = 1 and θ = 0.
    fn second_derivatives(sde: &ContinuousChain, i: usize) -> (f64, f64) {
        let side = |rise: f64, d: f64, far: f64| 2.0 * (rise + d - d * (d + far) / rise);
        let (before, after) = (sde.interval(i - 1), sde.interval(i));
        let left = -side(before.rise, before.slopes[1], before.slopes[0]);
        (left, side(after.rise, after.slopes[0], after.slopes[1]))
    }

    #[test]
    fn labels_hold_the_chain_and_the_second_derivative_is_continuous() {
        for chain in chains() {
            let sde = ContinuousChain::new(&chain).unwrap();
            for step in chain.iter() {
                let t = sde.time_of_label(step.t as f64 - 1.0);
                assert!((sde.log_snr(t) - step.log_snr()).abs() < 1e-11, "{}", step.t);
                assert!((sde.alpha(t).powi(2) / step.abar() - 1.0).abs() < 1e-10);
            }
            for i in 1..chain.steps() - 1 {
                let (left, right) = second_derivatives(&sde, i);
                let size = sde.slope[i] + left.abs();
                assert!((left - right).abs() < 1e-13 * size, "label {i}: {left} {right}");
            }
        }
    }

    #[test]
    fn derivatives_and_drift_belong_to_the_values() {
        for chain in chains() {
            let sde = ContinuousChain::new(&chain).unwrap();
            for i in 1..400 {
                let (t, h) = (sde.start() + (1.0 - sde.start()) * f64::from(i) / 400.0, 1e-7);
                let d = |f: &dyn Fn(f64) -> f64| (f(t + h) - f(t - h)) / (2.0 * h);
                let near = |a: f64, b: f64| (a - b).abs() < 1e-4 * (a.abs() + b.abs()) + 1e-5;
                let k = sde.coefficients(t);
                assert!(near(sde.d_log_snr(t), d(&|t| sde.log_snr(t))), "{t}");
                assert!(near(k.d_alpha, d(&|t| sde.alpha(t))), "{t}");
                assert!(near(k.d_sigma2, d(&|t| sde.sigma(t).powi(2))), "{t}");
                assert!((k.alpha * k.alpha + k.sigma * k.sigma - 1.0).abs() < 1e-15);
                let (f, g2) =
                    (k.d_alpha / k.alpha, k.d_sigma2 * (1.0 + k.sigma.powi(2) / k.alpha.powi(2)));
                assert!(
                    (sde.f(t) - f).abs() < 1e-12 * f.abs() && (sde.g2(t) - g2).abs() < 1e-12 * g2
                );
            }
        }
    }

    #[test]
    fn it_is_near_the_process_that_the_chain_was_read_from() {
        let vp = crate::VpLinear::default();
        let sde = ContinuousChain::new(&DdpmChain::of_sde(&vp, 1000).unwrap()).unwrap();
        let off = |t: f64| (sde.log_snr(t) - vp.log_snr(t)).abs();
        assert!((20..1000).map(|k| off((f64::from(k) + 0.5) / 1000.0)).fold(0.0, f64::max) < 1e-6);
        assert!((1..20).map(|k| off((f64::from(k) + 0.5) / 1000.0)).fold(0.0, f64::max) < 5e-3);
    }

    #[test]
    fn short_transitions_keep_their_digits() {
        for chain in chains() {
            let sde = ContinuousChain::new(&chain).unwrap();
            let t = sde.start() + 0.3371 * (1.0 - sde.start());
            let k = sde.kernel(t, t + 1e-9);
            let rate = k.var / (sde.g2(t) * ((t + 1e-9) - t)) - 1.0;
            assert!(rate.abs() < 1e-5, "{rate:e}"); // var = g² h + O(h²)
        }
    }

    #[test]
    fn too_short_or_signal_free_chains_are_refused() {
        assert!(ContinuousChain::new(&DdpmChain::new(vec![0.1]).unwrap()).is_err());
        let error = ContinuousChain::new(&DdpmChain::new(vec![0.1, 1.0]).unwrap()).unwrap_err();
        let expected =
            "log-SNR = -inf in step 2 is out of range: expected a finite number above the next one";
        assert_eq!(error.to_string(), expected);
    }

    proptest! {
        /// Betas over ten decades in any order: still C², decreasing, invertible; transitions compose.
        #[test]
        fn any_betas_give_a_monotone_extension(
            logs in prop::collection::vec(-10.0..-0.02_f64, 2..60), u in prop::array::uniform3(0.0..1.0_f64)
        ) {
            let chain = DdpmChain::new(logs.iter().map(|l| 10_f64.powf(*l)).collect()).unwrap();
            let Ok(sde) = ContinuousChain::new(&chain) else { return Ok(()) };
            for i in 1..chain.steps() - 1 {
                let (left, right) = second_derivatives(&sde, i);
                let size = sde.slope[i] * (1.0 + sde.slope[i] / sde.interval(i).rise.min(sde.interval(i - 1).rise));
                // Where a neighbour's slope is far larger, so is the second derivative, and its rounding with it.
                let size = size.max(left.abs());
                prop_assert!((left - right).abs() < 1e-10 * size, "{left} {right}");
            }
            let mut t = u.map(|u| sde.start() + u * (1.0 - sde.start()));
            t.sort_by(f64::total_cmp);
            for t in t {
                prop_assert!(sde.d_log_snr(t) < 0.0);
                let back = sde.log_snr(sde.time_of_log_snr(sde.log_snr(t)));
                prop_assert!((back - sde.log_snr(t)).abs() < 1e-9, "{back}");
            }
            let (rs, st, rt) = (sde.kernel(t[0], t[1]), sde.kernel(t[1], t[2]), sde.kernel(t[0], t[2]));
            prop_assert!((rs.a * st.a - rt.a).abs() < 1e-11);
            prop_assert!((st.a * st.a * rs.var + st.var - rt.var).abs() < 1e-11);
        }
    }
}
