//! Paths between two latents.
//!
//! ```text
//! z(τ) = |z|_τ [sin((1−τ)ω) u + sin(τω) v] / sin ω,     u = a/|a|,  v = b/|b|,                     (H1)
//! |z|_τ = (1−τ)|a| + τ|b|,     ω = 2 atan2(|u − v|, |u + v|)
//! ```
//!
//! Latents of a normal prior lie near a sphere. The chord between two of them leads through norms that the prior hardly
//! ever has; the arc (H1) keeps the norm of ends that share one (Shoemake 1985).

use crate::error::Result;
use sde_core::State;
use sde_core::error::check;
use sde_core::state::check_alike;
use std::f64::consts::PI;

/// How two latents are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// The arc (H1).
    Arc,
    /// The chord, `(1−τ) a + τ b`.
    Chord,
}

/// The angle from which on opposite latents have no arc that rounding would not choose.
const OPPOSITE: f64 = PI - 1e-6;

impl Path {
    /// Writes the point at τ between each row of `a` and of `b`; at τ = 0 and 1 those rows themselves.
    ///
    /// ```
    /// use ndarray::array;
    /// use ode_solvers::Path;
    /// let (a, b) = (array![[2.0, 0.0]], array![[0.0, 2.0]]);
    /// let mut z = array![[0.0, 0.0]];
    /// Path::Arc.between(&a, &b, 0.5, &mut z)?;
    /// assert!((z[[0, 0]] - 2_f64.sqrt()).abs() < 1e-15);
    /// # Ok::<(), ode_solvers::Error>(())
    /// ```
    ///
    /// # Errors
    /// For a τ outside [0, 1] and batches of other sizes; for an arc also latents that are 0 or opposite to each other.
    pub fn between<X: State>(self, a: &X, b: &X, tau: f64, out: &mut X) -> Result<()> {
        check("tau", tau, (0.0..=1.0).contains(&tau), "a number from 0 to 1")?;
        check_alike("the second latents", b, a)?;
        check_alike("the point between latents", out, a)?;
        match self {
            _ if tau == 0.0 => out.assign(a),
            _ if tau >= 1.0 => out.assign(b),
            Self::Arc => arc(a, b, tau, out)?,
            Self::Chord => {
                let n = a.samples();
                out.combine(&[(&vec![1.0 - tau; n], a), (&vec![tau; n], b)]);
            }
        }
        Ok(())
    }
}

/// (H1). `out` holds `u − v` and `u + v` on the way.
fn arc<X: State>(a: &X, b: &X, tau: f64, out: &mut X) -> Result<()> {
    let norms = |x: &X| {
        let mut squares = vec![0.0; x.samples()];
        x.add_squared_norm(&mut squares);
        squares.into_iter().map(f64::sqrt).collect::<Vec<_>>()
    };
    let (size_a, size_b) = (norms(a), norms(b));
    for &size in size_a.iter().chain(&size_b) {
        check("norm of a latent", size, size > 0.0, "a positive number")?;
    }
    let over = |sizes: &[f64], sign: f64| sizes.iter().map(|s| sign / s).collect::<Vec<_>>();
    let to_u = over(&size_a, 1.0);
    out.combine(&[(&to_u, a), (&over(&size_b, -1.0), b)]);
    let apart = norms(out);
    out.combine(&[(&to_u, a), (&over(&size_b, 1.0), b)]);
    let together = norms(out);
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    for i in 0..size_a.len() {
        let omega = 2.0 * apart[i].atan2(together[i]);
        check("angle between latents", omega, omega < OPPOSITE, "below π: opposites have no arc")?;
        let part = |tau: f64| if omega == 0.0 { tau } else { (tau * omega).sin() / omega.sin() };
        let size = (1.0 - tau) * size_a[i] + tau * size_b[i];
        of_a.push(size * part(1.0 - tau) / size_a[i]);
        of_b.push(size * part(tau) / size_b[i]);
    }
    out.combine(&[(&of_a, a), (&of_b, b)]);
    Ok(())
}
