//! Quadratic forms of the Jacobians of s and D: what a trace estimator sees.
//!
//! ```text
//! uᵀ (∂s/∂x) u = Σ r_k (−uᵀ V_k⁻¹ u + (u·(s_k − s))²)
//! uᵀ (∂D/∂x) u = Σ r_k (α uᵀ C_k V_k⁻¹ u + u·(D_k − D) u·(s_k − s))                          (G11)
//! ```
//!
//! Only products of vectors occur, so a form costs as much as the score and no matrix is made.

use super::component::{Components, Noised};
use super::isotropic::Isotropic;

/// `u·s_k`, `u·D_k`, `uᵀ V_k⁻¹ u` and `uᵀ C_k V_k⁻¹ u` of one component.
struct Along {
    score: f64,
    denoised: f64,
    v_inv: f64,
    c_v_inv: f64,
}

/// (G11) from its components and their shares.
fn sum(
    n: Noised,
    u: &[f64],
    (score, denoised): (&[f64], &[f64]),
    parts: impl Iterator<Item = (f64, Along)>,
) -> (f64, f64) {
    let (along_score, along_denoised) = (dot(u, score), dot(u, denoised));
    let (mut of_score, mut of_denoised) = (0.0, 0.0);
    for (r, part) in parts {
        let (s, d) = (part.score - along_score, part.denoised - along_denoised);
        of_score += r * (s * s - part.v_inv);
        of_denoised += r * (n.alpha * part.c_v_inv + d * s);
    }
    (of_score, of_denoised)
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

impl Isotropic<'_> {
    /// (G11) for s and D, which are given.
    pub(super) fn forms(
        self,
        x: &[f64],
        n: Noised,
        r: &[f64],
        u: &[f64],
        at: (&[f64], &[f64]),
    ) -> (f64, f64) {
        let (along_x, square) = (dot(u, x), dot(u, u));
        let parts = self.components(x.len()).zip(r).filter(|(_, r)| **r != 0.0);
        let along = |((mean, c), r): ((&[f64], f64), &f64)| {
            let (along_mean, inv) = (dot(u, mean), 1.0 / n.of(c));
            let part = Along {
                score: (n.alpha * along_mean - along_x) * inv,
                denoised: (n.sigma2 * along_mean + n.alpha * c * along_x) * inv,
                v_inv: square * inv,
                c_v_inv: square * c * inv,
            };
            (*r, part)
        };
        sum(n, u, at, parts.map(along))
    }
}

impl Components<'_> {
    /// (G11) for s and D, which are given.
    pub(super) fn forms(
        self,
        x: &[f64],
        n: Noised,
        r: &[f64],
        u: &[f64],
        at: (&[f64], &[f64]),
    ) -> (f64, f64) {
        let parts = r.iter().enumerate().filter(|(_, r)| **r != 0.0);
        sum(n, u, at, parts.map(|(k, r)| (*r, self.along(k, x, n, u))))
    }

    /// In the eigenbasis of component k, one coordinate after the other.
    fn along(self, k: usize, x: &[f64], n: Noised, u: &[f64]) -> Along {
        let (mean, values, vectors) = self.at(k);
        let mut part = Along { score: 0.0, denoised: dot(u, mean), v_inv: 0.0, c_v_inv: 0.0 };
        for (j, l) in values.iter().enumerate() {
            let (y, w) = match vectors {
                None => (x[j] - n.alpha * mean[j], u[j]),
                Some(vectors) => {
                    let q = &vectors[j * self.d..(j + 1) * self.d];
                    (dot(q, x) - n.alpha * dot(q, mean), dot(q, u))
                }
            };
            let share = w / n.of(*l);
            part.score -= y * share;
            part.denoised += n.alpha * l * y * share;
            part.v_inv += w * share;
            part.c_v_inv += l * w * share;
        }
        part
    }
}
