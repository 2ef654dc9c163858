//! A directory of pictures as a data set: every picture file in it, by file name, none below it.
//!
//! All pictures have 8 bits per channel, are all grey or all colour, and have one size. Nothing is resized, converted or
//! thrown away in silence: an alpha channel is dropped only where every pixel is opaque. Hidden files and files whose
//! extension is not that of a picture are passed over. BMP, GIF and WebP have no grey of their own and count as colour.

use std::fs;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageFormat, ImageReader};
use ndarray::Array4;

use super::{BYTE_LEVELS, DataError, Images};

/// Reads all pictures of a directory, sorted by file name: `[N, 1, H, W]` if they are grey, `[N, 3, H, W]` if they are
/// RGB; 256 levels.
///
/// # Errors
/// A missing directory or one without pictures, an unreadable picture, one with 16 bits per channel or with transparent
/// pixels, one whose channels or size are not those of the first.
pub fn images(path: impl AsRef<Path>) -> Result<Images, DataError> {
    let path = path.as_ref();
    let files = pictures(path)?;
    let Some((first, others)) = files.split_first() else {
        let entries = fs::read_dir(path).map_err(|cause| DataError::io(path, cause))?.count();
        return Err(DataError::NoPictures { path: path.into(), entries });
    };
    let picture = Picture::read(first)?;
    let expected @ [c, h, w] = picture.shape;
    let mut pixels = picture.into_planes();
    for file in others {
        let picture = Picture::read(file)?;
        if picture.shape != expected {
            let (path, found, first) = (file.clone(), picture.shape, first.clone());
            return Err(DataError::PictureShape { path, found, expected, first });
        }
        pixels.extend(picture.into_planes());
    }
    let shape = vec![files.len(), c, h, w];
    let pixels = Array4::from_shape_vec((files.len(), c, h, w), pixels)
        .map_err(|_| DataError::TooLarge { path: path.into(), shape })?;
    Images::new(pixels, BYTE_LEVELS)
}

/// The picture files of a directory in the order of their names.
fn pictures(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|cause| DataError::io(path, cause))? {
        let entry = entry.map_err(|cause| DataError::io(path, cause))?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let file = entry.path();
        if !hidden && ImageFormat::from_path(&file).is_ok() && file.is_file() {
            files.push(file);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// One decoded picture: rows of pixels of interleaved channels.
struct Picture {
    /// Channels, height, width.
    shape: [usize; 3],
    bytes: Vec<u8>,
}

impl Picture {
    fn read(path: &Path) -> Result<Self, DataError> {
        let picture = decode(path)?;
        let (height, width) = (picture.height() as usize, picture.width() as usize);
        if has_transparency(&picture) {
            return Err(kind(path, "transparent pixels".into()));
        }
        let (channels, bytes) = match picture {
            DynamicImage::ImageLuma8(_) | DynamicImage::ImageLumaA8(_) => {
                (1, picture.into_luma8().into_raw())
            }
            DynamicImage::ImageRgb8(_) | DynamicImage::ImageRgba8(_) => {
                (3, picture.into_rgb8().into_raw())
            }
            other => return Err(kind(path, format!("pixels of type {:?}", other.color()))),
        };
        Ok(Self { shape: [channels, height, width], bytes })
    }

    /// All values of the first channel, then those of the next.
    fn into_planes(self) -> Vec<u8> {
        let channels = self.shape[0];
        let plane = |c| self.bytes.iter().skip(c).step_by(channels);
        (0..channels).flat_map(plane).copied().collect()
    }
}

/// The picture, whatever its extension says; sizes are bounded before memory is taken.
fn decode(path: &Path) -> Result<DynamicImage, DataError> {
    let reader = ImageReader::open(path).map_err(|cause| DataError::io(path, cause))?;
    let reader = reader.with_guessed_format().map_err(|cause| DataError::io(path, cause))?;
    reader.decode().map_err(|cause| DataError::Picture { path: path.into(), cause })
}

fn has_transparency(picture: &DynamicImage) -> bool {
    match picture {
        DynamicImage::ImageLumaA8(grey) => grey.pixels().any(|pixel| pixel.0[1] < u8::MAX),
        DynamicImage::ImageRgba8(colour) => colour.pixels().any(|pixel| pixel.0[3] < u8::MAX),
        _ => false,
    }
}

fn kind(path: &Path, found: String) -> DataError {
    let expected = "opaque grey or RGB pixels of 8 bits per channel";
    DataError::Kind { path: path.into(), found, expected }
}
