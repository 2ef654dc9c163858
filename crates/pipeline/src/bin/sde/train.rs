//! `sde train`: a network from a TOML file, from where it stopped.

use std::error::Error;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use indicatif::{ProgressBar, ProgressStyle};
use pipeline::cli::Usage;
use pipeline::models::tch::Device;
use pipeline::models::torch_ext::runtime;
use pipeline::train::{Event, Progress, TrainConfig, train};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::flags::Common;
use crate::session::Session;

/// Flags of `train`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The same command goes on where a run stopped, at whatever moment, and ends with the same weights (on a CPU with as many \
threads). Ctrl-C and SIGTERM save the state first. OUT/model is the model with the best bound on the validation data; \
OUT/metrics.jsonl the record, OUT/loss.png its picture, and `tensorboard --logdir OUT` shows it too.

Example: sde train assets/digits-unet/train.toml --set training.steps=2000 --set out=runs/short")]
pub(crate) struct TrainFlags {
    /// The configuration of the training.
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
    /// Go on from a state that was saved under another configuration.
    #[arg(long)]
    resume: bool,
    /// Replace an entry of the file.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Serialize)]
struct Body {
    out: PathBuf,
    model: PathBuf,
    began: u64,
    step: u64,
    steps: u64,
    best_step: Option<u64>,
    best_bound: Option<f64>,
}

/// Trains a network.
///
/// # Errors
/// Those of [`train`]; a device other than the CPU.
pub(crate) fn run(flags: &TrainFlags, common: &Common) -> Result<(), Box<dyn Error>> {
    for (given, flag, key) in [
        (common.seed.is_some(), "--seed", "seed=N"),
        (common.batch.is_some(), "--batch", "training.batch=N"),
        (common.dtype != "f32", "--dtype", "training.dtype=bf16"),
    ] {
        if given {
            let text = format!("found {flag}, expected --set {key}: the file says it");
            return Err(Usage(text).into());
        }
    }
    if common.device.starts_with("cuda") {
        return Err("training on CUDA is not built yet, expected --device cpu".into());
    }
    let mut session = Session::open("train", common)?;
    session.device = Device::Cpu;
    let config =
        TrainConfig { resume: flags.resume, ..TrainConfig::read(&flags.config, &flags.set)? };
    session.say(&format!(
        "training {} for {} steps on the CPU with {} threads",
        config.out.display(),
        config.training.steps,
        runtime::threads()
    ));
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // a second signal ends the program at once, as the first would have
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let watcher = Watcher::new(&session, config.training.steps);
    let outcome = train(&config, &stop, &mut |event| watcher.show(&event))?;
    watcher.finish();
    let best = outcome.best.map_or_else(String::new, |(step, bound)| {
        format!(": the bound on the validation data is {bound:.4} after step {step}")
    });
    let from =
        if outcome.began > 0 { format!(", from step {}", outcome.began) } else { String::new() };
    let text = if outcome.step < config.training.steps {
        let (step, steps) = (outcome.step, config.training.steps);
        format!("stopped after step {step} of {steps}{from}; the same command goes on from there\n")
    } else {
        format!("trained{from}; wrote {}{best}\n", outcome.model.display())
    };
    let body = Body {
        out: config.out,
        model: outcome.model,
        began: outcome.began,
        step: outcome.step,
        steps: config.training.steps,
        best_step: outcome.best.map(|best| best.0),
        best_bound: outcome.best.map(|best| best.1),
    };
    session.report(&body, &text)
}

/// What a person sees: a bar on a terminal, a line for each report elsewhere.
struct Watcher<'a> {
    session: &'a Session<'a>,
    bar: Option<ProgressBar>,
}

impl<'a> Watcher<'a> {
    fn new(session: &'a Session<'a>, steps: u64) -> Self {
        let shown = !session.common.quiet && std::io::stderr().is_terminal();
        let bar = shown.then(|| {
            let bar = ProgressBar::new(steps);
            let style = ProgressStyle::with_template("{pos}/{len} {bar:30} {eta} left  {msg}");
            style.map_or(bar.clone(), |style| bar.clone().with_style(style))
        });
        Self { session, bar }
    }

    fn show(&self, event: &Event) {
        match (event, &self.bar) {
            (Event::Step { step, .. }, Some(bar)) => bar.set_position(*step),
            (Event::Step { .. }, None) => {}
            (Event::Report(progress), Some(bar)) => {
                bar.set_message(numbers(progress));
                if progress.validation.is_some() {
                    bar.suspend(|| self.session.say(&line(progress)));
                }
            }
            (Event::Report(progress), None) => self.session.say(&line(progress)),
            (Event::Note(text), Some(bar)) => bar.suspend(|| self.session.say(text)),
            (Event::Note(text), None) => self.session.say(text),
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The numbers of a report.
fn numbers(p: &Progress) -> String {
    format!(
        "loss {:.4}  gradient {:.3}  rate {:.2e}  {:.0} images/s",
        p.loss, p.gradient, p.rate, p.speed
    )
}

/// One report on one line.
fn line(p: &Progress) -> String {
    let bound = p.validation.map_or_else(String::new, |(bound, best)| {
        format!("  validation bound {bound:.4} (best {best:.4})")
    });
    format!("step {} of {}  {}{bound}", p.step, p.steps, numbers(p))
}
