//! The distance between the laws of two samples: Wasserstein's on random lines, and what chance alone makes of it.
//!
//! ```text
//! SW₁(a, b) = E_θ ∫ |F_θ·a(y) − F_θ·b(y)| dy,      θ uniform on the unit sphere            (Y4)
//! ```
//!
//! F is the distribution function of a sample along θ (Rabin et al. 2011). Two samples of one law are at a distance too;
//! how large it is the two samples themselves can tell, by lots drawn anew for who belongs to which.

use ndarray::{ArrayView2, Axis};
use sde_core::error::check_size;
use sde_core::{Noise, Purpose, Result, Summary};

/// Directions θ.
const LINES: u32 = 64;
/// Times that the lots are drawn anew.
const LOTS: u32 = 100;

/// (Y4) between two samples, and its mean and standard deviation where both are of one law.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlicedW1 {
    /// The distance, in the units of a coordinate.
    pub distance: f64,
    /// Its mean over lots drawn anew.
    pub by_chance: f64,
    /// Its standard deviation over them.
    pub deviation: f64,
}

/// (Y4) between the rows of `a` and of `b`, on 64 lines.
///
/// # Errors
/// For rows of different lengths, and for empty samples.
pub fn sliced_w1(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>, seed: u64) -> Result<SlicedW1> {
    check_size("coordinates of a sample", b.ncols(), a.ncols())?;
    check_size("points of a sample", a.nrows().min(b.nrows()).min(1), 1)?;
    let noise = Noise::new(seed, Purpose::Diagnostics);
    let lines: Vec<Line> = (0..LINES).map(|i| Line::new(a, b, &noise, i)).collect();
    let (first, n) = (a.nrows(), a.nrows() + b.nrows());
    let mut lots: Vec<usize> = (0..n).collect();
    let distance = mean_distance(&lines, &lots, first);
    let mut keys = vec![0.0; n];
    let by_chance = (0..LOTS).map(|i| {
        noise.uniform(0, LINES + i, &mut keys);
        lots.sort_by(|i, j| keys[*i].total_cmp(&keys[*j]));
        mean_distance(&lines, &lots, first)
    });
    let by_chance = Summary::of(&by_chance.collect::<Vec<_>>());
    let deviation = by_chance.standard_error * f64::from(LOTS).sqrt();
    Ok(SlicedW1 { distance, by_chance: by_chance.mean, deviation })
}

/// All points along a line: their numbers, those of `b` after those of `a`, in the order of their places.
struct Line(Vec<(f64, usize)>);

impl Line {
    fn new(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>, noise: &Noise, i: u32) -> Self {
        let mut theta = vec![0.0; a.ncols()];
        noise.normal(0, i, &mut theta);
        let length = theta.iter().map(|z| z * z).sum::<f64>().sqrt();
        let rows = a.axis_iter(Axis(0)).chain(b.axis_iter(Axis(0)));
        let along =
            rows.map(|row| row.iter().zip(&theta).map(|(x, z)| x * z).sum::<f64>() / length);
        let mut points: Vec<_> = along.zip(0..).collect();
        points.sort_by(|x, y| x.0.total_cmp(&y.0));
        Self(points)
    }

    /// `∫ |F − G|` where F jumps by `steps.0` at the points that `in_first` says and G by `steps.1` at the others.
    fn distance(&self, in_first: &[bool], steps: (f64, f64)) -> f64 {
        let mut difference: f64 = 0.0;
        let gap = |pair: &[(f64, usize)]| {
            difference += if in_first[pair[0].1] { steps.0 } else { -steps.1 };
            difference.abs() * (pair[1].0 - pair[0].0)
        };
        self.0.windows(2).map(gap).sum()
    }
}

/// The mean over the lines, where the first `first` numbers of `lots` are one sample.
fn mean_distance(lines: &[Line], lots: &[usize], first: usize) -> f64 {
    let mut in_first = vec![false; lots.len()];
    lots[..first].iter().for_each(|&i| in_first[i] = true);
    let steps = (1.0 / first as f64, 1.0 / (lots.len() - first) as f64);
    lines.iter().map(|line| line.distance(&in_first, steps)).sum::<f64>() / lines.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    #[test]
    fn a_shift_on_a_line_is_its_own_distance() {
        let a = array![[0.0], [1.0], [4.0]];
        let b = &a + 2.5;
        let found = sliced_w1(a.view(), b.view(), 0).unwrap();
        assert!((found.distance - 2.5).abs() < 1e-12, "{found:?}");
        let fewer = array![[0.0], [4.0]]; // a mean of |F − G|: (1/2 − 1/3) · 1 + (2/3 − 1/2) · 3
        let found = sliced_w1(a.view(), fewer.view(), 0).unwrap();
        assert!((found.distance - (1.0 / 6.0 + 0.5)).abs() < 1e-12, "{found:?}");
        assert!(sliced_w1(a.view(), array![[0.0, 1.0]].view(), 0).is_err());
        assert!(sliced_w1(a.view(), Array2::zeros((0, 1)).view(), 0).is_err());
    }

    #[test]
    fn chance_says_how_far_samples_of_one_law_are() {
        let normal = |first: u64, scale: f64| {
            let numbers: Vec<u64> = (first..first + 400).collect();
            let mut x = Array2::zeros((400, 5));
            Noise::new(1, Purpose::Prior).fill(&numbers, 0, &mut x).unwrap();
            x * scale
        };
        let (a, b) = (normal(0, 1.0), normal(400, 1.0));
        let same = sliced_w1(a.view(), b.view(), 0).unwrap();
        assert!((same.distance - same.by_chance).abs() < 4.0 * same.deviation, "{same:?}");
        let wider = sliced_w1(a.view(), normal(400, 1.3).view(), 0).unwrap();
        assert!(wider.distance > wider.by_chance + 4.0 * wider.deviation, "{wider:?}");
        // E |θ·a| = √(2/π) on every line: a factor of 1.3 moves it by 0.3 of that
        assert!((wider.distance - 0.3 * 0.797_88).abs() < 0.05, "{wider:?}");
    }
}
