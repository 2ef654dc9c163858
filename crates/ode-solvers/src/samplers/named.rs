//! The samplers that have names.

use super::method::{Ancestral, Multistep, Sampler, SingleStep, StepVariance};
use super::scheme::{EULER, KUTTA, MIDDLE, Scheme, THIRDS, TRAPEZIUM};
use super::weights::{Predicts, Rule};

const fn multistep(name: &'static str, predicts: Predicts, order: usize, rule: Rule) -> Sampler {
    let (corrected, lower_at_end, start, eta) = (false, false, None, 0.0);
    Sampler::Multistep(Multistep {
        name,
        predicts,
        order,
        rule,
        corrected,
        lower_at_end,
        start,
        eta,
    })
}

const fn single(name: &'static str, predicts: Predicts, scheme: Scheme) -> Sampler {
    Sampler::SingleStep(SingleStep { name, predicts, scheme, churn: None, eta: 0.0 })
}

const fn pndm(name: &'static str, scheme: Scheme, steps: usize) -> Sampler {
    let (predicts, rule, start) = (Predicts::Noise, Rule::Uniform, Some((scheme, steps)));
    let (corrected, lower_at_end, eta) = (false, false, 0.0);
    Sampler::Multistep(Multistep {
        name,
        predicts,
        order: 4,
        rule,
        corrected,
        lower_at_end,
        start,
        eta,
    })
}

impl Sampler {
    /// Every named sampler. In order: DDIM (Song, Meng and Ermon 2020) and DDPM (Ho et al. 2020); DPM-Solver and
    /// DPM-Solver++ (Lu et al. 2022), 3M also with the second difference that its order needs; `UniPC` (Zhao et al. 2023)
    /// with `bh2`; DEIS (Zhang and Chen 2023) in log ρ, as diffusers has it, in ρ (`ρAB`) and in t (`tAB`); PNDM (Liu
    /// et al. 2022) in the form PLMS and with its own Runge–Kutta start, F-PNDM; exponential Adams–Bashforth; Euler's and
    /// Heun's method in σ/α (Karras et al. 2022); SDE-DPM-Solver++ 2M (Lu et al. 2022) and SEEDS-2 (Gonzalez et al. 2023) of the reverse SDE.
    pub const NAMED: [Self; 22] = [
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
        Self::dpm_2m_sde(1.0),
        Self::seeds_2(1.0),
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

    /// DDIM with noise η; a step refuses an η above `1/√(1 − e^{−2h})`, which is above 1.
    pub const fn ddim(eta: f64) -> Self {
        Self::Ancestral(Ancestral { name: "ddim", eta, variance: StepVariance::Small })
    }

    /// DDPM, which is DDIM with η = 1.
    pub const fn ddpm(variance: StepVariance) -> Self {
        Self::Ancestral(Ancestral { name: "ddpm", eta: 1.0, variance })
    }

    /// SDE-DPM-Solver++ 2M for any member η of the reverse family: 2M with the noise of (X5). η = 0 is `dpm++2m`.
    pub const fn dpm_2m_sde(eta: f64) -> Self {
        Self::Multistep(Multistep {
            name: "dpm++2m-sde",
            predicts: Predicts::Data,
            order: 2,
            rule: Rule::HalfFirst,
            corrected: false,
            lower_at_end: false,
            start: None,
            eta,
        })
    }

    /// SEEDS-2 in terms of D for any member η of the reverse family: an evaluation in the middle of the step, on the
    /// path of the noise (X6). η = 0 is `dpm++2s`.
    pub const fn seeds_2(eta: f64) -> Self {
        let (name, predicts, scheme, churn) = ("seeds-2", Predicts::Data, MIDDLE, None);
        Self::SingleStep(SingleStep { name, predicts, scheme, churn, eta })
    }

    /// `UniPC` of order 1 to 3 in the authors' count, which is that of the predictor; the corrected method has one more.
    /// `rule` is [`Rule::HalfStep`] for `bh1`, [`Rule::HalfFirst`] for `bh2`: it matters where two values meet, else
    /// both functions B(h) cancel.
    pub const fn unipc(order: usize, rule: Rule) -> Self {
        Self::Multistep(Multistep {
            name: "unipc",
            predicts: Predicts::Data,
            order,
            rule,
            corrected: true,
            lower_at_end: false,
            start: None,
            eta: 0.0,
        })
    }

    /// Exponential Adams–Bashforth of any order up to 8. With `warm` its first steps are those of the single-step method
    /// of order 3, at 3 evaluations each: without it the error of the first step, of order 2, stays in the result.
    pub const fn exp_adams(predicts: Predicts, order: usize, warm: bool) -> Self {
        let start = if warm && order > 1 { Some((THIRDS, order - 1)) } else { None };
        Self::Multistep(Multistep {
            name: "exp-adams",
            predicts,
            order,
            rule: Rule::Exact,
            corrected: false,
            lower_at_end: false,
            start,
            eta: 0.0,
        })
    }
}
