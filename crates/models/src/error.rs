//! What can go wrong with networks and their files: one sentence each, with what was found and what was expected.

use std::path::{Path, PathBuf};

use crate::report::Mismatch;

/// Errors of `models`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// libtorch, or a safetensors file.
    #[error(transparent)]
    Torch(#[from] torch_ext::Error),
    /// The mathematics below.
    #[error(transparent)]
    Core(#[from] sde_core::Error),
    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A configuration with an entry that cannot be used.
    #[error("{key}: found {found}, expected {expected}")]
    Config {
        /// The entry.
        key: String,
        /// Its value.
        found: String,
        /// The values that can be used.
        expected: String,
    },
    /// A configuration that cannot be read at all.
    #[error("{0}")]
    Text(String),
    /// An error in a file.
    #[error("{path}: {source}")]
    In {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: Box<Error>,
    },
    /// Tensors that are not those of the network.
    #[error("{path}: {mismatch}")]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Everything that differs.
        mismatch: Mismatch,
    },
    /// A batch of the wrong shape.
    #[error("{what} has the shape {found:?}, expected {expected}")]
    Shape {
        /// What was given.
        what: &'static str,
        /// Its shape.
        found: Vec<i64>,
        /// The shapes that fit.
        expected: String,
    },
    /// A directory or file that holds no model.
    #[error("{path} is no model: {what}")]
    NoModel {
        /// What was named.
        path: PathBuf,
        /// What it lacks.
        what: String,
    },
}

/// Result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The same error, with the file that it is in.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        Self::In { path: path.into(), source: Box::new(self) }
    }

    /// A parser's complaint on one line.
    pub(crate) fn config(prefix: &str, error: impl std::fmt::Display) -> Self {
        let words: Vec<_> = error.to_string().split_whitespace().map(str::to_owned).collect();
        Self::Text(format!("{prefix}{}", words.join(" ")))
    }
}

impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

impl From<Error> for sde_core::Error {
    fn from(error: Error) -> Self {
        Self::Model(Box::new(error))
    }
}
