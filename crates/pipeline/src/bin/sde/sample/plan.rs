//! Which sampler with which steps, settled before the model is read.

use std::error::Error;
use std::path::Path;

use ode_solvers::Tableau;
use pipeline::cli::Usage;
use pipeline::network::Sampler;
use pipeline::output::Format;
use sde_core::Tolerance;

use super::SampleFlags;
use crate::model::Described;
use crate::solver::{self, EULER_MARUYAMA};

/// The sampler and its steps.
pub(super) struct Plan<'a> {
    pub(super) method: Option<&'static Tableau>,
    pub(super) steps: Steps<'a>,
    pub(super) eta: f64,
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
        let (name, method) = (&self.sampler, solver::method(&self.sampler));
        if let (Some(eta), true) = (self.eta, method.is_some()) {
            return Err(Usage(format!(
                "found --eta {eta}, expected none: {name} solves the ODE, {EULER_MARUYAMA} the SDE"
            )));
        }
        let grid = self.grid.as_deref().unwrap_or("uniform");
        let is_file = !["uniform", "log-snr", "karras"].contains(&grid);
        let steps = if is_file { self.steps_of_file(grid)? } else { self.named_steps(grid)? };
        Ok(Plan { method, steps, eta: self.eta.unwrap_or(1.0) })
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
        let sde = &*model.description.process;
        match self.steps {
            Steps::Adaptive(_) => Ok(Vec::new()),
            Steps::Named(name, steps) => solver::named_grid(name, sde, steps, (t_max, t_min)),
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
            (Some(method), Steps::Adaptive(tolerance)) => Sampler::Adaptive(method, *tolerance),
            (Some(method), _) => Sampler::Grid(method, grid),
            (None, _) => Sampler::ReverseSde { grid, eta: self.eta },
        }
    }
}
