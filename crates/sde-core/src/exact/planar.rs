//! The velocity of isotropic mixtures in up to three dimensions, a block of rows at a time: the loops over rows become vector
//! instructions. No row looks at another.
//!
//! With `v_k = α² c_k + σ²` and `M` the largest exponent, the responsibilities need no logarithm,
//!
//! ```text
//! r_k ∝ w_k v_k^{−d/2} exp(−|x − αm_k|²/(2 v_k) − M),                              (G12)
//! a D + b s = (a σ² + b α) A + (a α B − b C) x                                     (G13)
//! ```
//!
//! with A, B and C of (G7).

#![expect(
    clippy::inline_always,
    reason = "a function that is called in vector code is compiled for it only when inlined"
)]

use super::isotropic::Isotropic;
use crate::exponential::exp_and_exp_m1;
use crate::score::Along;

/// Rows that one pass evaluates: enough for a compiler to keep the loops over them.
const ROWS: usize = 32;
/// One number of each row.
type Row = [f64; ROWS];

/// `1/v_k` and the exponent of every component, for a block of rows.
#[derive(Clone, Debug)]
pub(super) struct Space(Vec<[Row; 2]>);

impl Space {
    /// For so many components.
    pub(super) fn new(components: usize) -> Self {
        Self(vec![[[0.0; ROWS]; 2]; components])
    }
}

/// α, σ², a and b of a block of rows.
struct Factors {
    alpha: Row,
    sigma2: Row,
    a: Row,
    b: Row,
}

/// Writes `a D + b s` of the rows of d = 1, 2 or 3 numbers in `x`; of no others.
pub(super) fn drift(
    c: Isotropic<'_>,
    d: usize,
    weights: &[f64],
    along: &Along<'_>,
    space: &mut Space,
    (x, out): (&[f64], &mut [f64]),
) {
    crate::wide::run(
        #[inline(always)]
        || match d {
            1 => blocks::<1>(c, weights, along, space, (x, out)),
            2 => blocks::<2>(c, weights, along, space, (x, out)),
            3 => blocks::<3>(c, weights, along, space, (x, out)),
            _ => {}
        },
    );
}

#[inline(always)]
fn blocks<const D: usize>(
    c: Isotropic<'_>,
    weights: &[f64],
    along: &Along<'_>,
    space: &mut Space,
    (x, out): (&[f64], &mut [f64]),
) {
    for (block, (x, out)) in x.chunks(ROWS * D).zip(out.chunks_mut(ROWS * D)).enumerate() {
        let (first, rows) = (block * ROWS, x.len() / D);
        let pick = |values: &[f64]| padded(&values[first..first + rows]);
        let k = along.columns;
        let f = Factors {
            alpha: pick(&k.alpha),
            sigma2: pick(&k.sigma2),
            a: pick(along.to_denoised),
            b: pick(along.to_score),
        };
        let mut points = [[0.0; ROWS]; D];
        for (i, x) in x.chunks_exact(D).enumerate() {
            points.iter_mut().zip(x).for_each(|(point, x)| point[i] = *x);
        }
        let v = velocity(c, weights, &f, space, &points);
        for (i, out) in out.chunks_exact_mut(D).enumerate() {
            out.iter_mut().zip(&v).for_each(|(out, v)| *out = v[i]);
        }
    }
}

/// The numbers of a block that may not be full, then zeros: what becomes of those is not used.
#[inline(always)]
fn padded(values: &[f64]) -> Row {
    let mut row = [0.0; ROWS];
    row[..values.len()].copy_from_slice(values);
    row
}

/// (G12) and (G13) for a block of rows.
#[inline(always)]
fn velocity<const D: usize>(
    c: Isotropic<'_>,
    weights: &[f64],
    f: &Factors,
    space: &mut Space,
    x: &[Row; D],
) -> [Row; D] {
    let mut max = [f64::NEG_INFINITY; ROWS];
    for ((mean, variance), [inverse, exponent]) in c.components(D).zip(&mut space.0) {
        for i in 0..ROWS {
            let inv = 1.0 / (f.alpha[i] * f.alpha[i] * variance + f.sigma2[i]);
            let mut square = 0.0;
            for j in 0..D {
                let diff = x[j][i] - f.alpha[i] * mean[j];
                square += diff * diff;
            }
            (inverse[i], exponent[i]) = (inv, -0.5 * square * inv);
            max[i] = if exponent[i] > max[i] { exponent[i] } else { max[i] };
        }
    }
    let (mut total, mut b_sum, mut c_sum, mut a_sum) =
        ([0.0; ROWS], [0.0; ROWS], [0.0; ROWS], [[0.0; ROWS]; D]);
    for (((mean, variance), weight), [inverse, exponent]) in
        c.components(D).zip(weights).zip(&space.0)
    {
        for i in 0..ROWS {
            let inv = inverse[i];
            let density = match D {
                1 => inv.sqrt(),
                2 => inv,
                _ => inv * inv.sqrt(),
            };
            let r = weight * density * exp_and_exp_m1(exponent[i] - max[i]).0;
            let share = r * inv;
            total[i] += r;
            b_sum[i] += share * variance;
            c_sum[i] += share;
            for j in 0..D {
                a_sum[j][i] += share * mean[j];
            }
        }
    }
    let mut out = [[0.0; ROWS]; D];
    for i in 0..ROWS {
        let scale = 1.0 / total[i];
        let of_a = (f.a[i] * f.sigma2[i] + f.b[i] * f.alpha[i]) * scale;
        let of_x = (f.a[i] * f.alpha[i] * b_sum[i] - f.b[i] * c_sum[i]) * scale;
        for j in 0..D {
            out[j][i] = of_a * a_sum[j][i] + of_x * x[j][i];
        }
    }
    out
}
