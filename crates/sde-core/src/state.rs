//! The batch: what solvers, losses and score models may do with samples without knowing where they live.
//!
//! Row i of a [`State`] is sample i. Every operation acts on each row by itself, with coefficients that are
//! `f64` numbers of that row on the host: this is what makes a result independent of what else is in the
//! batch. Implemented here for host arrays and for pairs `(A, B)` — the product state
//! `(x, log p)` of a likelihood, without concatenation and with a tolerance for each member.

mod host;
mod pair;
mod tiles;

use crate::error::{Result, check, check_size};

/// Absolute and relative tolerance of an adaptive solver; neither has a default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Relative to `max(|y|, |y_new|)`, component by component.
    pub rtol: f64,
    /// In the units of the state.
    pub atol: f64,
}

impl Lanes<'_> {
    /// `Ok` when there is one time and one sample number for each of `samples` rows.
    ///
    /// # Errors
    /// [`Error::Size`](crate::Error::Size) otherwise.
    pub fn check(&self, samples: usize) -> Result<()> {
        check_size("times of the batch", self.t.len(), samples)?;
        check_size("sample numbers of the batch", self.sample.len(), samples)
    }
}

impl Tolerance {
    /// The same number for both, as the literature's "tolerance 1e-5".
    pub fn both(tol: f64) -> Self {
        Self { rtol: tol, atol: tol }
    }

    /// Refuses what f64 arithmetic cannot meet; see [`State::check_tolerance`].
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) naming the number.
    pub fn check(self) -> Result<()> {
        check("rtol", self.rtol, self.rtol >= 100.0 * f64::EPSILON, "at least 2.3e-14")?;
        check("atol", self.atol, self.atol > 0.0, "a positive number")?;
        Ok(())
    }
}

/// Time and identity of each row that is being evaluated.
///
/// The rows of one evaluation may stand at different times, and rows that are done have left the batch, so a
/// row's position says nothing: `sample[i]` names it.
#[derive(Clone, Copy, Debug)]
pub struct Lanes<'a> {
    /// Time of each row.
    pub t: &'a [f64],
    /// Number of the sample in each row: the key of its noise and of its conditioning.
    pub sample: &'a [u64],
}

/// A batch of samples. See the module's text; `h`, `c` and `norm` have one entry per row.
pub trait State: Sized {
    /// One [`Tolerance`] per member.
    type Tolerance;

    /// Refuses tolerances that no solver can meet: negative, not finite, or `rtol` below 100 machine epsilons.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) naming the number.
    fn check_tolerance(tol: &Self::Tolerance) -> Result<()>;
    /// Number of rows (samples).
    fn samples(&self) -> usize;
    /// A batch of the same shape, of zeros.
    fn zeros_like(&self) -> Self;
    /// Takes the shape of `like`, contents unspecified; keeps its memory when `like` has no more rows.
    fn fit(&mut self, like: &Self);
    /// Copies `src`.
    fn assign(&mut self, src: &Self);
    /// `self_i = y_i + h_i Σ_j w_j k(j)_i`: one stage of a Runge–Kutta step. Stages come from a closure because
    /// a slice of pairs has no view as a slice of first members.
    fn stage<'a, K>(&mut self, y: &Self, h: &[f64], w: &[f64], k: K)
    where
        K: Fn(usize) -> &'a Self + Copy,
        Self: 'a;
    /// Raises `norm_i` to the root mean square over row i of `h_i Σ_j e_j k(j)_i / (atol + rtol max(|y_i|, |z_i|))`:
    /// the error of a step from y to z in units of its tolerance. A pair takes the larger of its members' norms;
    /// a NaN stays. `self` is scratch space.
    fn raise_error_norm<'a, K>(
        &mut self,
        h: &[f64],
        e: &[f64],
        k: K,
        ends: (&Self, &Self),
        tol: &Self::Tolerance,
        norm: &mut [f64],
    ) where
        K: Fn(usize) -> &'a Self + Copy,
        Self: 'a;
    /// As [`raise_error_norm`](Self::raise_error_norm) for two rows of error weights: where `n` and `m` are the norms
    /// by the first and by the second, raises `norm` to `n² / √(n² + 0.01 m²)` (O5), the norm of Hairer's DOP853. A pair
    /// does so for each member. `n` and `m` are scratch space.
    fn raise_error_norm_of_two<'a, K>(
        &mut self,
        h: &[f64],
        e: [&[f64]; 2],
        k: K,
        ends: (&Self, &Self),
        tol: &Self::Tolerance,
        [norm, n, m]: [&mut [f64]; 3],
    ) where
        K: Fn(usize) -> &'a Self + Copy,
        Self: 'a,
    {
        n.fill(0.0);
        m.fill(0.0);
        self.raise_error_norm(h, e[0], k, ends, tol, n);
        self.raise_error_norm(h, e[1], k, ends, tol, m);
        raise_by_two(norm, n, m);
    }
    /// `self_i = Σ_j c_j[i] x_j,i` over the terms `(c_j, x_j)`.
    fn combine(&mut self, terms: &[(&[f64], &Self)]);
    /// `self_i = src_i` where `take[i]`.
    fn take_where(&mut self, src: &Self, take: &[bool]);
    /// Takes the elements of `src` where those of `mark` are not 0: [`take_where`](Self::take_where) element by element.
    fn take_marked(&mut self, src: &Self, mark: &Self);
    /// Keeps the rows `keep` (ascending), in their order.
    fn compact(&mut self, keep: &[usize]);
    /// `self[to[i]] = src_i` for every row i of `src`.
    fn scatter(&mut self, to: &[usize], src: &Self);
    /// Adds `⟨x_i, y_i⟩`, the Euclidean product of row i of `self` and of `y`, to `out_i`.
    fn add_dot(&self, y: &Self, out: &mut [f64]);
    /// Adds `|x_i|²`, the squared Euclidean norm of row i, to `out_i`.
    fn add_squared_norm(&self, out: &mut [f64]) {
        self.add_dot(self, out);
    }
    /// Overwrites every row with host numbers, in row-major order: the way noise enters.
    fn fill_rows(&mut self, fill: impl FnMut(usize, &mut [f64]));
    /// Number of scalars in one row.
    fn sample_len(&self) -> usize;
}

/// `Ok` when `x` has the samples of `like`, of the same size.
///
/// # Errors
/// [`Error::Size`](crate::Error::Size) naming `what`.
pub fn check_alike<X: State>(what: &'static str, x: &X, like: &X) -> Result<()> {
    check_size(what, x.samples(), like.samples())?;
    check_size(what, x.sample_len(), like.sample_len())
}

/// Raises `norm_i` to `n² / √(n² + 0.01 m²)` (O5) of the norms `n_i` and `m_i`.
pub fn raise_by_two(norm: &mut [f64], n: &[f64], m: &[f64]) {
    for (norm, (n, m)) in norm.iter_mut().zip(n.iter().zip(m)) {
        let both = n.hypot(0.1 * m);
        *norm = max_or_nan(*norm, if both == 0.0 { 0.0 } else { n * (n / both) });
    }
}

/// The larger of two norms, NaN if either is: a failed trial step must never look accepted.
pub fn max_or_nan(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}
