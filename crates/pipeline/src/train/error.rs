//! What can stop a training run.

use std::path::PathBuf;

use crate::data::DataError;

/// Errors of a training run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A configuration that cannot be read.
    #[error("{path}: {what}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        what: String,
    },
    /// An entry of a configuration that cannot be used.
    #[error("{key}: found {found}, expected {expected}")]
    Entry {
        /// The entry.
        key: String,
        /// What it says.
        found: String,
        /// What it may say.
        expected: String,
    },
    /// A folder with another run.
    #[error(
        "{folder} holds a run with another configuration ({what}): choose another `out`, or say --resume to go on with \
         the new one"
    )]
    OtherRun {
        /// The folder.
        folder: PathBuf,
        /// The first entry that differs.
        what: String,
    },
    /// A loss or gradient that is not finite.
    #[error(
        "step {step}: the loss is {loss} and the gradient's norm {gradient}, expected finite numbers; the batch were the \
         samples {samples:?}; the state before it is saved in {folder}"
    )]
    NotFinite {
        /// The step.
        step: u64,
        /// Its loss.
        loss: f64,
        /// Its gradient's norm.
        gradient: f64,
        /// The rows of the data set in its batch.
        samples: Vec<usize>,
        /// Where the state is.
        folder: PathBuf,
    },
    /// Saved states of which none can be loaded.
    #[error("{folder} holds no state that can be loaded: {what}; remove the folder to begin anew")]
    NoState {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with the oldest one.
        what: String,
    },
    /// A law in the plane that has no such name.
    #[error("{key}: {what}")]
    Law {
        /// What the configuration says.
        key: String,
        /// What was found and what was expected.
        what: String,
    },
    /// A thread that makes batches has ended.
    #[error("the thread that makes batches ended at step {step}")]
    Thread {
        /// The step that was waited for.
        step: u64,
    },
    /// A validation bound that is not finite.
    #[error("step {step}: the bound on the validation data is {bound}, expected a finite number")]
    Bound {
        /// The step.
        step: u64,
        /// The bound.
        bound: f64,
    },
    /// Data that cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The network, its files, libtorch.
    #[error(transparent)]
    Model(#[from] models::Error),
    /// Samples that cannot be drawn.
    #[error(transparent)]
    Network(#[from] crate::network::Error),
    /// A picture that cannot be drawn.
    #[error(transparent)]
    Plot(#[from] crate::plot::PlotError),
    /// A picture that cannot be written.
    #[error(transparent)]
    Output(#[from] crate::output::OutputError),
    /// The mathematics below.
    #[error(transparent)]
    Core(#[from] sde_core::Error),
}

/// Result with this module's [`enum@TrainError`].
pub type Result<T> = std::result::Result<T, TrainError>;

impl From<models::torch_ext::Error> for TrainError {
    fn from(error: models::torch_ext::Error) -> Self {
        Self::Model(error.into())
    }
}

impl From<models::tch::TchError> for TrainError {
    fn from(error: models::tch::TchError) -> Self {
        Self::Model(error.into())
    }
}
