//! Evaluation of a mixture at the rows of a batch: the ground-truth [`Score`].

use super::component::{Noised, Scratch};
use super::{GaussianMixture, Shape, planar};
use crate::error::{Result, check_size};
use crate::score::{Along, Divergence, Field, Pull, Score, combined};
use crate::sde::Sde;
use crate::state::{Lanes, State, check_alike};
use ndarray::{Array, Array2, RemoveAxis};

/// The exact score of a mixture under a process. Cheap to make: one for each thread.
#[derive(Clone, Debug)]
pub struct MixtureScore<'a> {
    pub(super) mixture: &'a GaussianMixture,
    pub(super) sde: &'a dyn Sde,
    /// `r_k` of the point at hand.
    pub(super) weights: Vec<f64>,
    scratch: Scratch,
    space: planar::Space,
    plain_weights: Vec<f64>,
}

/// Logarithm of the share of `p_t(x)`, relative to the largest, below which a component is left out. Its part of
/// (G4)–(G6) is that share times a squared distance in units of `V_k`, of which the share is itself the exponential:
/// less than `e⁻⁸⁰ (160 + distance to the nearest mode)`.
const CUTOFF: f64 = -80.0;

/// The log-sum-exp of (G1) before its logarithm is taken: not every caller wants it.
#[derive(Clone, Copy)]
pub(super) struct Evidence {
    max: f64,
    sum: f64,
}

impl Evidence {
    /// `log p_t(x)` in d dimensions.
    fn log_density(self, d: usize) -> f64 {
        self.max + self.sum.ln() - 0.5 * d as f64 * std::f64::consts::TAU.ln()
    }
}

/// What is known of a mixture at one point x and time t, beside the score and D themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PointValues {
    /// `log p_t(x)` in nats.
    pub log_density: f64,
    /// `div s`, (G4).
    pub div_score: f64,
    /// `div D`, (G5).
    pub div_denoised: f64,
    /// `tr Cov(x_0 | x_t = x)`, (G6).
    pub trace_covariance: f64,
}

impl GaussianMixture {
    /// The exact score of this mixture under `sde`.
    pub fn score<'a>(&'a self, sde: &'a dyn Sde) -> MixtureScore<'a> {
        let (weights, scratch) = (vec![0.0; self.components()], Scratch::new(self.dim()));
        let (space, plain_weights) =
            (planar::Space::new(self.components()), self.weights().collect());
        MixtureScore { mixture: self, sde, weights, scratch, space, plain_weights }
    }

    /// `log p_t(x)` in nats of each row of `x`.
    ///
    /// # Errors
    /// When the rows have not d numbers.
    pub fn log_densities(&self, sde: &dyn Sde, x: &Array2<f64>, t: f64) -> Result<Vec<f64>> {
        let mut score = self.score(sde);
        x.outer_iter().map(|row| score.log_density(&row.to_vec(), t)).collect()
    }
}

impl MixtureScore<'_> {
    /// `log p_t(x)` of one point of d numbers.
    ///
    /// # Errors
    /// When x has not d numbers.
    pub fn log_density(&mut self, x: &[f64], t: f64) -> Result<f64> {
        check_size("numbers in a point", x.len(), self.mixture.dim())?;
        Ok(self.responsibilities(x, self.noised(t)).log_density(x.len()))
    }

    /// Everything at one point: writes `s` and `D`, returns the rest.
    ///
    /// # Errors
    /// When a slice has not d numbers.
    pub fn point(
        &mut self,
        x: &[f64],
        t: f64,
        score: &mut [f64],
        denoised: &mut [f64],
    ) -> Result<PointValues> {
        let d = self.mixture.dim();
        check_size("numbers in a point", x.len(), d)?;
        check_size("numbers in its score", score.len(), d)?;
        check_size("numbers in its posterior mean", denoised.len(), d)?;
        let n = self.noised(t);
        let log_density = self.responsibilities(x, n).log_density(d);
        self.means(x, n, score, denoised);
        Ok(PointValues { log_density, ..self.second_moments(x, n, score, denoised) })
    }

    pub(super) fn noised(&self, t: f64) -> Noised {
        let k = self.sde.coefficients(t);
        Noised { alpha: k.alpha, sigma2: k.sigma * k.sigma }
    }

    /// (G1) by log-sum-exp: leaves `r_k` in `weights`. All NaN where x is not finite, or so far out that nothing is left
    /// of any component.
    pub(super) fn responsibilities(&mut self, x: &[f64], n: Noised) -> Evidence {
        let (log_weights, out) = (&self.mixture.log_weights, &mut self.weights);
        match self.mixture.shape() {
            Shape::Isotropic(c) => c.logits(x, n, log_weights, out),
            Shape::General(c) => c.logits(x, n, log_weights, &mut self.scratch, out),
        }
        let max = out.iter().fold(f64::NEG_INFINITY, |m, r| m.max(*r));
        let mut sum = 0.0;
        for r in out.iter_mut() {
            let below = *r - max;
            *r = if below <= CUTOFF { 0.0 } else { below.exp() }; // a NaN stays
            sum += *r;
        }
        let scale = 1.0 / sum;
        out.iter_mut().for_each(|r| *r *= scale);
        Evidence { max, sum }
    }

    /// (G2) and (G3).
    fn means(&mut self, x: &[f64], n: Noised, score: &mut [f64], denoised: &mut [f64]) {
        match self.mixture.shape() {
            Shape::Isotropic(c) => c.means(x, n, &self.weights, score, denoised),
            Shape::General(c) => {
                c.means(x, n, &self.weights, &mut self.scratch, (score, denoised));
            }
        }
    }

    /// (G4)–(G6), centred at `score` and `denoised`.
    fn second_moments(
        &mut self,
        x: &[f64],
        n: Noised,
        score: &[f64],
        denoised: &[f64],
    ) -> PointValues {
        let (r, at) = (&self.weights, (score, denoised));
        match self.mixture.shape() {
            Shape::Isotropic(c) => c.second_moments(x, n, r, at),
            Shape::General(c) => c.second_moments(x, n, r, &mut self.scratch, at),
        }
    }

    /// The quadratic forms (G11), centred at `score` and `denoised`.
    fn forms(&self, x: &[f64], n: Noised, u: &[f64], at: (&[f64], &[f64])) -> (f64, f64) {
        match self.mixture.shape() {
            Shape::Isotropic(c) => c.forms(x, n, &self.weights, u, at),
            Shape::General(c) => c.forms(x, n, &self.weights, u, at),
        }
    }

    /// Runs `f(self, row, x_i, t_i, s_i, D_i)` over the rows of a batch.
    fn for_rows<D: RemoveAxis>(
        &mut self,
        x: &Array<f64, D>,
        at: Lanes<'_>,
        out: &mut Field<Array<f64, D>>,
        mut f: impl FnMut(&mut Self, usize, &[f64], f64, &mut [f64], &mut [f64]),
    ) -> Result<()> {
        check_size("numbers in one sample", x.sample_len(), self.mixture.dim())?;
        at.check(x.samples())?;
        out.fit(x);
        let d = x.sample_len();
        let x = x.as_standard_layout();
        let scores = out.score.as_slice_mut().unwrap_or_default().chunks_exact_mut(d);
        let denoised = out.denoised.as_slice_mut().unwrap_or_default().chunks_exact_mut(d);
        let xs = x.as_slice().unwrap_or_default().chunks_exact(d);
        for (i, ((x, s), den)) in xs.zip(scores).zip(denoised).enumerate() {
            f(self, i, x, at.t[i], s, den);
        }
        Ok(())
    }
}

impl<D: RemoveAxis> Score<Array<f64, D>> for MixtureScore<'_> {
    fn evaluate(
        &mut self,
        x: &Array<f64, D>,
        at: Lanes<'_>,
        out: &mut Field<Array<f64, D>>,
    ) -> Result<()> {
        self.for_rows(x, at, out, |this, _, x, t, score, denoised| {
            let n = this.noised(t);
            this.responsibilities(x, n);
            this.means(x, n, score, denoised);
        })
    }

    fn evaluate_with_divergence(
        &mut self,
        x: &Array<f64, D>,
        at: Lanes<'_>,
        out: &mut Field<Array<f64, D>>,
        divergence: &mut Divergence,
    ) -> Result<()> {
        divergence.fit(at.t.len());
        self.for_rows(x, at, out, |this, i, x, t, score, denoised| {
            let n = this.noised(t);
            this.responsibilities(x, n);
            this.means(x, n, score, denoised);
            let values = this.second_moments(x, n, score, denoised);
            divergence.score[i] = values.div_score;
            divergence.denoised[i] = values.div_denoised;
        })
    }

    fn evaluate_with_forms(
        &mut self,
        x: &Array<f64, D>,
        at: Lanes<'_>,
        probes: &[Array<f64, D>],
        out: &mut Field<Array<f64, D>>,
        forms: &mut [Divergence],
    ) -> Result<()> {
        check_size("forms of the probes", forms.len(), probes.len())?;
        forms.iter_mut().for_each(|form| form.fit(at.t.len()));
        probes.iter().try_for_each(|u| check_alike("a probe", u, x))?;
        let d = x.sample_len();
        let probes: Vec<_> = probes.iter().map(Array::as_standard_layout).collect();
        let probes: Vec<_> = probes.iter().map(|u| u.as_slice().unwrap_or_default()).collect();
        self.for_rows(x, at, out, |this, i, x, t, score, denoised| {
            let n = this.noised(t);
            this.responsibilities(x, n);
            this.means(x, n, score, denoised);
            for (u, form) in probes.iter().zip(&mut *forms) {
                let u = &u[i * d..(i + 1) * d];
                (form.score[i], form.denoised[i]) = this.forms(x, n, u, (score, denoised));
            }
        })
    }

    fn pull_back(
        &mut self,
        x: &Array<f64, D>,
        at: Lanes<'_>,
        pull: &Pull<'_, Array<f64, D>>,
        divergence: &mut [f64],
        out: &mut Array<f64, D>,
    ) -> Result<()> {
        at.check(x.samples())?;
        let d = x.sample_len();
        let flat = |x: &Array<f64, D>| x.iter().copied().collect::<Vec<_>>();
        let (w, probes) = (flat(pull.cotangent), pull.probes.unwrap_or(&[]).iter().map(flat));
        let (x, probes): (_, Vec<_>) = (flat(x), probes.collect());
        let mut failed = Ok(());
        out.fill_rows(|i, out| {
            let row = i * d..(i + 1) * d;
            let own: Vec<_> = probes.iter().map(|u| &u[row.clone()]).collect();
            let motion = (pull.along.to_denoised[i], pull.along.to_score[i]);
            let of = (&w[row.clone()], pull.weight[i]);
            let own = pull.probes.map(|_| &own[..]);
            match self.adjoint((&x[row], at.t[i]), motion, of, own, out) {
                Ok(found) => divergence[i] = found,
                Err(error) => failed = Err(error),
            }
        });
        failed
    }

    /// In up to three dimensions, with isotropic components and along the mixture's own process, without D and s: (G13).
    fn drift(
        &mut self,
        x: &Array<f64, D>,
        at: Lanes<'_>,
        along: &Along<'_>,
        field: &mut Field<Array<f64, D>>,
        out: &mut Array<f64, D>,
    ) -> Result<()> {
        let d = self.mixture.dim();
        let slices = (x.as_slice(), out.as_slice_mut());
        match (self.mixture.shape(), slices) {
            (Shape::Isotropic(c), (Some(rows), Some(to)))
                if d <= 3 && x.sample_len() == d && std::ptr::eq(self.sde, along.sde) =>
            {
                planar::drift(c, d, &self.plain_weights, along, &mut self.space, (rows, to));
                Ok(())
            }
            _ => combined(self, x, at, along, field, out),
        }
    }
}
