//! Training: data → noise → network → squared error → gradient → `AdamW` → averages.
//!
//! Every random number of step k is keyed by (seed, k): the order of the data, their dequantisation, sides, classes, times,
//! noise and dropout. Nothing is carried from step to step but weights, moments and averages, and these are saved whole. So
//! a run that was killed at any moment and started again ends with the same weights as one that was not, bit for bit on a
//! CPU with as many threads.
//!
//! * [`config`]: the TOML file; [`rate`]: the step size;
//! * [`examples`]: the data, [`augment`]: what may be done to it; [`batches`]: what step k sees; [`prefetch`]: batches made ahead by other threads;
//! * [`objective`]: the loss; [`step`]: its gradient and what it moves;
//! * [`state`]: what is saved; [`checkpoint`]: how;
//! * [`validation`]: the bound on held-out data that chooses the model; [`post_hoc`]: averages of other widths;
//! * [`record`], [`tensorboard`], [`watch`]: what a person looks at.

#![expect(clippy::cast_possible_wrap, reason = "sizes of tensors are far below 2^63")]

pub mod augment;
pub mod batches;
pub mod checkpoint;
pub mod config;
pub mod error;
pub mod examples;
pub mod objective;
pub mod post_hoc;
pub mod prefetch;
pub mod rate;
pub mod record;
pub mod state;
pub mod step;
pub mod tensorboard;
pub mod validation;
pub mod watch;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use models::{Parameters, model};

pub use config::TrainConfig;
pub use error::{Result, TrainError};
pub use record::Progress;

use batches::{Batches, Drawn};
use examples::Examples;
use record::Record;
use state::{Best, Run};
use step::Stepped;
use validation::Validation;

/// What a run tells while it goes on.
#[derive(Clone, Debug)]
pub enum Event {
    /// A step was done.
    Step {
        /// Which, from 1.
        step: u64,
        /// Its loss.
        loss: f64,
    },
    /// A report, which also stands in the record.
    Report(Progress),
    /// Something that a person should know.
    Note(String),
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
    /// The last step that was done: not the last of the configuration when the run was stopped.
    pub step: u64,
}

/// Trains as `config` says, from where a run in its folder stopped, if one did. Where `stop` becomes true, the state is
/// saved and the run ends.
///
/// # Errors
/// A configuration, data or a saved state that cannot be used; a folder that cannot be written; a loss that is not finite,
/// with the step.
pub fn train(
    config: &TrainConfig,
    stop: &AtomicBool,
    on_event: &mut dyn FnMut(Event),
) -> Result<Outcome> {
    prepare(&config.out)?;
    let mut note = |text| on_event(Event::Note(text));
    let (examples, held_out) = Examples::load(config, &mut note)?;
    let description = config.description(&examples)?;
    let run = Run::start(config, &description, &mut note)?;
    let validation = Validation::new(config, &description, held_out)?;
    let mut trainer = Trainer {
        began: run.step,
        record: Record::open(&config.out, run.step)?,
        since: Since::new(),
        config,
        run,
        validation,
        on_event,
    };
    Batches::new(config, &description, &examples)?; // what is wrong with the law of times is said here
    let worker = || {
        let mut batches = Batches::new(config, &description, &examples);
        move |k| {
            batches.as_mut().map_or_else(|_| Err(TrainError::Thread { step: k }), |b| b.draw(k))
        }
    };
    let steps = trainer.run.step + 1..config.training.steps + 1;
    prefetch::ahead(config.keep.threads, steps, worker, |next| trainer.go(stop, next))?;
    let Trainer { run, began, .. } = trainer;
    let best = run.best.map(|best| (best.step, best.bound));
    Ok(Outcome { model: config.model_folder(), best, began, step: run.step })
}

/// Makes the folder of a run and tries to write in it, before anything is computed.
fn prepare(folder: &Path) -> Result<()> {
    let wrong = |source| TrainError::File { path: folder.into(), source };
    std::fs::create_dir_all(folder).map_err(wrong)?;
    tempfile::tempfile_in(folder).map(drop).map_err(wrong)
}

/// A run and those who watch it.
struct Trainer<'a> {
    config: &'a TrainConfig,
    run: Run,
    validation: Validation,
    record: Record,
    since: Since,
    began: u64,
    on_event: &'a mut dyn FnMut(Event),
}

impl Trainer<'_> {
    /// Steps until the last one, or until `stop`.
    fn go(
        &mut self,
        stop: &AtomicBool,
        next: &mut dyn FnMut() -> Option<Result<Drawn>>,
    ) -> Result<()> {
        while self.run.step < self.config.training.steps {
            let step = self.run.step + 1;
            let batch = next().ok_or(TrainError::Thread { step })??;
            let stepped = match step::step(self.config, &mut self.run, &batch) {
                Ok(stepped) => stepped,
                Err(error) => {
                    self.run.save(self.config)?; // the weights before the step that went wrong
                    return Err(error);
                }
            };
            self.since.add(stepped);
            (self.on_event)(Event::Step { step, loss: stepped.loss });
            let stopped = stop.load(Ordering::Relaxed);
            self.after_step(stopped)?;
            if stopped {
                break;
            }
        }
        Ok(())
    }

    /// What is due after a step: a look at the validation data, a report, pictures, a saved state.
    fn after_step(&mut self, stopped: bool) -> Result<()> {
        let (k, training, keep) = (self.run.step, &self.config.training, &self.config.keep);
        let last = k == training.steps;
        let validate = last || k.is_multiple_of(training.validate_every);
        let bound = validate.then(|| self.validate_and_keep()).transpose()?;
        if validate || k.is_multiple_of(training.report_every) {
            let progress = self.since.report(self.config, k, bound);
            self.record.add(&progress)?;
            (self.on_event)(Event::Report(progress));
            self.since = Since::new();
        }
        if validate {
            self.record.draw(&self.config.out.join("loss.png"))?;
        }
        if keep.sample_every.is_some_and(|every| last || k.is_multiple_of(every)) {
            self.show_samples(k)?;
            self.since.clock = Instant::now();
        }
        // After the record: what it says of later steps than the state is dropped when the run goes on.
        if last || stopped || k.is_multiple_of(training.checkpoint_every) {
            self.run.save_averages(self.config)?;
            if last {
                self.choose_width()?;
            }
            self.run.save(self.config)?;
        }
        Ok(())
    }

    /// The bound of the average, and the model on disk when it is the best so far.
    fn validate_and_keep(&mut self) -> Result<(f64, f64)> {
        let network = self.run.averaged()?;
        let average = self.run.averages.first().map_or(&self.run.parameters, |a| a.average());
        let bound = self.validation.bound(&*network, &self.run.description)?;
        if !bound.is_finite() {
            return Err(TrainError::Bound { step: self.run.step, bound });
        }
        if self.run.best.is_none_or(|best| bound < best.bound) {
            self.keep(average)?;
            self.run.best = Some(Best { step: self.run.step, bound });
        }
        Ok((bound, self.run.best.map_or(bound, |best| best.bound)))
    }

    fn keep(&self, parameters: &Parameters) -> Result<()> {
        let folder = self.config.model_folder();
        Ok(model::save(&folder, &self.run.architecture, Some(&self.run.description), parameters)?)
    }

    fn show_samples(&self, k: u64) -> Result<()> {
        let folder = self.config.out.join("samples");
        std::fs::create_dir_all(&folder)
            .map_err(|source| TrainError::File { path: folder.clone(), source })?;
        let path = folder.join(format!("step-{k:010}.png"));
        let network = self.run.averaged()?;
        watch::write_samples(self.config, (&*network, &self.run.description), &path)
    }

    /// Where the configuration asks for it: the choice among averages of other widths, made of those on disk.
    fn choose_width(&mut self) -> Result<()> {
        let config::Averages::Power { power, post_hoc } = &self.config.training.ema else {
            return Ok(());
        };
        for &width in post_hoc {
            let parameters = post_hoc::average(&self.run, *power, width)?;
            let network = self.run.with(&parameters)?;
            let bound = self.validation.bound(&*network, &self.run.description)?;
            let text = format!("the average of width {width} has the bound {bound:.4}");
            (self.on_event)(Event::Note(text));
            if self.run.best.is_none_or(|best| bound < best.bound) {
                self.keep(&parameters)?;
                self.run.best = Some(Best { step: self.run.step, bound });
            }
        }
        Ok(())
    }
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

    fn add(&mut self, stepped: Stepped) {
        self.loss += stepped.loss;
        self.gradient += stepped.gradient;
        self.steps += 1;
    }

    fn report(&self, config: &TrainConfig, step: u64, validation: Option<(f64, f64)>) -> Progress {
        let n = f64::from(self.steps.max(1));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Progress {
            step,
            steps: config.training.steps,
            loss: self.loss / n,
            gradient: self.gradient / n,
            rate: config.rate(step),
            validation,
            speed: n * config.training.batch as f64 / self.clock.elapsed().as_secs_f64(),
            time: now.map_or(0.0, |time| time.as_secs_f64()),
        }
    }
}
