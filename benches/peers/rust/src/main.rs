//! SciPy's standard problems by this library and by the crates `diffsol` and `ode_solvers`, for `../problems.py`.
//!
//! A line has tabs between problem, solver, seconds, evaluations and the numbers of the final state.

use diffsol::{NalgebraMat, OdeBuilder, OdeSolverMethod, OdeSolverStopReason};
use ndarray::Array2;
use ode_solvers::{Adaptive, DOP853, RK45, TSIT5, Tableau, solve};
use ode_solvers_peer::{Dop853, Dopri5, OutputType, SVector, System};
use sde_core::{Lanes, Tolerance};
use std::cell::Cell;
use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

type Rhs = fn(f64, &[f64], &mut [f64]);
/// Seconds, evaluations, final state.
type Row = (f64, u64, Vec<f64>);
type Outcome<T> = Result<T, Box<dyn Error>>;

const TOL: f64 = 1e-8;
const REPEATS: usize = 51;

/// A problem of `fixtures/solver_cases.json`: as there, but for the tolerance.
#[derive(Clone, Copy)]
struct Problem<const N: usize> {
    name: &'static str,
    f: Rhs,
    span: (f64, f64),
    y0: [f64; N],
}

/// The median seconds of a solve, with what it returned.
fn timed<T>(mut solve: impl FnMut() -> Outcome<T>) -> Outcome<(f64, T)> {
    let last = solve()?;
    let mut seconds = Vec::new();
    for _ in 0..REPEATS {
        let start = Instant::now();
        black_box(solve()?);
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok((seconds[REPEATS / 2], last))
}

impl<const N: usize> Problem<N> {
    fn own(&self, method: &'static Tableau) -> Outcome<Row> {
        let options = Adaptive::new(Tolerance::both(TOL));
        let (seconds, solution) = timed(|| {
            let y0 = Array2::from_shape_vec((1, N), self.y0.to_vec())?;
            let f = |y: &Array2<f64>, at: Lanes<'_>, dy: &mut Array2<f64>| {
                if let (Some(y), Some(dy)) = (y.as_slice(), dy.as_slice_mut()) {
                    (self.f)(at.t[0], y, dy);
                }
                Ok(())
            };
            Ok(solve(method, y0, self.span, &options, f)?)
        })?;
        Ok((seconds, solution.row_evals, solution.y.iter().copied().collect()))
    }

    fn diffsol(&self) -> Outcome<Row> {
        let calls = Cell::new(0);
        let (f, y0) = (self.f, self.y0);
        let (seconds, y) = timed(|| {
            calls.set(0);
            let problem = OdeBuilder::<NalgebraMat<f64>>::new()
                .t0(self.span.0)
                .rtol(TOL)
                .atol([TOL])
                .rhs(|y: &[f64], _: &[f64], t, dy: &mut [f64]| {
                    calls.set(calls.get() + 1);
                    f(t, y, dy);
                })
                .init(|_: &[f64], _, y: &mut [f64]| y.copy_from_slice(&y0), N)
                .build()?;
            let mut solver = problem.tsit45()?;
            solver.set_stop_time(self.span.1)?;
            while !matches!(solver.step()?, OdeSolverStopReason::TstopReached) {}
            Ok((0..N).map(|i| solver.state().y[i]).collect())
        })?;
        Ok((seconds, calls.get(), y))
    }

    fn ode_solvers(&self, eighth: bool) -> Outcome<Row> {
        let (seconds, (calls, y)) = timed(|| {
            let (y0, (t0, t1)) = (SVector::from(self.y0), self.span);
            // Both have the same methods and no trait in common.
            if eighth {
                let mut solver = Dop853::new(Of(self.f), t0, t1, t1 - t0, y0, TOL, TOL);
                solver.set_output(OutputType::Sparse);
                let calls = solver.integrate()?.num_eval;
                Ok((calls, solver.y_out().last().copied()))
            } else {
                let mut solver = Dopri5::new(Of(self.f), t0, t1, t1 - t0, y0, TOL, TOL);
                solver.set_output(OutputType::Sparse);
                let calls = solver.integrate()?.num_eval;
                Ok((calls, solver.y_out().last().copied()))
            }
        })?;
        Ok((seconds, calls.into(), y.ok_or("no state")?.as_slice().to_vec()))
    }

    fn print(&self) -> Outcome<()> {
        let rows = [
            ("score-sde RK45", self.own(&RK45)),
            ("score-sde Tsit5", self.own(&TSIT5)),
            ("score-sde DOP853", self.own(&DOP853)),
            ("diffsol Tsit45", self.diffsol()),
            ("ode_solvers Dopri5", self.ode_solvers(false)),
            ("ode_solvers Dop853", self.ode_solvers(true)),
        ];
        for (solver, row) in rows {
            let (seconds, calls, y) = row.map_err(|e| format!("{solver} on {}: {e}", self.name))?;
            let y: Vec<String> = y.iter().map(f64::to_string).collect();
            println!("{}\t{solver}\t{seconds:e}\t{calls}\t{}", self.name, y.join("\t"));
        }
        Ok(())
    }
}

/// A right-hand side as `ode_solvers` wants it.
struct Of(Rhs);

impl<const N: usize> System<f64, SVector<f64, N>> for Of {
    fn system(&self, t: f64, y: &SVector<f64, N>, dy: &mut SVector<f64, N>) {
        (self.0)(t, y.as_slice(), dy.as_mut_slice());
    }
}

fn arenstorf(_: f64, y: &[f64], dy: &mut [f64]) {
    const MU: f64 = 0.012_277_471;
    let [x, py, vx, vy] = [y[0], y[1], y[2], y[3]];
    let d1 = ((x + MU).powi(2) + py * py).powf(1.5);
    let d2 = ((x - 1.0 + MU).powi(2) + py * py).powf(1.5);
    dy[0] = vx;
    dy[1] = vy;
    dy[2] = x + 2.0 * vy - (1.0 - MU) * (x + MU) / d1 - MU * (x - 1.0 + MU) / d2;
    dy[3] = py - 2.0 * vx - (1.0 - MU) * py / d1 - MU * py / d2;
}

fn main() -> Outcome<()> {
    let plane: [(&str, Rhs, (f64, f64), [f64; 2]); 5] = [
        ("oscillator", |_, y, dy| (dy[0], dy[1]) = (y[1], -y[0]), (0.0, 10.0), [1.0, 0.0]),
        (
            "Lotka-Volterra",
            |_, y, dy| (dy[0], dy[1]) = (1.5 * y[0] - y[0] * y[1], y[0] * y[1] - 3.0 * y[1]),
            (0.0, 15.0),
            [10.0, 5.0],
        ),
        (
            "rational",
            |t, y, dy| {
                dy[0] = y[1] / t;
                dy[1] = y[1] * (y[0] + 2.0 * y[1] - 1.0) / (t * (y[0] - 1.0));
            },
            (5.0, 9.0),
            [1.0 / 3.0, 2.0 / 9.0],
        ),
        (
            "Brusselator",
            |_, y, dy| {
                let square = y[0] * y[0] * y[1];
                (dy[0], dy[1]) = (1.0 + square - 4.0 * y[0], 3.0 * y[0] - square);
            },
            (0.0, 20.0),
            [1.5, 3.0],
        ),
        (
            "van der Pol",
            |_, y, dy| (dy[0], dy[1]) = (y[1], 5.0 * (1.0 - y[0] * y[0]) * y[1] - y[0]),
            (0.0, 20.0),
            [2.0, 0.0],
        ),
    ];
    for (name, f, span, y0) in plane {
        Problem { name, f, span, y0 }.print()?;
    }
    let y0 = [0.994, 0.0, 0.0, -2.001_585_106_379_082_4];
    let span = (0.0, 17.065_216_560_157_964);
    Problem { name: "Arenstorf", f: arenstorf, span, y0 }.print()
}
