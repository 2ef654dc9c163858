//! Names of files and formats.

use super::*;

#[test]
fn nothing_there() {
    let path = folder().path().join("absent.npy");
    let expected = "does not exist, expected a data file or a directory of images";
    assert_eq!(refusal(&path), expected);
    assert_eq!(message(&path, &npy::read(&path).unwrap_err()), expected);
    assert_eq!(message(&path, &idx::images(&path).unwrap_err()), expected);
    assert_eq!(message(&path, &data::folder::images(&path).unwrap_err()), expected);
}

#[test]
fn unknown_formats() {
    let folder = folder();
    let expected = "has neither an extension nor first bytes of a known format, \
                    expected .npy, .safetensors, .idx, .gz (IDX) or a directory of images";
    assert_eq!(refusal(&file(&folder, "notes.txt", b"hello")), expected);
    assert_eq!(refusal(&file(&folder, "empty", b"")), expected);
}

#[test]
fn a_directory_where_a_file_is_expected() {
    let folder = folder();
    let error = npy::read(folder.path()).unwrap_err();
    assert!(message(folder.path(), &error).starts_with("cannot be read: "));
}
