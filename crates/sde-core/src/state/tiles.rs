//! Sums over the stages of a step, tile by tile: each number is read once, and what is between stays in the cache.
//!
//! Rows of n numbers lie one after the other in memory. A tile is some whole rows, or a part of one long row.

#![expect(
    clippy::inline_always,
    reason = "a function that is called in vector code is compiled for it only when inlined"
)]

use super::{Tolerance, max_or_nan};
use crate::wide;
use ndarray::{Array, Dimension};
use std::ops::Range;

/// Numbers of a tile at most; and of states that are so small that choosing instructions would cost more than it gains.
const TILE: usize = 256;
const FEW: usize = 32;
/// Terms of a sum at most, and those that one pass adds.
const TERMS: usize = 16;
const TOGETHER: usize = 6;

/// `Σ_j w_j k(j)`, without weights that are zero in the tableau.
pub(super) struct Terms<'a> {
    w: [f64; TERMS],
    k: [&'a [f64]; TERMS],
    count: usize,
}

impl<'a> Terms<'a> {
    /// Hands the sum to `work`. Arrays that do not lie row by row, and more than [`TERMS`] of them, are added up before.
    pub(super) fn with<D, K>(w: &[f64], k: K, work: impl FnOnce(&Terms<'_>))
    where
        D: Dimension + 'a,
        K: Fn(usize) -> &'a Array<f64, D>,
    {
        let terms = || w.iter().enumerate().filter(|(_, w)| **w != 0.0).map(|(j, w)| (*w, k(j)));
        let mut sum = Self { w: [0.0; TERMS], k: [&[]; TERMS], count: 0 };
        for (w, k) in terms() {
            match k.as_slice() {
                Some(k) if sum.count < TERMS => (sum.w[sum.count], sum.k[sum.count]) = (w, k),
                _ => {
                    let mut whole = vec![0.0; k.len()];
                    terms().for_each(|(w, k)| {
                        whole.iter_mut().zip(k).for_each(|(sum, k)| *sum += w * k);
                    });
                    let mut one = Terms { w: [1.0; TERMS], k: [&[]; TERMS], count: 1 };
                    one.k[0] = &whole;
                    return work(&one);
                }
            }
            sum.count += 1;
        }
        work(&sum);
    }

    /// As many of these numbers as all terms have.
    fn numbers(&self, most: usize) -> usize {
        self.k[..self.count].iter().fold(most, |n, k| n.min(k.len()))
    }

    /// The sum's numbers in a range.
    #[inline(always)]
    fn sum(&self, range: &Range<usize>, out: &mut [f64]) {
        out.fill(0.0);
        let mut first = 0;
        while first < self.count {
            match self.count - first {
                1 => self.add::<1>(first, range, out),
                2 => self.add::<2>(first, range, out),
                3 => self.add::<3>(first, range, out),
                4 => self.add::<4>(first, range, out),
                5 => self.add::<5>(first, range, out),
                _ => self.add::<TOGETHER>(first, range, out),
            }
            first += TOGETHER;
        }
    }

    #[inline(always)]
    fn add<const N: usize>(&self, first: usize, range: &Range<usize>, out: &mut [f64]) {
        let w: [f64; N] = std::array::from_fn(|j| self.w[first + j]);
        let k: [&[f64]; N] = std::array::from_fn(|j| &self.k[first + j][range.clone()]);
        let n = k.iter().fold(out.len(), |n, k| n.min(k.len()));
        let (out, k) = (&mut out[..n], k.map(|k| &k[..n]));
        for i in 0..n {
            for j in 0..N {
                out[i] += w[j] * k[j][i];
            }
        }
    }
}

/// `out = y + h Σ`, h one for each row of n numbers.
pub(super) fn stage(out: &mut [f64], n: usize, y: &[f64], h: &[f64], terms: &Terms<'_>) {
    let numbers = terms.numbers(out.len().min(y.len()).min(h.len() * n));
    if numbers <= FEW {
        return stage_by::<FEW>(&mut out[..numbers], n, y, h, terms);
    }
    wide::run(
        #[inline(always)]
        || stage_by::<TILE>(&mut out[..numbers], n, y, h, terms),
    );
}

#[inline(always)]
fn stage_by<const T: usize>(out: &mut [f64], n: usize, y: &[f64], h: &[f64], terms: &Terms<'_>) {
    let (mut sum, mut factor) = ([0.0; T], [0.0; T]);
    tiles::<T>(
        out.len(),
        n,
        #[inline(always)]
        |range| {
            let (sum, factor) = (&mut sum[..range.len()], &mut factor[..range.len()]);
            terms.sum(&range, sum);
            spread(h, n, &range, factor);
            let numbers = out[range.clone()].iter_mut().zip(&y[range]);
            let rest = sum.iter().zip(&*factor);
            numbers.zip(rest).for_each(|((o, y), (sum, h))| *o = y + sum * h);
        },
    );
}

/// Raises every row's norm to the root mean square of `h Σ / (atol + rtol max(|y|, |z|))`.
pub(super) fn raise_error_norm(
    norm: &mut [f64],
    n: usize,
    ends: (&[f64], &[f64]),
    h: &[f64],
    terms: &Terms<'_>,
    tol: Tolerance,
) {
    let rows = norm.len().min(h.len());
    let rows = terms.numbers(ends.0.len().min(ends.1.len()).min(rows * n)) / n;
    if rows * n <= FEW {
        return raise_by::<FEW>(&mut norm[..rows], n, ends, h, terms, tol);
    }
    wide::run(
        #[inline(always)]
        || raise_by::<TILE>(&mut norm[..rows], n, ends, h, terms, tol),
    );
}

#[inline(always)]
fn raise_by<const T: usize>(
    norm: &mut [f64],
    n: usize,
    (y, z): (&[f64], &[f64]),
    h: &[f64],
    terms: &Terms<'_>,
    tol: Tolerance,
) {
    let (mut square, mut factor) = ([0.0; T], [0.0; T]);
    let mut begun = 0.0; // the sum over the tiles of a long row so far
    tiles::<T>(
        norm.len() * n,
        n,
        #[inline(always)]
        |range| {
            let (square, factor) = (&mut square[..range.len()], &mut factor[..range.len()]);
            terms.sum(&range, square);
            spread(h, n, &range, factor);
            let ends = y[range.clone()].iter().zip(&z[range.clone()]);
            for ((e, h), (y, z)) in square.iter_mut().zip(&*factor).zip(ends) {
                let error = h * *e / (tol.atol + tol.rtol * larger(y.abs(), z.abs()));
                *e = error * error;
            }
            let rows = range.start / n..range.end.div_ceil(n);
            let sums = &mut factor[..rows.len()];
            sum_rows(square, n, begun, sums);
            if range.end % n != 0 {
                begun = sums[0];
                return;
            }
            begun = 0.0;
            for (norm, sum) in norm[rows].iter_mut().zip(sums) {
                *norm = max_or_nan(*norm, (*sum / n as f64).sqrt());
            }
        },
    );
}

/// Calls `work` with ranges of T numbers at most, in order: whole rows of n, or parts of one.
#[inline(always)]
fn tiles<const T: usize>(numbers: usize, n: usize, mut work: impl FnMut(Range<usize>)) {
    let rows = (T / n).max(1) * n;
    let mut start = 0;
    while start < numbers {
        let end = (start + rows).min(numbers);
        while start < end {
            let part = start..end.min(start + T);
            start = part.end;
            work(part);
        }
    }
}

/// The number of each row in all its places.
#[inline(always)]
fn spread(of_rows: &[f64], n: usize, range: &Range<usize>, out: &mut [f64]) {
    let rows = &of_rows[range.start / n..];
    match n {
        1 => out.copy_from_slice(&rows[..out.len()]),
        2 => out.chunks_exact_mut(2).zip(rows).for_each(|(out, h)| (out[0], out[1]) = (*h, *h)),
        _ => out.chunks_mut(n).zip(rows).for_each(|(out, h)| out.fill(*h)),
    }
}

/// The sums of rows, the first of which has `begun` already.
#[inline(always)]
fn sum_rows(x: &[f64], n: usize, begun: f64, sums: &mut [f64]) {
    match n {
        1 => sums.copy_from_slice(x),
        2 => sums.iter_mut().zip(x.chunks_exact(2)).for_each(|(sum, x)| *sum = x[0] + x[1]),
        _ => {
            let mut begun = begun;
            for (sum, x) in sums.iter_mut().zip(x.chunks(n)) {
                *sum = x.iter().fold(begun, |sum, x| sum + x);
                begun = 0.0;
            }
        }
    }
}

/// The larger of two numbers that are not negative; NaN if b, the end of the step, is NaN.
#[inline(always)]
fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}
