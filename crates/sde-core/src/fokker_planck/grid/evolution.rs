//! A density on a grid, moved in time by (P7): implicit Euler on each axis, extrapolated, corrected by limited fluxes.
//!
//! ```text
//! p₁ = S(t+h, h) p,   p₂ = S(t+h, h/2) S(t+h/2, h/2) p,   S(t, h) = Π_axes (1 + h ∇·J_t)⁻¹,
//! p_new = p₂ + (p₂ − p₁),       p₂ − p₁ = −∇·G,       G the difference of the fluxes that were moved.    (P8)
//! ```

use super::Grid;
use super::flux::{Line, Rates};
use crate::error::{Result, check, check_size};
use crate::fokker_planck::Diffusion;

/// The density of a [`Diffusion`] on a [`Grid`], from one time to the next.
///
/// Mass is that of the beginning to rounding, and no cell is ever negative. The method is of order 2 in the step and,
/// with noise, in the cell width; without noise it is of order 1 in the cell width.
///
/// ```
/// use sde_core::fokker_planck::Diffusion;
/// use sde_core::fokker_planck::grid::{Axis, Evolution, Grid};
/// let grid = Grid::new(&[Axis { low: -6.0, high: 6.0, cells: 200 }])?;
/// // Ornstein–Uhlenbeck from a box at 2 to rest, N(0, 1).
/// let process = Diffusion::new(|x, _, b| b[0] = -x[0], |_| 2.0);
/// let start = grid.averages(|x| if (x[0] - 2.0).abs() < 0.5 { 1.0 } else { 0.0 });
/// let mut density = Evolution::new(&process, grid, start, 0.0)?;
/// let before = density.mass();
/// density.advance(8.0, 100)?;
/// assert!((density.mass() - before).abs() < 1e-12);
/// assert!((density.p()[100] / before - 0.3989).abs() < 1e-3);
/// # Ok::<(), sde_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Evolution<'a> {
    process: &'a Diffusion<'a>,
    grid: Grid,
    p: Vec<f64>,
    t: f64,
}

/// For each axis and face, the density that has moved through it to the right.
type Moved = Vec<Vec<f64>>;

impl<'a> Evolution<'a> {
    /// Begins at time t with the mean density `p` of each cell; see [`Grid::averages`].
    ///
    /// # Errors
    /// When there is not one number, finite and not negative, for each cell.
    pub fn new(process: &'a Diffusion<'a>, grid: Grid, p: Vec<f64>, t: f64) -> Result<Self> {
        check_size("densities of the grid", p.len(), grid.cells())?;
        for &p in &p {
            check("density of a cell", p, p >= 0.0, "a number not below 0")?;
        }
        Ok(Self { process, grid, p, t })
    }

    /// The mean density of each cell.
    pub fn p(&self) -> &[f64] {
        &self.p
    }

    /// The time.
    pub fn t(&self) -> f64 {
        self.t
    }

    /// The grid.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// `∫ p`.
    pub fn mass(&self) -> f64 {
        self.grid.integral(&self.p)
    }

    /// Goes on to the time `to` in equal steps.
    ///
    /// # Errors
    /// Unless `to` is later than now and there is at least one step, or when drift or noise is not finite on the grid.
    pub fn advance(&mut self, to: f64, steps: u32) -> Result<()> {
        check("end of the evolution", to, to > self.t, "a time after that of the density")?;
        check("steps", f64::from(steps), steps > 0, "at least 1")?;
        let (from, h) = (self.t, (to - self.t) / f64::from(steps));
        for i in 1..=steps {
            let next = if i == steps { to } else { from + f64::from(i) * h };
            self.step(next)?;
            self.t = next;
        }
        Ok(())
    }

    /// (P8) to the time `next`, which drift and noise are never asked beyond.
    fn step(&mut self, next: f64) -> Result<()> {
        let h = next - self.t;
        let (middle, end) = (self.rates(0.5 * (self.t + next))?, self.rates(next)?);
        let mut coarse = self.nothing_moved();
        let mut p = self.p.clone();
        self.implicit_step(h, &end, &mut p, &mut coarse);
        let mut fine = self.nothing_moved();
        p.copy_from_slice(&self.p);
        self.implicit_step(0.5 * h, &middle, &mut p, &mut fine);
        self.implicit_step(0.5 * h, &end, &mut p, &mut fine);
        for (fine, coarse) in fine.iter_mut().flatten().zip(coarse.iter().flatten()) {
            *fine -= coarse;
        }
        self.correct(&fine, &mut p);
        self.p = p;
        Ok(())
    }

    fn nothing_moved(&self) -> Moved {
        vec![vec![0.0; self.p.len()]; self.grid.axes().len()]
    }

    /// (P7) at time t: for each axis, the rates of the face at the upper end of each cell, 0 at the end of the grid.
    fn rates(&self, t: f64) -> Result<Vec<Vec<Rates>>> {
        let d = 0.5 * self.process.g2(t);
        check("g² / 2", d, d >= 0.0, "a finite number not below 0")?;
        let mut b = vec![0.0; self.grid.axes().len()];
        let mut of_axis = |(i, axis): (usize, &super::Axis)| {
            let mut rates = vec![Rates::default(); self.p.len()];
            for (cell, rates) in rates.iter_mut().enumerate() {
                if self.grid.index(cell, i) + 1 < axis.cells {
                    let mut face = self.grid.centre(cell);
                    face[i] += 0.5 * axis.width();
                    self.process.drift(&face, t, &mut b);
                    check("drift on the grid", b[i], true, "a finite number")?;
                    *rates = Rates::new(b[i], d, axis.width());
                }
            }
            Ok(rates)
        };
        self.grid.axes().iter().enumerate().map(&mut of_axis).collect()
    }

    /// Implicit Euler along every line of every axis, one axis after the other.
    fn implicit_step(&self, h: f64, rates: &[Vec<Rates>], p: &mut [f64], moved: &mut Moved) {
        let mut pivots = Vec::new();
        for (i, axis) in self.grid.axes().iter().enumerate() {
            let (stride, r) = (self.grid.stride(i), h / axis.width());
            for start in (0..p.len()).filter(|&cell| self.grid.index(cell, i) == 0) {
                let line = Line { start, stride, n: axis.cells };
                line.implicit_step(r, &rates[i], p, &mut moved[i], &mut pivots);
            }
        }
    }

    /// Moves G, scaled down at the faces of cells that would lose more than half of their density to it.
    fn correct(&self, g: &Moved, p: &mut [f64]) {
        let mut loss = vec![0.0; p.len()];
        self.for_faces(g, |left, right, g| loss[if g > 0.0 { left } else { right }] += g.abs());
        for (loss, p) in loss.iter_mut().zip(p.iter()) {
            *loss = if *loss > 0.5 * p { 0.5 * p / *loss } else { 1.0 }; // now the factor
        }
        self.for_faces(g, |left, right, g| {
            let g = g * loss[if g > 0.0 { left } else { right }];
            p[left] -= g;
            p[right] += g;
        });
    }

    /// Calls `f` with the cells on both sides of each face and what moves through it.
    fn for_faces(&self, g: &Moved, mut f: impl FnMut(usize, usize, f64)) {
        for (i, g) in g.iter().enumerate() {
            let (stride, last) = (self.grid.stride(i), self.grid.axes()[i].cells - 1);
            for (cell, &g) in g.iter().enumerate() {
                if self.grid.index(cell, i) < last {
                    f(cell, cell + stride, g);
                }
            }
        }
    }
}
