//! Results of samples as rows of numbers, and back, bit for bit. What is unknown is NaN.

use ndarray::{Array2, ArrayD, Axis, IxDyn, Slice, concatenate};
use ode_solvers::{ErrorBar, LaneStats, LaneStatus, LogLikelihood, Solution, TraceError};

/// Numbers of a status, of a likelihood, and of what a solve tells beside the state.
const STATUS: usize = 3;
const LIKELIHOOD: usize = 10 + STATUS;
const SOLVED: usize = 6 + STATUS;

/// A whole number that was written as f64; all are below 2⁵³.
#[expect(clippy::cast_sign_loss, reason = "counts")]
fn count(x: f64) -> u64 {
    x as u64 // whole by construction
}

fn of_status(status: LaneStatus) -> [f64; STATUS] {
    match status {
        LaneStatus::Done => [1.0, 0.0, 0.0],
        LaneStatus::Event { event, t } => [2.0, event as f64, t],
        LaneStatus::StepSizeTooSmall { t, h } => [3.0, t, h],
        LaneStatus::MaxSteps { t } => [4.0, t, 0.0],
        LaneStatus::NonFinite { t } => [5.0, t, 0.0],
        _ => [0.0; STATUS],
    }
}

fn to_status(kind: f64, a: f64, b: f64) -> LaneStatus {
    match count(kind) {
        1 => LaneStatus::Done,
        2 => LaneStatus::Event { event: count(a) as usize, t: b },
        3 => LaneStatus::StepSizeTooSmall { t: a, h: b },
        4 => LaneStatus::MaxSteps { t: a },
        5 => LaneStatus::NonFinite { t: a },
        _ => LaneStatus::Running,
    }
}

/// Likelihoods as rows.
pub fn of_likelihoods(found: &[LogLikelihood]) -> Array2<f64> {
    let known = |x: Option<f64>| x.unwrap_or(f64::NAN);
    let row = |p: &LogLikelihood| -> [f64; LIKELIHOOD] {
        let ErrorBar { trace, ode, quadrature, float } = p.errors;
        let [kind, a, b] = of_status(p.status);
        [
            p.log_prior,
            p.int_div,
            p.correction,
            known(trace.map(|t| t.standard_error)),
            known(trace.map(|t| t.dof)),
            known(ode),
            known(quadrature),
            known(float),
            p.nfe.into(),
            p.products as f64,
            kind,
            a,
            b,
        ]
    };
    Array2::from(found.iter().map(row).collect::<Vec<_>>())
}

/// Rows as likelihoods; `None` for rows of something else.
pub fn to_likelihoods(rows: &Array2<f64>) -> Option<Vec<LogLikelihood>> {
    let known = |x: f64| (!x.is_nan()).then_some(x);
    let likelihood = |row: &[f64]| {
        let row: &[f64; LIKELIHOOD] = row.try_into().ok()?;
        let &[log_prior, int_div, correction, se, dof, ..] = row;
        let &[.., ode, quadrature, float, nfe, products, kind, a, b] = row;
        let trace = known(se).map(|standard_error| TraceError { standard_error, dof });
        let errors =
            ErrorBar { trace, ode: known(ode), quadrature: known(quadrature), float: known(float) };
        let (nfe, products) = (count(nfe) as u32, count(products));
        let status = to_status(kind, a, b);
        Some(LogLikelihood { log_prior, int_div, correction, errors, nfe, products, status })
    };
    rows.outer_iter().map(|row| likelihood(&row.to_vec())).collect()
}

/// The solve of a batch as rows: the numbers of each sample, and what is known of its solve.
pub fn of_solution(solution: &Solution<ArrayD<f64>>) -> Array2<f64> {
    let Solution { y, t, status, stats, batch_evals, row_evals } = solution;
    let n = t.len();
    let d = y.len() / n.max(1);
    let mut rows = Array2::zeros((n, d + SOLVED));
    for (i, (mut row, y)) in rows.outer_iter_mut().zip(y.outer_iter()).enumerate() {
        let LaneStats { accepted, rejected, nfe } = stats[i];
        let [kind, a, b] = of_status(status[i]);
        let [accepted, rejected, nfe] = [accepted, rejected, nfe].map(f64::from);
        let [batches, evaluated] = [batch_evals, row_evals].map(|n| *n as f64);
        let told: [f64; SOLVED] = [t[i], kind, a, b, accepted, rejected, nfe, batches, evaluated];
        row.iter_mut().zip(y.iter().chain(&told)).for_each(|(to, x)| *to = *x);
    }
    rows
}

/// The solves of batches, from the rows of each, as one; `None` for rows of samples of another shape.
pub fn to_solution(chunks: &[Array2<f64>], sample: &[usize]) -> Option<Solution<ArrayD<f64>>> {
    let d: usize = sample.iter().product();
    let views: Vec<_> = chunks.iter().map(Array2::view).collect();
    let rows = concatenate(Axis(0), &views).ok().filter(|rows| rows.ncols() == d + SOLVED)?;
    let shape: Vec<usize> = [&[rows.nrows()], sample].concat();
    let y: Vec<f64> = rows.slice_axis(Axis(1), Slice::from(..d)).iter().copied().collect();
    let column = |j: usize| rows.column(d + j);
    let lane = |i: usize| {
        let at = |j: usize| rows[[i, d + j]];
        let stats = LaneStats {
            accepted: count(at(4)) as u32,
            rejected: count(at(5)) as u32,
            nfe: count(at(6)) as u32,
        };
        (to_status(at(1), at(2), at(3)), stats)
    };
    let (status, stats) = (0..rows.nrows()).map(lane).unzip();
    let total = |j: usize| {
        let of = |rows: &Array2<f64>| rows.column(d + j).first().copied().map_or(0, count);
        chunks.iter().map(of).sum()
    };
    Some(Solution {
        y: ArrayD::from_shape_vec(IxDyn(&shape), y).ok()?,
        t: column(0).to_vec(),
        status,
        stats,
        batch_evals: total(7),
        row_evals: total(8),
    })
}
