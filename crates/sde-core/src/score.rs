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
use crate::sde::{Columns, Sde};
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

/// A motion for which a model is asked: the process, and the factors of D and s in `a D + b s` at each row's time.
#[derive(Clone, Copy, Debug)]
pub struct Along<'a> {
    /// The process that the rows follow.
    pub sde: &'a dyn Sde,
    /// Its coefficients at each row's time.
    pub columns: &'a Columns,
    /// `a` of each row.
    pub to_denoised: &'a [f64],
    /// `b` of each row.
    pub to_score: &'a [f64],
}

/// What is differentiated with respect to the states, for each row by itself:
///
/// ```text
/// φ = ⟨w, v⟩ + c div v,     v = a D + b s,                                                    (S3)
/// ```
///
/// where `div v` is exact, or the mean of `uᵀ (∂v/∂x) u` over given probes u.
#[derive(Clone, Copy, Debug)]
pub struct Pull<'a, X> {
    /// a and b of each row.
    pub along: Along<'a>,
    /// w, shaped as the states.
    pub cotangent: &'a X,
    /// c of each row.
    pub weight: &'a [f64],
    /// The probes, each shaped as the states; `None` for the exact divergence.
    pub probes: Option<&'a [X]>,
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

    /// As [`evaluate`](Self::evaluate), with the exact divergences of D and s: what a likelihood needs. A model that only
    /// samples are drawn from can do without.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate); [`Error::NoDivergence`] unless the model has them.
    fn evaluate_with_divergence(
        &mut self,
        x: &X,
        at: Lanes<'_>,
        out: &mut Field<X>,
        divergence: &mut Divergence,
    ) -> Result<()> {
        let _ = (x, at, out, divergence);
        Err(Error::NoDivergence)
    }

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

    /// Writes the gradient `∂φ/∂x` of (S3) for every row, and `div v`: what the gradient of a likelihood needs. It takes second
    /// derivatives of the model.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate); [`Error::NoPullBack`] unless the model has it.
    fn pull_back(
        &mut self,
        x: &X,
        at: Lanes<'_>,
        pull: &Pull<'_, X>,
        divergence: &mut [f64],
        out: &mut X,
    ) -> Result<()> {
        let _ = (x, at, pull, divergence, out);
        Err(Error::NoPullBack)
    }

    /// Writes `a D + b s` of every row, (R3). A model that knows a shorter way than [`evaluate`](Self::evaluate) may take it;
    /// `field` is space for D and s.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    fn drift(
        &mut self,
        x: &X,
        at: Lanes<'_>,
        along: &Along<'_>,
        field: &mut Field<X>,
        out: &mut X,
    ) -> Result<()> {
        combined(self, x, at, along, field, out)
    }
}

/// `a D + b s` from D and s.
pub(crate) fn combined<X: State, M: Score<X> + ?Sized>(
    model: &mut M,
    x: &X,
    at: Lanes<'_>,
    along: &Along<'_>,
    field: &mut Field<X>,
    out: &mut X,
) -> Result<()> {
    field.fit(x);
    model.evaluate(x, at, field)?;
    out.combine(&[(along.to_denoised, &field.denoised), (along.to_score, &field.score)]);
    Ok(())
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

    fn pull_back(
        &mut self,
        x: &X,
        at: Lanes<'_>,
        pull: &Pull<'_, X>,
        divergence: &mut [f64],
        out: &mut X,
    ) -> Result<()> {
        (**self).pull_back(x, at, pull, divergence, out)
    }

    fn drift(
        &mut self,
        x: &X,
        at: Lanes<'_>,
        along: &Along<'_>,
        field: &mut Field<X>,
        out: &mut X,
    ) -> Result<()> {
        (**self).drift(x, at, along, field, out)
    }
}
