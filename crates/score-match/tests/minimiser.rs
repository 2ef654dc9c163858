//! The marginal score minimises the loss, by the amount that theory says.

#![allow(clippy::unwrap_used)]

use nalgebra::{DMatrix, DVector};
use ndarray::{Array2, array};
use score_match::ideal::{ScoreTarget, score_loss};
use score_match::{Weighting, loss};
use sde_core::{
    Field, GaussianMixture, Lanes, Noise, Purpose, Result, Score, Sde, State, Summary, VpLinear,
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

/// The score `A x + b` with the numbers of A, row by row, and of b.
struct Linear(Vec<f64>);

impl Score<Array2<f64>> for Linear {
    fn evaluate(
        &mut self,
        x: &Array2<f64>,
        _: Lanes<'_>,
        out: &mut Field<Array2<f64>>,
    ) -> Result<()> {
        let d = x.ncols();
        let (a, b) = self.0.split_at(d * d);
        let of = |(i, j)| (0..d).map(|k| a[j * d + k] * x[[i, k]]).sum::<f64>() + b[j];
        out.score = Array2::from_shape_fn(x.raw_dim(), of);
        Ok(())
    }
}

/// The least of a quadratic function of n numbers: its gradient and its second derivatives from values alone.
fn minimum(n: usize, mut f: impl FnMut(Vec<f64>) -> f64) -> DVector<f64> {
    let unit = |i: usize, j: Option<usize>| {
        let mut x = vec![0.0; n];
        x[i] += 1.0;
        j.into_iter().for_each(|j| x[j] += 1.0);
        x
    };
    let at_zero = f(vec![0.0; n]);
    let one: Vec<f64> = (0..n).map(|i| f(unit(i, None))).collect();
    let hessian = DMatrix::from_fn(n, n, |i, j| f(unit(i, Some(j))) - one[i] - one[j] + at_zero);
    let slope = DVector::from_fn(n, |i, _| one[i] - at_zero - 0.5 * hessian[(i, i)]);
    -hessian.lu().solve(&slope).unwrap()
}

/// R31: among linear scores of Gaussian data the loss is least at the **marginal** score, `A = −V⁻¹` and `b = α V⁻¹ m`.
/// The loss is quadratic in `(x_0, ε)`, so that a mean over the corners of a cube is its exact expectation.
#[test]
fn r31_the_normal_equations_give_the_marginal_score() {
    let (m, c) = ([0.7, -0.3], [[0.5, 0.2], [0.2, 0.3]]);
    let root = DMatrix::from_row_slice(2, 2, &[c[0][0], c[0][1], c[1][0], c[1][1]]).cholesky();
    let root = root.unwrap().l();
    let corner = |i: usize, bit: usize| if i >> bit & 1 == 1 { 1.0 } else { -1.0 };
    let x0 = Array2::from_shape_fn((16, 2), |(i, j)| {
        m[j] + root[(j, 0)] * corner(i, 0) + root[(j, 1)] * corner(i, 1)
    });
    let eps = Array2::from_shape_fn((16, 2), |(i, j)| corner(i, 2 + j));
    let numbers: Vec<u64> = (0..16).collect();
    let sde = VpLinear::default();
    for t in [0.05, 0.3, 0.8] {
        let times = [t; 16];
        let at = Lanes { t: &times, sample: &numbers };
        let best = minimum(6, |theta| {
            loss(&sde, &mut Linear(theta), Weighting::Noise, (&x0, &eps), at).unwrap().mean
        });
        let k = sde.coefficients(t);
        let v = DMatrix::from_fn(2, 2, |i, j| {
            k.alpha * k.alpha * c[i][j] + if i == j { k.sigma * k.sigma } else { 0.0 }
        });
        let precision = v.try_inverse().unwrap();
        let b = k.alpha * &precision * DVector::from_column_slice(&m);
        for i in 0..2 {
            for j in 0..2 {
                let error = best[2 * i + j] + precision[(i, j)];
                assert!(error.abs() < 1e-10, "t = {t}: A[{i}][{j}] off by {error}");
            }
            assert!((best[4 + i] - b[i]).abs() < 1e-10, "t = {t}: b[{i}]");
        }
        // From draws instead of moments, within what is left of the noise.
        let (x0, eps, numbers) = draws();
        let times = vec![t; N];
        let at = Lanes { t: &times, sample: &numbers };
        let fitted = minimum(2, |theta| {
            loss(&sde, &mut Linear(theta), Weighting::Noise, (&x0, &eps), at).unwrap().mean
        });
        let v = k.alpha.powi(2) * 0.36 + k.sigma.powi(2);
        assert!((fitted[0] + 1.0 / v).abs() < 2e-2 / v, "t = {t}: {fitted}");
        assert!((fitted[1] - 0.7 * k.alpha / v).abs() < 2e-2 / v, "t = {t}: {fitted}");
    }
}

/// A mixture's score, scaled and shifted.
struct Off<'a>(sde_core::exact::MixtureScore<'a>, [f64; 2]);

impl Score<Array2<f64>> for Off<'_> {
    fn evaluate(
        &mut self,
        x: &Array2<f64>,
        at: Lanes<'_>,
        out: &mut Field<Array2<f64>>,
    ) -> Result<()> {
        self.0.evaluate(x, at, out)?;
        let [scale, shift] = self.1;
        out.score.mapv_inplace(|s| scale * s + shift);
        Ok(())
    }
}

/// R32: the loss against the conditional score and that against the marginal one differ by a constant of the data. Both are
/// means over the same draws, so the error of their difference is that of the draws' own difference.
#[test]
fn r32_the_two_targets_differ_by_a_constant() {
    let means = array![[-1.0, 0.5], [1.2, 1.0], [0.3, -1.4]];
    let covariances =
        array![[[0.3, 0.1], [0.1, 0.2]], [[0.15, -0.08], [-0.08, 0.25]], [[0.05, 0.0], [0.0, 0.4]]];
    let weights = [0.5, 0.3, 0.2];
    let data = GaussianMixture::full(&weights, means.clone(), &covariances).unwrap();
    let (sde, t, n) = (VpLinear::default(), 0.2, 400_000);
    let k = sde.coefficients(t);
    let numbers: Vec<u64> = (0..n as u64).collect();
    let source = Noise::new(6, Purpose::Training);
    let (mut x0, mut eps) = (Array2::zeros((n, 2)), Array2::zeros((n, 2)));
    source.fill(&numbers, 0, &mut x0).unwrap();
    source.fill(&numbers, 1, &mut eps).unwrap();
    for (mut x, i) in x0.outer_iter_mut().zip(&numbers) {
        let mut u = [0.0];
        source.uniform(*i, 2, &mut u);
        let c = usize::from(u[0] > 0.5) + usize::from(u[0] > 0.8);
        let (a, b, d) = (covariances[[c, 0, 0]], covariances[[c, 0, 1]], covariances[[c, 1, 1]]);
        let l = [a.sqrt(), b / a.sqrt(), (d - b * b / a).sqrt()];
        let z = [x[0], x[1]];
        x[0] = means[[c, 0]] + l[0] * z[0];
        x[1] = means[[c, 1]] + l[1] * z[0] + l[2] * z[1];
    }
    let times = vec![t; n];
    let at = Lanes { t: &times, sample: &numbers };
    let (mut x_t, mut exact) = (x0.clone(), Field::like(&x0));
    score_match::perturb(&sde, &x0, &eps, &times, &mut x_t).unwrap();
    data.score(&sde).evaluate(&x_t, at, &mut exact).unwrap();
    // C = E|∇ log q − s|², 3.193 for these data.
    let constant = Summary::of(
        &eps.outer_iter()
            .zip(exact.score.outer_iter())
            .map(|(e, s)| (0..2).map(|j| (e[j] / k.sigma + s[j]).powi(2)).sum::<f64>())
            .collect::<Vec<_>>(),
    );
    assert!((constant.mean - 3.193).abs() < 4.0 * constant.standard_error + 5e-4, "{constant:?}");
    for theta in [[1.1, 0.0], [0.7, 0.3], [0.0, -0.5]] {
        let mut model = Off(data.score(&sde), theta);
        let mut r = x0.clone();
        score_match::residual(&sde, &mut model, &x0, &eps, at, &mut r).unwrap();
        // |ŝ + ε/σ|² − |ŝ − s|² − |ε/σ + s|² = 2 (ŝ − s)·(s + ε/σ), whose mean is 0.
        let difference = r.outer_iter().zip(exact.score.outer_iter()).zip(eps.outer_iter());
        let terms: Vec<f64> = difference
            .map(|((r, s), e)| {
                let of = |j: usize| {
                    let (dsm, target) = (r[j] / k.sigma, s[j] + e[j] / k.sigma);
                    dsm * dsm - (dsm - target).powi(2) - target * target
                };
                of(0) + of(1)
            })
            .collect();
        let got = Summary::of(&terms);
        assert!(got.mean.abs() < 4.0 * got.standard_error, "{theta:?}: {got:?}");
        assert!(got.standard_error < 0.05, "the test must be able to fail: {got:?}");
    }
}

/// (E7) on the line, by quadrature: exactly the same constant for every score.
#[test]
fn e7_the_two_targets_differ_by_a_constant() {
    let means = array![[-1.5], [0.4], [2.0]];
    let data = GaussianMixture::isotropic(&[0.3, 0.5, 0.2], means, &[0.09, 0.25, 0.0625]).unwrap();
    let sde = VpLinear::default();
    for t in [0.05, 0.4] {
        let k = sde.coefficients(t);
        let snr = (k.alpha / k.sigma).powi(2);
        let want = snr / (k.sigma * k.sigma) * data.mmse(snr).unwrap();
        for [scale, shift] in [[1.0, 0.0], [1.1, 0.0], [0.0, 0.7]] {
            let loss =
                |target| score_loss(&data, &sde, t, target, |p| scale * p.score + shift).unwrap();
            let (conditional, marginal) =
                (loss(ScoreTarget::Conditional), loss(ScoreTarget::Marginal));
            assert!((conditional - marginal - want).abs() < 1e-10 * conditional, "{scale} {shift}");
            assert_eq!(marginal < 1e-20, scale > 0.99 && scale < 1.01);
        }
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
