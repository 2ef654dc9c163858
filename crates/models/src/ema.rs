//! The exponential moving average of weights, which is what one samples from.
//!
//! ```text
//! θ̄ ← θ̄ + (1 − δ_k)(θ − θ̄),        δ_k = min(δ, (1 + k)/(10 + k))
//! ```
//!
//! after step k: early averages follow the weights quickly, so that nothing of the beginning stays (Ho et al. 2020 use
//! δ = 0.9999; the warm-up is TensorFlow's).

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::parameters::Parameters;

/// An average of parameters.
#[derive(Debug)]
pub struct Ema {
    /// δ.
    pub decay: f64,
    average: Parameters,
}

impl Ema {
    /// Begins with a copy of the parameters.
    ///
    /// # Errors
    /// δ outside [0, 1), or no memory.
    pub fn new(parameters: &Parameters, decay: f64) -> Result<Self> {
        sde_core::error::check(
            "ema",
            decay,
            (0.0..1.0).contains(&decay),
            "a number from 0 to below 1",
        )?;
        Ok(Self { decay, average: parameters.copy()? })
    }

    /// Continues a saved average.
    pub fn resume(average: Parameters, decay: f64) -> Self {
        Self { decay, average }
    }

    /// Takes in the parameters after step `k` (from 1).
    ///
    /// # Errors
    /// Parameters of other names or shapes; the average is then as it was.
    pub fn update(&mut self, parameters: &Parameters, k: u64) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        check_alike(&self.average, parameters)?;
        let warm = (1.0 + k as f64) / (10.0 + k as f64);
        let weight = 1.0 - self.decay.min(warm);
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
