//! Augmentation that does not leak (Karras et al. 2020 and 2022): an image is turned, stretched or moved, and the network is
//! told what was done to it. Told that nothing was, it gives the images of the data.
//!
//! With the probability p each, independently, in the order and with the laws of EDM (`AugmentPipe` with mirrors, scales,
//! rotations, stretches and translations; the left-right mirror is thrown with probability 1 and falls on every other image):
//!
//! ```text
//! mirrors        m, n from {0, 1}                            label m, n
//! scale          2^{w/5}, w ~ N(0, 1)                        label w
//! rotation       by r ~ U(−π, π)                             label cos r − 1, sin r
//! stretch        by 2^{w/5} along the angle r, w ~ N(0, 1)   label w cos 2r, w sin 2r
//! translation    by an eighth of the side times N(0, 1)      label both numbers
//! ```
//!
//! The new value of a pixel is that of the place it came from, by Catmull and Rom's cubic through the pixels around; beyond
//! the edges an image is its mirror image. EDM filters by wavelets instead, and its label of a stretch is w cos r, w sin r,
//! which is the same for w along r and −w along r + π: a stretch and its inverse.

use std::f64::consts::PI;

use sde_core::Noise;

/// Numbers of a label.
pub const LABEL: usize = 9;

/// Steps of the keyed noise: uniform numbers and normal ones. `batches` and `examples` have the others.
const DRAWS: [u32; 2] = [12, 13];
/// Logarithm to the base 2 of a scale, and a part of the side.
const SCALE: f64 = 0.2;
const PLACE: f64 = 0.125;

/// `[[a, b, c], [d, e, f]]` for the map `(a x + b y + c, d x + e y + f)` of the plane, x to the right and y down, the middle
/// of the image at 0.
type Map = [[f64; 3]; 2];

/// What is done to one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    /// Where a pixel comes from.
    from: Map,
    /// What the network is told.
    pub label: [f64; LABEL],
}

impl Transform {
    /// Drawn for a sample, with the probability p for each part, for images of this height and width.
    pub fn draw(noise: &Noise, sample: u64, p: f64, (height, width): (usize, usize)) -> Self {
        let (mut u, mut z) = ([0.0; 9], [0.0; 4]);
        noise.uniform(sample, DRAWS[0], &mut u);
        noise.normal(sample, DRAWS[1], &mut z);
        let if_below = |u: f64, p: f64, value: f64| if u < p { value } else { 0.0 };
        let side = |u: f64| f64::from(u8::from(u < 0.5));
        let (left, up) = (side(u[0]), if_below(u[1], p, side(u[2])));
        let scale = if_below(u[3], p, z[0]);
        let turn = if_below(u[4], p, PI * (2.0 * u[5] - 1.0));
        let (stretch, along) = (if_below(u[6], p, z[1]), PI * (2.0 * u[7] - 1.0));
        let (right, down) = (if_below(u[8], p, z[2]), if_below(u[8], p, z[3]));
        let parts = [
            scaled(1.0 - 2.0 * left, 1.0 - 2.0 * up),
            scaled((-SCALE * scale).exp2(), (-SCALE * scale).exp2()),
            turned(turn),
            turned(-along),
            scaled((-SCALE * stretch).exp2(), (SCALE * stretch).exp2()),
            turned(along),
            [[1.0, 0.0, -PLACE * right * width as f64], [0.0, 1.0, -PLACE * down * height as f64]],
        ];
        let still = stretch == 0.0; // and then turning there and back would leave rounding
        let skipped = |i: usize| still && (3..=5).contains(&i);
        let parts = parts.iter().enumerate().filter(|(i, _)| !skipped(*i));
        let from = parts.fold(scaled(1.0, 1.0), |map, (_, part)| after(map, *part));
        let (sin, cos) = turn.sin_cos();
        let (across, ahead) = (2.0 * along).sin_cos();
        let label =
            [left, up, scale, cos - 1.0, sin, stretch * ahead, stretch * across, right, down];
        Self { from, label }
    }

    /// The image `[.., height, width]` in place.
    pub fn apply(&self, image: &mut [f64], (height, width): (usize, usize)) {
        if self.from == scaled(1.0, 1.0) {
            return;
        }
        for channel in image.chunks_exact_mut((height * width).max(1)) {
            let source = channel.to_vec();
            for (row, line) in channel.chunks_exact_mut(width).enumerate() {
                for (column, pixel) in line.iter_mut().enumerate() {
                    let middle = |n: usize| (n as f64 - 1.0) / 2.0;
                    let (x, y) = (column as f64 - middle(width), row as f64 - middle(height));
                    let [from_x, from_y] = self.from.map(|[a, b, c]| a * x + b * y + c);
                    let place = (from_y + middle(height), from_x + middle(width));
                    *pixel = value(&source, (height, width), place);
                }
            }
        }
    }
}

fn scaled(x: f64, y: f64) -> Map {
    [[x, 0.0, 0.0], [0.0, y, 0.0]]
}

fn turned(angle: f64) -> Map {
    let (sin, cos) = angle.sin_cos();
    [[cos, -sin, 0.0], [sin, cos, 0.0]]
}

/// `f(g(·))`.
fn after(f: Map, g: Map) -> Map {
    f.map(|[a, b, c]| {
        let entry = |k: usize| a * g[0][k] + b * g[1][k];
        [entry(0), entry(1), entry(2) + c]
    })
}

/// The cubic through the sixteen pixels around a place.
fn value(source: &[f64], (height, width): (usize, usize), (y, x): (f64, f64)) -> f64 {
    let (rows, columns) = (weights(y), weights(x));
    let mut sum = 0.0;
    for (i, wy) in rows.1.into_iter().enumerate() {
        let line = mirrored(rows.0 + i as i64, height) * width;
        let terms = columns.1.into_iter().enumerate();
        let along: f64 =
            terms.map(|(j, wx)| wx * source[line + mirrored(columns.0 + j as i64, width)]).sum();
        sum += wy * along;
    }
    sum
}

/// The first of four pixels and the weights of all (Catmull & Rom 1974).
fn weights(place: f64) -> (i64, [f64; 4]) {
    let first = place.floor();
    let t = place - first;
    let (s, tt) = (1.0 - t, t * t);
    let near = |t: f64| 1.0 + t * t * (1.5 * t - 2.5);
    (first as i64 - 1, [-0.5 * t * s * s, near(t), near(s), -0.5 * tt * s])
}

/// The pixel that stands for one beyond an edge.
fn mirrored(i: i64, n: usize) -> usize {
    let period = (2 * n as i64 - 2).max(1);
    let i = i.rem_euclid(period);
    usize::try_from(i.min(period - i)).unwrap_or(0).min(n - 1)
}

#[cfg(test)]
#[allow(clippy::float_cmp)]
mod tests {
    use super::*;
    use sde_core::Purpose;

    const SIZE: (usize, usize) = (5, 7);

    fn noise() -> Noise {
        Noise::new(3, Purpose::Training)
    }

    /// A smooth image, far from its edges.
    fn smooth(y: f64, x: f64) -> f64 {
        (0.3 * x + 0.2).sin() + 0.1 * y * x - (0.25 * y).cos()
    }

    fn image((height, width): (usize, usize), f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let places = (0..height * width).map(|i| ((i / width) as f64, (i % width) as f64));
        places.map(|(y, x)| f(y, x)).collect()
    }

    #[test]
    fn mirrors_move_pixels_exactly_and_half_of_the_images() {
        let original: Vec<f64> = image((2 * SIZE.0, SIZE.1), |y, x| y * 10.0 + x);
        let mut turned = 0;
        for sample in 0..400 {
            let transform = Transform::draw(&noise(), sample, 0.0, SIZE);
            let mut found = original.clone();
            transform.apply(&mut found, SIZE);
            let mut expected = original.clone();
            if transform.label == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0] {
                expected.chunks_exact_mut(SIZE.1).for_each(<[f64]>::reverse);
                turned += 1;
            } else {
                assert_eq!(transform.label, [0.0; LABEL]);
            }
            assert_eq!(found, expected);
        }
        assert!((160..=240).contains(&turned), "{turned}"); // 200 ± 4 · 10
    }

    /// In the middle of a smooth image its value is that of the place which the label says.
    #[test]
    fn pixels_come_from_where_the_label_says() {
        let size = (41, 41);
        let original = image(size, smooth);
        let (mut seen, mut worst) = (0, 0.0_f64);
        for sample in 0..60 {
            let transform = Transform::draw(&noise(), sample, 0.7, size);
            let [left, up, scale, cos, sin, ahead, across, right, down] = transform.label;
            let mut found = original.clone();
            transform.apply(&mut found, size);
            let (stretch, along) = (ahead.hypot(across), across.atan2(ahead) / 2.0);
            let (x, y) = (-0.125 * 41.0 * right, -0.125 * 41.0 * down);
            // along the angle shorter, across longer
            let (s, c) = along.sin_cos();
            let (a, b) = (
                (c * x - s * y) * (-0.2 * stretch).exp2(),
                (s * x + c * y) * (0.2 * stretch).exp2(),
            );
            let (x, y) = (c * a + s * b, -s * a + c * b);
            let (x, y) = ((1.0 + cos) * x - sin * y, sin * x + (1.0 + cos) * y);
            let size = (-0.2 * scale).exp2();
            let (x, y) = (size * x * (1.0 - 2.0 * left), size * y * (1.0 - 2.0 * up));
            if x.abs() < 17.0 && y.abs() < 17.0 {
                seen += 1;
                worst = worst.max((found[20 * 41 + 20] - smooth(y + 20.0, x + 20.0)).abs());
            }
        }
        assert!(seen > 40 && worst < 5e-3, "{seen} {worst}");
    }

    /// How often each part happens, within 4 standard errors.
    #[test]
    fn parts_happen_with_the_probability_p() {
        let (p, n) = (0.12, 5000);
        let labels: Vec<_> =
            (0..n).map(|sample| Transform::draw(&noise(), sample, p, SIZE).label).collect();
        let share =
            |k: usize| labels.iter().filter(|label| label[k] != 0.0).count() as f64 / n as f64;
        for (k, expected) in
            [(0, 0.5), (1, p / 2.0), (2, p), (4, p), (5, p), (6, p), (7, p), (8, p)]
        {
            let error = (expected * (1.0 - expected) / n as f64).sqrt();
            assert!((share(k) - expected).abs() < 4.0 * error, "{k}: {}", share(k));
        }
    }

    #[test]
    fn edges_are_mirrors() {
        assert_eq!([-3, -1, 0, 4, 5, 7, 8, 9].map(|i| mirrored(i, 5)), [3, 1, 0, 4, 3, 1, 0, 1]);
        assert_eq!([-1, 0, 1].map(|i| mirrored(i, 1)), [0, 0, 0]);
        let constant = vec![0.7; 35];
        for sample in 0..50 {
            let mut found = constant.clone();
            Transform::draw(&noise(), sample, 1.0, SIZE).apply(&mut found, SIZE);
            assert!(found.iter().all(|x| (x - 0.7).abs() < 1e-12));
        }
    }
}
