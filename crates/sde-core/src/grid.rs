//! Grids of noise levels and times for solvers with given steps. Both ends are exact.

use crate::error::{Result, check};
use crate::sde::Sde;

/// Karras et al. 2022, eq. 5: n levels from `sigma_max` to `sigma_min`, followed by 0,
/// `σ_i = (σ_max^{1/ρ} + i/(n−1) (σ_min^{1/ρ} − σ_max^{1/ρ}))^ρ`. One level is `sigma_max`.
///
/// # Errors
/// [`Error::Parameter`](crate::Error::Parameter) unless `n ≥ 1`, `0 < sigma_min ≤ sigma_max < ∞` and `rho > 0`.
pub fn karras(n: u32, sigma_min: f64, sigma_max: f64, rho: f64) -> Result<Vec<f64>> {
    check("n", f64::from(n), n >= 1, "at least 1")?;
    check("sigma_min", sigma_min, sigma_min > 0.0, "a positive number")?;
    check("sigma_max", sigma_max, sigma_max >= sigma_min, "a number not below sigma_min")?;
    check("rho", rho, rho > 0.0, "a positive number")?;
    let (from, to) = (sigma_max.powf(1.0 / rho), sigma_min.powf(1.0 / rho));
    let level = |i: u32| match i {
        0 => sigma_max,
        i if i == n - 1 => sigma_min,
        i => (from + f64::from(i) / f64::from(n - 1) * (to - from)).powf(rho),
    };
    Ok((0..n).map(level).chain([0.0]).collect())
}

/// `steps + 1` times from `from` to `to` at equal distances of log-SNR, λ(t).
///
/// # Errors
/// [`Error::Parameter`](crate::Error::Parameter) unless `steps ≥ 1` and λ is finite at both ends.
pub fn log_snr(sde: &dyn Sde, steps: u32, from: f64, to: f64) -> Result<Vec<f64>> {
    check("steps", f64::from(steps), steps >= 1, "at least 1")?;
    let (start, end) = (sde.log_snr(from), sde.log_snr(to));
    check("log-SNR at the start", start, true, "a finite number")?;
    check("log-SNR at the end", end, true, "a finite number")?;
    let time = |i: u32| match i {
        0 => from,
        i if i == steps => to,
        i => sde.time_of_log_snr(start + f64::from(i) / f64::from(steps) * (end - start)),
    };
    Ok((0..=steps).map(time).collect())
}
