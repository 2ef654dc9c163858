//! The flux (P7) and one implicit step along one line of cells.

/// `(A, C)` of a face: what leaves the cell on its left for each unit of density there, and the cell on its right.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) right: f64,
    pub(super) left: f64,
}

impl Rates {
    /// (P7) for drift `b`, `D = d` and cells of width h.
    pub(super) fn new(b: f64, d: f64, h: f64) -> Self {
        let peclet = b * h / d;
        if peclet.is_finite() {
            Self { right: d / h * bernoulli(-peclet), left: d / h * bernoulli(peclet) }
        } else {
            Self { right: b.max(0.0), left: (-b).max(0.0) } // the limit D → 0: upwind
        }
    }
}

/// `z/(eᶻ − 1)`.
fn bernoulli(z: f64) -> f64 {
    if z == 0.0 { 1.0 } else { z / z.exp_m1() }
}

/// A line of n cells in a larger array: the cells `start + i · stride`.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) start: usize,
    pub(super) stride: usize,
    pub(super) n: usize,
}

impl Line {
    fn cell(self, i: usize) -> usize {
        self.start + i * self.stride
    }

    /// One step of implicit Euler, `p_i + r (J_{i+½} − J_{i−½}) = p_i^old` with `r = dt/h`, and `r J` added to `moved`
    /// at each face, which has the number of the cell on its left.
    ///
    /// The columns of the matrix sum to 1, so that Gaussian elimination can be written without a difference: the i-th
    /// pivot is `k_i + r A_i` with `k_0 = 1`, `k_{i+1} = 1 + r C_i k_i / pivot_i`. Every number is a sum of products of
    /// positive ones and has full relative accuracy, whatever the step: p cannot become negative by rounding.
    pub(super) fn implicit_step(
        self,
        r: f64,
        rates: &[Rates],
        p: &mut [f64],
        moved: &mut [f64],
        pivots: &mut Vec<f64>,
    ) {
        pivots.clear();
        let mut k = 1.0;
        for i in 0..self.n - 1 {
            let (at, next) = (self.cell(i), self.cell(i + 1));
            let pivot = k + r * rates[at].right;
            p[next] += r * rates[at].right * (p[at] / pivot);
            k = 1.0 + r * rates[at].left * (k / pivot);
            pivots.push(pivot);
        }
        p[self.cell(self.n - 1)] /= k;
        for i in (0..self.n - 1).rev() {
            let (at, next) = (self.cell(i), self.cell(i + 1));
            p[at] = (p[at] + r * rates[at].left * p[next]) / pivots[i];
            moved[at] += r * (rates[at].right * p[at] - rates[at].left * p[next]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_positive_and_differ_by_the_drift() {
        for b in [-3e4, -2.0, -1e-9, 0.0, 1e-9, 2.0, 3e4] {
            for d in [0.0, 5e-324, 1e-200, 1e-6, 1.0, 1e6] {
                let r = Rates::new(b, d, 0.1);
                assert!(r.right >= 0.0 && r.left >= 0.0, "{b} {d}: {r:?}");
                let scale = 1e-15 * (r.right + r.left);
                assert!((r.right - r.left - b).abs() <= 4.0 * scale, "{b} {d}: {r:?}");
            }
        }
    }

    /// A density whose flux vanishes everywhere, `p_{i+1} = p_i A/C`, is left alone by a step of any length.
    #[test]
    fn equilibrium_stays() {
        let n = 40;
        let rates: Vec<_> =
            (0..n).map(|i| Rates::new(2.0 - 0.1 * f64::from(i), 0.5, 0.2)).collect();
        let mut p = vec![1.0];
        for i in 0..rates.len() - 1 {
            p.push(p[i] * rates[i].right / rates[i].left);
        }
        let (before, mut moved) = (p.clone(), vec![0.0; p.len()]);
        let line = Line { start: 0, stride: 1, n: p.len() };
        line.implicit_step(1e6, &rates, &mut p, &mut moved, &mut Vec::new());
        for (p, q) in p.iter().zip(&before) {
            assert!((p - q).abs() < 1e-9 * q, "{p} {q}");
        }
    }
}
