//! How much signal a forward process leaves at its end: the terminal signal-to-noise ratio `α_T²/σ_T²`.
//!
//! Sampling starts from noise alone, so whatever signal is left at T is a mismatch between training and sampling
//! (Lin et al. 2023, arXiv 2305.08891). The ratio is kept as a logarithm; it is 0 for processes that reach α = 0.

use crate::sde::Sde;
use serde::Serialize;

/// A terminal signal-to-noise ratio, and whether it asks for a warning.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TerminalSnr {
    /// `α_T²/σ_T²`.
    pub snr: f64,
    /// Its natural logarithm; −∞ where no signal is left.
    pub log_snr: f64,
    /// Whether the ratio is above [`TerminalSnr::WARNING`], or is none because neither signal nor noise is left.
    pub warn: bool,
}

impl TerminalSnr {
    /// The ratio that asks for a warning: below the 4.7e-3 of the scaled-linear schedule, whose samples Lin et al. found
    /// unable to be very dark or bright, and above the 4.0e-5 of DDPM's linear one.
    pub const WARNING: f64 = 1e-3;

    /// The report on a process that ends with `ln(α_T²/σ_T²) = log_snr`.
    pub fn new(log_snr: f64) -> Self {
        let snr = log_snr.exp();
        Self { snr, log_snr, warn: snr.is_nan() || snr > Self::WARNING }
    }

    /// The report on a process at its end; data of unit variance.
    pub fn of_sde(sde: &dyn Sde) -> Self {
        Self::new(sde.log_snr(sde.end()))
    }
}
