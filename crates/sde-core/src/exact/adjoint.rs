//! Gradients of a motion and of its divergence along a mixture: what the gradient of a likelihood needs. They allocate.
//!
//! Of `v = a D + b s` component k has `v_k = a D_k + b s_k` with the Jacobian `M_k = (a α C_k − b) V_k⁻¹`, which is symmetric and
//! constant. With `∇r_k = r_k S_k` and the centred `S_k = s_k − s`, `N_k = v_k − v`,
//!
//! ```text
//! ∂⟨w, v⟩/∂x = Σ r_k (S_k ⟨N_k, w⟩ + M_k w)
//! ∂ div v/∂x = Σ r_k (S_k [tr M_k + ⟨N_k, S_k⟩] + M_k S_k − V_k⁻¹ N_k)                         (G14)
//! ∂(uᵀ ∂v/∂x u)/∂x = Σ r_k (S_k q_k + M_k u ⟨u, S_k⟩ − V_k⁻¹ u ⟨u, N_k⟩),   q_k = uᵀ M_k u + ⟨u, N_k⟩⟨u, S_k⟩
//! ```
//!
//! because `Σ r_k S_k = Σ r_k N_k = 0`: what the means s and v contribute cancels.

use super::MixtureScore;
use crate::error::{Result, check_size};
use ndarray::{Array1, Array2, ArrayView1};

/// `v_k` and `s_k` less their means, and the spectra of `M_k` and `V_k⁻¹` with their eigenvectors in rows.
struct Component {
    share: f64,
    motion: Array1<f64>,
    score: Array1<f64>,
    m: Array1<f64>,
    v_inv: Array1<f64>,
    vectors: Array2<f64>,
}

impl Component {
    /// `Q diag(values) Qᵀ x`.
    fn times(&self, values: &Array1<f64>, x: &Array1<f64>) -> Array1<f64> {
        self.vectors.t().dot(&(values * &self.vectors.dot(x)))
    }

    /// `q_k` of (G14) for a probe, and the vector beside `S_k q_k`.
    fn form(&self, u: &Array1<f64>) -> (f64, Array1<f64>) {
        let (along_motion, along_score) = (u.dot(&self.motion), u.dot(&self.score));
        let product = self.times(&self.m, u);
        let form = u.dot(&product) + along_motion * along_score;
        (form, product * along_score - self.times(&self.v_inv, u) * along_motion)
    }

    /// The same for the whole trace.
    fn trace(&self) -> (f64, Array1<f64>) {
        let form = self.m.sum() + self.motion.dot(&self.score);
        (form, self.times(&self.m, &self.score) - self.times(&self.v_inv, &self.motion))
    }
}

impl MixtureScore<'_> {
    /// (G14) at one point: writes `∂(⟨w, v⟩ + c div v)/∂x` for `v = a D + b s`, and returns `div v`, or its mean over probes.
    pub(super) fn adjoint(
        &mut self,
        (x, t): (&[f64], f64),
        motion: (f64, f64),
        (w, c): (&[f64], f64),
        probes: Option<&[&[f64]]>,
        out: &mut [f64],
    ) -> Result<f64> {
        check_size("numbers in a cotangent", w.len(), x.len())?;
        let parts = self.centred(x, t, motion)?;
        let w = &ArrayView1::from(w).to_owned();
        let probes = probes.map(|all| all.iter().map(|u| ArrayView1::from(*u).to_owned()));
        let probes: Option<Vec<_>> = probes.map(Iterator::collect);
        let (mut divergence, mut sum) = (0.0, Array1::<f64>::zeros(x.len()));
        for part in &parts {
            let of_w = &part.score * part.motion.dot(w) + part.times(&part.m, w);
            let (form, beside) = match &probes {
                None => part.trace(),
                Some(probes) => {
                    let zero = (0.0, Array1::zeros(x.len()));
                    let all = probes.iter().map(|u| part.form(u));
                    let (form, beside) = all.fold(zero, |(q, y), (form, z)| (q + form, y + z));
                    (form / probes.len() as f64, beside / probes.len() as f64)
                }
            };
            divergence += part.share * form;
            sum += &((of_w + (&part.score * form + beside) * c) * part.share);
        }
        out.iter_mut().zip(&sum).for_each(|(out, sum)| *out = *sum);
        Ok(divergence)
    }

    /// The components that count at x, centred.
    fn centred(&mut self, x: &[f64], t: f64, (a, b): (f64, f64)) -> Result<Vec<Component>> {
        let d = self.mixture.dim();
        check_size("numbers in a point", x.len(), d)?;
        let n = self.noised(t);
        self.responsibilities(x, n);
        let shares = self.weights.iter().enumerate().filter(|(_, r)| **r != 0.0);
        let mut parts: Vec<Component> = shares
            .map(|(k, share)| {
                let (c, vectors) = self.mixture.spectrum(k);
                let mean = self.mixture.means().row(k).to_owned();
                let v_inv = c.mapv(|l| 1.0 / n.of(l));
                let off = vectors.dot(&(&ArrayView1::from(x) - &(n.alpha * &mean))) * &v_inv;
                let score = -vectors.t().dot(&off);
                let denoised = mean + n.alpha * vectors.t().dot(&(&c * &off));
                let m = (a * n.alpha * &c - b) * &v_inv;
                let motion = a * denoised + b * &score;
                Component { share: *share, motion, score, m, v_inv, vectors }
            })
            .collect();
        let mean = |of: fn(&Component) -> &Array1<f64>| {
            let zero = Array1::<f64>::zeros(d);
            parts.iter().fold(zero, |sum, part| sum + of(part) * part.share)
        };
        let (motion, score) = (mean(|part| &part.motion), mean(|part| &part.score));
        for part in &mut parts {
            part.motion -= &motion;
            part.score -= &score;
        }
        Ok(parts)
    }
}
