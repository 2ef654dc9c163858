//! One step of the optimiser: the gradient of a batch, part by part, cut to a norm, and what it moves.

use models::tch::{Kind, Tensor};
use models::torch_ext::runtime::Bf16;

use super::batches::Drawn;
use super::config::{Dtype, Optimiser, TrainConfig};
use super::error::{Result, TrainError};
use super::objective::loss;
use super::state::{Run, trained};

/// The loss of a step and the norm of its gradient before it was cut.
#[derive(Clone, Copy, Debug)]
pub struct Stepped {
    /// Mean of the loss.
    pub loss: f64,
    /// Norm.
    pub gradient: f64,
}

/// Does the next step of a run.
///
/// # Errors
/// A loss or gradient that is not finite; the weights and moments are then those before the step.
pub fn step(config: &TrainConfig, run: &mut Run, batch: &Drawn) -> Result<Stepped> {
    let k = run.step + 1;
    let (value, mut gradients) = gradients(config, run, batch)?;
    let norm = clip(&mut gradients, config.training.clip)?;
    if !(value.is_finite() && norm.is_finite()) {
        return Err(TrainError::NotFinite {
            step: k,
            loss: value,
            gradient: norm,
            samples: batch.rows.clone(),
            folder: config.out.clone(),
        });
    }
    let parameters = trained(&run.parameters, run.learned.as_ref());
    if config.training.optimiser == Optimiser::Adam {
        add_decay(&parameters, &mut gradients, config.training.weight_decay)?;
    }
    run.optimiser.step(&parameters, &gradients, config.rate(k))?;
    for average in &mut run.averages {
        average.update(&run.parameters, k)?;
    }
    run.step = k;
    Ok(Stepped { loss: value, gradient: norm })
}

/// The loss and its gradient in every trained tensor, summed over the parts of the batch.
fn gradients(config: &TrainConfig, run: &Run, batch: &Drawn) -> Result<(f64, Vec<Tensor>)> {
    let parameters = trained(&run.parameters, run.learned.as_ref());
    let n = config.training.accumulate;
    let how = (&run.description.shape[..], config.training.gradient_checkpointing);
    forget(&parameters)?;
    let mut value = 0.0;
    for i in 0..n {
        let bf16 = (config.training.dtype == Dtype::Bf16).then(Bf16::begin).transpose()?;
        let loss = loss(&*run.network, batch, batch.part(i, n), how, run.learned.as_ref())?;
        drop(bf16); // backward goes the way of forward
        loss.minimised.f_backward()?; // adds to the gradients
        value += loss.value.f_double_value(&[])?;
    }
    let gradient = |t: &&Tensor| match t.grad() {
        gradient if gradient.defined() => Ok(gradient),
        _ => Ok(t.f_detach()?.f_zeros_like()?), // of what the loss does not depend on
    };
    Ok((value, parameters.iter().map(gradient).collect::<Result<_>>()?))
}

/// Sets the gradients of the step before to 0.
fn forget(parameters: &[&Tensor]) -> Result<()> {
    for mut gradient in parameters.iter().map(|t| t.grad()).filter(Tensor::defined) {
        let _ = gradient.f_zero_()?;
    }
    Ok(())
}

/// Scales the gradients so that their common norm is at most `most`; the norm that they had.
fn clip(gradients: &mut [Tensor], most: f64) -> Result<f64> {
    let norms: Vec<Tensor> =
        gradients.iter().map(Tensor::f_norm).collect::<std::result::Result<_, _>>()?;
    let norms = Tensor::f_stack(&norms, 0)?.f_to_kind(Kind::Double)?;
    let norm = norms.f_square()?.f_sum(None::<Kind>)?.f_double_value(&[])?.sqrt();
    if norm > most {
        let factor = Tensor::from(most / norm);
        for gradient in gradients {
            let _ = gradient.f_mul_(&factor)?;
        }
    }
    Ok(norm)
}

/// The gradient of `w |θ|²/2`.
fn add_decay(parameters: &[&Tensor], gradients: &mut [Tensor], decay: f64) -> Result<()> {
    if decay == 0.0 {
        return Ok(());
    }
    let _no_grad = models::tch::no_grad_guard();
    let factor = Tensor::from(decay);
    for (gradient, parameter) in gradients.iter_mut().zip(parameters) {
        let _ = gradient.f_add_(&parameter.f_mul(&factor)?)?;
    }
    Ok(())
}
