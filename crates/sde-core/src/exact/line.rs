//! Expectations over the noised data on a line, by quadrature, and the error of the best denoiser.
//!
//! ```text
//! E f(x_t) = ∫ f p_t dx,    E[f(x_t) | x_0] = ∫ f(x) N(x; α x_0, σ²) dx
//! mmse(ρ) = E tr Cov(x_0 | x_t),    ρ = α²/σ²                                          (G10)
//! ```
//!
//! mmse depends on the process through ρ alone, because `x_t/α` does. For one Gaussian it is `Σ_i l_i/(1 + ρ l_i)`, with the
//! eigenvalues l of its covariance. Integrals are cut at every second standard deviation of every component, up to ten,
//! and each piece has 32 points: a narrow component far from the others is not missed.

use super::{GaussianMixture, PointValues};
use crate::error::{Error, Result, check, check_size};
use crate::quadrature::integrate;
use crate::sde::{Edm, Sde};

/// What is known at one point of the line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinePoint {
    /// x.
    pub x: f64,
    /// `s(x, t)`.
    pub score: f64,
    /// `D(x, t)`.
    pub denoised: f64,
    /// The rest, `log p_t(x)` among it.
    pub values: PointValues,
}

impl GaussianMixture {
    /// `E |x_0|²`.
    pub fn second_moment(&self) -> f64 {
        self.mean_square_about(&vec![0.0; self.dim()])
    }

    /// (G10): the mean squared error of the best denoiser, over all d coordinates, at the signal-to-noise ratio
    /// `snr = α²/σ²`: for one Gaussian, or in one dimension.
    ///
    /// # Errors
    /// [`Error::Size`] for several components in more dimensions; [`Error::Parameter`] for a negative or infinite ratio.
    pub fn mmse(&self, snr: f64) -> Result<f64> {
        check("signal-to-noise ratio", snr, snr >= 0.0, "a number not below 0")?;
        match (self.components(), self.dim()) {
            (1, _) => Ok(self.spectrum(0).0.iter().map(|l| l / (1.0 + snr * l)).sum()),
            (_, 1) if snr == 0.0 => Ok(self.mean_square_about(&self.mean())),
            (_, 1) => {
                let sigma = snr.sqrt().recip();
                self.expect(&Edm::new(sigma)?, sigma, |p| p.values.trace_covariance)
            }
            (_, d) => Err(Error::Size { what: "dimensions of a mixture", found: d, expected: 1 }),
        }
    }

    /// `E f(x_t)` over `x_t ~ p_t`, for data on a line.
    ///
    /// # Errors
    /// For data in another dimension, and where the result is not finite.
    pub fn expect(
        &self,
        sde: &dyn Sde,
        t: f64,
        mut f: impl FnMut(LinePoint) -> f64,
    ) -> Result<f64> {
        check_size("dimensions of data on a line", self.dim(), 1)?;
        let cuts = cuts(self.bumps(sde, t));
        self.integrate(sde, t, &cuts, |p| p.values.log_density.exp() * f(p))
    }

    /// `E[f(x_t) | x_0]` over `x_t = α x_0 + σ ε`, for data on a line.
    ///
    /// # Errors
    /// As [`expect`](Self::expect).
    pub fn expect_given(
        &self,
        sde: &dyn Sde,
        t: f64,
        x0: f64,
        mut f: impl FnMut(LinePoint) -> f64,
    ) -> Result<f64> {
        check_size("dimensions of data on a line", self.dim(), 1)?;
        let k = sde.coefficients(t);
        let (mean, std) = (k.alpha * x0, k.sigma);
        if std == 0.0 {
            return self.line_point(sde, t).map(|mut at| f(at(mean)));
        }
        let mut cuts = cuts(self.bumps(sde, t).chain([(mean, std)]));
        cuts.retain(|x| (x - mean).abs() <= REACH * std);
        let scale = (std * std::f64::consts::TAU.sqrt()).recip();
        self.integrate(sde, t, &cuts, |p| {
            scale * (-0.5 * ((p.x - mean) / std).powi(2)).exp() * f(p)
        })
    }

    /// `∫ f` between the first and the last of `cuts`.
    fn integrate(
        &self,
        sde: &dyn Sde,
        t: f64,
        cuts: &[f64],
        mut f: impl FnMut(LinePoint) -> f64,
    ) -> Result<f64> {
        let mut at = self.line_point(sde, t)?;
        let sum = cuts.windows(2).map(|c| integrate(c[0], c[1], |x| f(at(x)))).sum();
        check("expectation", sum, true, "a finite number")
    }

    /// The mixture at points of the line.
    fn line_point<'a>(
        &'a self,
        sde: &'a dyn Sde,
        t: f64,
    ) -> Result<impl FnMut(f64) -> LinePoint + use<'a>> {
        check_size("dimensions of data on a line", self.dim(), 1)?;
        let mut mixture = self.score(sde);
        Ok(move |x| {
            let (mut score, mut denoised) = ([f64::NAN], [f64::NAN]);
            let values = mixture.point(&[x], t, &mut score, &mut denoised).unwrap_or_default();
            LinePoint { x, score: score[0], denoised: denoised[0], values }
        })
    }

    /// Mean and standard deviation of each component at t.
    fn bumps(&self, sde: &dyn Sde, t: f64) -> impl Iterator<Item = (f64, f64)> {
        let k = sde.coefficients(t);
        let of = move |i: usize| {
            let std = (k.alpha * self.spectrum(i).0[0].sqrt()).hypot(k.sigma);
            (k.alpha * self.means()[[i, 0]], std)
        };
        (0..self.components()).map(of)
    }

    fn mean(&self) -> Vec<f64> {
        let along = |j| self.weights().enumerate().map(|(k, w)| w * self.means()[[k, j]]).sum();
        (0..self.dim()).map(along).collect()
    }

    /// `E |x_0 − at|²`.
    fn mean_square_about(&self, at: &[f64]) -> f64 {
        let of = |(k, w): (usize, f64)| {
            let shift =
                self.means().row(k).iter().zip(at).map(|(m, a)| (m - a).powi(2)).sum::<f64>();
            w * (self.spectrum(k).0.sum() + shift)
        };
        self.weights().enumerate().map(of).sum()
    }
}

/// Standard deviations beyond which a Gaussian has no weight in double precision.
const REACH: f64 = 10.0;

/// The ends of the pieces, in order: every second standard deviation of every bump `(mean, std)`.
fn cuts(bumps: impl Iterator<Item = (f64, f64)>) -> Vec<f64> {
    let of =
        |(mean, std): (f64, f64)| (-5..=5).map(move |j| mean + 0.2 * f64::from(j) * REACH * std);
    let mut cuts: Vec<f64> = bumps.flat_map(of).collect();
    cuts.sort_by(f64::total_cmp);
    cuts.dedup();
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sde::{RectifiedFlow, VpLinear};
    use ndarray::array;

    fn data() -> GaussianMixture {
        let means = array![[-1.5], [0.4], [30.0]];
        GaussianMixture::isotropic(&[0.3, 0.5, 0.2], means, &[1e-4, 0.25, 0.06]).unwrap()
    }

    #[test]
    fn moments_on_the_line_are_those_of_the_mixture() {
        let (sde, data) = (VpLinear::default(), data());
        for t in [0.0, 1e-3, 0.2, 1.0] {
            let k = sde.coefficients(t);
            let second = k.alpha * k.alpha * data.second_moment() + k.sigma * k.sigma;
            let got = data.expect(&sde, t, |p| p.x * p.x).unwrap();
            assert!((got - second).abs() < 1e-12 * second, "t = {t}: {got} {second}");
            assert!((data.expect(&sde, t, |_| 1.0).unwrap() - 1.0).abs() < 1e-12);
            let given = data.expect_given(&sde, t, 0.7, |p| p.x * p.x).unwrap();
            let want = (0.7 * k.alpha).powi(2) + k.sigma.powi(2);
            assert!((given - want).abs() < 1e-12 * want, "t = {t}: {given} {want}");
        }
    }

    /// `E|x_0|² = E|D|² + mmse`, which has D in it and not the covariance.
    #[test]
    fn g10_the_error_of_the_best_denoiser_is_what_its_mean_leaves() {
        let (sde, data) = (RectifiedFlow::default(), data());
        for t in [1e-3, 0.02, 0.3, 0.9, 1.0] {
            let k = sde.coefficients(t);
            let explained = data.expect(&sde, t, |p| p.denoised * p.denoised).unwrap();
            let mmse = data.mmse((k.alpha / k.sigma).powi(2)).unwrap();
            let want = data.second_moment();
            assert!((explained + mmse - want).abs() < 1e-11 * want, "t = {t}: {explained} {mmse}");
        }
    }

    #[test]
    fn one_gaussian_is_the_closed_form_in_any_dimension() {
        let plane =
            GaussianMixture::diagonal(&[1.0], array![[1.0, 2.0]], &array![[0.36, 2.0]]).unwrap();
        let want = 0.36 / 2.08 + 2.0 / 7.0;
        assert!((plane.mmse(3.0).unwrap() - want).abs() < 1e-15);
        assert!((plane.second_moment() - 7.36).abs() < 1e-14);
        let twice =
            GaussianMixture::isotropic(&[0.5; 2], array![[0.2], [0.2]], &[0.36; 2]).unwrap();
        assert!((twice.mmse(3.0).unwrap() - 0.36 / 2.08).abs() < 1e-13);
        let two = GaussianMixture::isotropic(&[0.5; 2], array![[0.0, 0.0], [1.0, 1.0]], &[1.0; 2]);
        let error = two.unwrap().mmse(1.0).unwrap_err().to_string();
        assert_eq!(error, "dimensions of a mixture: found 2, expected 1");
    }
}
