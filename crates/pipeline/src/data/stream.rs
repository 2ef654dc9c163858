//! Data that stay on disk: a row is read when it is asked for, by any thread.

use super::pictures::{Pictures, Square};
use super::records::Records;
use super::{DataError, cifar};

/// Rows on disk.
#[derive(Debug)]
pub enum Stream {
    /// Records of files.
    Records(Records),
    /// Pictures of a folder.
    Pictures(Pictures),
}

impl Stream {
    /// Opens a folder of pictures, CIFAR-10, an `.npy` or an IDX file. What is left out is said to `note`.
    ///
    /// # Errors
    /// Those of [`Pictures::open`] and [`Records::open`]; a folder where the size of its squares is not given.
    pub fn open(
        source: &str,
        square: Option<Square>,
        note: &mut dyn FnMut(String),
    ) -> Result<Self, DataError> {
        if cifar::names(source) {
            return cifar::open(source).map(Self::Records);
        }
        match square {
            Some(square) => Pictures::open(source, square, note).map(Self::Pictures),
            None => Records::open(source).map(Self::Records),
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Records(records) => records.len(),
            Self::Pictures(pictures) => pictures.len(),
        }
    }

    /// Whether there are none; never after opening.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of a sample.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Records(records) => records.shape().to_vec(),
            Self::Pictures(pictures) => pictures.shape().to_vec(),
        }
    }

    /// Whether the numbers are levels, and not model coordinates.
    pub fn has_levels(&self) -> bool {
        match self {
            Self::Records(records) => records.has_levels(),
            Self::Pictures(_) => true,
        }
    }

    /// The class of each row, where the files say it.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn labels(&self) -> Result<Option<Vec<u8>>, DataError> {
        match self {
            Self::Records(records) => records.labels(),
            Self::Pictures(pictures) => Ok(pictures.labels()),
        }
    }

    /// The numbers of a row.
    ///
    /// # Errors
    /// A file that can no longer be read.
    pub fn read(&self, row: usize, out: &mut [f64]) -> Result<(), DataError> {
        match self {
            Self::Records(records) => records.read(row, out),
            Self::Pictures(pictures) => {
                let bytes = pictures.read(row)?;
                out.iter_mut().zip(bytes).for_each(|(x, b)| *x = b.into());
                Ok(())
            }
        }
    }

    /// The levels of all rows.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read_all(&self) -> Result<Vec<u8>, DataError> {
        let mut row = vec![0.0; self.shape().iter().product()];
        let mut all = Vec::with_capacity(self.len() * row.len());
        for i in 0..self.len() {
            self.read(i, &mut row)?;
            #[expect(clippy::cast_sign_loss, reason = "bytes that were widened")]
            all.extend(row.iter().map(|&k| k as u8)); // exact
        }
        Ok(all)
    }
}
