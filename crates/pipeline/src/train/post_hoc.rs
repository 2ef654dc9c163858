//! An average of any width from those that a run has saved on the way (Karras et al. 2024).
//!
//! ```text
//! p_{K,γ}(k) = (γ + 1) k^γ/K^{γ+1} on [0, K]     the profile of an average after step K, (M13)
//! ⟨p, q⟩ = (γ + 1)(δ + 1) m^{γ+δ+1}/((γ + δ + 1) K^{γ+1} L^{δ+1}),      m = min(K, L)         (M15)
//! Σ_j ⟨p_i, p_j⟩ c_j = ⟨p_i, q⟩                  the sum of profiles that is closest to q
//! ```
//!
//! Weights are averaged linearly, so the same c makes of the saved averages the one with the profile q.

use models::tch::{Device, Kind, Tensor};
use models::{Decay, Parameters};
use nalgebra::{DMatrix, DVector};

use super::error::Result;
use super::state::Run;

/// `(K, γ)` of an average.
type Profile = (f64, f64);

/// The average of this width at the end of a run, from the saved averages of the two widths `power`.
///
/// # Errors
/// A width that no power average has; a saved average that cannot be read.
pub fn average(run: &Run, power: [f64; 2], width: f64) -> Result<Parameters> {
    let gamma = |width| match Decay::of_width(width)? {
        Decay::Power(gamma) | Decay::Exponential(gamma) => Ok::<f64, models::Error>(gamma),
    };
    let gammas = [gamma(power[0])?, gamma(power[1])?];
    let snapshots = run.snapshots()?;
    let profiles: Vec<Profile> =
        snapshots.iter().flat_map(|(step, _)| gammas.map(|gamma| (*step as f64, gamma))).collect();
    let c = coefficients(&profiles, (run.step as f64, gamma(width)?));
    let of = |name: &str, like: &Tensor| -> Result<Tensor> {
        let mut sum = Tensor::f_zeros(like.size(), (Kind::Double, Device::Cpu))?;
        for ((_, weights), c) in snapshots.iter().zip(c.chunks_exact(2)) {
            for (i, &c) in c.iter().enumerate() {
                let name = Run::name_in_snapshot(i, name);
                let saved = weights.tensor(&name, Some(Kind::Double), Device::Cpu)?;
                let _ = sum.f_add_(&saved.f_mul(&Tensor::from(c))?)?;
            }
        }
        Ok(sum.f_to_kind(Kind::Float)?)
    };
    let named = run.parameters.iter().map(|(name, t)| Ok((name.to_owned(), of(name, t)?)));
    Ok(Parameters::from_map(named.collect::<Result<_>>()?, &run.architecture.layout()?))
}

/// c of the sum of `profiles` that is closest to `wanted`.
fn coefficients(profiles: &[Profile], wanted: Profile) -> Vec<f64> {
    let n = profiles.len();
    let products = DMatrix::from_fn(n, n, |i, j| product(profiles[i], profiles[j]));
    let right = DVector::from_fn(n, |i, _| product(profiles[i], wanted));
    let svd = products.svd(true, true);
    // Neighbouring profiles are nearly equal: what is below rounding is left out.
    let least = 1e-13 * svd.singular_values.max();
    svd.solve(&right, least).map_or_else(|_| vec![0.0; n], |c| c.iter().copied().collect())
}

/// (M15), times the number of steps so that it does not depend on their unit.
fn product((k, gamma): Profile, (l, delta): Profile) -> f64 {
    let m = k.min(l);
    let sum = gamma + delta + 1.0;
    (gamma + 1.0) * (delta + 1.0) / sum * (m / k).powf(gamma + 1.0) * (m / l).powf(delta) * (k / l)
        / k
        * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn density((k, gamma): Profile, x: f64) -> f64 {
        if x < k { (gamma + 1.0) / k * (x / k).powf(gamma) } else { 0.0 }
    }

    #[test]
    fn m15_products_are_integrals() {
        for (p, q) in
            [((50.0, 6.9), (80.0, 2.0)), ((80.0, 16.9), (30.0, 0.0)), ((9.0, 1.0), (9.0, 3.0))]
        {
            let n = 200_000;
            let h = 100.0 / f64::from(n);
            let sum: f64 = (0..n)
                .map(|i| (f64::from(i) + 0.5) * h)
                .map(|x| density(p, x) * density(q, x) * h)
                .sum();
            assert!(
                (product(p, q) / 1e3 - sum).abs() < 1e-4 * sum,
                "{} {sum}",
                product(p, q) / 1e3
            );
        }
    }

    /// Averages of a walk at 20 times make one of another width, as if it had been kept all along.
    #[test]
    fn an_average_of_another_width_is_made_of_saved_ones() {
        let steps = 2000_u64;
        let walk = |k: u64| (k as f64 / 150.0).sin() + (k as f64 / 900.0).powi(2);
        let decays = [0.05, 0.1, 0.075, 0.15].map(|width| Decay::of_width(width).unwrap());
        let gamma = |i: usize| match decays[i] {
            Decay::Power(gamma) | Decay::Exponential(gamma) => gamma,
        };
        let mut means = [walk(0); 4];
        let (mut profiles, mut saved) = (Vec::new(), Vec::new());
        for k in 1..=steps {
            for (mean, decay) in means.iter_mut().zip(decays) {
                *mean += (1.0 - decay.at(k)) * (walk(k) - *mean);
            }
            if k.is_multiple_of(100) {
                for (i, mean) in means[..2].iter().enumerate() {
                    profiles.push((k as f64, gamma(i)));
                    saved.push(*mean);
                }
            }
        }
        for i in [2, 3] {
            let c = coefficients(&profiles, (steps as f64, gamma(i)));
            let made: f64 = c.iter().zip(&saved).map(|(c, x)| c * x).sum();
            assert!((made - means[i]).abs() < 2e-3, "{made} {}", means[i]);
            assert!((means[i] - means[0]).abs() > 2e-2, "the control");
        }
    }
}
