//! Safetensors files as a user meets them: whole, cut, overlong, empty, of another format, with other contents.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use tch::{Device, Kind, Tensor};
use tempfile::TempDir;
use torch_ext::{Weights, write_weights};

fn numbers(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.f_to_kind(Kind::Double).unwrap();
    let mut out = vec![0.0; tensor.numel()];
    tensor.f_copy_data(&mut out, tensor.numel()).unwrap();
    out
}

/// A file of two tensors and metadata.
fn file(folder: &TempDir, name: &str) -> PathBuf {
    let path = folder.path().join(name);
    let a = Tensor::f_from_slice(&[1.0_f32, 2.5, -3.0, 0.0, 4.0, 5.0]).unwrap();
    let a = a.f_reshape([2, 3]).unwrap();
    let b = Tensor::f_from_slice(&[7_i64, -8]).unwrap();
    let metadata: BTreeMap<_, _> = [("format", "pt"), ("note", "two tensors"), ("a", "z")]
        .map(|(k, v)| (k.into(), v.into()))
        .into();
    write_weights(
        &path,
        [("b.weight", &b), ("a.weight", &a.f_transpose(0, 1).unwrap())],
        &metadata,
    )
    .unwrap();
    path
}

fn problem(bytes: &[u8]) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.safetensors");
    fs::write(&path, bytes).unwrap();
    let text = Weights::open(&path).unwrap_err().to_string();
    text.split_once("x.safetensors").unwrap().1.to_owned()
}

#[test]
fn what_was_written_is_read() {
    let folder = TempDir::new().unwrap();
    let weights = Weights::open(file(&folder, "w.safetensors")).unwrap();
    let shapes: Vec<_> = weights.shapes().into_iter().collect();
    assert_eq!(shapes, [("a.weight".to_owned(), vec![3, 2]), ("b.weight".to_owned(), vec![2])]);
    assert_eq!(weights.metadata("note"), Some("two tensors"));
    assert_eq!(weights.metadata("none"), None);
    let a = weights.tensor("a.weight", None, Device::Cpu).unwrap();
    assert_eq!(a.kind(), Kind::Float);
    assert_eq!(numbers(&a), [1.0, 0.0, 2.5, 4.0, -3.0, 5.0]);
    let b = weights.tensor("b.weight", Some(Kind::Double), Device::Cpu).unwrap();
    assert_eq!((b.kind(), numbers(&b)), (Kind::Double, vec![7.0, -8.0]));
    let text = weights.tensor("c", None, Device::Cpu).unwrap_err().to_string();
    assert!(text.ends_with("has no tensor `c`"), "{text}");
}

#[test]
fn the_same_tensors_are_the_same_bytes() {
    let folder = TempDir::new().unwrap();
    let bytes = |name: &str| fs::read(file(&folder, name)).unwrap();
    let first = bytes("0");
    for i in 1..20 {
        assert!(bytes(&i.to_string()) == first);
    }
}

#[test]
fn a_tensor_outlives_its_file() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "w.safetensors");
    let weights = Weights::open(&path).unwrap();
    let a = weights.tensor("a.weight", None, Device::Cpu).unwrap();
    drop(weights);
    fs::remove_file(path).unwrap();
    assert_eq!(numbers(&a)[2], 2.5);
}

#[test]
fn a_broken_file_is_one_sentence() {
    let folder = TempDir::new().unwrap();
    let whole = fs::read(file(&folder, "w.safetensors")).unwrap();
    let n = whole.len();
    let cut = problem(&whole[..n - 4]);
    let says = |found: usize, expected: usize| {
        format!(
            " is not a whole safetensors file: found {found} bytes, expected {expected} from its header"
        )
    };
    assert_eq!(cut, says(n - 4, n));
    assert_eq!(problem(&[&whole[..], &[0; 3]].concat()), says(n + 3, n));
    assert!(problem(&whole[..40]).contains("expected a header of"));
    assert!(problem(b"").contains("found 0 bytes, expected at least 8"));
    let html = problem(b"<!DOCTYPE html><html><body>404</body></html>");
    assert!(html.contains("header too large"), "{html}");
    for cut in [9, 20, 60, 100] {
        assert!(!problem(&whole[..cut]).contains('\n'));
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = TempDir::new().unwrap();
    let text = Weights::open(folder.path().join("gone.safetensors")).unwrap_err().to_string();
    assert!(text.contains("gone.safetensors: No such file"), "{text}");
    assert!(Weights::open(folder.path()).unwrap_err().to_string().contains("is a directory"));
}

#[test]
fn nothing_half_written_stays() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("no/such/folder/w.safetensors");
    let t = Tensor::f_from_slice(&[1.0]).unwrap();
    assert!(write_weights(&missing, [("t", &t)], &BTreeMap::new()).is_err());
    let complex = t.f_to_kind(Kind::ComplexDouble).unwrap();
    let target = folder.path().join("w.safetensors");
    let text = write_weights(&target, [("t", &complex)], &BTreeMap::new()).unwrap_err().to_string();
    assert!(text.contains("ComplexDouble"), "{text}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Two files, an index, and what the index says of the tensors.
fn sharded(folder: &TempDir, map: &str) -> PathBuf {
    file(folder, "one.safetensors");
    let c = Tensor::f_from_slice(&[1.5_f32]).unwrap();
    write_weights(folder.path().join("two.safetensors"), [("c", &c)], &BTreeMap::new()).unwrap();
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, format!(r#"{{"metadata": {{"total_size": 44}}, "weight_map": {map}}}"#))
        .unwrap();
    index
}

#[test]
fn weights_in_several_files_are_one() {
    let folder = TempDir::new().unwrap();
    let map =
        r#"{"c": "two.safetensors", "a.weight": "one.safetensors", "b.weight": "one.safetensors"}"#;
    let weights = Weights::open(sharded(&folder, map)).unwrap();
    assert_eq!(weights.shapes().keys().collect::<Vec<_>>(), ["a.weight", "b.weight", "c"]);
    assert_eq!(numbers(&weights.tensor("c", None, Device::Cpu).unwrap()), [1.5]);
    assert_eq!(numbers(&weights.tensor("b.weight", None, Device::Cpu).unwrap()), [7.0, -8.0]);
    assert_eq!(weights.metadata("note"), Some("two tensors"));
}

#[test]
fn an_index_that_says_something_else_than_its_files_is_named() {
    for (map, expected) in [
        (
            r#"{"c": "two.safetensors", "d": "two.safetensors"}"#,
            "two.safetensors has no tensor `d`",
        ),
        (r#"{"c": "two.safetensors", "a.weight": "one.safetensors"}"#, "is not in the index"),
        (r#"{"c": "three.safetensors"}"#, "three.safetensors: No such file"),
        (r#"{"c": "../two.safetensors"}"#, "expected a file beside the index"),
        (r#"{"c": 3}"#, "expected a file beside the index"),
        ("3", "it has no `weight_map`"),
        ("{", "is not a whole safetensors file: "),
    ] {
        let folder = TempDir::new().unwrap();
        let text = Weights::open(sharded(&folder, map)).unwrap_err().to_string();
        assert!(text.contains(expected) && !text.contains('\n'), "{text}");
    }
}
