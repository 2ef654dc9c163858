//! Scores that are told more than the noisy sample: guidance, as wrappers of a [`Score`].
//!
//! *Classifier-free guidance* (Ho and Salimans 2022) goes from an unconditional score ∅ through that of a class c and beyond,
//!
//! ```text
//! D_w = D_∅ + w (D_c − D_∅),     s_w = s_∅ + w (s_c − s_∅);                                          (H2)
//! ```
//!
//! w = 0 forgets the class, w = 1 is the class, and for w > 1 the result is the score of no diffused density.
//!
//! *A known measurement* changes the denoised sample, and Tweedie's formula says what the score is then:
//!
//! ```text
//! D' = P(D),     s' = s + (α/σ²) (D' − D).                                                           (H3)
//! ```
//!
//! For `y = A x_0` the projection is `P(D) = D + A⁺ (y − A D)` (Wang et al. 2022): the range of A is known, the rest is
//! the model's. Pixels that are known are the case of a diagonal A ([`Known`]). With (H3) the flow carries the known part of
//! x on straight lines to the measurement. It is an approximation of the posterior `p(x_0 | y)`, exact where the known and
//! the unknown part are independent.

use crate::error::{Result, check_size};
use crate::score::{Divergence, Field, Score};
use crate::sde::Sde;
use crate::state::{Lanes, State, check_alike};

/// (H2) of two scores.
#[derive(Debug)]
pub struct ClassifierFree<X, C, U> {
    conditional: C,
    unconditional: U,
    weight: f64,
    of_class: Option<Field<X>>,
    divergence: Divergence,
    forms: Vec<Divergence>,
}

impl<X: State, C: Score<X>, U: Score<X>> ClassifierFree<X, C, U> {
    /// Guidance of weight w.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) for a weight that is not finite.
    pub fn new(conditional: C, unconditional: U, weight: f64) -> Result<Self> {
        crate::error::check("guidance", weight, true, "a finite number")?;
        let (of_class, divergence, forms) = (None, Divergence::default(), Vec::new());
        Ok(Self { conditional, unconditional, weight, of_class, divergence, forms })
    }

    /// `out + w (of_class − out)` for both members.
    fn mix(weight: f64, of_class: &Field<X>, out: &mut Field<X>) {
        let n = of_class.score.samples();
        let (w, rest) = (vec![weight; n], vec![1.0 - weight; n]);
        let both = [(&of_class.denoised, &mut out.denoised), (&of_class.score, &mut out.score)];
        for (of_class, out) in both {
            let mut mixed = out.zeros_like();
            mixed.combine(&[(&w, of_class), (&rest, out)]);
            out.assign(&mixed);
        }
    }
}

/// (H2) for numbers.
fn mix_numbers(weight: f64, of_class: &Divergence, out: &mut Divergence) {
    let both = [(&of_class.denoised, &mut out.denoised), (&of_class.score, &mut out.score)];
    for (of_class, out) in both {
        out.iter_mut().zip(of_class).for_each(|(u, c)| *u += weight * (c - *u));
    }
}

impl<X: State, C: Score<X>, U: Score<X>> Score<X> for ClassifierFree<X, C, U> {
    fn evaluate(&mut self, x: &X, at: Lanes<'_>, out: &mut Field<X>) -> Result<()> {
        let field = self.of_class.get_or_insert_with(|| Field::like(x));
        field.fit(x);
        self.conditional.evaluate(x, at, field)?;
        self.unconditional.evaluate(x, at, out)?;
        Self::mix(self.weight, field, out);
        Ok(())
    }

    fn evaluate_with_divergence(
        &mut self,
        x: &X,
        at: Lanes<'_>,
        out: &mut Field<X>,
        divergence: &mut Divergence,
    ) -> Result<()> {
        let field = self.of_class.get_or_insert_with(|| Field::like(x));
        field.fit(x);
        self.divergence.fit(at.t.len());
        self.conditional.evaluate_with_divergence(x, at, field, &mut self.divergence)?;
        self.unconditional.evaluate_with_divergence(x, at, out, divergence)?;
        Self::mix(self.weight, field, out);
        mix_numbers(self.weight, &self.divergence, divergence);
        Ok(())
    }

    fn evaluate_with_forms(
        &mut self,
        x: &X,
        at: Lanes<'_>,
        probes: &[X],
        out: &mut Field<X>,
        forms: &mut [Divergence],
    ) -> Result<()> {
        let field = self.of_class.get_or_insert_with(|| Field::like(x));
        field.fit(x);
        self.forms.resize_with(forms.len(), Divergence::default);
        self.forms.iter_mut().for_each(|form| form.fit(at.t.len()));
        self.conditional.evaluate_with_forms(x, at, probes, field, &mut self.forms)?;
        self.unconditional.evaluate_with_forms(x, at, probes, out, forms)?;
        Self::mix(self.weight, field, out);
        self.forms.iter().zip(forms).for_each(|(c, u)| mix_numbers(self.weight, c, u));
        Ok(())
    }
}

/// (H3) of a score and a closure: `guide(x, at, denoised)` turns D into D'. It has no divergence, for nobody says what the
/// closure's is: a density of guided samples cannot be had from it.
#[derive(Debug)]
pub struct Guided<'a, X, M, G> {
    sde: &'a dyn Sde,
    score: M,
    guide: G,
    before: Option<X>,
}

impl<'a, X, M, G> Guided<'a, X, M, G>
where
    X: State,
    M: Score<X>,
    G: FnMut(&X, Lanes<'_>, &mut X) -> Result<()>,
{
    /// A score under a process, and what its denoised samples become.
    ///
    /// ```
    /// use ndarray::{Axis, array};
    /// use sde_core::guidance::Guided;
    /// use sde_core::{Field, GaussianMixture, Lanes, Score, VpLinear};
    /// let sde = VpLinear::default();
    /// let data = GaussianMixture::isotropic(&[1.0], array![[0.7, 0.1]], &[0.36])?;
    /// // The mean of both coordinates is 1: A = (½ ½) and A⁺ = (1 1)ᵀ.
    /// let to_mean = |_: &_, _: Lanes<'_>, d: &mut ndarray::Array2<f64>| {
    ///     for mut row in d.axis_iter_mut(Axis(0)) {
    ///         let off = 1.0 - row.mean().unwrap_or(0.0);
    ///         row += off;
    ///     }
    ///     Ok(())
    /// };
    /// let mut guided = Guided::new(&sde, data.score(&sde), to_mean);
    /// let x = array![[0.3, -0.2]];
    /// let mut field = Field::like(&x);
    /// guided.evaluate(&x, Lanes { t: &[0.4], sample: &[0] }, &mut field)?;
    /// assert!((field.denoised.sum() - 2.0).abs() < 1e-14);
    /// # Ok::<(), sde_core::Error>(())
    /// ```
    pub fn new(sde: &'a dyn Sde, score: M, guide: G) -> Self {
        Self { sde, score, guide, before: None }
    }
}

impl<X, M, G> Score<X> for Guided<'_, X, M, G>
where
    X: State,
    M: Score<X>,
    G: FnMut(&X, Lanes<'_>, &mut X) -> Result<()>,
{
    /// Where σ = 0 the sample is its own D, and nothing is changed.
    fn evaluate(&mut self, x: &X, at: Lanes<'_>, out: &mut Field<X>) -> Result<()> {
        self.score.evaluate(x, at, out)?;
        let before = self.before.get_or_insert_with(|| x.zeros_like());
        before.fit(x);
        before.assign(&out.denoised);
        (self.guide)(x, at, &mut out.denoised)?;
        let levels: Vec<_> = at.t.iter().map(|&t| self.sde.coefficients(t)).collect();
        let noiseless: Vec<bool> = levels.iter().map(|k| k.sigma == 0.0).collect();
        out.denoised.take_where(before, &noiseless);
        let factor = |k: &crate::sde::Coefficients| {
            if k.sigma == 0.0 { 0.0 } else { k.alpha / (k.sigma * k.sigma) }
        };
        let plus: Vec<f64> = levels.iter().map(factor).collect();
        let minus: Vec<f64> = plus.iter().map(|c| -c).collect();
        let mut score = out.score.zeros_like();
        let ones = vec![1.0; plus.len()];
        score.combine(&[(&ones, &out.score), (&plus, &out.denoised), (&minus, before)]);
        out.score.assign(&score);
        Ok(())
    }
}

/// The known part of each sample: `data` where `mask` is not 0, element by element. Row i belongs to sample `numbers[i]`.
#[derive(Clone, Debug)]
pub struct Known<X> {
    data: X,
    mask: X,
    numbers: Vec<u64>,
    /// The same for the samples of the last evaluation, where those were fewer.
    some: Option<(Vec<u64>, X, X)>,
}

impl<X: State> Known<X> {
    /// Samples and their masks; numbers in the order in which solvers have the samples.
    ///
    /// # Errors
    /// [`Error::Size`](crate::Error::Size) for masks of another size or other than one number for each sample.
    pub fn new(data: X, mask: X, numbers: Vec<u64>) -> Result<Self> {
        check_alike("the mask", &mask, &data)?;
        check_size("numbers of the known samples", numbers.len(), data.samples())?;
        Ok(Self { data, mask, numbers, some: None })
    }

    /// The numbers of the samples.
    pub fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    /// The samples.
    pub fn data(&self) -> &X {
        &self.data
    }

    /// Puts the known elements of `from` into `x`; both have every sample.
    pub fn put(&self, from: &X, x: &mut X) {
        x.take_marked(from, &self.mask);
    }

    /// Puts the known elements into denoised samples: the closure of [`Guided`] for pixels that are known. The samples may be
    /// fewer than there are here, in the same order.
    ///
    /// # Errors
    /// [`Error::Size`](crate::Error::Size) for a sample that is not known.
    pub fn project(&mut self, at: Lanes<'_>, denoised: &mut X) -> Result<()> {
        if at.sample == self.numbers {
            denoised.take_marked(&self.data, &self.mask);
            return Ok(());
        }
        let now = self.some.take().filter(|(numbers, ..)| numbers == at.sample);
        let (numbers, data, mask) = now.map_or_else(|| self.rows(at.sample), Ok)?;
        denoised.take_marked(&data, &mask);
        self.some = Some((numbers, data, mask));
        Ok(())
    }

    /// The rows of some samples.
    fn rows(&self, samples: &[u64]) -> Result<(Vec<u64>, X, X)> {
        let keep: Vec<usize> =
            (0..self.numbers.len()).filter(|&i| samples.contains(&self.numbers[i])).collect();
        check_size("known samples among those evaluated", keep.len(), samples.len())?;
        let part = |x: &X| {
            let mut part = x.zeros_like();
            part.assign(x);
            part.compact(&keep);
            part
        };
        Ok((samples.to_vec(), part(&self.data), part(&self.mask)))
    }
}
