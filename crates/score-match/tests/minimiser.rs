//! The marginal score minimises the loss, by the amount that theory says.

#![allow(clippy::unwrap_used)]

use ndarray::{Array2, array};
use score_match::{Weighting, loss};
use sde_core::{
    Divergence, Field, GaussianMixture, Lanes, Noise, Purpose, Result, Score, Sde, State, VpLinear,
};

/// A score multiplied by a constant: wrong unless the constant is 1.
struct Scaled<M>(M, f64);

impl<X: State, M: Score<X>> Score<X> for Scaled<M> {
    fn evaluate(&mut self, x: &X, at: Lanes<'_>, out: &mut Field<X>) -> Result<()> {
        self.0.evaluate(x, at, out)?;
        let mut scaled = x.zeros_like();
        scaled.combine(&[(&vec![self.1; at.t.len()], &out.score)]);
        out.score = scaled;
        Ok(())
    }
    fn evaluate_with_divergence(
        &mut self,
        x: &X,
        at: Lanes<'_>,
        out: &mut Field<X>,
        divergence: &mut Divergence,
    ) -> Result<()> {
        self.0.evaluate_with_divergence(x, at, out, divergence)
    }
}

const N: usize = 40_000;

/// N draws of a 1-D Gaussian N(0.7, 0.36) and of the noise.
fn draws() -> (Array2<f64>, Array2<f64>, Vec<u64>) {
    let numbers: Vec<u64> = (0..N as u64).collect();
    let (mut x0, mut eps) = (Array2::zeros((N, 1)), Array2::zeros((N, 1)));
    Noise::new(1, Purpose::Training).fill(&numbers, 0, &mut x0).unwrap();
    Noise::new(1, Purpose::Training).fill(&numbers, 1, &mut eps).unwrap();
    x0.mapv_inplace(|z| 0.7 + 0.6 * z);
    (x0, eps, numbers)
}

#[test]
fn loss_of_the_exact_score_is_the_closed_form() {
    let sde = VpLinear::default();
    let data = GaussianMixture::diagonal(&[1.0], array![[0.7]], &array![[0.36]]).unwrap();
    let (x0, eps, numbers) = draws();
    for t in [0.01, 0.2, 0.7, 1.0] {
        let times = vec![t; N];
        let at = Lanes { t: &times, sample: &numbers };
        let got = loss(&sde, &mut data.score(&sde), Weighting::Noise, (&x0, &eps), at).unwrap();
        // 1 − σ² E|s|² with s = −(x − αm)/V, V = α² v + σ².
        let k = sde.coefficients(t);
        let v = k.alpha.powi(2) * 0.36 + k.sigma.powi(2);
        let want = 1.0 - k.sigma.powi(2) / v;
        assert!((got.mean - want).abs() < 4.0 * got.standard_error, "t = {t}: {got:?}, {want}");
    }
}

#[test]
fn every_other_scale_of_the_score_is_worse() {
    let sde = VpLinear::default();
    let data = GaussianMixture::diagonal(&[1.0], array![[0.7]], &array![[0.36]]).unwrap();
    let (x0, eps, numbers) = draws();
    let times = vec![0.3; N];
    let at = Lanes { t: &times, sample: &numbers };
    let at_scale = |c| {
        let mut model = Scaled(data.score(&sde), c);
        loss(&sde, &mut model, Weighting::Likelihood, (&x0, &eps), at).unwrap().mean
    };
    let best = at_scale(1.0);
    for c in [0.8, 0.9, 1.1, 1.2] {
        assert!(at_scale(c) > best, "scale {c}");
    }
}

#[test]
fn sizes_that_disagree_are_refused() {
    let sde = VpLinear::default();
    let data = GaussianMixture::diagonal(&[1.0], array![[0.7]], &array![[0.36]]).unwrap();
    let (x0, eps) = (Array2::zeros((3, 1)), Array2::zeros((3, 1)));
    let at = Lanes { t: &[0.5, 0.5], sample: &[0, 1] };
    let error = loss(&sde, &mut data.score(&sde), Weighting::Noise, (&x0, &eps), at).unwrap_err();
    assert_eq!(error.to_string(), "times of the batch: found 2, expected 3");
}
