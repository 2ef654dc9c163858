//! Safetensors, the format of weights and of arrays with names: a JSON header, then the elements.
//!
//! ```text
//! 8 bytes     length of the header
//! header      {"data": {"dtype": "F32", "shape": [64, 1, 8, 8], "data_offsets": [0, 16384]}, …}
//! then        the bytes of all tensors, little-endian, without gaps
//! ```
//!
//! As in `.npy` files, floats are model coordinates and integers are levels.

use std::fs;
use std::path::Path;

use ndarray::{ArrayD, IxDyn};
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};

use super::npy::{Npy, floats, levels};
use super::{Data, DataError};

/// Bytes before the header: its length.
const LENGTH: usize = 8;

/// Reads a data set: the tensor `data`, or `samples` as `sde sample` writes them. Floats of 32 or 64 bits `[N, D]`,
/// `[N, H, W]` or `[N, C, H, W]` are model coordinates; U8 and I64 from 0 to 255 are 256 levels.
///
/// # Errors
/// As [`read`]; also another rank, an axis of length 0, a float that is not finite.
pub fn data(path: impl AsRef<Path>) -> Result<Data, DataError> {
    let path = path.as_ref();
    match read(path, &["data", "samples"])? {
        Npy::U8(array) => levels(path, array).map(Data::Levels),
        Npy::F64(array) => floats(path, array).map(Data::Float),
    }
}

/// Reads the first of these tensors that the file has, of any shape.
///
/// # Errors
/// A missing, cut or overlong file, one without such a tensor, elements that are no F32, F64, U8 or I64 from 0 to 255.
pub fn read(path: impl AsRef<Path>, keys: &[&str]) -> Result<Npy, DataError> {
    let path = path.as_ref();
    parse(path, &fs::read(path).map_err(|cause| DataError::io(path, cause))?, keys)
}

fn parse(path: &Path, bytes: &[u8], keys: &[&str]) -> Result<Npy, DataError> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|e| DataError::Safetensors { path: path.into(), what: broken(bytes, &e) })?;
    let tensor = keys.iter().find_map(|key| file.tensor(key).ok());
    let Some(tensor) = tensor else {
        let mut names = file.names();
        names.sort_unstable();
        let (found, expected) = (names.join(", "), keys.join(" or "));
        return Err(DataError::Key { path: path.into(), found, expected });
    };
    let body = tensor.data();
    match tensor.dtype() {
        Dtype::U8 => array(path, &tensor, body.to_vec()).map(Npy::U8),
        Dtype::I64 => array(path, &tensor, small(path, body)?).map(Npy::U8),
        Dtype::F64 => {
            let values = body.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b));
            array(path, &tensor, values.collect()).map(Npy::F64)
        }
        Dtype::F32 => {
            let values = body.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b).into());
            array(path, &tensor, values.collect()).map(Npy::F64)
        }
        other => Err(DataError::Kind {
            path: path.into(),
            found: format!("elements of dtype {other}"),
            expected: "F32, F64 (model coordinates), U8 or I64 (levels)",
        }),
    }
}

fn array<T>(path: &Path, like: &TensorView, values: Vec<T>) -> Result<ArrayD<T>, DataError> {
    let shape = like.shape().to_vec();
    ArrayD::from_shape_vec(IxDyn(&shape), values)
        .map_err(|_| DataError::TooLarge { path: path.into(), shape })
}

/// Levels that were stored in 64 bits.
fn small(path: &Path, body: &[u8]) -> Result<Vec<u8>, DataError> {
    let level = |&b: &[u8; 8]| {
        let k = i64::from_le_bytes(b);
        u8::try_from(k).map_err(|_| DataError::Kind {
            path: path.into(),
            found: format!("the level {k}"),
            expected: "levels from 0 to 255",
        })
    };
    body.as_chunks().0.iter().map(level).collect()
}

/// What is wrong with a file, in words.
fn broken(bytes: &[u8], error: &SafeTensorError) -> String {
    let header = bytes.first_chunk::<LENGTH>().map(|b| u64::from_le_bytes(*b));
    let found = bytes.len();
    match (error, header) {
        (SafeTensorError::InvalidHeaderLength, Some(header)) => {
            format!("found {found} bytes, expected a header of {header} bytes after the first 8")
        }
        (SafeTensorError::HeaderTooSmall, _) => format!("found {found} bytes, expected at least 8"),
        (SafeTensorError::MetadataIncompleteBuffer, _) => {
            format!("found {found} bytes, expected another number from its header")
        }
        (other, _) => other.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            length in 0_u64..120,
            dtype in "(F32|F64|U8|I64|BF16)",
            shape in "[0-9]{1,3}(,[0-9]{1,3})?",
            end in 0_usize..100,
            tail in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let text = format!(
                r#"{{"data":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[0,{end}]}}}}"#
            );
            for length in [length, text.len() as u64] {
                let mut bytes = length.to_le_bytes().to_vec();
                bytes.extend(text.bytes());
                bytes.extend(&tail);
                let _ = parse(Path::new("fuzz"), &bytes, &["data"]);
            }
            let _ = parse(Path::new("fuzz"), &tail, &["data"]);
        }
    }
}
