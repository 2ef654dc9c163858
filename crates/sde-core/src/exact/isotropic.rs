//! The formulas (G1)–(G6) for components `N(m_k, c_k I)`, where they need one multiplication per number.
//!
//! With `v_k = α² c_k + σ²` and
//!
//! ```text
//! A = Σ r_k m_k / v_k,   B = Σ r_k c_k / v_k,   C = Σ r_k / v_k:
//! s = α A − C x,         D = σ² A + α B x                                        (G7)
//! ```

use super::component::Noised;
use super::score::PointValues;

/// Means (K, d) and variances of the components.
#[derive(Clone, Copy)]
pub(super) struct Isotropic<'a> {
    pub(super) means: &'a [f64],
    pub(super) variances: &'a [f64],
}

impl<'a> Isotropic<'a> {
    /// `(m_k, c_k)` of every component.
    pub(super) fn components(self, d: usize) -> impl Iterator<Item = (&'a [f64], f64)> {
        self.means.chunks_exact(d).zip(self.variances.iter().copied())
    }

    /// `ln w_k + ln N(x; α m_k, v_k I)` but for the factors 2π.
    pub(super) fn logits(self, x: &[f64], n: Noised, log_weights: &[f64], out: &mut [f64]) {
        let d = x.len() as f64;
        let (mut last, mut half_inv, mut half_log) = (f64::NAN, 0.0, 0.0);
        let all = self.components(x.len()).zip(log_weights).zip(out);
        for (((mean, c), log_weight), out) in all {
            // Components of a kernel density estimate share one variance: one logarithm for all.
            if c.to_bits() != last.to_bits() {
                let v = n.of(c);
                (last, half_inv, half_log) = (c, 0.5 / v, 0.5 * d * v.ln());
            }
            *out = log_weight - half_log - half_inv * squared_distance(x, mean, n.alpha);
        }
    }

    /// (G7).
    pub(super) fn means(
        self,
        x: &[f64],
        n: Noised,
        r: &[f64],
        score: &mut [f64],
        denoised: &mut [f64],
    ) {
        let (mut b, mut c_sum) = (0.0, 0.0);
        let a = &mut *score;
        a.fill(0.0);
        for ((mean, c), r) in self.components(x.len()).zip(r).filter(|(_, r)| **r != 0.0) {
            let share = r / n.of(c);
            b += share * c;
            c_sum += share;
            a.iter_mut().zip(mean).for_each(|(a, m)| *a += share * m);
        }
        for ((a, d), x) in score.iter_mut().zip(denoised).zip(x) {
            *d = n.sigma2 * *a + n.alpha * b * x;
            *a = n.alpha * *a - c_sum * x;
        }
    }

    /// (G4)–(G6), centred at `score` and `denoised`.
    pub(super) fn second_moments(
        self,
        x: &[f64],
        n: Noised,
        r: &[f64],
        (score, denoised): (&[f64], &[f64]),
    ) -> PointValues {
        let (dim, mut sums) = (x.len() as f64, PointValues::default());
        for ((mean, c), r) in self.components(x.len()).zip(r).filter(|(_, r)| **r != 0.0) {
            let inv = 1.0 / n.of(c);
            let (mut ss, mut ds, mut dd) = (0.0, 0.0, 0.0);
            for ((m, x), (s, d)) in mean.iter().zip(x).zip(score.iter().zip(denoised)) {
                let s = (n.alpha * m - x) * inv - s;
                let d = (n.sigma2 * m + n.alpha * c * x) * inv - d;
                ss += s * s;
                ds += d * s;
                dd += d * d;
            }
            sums.div_score += r * (ss - dim * inv);
            sums.div_denoised += r * (n.alpha * dim * c * inv + ds);
            sums.trace_covariance += r * (n.sigma2 * dim * c * inv + dd);
        }
        sums
    }
}

/// `|x − αm|²` in eight independent sums, which a compiler keeps in vector registers.
fn squared_distance(x: &[f64], mean: &[f64], alpha: f64) -> f64 {
    let (xs, ms) = (x.chunks_exact(8), mean.chunks_exact(8));
    let tail = xs.remainder().iter().zip(ms.remainder());
    let tail: f64 = tail.map(|(x, m)| (x - alpha * m).powi(2)).sum();
    let mut sums = [0.0; 8];
    for (x, m) in xs.zip(ms) {
        for j in 0..8 {
            let diff = x[j] - alpha * m[j];
            sums[j] += diff * diff;
        }
    }
    sums.iter().sum::<f64>() + tail
}
