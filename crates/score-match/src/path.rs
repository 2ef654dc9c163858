//! How far the law of the reverse SDE is from that of the data, by the error of its score (Girsanov's theorem).
//!
//! ```text
//! KL(p_{t_0} ‖ p_{t_0}^{θ,η}) ≤ KL(p_T ‖ π) + κ(η) ½ ∫ g² E|s − s_θ|² dt,      κ(η) of (M10)           (M11)
//! ```
//!
//! Of two path measures the divergence is that of their starts and the mean squared difference of their drifts,
//! `(1+η²)/2 · g² (s − s_θ)`, in units of the noise `η g`; forgetting the path but for its end can only lower it. For η = 1
//! this is the bound of Song et al. (2021b). For η → 0 it is infinite, and not because the proof is weak: an ODE has no
//! bound in terms of the error of the score alone (Lu et al. 2022).

use crate::bound::path_factor;
use crate::ideal::in_pieces;
use sde_core::error::check;
use sde_core::{Result, Sde};

/// (M11) in nats over `span = (t_0, T)`: `start = KL(p_T ‖ π)` and `error(t) = E|s − s_θ|²` at t. Infinite for η = 0.
///
/// The integral is taken in λ, where `g² dt = −σ² dλ`.
///
/// # Errors
/// For η below 0, a span at whose ends λ is not finite, and an error of the score that is not.
pub fn kl_bound(
    sde: &dyn Sde,
    eta: f64,
    span: (f64, f64),
    start: f64,
    mut error: impl FnMut(f64) -> f64,
) -> Result<f64> {
    check("eta", eta, eta >= 0.0, "a number not below 0")?;
    let (low, high) = (sde.log_snr(span.1), sde.log_snr(span.0));
    check("log-SNR at t_0", high, true, "a finite number")?;
    check("log-SNR at T", low, low < high, "a finite number below that at t_0")?;
    if eta == 0.0 {
        return Ok(f64::INFINITY);
    }
    let integral = in_pieces((low, high), |log_snr| {
        let t = sde.time_of_log_snr(log_snr);
        sde.sigma(t).powi(2) * error(t)
    });
    check("error of the score", integral, true, "a finite number")?;
    Ok(0.5 * path_factor(eta) * integral + start)
}
