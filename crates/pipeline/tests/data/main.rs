//! Data sets from disk and from memory: what is read, and one sentence for each thing that is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod digits;
mod idx_files;
mod names;
mod npy_files;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};
use ndarray::{
    Array1, Array2, Array3, Array4, ArrayD, ArrayView, Axis, IxDyn, ShapeBuilder, array,
};
use ndarray_npy::{WritableElement, WriteNpyExt, write_npy};
use pipeline::data::{self, Data, DataError, Images, idx, npy};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn file(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An IDX file of unsigned bytes.
fn idx_bytes(lengths: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, u8::try_from(lengths.len()).unwrap()];
    bytes.extend(lengths.iter().flat_map(|n| n.to_be_bytes()));
    bytes.extend(data);
    bytes
}

/// An `.npy` file with this dictionary for a header.
fn npy_bytes(dictionary: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(dictionary.len()).unwrap().to_le_bytes());
    bytes.extend(dictionary.bytes());
    bytes.extend(data);
    bytes
}

fn saved<T: WritableElement + Clone>(folder: &TempDir, name: &str, array: &ArrayD<T>) -> PathBuf {
    let path = folder.path().join(name);
    write_npy(&path, array).unwrap();
    path
}

fn levels(path: &Path) -> Images {
    match data::load(path).unwrap() {
        Data::Levels(images) => images,
        other => panic!("expected levels, found {other:?}"),
    }
}

fn float(path: &Path) -> ArrayD<f64> {
    match data::load(path).unwrap() {
        Data::Float(array) => array,
        other => panic!("expected floats, found {other:?}"),
    }
}

/// The message of the error that loading gives, after the file's name, which it has to start with.
#[track_caller]
fn refusal(path: &Path) -> String {
    message(path, &data::load(path).unwrap_err())
}

#[track_caller]
fn message(path: &Path, error: &DataError) -> String {
    let message = error.to_string();
    let rest = message.strip_prefix(path.to_str().unwrap());
    rest.unwrap_or_else(|| panic!("{message} does not start with {}", path.display()))
        .trim_start()
        .into()
}
