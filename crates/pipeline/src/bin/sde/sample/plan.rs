//! Which sampler with which steps, settled before the model is read.

use std::error::Error;
use std::path::Path;

use ndarray::ArrayD;
use ode_solvers::Stochastic;
use ode_solvers::samplers::{self, Churn, StepVariance};
use ode_solvers::stochastic::{Langevin, LangevinStep, Predictor};
use pipeline::cli::Usage;
use pipeline::network::Sampler;
use pipeline::output::Format;
use pipeline::parts::{Fingerprint, Settings};
use sde_core::Tolerance;

use super::SampleFlags;
use crate::model::Described;
use crate::parts::fingerprint;
use crate::solver::{self, ADAPTIVE_SDE, Method};

/// Names of grids; any other is a file.
const GRIDS: [&str; 7] =
    ["uniform", "quadratic", "log-snr", "karras", "leading", "trailing", "linspace"];

/// Both tolerances of adaptive-sde unless flags say otherwise: the error of noise falls slowly with the step.
const SDE_TOLERANCE: f64 = 1e-2;

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
        for (flag, given) in [("--steps", self.steps.is_some()), ("--grid", self.grid.is_some())] {
            if given && matches!(method, Method::AdaptiveSde) {
                let text = format!("found {flag} with {ADAPTIVE_SDE}, expected --rtol and --atol");
                return Err(Usage(text));
            }
        }
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
        self.check_own_flags(name)?;
        let noise = self.eta.unwrap_or(1.0);
        Ok(match solver::sampler(name) {
            Method::Diffusion(sampler) => {
                let (sampler, eta) = self.on_levels(sampler);
                (Method::Diffusion(sampler), eta)
            }
            Method::ReverseSde(Stochastic::PredictorCorrector(predictor, corrector)) => {
                let method = self.corrector(predictor, corrector);
                (Method::ReverseSde(method), Some(noise))
            }
            method @ Method::Ode(_) => (method, None),
            method => (method, Some(noise)),
        })
    }

    /// Refuses flags of another sampler.
    fn check_own_flags(&self, name: &str) -> Result<(), Usage> {
        let sde = Stochastic::NAMED.iter().map(Stochastic::name);
        let with_eta: Vec<_> = ["ddim", "dpm++2m-sde", "seeds-2"]
            .into_iter()
            .chain(sde)
            .chain([ADAPTIVE_SDE])
            .collect();
        for (flag, given, who) in [
            ("--eta", self.eta.is_some(), &with_eta[..]),
            ("--variance", self.variance.is_some(), &["ddpm"]),
            ("--churn", self.churn.is_some(), &["edm-euler", "edm-heun"]),
            ("--predictor", self.predictor.is_some(), &["pc"]),
            ("--corrector", self.corrector.is_some(), &["pc"]),
            ("--corrector-steps", self.corrector_steps.is_some(), &["pc"]),
            ("--snr", self.snr.is_some(), &["pc"]),
        ] {
            if given && !who.contains(&name) {
                let (last, others) = who.split_last().unwrap_or((&"none", &[]));
                let and = if others.is_empty() { "" } else { " and " };
                let who = format!("{}{and}{last}", others.join(", "));
                return Err(Usage(format!(
                    "found {flag} with {name}, expected it with {who} only"
                )));
            }
        }
        Ok(())
    }

    /// A sampler on noise levels with its η, its variance or its churn.
    fn on_levels(&self, sampler: samplers::Sampler) -> (samplers::Sampler, Option<f64>) {
        let eta = self.eta.unwrap_or(if sampler.name() == "ddim" { 0.0 } else { 1.0 });
        match (sampler.name(), self.churn) {
            ("ddim", _) => (samplers::Sampler::ddim(eta), Some(eta)),
            ("dpm++2m-sde", _) => (samplers::Sampler::dpm_2m_sde(eta), Some(eta)),
            ("seeds-2", _) => (samplers::Sampler::seeds_2(eta), Some(eta)),
            ("ddpm", _) => {
                let variance = self.variance.unwrap_or(StepVariance::Small);
                (samplers::Sampler::ddpm(variance), None)
            }
            (_, Some(churn)) => (sampler.with_churn(churn).unwrap_or(sampler), None),
            _ => (sampler, None),
        }
    }

    /// Predictor and corrector, from their defaults and the flags.
    fn corrector(&self, predictor: Predictor, corrector: Langevin) -> Stochastic {
        let predictor = match self.predictor.as_deref() {
            Some("euler-maruyama") => Predictor::EulerMaruyama,
            _ => predictor,
        };
        let size = match self.corrector.as_deref() {
            Some("ald") => LangevinStep::Level,
            _ => corrector.size,
        };
        let steps = self.corrector_steps.and_then(|n| u32::try_from(n).ok());
        let (snr, steps) = (self.snr.unwrap_or(corrector.snr), steps.unwrap_or(corrector.steps));
        Stochastic::PredictorCorrector(predictor, Langevin { snr, steps, size })
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
            None if name == ADAPTIVE_SDE => {
                return Ok(Steps::Adaptive(self.tolerance.or(SDE_TOLERANCE)));
            }
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

    /// What the samples depend on, for the chunks of a long run.
    pub(super) fn settings(&self, grid: &[f64], noise: Option<&ArrayD<f64>>) -> Settings {
        let sampler = match self.method {
            Method::Ode(method) => method.name.into(),
            method => format!("{method:?} with eta {:?}", self.eta),
        };
        let steps = match self.steps {
            Steps::Adaptive(Tolerance { rtol, atol }) => format!("rtol {rtol:?}, atol {atol:?}"),
            _ => format!("{}, a grid {}", grid.len(), Fingerprint::default().and_numbers(grid)),
        };
        let noise = noise.map_or_else(|| "by seed".into(), |x| fingerprint(x).to_string());
        vec![("sampler", sampler), ("steps", steps), ("noise", noise)]
    }

    /// For the run.
    pub(super) fn sampler<'g>(&self, grid: &'g [f64]) -> Sampler<'g> {
        let eta = self.eta.unwrap_or(1.0);
        match (self.method, &self.steps) {
            (Method::Ode(method), Steps::Adaptive(tolerance)) => {
                Sampler::Adaptive(method, *tolerance)
            }
            (Method::Ode(method), _) => Sampler::Grid(method, grid),
            (Method::Diffusion(sampler), _) => Sampler::Diffusion(sampler, grid),
            (Method::ReverseSde(method), _) => Sampler::ReverseSde { method, grid, eta },
            (Method::AdaptiveSde, Steps::Adaptive(tolerance)) => {
                Sampler::AdaptiveSde { tolerance: *tolerance, eta }
            }
            (Method::AdaptiveSde, _) => {
                Sampler::AdaptiveSde { tolerance: Tolerance::both(SDE_TOLERANCE), eta }
            }
        }
    }
}

/// The variance of a ddpm step.
pub(super) fn variance(text: &str) -> Result<StepVariance, String> {
    match text {
        "small" => Ok(StepVariance::Small),
        "large" => Ok(StepVariance::Large),
        "optimal" => Err("the optimal variance needs the mean square of the score over data, of which sample reads none, \
                          expected small or large"
            .into()),
        _ => Err("expected small or large".into()),
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
