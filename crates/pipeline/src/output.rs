//! Results on disk, whole or not at all: a file is written under a temporary name beside its target and then renamed,
//! so a run that stops half-way leaves what was there before.
//!
//! Arrays are written as they are; only a picture clips its numbers.

mod picture;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use ndarray::{ArrayBase, ArrayD, Data, Dimension, Ix4};
use ndarray_npy::{WriteNpyError, WriteNpyExt};
use safetensors::tensor::{Dtype, TensorView};

pub use picture::{Grid, write_png_blocks, write_png_grid};
use picture::{MAX_BYTES, square};

/// A result that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The directory to write into does not exist.
    #[error("{path} cannot be written: the directory {parent} does not exist")]
    NoDirectory {
        /// The file to write.
        path: PathBuf,
        /// The directory that is not there.
        parent: PathBuf,
    },
    /// The operating system refused.
    #[error("{path} cannot be written: {cause}")]
    Io {
        /// The file to write.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// Nothing to show.
    #[error(
        "a picture of images of the shape {shape:?} would be empty, expected no axis of length 0"
    )]
    Empty {
        /// `[N, C, H, W]`.
        shape: Vec<usize>,
    },
    /// A number of channels that is no colour.
    #[error("images of {found} channels have no colours, expected 1 (grey) or 3 (RGB)")]
    Channels {
        /// The number of channels.
        found: usize,
    },
    /// A name that says no format.
    #[error("{path} has no extension of a format, expected .npy, .safetensors or .png")]
    Format {
        /// The file to write.
        path: PathBuf,
    },
    /// An array that is no batch of images.
    #[error("an array of the shape {shape:?} is no picture, expected [N, C, H, W]")]
    NoImages {
        /// The shape.
        shape: Vec<usize>,
    },
    /// Blocks whose images differ in size.
    #[error(
        "block {block} holds images of the shape {found:?}, expected {expected:?} as in block 0"
    )]
    Block {
        /// Which block.
        block: usize,
        /// Its channels, height, width.
        found: [usize; 3],
        /// Those of the first block.
        expected: [usize; 3],
    },
    /// A grid of no columns or of images enlarged to nothing.
    #[error("a grid has {columns} columns at scale {scale}, expected both to be 1 or more")]
    Grid {
        /// Images per row.
        columns: usize,
        /// Pixels per pixel.
        scale: usize,
    },
    /// A picture beyond a gibibyte.
    #[error(
        "the picture would be larger than {MAX_BYTES} bytes, expected fewer images or a smaller scale or gap"
    )]
    TooLarge,
    /// A number without a colour.
    #[error("image {index} of block {block} holds NaN, expected numbers")]
    NotANumber {
        /// Which block.
        block: usize,
        /// Which image of it.
        index: usize,
    },
}

/// Writes an array of any shape as `.npy`, unclipped.
///
/// # Errors
/// A file that cannot be written.
pub fn write_npy(
    path: impl AsRef<Path>,
    array: &ArrayBase<impl Data<Elem = f64>, impl Dimension>,
) -> Result<(), OutputError> {
    write_whole(path, |file| {
        array.write_npy(BufWriter::new(file)).map_err(|error| match error {
            WriteNpyError::Io(cause) => cause,
            other => io::Error::other(other),
        })
    })
}

/// Writes an array of any shape as the tensor `key` of a safetensors file, in f64, unclipped.
///
/// # Errors
/// A file that cannot be written.
pub fn write_safetensors(
    path: impl AsRef<Path>,
    key: &str,
    array: &ArrayBase<impl Data<Elem = f64>, impl Dimension>,
) -> Result<(), OutputError> {
    write_whole(path, |file| {
        let bytes: Vec<u8> = array.iter().flat_map(|y| y.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F64, array.shape().to_vec(), &bytes);
        let view = view.map_err(io::Error::other)?;
        let text = safetensors::serialize([(key, view)], None).map_err(io::Error::other)?;
        file.write_all(&text)
    })
}

/// What an array is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.npy`.
    Npy,
    /// `.safetensors`.
    Safetensors,
    /// `.png`: a grid of images.
    Png,
}

impl Format {
    /// The format that a name's extension says.
    ///
    /// # Errors
    /// [`OutputError::Format`] for another one or none.
    pub fn of(path: &Path) -> Result<Self, OutputError> {
        let extension = path.extension().map(OsStr::to_ascii_lowercase);
        match extension.as_ref().and_then(|e| e.to_str()) {
            Some("npy") => Ok(Self::Npy),
            Some("safetensors") => Ok(Self::Safetensors),
            Some("png") => Ok(Self::Png),
            _ => Err(OutputError::Format { path: path.into() }),
        }
    }

    /// Refuses a shape that the format cannot hold, before the work that fills it.
    ///
    /// # Errors
    /// For pictures: other axes than four, other channels than 1 or 3.
    pub fn check(self, shape: &[usize]) -> Result<(), OutputError> {
        match *shape {
            _ if self != Self::Png => Ok(()),
            [_, 1 | 3, _, _] => Ok(()),
            [_, found, _, _] => Err(OutputError::Channels { found }),
            _ => Err(OutputError::NoImages { shape: shape.into() }),
        }
    }
}

/// Writes an array in the format that the name's extension says: `.npy`, `.safetensors` (as the tensor `key`) or `.png`.
///
/// # Errors
/// Another extension, an array that is no picture, or a file that cannot be written.
pub fn write_array(
    path: impl AsRef<Path>,
    key: &str,
    array: &ArrayD<f64>,
) -> Result<(), OutputError> {
    let path = path.as_ref();
    let format = Format::of(path)?;
    format.check(array.shape())?;
    match format {
        Format::Npy => write_npy(path, array),
        Format::Safetensors => write_safetensors(path, key, array),
        Format::Png => {
            let images = array.view().into_dimensionality::<Ix4>();
            let images =
                images.map_err(|_| OutputError::NoImages { shape: array.shape().into() })?;
            write_png_grid(path, images, square(&images))
        }
    }
}

/// Whether `path` can be written, making its directory if need be: to be asked before the work and not after.
///
/// # Errors
/// [`OutputError::Io`] when the directory cannot be made or written to, or `path` is a directory itself.
pub fn prepare(path: impl AsRef<Path>) -> Result<(), OutputError> {
    let path = path.as_ref();
    let parent = path.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."));
    let ready = if path.is_dir() {
        Err(io::ErrorKind::IsADirectory.into())
    } else {
        std::fs::create_dir_all(parent)
            .and_then(|()| temporary().tempfile_in(parent).map(|_| ()))
            .map_err(|cause| io::Error::from(cause.kind()))
    };
    ready.map_err(|cause| OutputError::Io { path: path.into(), cause })
}

/// Writes a file by `write` under a temporary name in the same directory, then gives it its name; on failure nothing
/// is left behind and an older file stays as it was.
///
/// # Errors
/// [`OutputError::NoDirectory`] or [`OutputError::Io`].
pub fn write_whole(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), OutputError> {
    let path = path.as_ref();
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if !parent.is_dir() {
        return Err(OutputError::NoDirectory { path: path.into(), parent: parent.into() });
    }
    // Without the temporary name, which means nothing to a user.
    let temporary = temporary().tempfile_in(parent).map_err(|cause| cause.kind().into());
    let written = temporary.and_then(|mut file: tempfile::NamedTempFile| {
        write(file.as_file_mut())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    });
    written.map_err(|cause| OutputError::Io { path: path.into(), cause })
}

/// A temporary file with the permissions that a new file has, not those of a secret.
fn temporary() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}
