//! What happens inside a single step.

use super::weights::{Rule, check_order};
use crate::error::Result;
use sde_core::error::check;

/// The evaluations inside a step and how they are used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scheme {
    /// The weights of the end of the step. Stages use [`Rule::Exact`].
    pub rule: Rule,
    /// The evaluations after the first. Value 0 is at the start of the step, value j at the jth stage.
    pub stages: &'static [Stage],
    /// The values that the end of the step uses.
    pub uses: &'static [usize],
    /// Whether stages are placed by time, and not by ℓ.
    pub in_time: bool,
}

/// A stage of a [`Scheme`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// It stands at `ℓ + at · h`, or at `t + at · (t_to − t)`; 0 < at ≤ 1.
    pub at: f64,
    /// The values that it uses, all before it.
    pub uses: &'static [usize],
}

const fn by_log_ratio(rule: Rule, stages: &'static [Stage], uses: &'static [usize]) -> Scheme {
    Scheme { rule, stages, uses, in_time: false }
}

pub(super) const EULER: Scheme = by_log_ratio(Rule::Exact, &[], &[0]);
pub(super) const MIDDLE: Scheme =
    by_log_ratio(Rule::HalfFirst, &[Stage { at: 0.5, uses: &[0] }], &[0, 1]);
pub(super) const TRAPEZIUM: Scheme =
    by_log_ratio(Rule::HalfFirst, &[Stage { at: 1.0, uses: &[0] }], &[0, 1]);
pub(super) const THIRDS: Scheme = by_log_ratio(
    Rule::Exact,
    &[Stage { at: 1.0 / 3.0, uses: &[0] }, Stage { at: 2.0 / 3.0, uses: &[0, 1] }],
    &[0, 2],
);
/// The pseudo Runge–Kutta step of PNDM: Kutta's weights, and DDIM's step for the line.
pub(super) const KUTTA: Scheme = Scheme {
    rule: Rule::Kutta,
    stages: &[
        Stage { at: 0.5, uses: &[0] },
        Stage { at: 0.5, uses: &[1] },
        Stage { at: 1.0, uses: &[2] },
    ],
    uses: &[0, 1, 2, 3],
    in_time: true,
};

impl Scheme {
    /// Noise follows the stages, so with η > 0 they must go down the levels in their order.
    pub(super) fn check(&self, eta: f64) -> Result<()> {
        check_order(self.stages.len() + 1)?;
        if let Some(w) = self.stages.windows(2).find(|w| eta > 0.0 && w[1].at < w[0].at) {
            check("place of a stage", w[1].at, false, "not before the last one where η > 0")?;
        }
        let ends = std::iter::once((1.0, self.uses));
        let stages = self.stages.iter().map(|stage| (stage.at, stage.uses));
        for (before, (at, uses)) in (1..).zip(stages.chain(ends)) {
            check("place of a stage", at, at > 0.0 && at <= 1.0, "above 0 and at most 1")?;
            check_order(uses.len())?;
            let most = uses.iter().max().map_or(0, |&j| j);
            check("value of a stage", most as f64, most < before, "an earlier one")?;
        }
        Ok(())
    }
}
