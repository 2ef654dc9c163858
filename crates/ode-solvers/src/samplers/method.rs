//! Samplers as data, and those that have names.

use super::scheme::{EULER, KUTTA, MIDDLE, Scheme, THIRDS, TRAPEZIUM};
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

const fn multistep(name: &'static str, predicts: Predicts, order: usize, rule: Rule) -> Sampler {
    let (corrected, lower_at_end, start) = (false, false, None);
    Sampler::Multistep(Multistep { name, predicts, order, rule, corrected, lower_at_end, start })
}

const fn single(name: &'static str, predicts: Predicts, scheme: Scheme) -> Sampler {
    Sampler::SingleStep(SingleStep { name, predicts, scheme, churn: None })
}

const fn pndm(name: &'static str, scheme: Scheme, steps: usize) -> Sampler {
    let (predicts, rule, start) = (Predicts::Noise, Rule::Uniform, Some((scheme, steps)));
    let (corrected, lower_at_end) = (false, false);
    Sampler::Multistep(Multistep { name, predicts, order: 4, rule, corrected, lower_at_end, start })
}

impl Sampler {
    /// Every named sampler. In order: DDIM (Song, Meng and Ermon 2020) and DDPM (Ho et al. 2020); DPM-Solver and
    /// DPM-Solver++ (Lu et al. 2022), 3M also with the second difference that its order needs; `UniPC` (Zhao et al. 2023)
    /// with `bh2`; DEIS (Zhang and Chen 2023) in log ρ, as diffusers has it, in ρ (`ρAB`) and in t (`tAB`); PNDM (Liu
    /// et al. 2022) in the form PLMS and with its own Runge–Kutta start, F-PNDM; exponential Adams–Bashforth; Euler's and
    /// Heun's method in σ/α (Karras et al. 2022).
    pub const NAMED: [Self; 20] = [
        Self::ddim(0.0),
        Self::ddpm(StepVariance::Small),
        single("dpm-solver-1", Predicts::Noise, EULER),
        single("dpm-solver-2", Predicts::Noise, MIDDLE),
        single("dpm-solver-3", Predicts::Noise, THIRDS),
        single("dpm++2s", Predicts::Data, MIDDLE),
        multistep("dpm++2m", Predicts::Data, 2, Rule::HalfFirst),
        multistep("dpm++3m", Predicts::Data, 3, Rule::Exact),
        multistep("dpm++3m-published", Predicts::Data, 3, Rule::HalvedSecond),
        Self::unipc(2, Rule::HalfFirst),
        multistep("deis", Predicts::Noise, 3, Rule::Exact),
        multistep("deis-rho", Predicts::Noise, 3, Rule::InRho),
        multistep("deis-t", Predicts::Noise, 3, Rule::InTime),
        pndm("pndm", TRAPEZIUM, 1),
        pndm("f-pndm", KUTTA, 3),
        multistep("exp-adams-2", Predicts::Data, 2, Rule::Exact),
        multistep("exp-adams-3", Predicts::Data, 3, Rule::Exact),
        multistep("exp-adams-4", Predicts::Data, 4, Rule::Exact),
        single("edm-euler", Predicts::Noise, EULER),
        single("edm-heun", Predicts::Noise, TRAPEZIUM),
    ];

    /// The sampler of a name.
    ///
    /// ```
    /// use ode_solvers::samplers::Sampler;
    /// assert_eq!(Sampler::named("dpm++2m").map(|s| s.name()), Some("dpm++2m"));
    /// assert!(Sampler::named("magic").is_none());
    /// ```
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|sampler| sampler.name() == name)
    }

    /// The name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Multistep(m) => m.name,
            Self::SingleStep(m) => m.name,
            Self::Ancestral(m) => m.name,
        }
    }

    /// DDIM with noise η; a step refuses an η above `1/√(1 − e^{−2h})`, which is above 1.
    pub const fn ddim(eta: f64) -> Self {
        Self::Ancestral(Ancestral { name: "ddim", eta, variance: StepVariance::Small })
    }

    /// DDPM, which is DDIM with η = 1.
    pub const fn ddpm(variance: StepVariance) -> Self {
        Self::Ancestral(Ancestral { name: "ddpm", eta: 1.0, variance })
    }

    /// A single-step sampler with churn; `None` for any other.
    pub fn with_churn(self, churn: Churn) -> Option<Self> {
        let Self::SingleStep(m) = self else { return None };
        Some(Self::SingleStep(SingleStep { churn: Some(churn), ..m }))
    }

    /// `UniPC` of order 1 to 3 in the authors' count, which is that of the predictor; the corrected method has one more.
    /// `rule` is [`Rule::HalfStep`] for `bh1`, [`Rule::HalfFirst`] for `bh2`: it matters where two values meet, else
    /// both functions B(h) cancel.
    pub const fn unipc(order: usize, rule: Rule) -> Self {
        let (predicts, corrected, lower_at_end, start) = (Predicts::Data, true, false, None);
        let name = "unipc";
        Self::Multistep(Multistep { name, predicts, order, rule, corrected, lower_at_end, start })
    }

    /// Exponential Adams–Bashforth of any order up to 8. With `warm` its first steps are those of the single-step method
    /// of order 3, at 3 evaluations each: without it the error of the first step, of order 2, stays in the result.
    pub const fn exp_adams(predicts: Predicts, order: usize, warm: bool) -> Self {
        let (name, rule, corrected, lower_at_end) = ("exp-adams", Rule::Exact, false, false);
        let start = if warm && order > 1 { Some((THIRDS, order - 1)) } else { None };
        Self::Multistep(Multistep { name, predicts, order, rule, corrected, lower_at_end, start })
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
            Self::Multistep(_) => false,
            Self::SingleStep(m) => m.churn.is_some_and(|churn| churn.amount > 0.0),
            Self::Ancestral(m) => m.eta > 0.0 || m.variance == StepVariance::Large,
        }
    }

    /// `Ok` when the numbers fit together.
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self::Multistep(m) => {
                check_order(m.order + usize::from(m.corrected))?;
                m.start.map_or(Ok(()), |(scheme, _)| scheme.check())
            }
            Self::SingleStep(m) => {
                let Churn { amount, min, max, scale } = m.churn.unwrap_or(Churn::NONE);
                check("S_churn", amount, amount >= 0.0, "a number not below 0")?;
                check("S_min", min, min >= 0.0, "a number not below 0")?;
                check("S_max", max.min(f64::MAX), max >= min, "a number not below S_min")?;
                check("S_noise", scale, scale >= 0.0, "a number not below 0")?;
                m.scheme.check()
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
