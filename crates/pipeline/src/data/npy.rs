//! `.npy`, the array format of Python's numpy: magic, version, a dictionary as text, then the elements.
//!
//! ```text
//! \x93NUMPY  major minor  length of the text  {'descr': '<f8', 'fortran_order': False, 'shape': (64, 1, 8, 8), }\n
//! ```
//!
//! Unsigned bytes are levels, 32- and 64-bit floats model coordinates. The text is searched for its three entries
//! rather than parsed as Python, so no input can nest deeply enough to hurt.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use ndarray::{ArrayD, Dimension, IxDyn, ShapeBuilder};

use super::records::{Element, Layout};
use super::{BYTE_LEVELS, Data, DataError, Images, byte_count, nchw};

const MAGIC: &[u8] = b"\x93NUMPY";

/// The array of an `.npy` or safetensors file, of any shape.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Npy {
    /// Unsigned bytes.
    U8(ArrayD<u8>),
    /// Floats of 32 or 64 bits.
    F64(ArrayD<f64>),
}

/// Reads a data set: bytes `[N, H, W]` or `[N, C, H, W]` are 256 levels, floats `[N, D]`, `[N, H, W]` (one channel) or
/// `[N, C, H, W]` are model coordinates.
///
/// # Errors
/// As [`read`]; also another rank, an axis of length 0, bytes with the channels last, a float that is not finite.
pub fn data(path: impl AsRef<Path>) -> Result<Data, DataError> {
    let path = path.as_ref();
    match read(path)? {
        Npy::U8(array) => levels(path, array).map(Data::Levels),
        Npy::F64(array) => floats(path, array).map(Data::Float),
    }
}

/// Reads an array of any shape: noise, probes, labels.
///
/// # Errors
/// A missing, cut or overlong file, a header that cannot be understood, elements that are neither bytes nor floats.
pub fn read(path: impl AsRef<Path>) -> Result<Npy, DataError> {
    let path = path.as_ref();
    parse(path, &fs::read(path).map_err(|cause| DataError::io(path, cause))?)
}

/// Bytes as images of 256 levels.
pub(super) fn levels(path: &Path, array: ArrayD<u8>) -> Result<Images, DataError> {
    let shape = array.shape().to_vec();
    let [n, c, h, w] = nchw(path, &shape)?;
    if c > 4 && matches!(w, 1 | 3 | 4) {
        let expected = "[N, C, H, W] with the channels before the rows";
        return Err(DataError::Shape { path: path.into(), found: shape, expected });
    }
    let pixels = array
        .into_shape_with_order((n, c, h, w))
        .map_err(|_| DataError::TooLarge { path: path.into(), shape })?;
    Images::new(pixels, BYTE_LEVELS)
}

/// Floats as model coordinates.
pub(super) fn floats(path: &Path, array: ArrayD<f64>) -> Result<ArrayD<f64>, DataError> {
    let array = finite(path, array)?;
    let shape = array.shape().to_vec();
    let as_read = match *shape {
        [0, _] | [_, 0] => return Err(DataError::Empty { path: path.into(), shape }),
        [_, _] => return Ok(array),
        [_, _, _] | [_, _, _, _] => nchw(path, &shape)?,
        _ => {
            let expected = "[N, D], [N, H, W] or [N, C, H, W]";
            return Err(DataError::Shape { path: path.into(), found: shape, expected });
        }
    };
    array
        .into_shape_with_order(IxDyn(&as_read))
        .map_err(|_| DataError::TooLarge { path: path.into(), shape })
}

/// The array, when every number in it is finite.
pub(super) fn finite(path: &Path, array: ArrayD<f64>) -> Result<ArrayD<f64>, DataError> {
    match array.indexed_iter().find(|(_, y)| !y.is_finite()) {
        None => Ok(array),
        Some((index, &found)) => {
            let index = index.slice().to_vec();
            Err(DataError::NotFinite { path: path.into(), index, found })
        }
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Npy, DataError> {
    let (text, body) = split_header(path, bytes)?;
    let header = Header::parse(path, text)?;
    match header.descr {
        "|u1" | "<u1" | ">u1" | "u1" => header.array(path, body, |&[b]| b).map(Npy::U8),
        "<f8" => header.array(path, body, |&b| f64::from_le_bytes(b)).map(Npy::F64),
        ">f8" => header.array(path, body, |&b| f64::from_be_bytes(b)).map(Npy::F64),
        "<f4" => header.array(path, body, |&b| f32::from_le_bytes(b).into()).map(Npy::F64),
        ">f4" => header.array(path, body, |&b| f32::from_be_bytes(b).into()).map(Npy::F64),
        descr => Err(DataError::Kind {
            path: path.into(),
            found: format!("elements of dtype {:?}", beginning(descr)),
            expected: "u1 (levels), f4 or f8 (model coordinates)",
        }),
    }
}

/// The longest header that is looked for at the front of a file.
const FRONT: u64 = 1 << 20;

/// Where the samples of a file in C order lie, and how many there are.
pub(super) fn layout(path: &Path) -> Result<(Layout, usize), DataError> {
    let mut front = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FRONT).read_to_end(&mut front));
    read.map_err(|cause| DataError::io(path, cause))?;
    let (text, body) = split_header(path, &front)?;
    let header = Header::parse(path, text)?;
    let element = match header.descr {
        "|u1" | "<u1" | ">u1" | "u1" => Element::U8,
        "<f8" | ">f8" => Element::F64 { big: header.descr.starts_with('>') },
        "<f4" | ">f4" => Element::F32 { big: header.descr.starts_with('>') },
        descr => {
            let found = format!("elements of dtype {:?}", beginning(descr));
            let expected = "u1 (levels), f4 or f8 (model coordinates)";
            return Err(DataError::Kind { path: path.into(), found, expected });
        }
    };
    let (n, shape) = match *header.shape {
        _ if header.fortran_order => {
            let (found, expected) = ("an array in Fortran order".into(), "one in C order");
            return Err(DataError::Kind { path: path.into(), found, expected });
        }
        [n, d] if element != Element::U8 && n > 0 && d > 0 => (n, vec![d]),
        _ => {
            let [n, c, h, w] = nchw(path, &header.shape)?;
            (n, vec![c, h, w])
        }
    };
    byte_count(path, &header.shape, 8)?;
    let start = (front.len() - body.len()) as u64;
    Ok((Layout { shape, element, start, before: 0 }, n))
}

/// The text of the header and the elements after it.
fn split_header<'a>(path: &Path, bytes: &'a [u8]) -> Result<(&'a str, &'a [u8]), DataError> {
    let cut = |what, found: usize, expected: usize| DataError::Truncated {
        path: path.into(),
        what,
        found: found as u64,
        expected: expected as u64,
    };
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        let first = bytes.get(..MAGIC.len()).unwrap_or(bytes);
        return Err(DataError::magic(path, first, "93 4e 55 4d 50 59 (\\x93NUMPY)"));
    };
    let (length, rest) = match *rest {
        [1, _, a, b, ref rest @ ..] => (usize::from(u16::from_le_bytes([a, b])), rest),
        [2 | 3, _, a, b, c, d, ref rest @ ..] => (u32::from_le_bytes([a, b, c, d]) as usize, rest),
        [major @ (0 | 4..), minor, ..] => {
            let found = format!("an array in version {major}.{minor} of the .npy format");
            let expected = "version 1, 2 or 3";
            return Err(DataError::Kind { path: path.into(), found, expected });
        }
        _ => return Err(cut("header", bytes.len(), if rest.starts_with(&[1]) { 10 } else { 12 })),
    };
    let (text, body) =
        rest.split_at_checked(length).ok_or_else(|| cut("header", rest.len(), length))?;
    let text = std::str::from_utf8(text).map_err(|_| DataError::Header {
        path: path.into(),
        found: beginning(&String::from_utf8_lossy(text)),
        key: "descr",
    })?;
    Ok((text, body))
}

/// What the text of the header says.
struct Header<'a> {
    descr: &'a str,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl<'a> Header<'a> {
    fn parse(path: &Path, text: &'a str) -> Result<Self, DataError> {
        let bad = |key| DataError::Header { path: path.into(), found: beginning(text), key };
        let descr = entry(text, "descr").and_then(descr).ok_or_else(|| bad("descr"))?;
        let order = entry(text, "fortran_order").ok_or_else(|| bad("fortran_order"))?;
        let fortran_order = match (order.starts_with("True"), order.starts_with("False")) {
            (true, _) => true,
            (_, true) => false,
            _ => return Err(bad("fortran_order")),
        };
        let shape = entry(text, "shape").and_then(shape).ok_or_else(|| bad("shape"))?;
        Ok(Self { descr, fortran_order, shape })
    }

    /// The elements of `SIZE` bytes each, in standard layout.
    fn array<T: Clone, const SIZE: usize>(
        self,
        path: &Path,
        body: &[u8],
        element: fn(&[u8; SIZE]) -> T,
    ) -> Result<ArrayD<T>, DataError> {
        let expected = byte_count(path, &self.shape, SIZE as u64)?;
        let found = body.len() as u64;
        if found < expected {
            return Err(DataError::Truncated { path: path.into(), what: "data", found, expected });
        }
        if found > expected {
            return Err(DataError::Trailing { path: path.into(), found, expected });
        }
        let elements = body.as_chunks().0.iter().map(element).collect();
        let array = ArrayD::from_shape_vec(IxDyn(&self.shape).set_f(self.fortran_order), elements)
            .map_err(|_| DataError::TooLarge { path: path.into(), shape: self.shape })?;
        Ok(if self.fortran_order { array.as_standard_layout().into_owned() } else { array })
    }
}

/// What follows `'key':` in the dictionary.
fn entry<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(&format!("'{key}'"))?;
    after.trim_start().strip_prefix(':').map(str::trim_start)
}

/// `'<f8'` without its quotes, or `[…]` as it is: the description of a structured type.
fn descr(text: &str) -> Option<&str> {
    match text.strip_prefix('\'') {
        Some(quoted) => quoted.split_once('\'').map(|(descr, _)| descr),
        None => text.starts_with('[').then_some(text),
    }
}

/// `(3, 4)`, `(3,)` or `()`; a length beyond `usize` counts as the largest one, which no file can hold.
fn shape(text: &str) -> Option<Vec<usize>> {
    let (inside, _) = text.strip_prefix('(')?.split_once(')')?;
    let lengths = inside.split(',').map(str::trim).filter(|length| !length.is_empty());
    lengths
        .map(|length| {
            let digits = length.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| length.parse().unwrap_or(usize::MAX))
        })
        .collect()
}

/// At most 60 characters, for a message.
fn beginning(text: &str) -> String {
    text.trim_end().chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            version in 0_u8..5,
            length in prop::option::of(0_u8..90),
            text in "(\\{'descr': '[<>|][uif][1248]', 'fortran_order': (True|False), 'shape': \\([0-9, ]{0,30}\\)?)?",
            tail in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend([version, 0, length.unwrap_or(text.len() as u8), 0]);
            bytes.extend(text.bytes());
            bytes.extend(&tail);
            let _ = parse(Path::new("fuzz"), &bytes);
            let _ = parse(Path::new("fuzz"), &tail);
        }
    }
}
