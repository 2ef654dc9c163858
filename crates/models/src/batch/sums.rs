//! Sums of batches with one coefficient for each row, and the error norms of a step.
//!
//! On the CPU each is one pass ([`torch_ext::rows`]). On another device, and in a graph, libtorch has a kernel for each
//! term; all coefficients of a sum are one upload there, and all norms of a step one read.

use sde_core::state::{State, Tolerance};
use tch::{Device, Tensor};
use torch_ext::rows;

use super::traffic::count;
use super::{Batch, host};
use crate::error::Result;

/// `Σ_j c_j[i] x_j,i`, with c of shape `[x.len(), rows]`, or several of them for the same terms.
pub(super) struct Sum<'a> {
    rows: usize,
    x: Vec<&'a Tensor>,
    c: Vec<f64>,
}

impl<'a> Sum<'a> {
    pub(super) fn new(rows: usize) -> Self {
        Self { rows, x: Vec::new(), c: Vec::new() }
    }

    pub(super) fn push(&mut self, x: &'a Tensor, c: impl IntoIterator<Item = f64>) {
        self.x.push(x);
        self.c.extend(c);
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.x.append(&mut other.x);
        self.c.append(&mut other.c);
    }

    /// Writes the sum: in the memory of `out` unless the result is part of a graph.
    pub(super) fn write(&self, out: &mut Tensor) -> Result<()> {
        count(|traffic| traffic.sums += 1);
        let on_graph = out.requires_grad() || self.x.iter().any(|x| x.requires_grad());
        if !on_graph && rows::takes(out) && self.x.iter().all(|x| rows::takes(x)) {
            return Ok(rows::weighted_sum(out, &self.x, &self.c, self.rows)?);
        }
        let sum = self.by_libtorch(&self.columns(1, out)?, on_graph, out)?;
        if on_graph {
            *out = sum;
        }
        Ok(())
    }

    /// The coefficients as `[sets · terms, rows, 1, …]` beside `like`: one upload.
    fn columns(&self, sets: usize, like: &Tensor) -> Result<Tensor> {
        count(|traffic| traffic.uploads += u64::from(like.device() != Device::Cpu));
        let mut shape = vec![1; like.dim() + 1];
        (shape[0], shape[1]) = ((sets * self.x.len()) as i64, self.rows as i64);
        Ok(Tensor::f_from_slice(&self.c)?.f_reshape(&shape)?.f_to_device(like.device())?)
    }

    /// The sum with these columns, by a kernel for each term.
    fn by_libtorch(&self, columns: &Tensor, on_graph: bool, out: &mut Tensor) -> Result<Tensor> {
        let Some((x, rest)) = self.x.split_first() else {
            return Ok(out.f_zero_()?);
        };
        let first = columns.f_select(0, 0)?;
        let mut sum = if on_graph { x.f_mul(&first)? } else { x.f_mul_out(out, &first)? };
        for (j, x) in (1..).zip(rest) {
            sum = sum.f_addcmul_(x, &columns.f_select(0, j)?)?;
        }
        Ok(sum)
    }

    /// For each set of coefficients and each row, the sum of the squares in units of the tolerance.
    fn squared_errors(
        &self,
        sets: usize,
        scratch: &mut Tensor,
        [y, z]: [&Tensor; 2],
        tol: Tolerance,
    ) -> Result<Vec<f64>> {
        if rows::takes(y) && rows::takes(z) && self.x.iter().all(|x| rows::takes(x)) {
            count(|traffic| traffic.reads += 1);
            let (c, tolerance) = ((sets, &self.c[..]), (tol.atol, tol.rtol));
            return Ok(rows::squared_errors(&self.x, c, self.rows, (y, z), tolerance)?);
        }
        let _no_grad = tch::no_grad_guard();
        let size = y.f_abs()?.f_maximum(&z.f_abs()?)?;
        let scale = size.f_mul(&Tensor::from(tol.rtol))?.f_add(&Tensor::from(tol.atol))?;
        let (columns, n) = (self.columns(sets, y)?, self.x.len() as i64);
        if scratch.requires_grad() {
            *scratch = scratch.f_detach()?.f_empty_like()?;
        }
        let mut squares = Vec::with_capacity(sets);
        for set in 0..sets as i64 {
            let error = self.by_libtorch(&columns.f_narrow(0, set * n, n)?, false, scratch)?;
            squares.push(over_rows(&error.f_div(&scale)?.f_square()?)?);
        }
        host(&Tensor::f_cat(&squares, 0)?)
    }
}

/// The sum over everything but the rows.
pub(super) fn over_rows(x: &Tensor) -> Result<Tensor> {
    let axes: Vec<i64> = (1..x.dim() as i64).collect();
    // Libtorch takes no axes for all of them.
    Ok(if axes.is_empty() { x.shallow_clone() } else { x.f_sum_dim_intlist(axes, false, None)? })
}

impl Batch {
    /// The terms of a sum, each with one coefficient for each row.
    pub(super) fn sum<'a>(&self, terms: &[(&[f64], &'a Self)]) -> Result<Sum<'a>> {
        let mut sum = Sum::new(self.samples());
        for (c, x) in terms {
            self.fits("a term of a sum", x, c.len())?;
            sum.push(&x.tensor, c.iter().copied());
        }
        Ok(sum)
    }

    /// The terms of `h_i Σ_j w_j k(j)_i` for each row of weights, one set each; a stage that no row uses is left out.
    pub(super) fn stages<'a, K>(&self, h: &[f64], weights: &[&[f64]], k: K) -> Stages<'a>
    where
        K: Fn(usize) -> &'a Self,
    {
        let n = weights.first().map_or(0, |w| w.len());
        let used: Vec<usize> = (0..n).filter(|&j| weights.iter().any(|w| w[j] != 0.0)).collect();
        let sources: Vec<&Self> = used.iter().map(|&j| k(j)).collect();
        let sum = || {
            let mut sum = Sum::new(self.samples());
            for x in &sources {
                self.fits("a stage", x, h.len())?;
                sum.push(&x.tensor, []);
            }
            for (w, j) in weights.iter().flat_map(|w| used.iter().map(move |&j| (w, j))) {
                sum.c.extend(h.iter().map(|h| h * w[j]));
            }
            Ok(sum)
        };
        Stages { sum: sum(), sources }
    }

    /// The root mean squares over the rows of `h Σ_j e_j k_j` in units of the tolerance, `[weights.len(), rows]`: one
    /// device read. NaN where anything failed.
    pub(super) fn error_norms<'a, K>(
        &mut self,
        h: &[f64],
        weights: &[&[f64]],
        k: K,
        (y, z): (&Self, &Self),
        tol: Tolerance,
    ) -> Vec<f64>
    where
        K: Fn(usize) -> &'a Self,
    {
        let mut norms = vec![f64::NAN; weights.len() * h.len()];
        let n = self.sample_len().max(1) as f64;
        let Stages { sum, mut sources } = self.stages(h, weights, k);
        let fits = [y, z].iter().try_for_each(|end| self.fits("an end of a step", end, h.len()));
        sources.extend([y, z]);
        self.set(&sources, |scratch| {
            fits?;
            let ends = [&y.tensor, &z.tensor];
            let squares = sum?.squared_errors(weights.len(), scratch, ends, tol)?;
            norms.iter_mut().zip(squares).for_each(|(norm, square)| *norm = (square / n).sqrt());
            Ok(())
        });
        if self.failure.is_some() {
            norms.fill(f64::NAN);
        }
        norms
    }
}

/// Stages of a step, and the sum that they make.
pub(super) struct Stages<'a> {
    pub(super) sources: Vec<&'a Batch>,
    pub(super) sum: Result<Sum<'a>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    fn matrix(k: f64) -> Tensor {
        let values: Vec<f64> = (0..30).map(|i| (k * f64::from(i) + 0.3).sin()).collect();
        Tensor::f_from_slice(&values).unwrap().f_reshape([5, 6]).unwrap()
    }

    /// The same numbers in another layout, which the functions of one pass refuse.
    fn turned(x: &Tensor) -> Tensor {
        let turned = x.f_transpose(0, 1).unwrap().f_contiguous().unwrap();
        turned.f_transpose(0, 1).unwrap()
    }

    /// What another device does, on this one: the same sums, the same norms from one read.
    #[test]
    fn libtorch_alone_gives_the_same() {
        let [a, b, y, z] = [0.7, 1.1, 1.9, 2.3].map(matrix);
        let [c, d] = [&a, &b].map(turned);
        let rows: Vec<f64> = (0..5).map(f64::from).collect();
        let (mut fast, mut slow) = (Sum::new(5), Sum::new(5));
        for (sum, terms) in [(&mut fast, [&a, &b]), (&mut slow, [&c, &d])] {
            sum.push(terms[0], rows.iter().map(|r| 1.0 + r));
            sum.push(terms[1], rows.iter().map(|r| 0.5 - r));
        }
        assert!(rows::takes(&a) && !rows::takes(&c));
        let [mut one, mut other] = [0.0, 0.0].map(|_| y.f_zeros_like().unwrap());
        fast.write(&mut one).unwrap();
        slow.write(&mut other).unwrap();
        let off = one.f_subtract(&other).unwrap().f_abs().unwrap().f_max().unwrap();
        assert!(f64::try_from(off).unwrap() < 1e-14);
        for sum in [&mut fast, &mut slow] {
            sum.c.extend((0..10).map(|i| 0.1 * f64::from(i)));
        }
        let tol = Tolerance { rtol: 1e-2, atol: 1e-3 };
        let mut scratch = Tensor::f_zeros([5, 6], (Kind::Double, Device::Cpu)).unwrap();
        let reads = super::super::traffic().reads;
        let fast = fast.squared_errors(2, &mut scratch, [&y, &z], tol).unwrap();
        let slow = slow.squared_errors(2, &mut scratch, [&y, &z], tol).unwrap();
        assert_eq!((super::super::traffic().reads - reads, fast.len()), (2, 10));
        for (fast, slow) in fast.iter().zip(slow) {
            assert!((fast / slow - 1.0).abs() < 1e-13, "{fast} {slow}");
        }
    }
}
