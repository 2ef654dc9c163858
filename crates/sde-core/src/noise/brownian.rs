//! A Brownian path that can be asked for any time, in any order, by anyone, and never contradicts itself.
//!
//! `W(t₀) = 0` and `W(t₁) = √(t₁−t₀) z`. Between known ends the path is a Brownian bridge, whose middle is
//!
//! ```text
//! W(m) = ½ (W(a) + W(b)) + ½ √(b − a) z,    m = ½ (a + b),                          (W1)
//! ```
//!
//! with z keyed by (seed, sample, node) where the nodes of the tree of halvings are numbered as in a heap. Nothing is stored:
//! a query walks down from the root, so the path at finer times refines the path at coarser ones, and a rejected step that
//! is tried again meets the same path. Below the last level the path is linear.

use super::Noise;
use crate::error::{Result, check};
use crate::state::{Lanes, State};

/// A Brownian path on [t₀, t₁] for every sample; see the module's text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BrownianPath {
    noise: Noise,
    t0: f64,
    t1: f64,
    levels: u32,
}

/// Most halvings: nodes are numbered below 2³¹.
const MAX_LEVELS: u32 = 30;

impl BrownianPath {
    /// A path whose finest interval is `(t1 − t0)/2^levels`.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) unless `t0 < t1` and `levels ≤ 30`.
    pub fn new(noise: Noise, (t0, t1): (f64, f64), levels: u32) -> Result<Self> {
        check("t1", t1, t1 > t0, "a time after t0")?;
        check("levels", f64::from(levels), levels <= MAX_LEVELS, "at most 30")?;
        Ok(Self { noise, t0, t1, levels })
    }

    /// The interval [t₀, t₁].
    pub fn span(&self) -> (f64, f64) {
        (self.t0, self.t1)
    }

    /// The length of the finest interval, below which the path is linear.
    pub fn resolution(&self) -> f64 {
        (self.t1 - self.t0) * 0.5_f64.powi(self.levels.cast_signed())
    }

    /// The ends of the interval around t (the one after it, for a t that ends one) after so many halvings of all.
    pub fn interval(&self, t: f64, halvings: u32) -> (f64, f64) {
        let (mut a, mut b) = (self.t0, self.t1);
        for _ in 0..halvings.min(self.levels) {
            let middle = 0.5 * (a + b);
            if t < middle {
                b = middle;
            } else {
                a = middle;
            }
        }
        (a, b)
    }

    /// Writes `W(t)` of one sample, a vector of independent paths; t is clamped to the interval.
    pub fn at(&self, sample: u64, t: f64, out: &mut [f64]) {
        self.at_with(sample, t, &mut Vec::new(), out);
    }

    /// Writes `W(to) − W(from)` of one sample.
    pub fn increment(&self, sample: u64, from: f64, to: f64, out: &mut [f64]) {
        let mut start = vec![0.0; out.len()];
        self.at(sample, from, &mut start);
        self.at(sample, to, out);
        out.iter_mut().zip(&start).for_each(|(w, s)| *w -= s);
    }

    /// Fills row i of a batch with `W(at.t[i])` of `at.sample[i]`. `scratch` keeps its memory from call to call.
    ///
    /// # Errors
    /// When there is not one number and one time for each row.
    pub fn fill<X: State>(&self, at: Lanes<'_>, scratch: &mut Vec<f64>, out: &mut X) -> Result<()> {
        at.check(out.samples())?;
        out.fill_rows(|i, row| self.at_with(at.sample[i], at.t[i], scratch, row));
        Ok(())
    }

    /// Walks down the tree of halvings to t with the ends of the interval in `left` and `right`.
    fn at_with(&self, sample: u64, t: f64, scratch: &mut Vec<f64>, out: &mut [f64]) {
        let t = t.clamp(self.t0, self.t1);
        let (mut a, mut b) = (self.t0, self.t1);
        scratch.clear();
        scratch.resize(3 * out.len(), 0.0);
        let (left, rest) = scratch.split_at_mut(out.len());
        let (right, z) = rest.split_at_mut(out.len());
        self.noise.normal(sample, 0, z);
        right.iter_mut().zip(&*z).for_each(|(w, z)| *w = (b - a).sqrt() * z);
        let mut node = 1_u32;
        for _ in 0..self.levels {
            if t <= a || t >= b {
                break; // an end of an interval is known exactly
            }
            let (middle, scale) = (0.5 * (a + b), 0.5 * (b - a).sqrt());
            self.noise.normal(sample, node, z);
            let known = left.iter_mut().zip(right.iter_mut()).zip(&*z);
            node *= 2;
            if t < middle {
                known.for_each(|((l, r), z)| *r = 0.5 * (*l + *r) + scale * z);
                b = middle;
            } else {
                known.for_each(|((l, r), z)| *l = 0.5 * (*l + *r) + scale * z);
                a = middle;
                node += 1;
            }
        }
        let u = (t - a) / (b - a);
        for ((w, l), r) in out.iter_mut().zip(&*left).zip(&*right) {
            *w = l + u * (r - l);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Purpose;

    fn path(levels: u32) -> BrownianPath {
        BrownianPath::new(Noise::new(3, Purpose::Increment), (0.0, 2.0), levels).unwrap()
    }

    fn at(path: &BrownianPath, sample: u64, t: f64) -> f64 {
        let mut w = [0.0];
        path.at(sample, t, &mut w);
        w[0]
    }

    #[test]
    fn increments_add_up_in_any_order() {
        let path = path(20);
        let inc = |s, u| {
            let mut w = [0.0; 2];
            path.increment(5, s, u, &mut w);
            w
        };
        let (late, early, all) = (inc(0.7, 1.9), inc(0.1, 0.7), inc(0.1, 1.9));
        for i in 0..2 {
            assert!((late[i] + early[i] - all[i]).abs() < 1e-12);
        }
        assert_eq!(at(&path, 5, 0.3).to_bits(), at(&path, 5, 0.3).to_bits());
    }

    /// A finer path agrees with a coarser one on the coarser one's nodes, bit for bit.
    #[test]
    fn refinement_changes_nothing_that_was_known() {
        let (coarse, fine) = (path(4), path(20));
        for i in 0..=16 {
            let t = f64::from(i) / 8.0;
            assert_eq!(at(&coarse, 1, t).to_bits(), at(&fine, 1, t).to_bits(), "t = {t}");
        }
    }

    /// Mean 0, variance t, covariance min(s, t), and the bridge's conditional variance, at 4 standard errors.
    #[test]
    fn law_of_the_path() {
        let (path, n) = (path(12), 40_000);
        let (s, t, u) = (0.5, 0.75, 1.5);
        let (mut tt, mut st, mut bridge) = (0.0, 0.0, 0.0);
        for sample in 0..n {
            let [ws, wt, wu] = [s, t, u].map(|t| at(&path, sample, t));
            tt += wt * wt;
            st += ws * wt;
            bridge += (wt - ws - (wu - ws) * (t - s) / (u - s)).powi(2);
        }
        let n = n as f64;
        let close = |sum: f64, want: f64, var: f64| (sum / n - want).abs() < 4.0 * (var / n).sqrt();
        assert!(close(tt, t, 2.0 * t * t), "{}", tt / n);
        assert!(close(st, s, s * t + s * s), "{}", st / n);
        let want = (u - t) * (t - s) / (u - s);
        assert!(close(bridge, want, 2.0 * want * want), "{} {want}", bridge / n);
    }

    /// The ends of intervals are nodes, from which a finer path is not read any deeper.
    #[test]
    fn intervals_have_nodes_for_ends() {
        let (coarse, fine) = (path(5), path(20));
        for t in [0.0, 0.3, 1.0, 1.7, 2.0] {
            let (a, b) = fine.interval(t, 5);
            assert!(a <= t && t <= b && (b - a - 2.0 / 32.0).abs() < 1e-12);
            for end in [a, b] {
                assert_eq!(at(&coarse, 1, end).to_bits(), at(&fine, 1, end).to_bits());
            }
        }
        assert_eq!(coarse.interval(0.3, 20), coarse.interval(0.3, 5));
    }

    #[test]
    fn paths_of_samples_are_their_own() {
        let path = path(10);
        assert_ne!(at(&path, 0, 1.3).to_bits(), at(&path, 1, 1.3).to_bits());
        assert!(BrownianPath::new(Noise::new(0, Purpose::Increment), (1.0, 1.0), 3).is_err());
        assert!(BrownianPath::new(Noise::new(0, Purpose::Increment), (0.0, 1.0), 31).is_err());
    }
}
