//! Points of the plane whose density is known: what a model of densities is looked at with before it sees a picture.
//!
//! ```text
//! moons          c(θ) = ±(cos θ − ½, sin θ − ¼), θ uniform on [0, π], and a sign; noise 0.1
//! swiss-roll     c(φ) = φ (cos φ, sin φ)/8, φ uniform on [1.5π, 4.5π]; noise 0.05
//! mixture        c one of eight points at a distance of √2 from the origin; noise 0.15
//! checkerboard   uniform on the dark fields of a board of 4 × 4 fields of side 1 about the origin
//!
//! p(x) = E N(x; c, s² I)   for the first three, with noise of standard deviation s                    (Y5)
//! ```

use std::f64::consts::{PI, TAU};
use std::str::FromStr;

use sde_core::Noise;

/// A law in the plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toy {
    /// Two half circles that reach into each other.
    Moons,
    /// A spiral.
    SwissRoll,
    /// Eight Gaussians on a circle.
    Mixture,
    /// Fields of a chessboard.
    Checkerboard,
}

/// Names in configurations: `toy:moons`.
pub const NAMES: [(&str, Toy); 4] = [
    ("moons", Toy::Moons),
    ("swiss-roll", Toy::SwissRoll),
    ("mixture", Toy::Mixture),
    ("checkerboard", Toy::Checkerboard),
];

/// Nodes of the mean over curves: their distance is a small part of the noise.
const NODES: u32 = 2048;

impl FromStr for Toy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(name, _)| *name == text).map(|(_, toy)| *toy);
        let names = || NAMES.map(|(name, _)| name).join(", ");
        found.ok_or_else(|| format!("found {text}, expected one of {}", names()))
    }
}

impl Toy {
    /// The point of a number, the same for a seed wherever it is drawn. `draw` is the step of the noise that makes it.
    pub fn point(self, noise: &Noise, number: u64, draw: u32) -> [f64; 2] {
        let (mut u, mut z) = ([0.0; 2], [0.0; 2]);
        noise.uniform(number, draw, &mut u);
        if self == Self::Checkerboard {
            return field(u);
        }
        noise.normal(number, draw + 1, &mut z);
        let (c, s) = (self.centre(u), self.noise());
        [c[0] + s * z[0], c[1] + s * z[1]]
    }

    /// `log p(x)`; −∞ outside the board.
    pub fn log_density(self, x: [f64; 2]) -> f64 {
        match self {
            Self::Checkerboard => {
                let dark = (x[0].floor() + x[1].floor()).rem_euclid(2.0) < 0.5;
                let inside = x.iter().all(|c| (-2.0..2.0).contains(c));
                if dark && inside { -(8.0_f64.ln()) } else { f64::NEG_INFINITY }
            }
            Self::Mixture => self.mean_over(x, 8, &[0.0]),
            Self::Moons => self.mean_over(x, NODES, &[0.0, 0.5]),
            Self::SwissRoll => self.mean_over(x, NODES, &[0.0]),
        }
    }

    /// (Y5) by the midpoints of `n` parts of the curve, for each of the signs.
    fn mean_over(self, x: [f64; 2], n: u32, signs: &[f64]) -> f64 {
        let s2 = self.noise().powi(2);
        let exponents: Vec<f64> = (0..n)
            .flat_map(|i| {
                signs.iter().map(move |&sign| [(f64::from(i) + 0.5) / f64::from(n), sign])
            })
            .map(|u| {
                let c = self.centre(u);
                -0.5 * ((x[0] - c[0]).powi(2) + (x[1] - c[1]).powi(2)) / s2
            })
            .collect();
        let most = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = exponents.iter().map(|e| (e - most).exp()).sum();
        most + (sum / exponents.len() as f64).ln() - (TAU * s2).ln()
    }

    /// Standard deviation of the noise; that of a board is 0.
    fn noise(self) -> f64 {
        match self {
            Self::Moons => 0.1,
            Self::SwissRoll => 0.05,
            Self::Mixture => 0.15,
            Self::Checkerboard => 0.0,
        }
    }

    /// c for two uniform numbers: the place on the curve, and the sign.
    fn centre(self, [u, sign]: [f64; 2]) -> [f64; 2] {
        match self {
            Self::Moons => {
                let (y, x) = (PI * u).sin_cos();
                let (x, y) = (x - 0.5, y - 0.25);
                if sign < 0.5 { [x, y] } else { [-x, -y] }
            }
            Self::SwissRoll => {
                let phi = PI * (1.5 + 3.0 * u);
                let (y, x) = phi.sin_cos();
                [phi * x / 8.0, phi * y / 8.0]
            }
            Self::Mixture | Self::Checkerboard => {
                let (y, x) = (TAU * (8.0 * u).floor() / 8.0).sin_cos();
                [std::f64::consts::SQRT_2 * x, std::f64::consts::SQRT_2 * y]
            }
        }
    }
}

/// A point of a dark field: a column, and a row among the two of that column's colour.
fn field([u, v]: [f64; 2]) -> [f64; 2] {
    let x = 4.0 * u - 2.0;
    let (pair, place) = ((2.0 * v).floor(), (2.0 * v).fract());
    let dark = if x.floor().rem_euclid(2.0) < 0.5 { 0.0 } else { 1.0 };
    [x, 2.0 * pair - 2.0 + dark + place]
}

#[cfg(test)]
mod tests {
    use super::*;
    use sde_core::{Purpose, Summary};

    /// The integral over a box by midpoints is 1, and the mean of log p over samples the negative entropy.
    #[test]
    fn y5_densities_are_those_of_the_points() {
        let noise = Noise::new(3, Purpose::Training);
        for (name, toy) in NAMES {
            let (n, half) = (200, 2.5); // whose cells end where fields do
            let side = 2.0 * half / f64::from(n);
            let (mut mass, mut entropy) = (0.0, 0.0);
            for i in 0..n * n {
                let at = |k: i32| -half + (f64::from(k) + 0.5) * side;
                let log_p = toy.log_density([at(i % n), at(i / n)]);
                let p = log_p.exp() * side * side;
                mass += p;
                entropy -= if p > 0.0 { p * log_p } else { 0.0 };
            }
            assert!((mass - 1.0).abs() < 3e-3, "{name}: {mass}");
            let logs: Vec<f64> =
                (0..2000).map(|i| toy.log_density(toy.point(&noise, i, 0))).collect();
            let found = Summary::of(&logs);
            let error = (found.mean + entropy).abs();
            assert!(error < 4.0 * found.standard_error + 5e-3, "{name}: {found} {entropy}");
        }
    }

    #[test]
    fn names_are_read() {
        assert_eq!("moons".parse(), Ok(Toy::Moons));
        let text = "moon".parse::<Toy>().unwrap_err();
        assert_eq!(text, "found moon, expected one of moons, swiss-roll, mixture, checkerboard");
    }
}
