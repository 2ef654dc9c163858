//! Samplers by name, and the grids of times that they follow.

use std::error::Error;
use std::path::Path;

use ode_solvers::samplers::{self, Spacing, quadratic_grid};
use ode_solvers::{
    DOP853, DOPRI5, EULER, HEUN, LaneStatus, MIDPOINT, RALSTON, RK4, RK23, RK45, Stochastic, TSIT5,
    Tableau, VERN7, uniform_grid,
};
use pipeline::cli::Usage;
use pipeline::models::Forward;
use sde_core::{Sde, grid};

/// The sampler of the reverse SDE that chooses its own steps.
pub(crate) const ADAPTIVE_SDE: &str = "adaptive-sde";

/// The methods of the probability-flow ODE.
const METHODS: [&Tableau; 11] =
    [&EULER, &HEUN, &MIDPOINT, &RALSTON, &RK4, &RK23, &RK45, &DOPRI5, &TSIT5, &VERN7, &DOP853];

/// What a name of `--sampler` stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Method {
    /// A method of the probability-flow ODE.
    Ode(&'static Tableau),
    /// A method of the reverse SDE.
    ReverseSde(Stochastic),
    /// The one that chooses its own steps.
    AdaptiveSde,
    /// A sampler of diffusion models on a grid.
    Diffusion(samplers::Sampler),
}

/// Every sampler that there is.
pub(crate) fn samplers() -> Vec<&'static str> {
    let diffusion = samplers::Sampler::NAMED.iter().map(samplers::Sampler::name);
    let stochastic = Stochastic::NAMED.iter().map(Stochastic::name);
    let names = METHODS.iter().map(|m| m.name).chain(diffusion).chain(stochastic);
    names.chain([ADAPTIVE_SDE]).collect()
}

/// The sampler of a name that [`samplers()`] lists.
pub(crate) fn sampler(name: &str) -> Method {
    let diffusion = || samplers::Sampler::named(name).map(Method::Diffusion);
    let stochastic = || Stochastic::named(name).map(Method::ReverseSde);
    let known = method(name).map(Method::Ode).or_else(diffusion).or_else(stochastic);
    known.unwrap_or(Method::AdaptiveSde)
}

/// The labels of a chain that n steps visit, as times; `None` for a name that is no spacing of labels.
///
/// # Errors
/// A process that is no chain, or more steps than it has.
pub(crate) fn chain_grid(
    name: &str,
    process: &Forward,
    steps: u32,
) -> Result<Option<Vec<f64>>, Box<dyn Error>> {
    let spacing = match name {
        "leading" => Spacing::Leading,
        "trailing" => Spacing::Trailing,
        "linspace" => Spacing::Linspace,
        _ => return Ok(None),
    };
    let Forward::Chain(chain) = process else {
        let text = format!("found --grid {name}, expected another: the process is no ddpm-* chain");
        return Err(Usage(text).into());
    };
    let total = (1.0 / chain.1.start()).round();
    #[expect(clippy::cast_sign_loss, reason = "a number of steps")]
    let labels = spacing.labels(total as u32, steps)?; // a whole number by construction
    Ok(Some(labels.iter().map(|&k| chain.1.time_of_label(k.into())).collect()))
}

/// The methods of the ODE that choose their own steps.
pub(crate) fn adaptive() -> Vec<&'static str> {
    METHODS.iter().filter(|m| !m.e.is_empty()).map(|m| m.name).collect()
}

/// The method of the ODE with this name.
pub(crate) fn method(name: &str) -> Option<&'static Tableau> {
    METHODS.into_iter().find(|m| m.name == name)
}

/// The exponent ρ of Karras et al. (2022).
const RHO: f64 = 7.0;

/// `steps + 1` times from `from` to `to` on a grid of this name.
///
/// # Errors
/// An interval that the grid has no finite place for.
pub(crate) fn named_grid(
    name: &str,
    sde: &dyn Sde,
    steps: u32,
    (from, to): (f64, f64),
) -> Result<Vec<f64>, Box<dyn Error>> {
    match name {
        "log-snr" => Ok(grid::log_snr(sde, steps, from, to)?),
        "karras" => {
            let ratio = |t: f64| (-0.5 * sde.log_snr(t)).exp();
            let mut levels = grid::karras(steps + 1, ratio(to), ratio(from), RHO)?;
            levels.pop(); // the level 0 after the last
            let mut times: Vec<f64> =
                levels.iter().map(|sigma| sde.time_of_log_snr(-2.0 * sigma.ln())).collect();
            times[0] = from;
            times[steps as usize] = to;
            Ok(times)
        }
        "quadratic" => Ok(quadratic_grid(from, to, steps)?),
        _ => Ok(uniform_grid(from, to, steps)),
    }
}

/// The times in a text file, one a line, decreasing.
///
/// # Errors
/// A file that cannot be read, or one that holds something else.
pub(crate) fn grid_file(path: &Path, sde: &dyn Sde) -> Result<Vec<f64>, Box<dyn Error>> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| format!("{name}: {e}"))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let mut times: Vec<f64> = Vec::new();
    for (i, line) in lines {
        let (line, number) = (line.trim(), i + 1);
        let end = times.last().copied().unwrap_or(sde.end());
        match line.parse::<f64>() {
            Ok(t) if t >= 0.0 && (t < end || times.is_empty() && t <= end) => times.push(t),
            _ => {
                let expected = format!("a time from 0 to below {end}");
                return Err(format!(
                    "{name}: found {line:?} in line {number}, expected {expected}"
                )
                .into());
            }
        }
    }
    if times.len() < 2 {
        return Err(format!("{name}: found {} times, expected 2 or more", times.len()).into());
    }
    Ok(times)
}

/// How the solve of a sample ended, in a word.
pub(crate) fn status(status: LaneStatus) -> &'static str {
    match status {
        LaneStatus::Running => "running",
        LaneStatus::Done => "done",
        LaneStatus::Event { .. } => "event",
        LaneStatus::MaxSteps { .. } => "max_steps",
        LaneStatus::NonFinite { .. } => "non_finite",
        LaneStatus::StepSizeTooSmall { .. } => "step_size_too_small",
        _ => "stopped",
    }
}

/// One sentence about the samples that did not reach the end of their path, if any.
pub(crate) fn unfinished(statuses: &[LaneStatus]) -> Result<(), String> {
    let stopped = statuses.iter().enumerate().filter(|(_, s)| **s != LaneStatus::Done);
    match stopped.clone().next() {
        None => Ok(()),
        Some((first, why)) => Err(format!(
            "{} of {} samples did not reach the end of their path, sample {first} for one: {}",
            stopped.count(),
            statuses.len(),
            status(*why)
        )),
    }
}
