//! The compiled-in digits.

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
    let (npy::Npy::U8(images), npy::Npy::U8(labels)) = (asset("images.npy"), asset("labels.npy"))
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
            assert_eq!(image.index_axis(Axis(0), 0).into_dyn(), images.index_axis(Axis(0), index));
        }
    }
    let first_row: Vec<u8> = images.iter().take(8).copied().collect();
    assert_eq!(first_row, [0, 0, 5, 13, 9, 1, 0, 0]); // a nought, as the original table begins
}
