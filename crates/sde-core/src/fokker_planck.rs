//! The Fokker–Planck equation as code: for any drift, its terms, its weak form, and the processes it allows.
//!
//! The density of `dx = b(x,t) dt + g(t) dw`, with a drift b of any form and noise that does not depend on x, obeys
//!
//! ```text
//! ∂p/∂t = −∇·(b p) + (g²/2) Δp                                                        (P1)
//! d/dt E φ(x_t) = E[b·∇φ + (g²/2) Δφ]          for every smooth φ: the weak form      (P2)
//! ```
//!
//! Since `Δp = ∇·(p s)` with `s = ∇ log p`, noise may be traded for drift along the score. For any η(t) ≥ 0 the
//! processes
//!
//! ```text
//! dx = [b − (1−η²)/2 g² s] dt + η g dw          t running forwards, from p_0          (P3)
//! dx = −[b − (1+η²)/2 g² s](x, T−τ) dτ + η g(T−τ) dw    τ = T − t, from p_T           (P4)
//! ```
//!
//! have the densities `p_t` of (P1): an identity for every η, also η > 1. η = 0 is the probability-flow ODE and has
//! no second term; (P4) at η = 1 is Anderson's reverse SDE. (P4) is written as a process in τ, so that a reverse
//! process is a [`Diffusion`] as any other: what evolves one evolves both. A score field that belongs to (P1) satisfies
//!
//! ```text
//! ∂s/∂t = ∇[(g²/2) (div s + |s|²) − b·s − div b],                                     (P5)
//! ```
//!
//! (P1) divided by p, with the gradient taken: the score Fokker–Planck equation of Lai et al. 2023 (arXiv 2210.04296).
//! (P1)–(P4) are in Song et al. 2021 (arXiv 2011.13456), appendix D, for η = 0 and 1.
//!
//! [`mixture`] has the terms of (P1) and (P5) in closed form, [`differences`] for fields given as functions, and
//! [`grid`] solves (P1).

pub mod differences;
pub mod grid;
pub mod mixture;

use crate::error::Result;
use crate::sde::Sde;
use crate::state::{Lanes, State, check_alike};
use ndarray::{Array, RemoveAxis};
use std::fmt;
use std::sync::Arc;

/// A vector field `(x, t) ↦ out` that threads may share.
type VectorField<'a> = Arc<dyn Fn(&[f64], f64, &mut [f64]) + Send + Sync + 'a>;

/// `dx = b(x,t) dt + g(t) dw` with a drift b of any form: linear, or vector-valued and not linear.
///
/// Fields are functions `(x, t, out)` that write d numbers. A score that is known in closed form is
/// [`mixture::score`].
///
/// ```
/// use sde_core::fokker_planck::Diffusion;
/// // A particle between two wells at ±1: p ∝ exp(x² − x⁴/2) stays as it is.
/// let wells = Diffusion::new(|x, _, b| b[0] = 2.0 * (x[0] - x[0].powi(3)), |_| 2.0);
/// let score = |x: &[f64], _: f64, s: &mut [f64]| s[0] = 2.0 * (x[0] - x[0].powi(3));
/// let flow = wells.probability_flow(score);
/// let mut v = [f64::NAN];
/// flow.drift(&[0.3], 0.0, &mut v);
/// assert_eq!((v[0], flow.g2(0.0)), (0.0, 0.0)); // nothing moves
/// ```
#[derive(Clone)]
pub struct Diffusion<'a> {
    drift: VectorField<'a>,
    g2: Arc<dyn Fn(f64) -> f64 + Send + Sync + 'a>,
}

impl fmt::Debug for Diffusion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Diffusion").finish_non_exhaustive()
    }
}

impl<'a> Diffusion<'a> {
    /// The process with drift `b(x,t)` and squared noise coefficient `g²(t)`.
    pub fn new(
        drift: impl Fn(&[f64], f64, &mut [f64]) + Send + Sync + 'a,
        g2: impl Fn(f64) -> f64 + Send + Sync + 'a,
    ) -> Self {
        Self { drift: Arc::new(drift), g2: Arc::new(g2) }
    }

    /// The forward process `dx = f x dt + g dw` in any dimension.
    pub fn linear(sde: &'a dyn Sde) -> Self {
        let drift = |x: &[f64], t: f64, out: &mut [f64]| {
            let f = sde.f(t);
            out.iter_mut().zip(x).for_each(|(b, x)| *b = f * x);
        };
        Self::new(drift, |t| sde.g2(t))
    }

    /// Writes `b(x,t)`.
    ///
    /// `x` and `out` have as many numbers as the process has dimensions.
    pub fn drift(&self, x: &[f64], t: f64, out: &mut [f64]) {
        (self.drift)(x, t, out);
    }

    /// Writes `b(x_i, t_i)` of every row of a batch: a right-hand side for the solvers, the drift of Euler–Maruyama.
    ///
    /// # Errors
    /// When `out` or the times are not as many as the rows of `x`.
    pub fn rows<D: RemoveAxis>(
        &self,
        x: &Array<f64, D>,
        at: Lanes<'_>,
        out: &mut Array<f64, D>,
    ) -> Result<()> {
        at.check(x.samples())?;
        check_alike("the drift", out, x)?;
        let (d, x) = (x.sample_len(), x.as_standard_layout());
        let x = x.as_slice().unwrap_or_default();
        out.fill_rows(|i, row| self.drift(&x[i * d..(i + 1) * d], at.t[i], row));
        Ok(())
    }

    /// `g²(t)`.
    pub fn g2(&self, t: f64) -> f64 {
        (self.g2)(t)
    }

    /// (P3): the process with the same densities and noise `η g`, run forwards.
    pub fn forward_family(
        &self,
        score: impl Fn(&[f64], f64, &mut [f64]) + Send + Sync + 'a,
        eta: impl Fn(f64) -> f64 + Send + Sync + 'a,
    ) -> Self {
        self.member(score, eta, -1.0)
    }

    /// The probability-flow ODE `dx = [b − g² s/2] dt`: (P3) at η = 0.
    pub fn probability_flow(
        &self,
        score: impl Fn(&[f64], f64, &mut [f64]) + Send + Sync + 'a,
    ) -> Self {
        self.forward_family(score, |_| 0.0)
    }

    /// (P4): the process in `τ = end − t` that runs through the same densities in reverse order with noise `η g`.
    pub fn reverse_family(
        &self,
        score: impl Fn(&[f64], f64, &mut [f64]) + Send + Sync + 'a,
        eta: impl Fn(f64) -> f64 + Send + Sync + 'a,
        end: f64,
    ) -> Self {
        let member = self.member(score, eta, 1.0);
        let noise = member.clone();
        let drift = move |x: &[f64], tau: f64, out: &mut [f64]| {
            member.drift(x, end - tau, out);
            out.iter_mut().for_each(|b| *b = -*b);
        };
        Self::new(drift, move |tau| noise.g2(end - tau))
    }

    /// Drift `b − (1 ± η²)/2 g² s` and noise `η g`.
    fn member(
        &self,
        score: impl Fn(&[f64], f64, &mut [f64]) + Send + Sync + 'a,
        eta: impl Fn(f64) -> f64 + Send + Sync + 'a,
        sign: f64,
    ) -> Self {
        let (given, of_time) = (self.clone(), self.clone());
        let eta2 = Arc::new(move |t| eta(t).powi(2));
        let eta2_of = Arc::clone(&eta2);
        let drift = move |x: &[f64], t: f64, out: &mut [f64]| {
            let weight = 0.5 * (1.0 + sign * eta2(t)) * given.g2(t);
            let mut s = vec![0.0; x.len()];
            given.drift(x, t, out);
            score(x, t, &mut s);
            out.iter_mut().zip(&s).for_each(|(b, s)| *b -= weight * s);
        };
        Self::new(drift, move |t| eta2_of(t) * of_time.g2(t))
    }

    /// (P2) under the expectation: `b·∇φ + (g²/2) Δφ` at (x, t), from the gradient and the Laplacian of φ there.
    pub fn generator(&self, x: &[f64], t: f64, gradient: &[f64], laplacian: f64) -> f64 {
        let mut b = vec![0.0; x.len()];
        self.drift(x, t, &mut b);
        dot(&b, gradient) + 0.5 * self.g2(t) * laplacian
    }
}

/// The terms of (P1) at one point and time, and the score with its time derivative.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// `p`.
    pub p: f64,
    /// `∂p/∂t`.
    pub dp_dt: f64,
    /// `−∇·(b p)`.
    pub drift: f64,
    /// `(g²/2) Δp`.
    pub diffusion: f64,
    /// `s = ∇ log p`.
    pub score: Vec<f64>,
    /// `∂s/∂t`.
    pub dscore_dt: Vec<f64>,
}

impl Terms {
    /// Left minus right side of (P1): 0 for a density that obeys it.
    pub fn residual(&self) -> f64 {
        self.dp_dt - self.drift - self.diffusion
    }
}

/// Both sides of (P5) at one point and time.
#[derive(Clone, Debug, PartialEq)]
pub struct Sides {
    /// `∂s/∂t`.
    pub rate: Vec<f64>,
    /// `∇[(g²/2) (div s + |s|²) − b·s − div b]`.
    pub gradient: Vec<f64>,
}

impl Sides {
    /// Left minus right side of (P5): 0 for the score of a density that obeys (P1).
    pub fn residual(&self) -> Vec<f64> {
        self.rate.iter().zip(&self.gradient).map(|(l, r)| l - r).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
