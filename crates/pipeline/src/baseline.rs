//! What a model of images is measured against: pixels that know nothing of each other, and the nearest training image.
//!
//! ```text
//! p_j(k) = (n_jk + 1)/(n + L),     bits/dim = −1/(d ln 2) Σ_j ln p_j(k_j)                  (B1)
//! ```
//!
//! with `n_jk` of n training images having the level k at pixel j.

use ndarray::{Array2, ArrayView1};

use crate::data::{Images, Labelled};
use crate::dequantise::midpoints;

/// (B1): bits/dim of each image of `test` when every pixel follows its own histogram over `train`, add-one smoothed.
/// Both have the same size and levels.
pub fn pixel_histograms(train: &Images, test: &Images) -> Vec<f64> {
    let (_, c, h, w) = train.pixels().dim();
    let (d, levels) = (c * h * w, train.levels() as usize);
    let mut counts = Array2::<f64>::ones((d, levels));
    for image in train.pixels().outer_iter() {
        image.iter().enumerate().for_each(|(j, &k)| counts[[j, usize::from(k)]] += 1.0);
    }
    let total = (train.pixels().dim().0 + levels) as f64;
    let bits = |image: ndarray::ArrayView3<u8>| {
        let terms =
            image.iter().enumerate().map(|(j, &k)| (counts[[j, usize::from(k)]] / total).log2());
        -terms.sum::<f64>() / d as f64
    };
    test.pixels().outer_iter().map(bits).collect()
}

/// The training image nearest to a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Its number.
    pub index: usize,
    /// What it shows.
    pub label: u8,
    /// Root mean square difference of the pixels, in levels.
    pub distance: f64,
}

/// For each row of `x`, in model coordinates, the nearest image of `train`: a classifier of one neighbour.
pub fn nearest(train: &Labelled, x: &Array2<f64>) -> Vec<Neighbour> {
    neighbours(train, x, 1).into_iter().flatten().collect()
}

/// For each row of `x`, in model coordinates, the `k` nearest images of `train`, the nearest first.
pub fn neighbours(train: &Labelled, x: &Array2<f64>, k: usize) -> Vec<Vec<Neighbour>> {
    let points = midpoints(&train.images);
    let levels = f64::from(train.images.levels());
    let of = |row: ArrayView1<f64>| {
        let square = |point: ArrayView1<f64>| {
            point.iter().zip(&row).map(|(a, b)| (a - b) * (a - b)).sum::<f64>()
        };
        let mut squares: Vec<_> = points.outer_iter().map(square).enumerate().collect();
        squares.sort_by(|a, b| a.1.total_cmp(&b.1));
        let neighbour = |&(index, square): &(usize, f64)| {
            let label = train.labels.get(index).copied().unwrap_or_default();
            Neighbour { index, label, distance: (square / row.len() as f64).sqrt() * levels / 2.0 }
        };
        squares.iter().take(k).map(neighbour).collect()
    };
    x.outer_iter().map(of).collect()
}

/// What most of some neighbours show; of two that as many do, that of the nearer one.
pub fn vote(neighbours: &[Neighbour]) -> u8 {
    let count = |label: u8| neighbours.iter().filter(|n| n.label == label).count();
    let mut best = (0, 0);
    for n in neighbours {
        let votes = count(n.label);
        if votes > best.1 {
            best = (n.label, votes);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::digits;
    use ndarray::Array4;
    use sde_core::Summary;

    #[test]
    fn histograms_by_hand() {
        let images = |values: Vec<u8>| {
            let n = values.len() / 2;
            Images::new(Array4::from_shape_vec((n, 1, 1, 2), values).unwrap(), 2).unwrap()
        };
        let (train, test) = (images(vec![0, 1, 0, 1, 0, 0]), images(vec![0, 1, 1, 0]));
        // Pixel 0: (4/5, 1/5); pixel 1: (2/5, 3/5).
        let want = [-(0.8_f64 * 0.6).log2() / 2.0, -(0.2_f64 * 0.4).log2() / 2.0];
        for (found, want) in pixel_histograms(&train, &test).iter().zip(want) {
            assert!((found - want).abs() < 1e-14);
        }
    }

    /// The baseline of the digits, on the part that models are chosen with.
    #[test]
    fn digits_cost_2_4_bits_by_pixel() {
        let digits = digits();
        let bits = pixel_histograms(&digits.train.images, &digits.validation.images);
        let summary = Summary::of(&bits);
        assert!((summary.mean - 2.4219).abs() < 1e-4, "{summary}");
    }

    #[test]
    fn an_image_is_its_own_neighbour_and_most_digits_have_one_of_their_kind() {
        let digits = digits();
        let own = nearest(&digits.train, &midpoints(&digits.train.images));
        assert!(own.iter().enumerate().all(|(i, n)| n.index == i && n.distance == 0.0));
        let found = nearest(&digits.train, &midpoints(&digits.validation.images));
        let right = found.iter().zip(&digits.validation.labels).filter(|(n, l)| n.label == **l);
        assert!(right.count() >= 260, "of 270");
        assert!(found.iter().all(|n| n.distance > 0.0));
        let five = neighbours(&digits.train, &midpoints(&digits.validation.images), 5);
        assert!(five.iter().zip(&found).all(|(five, one)| five.len() == 5 && five[0] == *one));
        assert!(five.iter().all(|five| five.windows(2).all(|w| w[0].distance <= w[1].distance)));
        let right = five.iter().zip(&digits.validation.labels).filter(|(n, l)| vote(n) == **l);
        assert!(right.count() >= 260, "of 270");
    }

    #[test]
    fn most_neighbours_win_and_the_nearer_of_equals() {
        let shows = |labels: &[u8]| {
            let of = |(index, &label)| Neighbour { index, label, distance: 0.0 };
            vote(&labels.iter().enumerate().map(of).collect::<Vec<_>>())
        };
        assert_eq!([shows(&[1, 2, 2]), shows(&[3, 2, 2, 3, 7]), shows(&[4])], [2, 3, 4]);
    }
}
