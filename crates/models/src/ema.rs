//! Averages of the weights over the steps of a training, which is what one samples from.
//!
//! ```text
//! θ̄ ← θ̄ + (1 − δ_k)(θ − θ̄)     after step k
//!
//! exponential    δ_k = min(δ, (1 + k)/(10 + k))
//! power          δ_k = (1 − 1/k)^{γ+1},      so that θ̄_K = Σ_k p_k θ_k with p ∝ k^γ            (M13)
//! width of a power average: the standard deviation of p as a part of K,
//! σ_rel = √(γ + 1)/((γ + 2) √(γ + 3))                                                          (M14)
//! ```
//!
//! The first follows the weights quickly in the beginning, so that nothing of it stays (Ho et al. 2020 use δ = 0.9999; the
//! warm-up is TensorFlow's). The second has the same shape at every length of a run, and several of them make any other
//! (Karras et al. 2024).

use std::ops::RangeInclusive;

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::parameters::Parameters;

/// How much of an average stays at a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    /// δ of an exponential average with a warm-up.
    Exponential(f64),
    /// γ of (M13).
    Power(f64),
}

/// Widths `σ_rel` that a power average can have; γ = 0, the mean of all steps, has 0.2887.
pub const WIDTHS: RangeInclusive<f64> = 1e-3..=0.28;

impl Decay {
    /// The power average of a width, (M14).
    ///
    /// # Errors
    /// A width out of [`WIDTHS`].
    pub fn of_width(width: f64) -> Result<Self> {
        let ok = WIDTHS.contains(&width);
        sde_core::error::check("width of the average", width, ok, "a number from 0.001 to 0.28")?;
        let of = |gamma: f64| (gamma + 1.0).sqrt() / ((gamma + 2.0) * (gamma + 3.0).sqrt());
        let (mut low, mut high) = (0.0, 1e4); // the width falls with γ
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            let side = if of(middle) > width { &mut low } else { &mut high };
            *side = middle;
        }
        Ok(Self::Power(0.5 * (low + high)))
    }

    /// `δ_k`.
    pub fn at(self, k: u64) -> f64 {
        let k = k as f64;
        match self {
            Self::Exponential(decay) => decay.min((1.0 + k) / (10.0 + k)),
            Self::Power(gamma) => (1.0 - 1.0 / k).powf(gamma + 1.0),
        }
    }
}

/// An average of parameters.
#[derive(Debug)]
pub struct Ema {
    /// δ.
    pub decay: Decay,
    average: Parameters,
}

impl Ema {
    /// Begins with a copy of the parameters.
    ///
    /// # Errors
    /// δ outside [0, 1), or no memory.
    pub fn new(parameters: &Parameters, decay: Decay) -> Result<Self> {
        if let Decay::Exponential(delta) = decay {
            let ok = (0.0..1.0).contains(&delta);
            sde_core::error::check("ema", delta, ok, "a number from 0 to below 1")?;
        }
        Ok(Self { decay, average: parameters.copy()? })
    }

    /// Continues a saved average.
    pub fn resume(average: Parameters, decay: Decay) -> Self {
        Self { decay, average }
    }

    /// Takes in the parameters after step `k` (from 1).
    ///
    /// # Errors
    /// Parameters of other names or shapes; the average is then as it was.
    pub fn update(&mut self, parameters: &Parameters, k: u64) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        check_alike(&self.average, parameters)?;
        let weight = 1.0 - self.decay.at(k);
        let mut weights: Option<Tensor> = None;
        for (mean, now) in self.average.tensors().iter().zip(parameters.tensors()) {
            let weight = match &weights {
                Some(weight) => weight.shallow_clone(),
                None => Tensor::from(weight).f_to_kind(Kind::Float)?.f_to_device(now.device())?,
            };
            let _ = mean.shallow_clone().f_lerp_tensor_(now, &weight)?;
            weights = Some(weight);
        }
        Ok(())
    }

    /// The average.
    pub fn average(&self) -> &Parameters {
        &self.average
    }
}

/// Refuses parameters that would be paired wrongly or broadcast.
fn check_alike(average: &Parameters, now: &Parameters) -> Result<()> {
    let refuse = |key: &str, found: String, expected: String| {
        Err(Error::Config { key: key.into(), found, expected })
    };
    let (found, expected) = (now.tensors().len(), average.tensors().len());
    if found != expected {
        return refuse("the parameters", format!("{found} tensors"), expected.to_string());
    }
    for ((name, mean), (other, now)) in average.iter().zip(now.iter()) {
        if name != other {
            return refuse("the parameters", other.into(), name.into());
        }
        if mean.size() != now.size() {
            return refuse(name, format!("{:?}", now.size()), format!("{:?}", mean.size()));
        }
    }
    Ok(())
}
