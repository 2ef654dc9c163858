//! Saved states on disk: written whole, known by a checksum, the latest few and the milestones.
//!
//! `step-0000000250-1a2b3c4d.safetensors` is the state after step 250, and 1a2b3c4d the CRC-32C of its bytes: what does
//! not have the checksum of its name is not loaded. A file is written under another name, brought to the disk and then
//! renamed, so a run that is killed, or whose disk is full, leaves the states that were there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use models::tch::Tensor;
use models::torch_ext::{Weights, write_weights};

use super::error::{Result, TrainError};

/// A folder of saved states.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    /// How many of the latest are kept; `None`: all.
    last: Option<usize>,
    /// Steps between two that stay.
    milestone: Option<u64>,
}

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    step: u64,
    crc: u32,
    path: PathBuf,
}

/// The name of a file that is being written.
const UNFINISHED: &str = ".unfinished";
/// What names of temporary files begin with that a killed writer leaves.
const LEFT: &str = ".tmp";

impl Store {
    /// Opens a folder, which is made if need be, and removes what a killed run was writing.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn open(folder: PathBuf, last: Option<usize>, milestone: Option<u64>) -> Result<Self> {
        let io = |source| TrainError::File { path: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(io)?;
        for entry in fs::read_dir(&folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
            if name.is_some_and(|n| n.starts_with(LEFT) || n == UNFINISHED) {
                fs::remove_file(&path).map_err(io)?;
            }
        }
        Ok(Self { folder, last, milestone })
    }

    /// Writes the state after a step, and then removes those that are no longer kept.
    ///
    /// # Errors
    /// A file that cannot be written: those that were there then stay.
    pub fn write<'a>(
        &self,
        step: u64,
        tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<()> {
        let unfinished = self.folder.join(UNFINISHED);
        write_weights(&unfinished, tensors, metadata)?;
        let io = |source| TrainError::File { path: self.folder.clone(), source };
        let crc = crc32c::crc32c(&fs::read(&unfinished).map_err(io)?);
        let name = format!("step-{step:010}-{crc:08x}.safetensors");
        fs::rename(&unfinished, self.folder.join(name)).map_err(io)?;
        fs::File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        self.prune()
    }

    /// The latest state that is whole. One that is damaged is said to `note`, renamed and passed over.
    ///
    /// # Errors
    /// A folder that cannot be read; states of which none is whole.
    pub fn latest(&self, note: &mut dyn FnMut(String)) -> Result<Option<(u64, Weights)>> {
        let mut damaged = None;
        for entry in self.entries()?.into_iter().rev() {
            match open(&entry) {
                Ok(weights) => {
                    if damaged.is_some() {
                        note(format!("going on from the state of step {}", entry.step));
                    }
                    return Ok(Some((entry.step, weights)));
                }
                Err(what) => {
                    let aside = entry.path.with_extension("damaged");
                    note(format!("{what}; it is kept as {}", aside.display()));
                    fs::rename(&entry.path, &aside)
                        .map_err(|source| TrainError::File { path: entry.path, source })?;
                    damaged = Some(what);
                }
            }
        }
        match damaged {
            None => Ok(None),
            Some(what) => Err(TrainError::NoState { folder: self.folder.clone(), what }),
        }
    }

    /// All states up to a step, in order.
    ///
    /// # Errors
    /// A folder that cannot be read; a damaged state.
    pub fn all(&self, until: u64) -> Result<Vec<(u64, Weights)>> {
        let entries = self.entries()?.into_iter().filter(|entry| entry.step <= until);
        let open = |entry: Entry| match open(&entry) {
            Ok(weights) => Ok((entry.step, weights)),
            Err(what) => Err(TrainError::NoState { folder: self.folder.clone(), what }),
        };
        entries.map(open).collect()
    }

    /// Removes the states after a step: they belong to a run that did not go on from them.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn forget_after(&self, step: u64) -> Result<()> {
        self.entries()?.iter().filter(|entry| entry.step > step).try_for_each(remove)
    }

    /// Files with the name of a state, by step.
    fn entries(&self) -> Result<Vec<Entry>> {
        let io = |source| TrainError::File { path: self.folder.clone(), source };
        let mut entries = Vec::new();
        for file in fs::read_dir(&self.folder).map_err(io)? {
            entries.extend(Entry::of(&file.map_err(io)?.path()));
        }
        entries.sort();
        Ok(entries)
    }

    /// Removes all but the latest states and the milestones.
    fn prune(&self) -> Result<()> {
        let Some(last) = self.last else { return Ok(()) };
        let mut old = self.entries()?;
        old.truncate(old.len().saturating_sub(last));
        let stays = |step: u64| self.milestone.is_some_and(|every| step.is_multiple_of(every));
        old.iter().filter(|entry| !stays(entry.step)).try_for_each(remove)
    }
}

fn remove(entry: &Entry) -> Result<()> {
    let path = || entry.path.clone();
    fs::remove_file(&entry.path).map_err(|source| TrainError::File { path: path(), source })
}

impl Entry {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let middle = name.strip_prefix("step-")?.strip_suffix(".safetensors")?;
        let (step, crc) = middle.split_once('-')?;
        let crc = u32::from_str_radix(crc, 16).ok()?;
        Some(Self { step: step.parse().ok()?, crc, path: path.into() })
    }
}

/// The file, when its bytes have the checksum of its name; otherwise what is wrong with it.
fn open(entry: &Entry) -> std::result::Result<Weights, String> {
    let path = entry.path.display();
    let bytes = fs::read(&entry.path).map_err(|e| format!("{path}: {e}"))?;
    let (found, expected) = (crc32c::crc32c(&bytes), entry.crc);
    if found != expected {
        return Err(format!(
            "{path} is damaged: found the checksum {found:08x}, expected {expected:08x}"
        ));
    }
    Weights::open(&entry.path).map_err(|e| e.to_string())
}
