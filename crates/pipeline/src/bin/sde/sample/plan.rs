//! Which sampler with which steps, settled before the model is read.

use std::error::Error;
use std::path::Path;

use ode_solvers::samplers::{self, Churn, StepVariance};
use pipeline::cli::Usage;
use pipeline::network::Sampler;
use pipeline::output::Format;
use sde_core::Tolerance;

use super::SampleFlags;
use crate::model::Described;
use crate::solver::{self, EULER_MARUYAMA, Method};

/// Names of grids; any other is a file.
const GRIDS: [&str; 7] =
    ["uniform", "quadratic", "log-snr", "karras", "leading", "trailing", "linspace"];

/// The sampler and its steps.
pub(super) struct Plan<'a> {
    pub(super) method: Method,
    pub(super) steps: Steps<'a>,
    /// For samplers that have one.
    pub(super) eta: Option<f64>,
}

/// How the steps are chosen.
pub(super) enum Steps<'a> {
    Adaptive(Tolerance),
    Named(&'a str, u32),
    File(&'a Path),
}

impl SampleFlags {
    /// Which sampler with which steps; refuses what does not go together.
    pub(super) fn plan(&self) -> Result<Plan<'_>, Usage> {
        Format::of(&self.out).map_err(|e| Usage(format!("--out {e}")))?;
        let (method, eta) = self.method()?;
        let grid = self.grid.as_deref().unwrap_or("uniform");
        let is_file = !GRIDS.contains(&grid);
        let steps = if is_file { self.steps_of_file(grid)? } else { self.named_steps(grid)? };
        if GRIDS[4..].contains(&grid) && !matches!(method, Method::Diffusion(_)) {
            let text =
                format!("found --grid {grid}, expected another: {} has no labels", self.sampler);
            return Err(Usage(text));
        }
        Ok(Plan { method, steps, eta })
    }

    /// The sampler with its own flags, and its η.
    fn method(&self) -> Result<(Method, Option<f64>), Usage> {
        let name = self.sampler.as_str();
        for (flag, given, who) in [
            ("--eta", self.eta.is_some(), &["ddim", EULER_MARUYAMA][..]),
            ("--variance", self.variance.is_some(), &["ddpm"]),
            ("--churn", self.churn.is_some(), &["edm-euler", "edm-heun"]),
        ] {
            if given && !who.contains(&name) {
                let who = who.join(" and ");
                return Err(Usage(format!(
                    "found {flag} with {name}, expected it with {who} only"
                )));
            }
        }
        let large = self.variance.as_deref() == Some("large");
        Ok(match (solver::sampler(name), self.churn) {
            (Method::ReverseSde, _) => (Method::ReverseSde, Some(self.eta.unwrap_or(1.0))),
            (Method::Diffusion(_), _) if name == "ddim" => {
                let eta = self.eta.unwrap_or(0.0);
                (Method::Diffusion(samplers::Sampler::ddim(eta)), Some(eta))
            }
            (Method::Diffusion(_), _) if large => {
                (Method::Diffusion(samplers::Sampler::ddpm(StepVariance::Large)), None)
            }
            (Method::Diffusion(sampler), Some(churn)) => {
                (Method::Diffusion(sampler.with_churn(churn).unwrap_or(sampler)), None)
            }
            (method, _) => (method, None),
        })
    }

    /// A file says how many steps there are and where they begin and end.
    fn steps_of_file<'a>(&self, grid: &'a str) -> Result<Steps<'a>, Usage> {
        let others = [
            ("--steps", self.steps.is_some()),
            ("--rtol or --atol", self.tolerance.given()),
            ("--t-min or --t-max", self.model.t_min.is_some() || self.model.t_max.is_some()),
        ];
        match others.iter().find(|(_, given)| *given) {
            Some((flag, _)) => {
                Err(Usage(format!("found {flag} beside the grid file {grid}, expected either")))
            }
            None => Ok(Steps::File(Path::new(grid))),
        }
    }

    /// Either a number of steps or tolerances.
    fn named_steps<'a>(&self, grid: &'a str) -> Result<Steps<'a>, Usage> {
        let (name, adaptive) = (self.sampler.as_str(), solver::adaptive());
        let wrong = match self.steps {
            Some(_) if self.tolerance.given() => {
                "found --steps beside --rtol or --atol, expected either".into()
            }
            Some(n) => return Ok(Steps::Named(grid, u32::try_from(n).unwrap_or(u32::MAX))),
            None if !adaptive.contains(&name) => {
                let adaptive = adaptive.join(" or ");
                format!(
                    "--steps is missing: {name} needs it, or a grid file; {adaptive} choose their own"
                )
            }
            None if self.grid.is_some() => {
                format!("found --grid {grid} without --steps, expected both")
            }
            None => return Ok(Steps::Adaptive(self.tolerance.tolerance())),
        };
        Err(Usage(wrong))
    }
}

impl Plan<'_> {
    /// The times of the steps; none for an adaptive sampler. A file's ends become those of the model's flow.
    pub(super) fn grid(&self, model: &mut Described) -> Result<Vec<f64>, Box<dyn Error>> {
        let (t_min, t_max) = model.interval();
        let process = &model.description.process;
        let sde = &**process;
        match self.steps {
            Steps::Adaptive(_) => Ok(Vec::new()),
            Steps::Named(name, steps) => {
                if let Some(times) = solver::chain_grid(name, process, steps)? {
                    model.set_interval(t_min, times[0]);
                    return Ok(times);
                }
                // The last of a diffusion sampler's steps leads from the last time to σ = 0.
                let steps = steps - u32::from(matches!(self.method, Method::Diffusion(_)));
                if steps == 0 {
                    return Ok(vec![t_max]);
                }
                solver::named_grid(name, sde, steps, (t_max, t_min))
            }
            Steps::File(path) => {
                let times = solver::grid_file(path, sde)?;
                model.set_interval(times[times.len() - 1], times[0]);
                Ok(times)
            }
        }
    }

    /// For the run.
    pub(super) fn sampler<'g>(&self, grid: &'g [f64]) -> Sampler<'g> {
        match (self.method, &self.steps) {
            (Method::Ode(method), Steps::Adaptive(tolerance)) => {
                Sampler::Adaptive(method, *tolerance)
            }
            (Method::Ode(method), _) => Sampler::Grid(method, grid),
            (Method::Diffusion(sampler), _) => Sampler::Diffusion(sampler, grid),
            (Method::ReverseSde, _) => Sampler::ReverseSde { grid, eta: self.eta.unwrap_or(1.0) },
        }
    }
}

/// `S_churn,S_min,S_max,S_noise`.
pub(super) fn churn(text: &str) -> Result<Churn, String> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|n| n.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[amount, min, max, scale])
            if amount >= 0.0 && min >= 0.0 && max >= min && scale >= 0.0 =>
        {
            Ok(Churn { amount, min, max, scale })
        }
        _ => Err("expected S_churn,S_min,S_max,S_noise, four numbers not below 0".into()),
    }
}
