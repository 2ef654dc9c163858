//! Files as other programs may write them: tensors at any offset, without elements, without axes, of every kind, and with
//! bytes that are no truth value.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tch::{Device, Kind, Tensor};
use tempfile::TempDir;
use torch_ext::{Weights, write_weights};

/// A file of this header, which is not padded, and these bytes.
fn open(header: &str, bytes: &[u8]) -> Weights {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.safetensors");
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&path, [&length, header.as_bytes(), bytes].concat()).unwrap();
    Weights::open(&path).unwrap() // the map outlives the file's name
}

fn read(weights: &Weights, name: &str, kind: Option<Kind>) -> Tensor {
    weights.tensor(name, kind, Device::Cpu).unwrap()
}

/// The bytes of a tensor, as they lie in a file.
fn bytes(tensor: &Tensor) -> Vec<u8> {
    let mut out = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut out, tensor.numel()).unwrap();
    out
}

/// Bits that a conversion on the way would change: signalling NaNs, subnormals, negative zero.
fn patterns() -> Vec<(&'static str, Kind, Vec<u8>)> {
    let f16 = [0x7c01_u16, 0x0001, 0x8000, 0x3c00, 0xfbff, 0x3555];
    let bf16 = [0x7f81_u16, 0x0001, 0x8000, 0x3f80, 0xff7f, 0x3eab];
    let f32 = [0x7f80_0001_u32, 1, 0x8000_0000, 0x3f80_0000, 0xff7f_ffff, 0x3eaa_aaab];
    let f64 = [0x7ff0_0000_0000_0001_u64, 1, 1 << 63, 0x3ff << 52, u64::MAX, 0x3fd5_5555_5555_5555];
    let two = |words: [u16; 6]| words.iter().flat_map(|w| w.to_le_bytes()).collect();
    let four: Vec<u8> = f32.iter().flat_map(|w| w.to_le_bytes()).collect();
    let eight: Vec<u8> = f64.iter().flat_map(|w| w.to_le_bytes()).collect();
    vec![
        ("F16", Kind::Half, two(f16)),
        ("BF16", Kind::BFloat16, two(bf16)),
        ("F32", Kind::Float, four.clone()),
        ("F64", Kind::Double, eight.clone()),
        ("I64", Kind::Int64, eight),
        ("I32", Kind::Int, four),
        ("I16", Kind::Int16, two(bf16)),
        ("I8", Kind::Int8, vec![0, 1, 127, 128, 255, 7]),
        ("U8", Kind::Uint8, vec![0, 1, 127, 128, 255, 7]),
        ("BOOL", Kind::Bool, vec![0, 1, 1, 0, 1, 0]),
    ]
}

/// Every kind at every offset from a multiple of 8, by the length of the header and by a tensor of bytes before it.
#[test]
fn a_tensor_may_begin_at_any_byte() {
    for (dtype, kind, data) in patterns() {
        let n = data.len();
        let header = |before: usize, spaces: usize| {
            let end = before + n;
            let (pad, a, b) =
                (" ".repeat(spaces), format!("[0,{before}]"), format!("[{before},{end}]"));
            format!(
                r#"{{"a":{{"dtype":"U8","shape":[{before}],"data_offsets":{a}}},"b":{{"dtype":"{dtype}","shape":[2,3],"data_offsets":{b}}}}}{pad}"#
            )
        };
        let mut places = [false; 8];
        for before in [1, 2] {
            for spaces in 0..8 {
                let header = header(before, spaces);
                places[(8 + header.len() + before) % 8] = true;
                let weights = open(&header, &[&vec![9; before], &data[..]].concat());
                let tensor = read(&weights, "b", None);
                assert_eq!((tensor.kind(), tensor.size()), (kind, vec![2, 3]));
                assert_eq!(
                    bytes(&tensor),
                    data,
                    "{dtype} after {before} bytes and {spaces} spaces"
                );
                assert_eq!(bytes(&read(&weights, "a", None)), vec![9; before]);
            }
        }
        assert_eq!(places, [true; 8], "the control: every place was met");
    }
}

#[test]
fn a_conversion_on_the_way_works_at_any_byte() {
    let numbers = [1.5_f64, -2.0, 1e300, 0.1];
    let data: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    for spaces in 0..8 {
        let pad = " ".repeat(spaces);
        let header = format!(r#"{{"b":{{"dtype":"F64","shape":[4],"data_offsets":[0,32]}}}}{pad}"#);
        let narrow = read(&open(&header, &data), "b", Some(Kind::Float));
        let expected: Vec<u8> = numbers.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect();
        assert_eq!(bytes(&narrow), expected);
    }
}

/// libtorch computes with truth values as if they were 0 or 1; a file may hold any byte.
#[test]
fn every_byte_but_zero_is_true() {
    let header = r#"{"b":{"dtype":"BOOL","shape":[4],"data_offsets":[0,4]}}"#;
    let weights = open(header, &[0, 1, 2, 255]);
    assert_eq!(bytes(&read(&weights, "b", None)), [0, 1, 1, 1]);
    assert_eq!(bytes(&read(&weights, "b", Some(Kind::Uint8))), [0, 1, 1, 1]);
}

/// What is written is read, bit by bit.
#[test]
fn every_kind_goes_there_and_back() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("w.safetensors");
    for (dtype, kind, data) in patterns() {
        let header = format!(
            r#"{{"b":{{"dtype":"{dtype}","shape":[2,3],"data_offsets":[0,{}]}}}}"#,
            data.len()
        );
        let tensor = read(&open(&header, &data), "b", None);
        write_weights(&path, [("b", &tensor)], &BTreeMap::new()).unwrap();
        let again = read(&Weights::open(&path).unwrap(), "b", None);
        assert_eq!((again.kind(), again.size()), (kind, vec![2, 3]));
        assert_eq!(bytes(&again), data, "{dtype}");
    }
}

#[test]
fn bf16_is_the_upper_half_of_f32() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("w.safetensors");
    let t = Tensor::f_from_slice(&[1.0_f32, -3.5, 1e38, 1.0 + 1.0 / 256.0]).unwrap();
    let narrow = t.f_to_kind(Kind::BFloat16).unwrap();
    write_weights(&path, [("b", &narrow)], &BTreeMap::new()).unwrap();
    let weights = Weights::open(&path).unwrap();
    let wide = bytes(&read(&weights, "b", Some(Kind::Float)));
    let halves: Vec<u8> = wide.chunks(4).flat_map(|w| [w[2], w[3]]).collect();
    assert_eq!(bytes(&read(&weights, "b", None)), halves);
    assert!(wide.chunks(4).all(|w| w[..2] == [0, 0]));
    assert_eq!(&wide[..8], &bytes(&t)[..8]);
    assert!(wide[12..] != bytes(&t)[12..], "the control: 1 + 2^-8 is no bf16");
}

#[test]
fn tensors_without_elements_or_axes_go_there_and_back() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("w.safetensors");
    let tensors = BTreeMap::from([
        ("none", Tensor::f_zeros([0], (Kind::Float, Device::Cpu)).unwrap()),
        ("none of many", Tensor::f_zeros([3, 0, 2], (Kind::Int64, Device::Cpu)).unwrap()),
        ("one", Tensor::from(-2.5_f64)),
        ("one of one axis", Tensor::f_from_slice(&[7_i64]).unwrap()),
    ]);
    let named = tensors.iter().map(|(name, t)| (*name, t));
    write_weights(&path, named, &BTreeMap::new()).unwrap();
    let weights = Weights::open(&path).unwrap();
    for (name, tensor) in &tensors {
        let again = read(&weights, name, None);
        assert_eq!((again.kind(), again.size()), (tensor.kind(), tensor.size()), "{name}");
        assert_eq!(bytes(&again), bytes(tensor), "{name}");
    }
    assert_eq!(weights.shapes()["one"], [0; 0]);
    assert_eq!(weights.shapes()["none of many"], [3, 0, 2]);
    assert_eq!(read(&weights, "one", Some(Kind::Float)).f_double_value(&[]).unwrap(), -2.5);
    write_weights(&path, [], &BTreeMap::new()).unwrap();
    assert!(Weights::open(&path).unwrap().shapes().is_empty());
}

/// Layouts that are not row-major are written row by row.
#[test]
fn views_are_written_as_they_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("w.safetensors");
    let t = Tensor::f_from_slice(&[1_i64, 2, 3, 4, 5, 6]).unwrap().f_reshape([2, 3]).unwrap();
    let views = [
        (
            "expanded",
            t.f_select(1, 0).unwrap().f_unsqueeze(1).unwrap().f_expand([2, 2], false).unwrap(),
        ),
        ("narrow", t.f_narrow(1, 1, 2).unwrap()),
        ("turned", t.f_transpose(0, 1).unwrap()),
    ];
    write_weights(&path, views.iter().map(|(n, t)| (*n, t)), &BTreeMap::new()).unwrap();
    let weights = Weights::open(&path).unwrap();
    for (name, numbers) in [
        ("expanded", &[1, 1, 4, 4][..]),
        ("narrow", &[2, 3, 5, 6]),
        ("turned", &[1, 4, 2, 5, 3, 6]),
    ] {
        let expected: Vec<u8> = numbers.iter().flat_map(|n: &i64| n.to_le_bytes()).collect();
        assert_eq!(bytes(&read(&weights, name, None)), expected, "{name}");
    }
}

#[test]
fn a_place_that_is_no_file_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let problem = |path: &Path| {
        let text = Weights::open(path).unwrap_err().to_string();
        assert!(!text.contains('\n') && text.starts_with(&path.display().to_string()), "{text}");
        text
    };
    assert!(problem(&folder.path().join("no/such/folder/w")).contains("No such file"));
    assert!(problem(folder.path()).contains("is a directory"));
    assert!(problem(&file.join("w")).contains("Not a directory"));
    assert!(problem(Path::new("")).contains("No such file"));
}

/// A shape whose numbers are not those of its bytes never reaches libtorch.
#[test]
fn shapes_that_lie_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.safetensors");
    for (shape, offsets) in [
        ("[3]", "[0,8]"),
        ("[4611686018427387904,4]", "[0,8]"),
        ("[2]", "[4,12]"),
        ("[2]", "[8,0]"),
        ("[-2]", "[0,8]"),
    ] {
        let header =
            format!(r#"{{"b":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#);
        let length = (header.len() as u64).to_le_bytes();
        fs::write(&path, [&length, header.as_bytes(), &[0; 8]].concat()).unwrap();
        let text = Weights::open(&path).unwrap_err().to_string();
        assert!(text.contains("is not a whole safetensors file") && !text.contains('\n'), "{text}");
    }
    let huge = r#"{"b":{"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]}}"#;
    let text = open(huge, &[]).tensor("b", None, Device::Cpu).unwrap_err().to_string();
    assert!(text.ends_with("tensor `b` has the shape [0, 18446744073709551615]"), "{text}");
}
