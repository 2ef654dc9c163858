//! The noise levels that a sampler goes along, and what it needs to know of each.

use crate::error::{Error, Result};
use sde_core::Sde;

/// One noise level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Time.
    pub t: f64,
    /// Amplitude of the data.
    pub alpha: f64,
    /// Standard deviation of the noise.
    pub sigma: f64,
    /// `ℓ = ln(α/σ)`, half the log-SNR: −∞ where there are no data, +∞ where there is no noise.
    pub log_ratio: f64,
}

impl Level {
    /// The data themselves: α = 1 and σ = 0.
    pub const DATA: Self = Self { t: 0.0, alpha: 1.0, sigma: 0.0, log_ratio: f64::INFINITY };

    /// The level at t.
    pub fn of(sde: &dyn Sde, t: f64) -> Self {
        let k = sde.coefficients(t);
        let log_ratio = match (k.alpha > 0.0, k.sigma > 0.0) {
            (false, _) => f64::NEG_INFINITY,
            (_, false) => f64::INFINITY,
            _ => 0.5 * sde.log_snr(t),
        };
        Self { t, alpha: k.alpha, sigma: k.sigma, log_ratio }
    }

    /// The level at `ℓ = log_ratio`.
    pub(super) fn at(sde: &dyn Sde, log_ratio: f64) -> Self {
        Self { log_ratio, ..Self::of(sde, sde.time_of_log_snr(2.0 * log_ratio)) }
    }

    /// Whether ℓ is finite.
    pub(super) fn is_mixed(self) -> bool {
        self.log_ratio.is_finite()
    }
}

/// Noise levels of a process, from high noise to low or from low to high.
///
/// ```
/// use ode_solvers::samplers::Grid;
/// use sde_core::VpLinear;
/// let sde = VpLinear::default();
/// let grid = Grid::new(&sde, &[1.0, 0.5, 0.1, 1e-3])?.to_data();
/// assert_eq!(grid.steps(), 4);
/// assert!(Grid::new(&sde, &[0.1, 0.5]).is_err());
/// # Ok::<(), ode_solvers::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Grid<'a> {
    sde: &'a dyn Sde,
    levels: Vec<Level>,
    upward: bool,
}

impl<'a> Grid<'a> {
    /// The levels at `times`. A time where α = 0 may stand first, one where σ = 0 last.
    ///
    /// # Errors
    /// [`Error::Grid`] unless there is a time, all are finite, and log-SNRs rise from each to the next. One time is no step,
    /// or one with [`to_data`](Self::to_data).
    pub fn new(sde: &'a dyn Sde, times: &[f64]) -> Result<Self> {
        Self::checked(sde, times, false)
    }

    /// The levels at `times` from data to noise: samplers without noise go up it and encode, which for DDIM is its
    /// inversion. The first time has noise, at the last there may be no data.
    ///
    /// ```
    /// use ndarray::array;
    /// use ode_solvers::samplers::{Grid, Sampler, sample};
    /// use sde_core::{GaussianMixture, Noise, Purpose, VpLinear, grid};
    /// let sde = VpLinear::default();
    /// let data = GaussianMixture::isotropic(&[0.5, 0.5], array![[-1.0], [1.0]], &[0.1, 0.1])?;
    /// let mut times = grid::log_snr(&sde, 40, 1.0, 1e-3)?;
    /// let (sampler, noise) = (Sampler::NAMED[6], Noise::new(0, Purpose::Increment)); // dpm++2m
    /// let down = Grid::new(&sde, &times)?;
    /// times.reverse();
    /// let up = Grid::upward(&sde, &times)?;
    /// let x = array![[0.8], [-1.3]];
    /// let latent = sample(&sampler, x.clone(), &up, &mut data.score(&sde), &noise)?.y;
    /// let back = sample(&sampler, latent, &down, &mut data.score(&sde), &noise)?.y;
    /// assert!((back - x).iter().all(|e| e.abs() < 0.02));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Grid`] unless there is a time, all are finite, the first has σ > 0, and log-SNRs fall from each to the next.
    pub fn upward(sde: &'a dyn Sde, times: &[f64]) -> Result<Self> {
        if let Some(t) = times.first().filter(|t| t.is_finite() && sde.sigma(**t) == 0.0) {
            return Err(Error::Grid { found: format!("t = {t}, without noise, first") });
        }
        Self::checked(sde, times, true)
    }

    fn checked(sde: &'a dyn Sde, times: &[f64], upward: bool) -> Result<Self> {
        let wrong = |found: String| Err(Error::Grid { found });
        if times.is_empty() {
            return wrong("none".into());
        }
        if let Some(t) = times.iter().find(|t| !t.is_finite()) {
            return wrong(format!("the time {t}"));
        }
        let levels: Vec<Level> = times.iter().map(|&t| Level::of(sde, t)).collect();
        let follows = |w: &&[Level]| {
            let (low, high) = if upward { (w[1], w[0]) } else { (w[0], w[1]) };
            low.log_ratio < high.log_ratio
        };
        if let Some(w) = levels.windows(2).find(|w| !follows(w)) {
            let [from, to] = [w[0], w[1]].map(|level| (level.t, 2.0 * level.log_ratio));
            return wrong(format!(
                "t = {} of log-SNR {} followed by t = {} of log-SNR {}",
                from.0, from.1, to.0, to.1
            ));
        }
        Ok(Self { sde, levels, upward })
    }

    /// Whether it goes from data to noise.
    pub fn is_upward(&self) -> bool {
        self.upward
    }

    /// The same grid with a last step to [`Level::DATA`], unless it is upward or ends without noise already. Chains need it:
    /// their first time is not 0.
    pub fn to_data(mut self) -> Self {
        if !self.upward && self.levels.last().is_some_and(|level| level.sigma > 0.0) {
            self.levels.push(Level::DATA);
        }
        self
    }

    /// The number of steps.
    pub fn steps(&self) -> usize {
        self.levels.len() - 1
    }

    /// The levels, one more than steps.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The process.
    pub fn sde(&self) -> &'a dyn Sde {
        self.sde
    }
}
