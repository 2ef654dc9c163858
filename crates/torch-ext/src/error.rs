//! Errors of libtorch as a person can read them: the first line, without the C++ backtrace.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use tch::TchError;

/// What can go wrong in and around libtorch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Memory of the host or of a device is used up: a smaller batch may still fit.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// Any other failure of an operation.
    #[error("libtorch: {0}")]
    Torch(String),
    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file that is no whole safetensors file.
    #[error("{path} is not a whole safetensors file: {what}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A tensor that a file lacks.
    #[error("{path} has no tensor `{}`", name.escape_debug())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The name that was looked for.
        name: String,
    },
    /// Elements of a kind that libtorch does not have.
    #[error("tensor `{}` of {path} has elements of type {found}, expected {expected}", name.escape_debug())]
    Kind {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
        /// The types that are read.
        expected: &'static str,
    },
}

/// Result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The error of a message from libtorch.
    pub(crate) fn from_message(message: &str) -> Self {
        let first = message.lines().map(str::trim).find(|line| !line.is_empty());
        let first = first.unwrap_or("an error without a message").to_owned();
        if message.contains("out of memory") || message.contains("can't allocate memory") {
            Self::OutOfMemory(first)
        } else {
            Self::Torch(first)
        }
    }
}

impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        match error {
            TchError::Torch(message) => Self::from_message(&message),
            other => Self::from_message(&other.to_string()),
        }
    }
}

/// Runs work that calls libtorch and turns a panic of tch into an error: the last line of defence, since a few of its
/// fallible functions panic when they fail.
///
/// # Errors
/// Those of `work`, and a panic as [`Error::Torch`].
pub fn catch<T, E: From<Error>>(
    work: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Error::from_message(text.unwrap_or("a panic without a message")).into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn a_message_is_one_line() {
        let a = Tensor::f_zeros([2, 3], (Kind::Float, Device::Cpu)).unwrap();
        let text = Error::from(a.f_matmul(&a).unwrap_err()).to_string();
        assert_eq!(text, "libtorch: mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)");
    }

    #[test]
    fn out_of_memory_is_told_apart() {
        let error = Tensor::f_zeros([1 << 46], (Kind::Float, Device::Cpu)).unwrap_err();
        assert!(matches!(Error::from(error), Error::OutOfMemory(_)));
    }

    #[test]
    fn a_panic_of_tch_is_an_error() {
        let a = Tensor::f_zeros([2, 3], (Kind::Float, Device::Cpu)).unwrap();
        let result: Result<Tensor> = catch(|| Ok(a.matmul(&a)));
        assert!(result.unwrap_err().to_string().contains("cannot be multiplied"));
    }
}
