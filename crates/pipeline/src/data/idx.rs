//! IDX, the format of MNIST and its kin: a header of big-endian numbers, then the elements, last axis fastest.
//!
//! ```text
//! byte 0, 1   zero
//! byte 2      element type; 0x08: unsigned byte, the only one read here
//! byte 3      number of axes: 3 for images [N, H, W] (4: [N, C, H, W]), 1 for labels [N]
//! then        the length of each axis, four bytes each
//! ```
//!
//! A file may be gzipped as a whole; its first two bytes tell, not its name.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use ndarray::Array4;

use super::records::{Element, Layout};
use super::{BYTE_LEVELS, DataError, Images, byte_count, nchw};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const UNSIGNED_BYTE: u8 = 0x08;

/// Reads images from an IDX file of three axes `[N, H, W]` or four `[N, C, H, W]`; 256 levels.
///
/// # Errors
/// A missing, damaged, cut or overlong file, other elements than unsigned bytes, other axes, an axis of length 0.
pub fn images(path: impl AsRef<Path>) -> Result<Images, DataError> {
    let path = path.as_ref();
    parse_images(Source::open(path)?)
}

/// Reads labels, one byte per sample, from an IDX file of one axis `[N]`.
///
/// # Errors
/// As [`images`].
pub fn labels(path: impl AsRef<Path>) -> Result<Vec<u8>, DataError> {
    let path = path.as_ref();
    parse_labels(Source::open(path)?)
}

/// Where the images of a file lie, and how many there are.
pub(super) fn layout(path: &Path) -> Result<(Layout, usize), DataError> {
    let mut source = Source::open(path)?;
    if source.gzip {
        let (found, expected) = ("a gzip stream".into(), "IDX without compression");
        return Err(DataError::Kind { path: path.into(), found, expected });
    }
    let axes = source.header()?;
    let [n, c, h, w] = nchw(path, &axes)?;
    byte_count(path, &axes, 1)?;
    let start = 4 + 4 * axes.len() as u64;
    Ok((Layout { shape: vec![c, h, w], element: Element::U8, start, before: 0 }, n))
}

/// Whether these first bytes are those of an IDX file of any element type, or of a gzip stream.
pub(super) fn recognises(first: &[u8]) -> bool {
    first.starts_with(&GZIP) || matches!(first, [0, 0, kind, (1..)] if kind_name(*kind).is_some())
}

fn parse_images(mut source: Source) -> Result<Images, DataError> {
    let shape = source.header()?;
    let [n, c, h, w] = nchw(source.path, &shape)?;
    let path = source.path;
    let pixels = Array4::from_shape_vec((n, c, h, w), source.body(&shape)?)
        .map_err(|_| DataError::TooLarge { path: path.into(), shape })?;
    Images::new(pixels, BYTE_LEVELS)
}

fn parse_labels(mut source: Source) -> Result<Vec<u8>, DataError> {
    let shape = source.header()?;
    match *shape {
        [0] => Err(DataError::Empty { path: source.path.into(), shape }),
        [_] => source.body(&shape),
        _ => Err(DataError::Shape { path: source.path.into(), found: shape, expected: "[N]" }),
    }
}

/// What byte 2 stands for.
fn kind_name(kind: u8) -> Option<&'static str> {
    match kind {
        UNSIGNED_BYTE => Some("unsigned bytes"),
        0x09 => Some("signed bytes"),
        0x0b => Some("16-bit integers"),
        0x0c => Some("32-bit integers"),
        0x0d => Some("32-bit floats"),
        0x0e => Some("64-bit floats"),
        _ => None,
    }
}

/// The bytes of a file, unpacked.
struct Source<'a> {
    path: &'a Path,
    gzip: bool,
    reader: Box<dyn Read + 'a>,
}

impl<'a> Source<'a> {
    fn open(path: &'a Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|cause| DataError::io(path, cause))?;
        Self::new(path, BufReader::new(file))
    }

    fn new(path: &'a Path, mut packed: impl BufRead + 'a) -> Result<Self, DataError> {
        let first = packed.fill_buf().map_err(|cause| DataError::io(path, cause))?;
        let gzip = first.starts_with(&GZIP);
        let reader: Box<dyn Read> =
            if gzip { Box::new(MultiGzDecoder::new(packed)) } else { Box::new(packed) };
        Ok(Self { path, gzip, reader })
    }

    /// The lengths of the axes.
    fn header(&mut self) -> Result<Vec<usize>, DataError> {
        let magic = self.take(4)?;
        let path = self.path;
        let wrong = |found| {
            DataError::magic(path, found, "00 00, an IDX element type and a number of axes")
        };
        let &[0, 0, kind, axes @ (1..)] = magic.as_slice() else {
            return Err(wrong(&magic));
        };
        let name = kind_name(kind).ok_or_else(|| wrong(&magic))?;
        if kind != UNSIGNED_BYTE {
            let expected = "unsigned bytes";
            return Err(DataError::Kind { path: path.into(), found: name.into(), expected });
        }
        let expected = 4 * u64::from(axes);
        let bytes = self.take(expected)?;
        self.complete("header", bytes.len() as u64, expected)?;
        let (lengths, _) = bytes.as_chunks();
        Ok(lengths.iter().map(|&length| u32::from_be_bytes(length) as usize).collect())
    }

    /// The elements of an array of `shape`, with nothing after them.
    fn body(mut self, shape: &[usize]) -> Result<Vec<u8>, DataError> {
        let expected = byte_count(self.path, shape, 1)?;
        let bytes = self.take(expected)?;
        self.complete("data", bytes.len() as u64, expected)?;
        let rest = io::copy(&mut self.reader, &mut io::sink()).map_err(|e| self.failure(e))?;
        if rest > 0 {
            let found = expected + rest;
            return Err(DataError::Trailing { path: self.path.into(), found, expected });
        }
        Ok(bytes)
    }

    /// The next `count` bytes, or fewer where the file ends; memory grows with what is there.
    fn take(&mut self, count: u64) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(count).read_to_end(&mut bytes);
        read.map(|_| bytes).map_err(|cause| self.failure(cause))
    }

    fn complete(&self, what: &'static str, found: u64, expected: u64) -> Result<(), DataError> {
        if found < expected {
            return Err(DataError::Truncated { path: self.path.into(), what, found, expected });
        }
        Ok(())
    }

    fn failure(&self, cause: io::Error) -> DataError {
        if self.gzip {
            DataError::Gzip { path: self.path.into(), cause }
        } else {
            DataError::io(self.path, cause)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn source(bytes: &[u8]) -> Result<Source<'_>, DataError> {
        Source::new(Path::new("fuzz"), bytes)
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = source(&bytes).and_then(parse_images);
            let _ = source(&bytes).and_then(parse_labels);
        }

        #[test]
        fn arbitrary_headers_never_panic(
            axes in 0_u8..6,
            lengths in prop::collection::vec(prop_oneof![0_u32..4, any::<u32>()], 0..6),
            data in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = vec![0, 0, UNSIGNED_BYTE, axes];
            bytes.extend(lengths.iter().flat_map(|length| length.to_be_bytes()));
            bytes.extend(&data);
            if let Ok(images) = source(&bytes).and_then(parse_images) {
                prop_assert!(bytes.ends_with(images.pixels().as_slice().unwrap()));
            }
        }
    }
}
