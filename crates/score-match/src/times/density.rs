//! A piecewise linear density on an interval: its integral and the inverse of that.

use sde_core::Result;
use sde_core::error::{check, check_size};

/// The density by its knots, and its integral up to each of them.
#[derive(Debug)]
pub(super) struct Density {
    knots: Vec<[f64; 2]>,
    below: Vec<f64>,
}

impl Density {
    /// The density through `knots`, cut to the interval and normalised.
    pub(super) fn new(knots: &[[f64; 2]], (low, high): (f64, f64)) -> Result<Self> {
        check_size("knots of a table of times", knots.len().min(1), 1)?;
        for pair in knots.windows(2) {
            check("λ of a knot", pair[1][0], pair[1][0] > pair[0][0], "one above that before it")?;
        }
        for [_, q] in knots {
            check("density of a knot", *q, *q > 0.0, "a positive number")?;
        }
        let inside = knots.iter().copied().filter(|[x, _]| low < *x && *x < high);
        let ends = [low, high].map(|x| [x, interpolate(knots, x)]);
        let mut cut: Vec<_> = std::iter::once(ends[0]).chain(inside).chain([ends[1]]).collect();
        let mut total = 0.0;
        let mut below = vec![0.0];
        for pair in cut.windows(2) {
            total += 0.5 * (pair[0][1] + pair[1][1]) * (pair[1][0] - pair[0][0]);
            below.push(total);
        }
        cut.iter_mut().for_each(|knot| knot[1] /= total);
        below.iter_mut().for_each(|b| *b /= total);
        Ok(Self { knots: cut, below })
    }

    /// The place with the mass u below it, and the density there.
    pub(super) fn quantile(&self, u: f64) -> (f64, f64) {
        let i = self.below.partition_point(|b| *b <= u).clamp(1, self.knots.len() - 1);
        let ([x0, q0], [x1, q1]) = (self.knots[i - 1], self.knots[i]);
        let (mass, slope) = (u - self.below[i - 1], (q1 - q0) / (x1 - x0));
        // q0 y + slope y²/2 = mass, by the form of the root that has no cancellation.
        let root = (q0 * q0 + 2.0 * slope * mass).max(0.0).sqrt();
        let y = (2.0 * mass / (q0 + root)).clamp(0.0, x1 - x0);
        (x0 + y, q0 + slope * y)
    }
}

/// The function through the knots, constant beyond them.
fn interpolate(knots: &[[f64; 2]], x: f64) -> f64 {
    let i = knots.partition_point(|[k, _]| *k <= x);
    match (i.checked_sub(1).map(|i| knots[i]), knots.get(i)) {
        (Some([x0, q0]), Some([x1, q1])) => q0 + (q1 - q0) * (x - x0) / (x1 - x0),
        (Some([_, q]), None) | (None, Some(&[_, q])) => q,
        (None, None) => f64::NAN, // no knots: refused before
    }
}
