//! The probability-flow ODE by flags: a method, and tolerances or a number of steps.

use clap::Args;
use clap::builder::PossibleValuesParser;
use pipeline::cli::{Usage, whole};
use pipeline::network::Ode;

use crate::flags::ToleranceFlags;
use crate::solver;

/// Flags of a solve of the flow.
#[derive(Debug, Args)]
pub(crate) struct OdeFlags {
    /// The method of the probability-flow ODE.
    #[arg(long, default_value = "rk45", value_parser = PossibleValuesParser::new(solver::methods()))]
    pub(crate) solver: String,
    #[command(flatten)]
    pub(crate) tolerance: ToleranceFlags,
}

impl OdeFlags {
    /// The solve; with a number of steps, those of a uniform grid.
    ///
    /// # Errors
    /// Steps beside tolerances, or a method without an error estimate and without steps.
    pub(crate) fn ode(&self, steps: Option<u64>) -> Result<Ode, Usage> {
        let name = self.solver.as_str();
        let method = solver::method(name).ok_or_else(|| Usage(format!("no solver {name}")))?;
        match steps {
            Some(_) if self.tolerance.given() => {
                Err(Usage("found --steps beside --rtol or --atol, expected either".into()))
            }
            Some(n) => Ok(Ode::Fixed(method, u32::try_from(n).unwrap_or(u32::MAX))),
            None if method.e.is_empty() => {
                let adaptive = solver::adaptive().join(" or ");
                let text = format!("found --solver {name}, expected one that chooses its steps");
                Err(Usage(format!("{text}: {adaptive}")))
            }
            None => Ok(Ode::Adaptive(method, self.tolerance.tolerance())),
        }
    }
}

/// `--steps` of commands where it is the number of steps on a uniform grid.
#[derive(Debug, Args)]
pub(crate) struct StepFlags {
    /// Equal steps in time, instead of steps by --rtol and --atol.
    #[arg(long, value_name = "N", value_parser = whole(1, 1_000_000), allow_negative_numbers = true)]
    pub(crate) steps: Option<u64>,
}
