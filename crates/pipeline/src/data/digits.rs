//! The 8×8 handwritten digits, compiled in, and their split into train, validation and test.
//!
//! 1,797 images of 17 levels by E. Alpaydin and C. Kaynak (doi:10.24432/C50P49, CC BY 4.0); `assets/digits/README.md`
//! tells their story.
//!
//! # The split
//!
//! The file lists writer after writer, and every writer filled in the same form. Blocks of it would differ in their
//! writers; every n-th image would fall in step with the form and favour some classes. So, within each class, images are
//! ordered by a hash of their index: the first 27 go to validation, the next 27 to test, the others to training. Each
//! part then holds every writer and, for the two held-out ones, each class equally often.

use ndarray::Array4;

use super::Images;

/// Bytes before the elements in both files.
const HEADER: usize = 128;
const COUNT: usize = 1797;
const SIDE: usize = 8;
const LEVELS: u32 = 17;
const CLASSES: u8 = 10;
/// Images of each class in the validation part, and as many again in the test part.
const HELD_OUT: usize = 27;

/// The arrays `assets/digits/*.npy`; a file of another length does not compile.
static IMAGES: &[u8; HEADER + COUNT * SIDE * SIDE] =
    include_bytes!("../../../../assets/digits/images.npy");
static LABELS: &[u8; HEADER + COUNT] = include_bytes!("../../../../assets/digits/labels.npy");

/// The digits in three disjoint parts.
#[derive(Clone, Debug)]
pub struct Digits {
    /// 1,257 images to fit a model to.
    pub train: Labelled,
    /// 270 images, 27 of each class, to choose between models.
    pub validation: Labelled,
    /// 270 images, 27 of each class, to report on.
    pub test: Labelled,
}

/// Images and what they show; entry i of each field is about image i.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// `[N, 1, 8, 8]`, 17 levels, 0 being paper.
    pub images: Images,
    /// The digit, 0…9.
    pub labels: Vec<u8>,
    /// The position in the data file, 0…1796, ascending.
    pub indices: Vec<usize>,
}

/// The handwritten digits, from memory: no file is read and nothing can fail.
pub fn digits() -> Digits {
    let [train, validation, test] = split(&LABELS[HEADER..]).map(labelled);
    Digits { train, validation, test }
}

/// The part of the digits that a command line or a configuration names: `digits:train`, `digits:validation` or
/// `digits:test`.
pub fn digits_named(name: &str) -> Option<Labelled> {
    match name {
        "digits:train" => Some(digits().train),
        "digits:validation" => Some(digits().validation),
        "digits:test" => Some(digits().test),
        _ => None,
    }
}

/// Images and labels at these positions of the files.
fn labelled(indices: Vec<usize>) -> Labelled {
    let pixels = Array4::from_shape_fn((indices.len(), 1, SIDE, SIDE), |(i, _, row, column)| {
        IMAGES[HEADER + (indices[i] * SIDE + row) * SIDE + column]
    });
    let labels = indices.iter().map(|&i| LABELS[HEADER + i]).collect();
    Labelled { images: Images { pixels, levels: LEVELS }, labels, indices }
}

/// Train, validation and test as ascending positions. This is the only definition of the split.
fn split(labels: &[u8]) -> [Vec<usize>; 3] {
    let [mut train, mut validation, mut test] = [const { Vec::new() }; 3];
    for class in 0..CLASSES {
        let mut members: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] == class).collect();
        members.sort_by_key(|&i| hash(i as u64));
        train.extend(members.split_off(2 * HELD_OUT));
        test.extend(members.split_off(HELD_OUT));
        validation.extend(members);
    }
    [train, validation, test].map(|mut part| {
        part.sort_unstable();
        part
    })
}

/// The i-th output of `SplitMix64` seeded with 0 (Steele, Lea and Flood 2014): a bijection, so no two images tie.
fn hash(i: u64) -> u64 {
    let z = i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
