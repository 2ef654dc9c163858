//! What can be wrong with a data set: one variant per mistake, one sentence per message.
//!
//! A sentence names the file, says what was found and what was expected. It contains its cause, so that printing the
//! error alone says everything.

use std::io;
use std::path::{Path, PathBuf};

/// An input that is no data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// Nothing has this name.
    #[error("{path} does not exist, expected a data file or a directory of images")]
    Missing {
        /// The name that was asked for.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{path} cannot be read: {cause}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// Neither extension nor content names a format.
    #[error(
        "{path} has neither an extension nor first bytes of a known format, \
         expected .npy, .safetensors, .idx, .gz (IDX) or a directory of images"
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// A file of an array whose extension names no format of arrays.
    #[error("{path} has no extension of a format of arrays, expected .npy or .safetensors")]
    ArrayFormat {
        /// The file.
        path: PathBuf,
    },
    /// The compressed stream is broken or cut.
    #[error("{path} is not one whole gzip stream: {cause}")]
    Gzip {
        /// The file.
        path: PathBuf,
        /// What the decoder met.
        cause: io::Error,
    },
    /// The file does not begin as its format does.
    #[error("{path} starts with the bytes [{found}], expected {expected}")]
    Magic {
        /// The file.
        path: PathBuf,
        /// The first bytes in hexadecimal.
        found: String,
        /// What the format starts with.
        expected: &'static str,
    },
    /// The text header of an `.npy` file cannot be understood.
    #[error("{path} has the .npy header {found:?}, expected one with a readable '{key}'")]
    Header {
        /// The file.
        path: PathBuf,
        /// The header, or its beginning.
        found: String,
        /// The first entry that is absent or malformed.
        key: &'static str,
    },
    /// A safetensors file that is cut, overlong or none at all.
    #[error("{path} is not a whole safetensors file: {what}")]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A safetensors file without the tensor that was looked for.
    #[error("{path} holds the tensors [{found}], expected {expected}")]
    Key {
        /// The file.
        path: PathBuf,
        /// The names of its tensors.
        found: String,
        /// The names that are read.
        expected: String,
    },
    /// An array file that holds levels where numbers are wanted.
    #[error("{path} holds integers, expected floats of 32 or 64 bits")]
    Integers {
        /// The file.
        path: PathBuf,
    },
    /// Elements or pixels of a kind that is not read.
    #[error("{path} holds {found}, expected {expected}")]
    Kind {
        /// The file.
        path: PathBuf,
        /// The kind of element or pixel.
        found: String,
        /// The kinds that are read.
        expected: &'static str,
    },
    /// An array with the wrong axes.
    #[error("{path} has the shape {found:?}, expected {expected}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// Its shape.
        found: Vec<usize>,
        /// The shapes that are read.
        expected: &'static str,
    },
    /// An axis of length zero.
    #[error("{path} has the shape {shape:?}, expected at least one sample and one number in it")]
    Empty {
        /// The file.
        path: PathBuf,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A shape whose product overflows.
    #[error(
        "{path} promises the shape {shape:?}, expected fewer elements than memory has addresses"
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The shape in its header.
        shape: Vec<usize>,
    },
    /// The file is shorter than its header says.
    #[error("{path} ends after {found} bytes of {what}, expected {expected}")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The part that is cut: header or data.
        what: &'static str,
        /// Bytes present.
        found: u64,
        /// Bytes promised.
        expected: u64,
    },
    /// The file is longer than its header says.
    #[error("{path} has {found} bytes of data, expected {expected} from its header")]
    Trailing {
        /// The file.
        path: PathBuf,
        /// Bytes present.
        found: u64,
        /// Bytes promised.
        expected: u64,
    },
    /// NaN or an infinity among model coordinates.
    #[error("{path} holds {found} at the position {index:?}, expected finite numbers")]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// Position in the array.
        index: Vec<usize>,
        /// The number.
        found: f64,
    },
    /// A directory without pictures.
    #[error(
        "{path} contains {entries} entries but no picture, expected PNG, JPEG, BMP, GIF, WebP or PNM files in it"
    )]
    NoPictures {
        /// The directory.
        path: PathBuf,
        /// How many entries of other kinds it has.
        entries: usize,
    },
    /// A picture that cannot be decoded.
    #[error("{path} is not a readable picture: {cause}")]
    Picture {
        /// The file.
        path: PathBuf,
        /// What the decoder met.
        cause: image::ImageError,
    },
    /// A picture that differs in shape from the first of its directory.
    #[error(
        "{path} has the shape {found:?} (channels, height, width), expected {expected:?} as in {first}"
    )]
    PictureShape {
        /// The file.
        path: PathBuf,
        /// Its channels, height, width.
        found: [usize; 3],
        /// Those of the first picture.
        expected: [usize; 3],
        /// The first picture.
        first: PathBuf,
    },
    /// A pixel at or above the number of levels.
    #[error("image {index} holds the level {found}, expected levels below {levels}")]
    Level {
        /// Which image.
        index: usize,
        /// The level.
        found: u8,
        /// The number of levels.
        levels: u32,
    },
    /// A number of levels that bytes cannot have.
    #[error("the number of levels is {found}, expected 2 to 256")]
    Levels {
        /// The number asked for.
        found: u32,
    },
}

impl DataError {
    /// An error of the operating system about `path`.
    pub(super) fn io(path: &Path, cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::NotFound => Self::Missing { path: path.into() },
            _ => Self::Io { path: path.into(), cause },
        }
    }

    /// The first bytes of a file that should have been `expected`.
    pub(super) fn magic(path: &Path, bytes: &[u8], expected: &'static str) -> Self {
        let hex: Vec<_> = bytes.iter().map(|b| format!("{b:02x}")).collect();
        Self::Magic { path: path.into(), found: hex.join(" "), expected }
    }
}
