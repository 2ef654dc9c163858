//! Pictures and arrays on disk: their layout, their clipping, and no partial file after a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use image::{GrayImage, RgbImage};
use ndarray::{Array4, ArrayView4, Axis, Slice};
use pipeline::data::{self, Images};
use pipeline::output::{
    Grid, OutputError, write_npy, write_png_blocks, write_png_grid, write_whole,
};

const PLAIN: Grid = Grid { columns: 1, scale: 1, gap: 0 };

fn grey(path: &Path) -> GrayImage {
    match image::open(path).unwrap() {
        image::DynamicImage::ImageLuma8(picture) => picture,
        other => panic!("expected a grey picture, found {:?}", other.color()),
    }
}

fn colour(path: &Path) -> RgbImage {
    match image::open(path).unwrap() {
        image::DynamicImage::ImageRgb8(picture) => picture,
        other => panic!("expected a colour picture, found {:?}", other.color()),
    }
}

fn rows(picture: &GrayImage) -> Vec<Vec<u8>> {
    picture.rows().map(|row| row.map(|pixel| pixel.0[0]).collect()).collect()
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn bytes_survive_the_way_through_model_coordinates() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.png");
    let all = Array4::from_shape_fn((1, 1, 16, 16), |(.., row, column)| (16 * row + column) as u8);
    let images = Images::new(all.clone(), 256).unwrap();
    write_png_grid(&path, images.midpoints().view(), PLAIN).unwrap();
    assert_eq!(grey(&path).into_raw(), all.into_raw_vec_and_offset().0);
}

#[test]
fn numbers_are_clipped_in_the_picture() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.png");
    let y = [-7.0, -1.0, -1e-12, 0.0, 1.0, 7.0, f64::INFINITY, f64::NEG_INFINITY];
    let image = ArrayView4::from_shape((1, 1, 1, 8), &y).unwrap();
    write_png_grid(&path, image, PLAIN).unwrap();
    assert_eq!(rows(&grey(&path)), [[0, 0, 127, 128, 255, 255, 255, 0]]);
}

#[test]
fn images_fill_rows_and_pixels_become_squares() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grid.png");
    let images = Array4::from_shape_fn(
        (3, 1, 1, 2),
        |(n, .., x)| if x == 0 { -1.0 } else { 0.25 * n as f64 },
    );
    write_png_grid(&path, images.view(), Grid { columns: 2, scale: 2, gap: 1 }).unwrap();
    let first = [0, 0, 128, 128, 255, 0, 0, 160, 160].to_vec();
    let blank = [255; 9].to_vec();
    let last = [0, 0, 192, 192, 255, 255, 255, 255, 255].to_vec();
    assert_eq!(rows(&grey(&path)), [first.clone(), first, blank, last.clone(), last]);
}

#[test]
fn a_row_is_no_wider_than_its_images() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grid.png");
    let images = Array4::zeros((3, 1, 2, 2));
    write_png_grid(&path, images.view(), Grid { columns: 10, scale: 1, gap: 1 }).unwrap();
    assert_eq!(grey(&path).dimensions(), (8, 2));
}

#[test]
fn planes_become_colours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("colour.png");
    let image = Array4::from_shape_fn((1, 3, 1, 2), |(_, c, _, x)| {
        [[-1.0, 0.0], [0.0, 1.0], [1.0, -1.0]][c][x]
    });
    write_png_grid(&path, image.view(), PLAIN).unwrap();
    assert_eq!(colour(&path).into_raw(), [0, 128, 255, 128, 255, 0]);
}

#[test]
fn blocks_stand_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blocks.png");
    let (dark, light) =
        (Array4::from_elem((2, 1, 1, 1), -1.0), Array4::from_elem((1, 1, 1, 1), 0.0));
    write_png_blocks(&path, &[dark.view(), light.view()], PLAIN, 2).unwrap();
    assert_eq!(rows(&grey(&path)), [[0, 255, 255, 128], [0, 255, 255, 255]]);

    let digits = data::digits();
    let (train, test) = (digits.train.images.midpoints(), digits.test.images.midpoints());
    let [left, right] = [&train, &test].map(|y| y.slice_axis(Axis(0), Slice::from(..64)));
    let grid = Grid { columns: 8, scale: 3, gap: 2 };
    write_png_blocks(&path, &[left, right], grid, 12).unwrap();
    let side = 8 * 24 + 7 * 2;
    assert_eq!(grey(&path).dimensions(), (2 * side + 12, side));
}

#[test]
fn what_cannot_be_drawn_is_refused_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.png");
    let refusal = |images: &Array4<f64>, grid| {
        let message = write_png_grid(&path, images.view(), grid).unwrap_err().to_string();
        assert_eq!(entries(folder.path()), 0);
        message
    };
    let one = Array4::zeros((1, 1, 2, 2));
    assert_eq!(
        refusal(&Array4::zeros((0, 1, 2, 2)), PLAIN),
        "a picture of images of the shape [0, 1, 2, 2] would be empty, expected no axis of length 0"
    );
    assert_eq!(
        refusal(&Array4::zeros((1, 2, 2, 2)), PLAIN),
        "images of 2 channels have no colours, expected 1 (grey) or 3 (RGB)"
    );
    for (columns, scale) in [(0, 1), (1, 0)] {
        assert_eq!(
            refusal(&one, Grid { columns, scale, gap: 0 }),
            format!("a grid has {columns} columns at scale {scale}, expected both to be 1 or more")
        );
    }
    let large = "the picture would be larger than 1073741824 bytes, expected fewer images or a smaller scale or gap";
    for (scale, gap) in [(1 << 20, 0), (usize::MAX, 0), (1, usize::MAX)] {
        assert_eq!(refusal(&one, Grid { columns: 1, scale, gap }), large);
    }
    let mut broken = Array4::zeros((3, 1, 2, 2));
    broken[[2, 0, 1, 1]] = f64::NAN;
    assert_eq!(refusal(&broken, PLAIN), "image 2 of block 0 holds NaN, expected numbers");
    let blocks = [one.view(), broken.slice_axis(Axis(3), Slice::from(..1))];
    let message = write_png_blocks(&path, &blocks, PLAIN, 1).unwrap_err().to_string();
    assert_eq!(
        message,
        "block 1 holds images of the shape [1, 2, 1], expected [1, 2, 2] as in block 0"
    );
    assert!(matches!(write_png_blocks(&path, &[], PLAIN, 1), Err(OutputError::Empty { .. })));
    assert!(matches!(write_png_blocks(&path, &blocks[..1], PLAIN, usize::MAX), Ok(())));
}

#[test]
fn a_missing_directory_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("absent").join("a.png");
    let message =
        write_png_grid(&path, Array4::zeros((1, 1, 1, 1)).view(), PLAIN).unwrap_err().to_string();
    assert_eq!(
        message,
        format!(
            "{} cannot be written: the directory {} does not exist",
            path.display(),
            folder.path().join("absent").display()
        )
    );
}

#[test]
fn a_failure_half_way_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.txt");
    fs::write(&path, "old").unwrap();
    let error = write_whole(&path, |file| {
        file.write_all(b"half of the new")?;
        Err(io::Error::other("the disk is full"))
    });
    assert_eq!(
        error.unwrap_err().to_string(),
        format!("{} cannot be written: the disk is full", path.display())
    );
    assert_eq!((fs::read_to_string(&path).unwrap().as_str(), entries(folder.path())), ("old", 1));
    write_whole(&path, |file| file.write_all(b"new")).unwrap();
    assert_eq!((fs::read_to_string(&path).unwrap().as_str(), entries(folder.path())), ("new", 1));
}

#[test]
fn a_directory_in_the_way_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("taken");
    fs::create_dir(&path).unwrap();
    let error = write_whole(&path, |file| file.write_all(b"new")).unwrap_err();
    assert!(error.to_string().starts_with(&format!("{} cannot be written: ", path.display())));
    assert_eq!((path.is_dir(), entries(folder.path())), (true, 1));
}

#[cfg(unix)]
#[test]
fn a_new_file_has_the_permissions_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
    fs::write(folder.path().join("plain"), "").unwrap();
    write_whole(folder.path().join("whole"), |_| Ok(())).unwrap();
    assert_eq!(mode("whole"), mode("plain"));
}

#[test]
fn arrays_come_back_unclipped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let array =
        Array4::from_shape_fn((2, 3, 2, 2), |(n, c, y, x)| (n * 100 + c * 10 + y * 2 + x) as f64)
            .into_dyn();
    write_npy(&path, &array).unwrap();
    assert_eq!(data::load(&path).unwrap(), data::Data::Float(array));
}
