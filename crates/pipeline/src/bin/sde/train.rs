//! `sde train`: a network from a TOML file, from where it stopped.

use std::error::Error;
use std::path::PathBuf;

use pipeline::cli::Usage;
use pipeline::models::tch::Device;
use pipeline::models::torch_ext::runtime;
use pipeline::train::{Progress, TrainConfig, train};
use serde::Serialize;

use crate::flags::Common;
use crate::session::Session;

/// Flags of `train`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The same command goes on where a run stopped, at whatever moment, and ends with the same weights (on a CPU with as many \
threads). OUT/model is the model with the best bound on the validation data; OUT/metrics.jsonl the record.

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
        (common.seed.is_some(), "--seed", "seed"),
        (common.batch.is_some(), "--batch", "training.batch"),
    ] {
        if given {
            return Err(
                Usage(format!("found {flag}, expected --set {key}=N: the file says it")).into()
            );
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
    let outcome = train(&config, &mut |progress| session.say(&line(progress)))?;
    let best = outcome.best.map_or_else(String::new, |(step, bound)| {
        format!(": the bound on the validation data is {bound:.4} after step {step}")
    });
    let from =
        if outcome.began > 0 { format!(", from step {}", outcome.began) } else { String::new() };
    let text = format!("trained{from}; wrote {}{best}\n", outcome.model.display());
    let body = Body {
        out: config.out,
        model: outcome.model,
        began: outcome.began,
        steps: config.training.steps,
        best_step: outcome.best.map(|best| best.0),
        best_bound: outcome.best.map(|best| best.1),
    };
    session.report(&body, &text)
}

/// One report on one line.
fn line(p: &Progress) -> String {
    let bound = p.validation.map_or_else(String::new, |(bound, best)| {
        format!("  validation bound {bound:.4} (best {best:.4})")
    });
    format!(
        "step {} of {}  loss {:.4}  gradient {:.3}  rate {:.2e}  {:.0} images/s{bound}",
        p.step, p.steps, p.loss, p.gradient, p.rate, p.speed
    )
}
