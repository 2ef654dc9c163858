//! Host batches on every core: rows are cut into chunks and each chunk is solved from start to end by one thread.
//!
//! Samples never look at each other, so the cut changes no bit of the result; a chunk's stages stay in a core's
//! cache, and threads meet once per solve instead of once per stage.

use ndarray::{Array, Axis, RemoveAxis, Slice};
use rayon::prelude::*;

use crate::problem::Samples;

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
    work: impl Fn(Samples<Array<f64, D>>) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E>
where
    D: RemoveAxis,
    R: Send,
    E: Send,
{
    let (n, rows) = (x.len_of(Axis(0)), rows.max(1));
    (0..n.div_ceil(rows))
        .into_par_iter()
        .map(|chunk| {
            let range = chunk * rows..((chunk + 1) * rows).min(n);
            let number = first + range.start as u64;
            let part = x.slice_axis(Axis(0), Slice::from(range));
            work(Samples::numbered(part.as_standard_layout().into_owned(), number))
        })
        .collect()
}
