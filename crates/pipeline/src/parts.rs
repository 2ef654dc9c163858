//! A run over many samples in chunks, each of which is on disk as soon as it is done: what was done is not done again.
//!
//! Chunk c has the samples `c·size … (c+1)·size − 1`. The folder `OUT.parts` beside the result OUT holds `settings.txt`, what the
//! numbers depend on, and `c.npy` for each chunk that is done, a row of f64 for each sample: the same bits as in memory.
//! Every file is written whole or not at all, so that several processes may share the folder, and each may be killed at any
//! moment. [`rows`] makes rows of results and results of rows.

pub mod rows;

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use ndarray::Array2;
use ndarray_npy::{ReadNpyError, ReadNpyExt};

use crate::output::{OutputError, write_npy, write_whole};

/// What the numbers of a run depend on: names and values, those that a user sets first. A value has one line.
pub type Settings = Vec<(&'static str, String)>;

/// The file of the settings.
const SETTINGS: &str = "settings.txt";

/// Chunks that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartsError {
    /// Chunks of another run.
    #[error(
        "{folder} belongs to another run: found {name} {found}, expected {expected}; take another --out, or remove the folder"
    )]
    Other {
        /// The folder.
        folder: PathBuf,
        /// The first setting that differs.
        name: String,
        /// Its value in the folder.
        found: String,
        /// Its value in this run.
        expected: String,
    },
    /// Chunks of a run that did not finish, where none were expected.
    #[error(
        "{folder} has {done} of {chunks} chunks of a run that did not finish, expected none: --resume goes on with it, removing the folder begins afresh"
    )]
    Unfinished {
        /// The folder.
        folder: PathBuf,
        /// Chunks that are done.
        done: usize,
        /// Chunks in all.
        chunks: usize,
    },
    /// A chunk that is damaged.
    #[error("{path} is not a chunk of this run: {cause}; without the file it is computed again")]
    Damaged {
        /// The file of the chunk.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The operating system refused.
    #[error("{path}: {cause}")]
    Io {
        /// A file or folder.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// A file that cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Result with [`PartsError`].
pub type Result<T> = std::result::Result<T, PartsError>;

/// The chunks of a run.
#[derive(Clone, Debug)]
pub struct Parts {
    /// None for a run that leaves nothing behind.
    folder: Option<PathBuf>,
    samples: usize,
    size: usize,
}

impl Parts {
    /// `samples` in chunks of `size`, which are not kept on disk.
    pub fn in_memory(samples: usize, size: usize) -> Self {
        Self { folder: None, samples, size: size.max(1) }
    }

    /// `samples` in chunks of `size`, kept beside the result `out`. With `go_on`, chunks that are there are taken.
    ///
    /// # Errors
    /// Chunks of another run; chunks where none were expected; a folder that cannot be made.
    pub fn beside(
        out: &Path,
        (samples, size): (usize, usize),
        settings: &Settings,
        go_on: bool,
    ) -> Result<Self> {
        let mut name = out.as_os_str().to_owned();
        name.push(".parts");
        let folder = PathBuf::from(name);
        let parts = Self { folder: Some(folder.clone()), ..Self::in_memory(samples, size) };
        let file = folder.join(SETTINGS);
        if !file.exists() {
            std::fs::create_dir_all(&folder).map_err(|cause| io_error(&folder, cause))?;
            let lines: Vec<_> = settings.iter().map(|(k, v)| format!("{k}: {v}")).collect();
            write_whole(&file, |file| file.write_all(lines.join("\n").as_bytes()))?;
            return Ok(parts);
        }
        let text = std::fs::read_to_string(&file).map_err(|cause| io_error(&file, cause))?;
        match difference(&text, settings) {
            Some((name, found, expected)) if go_on => {
                Err(PartsError::Other { folder, name, found, expected })
            }
            None if go_on => Ok(parts),
            _ => {
                let done = (0..parts.count()).filter(|c| parts.is_done(*c)).count();
                Err(PartsError::Unfinished { folder, done, chunks: parts.count() })
            }
        }
    }

    /// How many chunks there are.
    pub fn count(&self) -> usize {
        self.samples.div_ceil(self.size)
    }

    /// The samples of a chunk.
    pub fn samples_of(&self, chunk: usize) -> Range<usize> {
        (chunk * self.size).min(self.samples)..((chunk + 1) * self.size).min(self.samples)
    }

    /// Whether a chunk is on disk.
    pub fn is_done(&self, chunk: usize) -> bool {
        self.file(chunk).is_some_and(|file| file.exists())
    }

    /// The chunks on disk, in order.
    pub fn done(&self) -> Vec<usize> {
        (0..self.count()).filter(|chunk| self.is_done(*chunk)).collect()
    }

    /// The rows of a chunk, from disk or by `work`, which gets its samples; what was computed is kept.
    ///
    /// # Errors
    /// Those of `work`; a chunk that cannot be read or written.
    pub fn chunk<E: From<PartsError>>(
        &self,
        chunk: usize,
        work: impl FnOnce(Range<usize>) -> std::result::Result<Array2<f64>, E>,
    ) -> std::result::Result<Array2<f64>, E> {
        let samples = self.samples_of(chunk);
        match self.file(chunk) {
            None => work(samples),
            Some(file) if file.exists() => Ok(read(&file, samples.len())?),
            Some(file) => {
                let rows = work(samples)?;
                write_npy(&file, &rows).map_err(PartsError::from)?;
                Ok(rows)
            }
        }
    }

    /// Removes the folder, when the result is whole.
    ///
    /// # Errors
    /// A folder that cannot be removed.
    pub fn remove(&self) -> Result<()> {
        let remove = |folder: &PathBuf| {
            std::fs::remove_dir_all(folder).map_err(|cause| io_error(folder, cause))
        };
        self.folder.as_ref().map_or(Ok(()), remove)
    }

    fn file(&self, chunk: usize) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{chunk}.npy")))
    }
}

fn read(file: &Path, samples: usize) -> Result<Array2<f64>> {
    let damaged = |cause: String| PartsError::Damaged { path: file.into(), cause };
    let rows = File::open(file).map_err(ReadNpyError::from).and_then(Array2::<f64>::read_npy);
    let rows = rows.map_err(|e| damaged(e.to_string()))?;
    if rows.nrows() == samples {
        return Ok(rows);
    }
    Err(damaged(format!("found {} samples, expected {samples}", rows.nrows())))
}

fn io_error(path: &Path, cause: io::Error) -> PartsError {
    PartsError::Io { path: path.into(), cause }
}

/// The first setting that differs: its name, the value in the text, and that of these settings.
fn difference(text: &str, settings: &Settings) -> Option<(String, String, String)> {
    let found = |name: &str| {
        let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned());
        text.lines().find_map(value).unwrap_or_else(|| "none".into())
    };
    let differs = |(name, value): &(&str, String)| {
        let found = found(name);
        (found != *value).then(|| ((*name).to_owned(), found, value.clone()))
    };
    settings.iter().find_map(differs)
}

/// A number that tells contents apart: FNV-1a of 64 bits over the bytes (Fowler, Noll and Vo).
#[derive(Clone, Copy, Debug)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    /// That of what it has seen, and of these bytes after it.
    pub fn and(self, bytes: &[u8]) -> Self {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        Self(bytes.iter().fold(self.0, step))
    }

    /// As [`and`](Self::and), of numbers.
    pub fn and_numbers<'a>(self, numbers: impl IntoIterator<Item = &'a f64>) -> Self {
        numbers.into_iter().fold(self, |hash, x| hash.and(&x.to_le_bytes()))
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(rtol: f64) -> Settings {
        vec![("rtol", format!("{rtol:?}")), ("seed", "3".into())]
    }

    /// Rows of two numbers for these samples.
    fn rows(samples: &Range<usize>) -> Array2<f64> {
        let number = |i: usize| 1.0 / (samples.start + i + 1) as f64;
        Array2::from_shape_fn((samples.len(), 2), |(i, j)| [f64::NAN, number(i)][j])
    }

    #[test]
    fn chunks_cover_the_samples_once() {
        let parts = Parts::in_memory(7, 3);
        let all: Vec<_> = (0..parts.count()).flat_map(|c| parts.samples_of(c)).collect();
        assert_eq!(all, (0..7).collect::<Vec<_>>());
        assert_eq!((parts.samples_of(2), parts.samples_of(3)), (6..7, 7..7));
    }

    #[test]
    fn what_is_done_is_not_done_again_and_has_the_same_bits() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("l.json");
        let parts = Parts::beside(&out, (7, 3), &settings(1e-5), false).unwrap();
        let computed = parts.chunk(1, |s| Ok::<_, PartsError>(rows(&s))).unwrap();
        let again = Parts::beside(&out, (7, 3), &settings(1e-5), true).unwrap();
        assert_eq!(again.done(), [1]);
        let read = again.chunk(1, |_| Err(io_error(&out, io::ErrorKind::Other.into()))).unwrap();
        let bits = |rows: &Array2<f64>| rows.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&computed), bits(&read));
        parts.remove().unwrap();
        assert!(!folder.path().join("l.json.parts").exists());
    }

    #[test]
    fn chunks_of_others_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("l.json");
        let parts = Parts::beside(&out, (7, 3), &settings(1e-5), false).unwrap();
        parts.chunk(0, |s| Ok::<_, PartsError>(rows(&s))).unwrap();
        let other = Parts::beside(&out, (7, 3), &settings(1e-4), true).unwrap_err().to_string();
        assert!(other.contains("found rtol 1e-5, expected 0.0001"), "{other}");
        let unasked = Parts::beside(&out, (7, 3), &settings(1e-5), false).unwrap_err();
        assert!(unasked.to_string().contains("1 of 3 chunks"), "{unasked}");
        std::fs::write(folder.path().join("l.json.parts/2.npy"), "torn").unwrap();
        let torn = parts.chunk(2, |s| Ok::<_, PartsError>(rows(&s))).unwrap_err().to_string();
        assert!(torn.contains("2.npy is not a chunk of this run"), "{torn}");
    }

    /// Values of the authors' test suite.
    #[test]
    fn fingerprints_are_fnv_1a() {
        let of = |text: &str| Fingerprint::default().and(text.as_bytes()).to_string();
        assert_eq!(of(""), "cbf29ce484222325");
        assert_eq!(of("foobar"), "85944171f73967e8");
    }
}
