//! Spacings of a grid beside [`uniform_grid`](crate::uniform_grid) and those of [`sde_core::grid`].
//!
//! The labels of a chain of T steps are 0 … T−1, from data to noise, as in
//! [`ContinuousChain`](sde_core::chain::ContinuousChain), whose `time_of_label` makes times of them. The three ways of
//! choosing n of them have names since Lin et al. (2023, arXiv 2305.08891, table 2). They are written in integers: a
//! spacing by a fractional `arange` returns n + 1 labels, the last one −1, for 62 values of n below 1000 at T = 1000.

use sde_core::Result;
use sde_core::error::check;

/// `steps + 1` times from `from` to `to`, both ends exact, with `√t` at equal distances: denser at the data.
///
/// # Errors
/// [`Parameter`](sde_core::Error::Parameter) unless `steps ≥ 1` and both times are finite and not below 0.
pub fn quadratic_grid(from: f64, to: f64, steps: u32) -> Result<Vec<f64>> {
    check("steps", f64::from(steps), steps >= 1, "at least 1")?;
    check("first time", from, from >= 0.0, "a number not below 0")?;
    check("last time", to, to >= 0.0, "a number not below 0")?;
    let (a, b) = (from.sqrt(), to.sqrt());
    let time = |i: u32| match i {
        0 => from,
        i if i == steps => to,
        i => (a + (b - a) * (f64::from(i) / f64::from(steps))).powi(2),
    };
    Ok((0..=steps).map(time).collect())
}

/// Which n of the labels 0 … T−1 a sampler visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// `i ⌊T/n⌋` for i < n: has the label 0, and not T−1 unless n = T.
    Leading,
    /// `round(T − i T/n) − 1` for i < n: has the label T−1, and not 0 unless n = T.
    Trailing,
    /// `round(i (T−1)/(n−1))`: has both. One label is T−1, where the noise is.
    Linspace,
}

impl Spacing {
    /// The labels, falling from noise to data; halves round to even.
    ///
    /// # Errors
    /// [`Parameter`](sde_core::Error::Parameter) unless `1 ≤ n ≤ steps of the chain`.
    pub fn labels(self, chain_steps: u32, n: u32) -> Result<Vec<u32>> {
        check("steps", f64::from(n), (1..=chain_steps).contains(&n), "1 to the chain's steps")?;
        let (total, count) = (u64::from(chain_steps), u64::from(n));
        let label = |i: u64| match self {
            Self::Leading => (count - 1 - i) * (total / count),
            Self::Trailing => round_div(total * (count - i), count) - 1,
            Self::Linspace if n == 1 => total - 1,
            Self::Linspace => round_div((total - 1) * (count - 1 - i), count - 1),
        };
        Ok((0..count).map(|i| label(i) as u32).collect())
    }
}

/// `a/b` to the nearest integer, halves to even.
fn round_div(a: u64, b: u64) -> u64 {
    let (whole, rest) = (a / b, a % b);
    let up = 2 * rest > b || (2 * rest == b && whole % 2 == 1);
    whole + u64::from(up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_as_named() {
        let labels = |s: Spacing, n| s.labels(1000, n).unwrap();
        assert_eq!(labels(Spacing::Leading, 4), [750, 500, 250, 0]);
        assert_eq!(labels(Spacing::Trailing, 4), [999, 749, 499, 249]);
        assert_eq!(labels(Spacing::Linspace, 4), [999, 666, 333, 0]);
        assert_eq!(labels(Spacing::Linspace, 1), [999]);
        assert!(Spacing::Leading.labels(10, 11).is_err());
    }

    /// Every n gives n labels that fall strictly to one not below 0, also where a fractional `arange` does not.
    #[test]
    fn every_count_gives_as_many_labels() {
        for spacing in [Spacing::Leading, Spacing::Trailing, Spacing::Linspace] {
            for n in 1..=1000 {
                let labels = spacing.labels(1000, n).unwrap();
                assert_eq!(labels.len(), n as usize);
                assert!(labels.windows(2).all(|w| w[0] > w[1]), "{spacing:?} {n}");
                assert!(labels[0] < 1000);
            }
        }
    }

    #[test]
    fn quadratic_times() {
        let grid = quadratic_grid(1.0, 0.0, 4).unwrap();
        assert_eq!(grid, [1.0, 0.5625, 0.25, 0.0625, 0.0]);
        assert!(quadratic_grid(1.0, -1.0, 4).is_err());
    }
}
