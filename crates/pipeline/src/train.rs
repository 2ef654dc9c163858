//! Training: data → noise → network → residual → weighted square → gradient → `AdamW` → average.
//!
//! Every random number of step k is keyed by (seed, k): the order of the data, their dequantisation, times, noise and
//! dropout. Nothing is carried from step to step but weights, moments and average, and these are saved whole. So a run
//! that was killed at any moment and started again ends with the same weights as one that was not, bit for bit on a CPU
//! with as many threads.
//!
//! * [`config`]: the TOML file; [`examples`]: the images; [`batches`]: what step k sees;
//! * [`state`]: what is saved; [`record`]: what a person reads later; [`validation`]: the bound on held-out data that chooses the model.

#![expect(clippy::cast_possible_wrap, reason = "sizes of tensors are far below 2^63")]

pub mod batches;
pub mod config;
pub mod error;
pub mod examples;
pub mod record;
pub mod state;
pub mod validation;

use std::path::PathBuf;
use std::time::Instant;

use models::tch::{Kind, Tensor};
use models::torch_ext::runtime::seed_dropout;
use models::{NetworkScore, model};
use score_match::residual;
use sde_core::{Lanes, State};
use serde::Serialize;

pub use config::TrainConfig;
pub use error::{Result, TrainError};

use examples::Examples;
use record::Record;
use state::{Best, Run};
use validation::Validation;

/// What is reported while a run goes on.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Progress {
    /// The step that was done, from 1.
    pub step: u64,
    /// The last step.
    pub steps: u64,
    /// Mean loss since the last report, or since the run went on, (M3) in nats for each dimension.
    pub loss: f64,
    /// Mean norm of the gradient since the last report.
    pub gradient: f64,
    /// Step size.
    pub rate: f64,
    /// Bound on the validation data in bits/dim (nats/dim for data without levels) and the best so far, when it was
    /// computed at this step.
    pub validation: Option<(f64, f64)>,
    /// Images each second.
    pub speed: f64,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Where the model is.
    pub model: PathBuf,
    /// The step with the best validation bound, and that bound.
    pub best: Option<(u64, f64)>,
    /// The step at which the run began: not 0 when it was continued.
    pub began: u64,
}

/// Trains as `config` says, from where a run in its folder stopped, if one did.
///
/// # Errors
/// A configuration, data or a saved state that cannot be used; a loss that is not finite, with the step.
pub fn train(config: &TrainConfig, on_progress: &mut dyn FnMut(&Progress)) -> Result<Outcome> {
    let (examples, held_out) = Examples::load(config)?;
    let description = config.description(&examples)?;
    let mut run = Run::start(config, &description, &examples)?;
    let validation = Validation::new(config, &description, held_out)?;
    let began = run.step;
    let mut record = Record::open(&config.out, began)?;
    let mut since = Since::new();
    while run.step < config.training.steps {
        since.add(step(config, &mut run, &examples)?);
        let k = run.step;
        let last = k == config.training.steps;
        let validate = last || k.is_multiple_of(config.training.validate_every);
        let bound =
            validate.then(|| validate_and_keep(config, &mut run, &validation)).transpose()?;
        if validate || k.is_multiple_of(config.training.report_every) {
            let progress = since.report(config, k, bound);
            record.add(&progress)?;
            on_progress(&progress);
            since = Since::new();
        }
        // After the record: what it says of later steps than the state is dropped when the run goes on.
        if last || k.is_multiple_of(config.training.checkpoint_every) {
            run.save(config)?;
        }
    }
    let best = run.best.map(|best| (best.step, best.bound));
    Ok(Outcome { model: config.model_folder(), best, began })
}

/// One step; its loss and gradient norm.
fn step(config: &TrainConfig, run: &mut Run, examples: &Examples) -> Result<(f64, f64)> {
    let k = run.step + 1;
    let batch = examples.batch(config, &run.description, k)?;
    seed_dropout(batches::dropout_seed(config.seed, k));
    let loss = loss(run, &batch)?;
    let parameters: Vec<_> = run.parameters.trainable().map(|(_, t)| t).collect();
    let mut gradients = Tensor::f_run_backward(&[&loss], &parameters, false, false)?;
    let norm = clip(&mut gradients, config.training.clip)?;
    let value = loss.f_double_value(&[])?;
    if !(value.is_finite() && norm.is_finite()) {
        let (folder, samples) = (config.out.clone(), batch.rows);
        run.save(config)?; // the weights before the step that went wrong
        return Err(TrainError::NotFinite {
            step: k,
            loss: value,
            gradient: norm,
            samples,
            folder,
        });
    }
    run.optimiser.step(&parameters, &gradients, config.rate(k))?;
    run.ema.update(&run.parameters, k)?;
    run.step = k;
    Ok((value, norm))
}

/// (M3) for each dimension, on the graph of the weights.
fn loss(run: &Run, batch: &batches::Noised) -> Result<Tensor> {
    let mut score = NetworkScore::in_training(&*run.network, &run.description);
    let mut r = batch.x0.zeros_like();
    let at = Lanes { t: &batch.t, sample: &batch.samples };
    residual(&*run.description.process, &mut score, &batch.x0, &batch.noise, at, &mut r)?;
    r.check()?;
    let n = batch.t.len() as i64;
    let squares = r.tensor().f_square()?.f_reshape([n, -1])?;
    let squares = squares.f_mean_dim([1].as_slice(), false, None)?;
    let weights = Tensor::f_from_slice(&batch.weights)?.f_to_device(squares.device())?;
    Ok(squares.f_mul(&weights)?.f_mean(None::<Kind>)?)
}

/// Scales the gradients so that their common norm is at most `most`; the norm that they had.
fn clip(gradients: &mut [Tensor], most: f64) -> Result<f64> {
    let squares: Vec<Tensor> = gradients
        .iter()
        .map(|g| g.f_square()?.f_sum(Kind::Double))
        .collect::<std::result::Result<_, _>>()?;
    let norm = Tensor::f_stack(&squares, 0)?.f_sum(None::<Kind>)?.f_double_value(&[])?.sqrt();
    if norm > most {
        let factor = Tensor::from(most / norm);
        for gradient in gradients {
            let _ = gradient.f_mul_(&factor)?;
        }
    }
    Ok(norm)
}

/// The bound of the average, and the model on disk when it is the best so far.
fn validate_and_keep(
    config: &TrainConfig,
    run: &mut Run,
    validation: &Validation,
) -> Result<(f64, f64)> {
    let network = run.averaged()?;
    let bound = validation.bound(&*network, &run.description)?;
    if !bound.is_finite() {
        return Err(TrainError::Bound { step: run.step, bound });
    }
    if run.best.is_none_or(|best| bound < best.bound) {
        run.best = Some(Best { step: run.step, bound });
        let folder = config.model_folder();
        model::save(&folder, &run.architecture, Some(&run.description), run.ema.average())?;
    }
    Ok((bound, run.best.map_or(bound, |best| best.bound)))
}

/// Sums since the last report.
struct Since {
    loss: f64,
    gradient: f64,
    steps: u32,
    clock: Instant,
}

impl Since {
    fn new() -> Self {
        Self { loss: 0.0, gradient: 0.0, steps: 0, clock: Instant::now() }
    }

    fn add(&mut self, (loss, gradient): (f64, f64)) {
        self.loss += loss;
        self.gradient += gradient;
        self.steps += 1;
    }

    fn report(&self, config: &TrainConfig, step: u64, validation: Option<(f64, f64)>) -> Progress {
        let n = f64::from(self.steps.max(1));
        Progress {
            step,
            steps: config.training.steps,
            loss: self.loss / n,
            gradient: self.gradient / n,
            rate: config.rate(step),
            validation,
            speed: n * config.training.batch as f64 / self.clock.elapsed().as_secs_f64(),
        }
    }
}
