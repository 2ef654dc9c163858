//! A batch that does not fit into memory is evaluated in parts, and the next one in parts of that size at once.
//!
//! Rows do not depend on each other, so the result is the same to rounding.

use std::cell::Cell;
use std::ops::Range;

use tch::Tensor;

use super::{At, NetworkScore};
use crate::batch::Batch;
use crate::error::{Error, Result};

/// The most rows that fit, once that is known.
#[derive(Debug, Default)]
pub(super) struct Limit(Cell<Option<usize>>);

impl NetworkScore<'_> {
    /// The most rows that were evaluated together since memory ran out; `None` while it has not.
    pub fn limit(&self) -> Option<usize> {
        self.limit.0.get()
    }

    /// What `work` makes of the rows, of which it is told the numbers, row by row: of all together, or of as many as fit.
    ///
    /// # Errors
    /// Those of `work`; out of memory for a single row.
    pub(super) fn in_parts(
        &self,
        x: &Batch,
        at: &At,
        work: impl Fn(&Tensor, &At, Range<usize>) -> Result<Vec<Tensor>>,
    ) -> Result<Vec<Tensor>> {
        let n = at.labels.len();
        if self.limit().is_none_or(|limit| limit >= n) {
            match work(x.tensor(), at, 0..n) {
                Err(error) if n > 1 && is_out_of_memory(&error) => {
                    self.limit.0.set(Some(n.div_ceil(2)));
                }
                found => return found,
            }
        }
        let (mut first, mut parts) = (0, Vec::new());
        while first < n {
            let size = self.limit().unwrap_or(n);
            let part = first..(first + size).min(n);
            match work(&rows(x.tensor(), part.clone())?, &at.rows(part.clone())?, part.clone()) {
                Err(error) if part.len() > 1 && is_out_of_memory(&error) => {
                    self.limit.0.set(Some(part.len().div_ceil(2)));
                }
                found => {
                    parts.push(found?);
                    first = part.end;
                }
            }
        }
        joined(&parts)
    }
}

impl At {
    /// What the evaluation of some of the rows needs.
    fn rows(&self, part: Range<usize>) -> Result<Self> {
        Ok(Self {
            labels: self.labels[part.clone()].to_vec(),
            keys: self.keys.as_ref().map(|keys| keys[part.clone()].to_vec()),
            coefficients: self.coefficients[part.clone()].to_vec(),
            scale: self.scale.as_ref().map(|scale| rows(scale, part)).transpose()?,
        })
    }
}

/// Some of the rows.
pub(super) fn rows(x: &Tensor, part: Range<usize>) -> Result<Tensor> {
    if x.size().first() == Some(&(part.len() as i64)) {
        return Ok(x.shallow_clone());
    }
    Ok(x.f_narrow(0, part.start as i64, part.len() as i64)?)
}

/// The results of the parts, one below the other.
fn joined(parts: &[Vec<Tensor>]) -> Result<Vec<Tensor>> {
    let count = parts.first().map_or(0, Vec::len);
    let column = |k: usize| parts.iter().map(|part| &part[k]).collect::<Vec<_>>();
    (0..count).map(|k| Ok(Tensor::f_cat(&column(k), 0)?)).collect()
}

fn is_out_of_memory(error: &Error) -> bool {
    matches!(error, Error::Torch(torch_ext::Error::OutOfMemory(_)))
}
