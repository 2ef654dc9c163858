//! A batch on its way along a grid of times, with the numbers of a step.

use super::Normals;
use crate::error::{Error, Result};
use crate::fixed::{check_grid, finish};
use crate::problem::Samples;
use crate::samplers::combine;
use crate::solution::Solution;
use sde_core::{Lanes, State};

/// The most terms of one combination.
const TERMS: usize = 6;

pub(super) struct Walk<X, Z> {
    pub(super) x: X,
    /// The trial state.
    pub(super) next: X,
    pub(super) z: X,
    pub(super) numbers: Vec<u64>,
    times: Vec<f64>,
    rows: Vec<Vec<f64>>,
    pub(super) noise: Z,
    nfe: usize,
}

impl<X: State, Z: Normals<X>> Walk<X, Z> {
    pub(super) fn new(start: Samples<X>, grid: &[f64], noise: Z) -> Result<Self> {
        check_grid(grid)?;
        start.check()?;
        let Samples { x, numbers } = start;
        let n = numbers.len();
        Ok(Self {
            next: x.zeros_like(),
            z: x.zeros_like(),
            numbers,
            times: vec![0.0; n],
            rows: vec![vec![0.0; n]; TERMS],
            noise,
            nfe: 0,
            x,
        })
    }

    /// `f` of x at t.
    pub(super) fn evaluate<R>(
        &mut self,
        f: impl FnOnce(&X, Lanes<'_>, &mut R) -> sde_core::Result<()>,
        t: f64,
        out: &mut R,
    ) -> Result<()> {
        self.times.fill(t);
        self.nfe += 1;
        let at = Lanes { t: &self.times, sample: &self.numbers };
        f(&self.x, at, out).map_err(|source| Error::Dynamics { t, source })
    }

    /// `f` of the trial state at t.
    pub(super) fn evaluate_trial<R>(
        &mut self,
        f: impl FnOnce(&X, Lanes<'_>, &mut R) -> sde_core::Result<()>,
        t: f64,
        out: &mut R,
    ) -> Result<()> {
        std::mem::swap(&mut self.x, &mut self.next);
        let done = self.evaluate(f, t, out);
        std::mem::swap(&mut self.x, &mut self.next);
        done
    }

    /// The numbers of this key, to z.
    pub(super) fn draw(&mut self, key: u32) -> Result<()> {
        Ok(self.noise.draw(&self.numbers, key, &mut self.z)?)
    }

    /// The trial state `keep x + Σ c y + std z` over the terms `(c, y)`.
    pub(super) fn combine(&mut self, keep: f64, terms: &[(f64, &X)], std: f64) {
        let (x, z, n) = (&self.x, &self.z, terms.len());
        combine(&mut self.next, &mut self.rows, n + 2, |j| match j {
            0 => (keep, x),
            j if j <= n => terms[j - 1],
            _ => (std, z),
        });
    }

    /// The trial state `x + c y + d z` with a c and a d for each row.
    pub(super) fn combine_rows(&mut self, y: &X, [c, d]: &[Vec<f64>; 2]) {
        self.rows[0].fill(1.0);
        self.next.combine(&[(&self.rows[0], &self.x), (c, y), (d, &self.z)]);
    }

    /// x becomes the trial state.
    pub(super) fn accept(&mut self) {
        std::mem::swap(&mut self.x, &mut self.next);
    }

    pub(super) fn finish(self, grid: &[f64]) -> Solution<X> {
        finish(self.x, grid, self.nfe)
    }
}
