//! Data sets from disk and from memory: what is read, and one sentence for each thing that is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

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

mod digits {
    use super::*;

    fn asset(name: &str) -> npy::Npy {
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/digits");
        npy::read(assets.join(name)).unwrap()
    }

    fn parts() -> [data::Labelled; 3] {
        let digits = data::digits();
        [digits.train, digits.validation, digits.test]
    }

    #[test]
    fn the_parts_are_disjoint_and_cover_the_file() {
        let parts = parts();
        assert_eq!(parts.each_ref().map(|p| p.indices.len()), [1257, 270, 270]);
        assert!(parts.iter().all(|p| p.indices.is_sorted()));
        let mut all: Vec<_> = parts.iter().flat_map(|p| p.indices.clone()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..1797).collect::<Vec<_>>());
    }

    #[test]
    fn every_class_is_held_out_equally_often() {
        let [train, validation, test] = parts().map(|part| {
            let mut counts = [0; 10];
            part.labels.iter().for_each(|&label| counts[usize::from(label)] += 1);
            counts
        });
        assert_eq!(validation, [27; 10]);
        assert_eq!(test, [27; 10]);
        assert_eq!(train, [124, 128, 123, 129, 127, 128, 127, 125, 120, 126]);
    }

    /// The classes show where a form begins: every 130 images or so, one writer after the other.
    #[test]
    fn every_writer_is_in_every_part() {
        let [_, validation, test] = parts();
        for held_out in [validation, test] {
            for writer in 0..13 {
                let range = writer * 130..(writer + 1) * 130;
                let count = held_out.indices.iter().filter(|&i| range.contains(i)).count();
                assert!((8..=34).contains(&count), "{count} images near the writer {writer}");
            }
        }
    }

    /// The split is part of every published number: this may never change.
    #[test]
    fn the_split_is_pinned() {
        let [train, validation, test] = parts();
        assert_eq!(train.indices[..8], [0, 1, 3, 7, 9, 10, 11, 12]);
        assert_eq!(validation.indices[..8], [2, 4, 32, 33, 41, 42, 43, 49]);
        assert_eq!(test.indices[..8], [5, 6, 8, 18, 27, 31, 36, 37]);
        let sums = [train, validation, test].map(|p| p.indices.iter().sum::<usize>());
        assert_eq!(sums, [1_140_901, 250_990, 221_815]);
    }

    #[test]
    fn images_and_labels_are_those_of_the_files() {
        let (npy::Npy::U8(images), npy::Npy::U8(labels)) =
            (asset("images.npy"), asset("labels.npy"))
        else {
            panic!("the assets hold bytes");
        };
        assert_eq!(images.shape(), [1797, 8, 8]);
        for part in parts() {
            assert_eq!(part.images.pixels().dim(), (part.indices.len(), 1, 8, 8));
            assert_eq!(part.images.levels(), 17);
            Images::new(part.images.pixels().to_owned(), 17).expect("levels below 17");
            for (i, &index) in part.indices.iter().enumerate() {
                assert_eq!(part.labels[i], labels[[index]]);
                let image = part.images.pixels().index_axis_move(Axis(0), i);
                assert_eq!(
                    image.index_axis(Axis(0), 0).into_dyn(),
                    images.index_axis(Axis(0), index)
                );
            }
        }
        let first_row: Vec<u8> = images.iter().take(8).copied().collect();
        assert_eq!(first_row, [0, 0, 5, 13, 9, 1, 0, 0]); // a nought, as the original table begins
    }
}

mod idx_files {
    use super::*;

    #[test]
    fn all_names_of_mnist_are_read() {
        let folder = folder();
        let bytes = idx_bytes(&[2, 2, 3], &(0..12).collect::<Vec<u8>>());
        let expected = Array4::from_shape_vec((2, 1, 2, 3), (0..12).collect()).unwrap();
        for name in ["a.idx", "A.IDX", "train-images-idx3-ubyte", "train-images.idx3-ubyte"] {
            let images = levels(&file(&folder, name, &bytes));
            assert_eq!((images.pixels(), images.levels()), (expected.view(), 256));
        }
        for name in ["b.gz", "b.idx", "b-idx3-ubyte.gz", "b-idx3-ubyte"] {
            assert_eq!(levels(&file(&folder, name, &gzip(&bytes))).pixels(), expected);
        }
        let colour = file(&folder, "c.idx", &idx_bytes(&[1, 3, 2, 2], &[7; 12]));
        assert_eq!(levels(&colour).pixels().dim(), (1, 3, 2, 2));
    }

    #[test]
    fn labels_are_read() {
        let folder = folder();
        let bytes = idx_bytes(&[3], &[7, 0, 9]);
        for bytes in [&bytes, &gzip(&bytes)] {
            assert_eq!(idx::labels(file(&folder, "l.gz", bytes)).unwrap(), [7, 0, 9]);
        }
        let refused = |bytes: &[u8]| {
            let path = file(&folder, "l.idx", bytes);
            message(&path, &idx::labels(&path).unwrap_err())
        };
        assert_eq!(refused(&idx_bytes(&[1, 1, 1], &[0])), "has the shape [1, 1, 1], expected [N]");
        assert_eq!(
            refused(&idx_bytes(&[0], &[])),
            "has the shape [0], expected at least one sample and one number in it"
        );
    }

    #[test]
    fn lengths_that_do_not_agree_are_refused() {
        let folder = folder();
        let refused = |bytes: &[u8]| {
            let plain = refusal(&file(&folder, "a.idx", bytes));
            assert_eq!(refusal(&file(&folder, "a.idx", &gzip(bytes))), plain);
            plain
        };
        let lengths = [2, 2, 3];
        assert_eq!(
            refused(&idx_bytes(&lengths, &[0; 11])),
            "ends after 11 bytes of data, expected 12"
        );
        assert_eq!(
            refused(&idx_bytes(&lengths, &[0; 15])),
            "has 15 bytes of data, expected 12 from its header"
        );
        assert_eq!(refused(&[0, 0, 8, 3, 0, 0]), "ends after 2 bytes of header, expected 12");
    }

    #[test]
    fn promises_are_not_believed() {
        let folder = folder();
        let promise =
            |lengths: &[u32]| refusal(&file(&folder, "a.idx", &idx_bytes(lengths, &[0; 9])));
        assert_eq!(
            promise(&[u32::MAX, u32::MAX, 1]),
            format!("ends after 9 bytes of data, expected {}", u64::from(u32::MAX).pow(2))
        );
        assert_eq!(
            promise(&[u32::MAX; 4]),
            "promises the shape [4294967295, 4294967295, 4294967295, 4294967295], \
             expected fewer elements than memory has addresses"
        );
    }

    #[test]
    fn other_contents_are_refused() {
        let folder = folder();
        let refused = |bytes: &[u8]| refusal(&file(&folder, "a.idx", bytes));
        let expected = "expected 00 00, an IDX element type and a number of axes";
        assert_eq!(
            refused(b"\x89PNG...."),
            format!("starts with the bytes [89 50 4e 47], {expected}")
        );
        assert_eq!(
            refused(&[0, 0, 7, 3]),
            format!("starts with the bytes [00 00 07 03], {expected}")
        );
        assert_eq!(
            refused(&[0, 0, 8, 0]),
            format!("starts with the bytes [00 00 08 00], {expected}")
        );
        assert_eq!(refused(&[]), format!("starts with the bytes [], {expected}"));
        for (kind, name) in [
            (9, "signed bytes"),
            (11, "16-bit integers"),
            (12, "32-bit integers"),
            (13, "32-bit floats"),
            (14, "64-bit floats"),
        ] {
            assert_eq!(
                refused(&[0, 0, kind, 3, 0, 0]),
                format!("holds {name}, expected unsigned bytes")
            );
        }
        assert_eq!(
            refused(&idx_bytes(&[3], &[1, 2, 3])),
            "has the shape [3], expected [N, H, W] or [N, C, H, W]"
        );
        assert_eq!(
            refused(&idx_bytes(&[0, 28, 28], &[])),
            "has the shape [0, 28, 28], expected at least one sample and one number in it"
        );
    }

    #[test]
    fn damaged_gzip_is_refused() {
        let folder = folder();
        let whole = gzip(&idx_bytes(&[4, 8, 8], &(0..=255).collect::<Vec<u8>>()));
        let mut flipped = whole.clone();
        let crc = flipped.len() - 8;
        flipped[crc] ^= 1;
        let mut trailing = whole.clone();
        trailing.extend(b"and more");
        for bytes in
            [&flipped, &whole[..whole.len() / 2], &whole[..whole.len() - 3], &whole[..5], &trailing]
        {
            let message = refusal(&file(&folder, "a.gz", bytes));
            assert!(message.starts_with("is not one whole gzip stream: "), "{message}");
        }
    }
}

mod npy_files {
    use super::*;

    #[test]
    fn bytes_are_levels() {
        let folder = folder();
        let pixels = Array4::from_shape_vec((2, 3, 2, 2), (0..24).collect::<Vec<u8>>()).unwrap();
        let path = saved(&folder, "a.npy", &pixels.clone().into_dyn());
        assert_eq!((levels(&path).pixels(), levels(&path).levels()), (pixels.view(), 256));
        let grey = Array3::from_elem((5, 4, 3), 9_u8).into_dyn();
        assert_eq!(levels(&saved(&folder, "b.NPY", &grey)).pixels().dim(), (5, 1, 4, 3));
    }

    #[test]
    fn floats_are_model_coordinates() {
        let folder = folder();
        let y = array![[0.5, -2.25, 1e-3], [f64::MIN_POSITIVE, 1e300, 0.1]].into_dyn();
        assert_eq!(float(&saved(&folder, "a.npy", &y)), y);
        let single = y.mapv(|y| y as f32);
        let widened = single.mapv(f64::from).mapv(|y| if y.is_finite() { y } else { 0.0 });
        let single = single.mapv(|y| if y.is_finite() { y } else { 0.0 });
        assert_eq!(float(&saved(&folder, "b.npy", &single)), widened);
        let images = Array4::from_elem((2, 3, 4, 5), 0.25).into_dyn();
        assert_eq!(float(&saved(&folder, "c.npy", &images)), images);
        let grey = Array3::from_elem((2, 4, 5), 0.25).into_dyn();
        assert_eq!(float(&saved(&folder, "d.npy", &grey)).shape(), [2, 1, 4, 5]);
    }

    #[test]
    fn both_orders_of_bytes_and_of_axes_are_read() {
        let folder = folder();
        let values = [1.5_f64, -2.0, 0.125, 3.0, 7.0, -0.5];
        let big: Vec<u8> = values.iter().flat_map(|y| y.to_be_bytes()).collect();
        let small: Vec<u8> = values.iter().flat_map(|&y| (y as f32).to_be_bytes()).collect();
        let expected = ArrayView::from_shape(IxDyn(&[2, 3]), &values).unwrap();
        for (descr, data) in [(">f8", big), (">f4", small)] {
            let header =
                format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (2, 3), }}\n");
            assert_eq!(float(&file(&folder, "a.npy", &npy_bytes(&header, &data))), expected);
        }
        let by_columns = Array2::from_shape_fn((2, 3).f(), |(i, j)| values[3 * i + j]).into_dyn();
        let mut bytes = Vec::new();
        by_columns.write_npy(&mut bytes).unwrap();
        assert!(String::from_utf8_lossy(&bytes).contains("'fortran_order': True"));
        let read = float(&file(&folder, "f.npy", &bytes));
        assert_eq!(read, expected);
        assert!(read.is_standard_layout());
    }

    #[test]
    fn any_shape_is_read_when_it_need_not_be_a_data_set() {
        let folder = folder();
        let labels = Array1::from_vec(vec![3_u8, 1, 4]).into_dyn();
        assert_eq!(npy::read(saved(&folder, "a.npy", &labels)).unwrap(), npy::Npy::U8(labels));
        let probes = ArrayD::from_elem(IxDyn(&[2, 1, 3, 2, 2]), -1.0);
        assert_eq!(npy::read(saved(&folder, "b.npy", &probes)).unwrap(), npy::Npy::F64(probes));
        let scalar = ArrayD::from_elem(IxDyn(&[]), 2.0);
        assert_eq!(npy::read(saved(&folder, "c.npy", &scalar)).unwrap(), npy::Npy::F64(scalar));
    }

    #[test]
    fn other_elements_are_refused_by_name() {
        let folder = folder();
        let expected = "expected u1 (levels), f4 or f8 (model coordinates)";
        let integers = saved(&folder, "a.npy", &Array2::<i64>::zeros((2, 2)).into_dyn());
        assert_eq!(refusal(&integers), format!("holds elements of dtype \"<i8\", {expected}"));
        let truths = saved(&folder, "a.npy", &Array2::from_elem((2, 2), true).into_dyn());
        assert_eq!(refusal(&truths), format!("holds elements of dtype \"|b1\", {expected}"));
        let record = "{'descr': [('x', '<f8')], 'fortran_order': False, 'shape': (1,), }";
        let message = refusal(&file(&folder, "a.npy", &npy_bytes(record, &[0; 8])));
        assert!(message.starts_with("holds elements of dtype \"[('x', '<f8')]"), "{message}");
    }

    #[test]
    fn other_shapes_are_refused() {
        let folder = folder();
        let byte = |shape: &[usize]| refusal(&saved(&folder, "a.npy", &ArrayD::<u8>::zeros(shape)));
        let float =
            |shape: &[usize]| refusal(&saved(&folder, "a.npy", &ArrayD::<f64>::zeros(shape)));
        assert_eq!(byte(&[2, 2]), "has the shape [2, 2], expected [N, H, W] or [N, C, H, W]");
        assert_eq!(
            byte(&[2, 32, 32, 3]),
            "has the shape [2, 32, 32, 3], expected [N, C, H, W] with the channels before the rows"
        );
        assert_eq!(float(&[2]), "has the shape [2], expected [N, D], [N, H, W] or [N, C, H, W]");
        for shape in [&[0, 1, 8, 8][..], &[0, 2], &[2, 0], &[3, 0, 8]] {
            assert_eq!(
                float(shape),
                format!(
                    "has the shape {shape:?}, expected at least one sample and one number in it"
                )
            );
        }
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        let folder = folder();
        for (bad, name) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
            let path = saved(&folder, "a.npy", &array![[0.0, 1.0], [2.0, bad]].into_dyn());
            assert_eq!(
                refusal(&path),
                format!("holds {name} at the position [1, 1], expected finite numbers")
            );
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = folder();
        let refused = |bytes: &[u8]| refusal(&file(&folder, "a.npy", bytes));
        let start = "expected 93 4e 55 4d 50 59 (\\x93NUMPY)";
        assert_eq!(refused(b"\x93NUM"), format!("starts with the bytes [93 4e 55 4d], {start}"));
        assert_eq!(
            refused(b"PK\x03\x04...."),
            format!("starts with the bytes [50 4b 03 04 2e 2e], {start}")
        );
        assert_eq!(
            refused(b"\x93NUMPY\x07\x01\x00\x00"),
            "holds an array in version 7.1 of the .npy format, expected version 1, 2 or 3"
        );
        assert_eq!(refused(b"\x93NUMPY\x01\x00\x76"), "ends after 9 bytes of header, expected 10");
        assert_eq!(
            refused(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{"),
            "ends after 1 bytes of header, expected 4294967295"
        );
        let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }";
        assert_eq!(
            refused(&npy_bytes(header, &[0; 47])),
            "ends after 47 bytes of data, expected 48"
        );
        assert_eq!(
            refused(&npy_bytes(header, &[0; 50])),
            "has 50 bytes of data, expected 48 from its header"
        );
    }

    #[test]
    fn headers_that_cannot_be_understood_are_refused() {
        let folder = folder();
        let refused = |header: &str| refusal(&file(&folder, "a.npy", &npy_bytes(header, &[0; 8])));
        for (header, key) in [
            ("{}", "descr"),
            ("{'descr': 8}", "descr"),
            ("{'descr': '<f8'}", "fortran_order"),
            ("{'descr': '<f8', 'fortran_order': 0, 'shape': (1, 1)}", "fortran_order"),
            ("{'descr': '<f8', 'fortran_order': False}", "shape"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (1, -1)}", "shape"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1", "shape"),
        ] {
            let shown: String = header.chars().take(60).collect();
            assert_eq!(
                refused(header),
                format!("has the .npy header {shown:?}, expected one with a readable '{key}'")
            );
        }
        let huge = |shape: &str| {
            refused(&format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"))
        };
        assert_eq!(
            huge("(99999999999999999999999, 2)"),
            format!(
                "promises the shape [{}, 2], expected fewer elements than memory has addresses",
                usize::MAX
            )
        );
        assert_eq!(
            huge("(2305843009213693951, 1)"),
            "ends after 8 bytes of data, expected 18446744073709551608"
        );
    }
}

mod names {
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
}
