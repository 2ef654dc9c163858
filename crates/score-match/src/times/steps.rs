//! A law of the steps of a chain, for sums such as (E2) of which a batch can see only some terms.
//!
//! ```text
//! Σ_t f(t) = E_{t~q} f(t)/q(t)                                                                     (E5)
//! ```

use sde_core::Result;
use sde_core::error::{check, check_size};

/// A law q of steps `first…last`.
#[derive(Clone, Debug, PartialEq)]
pub struct StepLaw {
    first: usize,
    q: Vec<f64>,
    below: Vec<f64>,
}

/// A step and its factor in (E5).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightedStep {
    /// t.
    pub t: usize,
    /// `1/q(t)`; the number of steps where q is uniform.
    pub weight: f64,
}

impl StepLaw {
    /// Each of the steps `first…last` with equal probability.
    ///
    /// # Errors
    /// When there is no step.
    pub fn uniform(first: usize, last: usize) -> Result<Self> {
        Self::new(first, &vec![1.0; (last + 1).saturating_sub(first)])
    }

    /// The steps `first, first + 1, …` with probabilities in the ratio of `weights`. The variance of the estimate is
    /// least where they are in that of `√(E f²)`.
    ///
    /// # Errors
    /// When there is no weight, or one that is not positive.
    pub fn new(first: usize, weights: &[f64]) -> Result<Self> {
        check_size("weights of the steps", weights.len().min(1), 1)?;
        for &w in weights {
            check("weight of a step", w, w > 0.0, "a positive number")?;
        }
        let total: f64 = weights.iter().sum();
        check("sum of the weights of the steps", total, true, "a finite number")?;
        let q: Vec<f64> = weights.iter().map(|w| w / total).collect();
        let below = q.iter().scan(0.0, |sum, q| Some(std::mem::replace(sum, *sum + q))).collect();
        Ok(Self { first, q, below })
    }

    /// The step at the fraction u ∈ [0, 1) of the law.
    pub fn at(&self, u: f64) -> WeightedStep {
        let i = self.below.partition_point(|b| *b <= u).saturating_sub(1);
        WeightedStep { t: self.first + i, weight: self.q[i].recip() }
    }
}
