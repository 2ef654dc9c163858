//! The evidence lower bound of a DDPM chain, term by term, in nats (Ho et al. 2020; Luo 2022, arXiv 2208.11970).
//!
//! ```text
//! KL(N(μ, v I) ‖ N(μ̂, w I)) = ½ [d (v/w − 1 − ln(v/w)) + |μ − μ̂|²/w]                             (E1)
//! −log p(x_0) ≤ L_T + Σ_{t=2…T} L_{t−1} + L_0                                                      (E2)
//! L_T = ½ [d (−ᾱ_T − ln(1−ᾱ_T)) + ᾱ_T |x_0|²],   L_0 = (d/2) ln 2πs_1² + e_1/(2 s_1²),
//! L_{t−1} = ½ [d (β̃/s² − 1 − ln(β̃/s²)) + c² e_t/s²],   e_t = E|x_0 − x̂_0(x_t)|²                   (E3)
//! L_{t−1} = w_y E|y − ŷ|²  where s² = β̃,   w_y = w_x0 (∂x̂_0/∂ŷ)²                                   (E4)
//! ```
//!
//! `L_T` compares the end of the chain with the prior N(0, I), each `L_{t−1}` the step that the model takes, of variance
//! `s²`, with the one that Bayes' rule asks for, (C10), and `L_0` is the cost of `x_0` itself under a Gaussian decoder of
//! variance `s_1²`. **The sum starts at t = 2**: β̃ is 0 at t = 1. Every term is linear in the squared errors e of the
//! denoiser, so the same formulas serve one sample, a mean over data and the best denoiser, for which e is mmse.
//!
//! (E4) holds for every prediction y of `sde_core::Prediction`, with the *conditional* target: for the score that is
//! `−ε/√(1−ᾱ)` and not `∇ log p_t`. Against the marginal score the best model would have the loss 0 and the sum would
//! vanish, which is no bound. The weights matter: `|ε − ε̂|² = SNR |x_0 − x̂_0|² = (1−ᾱ)|s − ŝ|²`, so three losses without
//! weights are three losses. A sum over t is T − 1 times its mean over uniform t, (E5) of [`StepLaw`](crate::times::StepLaw).

use sde_core::chain::{DdpmChain, DdpmStep, Variance};
use sde_core::error::{check, check_size};
use sde_core::sde::Coefficients;
use sde_core::{Error, Lanes, Noise, Prediction, Result, Score, State};

use crate::residual::evaluate;

/// (E1) in nats, with `square = |μ − μ̂|²`, the variances `(v, w)` and the dimension d; infinite for v = 0.
pub fn gaussian_kl(square: f64, (v, w): (f64, f64), d: usize) -> f64 {
    0.5 * (d as f64 * excess((v - w) / w) + square / w)
}

/// `x − ln(1 + x) ≥ 0`; by its series near 0, where the difference has no digits.
fn excess(x: f64) -> f64 {
    if x.abs() > 0.02 {
        return x - x.ln_1p();
    }
    // Σ_{k≥2} (−x)^k/k, by Horner's rule: the first term left out is below 1e-17 of the sum.
    let tail = (2..=11).rev().fold(0.0, |sum, k| 1.0 / f64::from(k) - x * sum);
    x * x * tail
}

/// The variance `s_t²` of the model's reverse steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReverseVariance<'a> {
    /// β̃, and `β_1` for the decoder.
    Small,
    /// β, and `β_1` for the decoder.
    Large,
    /// `β̃ + c² mmse`, and `mmse_1` for the decoder: the best numbers in the mean over the data (Bao et al. 2022).
    Optimal {
        /// Mean squared errors of the best denoiser of t = 1…T, for each dimension.
        mmse: &'a [f64],
    },
}

/// The terms of (E2) in nats.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainElbo {
    /// `L_T`.
    pub prior: f64,
    /// `L_{t−1}` of t = 2…T.
    pub steps: Vec<f64>,
    /// `L_0`; a log-density, so it may be negative.
    pub reconstruction: f64,
}

impl ChainElbo {
    /// (E3) from the squared errors `e_t` of t = 1…T, over all `d` coordinates, and `square = |x_0|²`; both may be means.
    ///
    /// # Errors
    /// When there are not T errors; [`Error::Parameter`] for a decoder without variance.
    pub fn of_errors(
        chain: &DdpmChain,
        variance: ReverseVariance<'_>,
        errors: &[f64],
        square: f64,
        d: usize,
    ) -> Result<Self> {
        check_size("squared errors of the chain", errors.len(), chain.steps())?;
        if let ReverseVariance::Optimal { mmse } = variance {
            check_size("mean squared errors of the chain", mmse.len(), chain.steps())?;
        }
        let (first, last) = (chain.step(1)?, chain.step(chain.steps())?);
        let decoder = variance.of(&first);
        check("variance of the decoder", decoder, decoder > 0.0, "a positive number")?;
        let term = |(step, e): (DdpmStep, &f64)| {
            let posterior = step.posterior();
            gaussian_kl(posterior.coef_x0.powi(2) * e, (posterior.var, variance.of(&step)), d)
        };
        Ok(Self {
            prior: gaussian_kl(last.abar() * square, (last.one_minus_abar(), 1.0), d),
            steps: chain.iter().zip(errors).skip(1).map(term).collect(),
            reconstruction: 0.5
                * (d as f64 * (std::f64::consts::TAU * decoder).ln() + errors[0] / decoder),
        })
    }

    /// `L_{t−1}`, t = 2…T.
    ///
    /// # Errors
    /// [`Error::Parameter`] for another t.
    pub fn step(&self, t: usize) -> Result<f64> {
        let term = t.checked_sub(2).and_then(|i| self.steps.get(i)).copied();
        term.ok_or(Error::Parameter { name: "step t", found: t as f64, expected: "2 to T" })
    }

    /// `Σ_{t=2…T} L_{t−1}`.
    pub fn sum(&self) -> f64 {
        self.steps.iter().sum()
    }

    /// (E2): the upper bound on `−log p(x_0)` of the chain's model.
    pub fn negative_log_likelihood(&self) -> f64 {
        self.prior + self.sum() + self.reconstruction
    }
}

impl ReverseVariance<'_> {
    /// `s_t²` of a step, and of the decoder where t = 1.
    fn of(self, step: &DdpmStep) -> f64 {
        let decoder = step.t == 1;
        match self {
            Self::Optimal { mmse } => {
                let mmse = mmse[step.t - 1];
                if decoder { mmse } else { step.variance(Variance::Optimal { mmse }) }
            }
            Self::Small if !decoder => step.variance(Variance::Small),
            Self::Small | Self::Large => step.beta,
        }
    }
}

/// (E2) of each sample of `x0` under a model, from one noise at each step: every term is unbiased.
///
/// `time(t)` is what the model calls step t, `sample` has the numbers of the samples; `source` is keyed by them and by t.
/// The cost is T evaluations of the batch.
///
/// # Errors
/// As [`ChainElbo::of_errors`], when sizes disagree, and those of the model.
pub fn estimate<X: State, M: Score<X>>(
    chain: &DdpmChain,
    variance: ReverseVariance<'_>,
    model: &mut M,
    (x0, sample): (&X, &[u64]),
    (source, time): (Noise, &dyn Fn(usize) -> f64),
) -> Result<Vec<ChainElbo>> {
    let n = x0.samples();
    let mut errors = vec![Vec::with_capacity(chain.steps()); n];
    let (mut noise, mut error) = (x0.zeros_like(), x0.zeros_like());
    let (ones, minus) = (vec![1.0; n], vec![-1.0; n]);
    for step in chain.iter() {
        source.fill(sample, step.t as u32, &mut noise)?;
        let times = vec![time(step.t); n];
        let at = Lanes { t: &times, sample };
        let field = evaluate(&vec![level(&step); n], model, x0, &noise, at)?;
        error.combine(&[(&ones, x0), (&minus, &field.denoised)]);
        let mut squares = vec![0.0; n];
        error.add_squared_norm(&mut squares);
        errors.iter_mut().zip(squares).for_each(|(errors, e)| errors.push(e));
    }
    let mut squares = vec![0.0; n];
    x0.add_squared_norm(&mut squares);
    let of = |(errors, square): (&Vec<f64>, f64)| {
        ChainElbo::of_errors(chain, variance, errors, square, x0.sample_len())
    };
    errors.iter().zip(squares).map(of).collect()
}

/// The noise level `α = √ᾱ_t, σ = √(1−ᾱ_t)` of a step, without derivatives: a velocity is not determined by it.
pub fn level(step: &DdpmStep) -> Coefficients {
    let (alpha, sigma) = ((0.5 * step.log_abar).exp(), step.one_minus_abar().sqrt());
    Coefficients { alpha, sigma, d_alpha: f64::NAN, d_sigma2: f64::NAN, d_sigma: f64::NAN }
}

/// The weight `w_y` of (E4).
///
/// # Errors
/// At t = 1, where the posterior has no width, and where `prediction` does not determine `x_0`.
pub fn term_weight(step: &DdpmStep, prediction: Prediction) -> Result<f64> {
    let found = step.t as f64;
    let weights =
        step.kl_weights().ok_or(Error::Parameter { name: "step t", found, expected: "2 to T" })?;
    Ok(match prediction {
        Prediction::X0 => weights.x0,
        Prediction::Epsilon => weights.eps,
        Prediction::Score => weights.score,
        other => weights.x0 * other.into(Prediction::X0, level(step))?.value.powi(2),
    })
}

/// The term `L_{t−1} = w_y |y − ŷ|²` of one coordinate at `x_t`, for the estimate `estimate` of `x_0`: the targets y and ŷ
/// follow from the two by (V2). The same number for every prediction.
///
/// # Errors
/// As [`term_weight`], and where `x_0` does not determine `prediction`.
pub fn term(
    step: &DdpmStep,
    prediction: Prediction,
    xt: f64,
    [x0, estimate]: [f64; 2],
) -> Result<f64> {
    let to = Prediction::X0.into(prediction, level(step))?;
    Ok(term_weight(step, prediction)? * (to.apply(xt, x0) - to.apply(xt, estimate)).powi(2))
}

/// The same term as a divergence of Gaussians: between (C10) with `x_0` and with its estimate, both of variance β̃.
///
/// # Errors
/// At t = 1.
pub fn term_by_means(step: &DdpmStep, xt: f64, [x0, estimate]: [f64; 2]) -> Result<f64> {
    check("step t", step.t as f64, step.t > 1, "2 to T")?;
    let posterior = step.posterior();
    let difference = posterior.mean(x0, xt) - posterior.mean(estimate, xt);
    Ok(gaussian_kl(difference * difference, (posterior.var, posterior.var), 1))
}
