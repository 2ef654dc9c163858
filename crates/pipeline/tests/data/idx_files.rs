//! IDX files.

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
    assert_eq!(refused(&idx_bytes(&lengths, &[0; 11])), "ends after 11 bytes of data, expected 12");
    assert_eq!(
        refused(&idx_bytes(&lengths, &[0; 15])),
        "has 15 bytes of data, expected 12 from its header"
    );
    assert_eq!(refused(&[0, 0, 8, 3, 0, 0]), "ends after 2 bytes of header, expected 12");
}

#[test]
fn promises_are_not_believed() {
    let folder = folder();
    let promise = |lengths: &[u32]| refusal(&file(&folder, "a.idx", &idx_bytes(lengths, &[0; 9])));
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
    assert_eq!(refused(b"\x89PNG...."), format!("starts with the bytes [89 50 4e 47], {expected}"));
    assert_eq!(refused(&[0, 0, 7, 3]), format!("starts with the bytes [00 00 07 03], {expected}"));
    assert_eq!(refused(&[0, 0, 8, 0]), format!("starts with the bytes [00 00 08 00], {expected}"));
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
