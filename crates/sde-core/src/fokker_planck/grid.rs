//! A conservative solver of (P1) on a grid: finite volumes with a density that stays positive and a mass that stays.
//!
//! `p_i` is the mean density of a cell of width h. Mass moves through the faces between cells and nowhere else, none
//! through the ends of the grid, by the flux of Scharfetter and Gummel (1969; Chang and Cooper 1970 find the same for
//! Fokker–Planck equations): the exact flux of the stationary problem with drift b and `D = g²/2` held fixed on the
//! way from one cell's centre to the next,
//!
//! ```text
//! J = A p_i − C p_{i+1},   A = (D/h) B(−bh/D),   C = (D/h) B(bh/D),   B(z) = z/(eᶻ − 1).        (P7)
//! ```
//!
//! A and C are positive for every b, `A − C = b`, and the flux is of order 2 in h. Where there is no noise
//! (η = 0, D → 0) it becomes `A = max(b, 0)`, `C = max(−b, 0)`: the upwind flux, positive as well, but of order 1.
//!
//! **Time.** Implicit Euler with (P7) keeps `p ≥ 0` and `Σ p_i` for steps of any length; no linear method of higher
//! order does (Bolley & Crouzeix 1978). Second order comes from Richardson's extrapolation of one step and two half
//! steps, and is not linear: the difference of the two results is itself a flux, which is scaled down at the faces of
//! those cells that it would empty by more than half (Boris & Book's flux-corrected transport, in Zalesak's form of
//! 1979). With steps that resolve the motion these cells are far in the tails. See [`Evolution`].
//!
//! **Dimensions.** A step treats one axis after the other, each line of cells being a tridiagonal system. The error of
//! this splitting is smooth in the step, so that the extrapolation removes its first order too.

mod evolution;
mod flux;

pub use evolution::Evolution;

use crate::error::{Error, Result, check};

/// One direction of a grid: `cells` of equal width between `low` and `high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    /// Where the first cell begins.
    pub low: f64,
    /// Where the last cell ends.
    pub high: f64,
    /// Number of cells.
    pub cells: usize,
}

impl Axis {
    /// Width of a cell.
    pub fn width(&self) -> f64 {
        (self.high - self.low) / self.cells as f64
    }

    /// Where cell i begins; `i = cells` is the end of the grid.
    fn face(&self, i: usize) -> f64 {
        self.low + i as f64 * self.width()
    }
}

/// A rectangular grid in one dimension, two, or more. Cells are numbered with the last axis fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    axes: Vec<Axis>,
}

/// Nodes on (−1, 1) and weights of the 3-point Gauss–Legendre rule, divided by 2: the mean over a cell.
const GAUSS: [(f64, f64); 3] = [
    (-0.774_596_669_241_483_4, 5.0 / 18.0),
    (0.0, 8.0 / 18.0),
    (0.774_596_669_241_483_4, 5.0 / 18.0),
];

impl Grid {
    /// The grid with these axes.
    ///
    /// # Errors
    /// When there is no axis, one has no cell, or one does not end above where it begins.
    pub fn new(axes: &[Axis]) -> Result<Self> {
        if axes.is_empty() {
            return Err(Error::Size { what: "axes of the grid", found: 0, expected: 1 });
        }
        for axis in axes {
            check("cells", axis.cells as f64, axis.cells > 0, "at least 1")?;
            check("low", axis.low, true, "a finite number")?;
            check("high", axis.high, axis.high > axis.low, "a number above low")?;
        }
        Ok(Self { axes: axes.to_vec() })
    }

    /// The axes.
    pub fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// The number of cells.
    pub fn cells(&self) -> usize {
        self.axes.iter().map(|a| a.cells).product()
    }

    /// Length, area or volume of a cell.
    pub fn volume(&self) -> f64 {
        self.axes.iter().map(Axis::width).product()
    }

    /// The centre of a cell.
    pub fn centre(&self, cell: usize) -> Vec<f64> {
        let middle = |axis: usize| {
            self.axes[axis].face(self.index(cell, axis)) + 0.5 * self.axes[axis].width()
        };
        (0..self.axes.len()).map(middle).collect()
    }

    /// The mean of f over each cell, by 3 Gauss points in each direction.
    pub fn averages(&self, f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
        let d = self.axes.len();
        let mean = |cell| {
            let centre = self.centre(cell);
            let mut sum = 0.0;
            for node in 0..GAUSS.len().pow(d as u32) {
                let (mut x, mut weight, mut rest) = (centre.clone(), 1.0, node);
                for (x, axis) in x.iter_mut().zip(&self.axes) {
                    let (z, w) = GAUSS[rest % GAUSS.len()];
                    (*x, weight, rest) =
                        (*x + 0.5 * axis.width() * z, weight * w, rest / GAUSS.len());
                }
                sum += weight * f(&x);
            }
            sum
        };
        (0..self.cells()).map(mean).collect()
    }

    /// The integral of a function that is given by its means: its mass, if it is a density.
    pub fn integral(&self, means: &[f64]) -> f64 {
        means.iter().sum::<f64>() * self.volume()
    }

    /// `∫ |p − q|` of two functions that are given by their means.
    pub fn distance(&self, p: &[f64], q: &[f64]) -> f64 {
        p.iter().zip(q).map(|(p, q)| (p - q).abs()).sum::<f64>() * self.volume()
    }

    /// Distance of neighbours along an axis, in the numbering of cells.
    fn stride(&self, axis: usize) -> usize {
        self.axes[axis + 1..].iter().map(|a| a.cells).product()
    }

    /// The place of a cell on an axis.
    fn index(&self, cell: usize, axis: usize) -> usize {
        cell / self.stride(axis) % self.axes[axis].cells
    }
}
