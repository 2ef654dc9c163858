//! The methods for the reverse SDE by name.

use super::corrector::{Langevin, LangevinStep, Predictor, predictor_corrector, reverse_diffusion};
use super::{Normals, euler_maruyama, stochastic_heun};
use crate::error::Result;
use crate::problem::Samples;
use crate::solution::Solution;
use sde_core::reverse::noise_scale;
use sde_core::{Lanes, Reverse, Score, State};

/// A method for the reverse family on a grid of times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stochastic {
    /// (O3).
    EulerMaruyama,
    /// (O12).
    ReverseDiffusion,
    /// (O9).
    Heun,
    /// A predictor and (O13).
    PredictorCorrector(Predictor, Langevin),
}

impl Stochastic {
    /// Every method. The ratio 0.16 of the corrector is that of Song et al. (2021) for CIFAR-10.
    pub const NAMED: [Self; 4] = [
        Self::EulerMaruyama,
        Self::ReverseDiffusion,
        Self::Heun,
        Self::PredictorCorrector(
            Predictor::ReverseDiffusion,
            Langevin { snr: 0.16, steps: 1, size: LangevinStep::Norms },
        ),
    ];

    /// The name, as users write it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::EulerMaruyama => "euler-maruyama",
            Self::ReverseDiffusion => "reverse-diffusion",
            Self::Heun => "stochastic-heun",
            Self::PredictorCorrector(..) => "pc",
        }
    }

    /// The method of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|method| method.name() == name)
    }
}

/// Takes a batch down `grid` by a method.
///
/// ```
/// use ndarray::array;
/// use ode_solvers::stochastic::{Stochastic, sample_reverse};
/// use ode_solvers::uniform_grid;
/// use sde_core::{GaussianMixture, Noise, Purpose, Reverse, VpLinear};
/// let sde = VpLinear::default();
/// let data = GaussianMixture::isotropic(&[0.5, 0.5], array![[-1.0], [1.0]], &[0.01, 0.01])?;
/// let mut reverse = Reverse::new(&sde, data.score(&sde), 1.0)?;
/// let method = Stochastic::named("stochastic-heun").ok_or("no such method")?;
/// let (grid, noise) = (uniform_grid(1.0, 1e-3, 200), Noise::new(7, Purpose::Increment));
/// let solution = sample_reverse(method, array![[0.3], [-2.0]], &grid, &mut reverse, &noise)?;
/// assert!(solution.y.iter().all(|x| (x.abs() - 1.0).abs() < 0.5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of the method's function.
pub fn sample_reverse<X: State, M: Score<X>>(
    method: Stochastic,
    start: impl Into<Samples<X>>,
    grid: &[f64],
    reverse: &mut Reverse<'_, X, M>,
    noise: impl Normals<X>,
) -> Result<Solution<X>> {
    let (sde, eta) = (reverse.sde(), reverse.eta());
    let scale = |t: f64| noise_scale(sde, eta.at(t), t);
    let drift = |x: &X, at: Lanes<'_>, out: &mut X| reverse.drift(x, at, out);
    match method {
        Stochastic::EulerMaruyama => euler_maruyama(start, grid, drift, scale, noise),
        Stochastic::Heun => stochastic_heun(start, grid, drift, scale, noise),
        Stochastic::ReverseDiffusion => reverse_diffusion(start, grid, reverse, noise),
        Stochastic::PredictorCorrector(predictor, corrector) => {
            predictor_corrector(start, grid, reverse, (predictor, corrector), noise)
        }
    }
}
