//! A score that is wrong by a factor, with the posterior mean that Tweedie's formula makes of it: a model whose flow is
//! `f x − g²/2 (factor s)`.

use sde_core::error::Result;
use sde_core::{Divergence, Field, Lanes, Score, Sde, State};

pub(crate) struct Wrong<'a, M> {
    pub(crate) score: M,
    pub(crate) sde: &'a dyn Sde,
    pub(crate) factor: f64,
}

impl<M> Wrong<'_, M> {
    fn field<X: State>(&self, x: &X, at: Lanes<'_>, out: &mut Field<X>) {
        let mut score = x.zeros_like();
        score.combine(&[(&vec![self.factor; at.t.len()], &out.score)]);
        let k: Vec<_> = at.t.iter().map(|t| self.sde.coefficients(*t)).collect();
        let of_x: Vec<_> = k.iter().map(|k| 1.0 / k.alpha).collect();
        let of_score: Vec<_> = k.iter().map(|k| k.sigma * k.sigma / k.alpha).collect();
        out.denoised.combine(&[(&of_x, x), (&of_score, &score)]);
        out.score = score;
    }

    /// The same for divergences, `one` being that of x: d, or |u|².
    fn divergence(&self, at: Lanes<'_>, one: impl Fn(usize) -> f64, of: &mut Divergence) {
        for (i, t) in at.t.iter().enumerate() {
            let k = self.sde.coefficients(*t);
            of.score[i] *= self.factor;
            of.denoised[i] = (one(i) + k.sigma * k.sigma * of.score[i]) / k.alpha;
        }
    }
}

impl<X: State, M: Score<X>> Score<X> for Wrong<'_, M> {
    fn evaluate(&mut self, x: &X, at: Lanes<'_>, out: &mut Field<X>) -> Result<()> {
        self.score.evaluate(x, at, out)?;
        self.field(x, at, out);
        Ok(())
    }

    fn evaluate_with_divergence(
        &mut self,
        x: &X,
        at: Lanes<'_>,
        out: &mut Field<X>,
        divergence: &mut Divergence,
    ) -> Result<()> {
        self.score.evaluate_with_divergence(x, at, out, divergence)?;
        self.divergence(at, |_| x.sample_len() as f64, divergence);
        self.field(x, at, out);
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
        self.score.evaluate_with_forms(x, at, probes, out, forms)?;
        for (u, form) in probes.iter().zip(forms) {
            let mut squares = vec![0.0; at.t.len()];
            u.add_squared_norm(&mut squares);
            self.divergence(at, |i| squares[i], form);
        }
        self.field(x, at, out);
        Ok(())
    }
}
