//! What stops a whole solve. What stops one sample is its [`LaneStatus`](crate::LaneStatus), never an error.

/// Errors of `ode-solvers`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The right-hand side failed; `t` is the time of the first row of the evaluation.
    #[error("the right-hand side failed near t = {t}: {source}")]
    Dynamics {
        /// Time of the first row that was being evaluated.
        t: f64,
        /// Its own error.
        source: sde_core::Error,
    },
    /// A time, step size or tolerance that no solve can use.
    #[error(transparent)]
    Input(#[from] sde_core::Error),
    /// A number that must be finite is not.
    #[error("{what} = {found} is not a finite number")]
    NotFinite {
        /// What the number is.
        what: &'static str,
        /// The number.
        found: f64,
    },
    /// A step size limit that is not positive.
    #[error("{what} = {found}: expected a positive number")]
    NotPositive {
        /// What the number is.
        what: &'static str,
        /// The number.
        found: f64,
    },
    /// A time grid that a fixed-step method cannot follow.
    #[error("a time grid needs at least 2 strictly monotone finite times, found {found}")]
    Grid {
        /// What is wrong with it.
        found: String,
    },
    /// A sampler that draws noise, and a grid that goes from data to noise.
    #[error("sampler `{sampler}` draws noise, expected one without for an upward grid")]
    Upward {
        /// The sampler's name.
        sampler: &'static str,
    },
    /// Chunks of one batch came back with different shapes.
    #[error("a chunk of the batch came back in the shape {found:?}, unlike the first one")]
    Shape {
        /// The shape of the odd one.
        found: Vec<usize>,
    },
    /// A time to save at that is outside the interval or out of order.
    #[error("a state is wanted at t = {t}, expected a time from {after} to {until}")]
    SaveTime {
        /// The time.
        t: f64,
        /// The time before it, or the start of the interval.
        after: f64,
        /// The end of the interval.
        until: f64,
    },
    /// A tableau whose rows do not fit together.
    #[error("the rows of method `{method}` have the wrong lengths")]
    Tableau {
        /// The method's name.
        method: &'static str,
    },
    /// The tableau has no dense output.
    #[error("method `{method}` has no dense output")]
    NoDenseOutput {
        /// The method's name.
        method: &'static str,
    },
    /// The tableau has no error estimate.
    #[error("method `{method}` has no error estimate: use it with solve_fixed")]
    NoErrorEstimate {
        /// The method's name.
        method: &'static str,
    },
}

/// Result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
