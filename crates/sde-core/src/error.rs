//! What can go wrong below the solvers, each message one sentence with the numbers a person needs.

/// Errors of `sde-core`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A constant lies outside its range.
    #[error("{name} = {found} is out of range: expected {expected}")]
    Parameter {
        /// The constant's name as users write it.
        name: &'static str,
        /// The value given.
        found: f64,
        /// The admissible range in words.
        expected: &'static str,
    },
    /// Two sizes that must agree do not.
    #[error("{what}: found {found}, expected {expected}")]
    Size {
        /// Which size is meant.
        what: &'static str,
        /// The size given.
        found: usize,
        /// The size needed.
        expected: usize,
    },
    /// A covariance matrix is not symmetric positive semi-definite.
    #[error("covariance of component {component} is not {expected}")]
    Covariance {
        /// Number of the mixture component, from 0.
        component: usize,
        /// The property that fails.
        expected: &'static str,
    },
    /// A quantity that another one does not determine at this noise level.
    #[error("`{to}` cannot be told from `{from}` at α = {alpha}, σ = {sigma}")]
    Undetermined {
        /// What is known.
        from: &'static str,
        /// What is wanted.
        to: &'static str,
        /// Amplitude of the data.
        alpha: f64,
        /// Standard deviation of the noise.
        sigma: f64,
    },
    /// A number of one step of a chain lies outside its range.
    #[error("{name} = {found} in step {step} is out of range: expected {expected}")]
    Step {
        /// The number's name.
        name: &'static str,
        /// The step, from 1.
        step: usize,
        /// The value given.
        found: f64,
        /// The admissible range in words.
        expected: &'static str,
    },
    /// A file without the numbers that were looked for.
    #[error("{path}: found {found}, expected {expected}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What is in the way.
        found: String,
        /// What the file should hold.
        expected: &'static str,
    },
    /// A score model without divergences.
    #[error(
        "the score model has no divergence, which a likelihood needs: give it `evaluate_with_divergence`"
    )]
    NoDivergence,
    /// A score model without products with its Jacobian.
    #[error(
        "the score model has no products with its Jacobian: use the exact trace, or give it `evaluate_with_forms`"
    )]
    NoForms,
    /// A score model without second derivatives.
    #[error(
        "the score model has no second derivatives, which the gradient of a likelihood needs: give it `pull_back`"
    )]
    NoPullBack,
    /// A score model failed; its own error is the source.
    #[error("the score model failed: {0}")]
    Model(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// The number when it is finite and `ok`.
///
/// # Errors
/// [`Error::Parameter`] when it is not.
pub fn check(name: &'static str, found: f64, ok: bool, expected: &'static str) -> Result<f64> {
    if found.is_finite() && ok {
        Ok(found)
    } else {
        Err(Error::Parameter { name, found, expected })
    }
}

/// `Ok` when two sizes agree.
///
/// # Errors
/// [`Error::Size`] when they do not.
pub fn check_size(what: &'static str, found: usize, expected: usize) -> Result<()> {
    if found == expected { Ok(()) } else { Err(Error::Size { what, found, expected }) }
}
