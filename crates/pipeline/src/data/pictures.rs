//! A folder of pictures of any sizes, with those below it, as images of one size: the middle square, resized.
//!
//! Each picture is decoded once when the folder is opened, so that a broken one is found before a long run begins; it is
//! refused, or named and left out. Afterwards a picture is read when it is asked for, and memory does not grow with
//! their number. Where every picture lies in a folder of its own kind, the folders, by name, are its classes.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat, ImageReader, imageops};

use super::DataError;

/// What a picture becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Square {
    /// Its side in pixels.
    pub size: u32,
    /// 1: grey, 3: colour.
    pub channels: u8,
    /// Whether a picture that cannot be read is left out.
    pub skip: bool,
}

/// The pictures of a folder, read when they are wanted.
#[derive(Clone, Debug)]
pub struct Pictures {
    root: PathBuf,
    files: Vec<PathBuf>,
    square: Square,
}

impl Pictures {
    /// Finds the pictures of a folder and looks at each of them; those that are left out are said to `note`.
    ///
    /// # Errors
    /// A folder that cannot be read or has no picture in it; a broken picture, unless it is to be left out.
    pub fn open(
        root: impl AsRef<Path>,
        square: Square,
        note: &mut dyn FnMut(String),
    ) -> Result<Self, DataError> {
        let root = root.as_ref().to_path_buf();
        if square.size == 0 || ![1, 3].contains(&square.channels) {
            let found = vec![square.channels.into(), square.size as usize];
            let expected = "1 or 3 channels and at least one pixel";
            return Err(DataError::Shape { path: root, found, expected });
        }
        let (mut files, mut entries) = (Vec::new(), 0);
        collect(&root, &mut files, &mut entries)?;
        files.sort_unstable();
        let mut kept = Vec::with_capacity(files.len());
        for file in files {
            match decode(&file, square) {
                Ok(_) => kept.push(file),
                Err(error) if square.skip => note(format!("left out: {error}")),
                Err(error) => return Err(error),
            }
        }
        if kept.is_empty() {
            return Err(DataError::NoPictures { path: root, entries });
        }
        Ok(Self { root, files: kept, square })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are none; never after [`open`](Self::open).
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Channels, height, width.
    pub fn shape(&self) -> [usize; 3] {
        let side = self.square.size as usize;
        [self.square.channels.into(), side, side]
    }

    /// The bytes of a picture: all of the first channel, then those of the next.
    ///
    /// # Errors
    /// A file that can no longer be read.
    pub fn read(&self, row: usize) -> Result<Vec<u8>, DataError> {
        decode(&self.files[row], self.square)
    }

    /// The class of each picture: the place of its folder among those directly below the root, by name. `None` where a
    /// picture lies beside them, or there are more than 256.
    pub fn labels(&self) -> Option<Vec<u8>> {
        let folder = |file: &PathBuf| -> Option<OsString> {
            let mut parts = file.strip_prefix(&self.root).ok()?.components();
            let first = parts.next()?.as_os_str().to_owned();
            parts.next().map(|_| first)
        };
        let folders: Vec<_> = self.files.iter().map(folder).collect::<Option<_>>()?;
        let names: BTreeSet<_> = folders.iter().collect();
        let names: Vec<_> = names.into_iter().collect();
        let place = |name: &OsString| u8::try_from(names.binary_search(&name).ok()?).ok();
        folders.iter().map(place).collect()
    }
}

/// The picture files of a folder and of those below it; hidden ones are passed over.
fn collect(folder: &Path, files: &mut Vec<PathBuf>, entries: &mut usize) -> Result<(), DataError> {
    for entry in fs::read_dir(folder).map_err(|cause| DataError::io(folder, cause))? {
        let entry = entry.map_err(|cause| DataError::io(folder, cause))?;
        *entries += 1;
        let path = entry.path();
        let kind = entry.file_type().map_err(|cause| DataError::io(&path, cause))?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if kind.is_dir() && !hidden {
            collect(&path, files, entries)?; // links are not followed: they can form circles
        } else if !hidden && ImageFormat::from_path(&path).is_ok() && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

/// The middle square of a picture, resized, as planes of bytes.
fn decode(path: &Path, square: Square) -> Result<Vec<u8>, DataError> {
    let reader = ImageReader::open(path).map_err(|cause| DataError::io(path, cause))?;
    let reader = reader.with_guessed_format().map_err(|cause| DataError::io(path, cause))?;
    let picture =
        reader.decode().map_err(|cause| DataError::Picture { path: path.into(), cause })?;
    let side = picture.width().min(picture.height());
    let (x, y) = ((picture.width() - side) / 2, (picture.height() - side) / 2);
    let cut = picture.crop_imm(x, y, side, side);
    let resized = if side == square.size {
        cut
    } else {
        DynamicImage::from(imageops::resize(
            &cut.to_rgb8(),
            square.size,
            square.size,
            FilterType::Triangle, // a mean over the pixels that it makes one of
        ))
    };
    if square.channels == 1 {
        return Ok(resized.into_luma8().into_raw());
    }
    let bytes = resized.into_rgb8().into_raw();
    let plane = |c| bytes.iter().skip(c).step_by(3);
    Ok((0..3).flat_map(plane).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    /// A picture of one colour, with a border of another at its long ends.
    fn write(path: &Path, width: u32, height: u32, colour: [u8; 3]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let side = width.min(height);
        let inside = |x: u32, y: u32| {
            let margin = |n: u32| (n - side) / 2;
            (margin(width)..margin(width) + side).contains(&x)
                && (margin(height)..margin(height) + side).contains(&y)
        };
        let pixel = |x, y| if inside(x, y) { Rgb(colour) } else { Rgb([255, 0, 255]) };
        RgbImage::from_fn(width, height, pixel).save(path).unwrap();
    }

    #[test]
    fn pictures_of_all_sizes_become_squares_with_classes() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("b/one.png"), 20, 8, [10, 20, 30]);
        write(&folder.path().join("a/deep/two.png"), 4, 9, [40, 50, 60]);
        write(&folder.path().join("a/.hidden.png"), 4, 4, [0, 0, 0]);
        fs::write(folder.path().join("a/notes.txt"), "no picture").unwrap();
        let square = Square { size: 6, channels: 3, skip: false };
        let pictures = Pictures::open(folder.path(), square, &mut |_| panic!()).unwrap();
        assert_eq!((pictures.len(), pictures.shape()), (2, [3, 6, 6]));
        assert_eq!(pictures.labels(), Some(vec![0, 1]));
        for (row, colour) in [[40, 50, 60], [10, 20, 30]].into_iter().enumerate() {
            let bytes = pictures.read(row).unwrap();
            for (plane, want) in bytes.chunks(36).zip(colour) {
                assert!(plane.iter().all(|&b| b == want), "{row} {plane:?}");
            }
        }
        write(&folder.path().join("beside.png"), 4, 4, [0, 0, 0]);
        let pictures = Pictures::open(folder.path(), square, &mut |_| panic!()).unwrap();
        assert_eq!(pictures.labels(), None);
        let grey = Square { channels: 1, ..square };
        let grey = Pictures::open(folder.path(), grey, &mut |_| panic!()).unwrap();
        assert_eq!(grey.read(2).unwrap(), vec![0; 36]);
    }

    #[test]
    fn a_broken_picture_is_refused_or_named() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("good.png"), 8, 8, [1, 2, 3]);
        let broken = folder.path().join("broken.png");
        write(&broken, 64, 64, [1, 2, 3]);
        let bytes = fs::read(&broken).unwrap();
        fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
        let square = Square { size: 8, channels: 3, skip: false };
        let text = Pictures::open(folder.path(), square, &mut |_| ()).unwrap_err().to_string();
        assert!(text.contains("broken.png is not a readable picture"), "{text}");
        let mut notes = Vec::new();
        let square = Square { skip: true, ..square };
        let pictures = Pictures::open(folder.path(), square, &mut |n| notes.push(n)).unwrap();
        assert_eq!((pictures.len(), notes.len()), (1, 1));
        assert!(notes[0].contains("broken.png"), "{notes:?}");
        let empty = tempfile::tempdir().unwrap();
        assert!(Pictures::open(empty.path(), square, &mut |_| ()).is_err());
    }
}
