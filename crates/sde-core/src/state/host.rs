//! [`State`] for `ndarray::Array<f64, D>`: axis 0 is the batch.
//!
//! Every loop runs over contiguous rows. Arrays that the library makes are in standard layout; a caller's
//! transposed array is copied into standard layout once, on first touch.

use super::tiles::{self, Terms};
use super::{State, Tolerance};
use crate::error::Result;
use ndarray::{Array, Axis, Dimension, RemoveAxis, Slice};

/// The elements of `x` in row-major order; a copy is made only if `x` lies otherwise in memory.
fn with_flat<D: Dimension, R>(x: &Array<f64, D>, f: impl FnOnce(&[f64]) -> R) -> R {
    match x.as_slice() {
        Some(s) => f(s),
        None => f(x.as_standard_layout().as_slice().unwrap_or_default()),
    }
}

/// [`with_flat`] of two arrays.
fn with_flat2<D: Dimension, R>(
    x: &Array<f64, D>,
    y: &Array<f64, D>,
    f: impl FnOnce(&[f64], &[f64]) -> R,
) -> R {
    with_flat(x, |x| with_flat(y, |y| f(x, y)))
}

/// The elements of `x` in row-major order, after bringing `x` into standard layout.
fn flat_mut<D: Dimension>(x: &mut Array<f64, D>) -> &mut [f64] {
    if !x.is_standard_layout() {
        *x = x.as_standard_layout().into_owned();
    }
    x.as_slice_mut().unwrap_or_default()
}

impl<D: RemoveAxis> State for Array<f64, D> {
    type Tolerance = Tolerance;

    fn check_tolerance(tol: &Tolerance) -> Result<()> {
        tol.check()
    }

    fn samples(&self) -> usize {
        self.shape().first().copied().unwrap_or(0)
    }

    fn sample_len(&self) -> usize {
        self.shape().iter().skip(1).product()
    }

    fn zeros_like(&self) -> Self {
        Array::zeros(self.raw_dim())
    }

    fn fit(&mut self, like: &Self) {
        if self.ndim() > 0
            && self.shape()[1..] == like.shape()[1..]
            && self.samples() >= like.samples()
        {
            self.slice_axis_inplace(Axis(0), Slice::from(0..like.samples()));
        } else {
            *self = like.zeros_like();
        }
    }

    fn assign(&mut self, src: &Self) {
        Array::assign(self, src);
    }

    fn stage<'a, K>(&mut self, y: &Self, h: &[f64], w: &[f64], k: K)
    where
        K: Fn(usize) -> &'a Self + Copy,
        Self: 'a,
    {
        let n = self.sample_len().max(1);
        let out = flat_mut(self);
        with_flat(y, |y| Terms::with(w, k, |terms| tiles::stage(out, n, y, h, terms)));
    }

    fn raise_error_norm<'a, K>(
        &mut self,
        h: &[f64],
        e: &[f64],
        k: K,
        (y, z): (&Self, &Self),
        tol: &Tolerance,
        norm: &mut [f64],
    ) where
        K: Fn(usize) -> &'a Self + Copy,
        Self: 'a,
    {
        let n = self.sample_len().max(1);
        with_flat2(y, z, |y, z| {
            Terms::with(e, k, |terms| tiles::raise_error_norm(norm, n, (y, z), h, terms, *tol));
        });
    }

    fn combine(&mut self, terms: &[(&[f64], &Self)]) {
        let n = self.sample_len().max(1);
        let out = flat_mut(self);
        out.fill(0.0);
        for (c, x) in terms {
            with_flat(x, |x| {
                for ((o, x), c) in out.chunks_exact_mut(n).zip(x.chunks_exact(n)).zip(*c) {
                    o.iter_mut().zip(x).for_each(|(o, x)| *o += c * x);
                }
            });
        }
    }

    fn take_where(&mut self, src: &Self, take: &[bool]) {
        let n = self.sample_len().max(1);
        let out = flat_mut(self);
        with_flat(src, |src| {
            let rows = out.chunks_exact_mut(n).zip(src.chunks_exact(n)).zip(take);
            rows.filter(|(_, take)| **take).for_each(|((o, s), _)| o.copy_from_slice(s));
        });
    }

    fn take_marked(&mut self, src: &Self, mark: &Self) {
        let out = flat_mut(self);
        with_flat2(src, mark, |src, mark| {
            let elements = out.iter_mut().zip(src.iter().zip(mark));
            elements.filter(|(_, (_, m))| **m != 0.0).for_each(|(o, (s, _))| *o = *s);
        });
    }

    fn compact(&mut self, keep: &[usize]) {
        if self.ndim() == 0 {
            return; // no samples, nothing to keep
        }
        let n = self.sample_len();
        let data = flat_mut(self);
        for (to, &from) in keep.iter().enumerate() {
            data.copy_within(from * n..(from + 1) * n, to * n);
        }
        self.slice_axis_inplace(Axis(0), Slice::from(0..keep.len()));
    }

    fn scatter(&mut self, to: &[usize], src: &Self) {
        let n = self.sample_len();
        let out = flat_mut(self);
        with_flat(src, |src| {
            for (&to, row) in to.iter().zip(src.chunks_exact(n.max(1))) {
                out[to * n..(to + 1) * n].copy_from_slice(row);
            }
        });
    }

    fn add_dot(&self, y: &Self, out: &mut [f64]) {
        let n = self.sample_len().max(1);
        with_flat2(self, y, |x, y| {
            for ((o, x), y) in out.iter_mut().zip(x.chunks_exact(n)).zip(y.chunks_exact(n)) {
                *o += x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
            }
        });
    }

    fn fill_rows(&mut self, mut fill: impl FnMut(usize, &mut [f64])) {
        let n = self.sample_len().max(1);
        flat_mut(self).chunks_exact_mut(n).enumerate().for_each(|(i, row)| fill(i, row));
    }
}
