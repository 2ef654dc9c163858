//! The terms of (P1) and (P5) for a Gaussian mixture under its forward process, by closed forms.
//!
//! With `V_k = α² C_k + σ² I`, `V_k' = 2 α α' C_k + (σ²)' I`, the symbols of [`exact`](crate::exact) and sums over k,
//!
//! ```text
//! q_k = ∂ₜ log N_k = −α' m_k·s_k + ½ s_k·V_k' s_k − ½ tr(V_k⁻¹ V_k'),    ∂ₜ log p = Σ r_k q_k    (P6)
//! ∂ₜ s_k = V_k⁻¹ (α' m_k − V_k' s_k),      ∂ₜ s = Σ r_k [∂ₜ s_k + (q_k − ∂ₜ log p)(s_k − s)]
//! H = ∇∇ log p = Σ r_k [c_k c_kᵀ − V_k⁻¹],                  c_k = s_k − s
//! ∇ div s = Σ r_k [(|c_k|² − tr V_k⁻¹) c_k − 2 V_k⁻¹ c_k]
//! ```
//!
//! from `∂ r_k = r_k (∂ log N_k − Σ r_j ∂ log N_j)`. Nothing here is differenced: (P1) and (P5) hold to rounding.

use super::{Sides, Terms};
use crate::error::{Result, check_size};
use crate::exact::GaussianMixture;
use crate::sde::{Coefficients, Sde};
use ndarray::{Array1, Array2, ArrayView1};

/// The terms of (P1) at x and t, where f and g² are finite.
///
/// # Errors
/// When x has not as many numbers as the mixture has dimensions.
pub fn terms(mixture: &GaussianMixture, sde: &dyn Sde, x: &[f64], t: f64) -> Result<Terms> {
    let at = Local::new(mixture, sde, x, t)?;
    let (p, d) = (at.log_p.exp(), x.len() as f64);
    let x = ArrayView1::from(x);
    Ok(Terms {
        p,
        dp_dt: p * at.rate,
        drift: -sde.f(t) * p * (d + x.dot(&at.score)),
        diffusion: 0.5 * sde.g2(t) * p * (at.hessian.diag().sum() + at.score.dot(&at.score)),
        score: at.score.to_vec(),
        dscore_dt: at.score_rate.to_vec(),
    })
}

/// Both sides of (P5) at x and t for the field `scale · s + shift`, with `shift` added to every coordinate.
/// The mixture's own score is `scale` 1, `shift` 0; any other is a score model with a known error.
///
/// # Errors
/// As [`terms`].
pub fn score_equation(
    mixture: &GaussianMixture,
    sde: &dyn Sde,
    x: &[f64],
    t: f64,
    (scale, shift): (f64, f64),
) -> Result<Sides> {
    let at = Local::new(mixture, sde, x, t)?;
    let (f, g2, x) = (sde.f(t), sde.g2(t), ArrayView1::from(x));
    let field = &at.score * scale + shift;
    let of_noise = &at.grad_div + &(at.hessian.dot(&field) * 2.0); // ∇(div s + |s|²), but for `scale`
    let of_drift = &field + &(at.hessian.dot(&x) * scale); // ∇(x·s)
    Ok(Sides {
        rate: (&at.score_rate * scale).to_vec(),
        gradient: (of_noise * (0.5 * g2 * scale) - of_drift * f).to_vec(),
    })
}

/// The exact score as a field for [`Diffusion`](super::Diffusion); NaN where x has not the mixture's dimension.
pub fn score<'a>(
    mixture: &'a GaussianMixture,
    sde: &'a dyn Sde,
) -> impl Fn(&[f64], f64, &mut [f64]) + Clone + Send + Sync + 'a {
    let model = mixture.score(sde);
    move |x, t, out| {
        let mut denoised = vec![0.0; x.len()];
        if model.clone().point(x, t, out, &mut denoised).is_err() {
            out.fill(f64::NAN);
        }
    }
}

/// What (P1) and (P5) need of a mixture at one point and time.
struct Local {
    log_p: f64,
    /// `∂ₜ log p`.
    rate: f64,
    score: Array1<f64>,
    /// `∂ₜ s`.
    score_rate: Array1<f64>,
    hessian: Array2<f64>,
    grad_div: Array1<f64>,
}

impl Local {
    fn new(mixture: &GaussianMixture, sde: &dyn Sde, x: &[f64], t: f64) -> Result<Self> {
        check_size("numbers in a point", x.len(), mixture.dim())?;
        let (k, x) = (sde.coefficients(t), ArrayView1::from(x));
        let mut parts: Vec<_> =
            (0..mixture.components()).map(|i| Component::new(mixture, i, k, x)).collect();
        parts.iter_mut().zip(mixture.weights()).for_each(|(c, w)| c.log_density += w.ln());
        let max = parts.iter().fold(f64::NEG_INFINITY, |m, c| m.max(c.log_density));
        let sum: f64 = parts.iter().map(|c| (c.log_density - max).exp()).sum();
        let log_p = max + sum.ln();
        let shares: Vec<f64> = parts.iter().map(|c| (c.log_density - log_p).exp()).collect();
        Ok(Self::from_parts(log_p, &shares, &parts))
    }

    fn from_parts(log_p: f64, shares: &[f64], parts: &[Component]) -> Self {
        let d = parts[0].score.len();
        let rate = shares.iter().zip(parts).map(|(r, c)| r * c.rate).sum();
        let mut score = Array1::zeros(d);
        shares.iter().zip(parts).for_each(|(&r, c)| score.scaled_add(r, &c.score));
        let (mut score_rate, mut grad_div) = (Array1::zeros(d), Array1::zeros(d));
        let mut hessian = Array2::zeros((d, d));
        for (&r, part) in shares.iter().zip(parts) {
            let c = &part.score - &score;
            score_rate.scaled_add(r, &part.score_rate);
            score_rate.scaled_add(r * (part.rate - rate), &c);
            grad_div.scaled_add(r * (c.dot(&c) - part.inverse.diag().sum()), &c);
            grad_div.scaled_add(-2.0 * r, &part.inverse.dot(&c));
            hessian.scaled_add(-r, &part.inverse);
            for (mut row, &c_i) in hessian.outer_iter_mut().zip(&c) {
                row.scaled_add(r * c_i, &c);
            }
        }
        Self { log_p, rate, score, score_rate, hessian, grad_div }
    }
}

/// One component at a point: `log N_k`, its derivatives in t and x, and `V_k⁻¹`.
struct Component {
    log_density: f64,
    /// `q_k` of (P6).
    rate: f64,
    score: Array1<f64>,
    /// `∂ₜ s_k`.
    score_rate: Array1<f64>,
    inverse: Array2<f64>,
}

impl Component {
    /// In the eigenbasis of `C_k`, the rows of Q, where V and V' are diagonal.
    fn new(mixture: &GaussianMixture, i: usize, k: Coefficients, x: ArrayView1<'_, f64>) -> Self {
        let (values, q) = mixture.spectrum(i);
        let means = mixture.means();
        let mean = means.row(i);
        let v = values.mapv(|l| k.alpha * k.alpha * l + k.sigma * k.sigma);
        let v_rate = values.mapv(|l| 2.0 * k.alpha * k.d_alpha * l + k.d_sigma2);
        let moved = q.dot(&mean) * k.d_alpha; // α' m
        let y = q.dot(&(&x - &(&mean * k.alpha)));
        let score = -(&y / &v);
        let score_rate = (&moved - &(&v_rate * &score)) / &v;
        let log_norm = v.mapv(|v| (std::f64::consts::TAU * v).ln()).sum();
        let rate =
            -moved.dot(&score) + 0.5 * (&v_rate * &score).dot(&score) - 0.5 * (&v_rate / &v).sum();
        let columns = &q.t() / &v; // Qᵀ V⁻¹
        Self {
            log_density: -0.5 * ((&y * &y / &v).sum() + log_norm),
            rate,
            inverse: columns.dot(&q),
            score: q.t().dot(&score),
            score_rate: q.t().dot(&score_rate),
        }
    }
}
