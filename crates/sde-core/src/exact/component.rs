//! One component `N(m, C)` of a mixture seen through the noise: `V = α² C + σ² I` in the eigenbasis of C.

/// A component by its mean and the eigenvalues (and eigenvectors) of its covariance.
#[derive(Clone, Copy)]
pub(super) enum Component<'a> {
    Isotropic { mean: &'a [f64], variance: f64 },
    Diagonal { mean: &'a [f64], variances: &'a [f64] },
    Full { mean: &'a [f64], values: &'a [f64], vectors: &'a [f64] },
}

/// `α` and `σ²` at the time of evaluation.
#[derive(Clone, Copy)]
pub(super) struct Noised {
    pub(super) alpha: f64,
    pub(super) sigma2: f64,
}

impl Noised {
    /// Eigenvalue of V for the eigenvalue `l` of C.
    fn of(self, l: f64) -> f64 {
        self.alpha * self.alpha * l + self.sigma2
    }
}

/// `tr V⁻¹` and `tr(C V⁻¹)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traces {
    pub(super) v_inv: f64,
    pub(super) c_v_inv: f64,
}

impl Component<'_> {
    /// `(x − αm)ᵀ V⁻¹ (x − αm) + ln det V`. `y` is scratch space.
    pub(super) fn distance(self, x: &[f64], n: Noised, y: &mut [f64]) -> f64 {
        match self {
            Self::Isotropic { mean, variance } => {
                let v = n.of(variance);
                squared_distance(x, mean, n.alpha) / v + x.len() as f64 * v.ln()
            }
            Self::Diagonal { mean, variances } => {
                let terms = x.iter().zip(mean).zip(variances);
                let q: f64 =
                    terms.map(|((x, m), l)| (x - n.alpha * m).powi(2) / n.of(*l)).sum();
                q + log_product(variances, n)
            }
            Self::Full { mean, values, vectors } => {
                project(x, mean, vectors, n.alpha, y);
                let q: f64 = y.iter().zip(values).map(|(y, l)| y * y / n.of(*l)).sum();
                q + log_product(values, n)
            }
        }
    }

    /// Writes `s = −V⁻¹(x − αm)` and `D = m + α C V⁻¹ (x − αm)`; returns the traces. `y` is scratch space.
    pub(super) fn moments(
        self,
        x: &[f64],
        n: Noised,
        y: &mut [f64],
        score: &mut [f64],
        denoised: &mut [f64],
    ) -> Traces {
        let out = score.iter_mut().zip(denoised.iter_mut());
        match self {
            Self::Isotropic { mean, variance } => {
                let (inv, gain) = (1.0 / n.of(variance), n.alpha * variance / n.of(variance));
                for ((s, d), (x, m)) in out.zip(x.iter().zip(mean)) {
                    let diff = x - n.alpha * m;
                    (*s, *d) = (-diff * inv, m + gain * diff);
                }
                let dim = x.len() as f64;
                return Traces { v_inv: dim * inv, c_v_inv: dim * variance * inv };
            }
            Self::Diagonal { mean, variances } => {
                for (((s, d), (x, m)), l) in out.zip(x.iter().zip(mean)).zip(variances) {
                    let diff = (x - n.alpha * m) / n.of(*l);
                    (*s, *d) = (-diff, m + n.alpha * l * diff);
                }
            }
            Self::Full { mean, values, vectors } => {
                project(x, mean, vectors, n.alpha, y);
                score.fill(0.0);
                denoised.copy_from_slice(mean);
                for ((y, l), q) in y.iter().zip(values).zip(vectors.chunks_exact(x.len())) {
                    let c = y / n.of(*l);
                    score.iter_mut().zip(q).for_each(|(s, q)| *s -= c * q);
                    denoised.iter_mut().zip(q).for_each(|(d, q)| *d += n.alpha * l * c * q);
                }
            }
        }
        let values = match self {
            Self::Isotropic { .. } => &[],
            Self::Diagonal { variances: v, .. } | Self::Full { values: v, .. } => v,
        };
        Traces {
            v_inv: values.iter().map(|l| 1.0 / n.of(*l)).sum(),
            c_v_inv: values.iter().map(|l| l / n.of(*l)).sum(),
        }
    }
}

/// `y = Qᵀ (x − αm)`, the coordinates in the eigenbasis.
fn project(x: &[f64], mean: &[f64], vectors: &[f64], alpha: f64, y: &mut [f64]) {
    for (y, q) in y.iter_mut().zip(vectors.chunks_exact(x.len())) {
        *y = q.iter().zip(x).zip(mean).map(|((q, x), m)| q * (x - alpha * m)).sum();
    }
}

/// `|x − αm|²` in eight independent sums, which a compiler can keep in vector registers.
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

/// `Σ ln(α² l + σ²)`, one logarithm for four eigenvalues: four of them stay far inside the range of f64.
fn log_product(values: &[f64], n: Noised) -> f64 {
    values.chunks(4).map(|l| l.iter().map(|l| n.of(*l)).product::<f64>().ln()).sum()
}
