//! What a solve starts from, and the options of an adaptive one.

use crate::error::{Error, Result};
use sde_core::State;

/// A batch and the numbers of its samples. Any batch converts into one, numbered from 0.
#[derive(Clone, Debug)]
pub struct Samples<X> {
    /// The batch; row i is sample `numbers[i]`.
    pub x: X,
    /// Number of the sample in each row: the key of its noise.
    pub numbers: Vec<u64>,
}

impl<X: State> Samples<X> {
    /// Samples numbered from `first`, modulo 2⁶⁴: a chunk of a larger batch.
    pub fn numbered(x: X, first: u64) -> Self {
        let numbers = (0..x.samples() as u64).map(|i| first.wrapping_add(i)).collect();
        Self { x, numbers }
    }

    pub(crate) fn check(&self) -> Result<()> {
        Ok(sde_core::error::check_size("sample numbers", self.numbers.len(), self.x.samples())?)
    }
}

impl<X: State> From<X> for Samples<X> {
    fn from(x: X) -> Self {
        Self::numbered(x, 0)
    }
}

/// `Ok` when the number is finite.
pub(crate) fn check_finite(what: &'static str, found: f64) -> Result<()> {
    if found.is_finite() { Ok(()) } else { Err(Error::NotFinite { what, found }) }
}

/// What the next step size follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Control {
    /// The error of this step, (O2): SciPy's control, number for number.
    #[default]
    Scipy,
    /// The errors of this step and of the accepted one before it, (O6): fewer rejections where stability limits the
    /// step, for more and smaller steps.
    Pi,
    /// The errors of this step and of the two accepted ones before it, (O6) with Söderlind's filter H312PID: the smoothest
    /// steps, for a result that changes smoothly with the tolerance.
    Pid,
}

/// Options of an adaptive solve. `T` is the state's tolerance: one, or one for each member of a pair.
#[derive(Clone, Copy, Debug)]
pub struct Adaptive<T> {
    /// Tolerances; no default is meaningful.
    pub tolerance: T,
    /// Largest step; infinite by default.
    pub max_step: f64,
    /// First step; by Hairer's rule (two evaluations) when absent.
    pub first_step: Option<f64>,
    /// Most attempted steps of one sample; 100,000 by default.
    pub max_steps: u32,
    /// SciPy's by default.
    pub control: Control,
    /// One common step, by the root mean square of the samples' norms (O7): for a method with one row of error weights as
    /// if the batch were one sample. For comparison with libraries that know no other way; off by default.
    pub joint: bool,
}

impl<T> Adaptive<T> {
    /// The defaults beside a tolerance.
    pub fn new(tolerance: T) -> Self {
        Self {
            tolerance,
            max_step: f64::INFINITY,
            first_step: None,
            max_steps: 100_000,
            control: Control::Scipy,
            joint: false,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let limits = [("max_step", Some(self.max_step)), ("first_step", self.first_step)];
        for (what, found) in limits {
            if let Some(found) = found.filter(|h| h.is_nan() || *h <= 0.0) {
                return Err(Error::NotPositive { what, found });
            }
        }
        Ok(())
    }
}
