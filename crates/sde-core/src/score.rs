//! What a score model tells the rest of the library.
//!
//! ```text
//! s(x,t) = ∇ log p_t(x)        D(x,t) = E[x_0 | x_t = x]                       (S1)
//! ```
//!
//! are tied by Tweedie's formula `α D = x + σ² s`, but a model reports **both**: near σ = 0 the score cannot be
//! had from D, near α = 0 D cannot be had from s, and the velocity of the flow in its regular form needs D at
//! one end of time and s at the other (see [`reverse`](crate::reverse)).

use crate::error::{Error, Result};
use crate::state::{Lanes, State};

/// The posterior mean and the score at each row of a batch; buffers that a caller owns and reuses.
#[derive(Clone, Debug)]
pub struct Field<X> {
    /// `D(x_i, t_i) = E[x_0 | x_t = x_i]`.
    pub denoised: X,
    /// `s(x_i, t_i) = ∇ log p_t(x_i)`.
    pub score: X,
}

impl<X: State> Field<X> {
    /// Buffers shaped as `x`.
    pub fn like(x: &X) -> Self {
        Self { denoised: x.zeros_like(), score: x.zeros_like() }
    }
    /// Follows a batch whose rows became fewer.
    pub fn fit(&mut self, x: &X) {
        self.denoised.fit(x);
        self.score.fit(x);
    }
}

/// Divergences of the two members of a [`Field`], or estimates of them by a probe u with `E u uᵀ = I`,
///
/// ```text
/// tr ∂D/∂x = E uᵀ (∂D/∂x) u,     tr ∂s/∂x = E uᵀ (∂s/∂x) u;                                    (S2)
/// ```
///
/// one entry per row.
#[derive(Clone, Debug, Default)]
pub struct Divergence {
    /// `tr ∂D/∂x`, or `uᵀ (∂D/∂x) u`.
    pub denoised: Vec<f64>,
    /// `tr ∂s/∂x`, or `uᵀ (∂s/∂x) u`.
    pub score: Vec<f64>,
}

impl Divergence {
    /// Gives both members `rows` entries.
    pub fn fit(&mut self, rows: usize) {
        self.denoised.resize(rows, 0.0);
        self.score.resize(rows, 0.0);
    }
}

/// A model of the score of `p_t`: an exact mixture, a network, or your own.
///
/// Row i is at time `at.t[i]`; nothing may be carried from one row to another. `&mut self` is for scratch space.
pub trait Score<X: State> {
    /// Writes D and s of every row.
    ///
    /// # Errors
    /// When the model itself fails, or the shape of `x` is not the model's.
    fn evaluate(&mut self, x: &X, at: Lanes<'_>, out: &mut Field<X>) -> Result<()>;

    /// As [`evaluate`](Self::evaluate), with the exact divergences of D and s: what a likelihood needs.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    fn evaluate_with_divergence(
        &mut self,
        x: &X,
        at: Lanes<'_>,
        out: &mut Field<X>,
        divergence: &mut Divergence,
    ) -> Result<()>;

    /// As [`evaluate`](Self::evaluate), with the quadratic forms of (S2) for every probe: `forms[k]` is for the batch
    /// `probes[k]`, shaped as `x`. It costs one product with the Jacobian for each probe, where the divergence costs d.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate); [`Error::NoForms`] unless the model has them.
    fn evaluate_with_forms(
        &mut self,
        x: &X,
        at: Lanes<'_>,
        probes: &[X],
        out: &mut Field<X>,
        forms: &mut [Divergence],
    ) -> Result<()> {
        let _ = (x, at, probes, out, forms);
        Err(Error::NoForms)
    }
}

/// A borrowed model, for what takes its model by value.
impl<X: State, M: Score<X> + ?Sized> Score<X> for &mut M {
    fn evaluate(&mut self, x: &X, at: Lanes<'_>, out: &mut Field<X>) -> Result<()> {
        (**self).evaluate(x, at, out)
    }

    fn evaluate_with_divergence(
        &mut self,
        x: &X,
        at: Lanes<'_>,
        out: &mut Field<X>,
        divergence: &mut Divergence,
    ) -> Result<()> {
        (**self).evaluate_with_divergence(x, at, out, divergence)
    }

    fn evaluate_with_forms(
        &mut self,
        x: &X,
        at: Lanes<'_>,
        probes: &[X],
        out: &mut Field<X>,
        forms: &mut [Divergence],
    ) -> Result<()> {
        (**self).evaluate_with_forms(x, at, probes, out, forms)
    }
}
