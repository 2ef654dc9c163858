//! Forward processes by name, with the constants that flags or a scheduler's file give.

use std::error::Error;

use pipeline::cli::Usage;
use pipeline::models::Forward;
use sde_core::BetaSchedule;

use crate::flags::MeaningFlags;
use crate::scheduler::Scheduler;

/// A constant: its flag, its key in `sde.toml`, and its value in the paper that the process is from.
type Constant = (&'static str, &'static str, Option<f64>);

/// The processes and their constants.
const PROCESSES: &[(&str, &[Constant])] = &[
    // Song et al. 2021, appendix C
    ("vp-linear", &[("beta-min", "beta_min", Some(0.1)), ("beta-max", "beta_max", Some(20.0))]),
    ("vp-cosine", &[("cosine-s", "s", Some(0.008))]), // Nichol and Dhariwal 2021
    ("sub-vp", &[("beta-min", "beta_min", Some(0.1)), ("beta-max", "beta_max", Some(20.0))]),
    ("ve", &[("sigma-min", "sigma_min", Some(0.01)), ("sigma-max", "sigma_max", None)]),
    ("edm", &[("sigma-max", "sigma_max", Some(80.0))]), // Karras et al. 2022
    ("rectified", &[]),
    // Ho et al. 2020; Rombach et al. 2022; Nichol and Dhariwal 2021
    ("ddpm-linear", &[STEPS, ("beta-min", FROM, Some(1e-4)), ("beta-max", TO, Some(0.02))]),
    (
        "ddpm-scaled-linear",
        &[STEPS, ("beta-min", FROM, Some(8.5e-4)), ("beta-max", TO, Some(0.012))],
    ),
    ("ddpm-sigmoid", &[STEPS, ("beta-min", FROM, Some(1e-4)), ("beta-max", TO, Some(0.02))]),
    ("ddpm-cosine", &[STEPS, ("cosine-s", "s", Some(0.008))]),
];

const STEPS: Constant = ("train-steps", "T", Some(1000.0));
const FROM: &str = "beta_start";
const TO: &str = "beta_end";

/// The names that `--process` takes.
pub(crate) fn names() -> Vec<&'static str> {
    PROCESSES.iter().map(|(name, _)| *name).collect()
}

/// The process of the flags, or of the scheduler's file, or the one that is known; `None` when nobody says.
///
/// # Errors
/// Constants that the process does not have or that are out of range.
pub(crate) fn forward(
    flags: &MeaningFlags,
    scheduler: Option<&Scheduler>,
    known: Option<&Forward>,
) -> Result<Option<Forward>, Box<dyn Error>> {
    let name = flags.process.as_deref().or(scheduler.map(|s| s.process.as_str()));
    let Some(name) = name else {
        return match flags.constants().first() {
            Some((flag, _)) => Err(Usage(format!("--{flag} needs --process beside it")).into()),
            None => Ok(known.cloned()),
        };
    };
    let constants = PROCESSES.iter().find(|(n, _)| *n == name).map_or(&[][..], |(_, c)| *c);
    let is_one = |flag: &str| constants.iter().any(|(own, ..)| *own == flag);
    if let Some((flag, _)) = flags.constants().iter().find(|(flag, _)| !is_one(flag)) {
        let own: Vec<_> = constants.iter().map(|(flag, ..)| format!("--{flag}")).collect();
        let own = if own.is_empty() { "none".into() } else { own.join(", ") };
        return Err(Usage(format!("--{flag} is no constant of {name}, expected {own}")).into());
    }
    if let Some(values) = scheduler.and_then(|s| s.betas.clone())
        && flags.process.is_none()
    {
        if let Some((flag, _)) = flags.constants().first() {
            let text =
                format!("found --{flag}, expected none: the scheduler's file lists its betas");
            return Err(Usage(text).into());
        }
        return Ok(Some(Forward::chain(BetaSchedule::Values { values })?));
    }
    let table = table(name, constants, flags, scheduler)?;
    Forward::try_from(toml::Value::Table(table)).map(Some).map_err(|e| one_sentence(name, &e))
}

/// The `process` entry of an `sde.toml`.
fn table(
    name: &str,
    constants: &[Constant],
    flags: &MeaningFlags,
    scheduler: Option<&Scheduler>,
) -> Result<toml::Table, Box<dyn Error>> {
    let mut table = toml::Table::new();
    table.insert("name".into(), name.into());
    for (flag, key, paper) in constants {
        let given = flags.constants().into_iter().find(|(f, _)| f == flag).map(|(_, x)| x);
        let read = scheduler.filter(|s| s.process == name).and_then(|s| s.constant(flag));
        let Some(value) = given.or(read).or(*paper) else {
            return Err(Usage(format!("--process {name} needs --{flag}")).into());
        };
        let value = match *key {
            "T" => toml::Value::Integer(value as i64), // a whole number of steps
            _ => toml::Value::Float(value),
        };
        table.insert((*key).into(), value);
    }
    Ok(table)
}

fn one_sentence(name: &str, error: &dyn Error) -> Box<dyn Error> {
    Usage(format!("--process {name}: {error}")).into()
}

/// Where a process's flow ends on the side of the data: the first label of a chain, `σ_min` of Karras et al. (2022), and
/// 1e-5 as Song et al. (2021) have it.
pub(crate) fn default_t_min(process: &Forward) -> f64 {
    match process {
        Forward::Chain(chain) => chain.1.start(),
        Forward::Continuous(sde_core::Process::Edm(_)) => 0.002_f64.min(0.5 * process.end()),
        Forward::Continuous(_) => 1e-5,
    }
}
