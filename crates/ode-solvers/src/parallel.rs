//! Host batches on every core: rows are cut into chunks and each chunk is solved from start to end by one thread.
//!
//! Samples never look at each other, so the cut changes no bit of the result; a chunk's stages stay in a core's
//! cache, and threads meet once per solve instead of once per stage.

use crate::error::Result;
use crate::problem::Samples;
use crate::solution::Solution;
use ndarray::{Array, Axis, RemoveAxis, Slice};
use rayon::prelude::*;

/// Cuts `x` into chunks of at most `rows` samples and runs `work` on each, in parallel; results in order.
///
/// `work` receives the chunk with its samples numbered as in `x`, from `first`.
///
/// # Errors
/// The first error that `work` returns.
pub fn in_chunks<D, R, E>(
    x: &Array<f64, D>,
    first: u64,
    rows: usize,
    work: impl Fn(Samples<Array<f64, D>>) -> std::result::Result<R, E> + Sync,
) -> std::result::Result<Vec<R>, E>
where
    D: RemoveAxis,
    R: Send,
    E: Send,
{
    let (n, rows) = (x.len_of(Axis(0)), rows.max(1));
    (0..n.div_ceil(rows).max(1)) // an empty batch is one empty chunk
        .into_par_iter()
        .map(|chunk| {
            let range = chunk * rows..((chunk + 1) * rows).min(n);
            let number = first + range.start as u64;
            let part = x.slice_axis(Axis(0), Slice::from(range));
            work(Samples::numbered(part.as_standard_layout().into_owned(), number))
        })
        .collect()
}

/// [`in_chunks`] for work that solves: the chunks' solutions joined into one.
///
/// ```
/// use ndarray::Array2;
/// use ode_solvers::{Adaptive, RK45, solve, solve_in_chunks};
/// use sde_core::Tolerance;
/// let decay = Array2::from_elem((1000, 2), 1.0);
/// let options = Adaptive::new(Tolerance::both(1e-6));
/// let solution = solve_in_chunks(&decay, 0, 64, |chunk| {
///     solve(&RK45, chunk, (0.0, 1.0), &options, |y, _, dy| {
///         dy.zip_mut_with(y, |dy, y| *dy = -y);
///         Ok(())
///     })
/// })?;
/// assert!((solution.y[[999, 1]] - (-1_f64).exp()).abs() < 1e-5);
/// # Ok::<(), ode_solvers::Error>(())
/// ```
///
/// # Errors
/// The first error that `work` returns.
pub fn solve_in_chunks<D: RemoveAxis>(
    x: &Array<f64, D>,
    first: u64,
    rows: usize,
    work: impl Fn(Samples<Array<f64, D>>) -> Result<Solution<Array<f64, D>>> + Sync,
) -> Result<Solution<Array<f64, D>>> {
    let mut parts = in_chunks(x, first, rows, &work)?.into_iter();
    let Some(mut whole) = parts.next() else {
        return work(Samples::numbered(x.clone(), first));
    };
    parts.try_for_each(|part| whole.append(part))?;
    Ok(whole)
}
