//! Samplers as data.

use super::scheme::Scheme;
use super::weights::{Predicts, Rule, check_order};
use crate::error::Result;
use sde_core::error::check;

/// A sampler: one constant of this type, or one that you write yourself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampler {
    /// One evaluation for each step, with the values of earlier steps.
    Multistep(Multistep),
    /// Several evaluations for each step, without memory.
    SingleStep(SingleStep),
    /// One evaluation for each step, and noise.
    Ancestral(Ancestral),
}

/// An exponential multistep method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Multistep {
    /// Name as users write it.
    pub name: &'static str,
    /// What the polynomial goes through.
    pub predicts: Predicts,
    /// The number of values of a step; the first steps have fewer.
    pub order: usize,
    /// The weights of the values.
    pub rule: Rule,
    /// Corrects each step, except the last, with the value at its end (UniC): one order more, no evaluation more.
    pub corrected: bool,
    /// Lets the last steps have as many values as steps are left: steadier where there are few.
    pub lower_at_end: bool,
    /// Another scheme for the first steps, and how many; else they use what values there are.
    pub start: Option<(Scheme, usize)>,
    /// Noise of the reverse SDE in units of g, (X5); 0 is the ODE.
    pub eta: f64,
}

/// A single-step method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SingleStep {
    /// Name as users write it.
    pub name: &'static str,
    /// What the polynomial goes through.
    pub predicts: Predicts,
    /// How a step is made.
    pub scheme: Scheme,
    /// Noise that is added before each step.
    pub churn: Option<Churn>,
    /// Noise of the reverse SDE in units of g, (X5); 0 is the ODE.
    pub eta: f64,
}

/// Back to more noise before a step (Karras et al. 2022, algorithm 2), for any process in terms of `ρ = σ/α`:
/// `ρ̂ = (1 + min(amount/steps, √2 − 1)) ρ` where `min ≤ ρ ≤ max`, with new noise of deviation `√(ρ̂² − ρ²)` times `scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Churn {
    /// `S_churn`, for the whole of sampling.
    pub amount: f64,
    /// `S_min`.
    pub min: f64,
    /// `S_max`, which may be infinite.
    pub max: f64,
    /// `S_noise`.
    pub scale: f64,
}

/// DDIM and DDPM; see (X4).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ancestral {
    /// Name as users write it.
    pub name: &'static str,
    /// Noise in units of the posterior's: 0 is deterministic, 1 is DDPM.
    pub eta: f64,
    /// The variance of the noise.
    pub variance: StepVariance,
}

/// The variance of the noise of an ancestral step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepVariance {
    /// That of the posterior, β̃.
    Small,
    /// That of the forward step, β, whatever mean η chooses.
    Large,
}

impl Sampler {
    /// The name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Multistep(m) => m.name,
            Self::SingleStep(m) => m.name,
            Self::Ancestral(m) => m.name,
        }
    }

    /// A single-step sampler with churn; `None` for any other.
    pub fn with_churn(self, churn: Churn) -> Option<Self> {
        let Self::SingleStep(m) = self else { return None };
        Some(Self::SingleStep(SingleStep { churn: Some(churn), ..m }))
    }

    /// The expected order of the error in the step, for a start as good.
    pub fn order(&self) -> usize {
        match self {
            Self::Multistep(m) => match m.rule {
                Rule::HalvedSecond | Rule::Uniform => m.order.min(2),
                _ => m.order + usize::from(m.corrected),
            },
            Self::SingleStep(m) => (m.scheme.stages.len() + 1).min(3),
            Self::Ancestral(_) => 1,
        }
    }

    /// Whether it draws noise.
    pub fn is_random(&self) -> bool {
        match self {
            Self::Multistep(m) => m.eta > 0.0,
            Self::SingleStep(m) => m.eta > 0.0 || m.churn.is_some_and(|churn| churn.amount > 0.0),
            Self::Ancestral(m) => m.eta > 0.0 || m.variance == StepVariance::Large,
        }
    }

    /// `Ok` when the numbers fit together.
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self::Multistep(m) => {
                check_order(m.order + usize::from(m.corrected))?;
                check("eta", m.eta, m.eta >= 0.0, "a number not below 0")?;
                let alone = m.eta == 0.0 || !m.corrected;
                check("eta", m.eta, alone, "0 for a method with a corrector")?;
                m.start.map_or(Ok(()), |(scheme, _)| scheme.check(m.eta))
            }
            Self::SingleStep(m) => {
                let Churn { amount, min, max, scale } = m.churn.unwrap_or(Churn::NONE);
                check("S_churn", amount, amount >= 0.0, "a number not below 0")?;
                check("S_min", min, min >= 0.0, "a number not below 0")?;
                check("S_max", max.min(f64::MAX), max >= min, "a number not below S_min")?;
                check("S_noise", scale, scale >= 0.0, "a number not below 0")?;
                check("eta", m.eta, m.eta >= 0.0, "a number not below 0")?;
                check("eta", m.eta, m.eta == 0.0 || amount == 0.0, "0 for a method with churn")?;
                m.scheme.check(m.eta)
            }
            Self::Ancestral(m) => {
                Ok(check("eta", m.eta, m.eta >= 0.0, "a number not below 0").map(drop)?)
            }
        }
    }
}

impl Churn {
    const NONE: Self = Self { amount: 0.0, min: 0.0, max: f64::INFINITY, scale: 1.0 };
}
