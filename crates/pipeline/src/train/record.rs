//! The record of a run, `metrics.jsonl`: one JSON object a report. A run that goes on from an earlier step drops what was
//! recorded after it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use models::torch_ext::weights::write_whole;
use serde::Deserialize;

use super::Progress;
use super::error::{Result, TrainError};

/// An open record.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    file: File,
}

#[derive(Deserialize)]
struct Line {
    step: u64,
}

impl Record {
    /// Opens the record of a run that begins after step `began`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn open(folder: &Path, began: u64) -> Result<Self> {
        let path = folder.join("metrics.jsonl");
        let wrong = |source| TrainError::File { path: path.clone(), source };
        fs::create_dir_all(folder).map_err(wrong)?;
        if path.exists() {
            let before = fs::read_to_string(&path).map_err(wrong)?;
            let kept = before.split_inclusive('\n').filter(|line| step_of(line) <= began);
            write_whole(&path, kept.collect::<String>().as_bytes())?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(wrong)?;
        Ok(Self { path, file })
    }

    /// Appends a report.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn add(&mut self, progress: &Progress) -> Result<()> {
        let line = serde_json::to_string(progress).unwrap_or_default() + "\n";
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|source| TrainError::File { path: self.path.clone(), source })
    }
}

/// The step of a line; a broken one, the last of a run that was killed, is later than any.
fn step_of(line: &str) -> u64 {
    serde_json::from_str::<Line>(line).map_or(u64::MAX, |line| line.step)
}
