//! `.npy` files.

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
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (2, 3), }}\n");
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
    let float = |shape: &[usize]| refusal(&saved(&folder, "a.npy", &ArrayD::<f64>::zeros(shape)));
    assert_eq!(byte(&[2, 2]), "has the shape [2, 2], expected [N, H, W] or [N, C, H, W]");
    assert_eq!(
        byte(&[2, 32, 32, 3]),
        "has the shape [2, 32, 32, 3], expected [N, C, H, W] with the channels before the rows"
    );
    assert_eq!(float(&[2]), "has the shape [2], expected [N, D], [N, H, W] or [N, C, H, W]");
    for shape in [&[0, 1, 8, 8][..], &[0, 2], &[2, 0], &[3, 0, 8]] {
        assert_eq!(
            float(shape),
            format!("has the shape {shape:?}, expected at least one sample and one number in it")
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
    assert_eq!(refused(&npy_bytes(header, &[0; 47])), "ends after 47 bytes of data, expected 48");
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
