//! CIFAR-10's binary files (Krizhevsky 2009): records of a label and three planes of 32 × 32 bytes, red, green, blue.
//!
//! `cifar-10:train:FOLDER` are `data_batch_1.bin` to `data_batch_5.bin` of a folder, `cifar-10:test:FOLDER` is
//! `test_batch.bin`; any other number of records is as good.

use std::path::Path;

use super::DataError;
use super::records::{Element, Layout, Records};

const NAME: &str = "cifar-10:";

/// Whether a configuration names such files.
pub fn names(source: &str) -> bool {
    source.starts_with(NAME)
}

/// The records of a name.
///
/// # Errors
/// A part that is neither `train` nor `test`; a missing or cut file.
pub fn open(source: &str) -> Result<Records, DataError> {
    let layout = Layout { shape: vec![3, 32, 32], element: Element::U8, start: 0, before: 1 };
    let named = source.strip_prefix(NAME).and_then(|rest| rest.split_once(':'));
    match named {
        Some(("train", folder)) => {
            let path = |i| Path::new(folder).join(format!("data_batch_{i}.bin"));
            Records::of_files(&[1, 2, 3, 4, 5].map(path), layout)
        }
        Some(("test", folder)) => {
            Records::of_files(&[Path::new(folder).join("test_batch.bin")], layout)
        }
        _ => Err(DataError::Missing { path: source.into() }),
    }
}
