//! Step-size control of one sample: number for number as SciPy's `RungeKutta`, or proportional-integral.
//!
//! A trial step of size h has the error `norm` in units of its tolerance. It is accepted when `norm < 1`, and
//!
//! ```text
//! h ← h · clamp(0.9 norm^(−1/(q+1)), 0.2, 10)                                    (O2)
//! ```
//!
//! or, with the norms n and m of the last two accepted steps before (each at least 10⁻⁴, and 10⁻⁴ at the start),
//!
//! ```text
//! h ← h · clamp(0.9^s norm^(−a/(q+1)) n^(−b/(q+1)) m^(−c/(q+1)), 0.2, 10)        (O6)
//! ```
//!
//! PI control has (a, b, c) = (0.7, −0.4, 0) and s = 1 (Gustafsson 1991; Hairer & Wanner, *Solving ODEs II*, IV.2). The PID
//! control is the filter H312PID, (1/18, 1/9, 1/18) with `s = a + b + c`, so that the norms settle where (O2) has them
//! (Söderlind 2003, *ACM Transactions on Mathematical Software* 29, 1–26). All have no growth after a rejection inside
//! the same step. The end of the interval is stored, never computed as t + h: a sample that reaches it stands on it bit for bit.
//!
//! One step for the whole batch follows from the norm
//!
//! ```text
//! norm = √(Σ_i norm_i² / B)                                                      (O7)
//! ```
//!
//! of its B samples: rows are equally long, so this is the root mean square over all numbers of the batch.

use crate::problem::Control;
use crate::solution::{LaneStats, LaneStatus};

const SAFETY: f64 = 0.9;
const MIN_FACTOR: f64 = 0.2;
const MAX_FACTOR: f64 = 10.0;
/// Least norm of the step before that (O6) believes in.
const LEAST_NORM: f64 = 1e-4;

/// s, a, b, c of (O6).
const PI: [f64; 4] = [1.0, 0.7, -0.4, 0.0];
const H312: [f64; 4] = [2.0 / 9.0, 1.0 / 18.0, 1.0 / 9.0, 1.0 / 18.0];

/// One sample's place and step size.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    /// Row of this sample in the initial state.
    pub(crate) index: usize,
    pub(crate) t: f64,
    /// Start of the last accepted step.
    pub(crate) t_old: f64,
    /// End of the trial step; exactly `t1` for the last one.
    pub(crate) t_new: f64,
    /// Size of the next trial step, positive.
    pub(crate) h_abs: f64,
    /// Whether the step that starts at `t` was tried and rejected.
    pub(crate) retrying: bool,
    /// Whether the last trial step was not finite.
    pub(crate) blind: bool,
    /// Norms of the last two accepted steps, the latest first, for (O6).
    last: [f64; 2],
    pub(crate) status: LaneStatus,
    pub(crate) stats: LaneStats,
}

impl Lane {
    pub(crate) fn new(index: usize, t: f64) -> Self {
        Self {
            index,
            t,
            t_old: t,
            t_new: t,
            h_abs: 0.0,
            retrying: false,
            blind: false,
            last: [LEAST_NORM; 2],
            status: LaneStatus::Running,
            stats: LaneStats::default(),
        }
    }

    /// Plans the trial step towards `t1`; returns h with its sign, or sets the status if there is none.
    pub(crate) fn plan(&mut self, t1: f64, max_step: f64, max_steps: u32) -> f64 {
        let min_step = self.min_step(t1);
        if !self.retrying {
            self.h_abs = self.h_abs.min(max_step).max(min_step);
        }
        if self.h_abs < min_step {
            let (t, h) = (self.t, self.h_abs);
            self.status = if self.blind {
                LaneStatus::NonFinite { t }
            } else {
                LaneStatus::StepSizeTooSmall { t, h }
            };
        } else if self.stats.accepted + self.stats.rejected >= max_steps {
            self.status = LaneStatus::MaxSteps { t: self.t };
        }
        let h = self.reach(self.h_abs, t1);
        self.h_abs = h.abs();
        h
    }

    /// Ten times the distance from t to the next number towards `t1`.
    fn min_step(&self, t1: f64) -> f64 {
        let next = if t1 > self.t { self.t.next_up() } else { self.t.next_down() };
        10.0 * (next - self.t).abs()
    }

    /// Sets the end of a trial step of size `h_abs` towards `t1`, never beyond it; returns h with its sign.
    pub(crate) fn reach(&mut self, h_abs: f64, t1: f64) -> f64 {
        let direction = (t1 - self.t).signum();
        self.t_new = self.t + h_abs * direction;
        if direction * (self.t_new - t1) > 0.0 {
            self.t_new = t1;
        }
        self.t_new - self.t
    }

    /// Judges the trial step by its error norm; true if it is accepted. A NaN is a rejection.
    /// `power` is q + 1.
    pub(crate) fn judge(&mut self, norm: f64, (rule, power): (Control, f64), t1: f64) -> bool {
        let factor = SAFETY * norm.powf(-1.0 / power);
        let accepted = norm < 1.0;
        if accepted {
            let most = if self.retrying { 1.0 } else { MAX_FACTOR };
            let factor = match rule {
                Control::Scipy => factor,
                Control::Pi => self.filter(norm, PI, power),
                Control::Pid => self.filter(norm, H312, power),
            };
            self.h_abs *= if norm == 0.0 { most } else { factor.min(most) };
            self.last = [norm.max(LEAST_NORM), self.last[0]];
            (self.t_old, self.t) = (self.t, self.t_new);
            self.stats.accepted += 1;
            if self.t.to_bits() == t1.to_bits() {
                self.status = LaneStatus::Done;
            }
        } else {
            self.h_abs *= if factor > MIN_FACTOR { factor } else { MIN_FACTOR };
            self.stats.rejected += 1;
        }
        self.retrying = !accepted;
        self.blind = norm.is_nan();
        accepted
    }

    /// (O6) with these exponents, before the upper bound.
    fn filter(&self, norm: f64, [s, a, b, c]: [f64; 4], order: f64) -> f64 {
        let [n, m] = self.last;
        let all = norm.powf(-a / order) * n.powf(-b / order) * m.powf(-c / order);
        (SAFETY.powf(s) * all).max(MIN_FACTOR)
    }
}

/// Gives every sample the norm of the whole batch, (O7).
pub(crate) fn share(norm: &mut [f64]) {
    let sum: f64 = norm.iter().map(|n| n * n).sum();
    norm.fill((sum / norm.len() as f64).sqrt());
}

/// Hairer's first step (Hairer, Nørsett & Wanner, *Solving ODEs I*, II.4), clipped to the interval.
///
/// `d0, d1` are the norms of y₀ and f₀ in units of the tolerance.
pub(crate) fn first_guess(d0: f64, d1: f64, interval: f64) -> f64 {
    let h0 = if d0 < 1e-5 || d1 < 1e-5 { 1e-6 } else { 0.01 * d0 / d1 };
    h0.min(interval)
}

/// The second half of the rule: `d2` is the norm of `(f₁ − f₀)/h₀` after an Euler step `h0`.
pub(crate) fn first_step(
    (h0, d1, d2): (f64, f64, f64),
    error_order: u32,
    interval: f64,
    max_step: f64,
) -> f64 {
    let h1 = if d1 <= 1e-15 && d2 <= 1e-15 {
        (h0 * 1e-3).max(1e-6)
    } else {
        (0.01 / d1.max(d2)).powf(1.0 / f64::from(error_order + 1))
    };
    (100.0 * h0).min(h1).min(interval).min(max_step)
}
