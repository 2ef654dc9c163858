//! The formulas (G1)–(G6) for components with diagonal or full covariances: `V = α² C + σ² I` in the eigenbasis
//! of C.

use super::score::PointValues;

/// `α` and `σ²` at the time of evaluation.
#[derive(Clone, Copy)]
pub(super) struct Noised {
    pub(super) alpha: f64,
    pub(super) sigma2: f64,
}

impl Noised {
    /// Eigenvalue of V for the eigenvalue `l` of C.
    pub(super) fn of(self, l: f64) -> f64 {
        self.alpha * self.alpha * l + self.sigma2
    }
}

/// Means and eigenvalues (K, d); eigenvectors (K, d, d), one in each row, unless they are the axes.
#[derive(Clone, Copy)]
pub(super) struct Components<'a> {
    pub(super) d: usize,
    pub(super) means: &'a [f64],
    pub(super) values: &'a [f64],
    pub(super) vectors: Option<&'a [f64]>,
}

/// Space for one component: coordinates in its eigenbasis, its score and its posterior mean.
#[derive(Clone, Debug)]
pub(super) struct Scratch {
    y: Vec<f64>,
    score: Vec<f64>,
    denoised: Vec<f64>,
}

impl Scratch {
    pub(super) fn new(d: usize) -> Self {
        Self { y: vec![0.0; d], score: vec![0.0; d], denoised: vec![0.0; d] }
    }
}

impl<'a> Components<'a> {
    /// Mean, eigenvalues and eigenvectors of component k.
    pub(super) fn at(self, k: usize) -> (&'a [f64], &'a [f64], Option<&'a [f64]>) {
        let (d, row) = (self.d, k * self.d..(k + 1) * self.d);
        let vectors = self.vectors.map(|q| &q[k * d * d..(k + 1) * d * d]);
        (&self.means[row.clone()], &self.values[row], vectors)
    }

    /// `ln w_k + ln N(x; α m_k, V_k)` but for the factors 2π.
    pub(super) fn logits(
        self,
        x: &[f64],
        n: Noised,
        log_weights: &[f64],
        scratch: &mut Scratch,
        out: &mut [f64],
    ) {
        for (k, (log_weight, out)) in log_weights.iter().zip(out).enumerate() {
            let (_, values, _) = self.at(k);
            self.project(k, x, n.alpha, &mut scratch.y);
            let q: f64 = scratch.y.iter().zip(values).map(|(y, l)| y * y / n.of(*l)).sum();
            *out = log_weight - 0.5 * (q + log_product(values, n));
        }
    }

    /// (G2) and (G3).
    pub(super) fn means(
        self,
        x: &[f64],
        n: Noised,
        r: &[f64],
        scratch: &mut Scratch,
        (score, denoised): (&mut [f64], &mut [f64]),
    ) {
        score.fill(0.0);
        denoised.fill(0.0);
        for (k, &r) in r.iter().enumerate().filter(|(_, r)| **r != 0.0) {
            self.moments(k, x, n, scratch);
            score.iter_mut().zip(&scratch.score).for_each(|(s, s_k)| *s += r * s_k);
            denoised.iter_mut().zip(&scratch.denoised).for_each(|(d, d_k)| *d += r * d_k);
        }
    }

    /// (G4)–(G6), centred at `score` and `denoised`.
    pub(super) fn second_moments(
        self,
        x: &[f64],
        n: Noised,
        r: &[f64],
        scratch: &mut Scratch,
        (score, denoised): (&[f64], &[f64]),
    ) -> PointValues {
        let mut sums = PointValues::default();
        for (k, &r) in r.iter().enumerate().filter(|(_, r)| **r != 0.0) {
            self.moments(k, x, n, scratch);
            let (_, values, _) = self.at(k);
            let trace_v_inv: f64 = values.iter().map(|l| 1.0 / n.of(*l)).sum();
            let trace_c_v_inv: f64 = values.iter().map(|l| l / n.of(*l)).sum();
            let (mut ss, mut ds, mut dd) = (0.0, 0.0, 0.0);
            let centred = scratch.score.iter().zip(score).map(|(s_k, s)| s_k - s);
            let pairs = centred.zip(scratch.denoised.iter().zip(denoised).map(|(d_k, d)| d_k - d));
            for (s, d) in pairs {
                ss += s * s;
                ds += d * s;
                dd += d * d;
            }
            sums.div_score += r * (ss - trace_v_inv);
            sums.div_denoised += r * (n.alpha * trace_c_v_inv + ds);
            sums.trace_covariance += r * (n.sigma2 * trace_c_v_inv + dd);
        }
        sums
    }

    /// Leaves `s_k` and `D_k` in the scratch space.
    fn moments(self, k: usize, x: &[f64], n: Noised, scratch: &mut Scratch) {
        let (mean, values, vectors) = self.at(k);
        self.project(k, x, n.alpha, &mut scratch.y);
        let Scratch { y, score, denoised } = scratch;
        y.iter_mut().zip(values).for_each(|(y, l)| *y /= n.of(*l)); // V⁻¹ (x − αm)
        score.fill(0.0);
        denoised.copy_from_slice(mean);
        match vectors {
            None => {
                let out = score.iter_mut().zip(denoised).zip(y).zip(values);
                out.for_each(|(((s, d), y), l)| (*s, *d) = (-*y, *d + n.alpha * l * *y));
            }
            Some(vectors) => {
                for ((y, l), q) in y.iter().zip(values).zip(vectors.chunks_exact(self.d)) {
                    score.iter_mut().zip(q).for_each(|(s, q)| *s -= y * q);
                    denoised.iter_mut().zip(q).for_each(|(d, q)| *d += n.alpha * l * y * q);
                }
            }
        }
    }

    /// `y = Qᵀ (x − αm)`, the coordinates in the eigenbasis of component k.
    fn project(self, k: usize, x: &[f64], alpha: f64, y: &mut [f64]) {
        let (mean, _, vectors) = self.at(k);
        let diff = |(x, m): (&f64, &f64)| x - alpha * m;
        match vectors {
            None => y.iter_mut().zip(x.iter().zip(mean)).for_each(|(y, xm)| *y = diff(xm)),
            Some(vectors) => {
                for (y, q) in y.iter_mut().zip(vectors.chunks_exact(self.d)) {
                    *y = q.iter().zip(x.iter().zip(mean)).map(|(q, xm)| q * diff(xm)).sum();
                }
            }
        }
    }
}

/// `Σ ln(α² l + σ²)`, one logarithm for four eigenvalues unless their product leaves the range of f64.
fn log_product(values: &[f64], n: Noised) -> f64 {
    let block = |l: &[f64]| {
        let product: f64 = l.iter().map(|l| n.of(*l)).product();
        if product.is_normal() { product.ln() } else { l.iter().map(|l| n.of(*l).ln()).sum() }
    };
    values.chunks(4).map(block).sum()
}
