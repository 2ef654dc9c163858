//! A program that uses `ode-solvers` alone: `dy/dt = y` from 1, hence e at t = 1.

use ndarray::{Array2, array};
use ode_solvers::{RK4, solve_fixed, uniform_grid};

fn main() -> Result<(), ode_solvers::Error> {
    let grid = uniform_grid(0.0, 1.0, 100);
    let start: Array2<f64> = array![[1.0]];
    let solution = solve_fixed(&RK4, start, &grid, |y: &Array2<f64>, _, dy| {
        dy.assign(y);
        Ok(())
    })?;
    assert!((solution.y[[0, 0]] - 1_f64.exp()).abs() < 1e-9);
    Ok(())
}
