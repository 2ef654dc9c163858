//! The terms of (P1) and (P5) for fields that are given as functions, by central differences.
//!
//! ```text
//! φ'(0) ≈ [8 (φ(h) − φ(−h)) − (φ(2h) − φ(−2h))] / 12h
//! φ''(0) ≈ [16 (φ(h) + φ(−h)) − (φ(2h) + φ(−2h)) − 30 φ(0)] / 12h²
//! ```
//!
//! Both are of order 4. With h a hundredth of the length (time) on which the field changes, the truncation is about
//! 1e-9 of its size, and so is the rounding of nested derivatives.

use super::{Diffusion, Sides, Terms, dot};

/// Steps of the differences: no default, because only the caller knows the scales of the field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steps {
    /// In each coordinate.
    pub x: f64,
    /// In time.
    pub t: f64,
}

/// The terms of (P1) at x and t for a density `p(x, t)`, positive near there.
pub fn terms(
    process: &Diffusion<'_>,
    density: impl Fn(&[f64], f64) -> f64,
    x: &[f64],
    t: f64,
    steps: Steps,
) -> Terms {
    let axes = 0..x.len();
    let flux = |i: usize, x: &[f64]| component(|x, b| process.drift(x, t, b), i, x) * density(x, t);
    let divergence: f64 = axes.clone().map(|i| slope(steps.x, along(x, i, |x| flux(i, x)))).sum();
    let laplacian: f64 =
        axes.clone().map(|i| curvature(steps.x, along(x, i, |x| density(x, t)))).sum();
    let score_at = |i: usize, t: f64| slope(steps.x, along(x, i, |x| density(x, t).ln()));
    Terms {
        p: density(x, t),
        dp_dt: slope(steps.t, |h| density(x, t + h)),
        drift: -divergence,
        diffusion: 0.5 * process.g2(t) * laplacian,
        score: axes.clone().map(|i| score_at(i, t)).collect(),
        dscore_dt: axes.map(|i| slope(steps.t, |h| score_at(i, t + h))).collect(),
    }
}

/// Both sides of (P5) at x and t for a field `s(x, t)`: a mixture's score, a network's, or your own.
pub fn score_equation(
    process: &Diffusion<'_>,
    score: impl Fn(&[f64], f64, &mut [f64]),
    x: &[f64],
    t: f64,
    steps: Steps,
) -> Sides {
    let divergence = |field: &dyn Fn(&[f64], &mut [f64]), x: &[f64]| -> f64 {
        (0..x.len()).map(|i| slope(steps.x, along(x, i, |x| component(field, i, x)))).sum()
    };
    let potential = |x: &[f64]| {
        let (mut s, mut b) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        score(x, t, &mut s);
        process.drift(x, t, &mut b);
        let div_s = divergence(&|x, out| score(x, t, out), x);
        let div_b = divergence(&|x, out| process.drift(x, t, out), x);
        0.5 * process.g2(t) * (div_s + dot(&s, &s)) - dot(&b, &s) - div_b
    };
    let rate = |i| slope(steps.t, |h| component(|x, out| score(x, t + h, out), i, x));
    Sides {
        rate: (0..x.len()).map(rate).collect(),
        gradient: (0..x.len()).map(|i| slope(steps.x, along(x, i, potential))).collect(),
    }
}

/// The function `h ↦ f(x + h e_i)`.
fn along<'a>(x: &'a [f64], i: usize, f: impl Fn(&[f64]) -> f64 + 'a) -> impl Fn(f64) -> f64 + 'a {
    move |h| {
        let mut moved = x.to_vec();
        moved[i] += h;
        f(&moved)
    }
}

/// Coordinate i of a field at x.
fn component(field: impl Fn(&[f64], &mut [f64]), i: usize, x: &[f64]) -> f64 {
    let mut out = vec![0.0; x.len()];
    field(x, &mut out);
    out[i]
}

fn slope(h: f64, f: impl Fn(f64) -> f64) -> f64 {
    (8.0 * (f(h) - f(-h)) - (f(2.0 * h) - f(-2.0 * h))) / (12.0 * h)
}

fn curvature(h: f64, f: impl Fn(f64) -> f64) -> f64 {
    (16.0 * (f(h) + f(-h)) - (f(2.0 * h) + f(-2.0 * h)) - 30.0 * f(0.0)) / (12.0 * h * h)
}
