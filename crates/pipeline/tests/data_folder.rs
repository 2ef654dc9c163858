//! Directories of pictures: what is read, what is passed over, what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use image::{GrayAlphaImage, GrayImage, ImageBuffer, Luma, LumaA, Rgb, RgbImage, Rgba, RgbaImage};
use pipeline::data::{self, Data, Images};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn grey(folder: &TempDir, name: &str, (width, height): (u32, u32), value: u8) {
    GrayImage::from_pixel(width, height, Luma([value])).save(folder.path().join(name)).unwrap();
}

fn load(folder: &TempDir) -> Images {
    match data::load(folder.path()).unwrap() {
        Data::Levels(images) => images,
        other => panic!("expected levels, found {other:?}"),
    }
}

/// The message without the path of the directory.
fn refusal(folder: &TempDir) -> String {
    let message = data::load(folder.path()).unwrap_err().to_string();
    let directory = format!("{}{}", folder.path().display(), std::path::MAIN_SEPARATOR);
    message.replace(&directory, "")
}

#[test]
fn grey_pictures_come_in_the_order_of_their_names() {
    let folder = folder();
    for (name, value) in [("b.png", 2), ("a.png", 1), ("C.pgm", 0), ("d.PNG", 3)] {
        grey(&folder, name, (3, 2), value);
    }
    fs::write(folder.path().join("labels.csv"), "1,2,3").unwrap();
    fs::write(folder.path().join("._a.png"), "not a picture").unwrap();
    fs::create_dir(folder.path().join("deeper.png")).unwrap();
    let images = load(&folder);
    assert_eq!(images.levels(), 256);
    assert_eq!(images.pixels().dim(), (4, 1, 2, 3));
    let first: Vec<u8> = images.pixels().outer_iter().map(|image| image[[0, 0, 0]]).collect();
    assert_eq!(first, [0, 1, 2, 3]);
}

#[test]
fn colours_become_planes() {
    let folder = folder();
    let picture = RgbImage::from_fn(3, 2, |x, y| Rgb([x as u8, 10 + y as u8, 20]));
    picture.save(folder.path().join("a.png")).unwrap();
    let opaque = RgbaImage::from_fn(3, 2, |x, y| Rgba([x as u8, 10 + y as u8, 20, 255]));
    opaque.save(folder.path().join("b.webp")).unwrap();
    let images = load(&folder);
    assert_eq!(images.pixels().dim(), (2, 3, 2, 3));
    for ((_, channel, row, column), &value) in images.pixels().indexed_iter() {
        assert_eq!(usize::from(value), [column, 10 + row, 20][channel]);
    }
}

#[test]
fn jpeg_is_read() {
    let folder = folder();
    grey(&folder, "a.jpg", (8, 8), 128);
    grey(&folder, "b.jpeg", (8, 8), 64);
    assert_eq!(load(&folder).pixels().dim(), (2, 1, 8, 8));
}

/// BMP and GIF have no grey of their own: the decoder gives colours, and all pictures of a directory agree in that.
#[test]
fn some_formats_are_always_colour() {
    for name in ["a.bmp", "a.gif"] {
        let folder = folder();
        RgbImage::from_pixel(3, 2, Rgb([9; 3])).save(folder.path().join(name)).unwrap();
        assert_eq!(load(&folder).pixels(), ndarray::Array4::from_elem((1, 3, 2, 3), 9));
    }
}

#[test]
fn an_opaque_grey_alpha_channel_is_dropped_and_a_transparent_one_refused() {
    let folder = folder();
    let path = folder.path().join("a.png");
    GrayAlphaImage::from_pixel(2, 2, LumaA([7, 255])).save(&path).unwrap();
    assert_eq!(load(&folder).pixels().iter().copied().collect::<Vec<_>>(), [7; 4]);
    GrayAlphaImage::from_pixel(2, 2, LumaA([7, 254])).save(&path).unwrap();
    assert_eq!(
        refusal(&folder),
        "a.png holds transparent pixels, expected opaque grey or RGB pixels of 8 bits per channel"
    );
}

#[test]
fn sixteen_bits_are_refused() {
    let folder = folder();
    let deep = ImageBuffer::from_pixel(2, 2, Luma([40_000_u16]));
    deep.save(folder.path().join("a.png")).unwrap();
    assert_eq!(
        refusal(&folder),
        "a.png holds pixels of type L16, expected opaque grey or RGB pixels of 8 bits per channel"
    );
}

#[test]
fn another_size_is_refused() {
    let folder = folder();
    grey(&folder, "a.png", (3, 2), 0);
    grey(&folder, "b.png", (2, 3), 0);
    assert_eq!(
        refusal(&folder),
        "b.png has the shape [1, 3, 2] (channels, height, width), expected [1, 2, 3] as in a.png"
    );
}

#[test]
fn another_number_of_channels_is_refused() {
    let folder = folder();
    grey(&folder, "b.png", (3, 2), 0);
    RgbImage::new(3, 2).save(folder.path().join("a.png")).unwrap();
    assert_eq!(
        refusal(&folder),
        "b.png has the shape [1, 2, 3] (channels, height, width), expected [3, 2, 3] as in a.png"
    );
}

#[test]
fn unreadable_pictures_are_refused() {
    let folder = folder();
    let path = folder.path().join("a.png");
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let message = refusal(&folder);
        assert!(message.starts_with("a.png is not a readable picture: "), "{message}");
    };
    GrayImage::from_fn(64, 64, |x, y| Luma([(x * y) as u8])).save(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    refused(&whole[..whole.len() / 2]);
    refused(&whole[..20]);
    refused(b"");
    refused(b"hello");
    refused(b"P5 60000 60000 255\n");
}

#[test]
fn a_format_that_is_not_read_is_no_data_to_lose_in_silence() {
    let folder = folder();
    grey(&folder, "a.png", (2, 2), 0);
    fs::write(folder.path().join("b.tiff"), b"II*\0\x08\0\0\0").unwrap();
    let message = refusal(&folder);
    assert!(message.starts_with("b.tiff is not a readable picture: "), "{message}");
}

#[test]
fn a_directory_without_pictures_is_refused() {
    let folder = folder();
    let message = |path: &Path| data::load(path).unwrap_err().to_string();
    let expected = |entries| {
        format!(
            "{} contains {entries} entries but no picture, \
             expected PNG, JPEG, BMP, GIF, WebP or PNM files in it",
            folder.path().display()
        )
    };
    assert_eq!(message(folder.path()), expected(0));
    fs::write(folder.path().join("notes.txt"), "hello").unwrap();
    assert_eq!(message(folder.path()), expected(1));
}
